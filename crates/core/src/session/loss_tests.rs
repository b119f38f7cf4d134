//! The failure contract, row by row.

use crate::session::script_tests::{check, check_with};
use crate::session::{LostState, Policy};

#[test]
fn idle_outside_a_transaction_nothing_is_said() {
    check(
        "> Q:LISTEN a                          | lease
         lease                                 | => Q:LISTEN a
         < C:LISTEN / Z:I                      | C:LISTEN / Z:I
         lost                                  |
         > Q:SELECT 1                          | lease
         lease                                 | => Q:LISTEN a; wait
         < C:LISTEN / Z:I                      | => Q:SELECT 1",
    );
}

#[test]
fn not_yet_forwarded_is_refused_with_the_retryable_code() {
    check(
        "> Q:INSERT INTO t VALUES (1)          | lease
         refuse                                | E:40001 / Z:I
         > P::SELECT 1                         | lease
         refuse                                | E:40001
         > B:: / E: / S                        | Z:I
         > Q:SELECT 1                          | lease",
    );
}

#[test]
fn in_a_transaction_every_statement_is_refused_until_its_end() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:INSERT INTO t VALUES (1)          | lease
         lease                                 | => Q:BEGIN / Q:INSERT INTO t VALUES (1)
         lost                                  | E:40001 / Z:E
         > Q:SELECT 1                          | E:40001 / Z:E
         > P::SELECT 1 / B:: / E: / S          | E:40001 / Z:E
         > S                                   | Z:E
         > Q:                                  | I / Z:E
         > Q:ROLLBACK                          | C:ROLLBACK / Z:I
         > Q:SELECT 1                          | lease",
    );
}

#[test]
fn idle_in_a_transaction_is_told_at_its_next_statement() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SELECT 1                          | lease
         lease                                 | => Q:BEGIN / Q:SELECT 1
         < C:BEGIN / Z:T / C:SELECT 1 / Z:T    | C:SELECT 1 / Z:T
         lost                                  |
         > Q:SELECT 2                          | E:40001 / Z:E
         > Q:COMMIT                            | E:40001 / Z:I
         > Q:SELECT 3                          | lease",
    );
}

#[test]
fn the_end_of_a_lost_transaction_by_the_extended_protocol() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SELECT 1                          | lease
         lease                                 | => Q:BEGIN / Q:SELECT 1
         < C:BEGIN / Z:T / C:SELECT 1 / Z:T    | C:SELECT 1 / Z:T
         lost                                  |
         > P::ROLLBACK / B:: / D:P: / E: / S   | 1 / 2 / n / C:ROLLBACK / Z:I",
    );
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SELECT 1                          | lease
         lease                                 | => Q:BEGIN / Q:SELECT 1
         < C:BEGIN / Z:T / C:SELECT 1 / Z:T    | C:SELECT 1 / Z:T
         lost                                  |
         > P::COMMIT / B:: / D:P: / E: / S     | 1 / 2 / n / E:40001 / Z:I
         > Q:SELECT 1                          | lease",
    );
}

#[test]
fn commit_in_flight_is_unknown_and_rollback_in_flight_is_done() {
    let begin = "> Q:BEGIN                         | C:BEGIN / Z:T
         > Q:SELECT 1                          | lease
         lease                                 | => Q:BEGIN / Q:SELECT 1
         < C:BEGIN / Z:T / C:SELECT 1 / Z:T    | C:SELECT 1 / Z:T";
    check(&format!(
        "{begin}
         > Q:COMMIT                            | => Q:COMMIT
         lost                                  | E:08007 / Z:I
         > Q:SELECT 1                          | lease"
    ));
    check(&format!(
        "{begin}
         > P::COMMIT / B:: / E: / S            | => P::COMMIT / B:: / E: / S
         lost                                  | E:08007 / Z:I"
    ));
    check(&format!(
        "{begin}
         > Q:ROLLBACK                          | => Q:ROLLBACK
         lost                                  | C:ROLLBACK / Z:I"
    ));
    check(&format!(
        "{begin}
         > P::ROLLBACK / B:: / D:P: / E: / S   | => P::ROLLBACK / B:: / D:P: / E: / S
         lost                                  | 1 / 2 / n / C:ROLLBACK / Z:I"
    ));
    check(&format!(
        "{begin}
         > Q:INSERT INTO t VALUES (1); COMMIT  | => Q:INSERT INTO t VALUES (1); COMMIT
         lost                                  | E:08007 / Z:I"
    ));
}

