//! What the extended protocol is answered without a backend.

use crate::session::Policy;
use crate::session::script_tests::{check, check_with};

#[test]
fn a_transaction_begins_here_and_is_replayed_before_its_first_real_statement() {
    check(
        "> P::BEGIN / B:: / D:P: / E: / S      | 1 / 2 / n / C:BEGIN / Z:T
         > P:a:SAVEPOINT a / D:S:a / S         | 1 / t / n / Z:T
         > B::a / E: / S                       | 2 / C:SAVEPOINT / Z:T
         > P::SET TRANSACTION READ ONLY / B:: / E: / S | 1 / 2 / C:SET / Z:T
         > P::INSERT INTO t VALUES (1)         | lease
         lease                                 | => Q:BEGIN;SAVEPOINT a;SET TRANSACTION READ ONLY / P::INSERT INTO t VALUES (1)
         > B:: / E: / S                        | => B:: / E: / S
         < C:X / C:X / C:X / Z:T               |
         < 1 / 2 / C:INSERT 0 1 / Z:T          | 1 / 2 / C:INSERT 0 1 / Z:T
         > B::a                                | => P:#1:SAVEPOINT a / B::#1
         > E: / S                              | => E: / S
         < 1 / 2 / C:SAVEPOINT / Z:T           | 2 / C:SAVEPOINT / Z:T",
    );
    check(
        "> P::BEGIN / B:: / E: / S             | 1 / 2 / C:BEGIN / Z:T
         > P::COMMIT / B:: / E: / S            | 1 / 2 / C:COMMIT / Z:I
         > P::ROLLBACK / B:: / E: / S          | 1 / 2 / N:25P01 / C:ROLLBACK / Z:I",
    );
}

#[test]
fn begin_and_the_first_statement_in_one_segment() {
    check(
        "> P::BEGIN / B:: / E: / P::INSERT INTO t VALUES (1) | 1 / 2 / C:BEGIN lease
         lease                                 | => Q:BEGIN / P::INSERT INTO t VALUES (1)
         > B:: / D:P: / E: / S                 | => B:: / D:P: / E: / S
         < C:BEGIN / Z:T / 1 / 2 / n / C:INSERT 0 1 / Z:T | 1 / 2 / n / C:INSERT 0 1 / Z:T
         lost                                  |
         > P::COMMIT / B:: / E: / S            | 1 / 2 / E:40001 / Z:I",
    );
    check(
        "> P::BEGIN / B:: / E: / P::INSERT INTO t VALUES (1) | 1 / 2 / C:BEGIN lease
         refuse                                | E:40001
         > B:: / D:P: / E: / S                 | Z:E
         > P::SELECT 1 / B:: / E: / S          | E:40001 / Z:E
         > P::ROLLBACK / B:: / E: / S          | 1 / 2 / C:ROLLBACK / Z:I",
    );
}

#[test]
fn several_segments_begun_here_go_on_without_a_backend() {
    check(
        "> P::BEGIN / B:: / E: / S / P::SAVEPOINT a / B:: / E: / S | 1 / 2 / C:BEGIN / Z:T / 1 / 2 / C:SAVEPOINT / Z:T
         > P::ROLLBACK TO a / B:: / E: / S / P::COMMIT / B:: / E: / S / S | 1 / 2 / C:ROLLBACK / Z:T / 1 / 2 / C:COMMIT / Z:I / Z:I",
    );
}

#[test]
fn behind_something_that_is_owed_everything_goes_to_the_backend() {
    check(
        "> P::SELECT 1                         | lease
         lease                                 | => P::SELECT 1
         > B:: / E: / S / P::BEGIN / B:: / E: / S | => B:: / E: / S / P::BEGIN / B:: / E: / S
         < 1 / 2 / C:SELECT 1 / Z:I            | 1 / 2 / C:SELECT 1 / Z:I
         < 1 / 2 / C:BEGIN / Z:T               | 1 / 2 / C:BEGIN / Z:T
         lost                                  |
         > S                                   | Z:E",
    );
}

#[test]
fn a_portal_bound_here_is_brought_to_the_backend_that_needs_it() {
    check(
        "> P:b:BEGIN / B:x:b / P::SELECT 1     | 1 / 2 lease
         lease                                 | => P:#1:BEGIN / B:x:#1 / P::SELECT 1
         > E:x / S                             | => E:x / S
         < 1 / 2 / 1 / C:BEGIN / Z:T           | 1 / C:BEGIN / Z:T",
    );
    check(
        "> P::SAVEPOINT a / B:: / E:           | 1 / 2 lease
         lease                                 | => P:#1:SAVEPOINT a / B::#1 / E:
         > S                                   | => S
         < 1 / 2 / E:25P01 / Z:I               | E:25P01 / Z:I release",
    );
}

