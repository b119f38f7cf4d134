//! Conversations that go well, and what they leave behind.

use crate::session::script_tests::{check, check_with};
use crate::session::{Conversation, Incoming, Output, Policy, Step};

#[test]
fn a_statement_borrows_a_connection_and_gives_it_back() {
    check(
        "> Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         < T / D:1 / C:SELECT 1 / Z:I          | T / D:1 / C:SELECT 1 / Z:I release",
    );
}

#[test]
fn a_transaction_keeps_its_connection_and_begins_where_it_does_something() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:INSERT INTO t VALUES (1)          | lease
         lease                                 | => Q:BEGIN / Q:INSERT INTO t VALUES (1)
         < C:BEGIN / Z:T / C:INSERT 0 1 / Z:T  | C:INSERT 0 1 / Z:T
         > Q:COMMIT                            | => Q:COMMIT
         < C:COMMIT / Z:I                      | C:COMMIT / Z:I release",
    );
}

#[test]
fn what_comes_before_the_first_real_statement_is_answered_here_and_replayed() {
    check(
        "> Q:START TRANSACTION                 | C:START TRANSACTION / Z:T
         > Q:SET TRANSACTION READ ONLY         | C:SET / Z:T
         > Q:SAVEPOINT a                       | C:SAVEPOINT / Z:T
         > Q:SAVEPOINT b                       | C:SAVEPOINT / Z:T
         > Q:ROLLBACK TO a                     | C:ROLLBACK / Z:T
         > Q:SELECT 1                          | lease
         lease                                 | => Q:START TRANSACTION;SET TRANSACTION READ ONLY;SAVEPOINT a / Q:SELECT 1
         < C:X / C:X / C:X / Z:T / C:SELECT 1 / Z:T | C:SELECT 1 / Z:T",
    );
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:COMMIT                            | C:COMMIT / Z:I
         > Q:BEGIN                             | C:BEGIN / Z:T
         > Q:ROLLBACK                          | C:ROLLBACK / Z:I",
    );
}

#[test]
fn probes_and_resets_need_no_backend() {
    check(
        "> Q:                                  | I / Z:I
         > Q: ; -- ping                        | I / Z:I
         > S                                   | Z:I
         > Q:ROLLBACK                          | N:25P01 / C:ROLLBACK / Z:I
         > Q:RESET ALL                         | C:RESET / Z:I
         > Q:DISCARD ALL                       | C:DISCARD ALL / Z:I
         > Q:UNLISTEN *                        | C:UNLISTEN / Z:I
         > Q:DEALLOCATE ALL                    | C:DEALLOCATE ALL / Z:I
         > Q:CLOSE ALL                         | C:CLOSE CURSOR ALL / Z:I
         > C:S:x / S                           | 3 / Z:I",
    );
}

#[test]
fn a_named_statement_is_prepared_wherever_it_is_needed() {
    check(
        "> P:a:SELECT 1                        | lease
         lease                                 | => P:#1:SELECT 1
         > D:S:a / S                           | => D:S:#1 / S
         < 1 / t / n / Z:I                     | 1 / t / n / Z:I release
         > B::a                                | lease
         lease                                 | => P:#1:SELECT 1 / B::#1
         > E: / S                              | => E: / S
         < 1 / 2 / C:SELECT 1 / Z:I            | 2 / C:SELECT 1 / Z:I release
         > B::a                                | lease
         lease old                             | => B::#1
         > E: / S                              | => E: / S
         < 2 / C:SELECT 1 / Z:I                | 2 / C:SELECT 1 / Z:I release",
    );
}

#[test]
fn the_same_text_under_another_name_is_answered_in_its_turn() {
    check(
        "> P:a:SELECT 1                        | lease
         lease                                 | => P:#1:SELECT 1
         > P:b:SELECT 1 / C:S:a / S            | => S
         < 1 / Z:I                             | 1 / 1 / 3 / Z:I release
         > B::a                                | lease
         lease old                             | => B::a
         > S                                   | => S
         < E:26000 / Z:I                       | E:26000 / Z:I release
         > Q:DEALLOCATE b                      | C:DEALLOCATE / Z:I",
    );
}

