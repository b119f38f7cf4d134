use super::*;

fn shown(text: &str) -> String {
    let class = Class::of(text);
    let bits: String =
        [(MODIFICATIONS, 'm'), (SESSION_CONFIG, 's'), (TRANSACTION, 't'), (DDL, 'd')]
            .into_iter()
            .filter(|(bit, _)| class.capabilities & bit != 0)
            .map(|(_, letter)| letter)
            .collect();
    let action = match class.action {
        Action::Run => "run".to_owned(),
        Action::Control(control) => control.status().to_owned(),
        Action::Refuse(_) => "refuse".to_owned(),
    };
    let read = if class.read_only { " reads" } else { "" };
    let leaves = if class.leaves { " leaves" } else { "" };
    format!("{bits} {action}{read}{leaves}").trim().to_owned()
}

#[test]
fn statements_are_classed() {
    for (text, expected) in [
        ("SELECT 1", "run reads"),
        ("(SELECT 1)", "run reads"),
        ("/* x */ -- y\n SELECT count(*) FROM t", "run reads"),
        ("SELECT f()", "run"),
        ("SELECT 'INSERT'", "run reads"),
        ("SELECT \"insert\" FROM t", "run reads"),
        ("VALUES (1)", "run reads"),
        ("TABLE t", "run reads"),
        ("SHOW server_version", "run reads"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "run reads"),
        ("WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x", "m run"),
        ("SELECT 1 INTO t", "m run"),
        ("SELECT * FROM t FOR UPDATE", "m run"),
        ("EXPLAIN SELECT 1", "run"),
        ("EXPLAIN INSERT INTO t VALUES (1)", "run"),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "m run"),
        ("EXPLAIN (ANALYZE) SELECT 1", "run"),
        ("INSERT INTO t VALUES (1)", "m run"),
        ("UPDATE t SET x = 1", "m run"),
        ("DELETE FROM t", "m run"),
        ("CALL p()", "m run"),
        ("DO $$ BEGIN END $$", "m run leaves"),
        ("LOCK t", "m run"),
        ("NOTIFY c", "m run"),
        ("CREATE TABLE t (x int)", "d run"),
        ("CREATE TEMP TABLE t (x int)", "d run leaves"),
        ("alter table t add y int", "d run"),
        ("TRUNCATE t", "d run"),
        ("VACUUM", "d run"),
        ("BEGIN", "t START TRANSACTION"),
        ("START TRANSACTION READ ONLY", "t START TRANSACTION"),
        ("COMMIT", "t COMMIT"),
        ("END", "t COMMIT"),
        ("ROLLBACK", "t ROLLBACK"),
        ("ABORT", "t ROLLBACK"),
        ("SAVEPOINT a", "t DECLARE SAVEPOINT"),
        ("ROLLBACK TO a", "t ROLLBACK TO SAVEPOINT"),
        ("RELEASE a", "t RELEASE SAVEPOINT"),
        ("COMMIT AND CHAIN", "t refuse"),
        ("PREPARE TRANSACTION 'x'", "t refuse"),
        ("COMMIT PREPARED 'x'", "t refuse"),
        ("SET x.y = 1", "s refuse"),
        ("RESET ALL", "s refuse"),
        ("LISTEN c", "s refuse"),
        ("PREPARE p AS SELECT 1", "s refuse"),
        ("DECLARE c CURSOR FOR SELECT 1", "s refuse"),
        ("LOAD 'x'", "s run"),
        ("SET LOCAL x.y = 1", "run"),
        ("SELECT set_config('a.b', 'c', false)", "run leaves"),
        ("SELECT pg_advisory_lock(1)", "run leaves"),
        ("COPY t FROM STDIN", "m refuse"),
        ("COPY t TO '/tmp/x'", "m refuse"),
        ("SELECT 1; COMMIT", "t run"),
        ("COMMIT; INSERT INTO t VALUES (1)", "mt run"),
        ("nonsense", "m run"),
        ("", "run reads"),
        ("-- nothing", "run reads"),
        ("SELECT 'open", "run"),
        ("/* open", "m run"),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn what_the_client_forbids() {
    let python = 0xFFFF_FFFF_FFFF_FFF9;
    for (capabilities, allowed, expected) in [
        (0, 0, None),
        (DDL | MODIFICATIONS, python, None),
        (TRANSACTION, python, Some("transaction control commands")),
        (SESSION_CONFIG, python, Some("session configuration queries")),
        (DDL, MODIFICATIONS, Some("DDL commands")),
        (MODIFICATIONS, 0, Some("data modification queries")),
    ] {
        let expected =
            expected.map(|what| format!("cannot execute {what}: disabled by the client"));
        assert_eq!(forbidden(capabilities, allowed), expected);
    }
}
