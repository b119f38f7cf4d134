use super::*;

fn verbs(sql: &str) -> String {
    let verbs: Vec<_> =
        statements(sql.as_bytes()).map(|statement| print(&statement.verb)).collect();
    verbs.join(" | ")
}

fn print(verb: &Verb<'_>) -> String {
    if let Verb::Begin { modes, read_only, plain } = verb {
        let modes = str::from_utf8(modes).unwrap();
        let read_only = if *read_only { "; read only" } else { "" };
        let plain = if *plain { "" } else { "; not plain" };
        return format!("Begin({modes}{read_only}{plain})");
    }
    format!("{verb:?}").replace(['"', '{', '}'], "").replace("  ", " ").trim().to_owned()
}

fn check(table: &[(&str, &str)]) {
    for (sql, expected) in table {
        assert_eq!(verbs(sql), *expected, "{sql}");
    }
}

#[test]
fn transactions() {
    check(&[
        ("BEGIN", "Begin()"),
        ("begin work", "Begin()"),
        ("BEGIN TRANSACTION;", "Begin()"),
        ("START TRANSACTION", "Begin()"),
        ("START", "Other"),
        ("START WORK", "Other"),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
            "Begin(ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE; read only)",
        ),
        (
            "START TRANSACTION isolation level repeatable read not deferrable",
            "Begin(isolation level repeatable read not deferrable)",
        ),
        ("BEGIN ISOLATION LEVEL READ COMMITTED", "Begin(ISOLATION LEVEL READ COMMITTED)"),
        ("BEGIN ISOLATION LEVEL READ UNCOMMITTED", "Begin(ISOLATION LEVEL READ UNCOMMITTED)"),
        ("BEGIN READ ONLY READ WRITE", "Begin(READ ONLY READ WRITE)"),
        ("BEGIN /* c */ READ ONLY", "Begin(/* c */ READ ONLY; read only)"),
        ("BEGIN READ", "Begin(READ; not plain)"),
        ("BEGIN READ ONLY,", "Begin(READ ONLY,; read only; not plain)"),
        ("BEGIN , READ ONLY", "Begin(, READ ONLY; not plain)"),
        ("BEGIN ISOLATION LEVEL", "Begin(ISOLATION LEVEL; not plain)"),
        ("BEGIN ISOLATION LEVEL REPEATABLE", "Begin(ISOLATION LEVEL REPEATABLE; not plain)"),
        ("BEGIN NOT", "Begin(NOT; not plain)"),
        ("BEGIN $1", "Begin($1; not plain)"),
        ("COMMIT", "Commit chain: false, plain: true"),
        ("commit work and chain", "Commit chain: true, plain: true"),
        ("COMMIT TRANSACTION AND NO CHAIN", "Commit chain: false, plain: true"),
        ("END", "Commit chain: false, plain: true"),
        ("END AND CHAIN", "Commit chain: true, plain: true"),
        ("COMMIT whatever", "Commit chain: false, plain: false"),
        ("COMMIT AND", "Commit chain: false, plain: false"),
        ("COMMIT AND CHAIN x", "Commit chain: false, plain: false"),
        ("COMMIT PREPARED 'x'", "CommitPrepared"),
        ("END PREPARED 'x'", "Commit chain: false, plain: false"),
        ("ROLLBACK", "Rollback chain: false"),
        ("ROLLBACK WORK AND CHAIN", "Rollback chain: true"),
        ("ABORT TRANSACTION", "Rollback chain: false"),
        ("ABORT AND NO CHAIN", "Rollback chain: false"),
        ("ROLLBACK whatever", "Other"),
        ("ROLLBACK AND", "Other"),
        ("ABORT TO x", "Other"),
        ("ROLLBACK PREPARED 'x'", "RollbackPrepared"),
        ("PREPARE TRANSACTION 'x'", "PrepareTransaction"),
        ("SAVEPOINT s", "Savepoint(s)"),
        ("SAVEPOINT", "Other"),
        ("SAVEPOINT a b", "Other"),
        ("SAVEPOINT 'a'", "Other"),
        ("SAVEPOINT select", "Other"),
        ("SAVEPOINT \"select\"", "Savepoint(select)"),
        ("ROLLBACK TO s", "RollbackTo(s)"),
        ("ROLLBACK WORK TO SAVEPOINT s", "RollbackTo(s)"),
        ("ROLLBACK TO SAVEPOINT", "RollbackTo(savepoint)"),
        ("ROLLBACK TO", "Other"),
        ("RELEASE s", "Release(s)"),
        ("RELEASE SAVEPOINT s", "Release(s)"),
        ("RELEASE", "Other"),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SetTransaction plain: true"),
        ("SET TRANSACTION READ ONLY, DEFERRABLE", "SetTransaction plain: true"),
        ("SET TRANSACTION SNAPSHOT 'x'", "SetTransaction plain: false"),
        ("SET TRANSACTION", "SetTransaction plain: false"),
        ("SET LOCAL TRANSACTION READ ONLY", "SetTransaction plain: false"),
        ("SET SESSION TRANSACTION READ ONLY", "SetTransaction plain: false"),
    ]);
}