#[test]
fn a_name_given_twice_is_refused_by_postgresql_itself() {
    check(
        "> P:a:SELECT 1                        | lease
         lease                                 | => P:#1:SELECT 1
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > P:a:SELECT 2                        | lease
         lease old                             | => P:#1:SELECT 2
         > S                                   | => S
         < E:42P05 / Z:I                       | E:42P05 / Z:I release
         > B::a                                | lease
         lease old                             | => B::#1",
    );
}

#[test]
fn deallocate_by_sql_means_the_name_given_by_protocol() {
    check(
        "> P:a:SELECT 1                        | lease
         lease                                 | => P:#1:SELECT 1
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > P::DEALLOCATE a                     | lease
         lease                                 | => P::DEALLOCATE \"#1\"
         > B:: / E: / S                        | => B:: / P:#1:SELECT 1 / E: / S
         < 1 / 2 / 1 / C:DEALLOCATE / Z:I      | 1 / 2 / C:DEALLOCATE / Z:I release
         > B::a                                | lease
         lease old                             | => B::a",
    );
}

#[test]
fn postgresql_says_what_is_wrong_with_the_end_of_a_transaction() {
    for text in ["COMMIT NONSENSE", "END x", "ROLLBACK NONSENSE", "ABORT x", "COMMIT AND"] {
        check(&format!(
            "> Q:{text}                           | lease
             lease                                 | => Q:{text}
             < E:42601 / Z:I                       | E:42601 / Z:I release
             > Q:BEGIN                             | C:BEGIN / Z:T
             > Q:{text}                            | lease
             lease old                             | => Q:BEGIN / Q:{text}
             < C:BEGIN / Z:T / E:42601 / Z:E       | E:42601 / Z:E
             lost                                  |
             > Q:{text}                            | E:40001 / Z:E
             > Q:ROLLBACK                          | C:ROLLBACK / Z:I"
        ));
    }
}

#[test]
fn a_parse_that_fails_gives_no_name() {
    check(
        "> P:a:SELEC                           | lease
         lease                                 | => P:#1:SELEC
         > P:b:SELEC / B::a / S                | => B::#1 / S
         < E:42601 / Z:I                       | E:42601 / Z:I release
         > P:a:SELEC                           | lease
         lease old                             | => P:#1:SELEC",
    );
}

#[test]
fn the_unnamed_statement_follows_its_client() {
    check(
        "> P::SELECT 1                         | lease
         lease                                 | => P::SELECT 1
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > B::                                 | lease
         lease                                 | => P::SELECT 1 / B::
         > E: / S                              | => E: / S
         < 1 / 2 / C:SELECT 1 / Z:I            | 2 / C:SELECT 1 / Z:I release",
    );
}

#[test]
fn an_open_segment_keeps_the_connection() {
    check(
        "> P::SELECT 1                         | lease
         lease                                 | => P::SELECT 1
         > H                                   | => H
         < 1                                   | 1
         > B:: / E: / S                        | => B:: / E: / S
         < 2 / C:SELECT 1 / Z:I                | 2 / C:SELECT 1 / Z:I release",
    );
}

#[test]
fn settings_follow_their_client_and_leave_with_it() {
    check(
        "> Q:SET TimeZone TO 'Asia/Tokyo'      | lease
         lease                                 | => Q:SET TimeZone TO 'Asia/Tokyo'
         < C:SET / S:TimeZone=Asia/Tokyo / Z:I | C:SET / S:TimeZone=Asia/Tokyo / Z:I release
         > Q:SELECT 1                          | lease
         lease old                             | => Q:SELECT 1
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I release
         > Q:SELECT 2                          | lease
         lease                                 | => Q:SET TimeZone TO 'Asia/Tokyo'; wait
         < S:TimeZone=Asia/Tokyo / C:SET / Z:I | => Q:SELECT 2
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I release
         > Q:RESET ALL                         | lease
         lease old                             | => Q:RESET \"timezone\"; wait
         < S:TimeZone=UTC / C:RESET / Z:I      | S:TimeZone=UTC / C:RESET / Z:I release
         > Q:SELECT 3                          | lease
         lease old                             | => Q:SELECT 3
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I release",
    );
}

