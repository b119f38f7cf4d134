//! What is answered here and what is sent, while all is well.

use super::machine::GelPolicy;
use super::script_tests::{Play, check, check_with, policy, with_settings};

#[test]
fn a_first_shot_is_described_and_run() {
    check(
        "
        > O:SELECT 1                                 | run
        lease                                        | => P:SELECT 1 Ds S
        < 1 / t / T:x.23.0 / Z:I                     | => P:SELECT 1 B Dp E S
        < 1 / 2 / T:x.23.1 / D:abcd / C:SELECT 1     | T:0 / D
        < Z:I                                        | C:SELECT 1 ; done
        > S                                          | Z:I
        > O:SELECT 1                                 | run
        lease                                        | => P:SELECT 1 B Dp E S
        < 1 / 2 / T:x.23.1 / D:abcd / C:SELECT 1 / Z:I | T:0 / D / C:SELECT 1 ; done
    ",
    );
}

#[test]
fn a_described_statement_takes_arguments() {
    check(
        "
        > P:SELECT $1                                | run
        lease                                        | => P:SELECT $1 Ds S
        < 1 / t:25 / T:x.25.0 / Z:I                  | T:0 ; done
        > P:SELECT $1                                | T:0
        > S                                          | Z:I
        > O:SELECT $1                                | T:0 / E:parameters
        > S                                          | Z:I
        > A:SELECT $1                                | run
        lease                                        | => P:SELECT $1 B Dp E S
        < 1 / 2 / T:x.25.1 / D:x / C:SELECT 1 / Z:I  | T:0 / D / C:SELECT 1 ; done
    ",
    );
}

#[test]
fn domains_are_asked_for_once() {
    check(
        "
        > P:SELECT $1                                | run
        lease                                        | => P:SELECT $1 Ds S
        < 1 / t:99999 / T:x.25.0 / Z:I               | => P:domains B E S
        < 1 / 2 / D:99999,23 / C:SELECT 1 / Z:I      | T:0 ; done
        > A:SELECT $1                                | run
        lease                                        | => P:SELECT $1 B Dp E S
    ",
    );
}

#[test]
fn columns_that_have_changed_are_described_anew() {
    check(
        "
        > O:TABLE t                                  | run
        lease                                        | => P:TABLE t Ds S
        < 1 / t / T:x.23.0 / Z:I                     | => P:TABLE t B Dp E S
        < 1 / 2 / T:x.23.1 / C:SELECT 0 / Z:I        | T:0 / C:SELECT 0 ; done
        > O:TABLE t                                  | run
        lease                                        | => P:TABLE t B Dp E S
        < 1 / 2 / T:x.25.1 / C:SELECT 0 / Z:I        | T:0 / C:SELECT 0 ; done
        > O:TABLE t                                  | run
        lease                                        | => P:TABLE t Ds S
    ",
    );
}

#[test]
fn a_transaction_begins_with_its_first_statement() {
    check(
        "
        > Q:START TRANSACTION ISOLATION REPEATABLE READ; | C:START TRANSACTION
        > S                                          | Z:T
        > N:INSERT INTO t VALUES (1)                 | run
        lease                                        | => P:BEGIN ISOLATION LEVEL REPEATABLE READ B E P:INSERT INTO t VALUES (1) Ds S
        < 1 / 2 / C:BEGIN / 1 / t / n / Z:T          | => P:INSERT INTO t VALUES (1) B Dp E S
        < 1 / 2 / n / C:INSERT 0 1 / Z:T             | T:bare:1 / C:INSERT 0 1 ; done
        > S                                          | Z:T
        > Q:COMMIT;                                  | run
        lease                                        | => P:COMMIT B E S
        < 1 / 2 / C:COMMIT / Z:I                     | C:COMMIT ; done
        > S                                          | Z:I
    ",
    );
}

#[test]
fn a_transaction_that_did_nothing_needs_nobody() {
    check(
        "
        > Q:START TRANSACTION    | C:START TRANSACTION
        > Q:COMMIT               | C:COMMIT
        > Q:START TRANSACTION    | C:START TRANSACTION
        > Q:ROLLBACK             | C:ROLLBACK
        > Q:rollback             | C:ROLLBACK
        > Q:COMMIT               | E:transaction
        > S                      | Z:I
        > Q:START TRANSACTION    | C:START TRANSACTION
        > Q:START TRANSACTION    | E:transaction
        > S                      | Z:T
    ",
    );
}

#[test]
fn a_failed_transaction_waits_for_its_end() {
    check(
        "
        > Q:START TRANSACTION    | C:START TRANSACTION
        > O:nonsense             | run
        lease                    | => P:BEGIN B E P:nonsense Ds S
        < 1 / 2 / C:BEGIN / E:42601 / Z:E | E:syntax ; done
        > O:SELECT 1             |
        > S                      | Z:E
        > O:SELECT 1             | E:transaction
        > S                      | Z:E
        > Q:COMMIT               | run
        lease                    | => P:ROLLBACK B E S
        < 1 / 2 / C:ROLLBACK / Z:I | E:transaction ; done
        > S                      | Z:I
    ",
    );
}