#[test]
fn settings() {
    check(&[
        ("SET x = 1", "Set name: x"),
        ("SET Search_Path TO a, b", "Set name: search_path"),
        ("SET \"Search_Path\" TO a", "Set name: search_path"),
        ("SET SESSION DateStyle TO iso", "Set name: datestyle"),
        ("SET App.Name = 'x'", "Set name: app.name"),
        ("SET a.b.c = 'x'", "Set name: a.b.c"),
        ("SET a.", "Other"),
        ("SET session.user_id = '1'", "Set name: session.user_id"),
        ("SET SESSION session.user_id = '1'", "Set name: session.user_id"),
        ("SET local.x TO 1", "Set name: local.x"),
        ("SET transaction.x = 1", "Set name: transaction.x"),
        ("SET role.x = 1", "Set name: role.x"),
        ("SET names.x = 1", "Set name: names.x"),
        ("RESET session.user_id", "Reset name: session.user_id"),
        ("RESET names.x", "Reset name: names.x"),
        ("SET LOCAL x = 1", "SetLocal"),
        ("SET TIME ZONE 'UTC'", "Set name: timezone"),
        ("SET SESSION TIME ZONE LOCAL", "Set name: timezone"),
        ("SET NAMES 'UTF8'", "Set name: client_encoding"),
        ("SET ROLE ann", "Set name: role"),
        ("SET role TO ann", "Set name: role"),
        ("SET SCHEMA 'x'", "Set name: search_path"),
        ("SET XML OPTION DOCUMENT", "Set name: xmloption"),
        ("SET SESSION AUTHORIZATION ann", "Set name: session_authorization"),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "Set name: session characteristics",
        ),
        ("SET", "Other"),
        ("SET 'x'", "Other"),
        ("RESET x", "Reset name: x"),
        ("RESET a.B", "Reset name: a.b"),
        ("RESET x y", "Other"),
        ("RESET", "Other"),
        ("RESET ALL", "ResetAll"),
        ("RESET ALL x", "Other"),
        ("RESET TIME ZONE", "Reset name: timezone"),
        ("RESET ROLE", "Reset name: role"),
        ("RESET SESSION AUTHORIZATION", "Reset name: session_authorization"),
        ("RESET TRANSACTION ISOLATION LEVEL", "Reset name: transaction_isolation"),
        ("DISCARD ALL", "DiscardAll"),
        ("DISCARD ALL x", "Other"),
        ("DISCARD PLANS", "DiscardOther"),
        ("DISCARD SEQUENCES", "DiscardOther"),
        ("DISCARD TEMP", "DiscardOther"),
        ("DISCARD TEMPORARY", "DiscardOther"),
        ("DISCARD", "Other"),
        ("SHOW x", "Show"),
    ]);
}