#[test]
fn a_statement_in_flight_outside_a_transaction_is_unknown() {
    check(
        "> Q:INSERT INTO t VALUES (1)          | lease
         lease                                 | => Q:INSERT INTO t VALUES (1)
         lost                                  | E:08007 / Z:I
         > P::INSERT INTO t VALUES (1)         | lease
         lease                                 | => P::INSERT INTO t VALUES (1)
         > B:: / E: / S                        | => B:: / E: / S
         < 1 / 2 / C:INSERT 0 1                | 1 / 2 / C:INSERT 0 1
         lost                                  | E:08007 / Z:I",
    );
}

#[test]
fn reads_in_flight_may_be_called_retryable_by_setting() {
    let policy = Policy { in_flight_select_retryable: true, ..Policy::default() };
    check_with(
        policy,
        "> Q:SELECT count(*) FROM t            | lease
         lease                                 | => Q:SELECT count(*) FROM t
         lost                                  | E:40001 / Z:I
         > Q:SELECT f()                        | lease
         lease                                 | => Q:SELECT f()
         lost                                  | E:08007 / Z:I",
    );
}

#[test]
fn a_segment_whose_sync_was_not_forwarded_is_rolled_back() {
    check(
        "> P::INSERT INTO t VALUES (1)         | lease
         lease                                 | => P::INSERT INTO t VALUES (1)
         > B:: / E:                            | => B:: / E:
         lost                                  | E:40001
         > S                                   | Z:I
         > Q:SELECT 1                          | lease",
    );
    check(
        "> P::CALL p()                         | lease
         lease                                 | => P::CALL p()
         > B:: / E:                            | => B:: / E:
         lost                                  | E:08007
         > S                                   | Z:I",
    );
}

#[test]
fn nobody_waits_nobody_is_told() {
    check(
        "> P::INSERT INTO t VALUES (1)         | lease
         lease                                 | => P::INSERT INTO t VALUES (1)
         > B:: / E: / H                        | => B:: / E: / H
         < 1 / 2 / C:INSERT 0 1                | 1 / 2 / C:INSERT 0 1
         lost                                  |
         > S                                   | E:40001 / Z:I
         > Q:SELECT 1                          | lease",
    );
}

#[test]
fn pipelined_segments_each_get_their_verdict_and_a_transaction_one() {
    check(
        "> P::INSERT INTO t VALUES (1)         | lease
         lease                                 | => P::INSERT INTO t VALUES (1)
         > B:: / E: / S / P::SELECT 1 / B:: / E: | => B:: / E: / S / P::SELECT 1 / B:: / E:
         lost                                  | E:08007 / Z:I / E:40001
         > S                                   | Z:I",
    );
    check(
        "> Q:BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1 | lease
         lease                                 | => Q:BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1
         > Q:INSERT INTO t VALUES (1) / Q:COMMIT | => Q:INSERT INTO t VALUES (1) / Q:COMMIT
         lost                                  | E:08007 / Z:E / E:08007 / Z:E / E:08007 / Z:I",
    );
}

#[test]
fn an_error_of_the_backend_is_not_repeated() {
    check(
        "> Q:SELECT 1/0                        | lease
         lease                                 | => Q:SELECT 1/0
         < E:22012                             | E:22012
         lost                                  | Z:I",
    );
}

#[test]
fn fatal_is_never_forwarded() {
    check(
        "> Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         < F:57P01                             | E:08007 / Z:I lost(the backend ended the connection: 57P01 words of the backend)",
    );
}

