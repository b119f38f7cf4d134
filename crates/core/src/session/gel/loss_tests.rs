//! The failure contract, row by row.

use everline_wire_gel::error::ErrorCode;

use super::machine::GelPolicy;
use super::script_tests::{Play, check, check_with, policy};

#[test]
fn nothing_was_sent_outside_a_transaction() {
    check(
        "
        > O:SELECT 1                  | run
        refused                       | T:bare:0 / E:unavailable
        > S                           | Z:I
        > O:INSERT INTO t VALUES (1)  | run
        refused                       | T:bare:1 / E:unavailable
        > S                           | Z:I
        > P:SELECT 1                  | run
        refused                       | E:unavailable
        > S                           | Z:I
    ",
    );
}

#[test]
fn a_go_client_may_have_another_code() {
    check_with(
        Play::new(GelPolicy { unavailable: ErrorCode::TRANSACTION_CONFLICT, ..policy() }),
        "
        > P:SELECT 1                  | run
        refused                       | E:0x05030100
    ",
    );
}

#[test]
fn nothing_was_sent_in_a_transaction() {
    check(
        "
        > Q:START TRANSACTION         | C:START TRANSACTION
        > N:INSERT INTO t VALUES (1)  | run
        refused                       | T:bare:1 / E:unavailable
        > S                           | Z:E
        > N:SELECT 1                  | E:serialization
        > S                           | Z:E
        > Q:ROLLBACK                  | C:ROLLBACK
        > S                           | Z:I
    ",
    );
}

#[test]
fn a_statement_in_flight_outside_a_transaction() {
    check(
        "
        > O:SELECT 1                  | run
        lease                         | => P:SELECT 1 Ds S
        lost                          | T:bare:0 / E:unavailable
        > S                           | Z:I
        > O:INSERT INTO t VALUES (1)  | run
        lease                         | => P:INSERT INTO t VALUES (1) Ds S
        lost                          | T:bare:1 / E:unavailable
        > S                           | Z:I
        > O:INSERT INTO t VALUES (1)  | run
        lease                         | => P:INSERT INTO t VALUES (1) Ds S
        < 1 / t / n / Z:I             | => P:INSERT INTO t VALUES (1) B Dp E S
        < 1 / 2 / n / C:INSERT 0 1    | T:1
        lost                          | E:unknown
        > S                           | Z:I
        > N:SELECT count(*) FROM t    | run
        lease                         | => P:SELECT count(*) FROM t Ds S
        < 1 / t / T:c.20.0 / Z:I      | => P:SELECT count(*) FROM t B Dp E S
        lost                          | T:bare:0 / E:unavailable
        > S                           | Z:I
        > N:SELECT writes()           | run
        lease                         | => P:SELECT writes() Ds S
        < 1 / t / T:c.20.0 / Z:I      | => P:SELECT writes() B Dp E S
        lost                          | E:unknown
        > S                           | Z:I
    ",
    );
}

#[test]
fn a_query_may_be_taken_for_harmless() {
    check_with(
        Play::new(GelPolicy { in_flight_select_retryable: true, ..policy() }),
        "
        > N:SELECT writes()           | run
        lease                         | => P:SELECT writes() Ds S
        < 1 / t / T:c.20.0 / Z:I      | => P:SELECT writes() B Dp E S
        lost                          | T:bare:0 / E:unavailable
    ",
    );
}