#[test]
fn session_state() {
    check(&[
        ("LISTEN c", "Listen"),
        ("LISTEN", "Other"),
        ("LISTEN c d", "Other"),
        ("UNLISTEN *", "Unlisten all: true"),
        ("UNLISTEN c", "Unlisten all: false"),
        ("UNLISTEN * x", "Other"),
        ("NOTIFY c, 'x'", "Notify"),
        ("PREPARE p AS SELECT 1", "Prepare name: p"),
        ("PREPARE \"P\" (int) AS SELECT $1", "Prepare name: P"),
        ("PREPARE transaction AS SELECT 1", "Prepare name: transaction"),
        ("PREPARE", "Other"),
        ("EXECUTE P(1)", "Execute name: p"),
        ("EXECUTE", "Other"),
        ("DEALLOCATE p", "Deallocate name: Some(p)"),
        ("DEALLOCATE PREPARE p", "Deallocate name: Some(p)"),
        ("DEALLOCATE PREPARE", "Deallocate name: Some(prepare)"),
        ("DEALLOCATE ALL", "Deallocate name: None"),
        ("DEALLOCATE PREPARE ALL", "Deallocate name: None"),
        ("DEALLOCATE \"all\"", "Deallocate name: Some(all)"),
        ("DEALLOCATE", "Other"),
        ("DECLARE c CURSOR FOR SELECT 1", "DeclareCursor hold: false"),
        ("DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT 1", "DeclareCursor hold: true"),
        ("DECLARE cursor BINARY CURSOR WITHOUT HOLD FOR SELECT 1", "DeclareCursor hold: false"),
        ("DECLARE c CURSOR FOR SELECT 1 WITH HOLD", "DeclareCursor hold: false"),
        ("DECLARE c", "Other"),
        ("FETCH ALL IN c", "Fetch"),
        ("MOVE c", "Fetch"),
        ("CLOSE c", "CloseCursor all: false"),
        ("CLOSE ALL", "CloseCursor all: true"),
        ("CLOSE", "Other"),
        ("COPY t FROM STDIN", "Copy from_stdin: true, to_stdout: false"),
        ("COPY \"from\" (a, b) FROM stdin (FORMAT csv)", "Copy from_stdin: true, to_stdout: false"),
        ("COPY t FROM STDOUT", "Copy from_stdin: true, to_stdout: false"),
        ("COPY (SELECT x FROM t) TO STDOUT", "Copy from_stdin: false, to_stdout: true"),
        ("COPY t FROM '/tmp/x'", "Copy from_stdin: false, to_stdout: false"),
        ("COPY t TO PROGRAM 'x'", "Copy from_stdin: false, to_stdout: false"),
        ("COPY t", "Other"),
        ("CREATE TEMP TABLE t ()", "CreateTemporary"),
        ("CREATE OR REPLACE LOCAL TEMPORARY VIEW v AS SELECT 1", "CreateTemporary"),
        ("CREATE GLOBAL TEMP SEQUENCE s", "CreateTemporary"),
        ("CREATE TABLE temp ()", "Other"),
    ]);
}

#[test]
fn the_rest() {
    check(&[
        ("SELECT 1", "Select"),
        ("sElEcT 1", "Select"),
        ("SELECT", "Select"),
        ("(SELECT 1)", "Select"),
        ("( ((VALUES (1))))", "Values"),
        ("(DROP TABLE t)", "Other"),
        ("(COMMIT)", "Other"),
        ("SELECTED", "Other"),
        ("\"SELECT\"", "Other"),
        ("TABLE t", "Table"),
        ("WITH x AS (SELECT 1) SELECT 1", "With"),
        ("INSERT INTO t DEFAULT VALUES", "Insert"),
        ("UPDATE t SET x = 1", "Update"),
        ("DELETE FROM t", "Delete"),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING", "Merge"),
        ("EXPLAIN SELECT 1", "Explain"),
        ("CALL p()", "Call"),
        ("DO $$ BEGIN COMMIT; END $$", "Do"),
        ("LOCK TABLE t", "Lock"),
        ("VACUUM", "Other"),
        ("averylongwordthatisnokeyword", "Other"),
        ("$$x$$", "Other"),
        ("/* c */ -- d\n COMMIT -- e", "Commit chain: false, plain: true"),
    ]);
}

#[test]
fn names_are_folded_as_postgresql_folds_them() {
    let long = "x".repeat(64);
    let umlauts = "ä".repeat(32);
    for (name, expected) in [
        ("abc", "abc"),
        ("AbC", "abc"),
        ("ÄB", "Äb"),
        ("\"AbC\"", "AbC"),
        ("\"a\"\"b\"", "a\"b"),
        ("\"a;b\"", "a;b"),
        (&long, &long[..63]),
        (&umlauts, &umlauts[..62]),
    ] {
        let sql = format!("SAVEPOINT {name}");
        let statement = statements(sql.as_bytes()).next().unwrap();
        assert_eq!(statement.verb, Verb::Savepoint(expected.into()), "{name}");
    }
    let borrowed = statements(b"SAVEPOINT abc").next().unwrap().verb;
    assert!(matches!(borrowed, Verb::Savepoint(Cow::Borrowed("abc"))), "nothing is allocated");
    for sql in ["SAVEPOINT U&\"a\"", "SAVEPOINT \"\""] {
        assert_eq!(statements(sql.as_bytes()).next().unwrap().verb, Verb::Other, "{sql}");
    }
    let latin1 = statements(b"SAVEPOINT \xe4").next().unwrap().verb;
    assert_eq!(latin1, Verb::Savepoint("\u{fffd}".into()));
}

