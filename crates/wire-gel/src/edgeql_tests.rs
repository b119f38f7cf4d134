use super::*;

fn shown(text: &str) -> String {
    match Control::parse(text) {
        None => "none".to_owned(),
        Some(Control::Start(modes)) => modes.begin(),
        Some(Control::Savepoint(name)) => format!("savepoint {name}"),
        Some(Control::RollbackTo(name)) => format!("back to {name}"),
        Some(Control::Release(name)) => format!("release {name}"),
        Some(other @ (Control::Commit | Control::Rollback)) => other.status().to_owned(),
    }
}

#[test]
fn what_clients_send() {
    for (text, expected) in [
        ("START TRANSACTION ;", "BEGIN"),
        ("START TRANSACTION", "BEGIN"),
        (
            "START TRANSACTION ISOLATION SERIALIZABLE, READ ONLY, DEFERRABLE;",
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
        ),
        ("START TRANSACTION ISOLATION REPEATABLE READ;", "BEGIN ISOLATION LEVEL REPEATABLE READ"),
        ("START TRANSACTION NOT DEFERRABLE;", "BEGIN NOT DEFERRABLE"),
        ("start transaction read write", "BEGIN READ WRITE"),
        ("COMMIT;", "COMMIT"),
        ("COMMIT", "COMMIT"),
        ("ROLLBACK;", "ROLLBACK"),
        ("rollback", "ROLLBACK"),
        ("# why\n rollback # because\n ; # yes", "ROLLBACK"),
        ("DECLARE SAVEPOINT a;", "savepoint a"),
        ("declare savepoint `a b`", "savepoint a b"),
        ("ROLLBACK TO SAVEPOINT a;", "back to a"),
        ("RELEASE SAVEPOINT a", "release a"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn what_is_something_else() {
    for text in [
        "",
        ";",
        "#",
        "SELECT 1",
        "COMMIT COMMIT",
        "COMMIT;;",
        "START",
        "START TRANSACTION READ",
        "START TRANSACTION READ ONLY DEFERRABLE",
        "START TRANSACTION READ ONLY,",
        "START TRANSACTION ISOLATION READ COMMITTED",
        "START TRANSACTION; SELECT 1",
        "DECLARE SAVEPOINT",
        "DECLARE SAVEPOINT ``",
        "DECLARE SAVEPOINT `a",
        "DECLARE SAVEPOINT a b",
        "ROLLBACK TO a",
        "ROLLBACKS",
        "\u{0}",
    ] {
        assert_eq!(shown(text), "none", "{text:?}");
    }
    assert_eq!(shown(&format!("DECLARE SAVEPOINT {}", "x".repeat(64))), "none");
}

#[test]
fn modes_of_sql() {
    for (text, expected) in [
        ("", "BEGIN"),
        (
            "ISOLATION LEVEL serializable , read only",
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        ),
        ("isolation level read\ncommitted", "BEGIN ISOLATION LEVEL READ COMMITTED"),
        ("NOT  DEFERRABLE", "BEGIN NOT DEFERRABLE"),
        ("DEFERRABLE READ WRITE", "BEGIN READ WRITE DEFERRABLE"),
    ] {
        assert_eq!(Modes::from_sql(text.as_bytes()).begin(), expected, "{text}");
    }
}

#[test]
fn modes_that_say_nothing_take_others() {
    let some = Modes { access: Some(Access::ReadOnly), ..Modes::default() };
    let other = Modes { access: Some(Access::ReadWrite), deferrable: Some(true), isolation: None };
    assert_eq!(some.or(other).begin(), "BEGIN READ ONLY DEFERRABLE");
    assert!(Modes::default().is_empty() && !some.is_empty());
}
