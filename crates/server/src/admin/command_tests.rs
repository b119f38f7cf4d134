use super::{Command, NoCommand, Order, Probe, Shutdown, parse, statements};

fn read(text: &str) -> String {
    match parse(text) {
        Ok(Command::Show(show)) => format!("show {}", show.name),
        Ok(command) => format!("{command:?}"),
        Err(NoCommand::Unknown(what)) => format!("unknown {what}"),
        Err(NoCommand::Tables) => "tables".to_owned(),
    }
}

#[test]
fn commands_are_read_whatever_their_case() {
    for (text, command) in [
        ("", "Empty"),
        ("show pools", "show POOLS"),
        ("SHOW  Stats_Totals ", "show STATS_TOTALS"),
        ("SHOW nothing", "unknown SHOW nothing"),
        ("show server_version_num", "Probe(Parameter(\"server_version_num\", \"150000\"))"),
        ("SHOW STATE_OF 7", "StateOf(7)"),
        ("SHOW STATE_OF x", "unknown SHOW STATE_OF x"),
        ("select 1", "Probe(Number(1))"),
        ("SELECT version()", "Probe(Version)"),
        ("SELECT * FROM pg_class", "tables"),
        ("set x = 'a'", "Ignore(\"SET\")"),
        ("begin isolation level serializable", "Begin"),
        ("end", "End(\"COMMIT\")"),
        ("PAUSE", "Order(Pause(None))"),
        ("pause App", "Order(Pause(Some(\"App\")))"),
        ("kill \"my db\"", "Order(Kill(\"my db\"))"),
        ("KILL_CLIENT 0x1F", "Order(KillClient(31))"),
        ("KILL", "unknown KILL"),
        ("ELECT ANYONE", "Order(Elect { anyone: true })"),
        ("frobnicate", "unknown frobnicate"),
        ("\"", "unknown \""),
    ] {
        assert_eq!(read(text), command, "{text}");
    }
    let waits = Command::Order(Order::Shutdown(Shutdown::WaitForClients));
    assert_eq!(parse("SHUTDOWN WAIT_FOR_CLIENTS"), Ok(waits));
    assert_eq!(parse("SELECT -5"), Ok(Command::Probe(Probe::Number(-5))));
}

#[test]
fn a_text_is_split_at_semicolons_outside_quotes() {
    assert_eq!(statements("a; b;;"), ["a", " b"]);
    assert_eq!(statements("SET x = 'a;b'; c -- d; e\n f"), ["SET x = 'a;b'", " c \n f"]);
    assert!(statements(" ; -- nothing").is_empty());
}