#[test]
fn copy_in_flight() {
    check(
        "> Q:COPY t FROM STDIN                 | lease
         lease                                 | => Q:COPY t FROM STDIN
         < G                                   | G
         > d:1                                 | => d:1
         lost                                  | E:40001 / Z:I
         > d:2 / c:                            |
         > Q:SELECT 1                          | lease",
    );
    check(
        "> Q:COPY t FROM STDIN                 | lease
         lease                                 | => Q:COPY t FROM STDIN
         < G                                   | G
         > d:1 / c:                            | => d:1 / c
         lost                                  | E:08007 / Z:I",
    );
    check(
        "> P::COPY t FROM STDIN                | lease
         lease                                 | => P::COPY t FROM STDIN
         > B:: / E: / S                        | => B:: / E: / S
         < 1 / 2 / G                           | 1 / 2 / G
         > d:1                                 | => d:1
         lost                                  | E:40001
         > d:2 / c: / S                        | Z:I",
    );
}

#[test]
fn a_transaction_answered_here_can_be_refused_and_restarted() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SAVEPOINT cockroach_restart       | C:SAVEPOINT / Z:T
         > Q:SELECT 1                          | lease
         refuse                                | E:40001 / Z:E
         > Q:ROLLBACK TO SAVEPOINT cockroach_restart | C:ROLLBACK / Z:T
         > Q:SELECT 1                          | lease
         lease                                 | => Q:BEGIN;SAVEPOINT cockroach_restart / Q:SELECT 1
         lost                                  | E:40001 / Z:E
         > Q:ROLLBACK TO SAVEPOINT other       | E:40001 / Z:E
         > Q:ROLLBACK TO SAVEPOINT cockroach_restart | C:ROLLBACK / Z:T",
    );
}

#[test]
fn state_that_cannot_be_brought_over_ends_the_session_at_its_next_message() {
    check(
        "> Q:CREATE TEMP TABLE t (a int)       | lease
         lease                                 | => Q:CREATE TEMP TABLE t (a int)
         < C:CREATE TABLE / Z:I                | C:CREATE TABLE / Z:I
         lost                                  |
         > Q:SELECT 1                          | F:57P01 close",
    );
}

#[test]
fn lost_state_may_be_an_error_once_or_nothing() {
    let lose = "> Q:CREATE TEMP TABLE t (a int)   | lease
         lease                                 | => Q:CREATE TEMP TABLE t (a int)
         < C:CREATE TABLE / Z:I                | C:CREATE TABLE / Z:I
         lost                                  |";
    check_with(
        Policy { lost_state: LostState::Error, ..Policy::default() },
        &format!(
            "{lose}
             > Q:SELECT 1                      | E:40001 / Z:I
             > Q:SELECT 1                      | lease"
        ),
    );
    check_with(
        Policy { lost_state: LostState::Ignore, ..Policy::default() },
        &format!("{lose}\n > Q:SELECT 1 | lease"),
    );
}

#[test]
fn settings_that_are_not_taken_keep_their_statement_from_running() {
    check(
        "> Q:SET ROLE gone                     | lease
         lease                                 | => Q:SET ROLE gone
         < C:SET / Z:I                         | C:SET / Z:I release
         > Q:INSERT INTO t VALUES (1)          | lease
         lease                                 | => Q:RESET SESSION AUTHORIZATION;RESET ROLE;SET ROLE gone; wait
         < E:22023                             | wait
         < Z:I                                 | E:22023 / Z:I release
         > P::INSERT INTO t VALUES (1)         | lease
         lease old                             | => Q:RESET SESSION AUTHORIZATION;RESET ROLE;SET ROLE gone; wait
         < E:22023 / Z:I                       | E:22023 release
         > B:: / E: / S                        | Z:I
         > Q:DISCARD ALL                       | lease
         lease old                             | C:DISCARD ALL / Z:I release
         > Q:SELECT 1                          | lease
         lease old                             | => Q:SELECT 1",
    );
}

