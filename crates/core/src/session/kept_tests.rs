//! 25006: who is refused by a node that does not lead.

use crate::session::script_tests::check;

#[test]
fn a_first_statement_refused_by_a_demoted_leader_goes_to_the_next() {
    check(
        "> Q:INSERT INTO t VALUES (1)          | lease
         lease                                 | => Q:INSERT INTO t VALUES (1)
         < S:in_hot_standby=on                 | S:in_hot_standby=on
         < E:25006 / Z:I                       | demoted lease
         lease                                 | => Q:INSERT INTO t VALUES (1)
         < C:INSERT 0 1 / Z:I                  | C:INSERT 0 1 / Z:I release",
    );
}

#[test]
fn so_does_a_segment_whole() {
    check(
        "> P:s:INSERT INTO t VALUES (1)        | lease
         lease                                 | => P:#1:INSERT INTO t VALUES (1)
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > B::s                                | lease
         lease old                             | => B::#1
         > D:P: / E: / S                       | => D:P: / E: / S
         < 2 / n                               |
         < E:25006 / Z:I                       | demoted lease
         lease                                 | => P:#1:INSERT INTO t VALUES (1) / B::#1 / D:P: / E: / S
         < 1 / 2 / n / C:INSERT 0 1 / Z:I      | 2 / n / C:INSERT 0 1 / Z:I release",
    );
}

#[test]
fn what_it_named_is_named_once() {
    check(
        "> P:s:INSERT INTO t VALUES (1)        | lease
         lease                                 | => P:#1:INSERT INTO t VALUES (1)
         > B::s / E: / S                       | => B::#1 / E: / S
         < 1 / 2 / E:25006 / Z:I               | demoted lease
         lease                                 | => P:#1:INSERT INTO t VALUES (1) / B::#1 / E: / S
         < 1 / 2 / C:INSERT 0 1 / Z:I          | 1 / 2 / C:INSERT 0 1 / Z:I release
         > P:s:SELECT 2                        | lease
         lease old                             | => P:#1:SELECT 2
         > S                                   | => S
         < E:42P05 / Z:I                       | E:42P05 / Z:I release",
    );
}

#[test]
fn once_something_was_answered_it_is_refused_with_the_retryable_code() {
    check(
        "> Q:INSERT INTO t VALUES (1)          | lease
         lease                                 | => Q:INSERT INTO t VALUES (1)
         < N:01000 / E:25006                   | N:01000 / E:40001 / Z:I lost(the backend refuses to write: it is not the leader)
         > P:s:INSERT INTO t VALUES (1)        | lease
         lease                                 | => P:#1:INSERT INTO t VALUES (1)
         > H                                   | => H
         < 1                                   | 1
         > B::s / E: / S                       | => B::#1 / E: / S
         < 2 / E:25006                         | 2 / E:40001 / Z:I lost(the backend refuses to write: it is not the leader)",
    );
}

#[test]
fn a_long_one_too() {
    let long = format!("INSERT INTO t VALUES ('{}')", "x".repeat(17_000));
    check(&format!(
        "> Q:{long} | lease
         lease | => Q:{long}
         < E:25006 | E:40001 / Z:I lost(the backend refuses to write: it is not the leader)"
    ));
}

#[test]
fn in_a_transaction_it_is_lost() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:INSERT INTO t VALUES (1)          | lease
         lease                                 | => Q:BEGIN / Q:INSERT INTO t VALUES (1)
         < C:BEGIN / Z:T / E:25006 / Z:E       | E:40001 / Z:E lost(the backend refuses to write: it is not the leader)
         > Q:SELECT 1                          | E:40001 / Z:E
         > Q:ROLLBACK                          | C:ROLLBACK / Z:I",
    );
}

#[test]
fn what_may_have_been_done_in_part_is_unknown() {
    check(
        "> Q:CALL p()                          | lease
         lease                                 | => Q:CALL p()
         < E:25006                             | E:08007 / Z:I lost(the backend refuses to write: it is not the leader)
         > Q:BEGIN; DELETE FROM t; COMMIT; DELETE FROM u | lease
         lease                                 | => Q:BEGIN; DELETE FROM t; COMMIT; DELETE FROM u
         < C:BEGIN                             | C:BEGIN
         < C:DELETE 1                          | C:DELETE 1
         < C:COMMIT                            | C:COMMIT
         < E:25006                             | E:08007 / Z:I lost(the backend refuses to write: it is not the leader)
         > Q:CREATE TABLE t ()                 | lease
         lease                                 | => Q:CREATE TABLE t ()
         < E:25006                             | demoted lease",
    );
}

#[test]
fn a_later_segment_may_have_been_done() {
    check(
        "> P::INSERT INTO t VALUES (1)         | lease
         lease                                 | => P::INSERT INTO t VALUES (1)
         > B:: / E: / S / B:: / E: / S         | => B:: / E: / S / B:: / E: / S
         < 1 / 2 / E:25006                     | 1 / 2 / E:40001 / Z:I / E:08007 / Z:I lost(the backend refuses to write: it is not the leader)",
    );
}

