//! The words of the console: from a text to a command.

use super::show::{self, Show};

/// What the console is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Nothing.
    Empty,
    /// `SHOW HELP`.
    Help,
    /// `SHOW …`: a table.
    Show(&'static Show),
    /// `SHOW STATE_OF <client>`.
    StateOf(u64),
    /// A question that drivers and pools ask of every server, with its answer.
    Probe(Probe),
    /// Something that a server has to accept and that means nothing here, with its command tag.
    Ignore(&'static str),
    /// `BEGIN`.
    Begin,
    /// `COMMIT` or `ROLLBACK`, as its command tag says.
    End(&'static str),
    /// Something for administrators.
    Order(Order),
}

/// What only administrators may ask for. A name is that of a database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    /// `PAUSE [database]`.
    Pause(Option<String>),
    /// `RESUME [database]`.
    Resume(Option<String>),
    /// `RECONNECT [database]`: every backend connection is replaced when it is free.
    Reconnect(Option<String>),
    /// `ELECT [ANYONE]`: the epoch is retired and the leader looked for anew.
    Elect {
        /// What is known of the cluster is forgotten.
        anyone: bool,
    },
    /// `RELOAD`.
    Reload,
    /// `DISABLE database`.
    Disable(String),
    /// `ENABLE database`.
    Enable(String),
    /// `KILL database`.
    Kill(String),
    /// `KILL_CLIENT client`.
    KillClient(u64),
    /// `SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]`.
    Shutdown(Shutdown),
}

/// How the server is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shutdown {
    /// At once.
    Now,
    /// When open transactions have finished, as after SIGTERM.
    WaitForServers,
    /// When all clients have left by themselves.
    WaitForClients,
}

/// A question with a fixed answer of one column and one row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// `SELECT 1` and other whole numbers.
    Number(i64),
    /// `SELECT version()`.
    Version,
    /// `SELECT current_database()`.
    Database,
    /// `SELECT current_user`.
    User,
    /// `SHOW` of a parameter that every PostgreSQL has.
    Parameter(&'static str, &'static str),
}

/// Why a text is no command, in words for whoever typed it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoCommand {
    /// It is none.
    Unknown(String),
    /// It asks for a table of PostgreSQL's.
    Tables,
}

/// The parameters that drivers ask for when they connect.
pub const PARAMETERS: &[(&str, &str)] = &[
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150000"),
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("integer_datetimes", "on"),
    ("datestyle", "ISO, MDY"),
    ("timezone", "Etc/UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
    ("default_transaction_read_only", "off"),
    ("in_hot_standby", "off"),
    ("search_path", "public"),
    ("max_identifier_length", "63"),
];

/// What clients are told of the console's version: PostgreSQL's protocol as of 15.
pub const SERVER_VERSION: &str = concat!("15.0 (Everline ", env!("CARGO_PKG_VERSION"), ")");

/// The statements of a text, split at semicolons outside quotes.
#[must_use]
pub fn statements(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut one = String::new();
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '-') if characters.peek() == Some(&'-') => {
                while characters.peek().is_some_and(|next| *next != '\n') {
                    characters.next();
                }
            }
            (None, ';') => all.push(std::mem::take(&mut one)),
            (None, '\'' | '"') => {
                quote = Some(character);
                one.push(character);
            }
            (Some(open), close) if open == close => {
                quote = None;
                one.push(character);
            }
            (None | Some(_), other) => one.push(other),
        }
    }
    all.push(one);
    all.retain(|one| !one.trim().is_empty());
    all
}

/// A word of a statement: what was in quotes keeps its case.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        let word;
        if let ('"' | '\'', Some((inner, after))) = (first, rest[1..].split_once(first)) {
            (word, rest) = (inner.to_owned(), after);
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (one, after) = rest.split_at(end);
            (word, rest) = (one.to_owned(), after);
        }
        words.push(word);
        rest = rest.trim_start();
    }
    words
}