#[test]
fn a_transaction_is_lost() {
    let open = "
        > Q:START TRANSACTION         | C:START TRANSACTION
        > Q:DECLARE SAVEPOINT a       | run
        lease                         | => P:BEGIN B E P:SAVEPOINT \"a\" B E S
        < 1 / 2 / C:BEGIN / 1 / 2 / C:SAVEPOINT / Z:T | C:DECLARE SAVEPOINT ; done
        > S                           | Z:T";
    for rest in [
        // in flight
        "
        > N:INSERT INTO t VALUES (1)  | run
        lease                         | => P:INSERT INTO t VALUES (1) Ds S
        lost                          | T:bare:1 / E:serialization
        > S                           | Z:E
        > Q:COMMIT                    | E:serialization
        > S                           | Z:I",
        // idle: nothing is said unasked
        "
        lost                          |
        > S                           | Z:E
        > P:SELECT 1                  | E:serialization
        > S                           | Z:E
        > Q:ROLLBACK TO SAVEPOINT a   | E:serialization
        > S                           | Z:E
        > Q:ROLLBACK                  | C:ROLLBACK
        > S                           | Z:I",
        // idle, and then COMMIT: it was never sent
        "
        lost                          |
        > Q:COMMIT                    | E:serialization
        > S                           | Z:I
        > Q:ROLLBACK                  | C:ROLLBACK",
        // COMMIT for which the connection was found dead
        "
        > Q:COMMIT                    | run
        lost                          | E:serialization
        > S                           | Z:I",
        // COMMIT in flight
        "
        > Q:COMMIT                    | run
        lease                         | => P:COMMIT B E S
        lost                          | E:unknown
        > S                           | Z:I
        > Q:ROLLBACK                  | C:ROLLBACK
        > S                           | Z:I",
        // ROLLBACK in flight has what it wants
        "
        > Q:ROLLBACK                  | run
        lease                         | => P:ROLLBACK B E S
        lost                          | C:ROLLBACK
        > S                           | Z:I",
        // PostgreSQL's own last words
        "
        > N:INSERT INTO t VALUES (1)  | run
        lease                         | => P:INSERT INTO t VALUES (1) Ds S
        < E:57P01!                    | lost
        lost                          | T:bare:1 / E:serialization
        > S                           | Z:E",
        // a savepoint
        "
        > Q:RELEASE SAVEPOINT a       | run
        lease                         | => P:RELEASE SAVEPOINT \"a\" B E S
        lost                          | E:serialization
        > S                           | Z:E",
    ] {
        check(&format!("{open}{rest}"));
    }
}

#[test]
fn a_leader_that_is_none_any_more() {
    check(
        "
        > O:INSERT INTO t VALUES (1)  | run
        lease                         | => P:INSERT INTO t VALUES (1) Ds S
        < 1 / t / n / Z:I             | => P:INSERT INTO t VALUES (1) B Dp E S
        < 1 / 2 / n / E:25006 / Z:I   | T:1 / E:unavailable ; done
        > S                           | Z:I
        > Q:START TRANSACTION         | C:START TRANSACTION
        > N:SELECT 1                  | run
        lease                         | => P:BEGIN B E P:SELECT 1 Ds S
        < E:0A000 / Z:I               | E:unsupported ; done
        > S                           | Z:E
        > Q:ROLLBACK                  | C:ROLLBACK
        > S                           | Z:I
    ",
    );
}

/// A serialization failure is PostgreSQL's own invitation: what it is about has to be said first.
#[test]
fn what_postgresql_invites_to_repeat() {
    check(
        "
        > O:UPDATE t SET x = 1        | run
        lease                         | => P:UPDATE t SET x = 1 Ds S
        < 1 / t / n / Z:I             | => P:UPDATE t SET x = 1 B Dp E S
        < 1 / 2 / E:40001 / Z:I       | T:bare:1 / E:serialization ; done
    ",
    );
}

/// What surely had no effect is not the client's concern while there may be another connection.
#[test]
fn what_was_only_described_begins_again() {
    check(
        "
        > N:INSERT INTO t VALUES (1)  | run
        lease                         | => P:INSERT INTO t VALUES (1) Ds S
        < 1 / t                       |
        again                         | true
        lease                         | => P:INSERT INTO t VALUES (1) Ds S
        < 1 / t / n / Z:I             | => P:INSERT INTO t VALUES (1) B Dp E S
        again                         | false
        lost                          | E:unknown
        > S                           | Z:I
        > Q:START TRANSACTION         | C:START TRANSACTION
        > N:SELECT 1                  | run
        lease                         | => P:BEGIN B E P:SELECT 1 Ds S
        again                         | true
        lease                         | => P:BEGIN B E P:SELECT 1 Ds S
        < 1 / 2 / C:BEGIN / 1 / t / T:x.23.0 / Z:T | => P:SELECT 1 B Dp E S
        again                         | false
        lost                          | T:bare:0 / E:serialization
    ",
    );
}

/// A transaction that had just begun at the backend is lost like any other.
#[test]
fn the_first_flight_of_a_transaction() {
    check(
        "
        > N:INSERT INTO t VALUES (1)  | run
        lease                         | => P:INSERT INTO t VALUES (1) Ds S
        < 1 / t / n / Z:I             | => P:INSERT INTO t VALUES (1) B Dp E S
        < 1 / 2 / n / C:INSERT 0 1 / Z:I | T:bare:1 / C:INSERT 0 1 ; done
        > Q:START TRANSACTION         | C:START TRANSACTION
        > N:INSERT INTO t VALUES (1)  | run
        lease                         | => P:BEGIN B E P:INSERT INTO t VALUES (1) B Dp E S
        lost                          | T:bare:1 / E:serialization
        > S                           | Z:E
    ",
    );
}
