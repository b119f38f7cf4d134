//! The prefix of a transaction that no backend has seen.

use super::{Prefix, Transaction};
use everline_wire::backend::TransactionStatus;

fn text(prefix: &Prefix) -> &str {
    std::str::from_utf8(prefix.sql()).unwrap()
}

#[test]
fn rolling_back_to_a_savepoint_keeps_it_and_drops_what_came_after() {
    let mut prefix = Prefix::begin(b"BEGIN");
    prefix.savepoint("a", b"SAVEPOINT a");
    prefix.push(b"SET TRANSACTION READ ONLY");
    prefix.savepoint("b", b"SAVEPOINT b");
    assert!(prefix.roll_back_to("a"));
    assert_eq!(text(&prefix), "BEGIN;SAVEPOINT a");
    assert!(prefix.roll_back_to("a"), "a savepoint outlives ROLLBACK TO");
    assert!(!prefix.roll_back_to("b"));
    assert!(!prefix.holds("b"));
}

#[test]
fn a_released_savepoint_is_gone() {
    let mut prefix = Prefix::begin(b"BEGIN");
    prefix.savepoint("a", b"SAVEPOINT a");
    prefix.savepoint("b", b"SAVEPOINT b");
    assert!(prefix.release("a", b"RELEASE a"));
    assert_eq!(text(&prefix), "BEGIN;SAVEPOINT a;SAVEPOINT b;RELEASE a");
    assert!(!prefix.holds("b"), "savepoints inside the released one go with it");
    assert!(!prefix.release("a", b"RELEASE a"));
}

#[test]
fn the_same_name_twice_means_the_later() {
    let mut prefix = Prefix::begin(b"BEGIN");
    prefix.savepoint("a", b"SAVEPOINT a");
    prefix.savepoint("a", b"SAVEPOINT a");
    assert!(prefix.roll_back_to("a"));
    assert_eq!(text(&prefix), "BEGIN;SAVEPOINT a;SAVEPOINT a");
}

#[test]
fn what_the_backend_says_is_the_truth_and_the_prefix_lives_until_the_end() {
    let mut transaction = Transaction::Virtual(Prefix::begin(b"BEGIN"));
    transaction.told(TransactionStatus::InTransaction);
    assert_eq!(transaction, Transaction::Real(Prefix::begin(b"BEGIN")));
    transaction.told(TransactionStatus::Failed);
    transaction.lose();
    assert_eq!(transaction, Transaction::Lost(Prefix::begin(b"BEGIN")));
    assert_eq!(transaction.status(), TransactionStatus::Failed);
    transaction.told(TransactionStatus::Idle);
    assert_eq!(transaction, Transaction::None);
    transaction.lose();
    assert_eq!(transaction, Transaction::None, "nothing is lost outside a transaction");
}