/// Reads one statement.
///
/// # Errors
/// [`NoCommand`].
pub fn parse(text: &str) -> Result<Command, NoCommand> {
    let given = words(text);
    let upper: Vec<String> = given.iter().map(|word| word.to_ascii_uppercase()).collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    let unknown = || NoCommand::Unknown(text.trim().chars().take(60).collect());
    let name = |at: usize| given.get(at).cloned().ok_or_else(unknown);
    Ok(match upper.as_slice() {
        [] => Command::Empty,
        ["SHOW", "HELP"] | ["HELP" | "\\?"] => Command::Help,
        ["SHOW", "STATE_OF", client] => Command::StateOf(number(client).ok_or_else(unknown)?),
        ["SHOW", what @ ..] => shown(what).ok_or_else(unknown)?,
        ["SELECT", ..] => Command::Probe(probe(text)?),
        ["WITH" | "TABLE" | "VALUES" | "INSERT" | "UPDATE" | "DELETE", ..] => {
            return Err(NoCommand::Tables);
        }
        ["SET", ..] => Command::Ignore("SET"),
        ["RESET", ..] => Command::Ignore("RESET"),
        ["DISCARD", "ALL"] => Command::Ignore("DISCARD ALL"),
        ["DEALLOCATE", ..] => Command::Ignore("DEALLOCATE"),
        ["CLOSE", ..] => Command::Ignore("CLOSE CURSOR"),
        ["UNLISTEN", ..] => Command::Ignore("UNLISTEN"),
        ["BEGIN", ..] | ["START", "TRANSACTION", ..] => Command::Begin,
        ["COMMIT" | "END", ..] => Command::End("COMMIT"),
        ["ROLLBACK" | "ABORT", ..] => Command::End("ROLLBACK"),
        ["PAUSE"] => Command::Order(Order::Pause(None)),
        ["PAUSE", _] => Command::Order(Order::Pause(Some(name(1)?))),
        ["RESUME"] => Command::Order(Order::Resume(None)),
        ["RESUME", _] => Command::Order(Order::Resume(Some(name(1)?))),
        ["RECONNECT"] => Command::Order(Order::Reconnect(None)),
        ["RECONNECT", _] => Command::Order(Order::Reconnect(Some(name(1)?))),
        ["ELECT"] => Command::Order(Order::Elect { anyone: false }),
        ["ELECT", "ANYONE"] => Command::Order(Order::Elect { anyone: true }),
        ["RELOAD"] => Command::Order(Order::Reload),
        ["DISABLE", _] => Command::Order(Order::Disable(name(1)?)),
        ["ENABLE", _] => Command::Order(Order::Enable(name(1)?)),
        ["KILL", _] => Command::Order(Order::Kill(name(1)?)),
        ["KILL_CLIENT", client] => {
            Command::Order(Order::KillClient(number(client).ok_or_else(unknown)?))
        }
        ["SHUTDOWN"] => Command::Order(Order::Shutdown(Shutdown::Now)),
        ["SHUTDOWN", "WAIT_FOR_SERVERS"] => {
            Command::Order(Order::Shutdown(Shutdown::WaitForServers))
        }
        ["SHUTDOWN", "WAIT_FOR_CLIENTS"] => {
            Command::Order(Order::Shutdown(Shutdown::WaitForClients))
        }
        _ => return Err(unknown()),
    })
}

/// A client's number, or its `ptr`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0X") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok(),
        None => text.parse().ok(),
    }
}

fn shown(what: &[&str]) -> Option<Command> {
    let [what] = what else {
        // `SHOW TRANSACTION ISOLATION LEVEL` is how JDBC asks.
        return (what == ["TRANSACTION", "ISOLATION", "LEVEL"]).then_some(Command::Probe(
            Probe::Parameter("transaction_isolation", "read committed"),
        ));
    };
    if let Some(table) = show::find(what) {
        return Some(Command::Show(table));
    }
    let mut known = PARAMETERS.iter();
    let (name, value) = known.find(|(name, _)| name.eq_ignore_ascii_case(what))?;
    Some(Command::Probe(Probe::Parameter(name, value)))
}

fn probe(text: &str) -> Result<Probe, NoCommand> {
    let asked: String = text.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    if let Ok(number) = asked.parse() {
        return Ok(Probe::Number(number));
    }
    match asked.to_ascii_lowercase().trim_start_matches("pg_catalog.") {
        "version()" => Ok(Probe::Version),
        "current_database()" | "current_catalog" => Ok(Probe::Database),
        "current_user" | "session_user" | "user" => Ok(Probe::User),
        _ => Err(NoCommand::Tables),
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