#[test]
fn a_setting_is_undone_with_its_transaction() {
    check(
        "> Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SET a.b TO 1                      | lease
         lease                                 | => Q:BEGIN / Q:SET a.b TO 1
         < C:BEGIN / Z:T / C:SET / Z:T         | C:SET / Z:T
         > Q:ROLLBACK                          | => Q:ROLLBACK
         < C:ROLLBACK / Z:I                    | C:ROLLBACK / Z:I release
         > Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1",
    );
}

#[test]
fn a_setting_that_failed_is_none() {
    check(
        "> Q:SET nonsense TO 1                 | lease
         lease                                 | => Q:SET nonsense TO 1
         < E:42704 / Z:I                       | E:42704 / Z:I release
         > Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1",
    );
}

#[test]
fn what_ties_a_session_keeps_its_connection() {
    for tie in [
        "LISTEN a",
        "CREATE TEMP TABLE t (a int)",
        "SELECT pg_advisory_lock(1)",
        "PREPARE p AS SELECT 1",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT set_config('a.b', upper('c'), false)",
    ] {
        check(&format!(
            "> Q:{tie}                         | lease
             lease                             | => Q:{tie}
             < C:X / Z:I                       | C:X / Z:I
             > Q:SELECT 1                      | => Q:SELECT 1
             < C:SELECT 1 / Z:I                | C:SELECT 1 / Z:I
             > Q:DISCARD ALL                   | => Q:DISCARD ALL
             < C:DISCARD ALL / Z:I             | C:DISCARD ALL / Z:I release"
        ));
    }
}

#[test]
fn session_pooling_keeps_the_connection_of_an_ordinary_session() {
    let policy = Policy { lending: super::super::Lending::Session, ..Policy::default() };
    check_with(
        policy,
        "> Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I
         > Q:BEGIN                             | C:BEGIN / Z:T
         > Q:SELECT 2                          | => Q:BEGIN / Q:SELECT 2
         < C:BEGIN / Z:T / C:SELECT 1 / Z:T    | C:SELECT 1 / Z:T
         lost                                  |
         > Q:SELECT 3                          | E:40001 / Z:E
         > Q:ROLLBACK                          | C:ROLLBACK / Z:I
         > Q:SELECT 4                          | lease",
    );
}

#[test]
fn copy_in_by_both_protocols() {
    check(
        "> Q:COPY t FROM STDIN                 | lease
         lease                                 | => Q:COPY t FROM STDIN
         < G                                   | G
         > d:1 / d:2 / c:                      | => d:1 / d:2 / c
         < C:COPY 2 / Z:I                      | C:COPY 2 / Z:I release
         > d:stray / c:                        |",
    );
    check(
        "> P::COPY t FROM STDIN                | lease
         lease                                 | => P::COPY t FROM STDIN
         > B:: / E: / S                        | => B:: / E: / S
         < 1 / 2 / G                           | 1 / 2 / G
         > d:1 / c: / S                        | => d:1 / c / S
         < C:COPY 1 / Z:I                      | C:COPY 1 / Z:I release",
    );
}

#[test]
fn copy_data_waits_for_the_word_that_copy_has_begun() {
    check(
        "> Q:COPY t FROM STDIN                 | lease
         lease                                 | => Q:COPY t FROM STDIN
         > d:1                                 | => H wait
         < G                                   | G => d:1
         > c:                                  | => c
         < C:COPY 1 / Z:I                      | C:COPY 1 / Z:I release",
    );
    check(
        "> P::COPY t FROM STDIN                | lease
         lease                                 | => P::COPY t FROM STDIN
         > B:: / E: / S                        | => B:: / E: / S
         > d:1                                 | => H wait
         < 1 / 2                               | wait
         < G                                   | 1 / 2 / G => d:1
         > c: / S                              | => c / S
         < C:COPY 1 / Z:I                      | C:COPY 1 / Z:I release",
    );
    check(
        "> Q:COPY nowhere FROM STDIN           | lease
         lease                                 | => Q:COPY nowhere FROM STDIN
         > d:1                                 | => H wait
         < E:42P01 / Z:I                       | E:42P01 / Z:I release
         > d:1 / c:                            |",
    );
}

#[test]
fn an_error_skips_simple_queries_too() {
    check(
        "> P::SELEC                            | lease
         lease                                 | => P::SELEC
         > Q:SELECT 1 / Q:SELECT 2 / S         | => Q:SELECT 1 / Q:SELECT 2 / S
         < E:42601 / Z:I                       | E:42601 / Z:I release
         > P::SELEC                            | lease
         lease                                 | => P::SELEC
         > Q:SELECT 1                          | => Q:SELECT 1
         < E:42601                             | E:42601
         > Q:SELECT 2 / S                      | => S
         < Z:I                                 | Z:I release",
    );
}

