//! Settings: journal, undo, difference.

use std::sync::Arc;

use super::{Change, Journal, Key, Settings};

fn set(name: &str, text: &str) -> Change {
    Change::Set(Key::Setting(name.into()), text.as_bytes().into())
}

fn sql(to: &Settings, from: &Settings) -> String {
    let mut sql = Vec::new();
    to.difference(from, &mut sql);
    String::from_utf8(sql).unwrap()
}

fn journal(changes: &[Change]) -> Journal {
    let mut journal = Journal::default();
    for change in changes {
        journal.apply(change.clone());
    }
    journal
}

#[test]
fn equal_settings_cost_nothing() {
    let one = journal(&[set("a", "SET a TO 1")]);
    let other = journal(&[set("a", "SET a TO 1")]);
    assert_eq!(sql(one.committed(), other.committed()), "");
}

#[test]
fn difference_undoes_what_the_other_client_set_and_does_what_this_one_did() {
    let mine = journal(&[set("a", "SET a TO 1"), set("b", "SET b TO 2")]);
    let theirs = journal(&[set("b", "SET b TO 3"), set("c.d", "SET c.d TO 4")]);
    assert_eq!(
        sql(mine.committed(), theirs.committed()),
        r#"RESET "c"."d";SET a TO 1;SET b TO 2;"#
    );
    assert_eq!(sql(&Settings::default(), mine.committed()), r#"RESET "a";RESET "b";"#);
}

#[test]
fn role_and_session_authorization_are_taken_back_before_anything_is_set() {
    let mine = journal(&[set("role", "SET ROLE x")]);
    let theirs = journal(&[
        set("session_authorization", "SET SESSION AUTHORIZATION y"),
        set("role", "SET ROLE z"),
    ]);
    assert_eq!(
        sql(mine.committed(), theirs.committed()),
        "RESET SESSION AUTHORIZATION;RESET ROLE;SET ROLE x;"
    );
    assert_eq!(
        sql(theirs.committed(), mine.committed()),
        "RESET SESSION AUTHORIZATION;RESET ROLE;SET SESSION AUTHORIZATION y;SET ROLE z;"
    );
    assert_eq!(sql(theirs.committed(), theirs.committed()), "");
}

#[test]
fn startup_values_are_quoted_and_reset_goes_back_to_them() {
    let base = Settings::from_startup([("application_name", "it's \\ me"), ("TimeZone", "UTC")]);
    let mut journal = Journal::new(Arc::new(base));
    assert_eq!(
        sql(journal.committed(), &Settings::default()),
        "SELECT pg_catalog.set_config(E'application_name',E'it''s \\\\ me',false);\
         SELECT pg_catalog.set_config(E'TimeZone',E'UTC',false);"
    );
    journal.apply(set("timezone", "SET timezone TO 'Asia/Tokyo'"));
    assert!(sql(journal.committed(), &Settings::default()).contains("Tokyo"));
    journal.apply(Change::Reset(Key::Setting("timezone".into())));
    assert!(sql(journal.committed(), &Settings::default()).contains("UTC"));
    journal.apply(set("x", "SET x TO 1"));
    journal.apply(Change::ResetAll);
    assert!(!sql(journal.committed(), &Settings::default()).contains("SET x"));
}

#[test]
fn reset_takes_the_connection_back_further_than_the_session() {
    let base = Settings::from_startup([("a", "1")]);
    for change in [Change::Reset(Key::Setting("a".into())), Change::ResetAll, Change::DiscardAll] {
        let mut journal = Journal::new(Arc::new(base.clone()));
        journal.stage(&mut vec![set("a", "SET a TO 2"), change.clone()]).unwrap();
        let worn = journal.commit().unwrap();
        assert!(worn.is_empty(), "{change:?}");
        assert_eq!(**journal.committed(), base, "{change:?}");
    }
    let mut journal = Journal::new(Arc::new(base));
    journal.stage(&mut vec![set("b", "SET b TO 2")]).unwrap();
    assert!(Arc::ptr_eq(&journal.commit().unwrap(), journal.committed()));
}

#[test]
fn a_transaction_stages_and_a_savepoint_takes_back() {
    let mut journal = Journal::default();
    let mut changes = vec![
        set("a", "SET a TO 1"),
        Change::Savepoint("s".into()),
        set("b", "SET b TO 2"),
        Change::RollbackTo("s".into()),
        set("c", "SET c TO 3"),
    ];
    journal.stage(&mut changes).unwrap();
    assert!(journal.committed().is_empty());
    journal.commit().unwrap();
    assert_eq!(sql(journal.committed(), &Settings::default()), "SET a TO 1;SET c TO 3;");
    journal.stage(&mut vec![set("a", "SET a TO 9")]).unwrap();
    journal.roll_back().unwrap();
    journal.commit().unwrap();
    assert_eq!(sql(journal.committed(), &Settings::default()), "SET a TO 1;SET c TO 3;");
}

#[test]
fn the_journal_is_bounded() {
    let mut journal = Journal::default();
    let mut refused = false;
    for n in 0..2_000 {
        let staged = journal.stage(&mut vec![set(&format!("x.s{n}"), "SET x TO 1")]);
        refused |= staged.is_err();
        refused |= journal.commit().is_err();
    }
    assert!(refused);
    let mut long = vec![set("x", &"y".repeat(100_000))];
    journal.roll_back().unwrap();
    journal.stage(&mut long).unwrap();
    assert!(journal.commit().is_err());
}

#[test]
fn listen_and_prepare_are_told_from_settings() {
    let mut journal = journal(&[
        Change::Set(Key::Channel("a".into()), (*b"LISTEN a").into()),
        Change::Set(Key::Prepared("p".into()), (*b"PREPARE p AS SELECT 1").into()),
        set("a", "SET a TO 1"),
    ]);
    journal.apply(Change::ResetAll);
    assert_eq!(sql(journal.committed(), &Settings::default()), "LISTEN a;PREPARE p AS SELECT 1;");
    journal.apply(Change::UnlistenAll);
    journal.apply(Change::DeallocateAll);
    assert!(journal.committed().is_empty());
}

#[test]
fn what_is_prepared_by_sql_outlives_its_transaction() {
    let prepare = |name: &str| {
        let text = format!("PREPARE {name} AS SELECT 1");
        Change::Set(Key::Prepared(name.into()), text.into_bytes().into())
    };
    let mut journal = journal(&[prepare("a"), prepare("b")]);
    let savepoint = Change::Savepoint("s".into());
    let mut changes = vec![
        Change::Reset(Key::Prepared("a".into())),
        savepoint,
        prepare("c"),
        set("x", "SET x TO 1"),
        Change::RollbackTo("s".into()),
        set("y", "SET y TO 1"),
    ];
    journal.stage(&mut changes).unwrap();
    let worn = journal.roll_back().unwrap();
    let expected = "PREPARE b AS SELECT 1;PREPARE c AS SELECT 1;";
    assert_eq!(sql(journal.committed(), &Settings::default()), expected);
    assert!(Arc::ptr_eq(&worn, journal.committed()));
}

#[test]
fn going_back_to_the_first_user_resets_the_role() {
    let authorization = || Key::Setting("session_authorization".into());
    let base = Settings::from_startup([("role", "startup")]);
    let mut journal = Journal::new(Arc::new(base));
    journal.apply(set("role", "SET ROLE x"));
    journal.apply(Change::Reset(authorization()));
    assert_eq!(sql(journal.committed(), &Settings::default()), "");
    journal.apply(Change::Reset(Key::Setting("role".into())));
    assert!(sql(journal.committed(), &Settings::default()).contains("startup"));
}
