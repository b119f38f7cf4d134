use super::*;
use crate::sample::identifier;

fn names(names: &str) -> String {
    distinct(names.split_whitespace().map(str::to_owned)).join(" ")
}

#[test]
fn names_are_told_apart() {
    for (given, expected) in [
        ("", ""),
        ("a b", "a b"),
        ("a a a", "a a_1 a_2"),
        ("a a a_1", "a a_2 a_1"),
        ("a_1 a a a", "a_1 a a_2 a_3"),
        ("?column? ?column?", "?column? ?column?_1"),
    ] {
        assert_eq!(names(given), expected, "{given}");
    }
    let many = distinct(std::iter::repeat_n("x".to_owned(), 20_000));
    assert_eq!(many.last().map(String::as_str), Some("x_19999"));
}

#[test]
fn structures_differ_in_their_identifiers() {
    let column = |name: &str, oid| (name.to_owned(), Type::of(oid));
    let records = [
        vec![],
        vec![column("a", 25)],
        vec![column("b", 25)],
        vec![column("a", 23)],
        vec![column("a", 1009)],
        vec![column("a", 25), column("b", 25)],
        vec![column("b", 25), column("a", 25)],
        vec![column("a", 25), column("", 25)],
        vec![column("", 25), column("a", 25)],
        vec![column("a\0\0\0\u{1}b", 25)],
    ];
    let mut ids = std::collections::BTreeSet::new();
    for record in &records {
        assert!(ids.insert(Descriptor::sql_record(record).id), "{record:?}");
        assert!(ids.insert(Descriptor::object(record).id), "{record:?}");
    }
    assert!(ids.insert(Descriptor::arguments(&[Type::of(25)]).id));
    // "0" is what the first parameter is called.
    assert_eq!(Descriptor::object(&[column("0", 25)]), Descriptor::arguments(&[Type::of(25)]));
}

#[test]
fn identifiers_do_not_change_from_one_release_to_the_next() {
    let record = Descriptor::sql_record(&[("x".to_owned(), Type::of(23))]);
    let id = identifier(&record.id);
    assert_eq!(id, "4c7fd818d84f8b8e95c61864f5f3fc3f");
    assert_eq!(Descriptor::arguments(&[]), Descriptor::nothing());
}

#[test]
fn each_type_stands_once() {
    let columns: Vec<_> = (0..1664).map(|n| (format!("c{n}"), Type::of(25))).collect();
    let record = Descriptor::sql_record(&columns);
    let text = String::from_utf8_lossy(&record.bytes).into_owned();
    assert_eq!(text.matches("std::str").count(), 1);
}
