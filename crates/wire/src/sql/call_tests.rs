use crate::sql::statements;

fn sets(sql: &str) -> Option<String> {
    statements(sql.as_bytes()).next().expect("a statement").sets_config()
}

#[test]
fn a_set_to_default_is_told_from_a_value() {
    for (text, expected) in [
        ("SET a TO DEFAULT", true),
        ("set session a.b=default -- c", true),
        ("SET TIME ZONE DEFAULT", true),
        ("SET NAMES DEFAULT", true),
        ("SET a TO 'default'", false),
        ("SET a TO \"default\"", false),
        ("SET a TO 1 -- TO DEFAULT", false),
        ("SET a TO b, default", false),
        ("SET LOCAL a TO DEFAULT", false),
        ("SET SESSION AUTHORIZATION DEFAULT", false),
        ("SELECT 1 TO DEFAULT", false),
    ] {
        let statement = statements(text.as_bytes()).next().unwrap();
        assert_eq!(statement.sets_default(), expected, "{text}");
    }
}

#[test]
fn a_setting_given_by_literals_alone_is_seen() {
    for (sql, name) in [
        ("SELECT set_config('TimeZone', 'UTC', false)", "timezone"),
        ("select pg_catalog.set_config('search_path','a, ''b''',FALSE);", "search_path"),
        ("SELECT set_config('app.tenant', E'a\\'b', 'f')", "app.tenant"),
        ("/* x */ SELECT set_config ( 'role' , 'r' , 'false' ) -- y", "role"),
    ] {
        assert_eq!(sets(sql).as_deref(), Some(name), "{sql}");
    }
}

#[test]
fn whatever_else_stands_there_is_not_taken_for_it() {
    for sql in [
        "SELECT set_config('a', 'b', true)",
        "SELECT set_config('a', $1, false)",
        "SELECT set_config($1, 'b', false)",
        "SELECT set_config('a', 'b', false) FROM t",
        "SELECT set_config('a', 'b', false), 1",
        "SELECT set_config('a', 'b' || 'c', false)",
        "SELECT set_config('a''b', 'b', false)",
        "SELECT set_config('', 'b', false)",
        "SELECT my.set_config('a', 'b', false)",
        "SELECT 1, set_config('a', 'b', false)",
        "SELECT set_config('a', 'b', false",
        "SELECT set_config('a', 'b, false)",
        "SELECT set_config('a', NULL, false)",
    ] {
        assert_eq!(sets(sql), None, "{sql}");
    }
}

#[test]
fn the_release_of_all_locks_is_seen_alone() {
    let unlocks = |sql: &str| statements(sql.as_bytes()).next().expect("one").unlocks_all();
    assert!(unlocks("SELECT pg_advisory_unlock_all();"));
    assert!(unlocks("select pg_catalog.PG_advisory_unlock_all( )"));
    for sql in [
        "SELECT pg_advisory_unlock_all(), f()",
        "SELECT pg_advisory_unlock_all(1)",
        "SELECT pg_advisory_unlock(1)",
        "SELECT pg_advisory_unlock_all() FROM f()",
    ] {
        assert!(!unlocks(sql), "{sql}");
    }
}
