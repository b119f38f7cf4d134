use super::{Words, entry, words};
use crate::args::Fault;

#[test]
fn rows_of_the_ledger_are_an_id_and_a_count() {
    for (row, expected) in [
        ("1 1", Some((1, 1))),
        ("18446744073709551615 2", Some((u64::MAX, 2))),
        ("1", None),
        ("x 1", None),
        ("1 1 1", None),
    ] {
        assert_eq!(entry(row), expected, "{row}");
    }
}

/// The timeline shows 80 columns less the time and the mark.
#[test]
fn what_the_timeline_says_fits_a_narrow_terminal() {
    for fault in [Fault::Kill, Fault::Freeze, Fault::Blackhole, Fault::Switchover] {
        let Words { fault, state, back, back_state } = words(fault);
        for text in [fault, back] {
            assert!(text.chars().count() <= 67, "{text}");
        }
        for text in [state, back_state] {
            assert!(text.chars().count() <= 60, "{text}");
        }
    }
}
