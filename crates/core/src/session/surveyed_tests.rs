//! What is taken for the same text, and that nothing else is.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Surveyed, alike};
use crate::limits::{SURVEYED_BYTES_MAX, SURVEYED_MAX};
use crate::session::survey::Survey;

fn is_known(surveyed: &mut Surveyed, text: &str) -> bool {
    let before: Vec<_> = surveyed.known.iter().map(|(_, survey)| Arc::clone(survey)).collect();
    let survey = surveyed.survey(text.as_bytes(), false);
    assert_eq!(*survey, Survey::of(text.as_bytes(), false), "{text}");
    before.iter().any(|known| Arc::ptr_eq(known, &survey))
}

#[test]
fn numbers_may_differ_and_nothing_else() {
    let same = |left: &str, right: &str| {
        assert!(alike(left.as_bytes(), right.as_bytes()), "{left} {right}");
    };
    let other = |left: &str, right: &str| {
        assert!(!alike(left.as_bytes(), right.as_bytes()), "{left} {right}");
    };
    same("SELECT a FROM t WHERE id = 1;", "SELECT a FROM t WHERE id = 54321;");
    same("SELECT 1.5, -2", "SELECT 27.25, -13");
    same("SELECT '1'", "SELECT '22'");
    other("SELECT a1", "SELECT a2");
    other("SELECT a_1", "SELECT a_2");
    other("SELECT $1", "SELECT $2");
    other("SELECT $1$ $1$", "SELECT $2$ $2$");
    other("SELECT 1", "SELECT 1;");
    other("SELECT 1", "SELECT '1'");
    other("SELECT 1", "SELECT a");
    other("SELECT \u{e4}1", "SELECT \u{e4}2");
}

#[test]
fn a_text_that_differs_in_numbers_is_not_read_again() {
    let mut surveyed = Surveyed::default();
    assert!(!is_known(&mut surveyed, "UPDATE t SET a = 1 WHERE id = 2"));
    assert!(is_known(&mut surveyed, "UPDATE t SET a = 100 WHERE id = 20"));
    assert!(!is_known(&mut surveyed, "UPDATE t SET b = 1 WHERE id = 2"));
    assert!(is_known(&mut surveyed, "UPDATE t SET a = 3 WHERE id = 4"));
}

#[test]
fn what_tells_something_in_particular_is_read_each_time() {
    let mut surveyed = Surveyed::default();
    let texts = [
        "SELECT 2",
        "/* a comment */ SELECT 3;",
        "SET a.b TO 1",
        "SAVEPOINT \"1\"",
        "ROLLBACK TO SAVEPOINT \"1\"",
        "COMMIT",
        "DEALLOCATE \"1\"",
        "SELECT pg_advisory_lock(1)",
        "SELECT set_config('1', '2', false)",
        "CREATE TEMP TABLE t (a char(1))",
        "CALL p(1)",
        "VACUUM",
    ];
    for text in texts {
        assert!(!is_known(&mut surveyed, text), "{text}");
        assert!(!is_known(&mut surveyed, text), "{text}");
    }
    assert!(surveyed.known.is_empty());
}

#[test]
fn what_it_holds_is_bounded() {
    let mut surveyed = Surveyed::default();
    for column in 0..3 * SURVEYED_MAX {
        assert!(!is_known(&mut surveyed, &format!("SELECT c{column} FROM t")));
    }
    assert_eq!(surveyed.known.len(), SURVEYED_MAX);
    let long = format!("SELECT '{}' FROM t", "x".repeat(SURVEYED_BYTES_MAX));
    assert!(!is_known(&mut surveyed, &long));
    assert!(!is_known(&mut surveyed, &long));
    let known = surveyed.survey(b"SELECT c5 FROM t", true);
    assert!(known.cut, "of a text that goes on nothing is known");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the texts, what is remembered is what would have been read.
    #[test]
    fn what_is_remembered_is_true(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "select", "set_config", "(", ")", "'", "\"", "$", "$$", "a", "_", "E'", "\\", "--",
                "\n", "/*", "*/", "commit", "begin", ";", ",", ".", "1", "22", "333", " ", " ", " ",
                "begin read only", "savepoint", "x'", "temp", "create", "into", "from", "for",
                "insert", "now", "pg_advisory_lock", "deallocate", "isolation level", "e",
            ]),
            0..14,
        ),
        numbers in prop::collection::vec(0_u32..1200, 12),
    ) {
        let first = words.concat();
        let mut numbers = numbers.iter();
        let mut second = String::new();
        let mut in_number = false;
        for letter in first.chars() {
            match (letter.is_ascii_digit(), in_number) {
                (true, false) => {
                    second.push_str(&numbers.next().map_or("7".to_owned(), u32::to_string));
                }
                (true, true) => {}
                (false, _) => second.push(letter),
            }
            in_number = letter.is_ascii_digit();
        }
        let mut surveyed = Surveyed::default();
        for text in [first, second] {
            let told = surveyed.survey(text.as_bytes(), false);
            prop_assert_eq!(&*told, &Survey::of(text.as_bytes(), false), "{:?}", text);
        }
    }
}