#[test]
fn channels() {
    let channel = |sql: &'static str| statements(sql.as_bytes()).next().unwrap().channel();
    assert_eq!(channel("LISTEN Abc").unwrap(), "abc");
    assert_eq!(channel("UNLISTEN \"Abc\"").unwrap(), "Abc");
    assert_eq!(channel("NOTIFY abc, 'x'").unwrap(), "abc");
    assert_eq!(channel("UNLISTEN *"), None);
    assert_eq!(channel("SAVEPOINT abc"), None);
}

fn texts(sql: &str) -> String {
    let texts: Vec<_> = statements(sql.as_bytes())
        .map(|statement| {
            let text = str::from_utf8(statement.text).unwrap();
            if statement.cut { format!("{text} (cut)") } else { text.to_owned() }
        })
        .collect();
    texts.join(" | ")
}

#[test]
fn statements_end_at_semicolons_of_their_own() {
    for (sql, expected) in [
        ("", ""),
        (" ; ;; -- ; \n /* ; */ ;", ""),
        ("a;b", "a | b"),
        (" a ; b c ; ", "a | b c"),
        ("/* x */ a /* y */ b -- z", "a /* y */ b"),
        ("a ';' b; c", "a ';' b | c"),
        ("a \";\" b; c", "a \";\" b | c"),
        ("a $x$;$x$ b; c", "a $x$;$x$ b | c"),
        ("a /*;/*;*/;*/ b; c", "a /*;/*;*/;*/ b | c"),
        ("CREATE RULE r AS ON x DO (a; b); c", "CREATE RULE r AS ON x DO (a; b) | c"),
        ("a ) ; b", "a ) | b"),
        ("a 'b; c", "a 'b; c (cut)"),
        ("a; b /* c", "a | b (cut)"),
        ("a; /* c", "a | /* c (cut)"),
        ("/* c", "/* c (cut)"),
    ] {
        assert_eq!(texts(sql), expected, "{sql:?}");
    }
}

#[test]
fn bodies_of_routines_are_not_torn() {
    for (sql, expected) in [
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; COMMIT",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END | COMMIT",
        ),
        (
            "create or replace procedure p() begin atomic select case when a then b end; \
             select (case when a then b end); end; x",
            "create or replace procedure p() begin atomic select case when a then b end; \
             select (case when a then b end); end | x",
        ),
        (
            "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1 END; END; COMMIT",
            "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1 END; END | COMMIT",
        ),
        ("CREATE FUNCTION f() BEGIN ATOMIC END; x", "CREATE FUNCTION f() BEGIN ATOMIC END | x"),
        ("CREATE FUNCTION begin() AS 'a;'; x", "CREATE FUNCTION begin() AS 'a;' | x"),
        ("CREATE FUNCTION f() BEGIN; ATOMIC; x", "CREATE FUNCTION f() BEGIN | ATOMIC | x"),
        ("CREATE TABLE t BEGIN ATOMIC a; b", "CREATE TABLE t BEGIN ATOMIC a | b"),
        ("CREATE OR FUNCTION f BEGIN ATOMIC a; b", "CREATE OR FUNCTION f BEGIN ATOMIC a | b"),
        ("BEGIN ATOMIC; x", "BEGIN ATOMIC | x"),
        ("CREATE FUNCTION f() BEGIN ATOMIC a; b", "CREATE FUNCTION f() BEGIN ATOMIC a; b"),
    ] {
        assert_eq!(texts(sql), expected, "{sql:?}");
    }
}