#[test]
fn who_asked_for_reading_only_hears_it() {
    check(
        "> Q:BEGIN READ ONLY                   | C:BEGIN / Z:T
         > Q:DELETE FROM t                     | lease
         lease                                 | => Q:BEGIN READ ONLY / Q:DELETE FROM t
         < C:BEGIN / Z:T / E:25006 / Z:E       | E:25006 / Z:E doubtful
         > Q:ROLLBACK                          | => Q:ROLLBACK
         < C:ROLLBACK / Z:I                    | C:ROLLBACK / Z:I release
         > Q:DELETE FROM t                     | lease
         lease                                 | => Q:DELETE FROM t
         < E:25006                             | demoted lease
         lease                                 | => Q:DELETE FROM t
         < S:default_transaction_read_only=on  | S:default_transaction_read_only=on
         < E:25006 / Z:I                       | E:25006 / Z:I doubtful release",
    );
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SELECT 1                          | lease
         lease                                 | => Q:BEGIN / Q:SELECT 1
         < C:BEGIN / Z:T / C:SELECT 1 / Z:T    | C:SELECT 1 / Z:T
         > Q:SET LOCAL transaction_read_only = on | => Q:SET LOCAL transaction_read_only = on
         < C:SET / Z:T                         | C:SET / Z:T
         > Q:DELETE FROM t                     | => Q:DELETE FROM t
         < E:25006 / Z:E                       | E:25006 / Z:E doubtful",
    );
}

#[test]
fn settings_that_a_demoted_leader_refuses_are_for_the_next() {
    check(
        "> Q:LISTEN a                          | lease
         lease                                 | => Q:LISTEN a
         < C:LISTEN / Z:I                      | C:LISTEN / Z:I
         lost                                  |
         > Q:SELECT 1                          | lease
         lease                                 | => Q:LISTEN a; wait
         < E:25006                             | lost(the backend refuses to write: it is not the leader)",
    );
}

#[test]
fn ties_that_were_never_made_do_not_hold() {
    check(
        "> Q:CREATE TEMP TABLE t ()            | lease
         lease                                 | => Q:CREATE TEMP TABLE t ()
         < E:25006                             | demoted lease
         refuse                                | E:40001 / Z:I
         > Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I release",
    );
}

#[test]
fn a_plan_that_is_out_of_date_is_made_anew_unseen_by_the_client() {
    // The connection has it from another client: this one has never heard of other columns.
    check(
        "> P:a:SELECT * FROM t                 | lease
         lease                                 | => P:#1:SELECT * FROM t
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > C:S:a / S                           | 3 / Z:I
         > P:b:SELECT * FROM t                 | lease
         lease old                             | 1
         > B::b / D:P: / E: / S                | => B::#1 / D:P: / E: / S
         < W                                   | stale lease
         lease                                 | => P:#1:SELECT * FROM t / B::#1 / D:P: / E: / S
         < 1 / 2 / T / D:1 / C:SELECT 1 / Z:I  | 2 / T / D:1 / C:SELECT 1 / Z:I release",
    );
    check(
        "> P:a:SELECT * FROM t                 | lease
         lease                                 | => P:#1:SELECT * FROM t
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > D:S:a                               | lease
         lease old                             | => D:S:#1
         > S                                   | => S
         < W                                   | stale lease
         lease                                 | => P:#1:SELECT * FROM t / D:S:#1 / S
         < 1 / t / T / Z:I                     | t / T / Z:I release",
    );
}

#[test]
fn a_client_that_believes_to_know_the_columns_is_told() {
    check(
        "> P:a:SELECT * FROM t                 | lease
         lease                                 | => P:#1:SELECT * FROM t
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > B::a                                | lease
         lease old                             | => B::#1
         > E: / S                              | => E: / S
         < W / Z:I                             | E:0A000 / Z:I release",
    );
}

#[test]
fn in_a_transaction_a_plan_that_is_out_of_date_is_told() {
    check(
        "> P:a:SELECT * FROM t                 | lease
         lease                                 | => P:#1:SELECT * FROM t
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > Q:BEGIN                             | C:BEGIN / Z:T
         > D:S:a                               | lease
         lease old                             | => Q:BEGIN / D:S:#1
         > S                                   | => S
         < C:BEGIN / Z:T / W / Z:E             | E:0A000 / Z:E",
    );
}

#[test]
fn a_probe_in_flight_is_sent_again() {
    check(
        "> Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         lost                                  | lease
         lease                                 | => Q:SELECT 1
         < T / D:1 / C:SELECT 1 / Z:I          | T / D:1 / C:SELECT 1 / Z:I release",
    );
    check(
        "> P:a:SELECT 1                        | lease
         lease                                 | => P:#1:SELECT 1
         > B::a / E: / S                       | => B::#1 / E: / S
         < 1                                   |
         lost                                  | lease
         lease                                 | => P:#1:SELECT 1 / B::#1 / E: / S
         < 1 / 2 / D:1 / C:SELECT 1 / Z:I      | 1 / 2 / D:1 / C:SELECT 1 / Z:I release",
    );
    // When there is no leader in time either, it is refused as what was never sent.
    check(
        "> Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         lost                                  | lease
         refuse                                | E:40001 / Z:I",
    );
}

#[test]
fn a_probe_that_is_more_than_one_is_lost_as_anything() {
    check(
        "> Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         < T / D:1                             | T / D:1
         lost                                  | E:08007 / Z:I
         > Q:SELECT 1;SELECT 1                 | lease
         lease                                 | => Q:SELECT 1;SELECT 1
         lost                                  | E:08007 / Z:I
         > P::SELECT 1                         | lease
         lease                                 | => P::SELECT 1
         > B:: / E: / S / Q:SELECT 1           | => B:: / E: / S / Q:SELECT 1
         lost                                  | E:08007 / Z:I / E:08007 / Z:I",
    );
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SELECT 1                          | lease
         lease                                 | => Q:BEGIN / Q:SELECT 1
         lost                                  | E:40001 / Z:E",
    );
}