#[test]
fn a_savepoint_of_a_used_name_is_not_the_one_before_any_work() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SAVEPOINT s                       | C:SAVEPOINT / Z:T
         > Q:INSERT INTO t VALUES (1)          | lease
         lease                                 | => Q:BEGIN;SAVEPOINT s / Q:INSERT INTO t VALUES (1)
         < C:X / C:X / Z:T / C:INSERT 0 1 / Z:T | C:INSERT 0 1 / Z:T
         > Q:SAVEPOINT s                       | => Q:SAVEPOINT s
         < C:SAVEPOINT / Z:T                   | C:SAVEPOINT / Z:T
         lost                                  |
         > Q:ROLLBACK TO s                     | E:40001 / Z:E",
    );
}

#[test]
fn what_follows_the_end_of_a_transaction_in_one_text_is_on_its_own() {
    check(
        "> Q:BEGIN; SELECT 1; ROLLBACK; INSERT INTO t VALUES (1) | lease
         lease                                 | => Q:BEGIN; SELECT 1; ROLLBACK; INSERT INTO t VALUES (1)
         lost                                  | E:08007 / Z:I
         > P::INSERT INTO t VALUES (1)         | lease
         lease                                 | => P::INSERT INTO t VALUES (1)
         > B:: / E: / P::COMMIT / B:: / E:     | => B:: / E: / P::COMMIT / B:: / E:
         lost                                  | E:08007
         > S                                   | Z:I",
    );
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SELECT 1/0                        | lease
         lease                                 | => Q:BEGIN / Q:SELECT 1/0
         < C:BEGIN / Z:T / E:22012 / Z:E       | E:22012 / Z:E
         > Q:ROLLBACK; INSERT INTO t VALUES (1) | => Q:ROLLBACK; INSERT INTO t VALUES (1)
         lost                                  | E:08007 / Z:I",
    );
}

#[test]
fn a_copy_that_the_client_has_aborted_certainly_left_nothing() {
    check(
        "> Q:COPY t FROM STDIN                 | lease
         lease                                 | => Q:COPY t FROM STDIN
         < G                                   | G
         > d:1 / f                             | => d:1 / f
         lost                                  | E:40001 / Z:I",
    );
    // What follows in the same text may have been carried out, were it not for the abort.
    check(
        "> Q:INSERT INTO t VALUES (1); COPY t FROM STDIN | lease
         lease                                 | => Q:INSERT INTO t VALUES (1); COPY t FROM STDIN
         < C:INSERT 0 1 / G                    | C:INSERT 0 1 / G
         > f                                   | => f
         lost                                  | E:08007 / Z:I",
    );
}

#[test]
fn a_commit_that_is_not_understood_leads_out_of_nothing() {
    let lose = "> Q:BEGIN                      | C:BEGIN / Z:T
         > Q:SELECT 2                          | lease
         lease                                 | => Q:BEGIN / Q:SELECT 2
         lost                                  | E:40001 / Z:E";
    for mistake in ["COMMIT NONSENSE", "PREPARE TRANSACTION 'x'"] {
        check(&format!(
            "{lose}
             > Q:{mistake}                     | E:40001 / Z:E
             > P::{mistake}                    | E:40001
             > B:: / E: / S                    | Z:E
             > P::COMMIT / B:: / E: / S        | 1 / 2 / E:40001 / Z:I"
        ));
    }
}

#[test]
fn what_was_prepared_in_a_lost_transaction_is_brought_over() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:PREPARE p AS SELECT 2             | lease
         lease                                 | => Q:BEGIN / Q:PREPARE p AS SELECT 2
         < C:BEGIN / Z:T / C:PREPARE / Z:T     | C:PREPARE / Z:T
         lost                                  |
         > Q:ROLLBACK                          | C:ROLLBACK / Z:I
         > Q:EXECUTE p                         | lease
         lease                                 | => Q:PREPARE p AS SELECT 2; wait
         < C:PREPARE / Z:I                     | => Q:EXECUTE p
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I",
    );
}
