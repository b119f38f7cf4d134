//! Names and the least recently used statements.

use std::sync::Arc;

use super::{Names, Prepared, Statement, StatementId};

fn id(text: &str) -> StatementId {
    StatementId::of(text.as_bytes(), b"\0\0")
}

fn statement(text: &str) -> Statement {
    Statement::new(text.as_bytes(), b"\0\0", Arc::default())
}

#[test]
fn a_name_is_made_of_text_and_types() {
    assert_eq!(id("SELECT 1"), id("SELECT 1"));
    assert_ne!(id("SELECT 1"), id("SELECT 2"));
    assert_ne!(id("SELECT 1"), StatementId::of(b"SELECT 1", b"\0\x01\0\0\0\x17"));
    assert_eq!(id("SELECT 1").name().len(), "everline_".len() + 32);
}

#[test]
fn the_least_recently_used_is_closed() {
    let mut prepared = Prepared::default();
    assert_eq!(prepared.insert(id("a"), 2), None);
    assert_eq!(prepared.insert(id("b"), 2), None);
    assert!(prepared.touch(id("a")));
    assert_eq!(prepared.insert(id("c"), 2), Some(id("b")));
    assert!(!prepared.touch(id("b")));
    assert_eq!(prepared.insert(id("a"), 2), None, "it is there already");
    prepared.remove(id("c"));
    assert_eq!(prepared.insert(id("d"), 2), None);
    prepared.clear();
    assert!(!prepared.touch(id("a")));
}

#[test]
fn bytes_of_names_are_counted_both_ways() {
    let mut names = Names::default();
    names.insert(b"x", statement("SELECT 1"));
    names.insert(b"x", statement("SELECT 100"));
    assert_eq!(names.bytes(), "SELECT 100".len() + 2);
    assert!(names.remove(b"x").is_some());
    assert!(names.remove(b"x").is_none());
    assert_eq!(names.bytes(), 0);
}