#[test]
fn marks() {
    for (sql, expected) in [
        ("SELECT pg_advisory_lock(1)", "L"),
        ("SELECT PG_TRY_ADVISORY_LOCK(1)", "L"),
        ("SELECT pg_catalog.pg_advisory_lock_shared(1)", "L"),
        ("SELECT pg_try_advisory_lock_shared(1)", "L"),
        ("SELECT \"pg_advisory_lock\"(1)", "L"),
        ("SELECT \"PG_advisory_lock\"(1)", ""),
        ("SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)", ""),
        ("SELECT pg_advisory_unlock(1)", ""),
        ("SELECT 'pg_advisory_lock(1)' -- pg_advisory_lock(1)", ""),
        ("SELECT U&\"pg\\005fadvisory_lock\"(1)", "LS"),
        ("SELECT set_config('a', 'b', true)", "S"),
        ("UPDATE t SET config = 1", ""),
        ("CREATE TEMP TABLE t ()", "T"),
        ("EXPLAIN ANALYZE CREATE LOCAL TEMPORARY TABLE t AS SELECT 1", "T"),
        ("CREATE TABLE pg_temp.t ()", "T"),
        ("CREATE TABLE \"pg_temp\" . t ()", "T"),
        ("SET search_path = public, pg_temp", ""),
        ("SELECT 1 INTO TEMP t", "T"),
        ("SELECT 1 INTO LOCAL TEMPORARY TABLE t", "T"),
        ("SELECT 1 INTO TEMP \"t\" FROM x", "T"),
        ("SELECT 1 INTO temp FROM x", ""),
        ("SELECT 1 INTO temp", ""),
        ("INSERT INTO temp SELECT 1", ""),
        ("WITH x AS (SELECT 1) INSERT INTO temp SELECT 1", ""),
        ("SELECT temp, temporary FROM t", ""),
        ("SELECT 1; SELECT set_config('a', 'b', true); SELECT 2", "S"),
    ] {
        let marks: String = statements(sql.as_bytes())
            .flat_map(|statement| {
                let marks = statement.marks;
                let flags = [marks.session_lock(), marks.set_config(), marks.temporary()];
                assert_eq!(marks.is_empty(), flags == [false; 3]);
                flags.into_iter().zip("LST".chars()).filter_map(|(set, name)| set.then_some(name))
            })
            .collect();
        assert_eq!(marks, expected, "{sql}");
    }
}

#[test]
fn blank_is_what_postgresql_answers_with_empty_query() {
    for (sql, blank) in [
        ("", true),
        (" ;; \n", true),
        ("-- x", true),
        ("/* x */;", true),
        ("/* x", false),
        (";a", false),
        ("''", false),
    ] {
        assert_eq!(is_blank(sql.as_bytes()), blank, "{sql:?}");
    }
}

#[test]
fn the_last_statement_of_a_truncated_text_promises_less() {
    let last = |sql: &'static str| statements(sql.as_bytes()).truncated().last();
    let cut = |sql| last(sql).map(|statement| (statement.verb, statement.cut)).unwrap();
    assert_eq!(cut("COMMIT"), (Verb::Commit { chain: false, plain: false }, true));
    assert_eq!(cut("COMMIT;"), (Verb::Commit { chain: false, plain: true }, false));
    assert_eq!(cut("ROLLBACK"), (Verb::Other, true), "it may go on: TO");
    assert_eq!(cut("ROLLBACK; "), (Verb::Rollback { chain: false }, false));
    let begin = Verb::Begin { modes: b"", read_only: false, plain: false };
    assert_eq!(cut("BEGIN"), (begin, true));
    assert_eq!(cut("SET TRANSACTION READ ONLY"), (Verb::SetTransaction { plain: false }, true));
    assert_eq!(cut("SELECT 1; INSERT INTO t VALUES ('"), (Verb::Insert, true));
    assert_eq!(last(" -- x"), None);
}

#[test]
fn backslashes_move_the_end_of_a_statement() {
    let sql = br"SELECT '\'; COMMIT; --'";
    assert_eq!(statements(sql).count(), 2);
    let mut escaped = statements(sql).backslash_escapes();
    assert_eq!(escaped.next().unwrap().verb, Verb::Select);
    assert_eq!(escaped.next(), None);
}

#[test]
fn work_is_seen_at_a_glance_and_nothing_else_passes_for_it() {
    for sql in ["SELECT 1", " \n select\t1", "Insert INTO t", "with x as (select 1) select 2"] {
        assert!(begins_with_work(sql.as_bytes()), "{sql}");
    }
    for sql in [
        "",
        ";",
        "SELECT",
        "select_1 x",
        "select$ x",
        "select\u{e9} x",
        "selects x",
        "/* */ select 1",
        "begin",
        "commit; select 1",
        "(select 1)",
        "select(1)",
        "withdraw x",
    ] {
        assert!(!begins_with_work(sql.as_bytes()), "{sql}");
    }
}

#[test]
fn words_are_found_and_strings_are_not() {
    let first = |text| statements(text).next().unwrap();
    for (text, writes, names) in [
        (&b"SELECT 1"[..], false, false),
        (b"WITH x AS (delete FROM t) SELECT 1", true, false),
        (b"SELECT 'INSERT', \"update\" -- merge", false, false),
        (b"SELECT 1 INTO t", true, false),
        (b"EXPLAIN (analyze) SELECT 'ANALYZE'", false, true),
        (b"EXPLAIN SELECT $$ANALYZE$$", false, false),
    ] {
        let statement = first(text);
        assert_eq!(statement.names_a_write(), writes, "{statement:?}");
        assert_eq!(statement.names("ANALYZE"), names, "{statement:?}");
    }
}