#[test]
fn names_given_and_closed_by_what_was_skipped_are_what_they_were() {
    check(
        "> P:a:SELECT 1                        | lease
         lease                                 | => P:#1:SELECT 1
         > S                                   | => S
         < 1 / Z:I                             | 1 / Z:I release
         > D:P:none                            | lease
         lease old                             | => D:P:none
         > P:b:SELECT 2 / C:S:b / C:S:a / P:a:SELECT 3 / S | => P:#2:SELECT 2 / P:#3:SELECT 3 / S
         < E:34000 / Z:I                       | E:34000 / Z:I release
         > D:S:a                               | lease
         lease old                             | => D:S:#1",
    );
}

#[test]
fn copy_that_fails_swallows_the_rest() {
    check(
        "> Q:COPY t FROM STDIN                 | lease
         lease                                 | => Q:COPY t FROM STDIN
         < G                                   | G
         > d:bad                               | => d:bad
         < E:22P02 / Z:I                       | E:22P02 / Z:I release
         > d:more / c:                         |
         > Q:SELECT 1                          | lease",
    );
}

#[test]
fn pipelines_are_forwarded_as_they_come() {
    check(
        "> P::SELECT 1                         | lease
         lease                                 | => P::SELECT 1
         > B:: / E: / S / P::SELECT 2 / B:: / E: / S | => B:: / E: / S / P::SELECT 2 / B:: / E: / S
         < 1 / 2 / C:SELECT 1 / Z:I            | 1 / 2 / C:SELECT 1 / Z:I
         < 1 / 2 / C:SELECT 1 / Z:I            | 1 / 2 / C:SELECT 1 / Z:I release",
    );
}

#[test]
fn an_error_skips_to_the_next_sync_and_no_further() {
    check(
        "> P::SELEC                            | lease
         lease                                 | => P::SELEC
         < E:42601                             | E:42601
         > B:: / E: / S                        | => S
         < Z:I                                 | Z:I release
         > P::SELECT 1                         | lease",
    );
}

#[test]
fn notices_of_a_dying_backend_are_not_for_the_client() {
    check(
        "> Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         < N:01000 / N:57P02 / T               | N:01000 / T doubtful",
    );
}

#[test]
fn an_unknown_message_ends_the_connection_with_one_error() {
    let mut conversation = Conversation::new(
        1,
        std::sync::Arc::default(),
        std::sync::Arc::default(),
        std::sync::Arc::default(),
    );
    let mut out = Output::default();
    let message = Incoming { tag: b'!', body_bytes: 0, body: b"" };
    assert_eq!(conversation.from_client(&message, None, &mut out), Step::Close);
    assert!(out.to_client.starts_with(b"E"));
    let before = out.to_client.len();
    assert_eq!(conversation.from_client(&message, None, &mut out), Step::Close);
    assert_eq!(out.to_client.len(), before, "once");
}

#[test]
fn a_transaction_by_the_extended_protocol_gives_its_connection_back() {
    check(
        "> P:b:BEGIN / S                       | 1 / Z:I
         > B::b / E: / S                       | 2 / C:BEGIN / Z:T
         > P:s:SELECT 1                        | lease
         lease                                 | => Q:BEGIN / P:#1:SELECT 1
         > S                                   | => S
         < C:BEGIN / Z:T / 1 / Z:T             | 1 / Z:T
         > P:e:END                             | => P:#2:END
         > S                                   | => S
         < 1 / Z:T                             | 1 / Z:T
         > B::e / E: / S                       | => B::#2 / E: / S
         < 2 / C:COMMIT / Z:I                  | 2 / C:COMMIT / Z:I release",
    );
}

#[test]
fn what_may_have_been_skipped_is_waited_for() {
    check(
        "> P::SELECT 1/0                       | lease
         lease                                 | => P::SELECT 1/0
         > B:: / E: / P:a:SELECT 2 / S         | => B:: / E: / P:#1:SELECT 2 / S
         > B::a                                | wait",
    );
}