#[test]
fn probes_and_resets_need_no_backend_by_the_extended_protocol() {
    check(
        "> P:: / B:: / D:P: / E: / S           | 1 / 2 / n / I / Z:I
         > P::-- ping / B:: / E: / S           | 1 / 2 / I / Z:I
         > P::RESET ALL / B:: / E: / S         | 1 / 2 / C:RESET / Z:I
         > P::DISCARD ALL / B:: / E: / S       | 1 / 2 / C:DISCARD ALL / Z:I
         > P::UNLISTEN * / B:: / E: / S        | 1 / 2 / C:UNLISTEN / Z:I
         > P::DEALLOCATE ALL / B:: / E: / S    | 1 / 2 / C:DEALLOCATE ALL / Z:I
         > P::CLOSE ALL / B:: / E: / S         | 1 / 2 / C:CLOSE CURSOR ALL / Z:I
         > S / S / H                           | Z:I / Z:I",
    );
}

#[test]
fn a_reset_that_changes_something_waits_for_a_connection_that_says_what_is_in_force() {
    check(
        "> Q:SET TimeZone TO 'Asia/Tokyo'      | lease
         lease                                 | => Q:SET TimeZone TO 'Asia/Tokyo'
         < C:SET / S:TimeZone=Asia/Tokyo / Z:I | C:SET / S:TimeZone=Asia/Tokyo / Z:I release
         > P::RESET ALL / B:: / E:             | 1 / 2 lease
         lease old                             | => Q:RESET \"timezone\"; wait
         < S:TimeZone=UTC / C:RESET / Z:I      | S:TimeZone=UTC / C:RESET release
         > S                                   | Z:I",
    );
}

#[test]
fn select_1_is_answered_here_where_the_operator_says_so() {
    let policy = || Policy { answer_select_1: true, ..Policy::default() };
    check_with(
        policy(),
        "> Q:SELECT 1                          | T / D:1 / C:SELECT 1 / Z:I
         > Q:select  1 ;                       | T / D:1 / C:SELECT 1 / Z:I
         > P:a:SELECT 1 / D:S:a / B::a / E: / S | 1 / t / T / 2 / D:1 / C:SELECT 1 / Z:I
         > P::BEGIN / B:: / E: / S             | 1 / 2 / C:BEGIN / Z:T
         > P::SELECT 1 / B:: / D:P: / E: / S   | 1 / 2 / T / D:1 / C:SELECT 1 / Z:T
         > Q:SELECT 11                         | lease",
    );
    check("> Q:SELECT 1                          | lease");
    check("> P::SELECT 1                         | lease");
}

#[test]
fn probes_resets_and_the_way_out_of_a_lost_transaction_are_settings() {
    let policy = Policy {
        local_probes: false,
        local_resets: false,
        silent_rollback: true,
        restart_savepoint: false,
        ..Policy::default()
    };
    check_with(policy.clone(), "> Q:;                             | lease");
    check_with(policy.clone(), "> P::                             | lease");
    check_with(policy.clone(), "> Q:RESET ALL                     | lease");
    check_with(
        policy,
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SAVEPOINT a                       | C:SAVEPOINT / Z:T
         > Q:SELECT 1                          | lease
         refuse                                | E:40001 / Z:E
         > Q:ROLLBACK TO a                     | E:40001 / Z:E
         > Q:COMMIT                            | C:ROLLBACK / Z:I
         > Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SELECT 1                          | lease
         refuse                                | E:40001 / Z:E
         > P::COMMIT / B:: / E: / S            | 1 / 2 / C:ROLLBACK / Z:I",
    );
}

#[test]
fn what_has_parameters_or_another_shape_goes_to_the_backend() {
    check("> P::BEGIN; COMMIT                    | lease");
    check("> P::BEGIN NONSENSE                   | lease");
    check("> P::COMMIT AND CHAIN                 | lease");
    check("> P::COMMIT NONSENSE                  | lease");
    check("> P::ROLLBACK NONSENSE                | lease");
    check("> P::END x                            | lease");
    check(
        "> P:a:BEGIN / P:a:COMMIT              | 1 lease
         lease                                 | => P:#1:BEGIN / P:#1:COMMIT
         > S                                   | => S
         < 1 / E:42P05 / Z:I                   | E:42P05 / Z:I release",
    );
}