#[test]
fn savepoints() {
    check(
        "
        > Q:DECLARE SAVEPOINT a  | E:transaction
        > S                      | Z:I
        > Q:START TRANSACTION    | C:START TRANSACTION
        > Q:DECLARE SAVEPOINT `a\"b` | run
        lease                    | => P:BEGIN B E P:SAVEPOINT \"a\"\"b\" B E S
        < 1 / 2 / C:BEGIN / 1 / 2 / C:SAVEPOINT / Z:T | C:DECLARE SAVEPOINT ; done
        > O:nonsense             | run
        lease                    | => P:nonsense Ds S
        < E:42601 / Z:E          | E:syntax ; done
        > S                      | Z:E
        > Q:RELEASE SAVEPOINT a  | E:transaction
        > S                      | Z:E
        > Q:ROLLBACK TO SAVEPOINT a | run
        lease                    | => P:ROLLBACK TO SAVEPOINT \"a\" B E S
        < 1 / 2 / C:ROLLBACK / Z:T | C:ROLLBACK TO SAVEPOINT ; done
        > S                      | Z:T
    ",
    );
}

#[test]
fn a_commit_that_postgresql_refuses_ends_the_transaction() {
    check(
        "
        > Q:START TRANSACTION    | C:START TRANSACTION
        > Q:DECLARE SAVEPOINT a  | run
        lease                    | => P:BEGIN B E P:SAVEPOINT \"a\" B E S
        < 1 / 2 / C:BEGIN / 1 / 2 / C:SAVEPOINT / Z:T | C:DECLARE SAVEPOINT ; done
        > Q:COMMIT               | run
        lease                    | => P:COMMIT B E S
        < 1 / 2 / E:23503 / Z:I  | E:constraint ; done
        > S                      | Z:I
        > Q:ROLLBACK             | C:ROLLBACK
    ",
    );
}

#[test]
fn options_of_a_single_statement_wrap_it() {
    check(
        "
        > N:INSERT INTO t VALUES (1) ~ serializable | run
        lease                    | => P:INSERT INTO t VALUES (1) Ds S
        < 1 / t / n / Z:I        | => P:BEGIN ISOLATION LEVEL SERIALIZABLE B E P:INSERT INTO t VALUES (1) B Dp E P:COMMIT B E S
        < 1 / 2 / C:BEGIN / 1 / 2 / n / C:INSERT 0 1 / 1 / 2 / C:COMMIT / Z:I | T:bare:1 / C:INSERT 0 1 ; done
        > N:INSERT INTO t VALUES (1) ~ serializable | run
        lease                    | => P:BEGIN ISOLATION LEVEL SERIALIZABLE B E P:INSERT INTO t VALUES (1) B Dp E P:COMMIT B E S
        < 1 / 2 / C:BEGIN / 1 / 2 / n / E:23505 / Z:E | => Q:ROLLBACK ; T:bare:1
        < C:ROLLBACK / Z:I       | E:constraint ; done
        > S                      | Z:I
    ",
    );
}

#[test]
fn a_connection_wears_the_sessions_settings() {
    check_with(
        with_settings(),
        "
        > N:SELECT 1             | run
        lease                    | => Q:SELECT pg_catalog.set_config(E'default_transaction_isolation',E'serializable',false);
        < T:set_config.25.0 / D:serializable / C:SELECT 1 / Z:I | => P:SELECT 1 Ds S
        < 1 / t / T:x.23.0 / Z:I | => P:SELECT 1 B Dp E S
        < 1 / 2 / T:x.23.1 / D:abcd / C:SELECT 1 / Z:I | T:bare:0 / C:SELECT 1 ; done
        > N:SELECT 1             | run
        lease                    | => P:SELECT 1 B Dp E S
    ",
    );
}

#[test]
fn what_is_not_served_says_so() {
    check(
        "
        > Q:select Movie         | E:unsupported
        > S                      | Z:I
        > O:COPY t FROM STDIN    | E:unsupported
        > S                      | Z:I
        > O:SET x.y = 1          | E:unsupported
        > S                      | Z:I
        > J:SELECT 1             | E:unsupported
        > S                      | Z:I
        > dump                   | E:unsupported
        > O:SELECT 1             |
        > S                      | Z:I
        > X                      | close
    ",
    );
}

#[test]
fn edgeql_may_be_sql() {
    check_with(
        Play::new(GelPolicy { edgeql_as_sql: true, ..policy() }),
        "
        > Q:INSERT INTO t VALUES (1) | run
        lease                    | => P:INSERT INTO t VALUES (1) Ds S
        < 1 / t / n / Z:I        | => P:INSERT INTO t VALUES (1) B Dp E S
        < 1 / 2 / n / C:INSERT 0 1 / Z:I | T:bare:1 / C:INSERT 0 1 ; done
    ",
    );
}

#[test]
fn notices_go_to_whom_they_concern() {
    check(
        "
        > N:CALL p()             | run
        lease                    | => P:CALL p() Ds S
        < N:w / 1 / t / n / Z:I  | => P:CALL p() B Dp E S
        < 1 / 2 / n / N:w / C:CALL / Z:I | T:bare:1 / L:true / C:CALL ; done
    ",
    );
}

/// What leaves something on its connection is not for the next client to find.
#[test]
fn what_leaves_something_spoils_its_connection() {
    for (sql, spoilt) in [
        ("SELECT 1", false),
        ("CREATE TEMP TABLE t (x int)", true),
        ("SELECT set_config('a.b', 'c', false)", true),
        ("DO $$ BEGIN END $$", true),
    ] {
        let play = &mut Play::new(policy());
        let mut out = bytes::BytesMut::new();
        let table = format!("> N:{sql}");
        play.say(&table);
        play.machine.dispatch(&mut play.backend, &mut out);
        assert_eq!(play.backend.spoiled, spoilt, "{sql}");
    }
}
