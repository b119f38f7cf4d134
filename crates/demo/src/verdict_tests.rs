use super::{Audit, Entry, Promise, audit};

fn judged(promise: Promise, count: u64, rows: &[(u64, u64)]) -> (u64, u64) {
    let entry = Entry { first: 10, count, promise };
    let Audit { lost, doubled } = audit(&[entry], rows);
    (lost, doubled)
}

#[test]
fn rows_are_lost_doubled_or_in_order() {
    use Promise::{Acknowledged, Refused, Unknown};
    for (promise, count, rows, expected) in [
        (Acknowledged, 1, &[(10, 1)][..], (0, 0)),
        (Acknowledged, 1, &[], (1, 0)),
        (Acknowledged, 1, &[(10, 2)], (0, 1)),
        (Acknowledged, 2, &[(10, 1)], (1, 0)),
        (Acknowledged, 2, &[(10, 2), (11, 2)], (0, 2)),
        (Unknown, 1, &[], (0, 0)),
        (Unknown, 1, &[(10, 1)], (0, 0)),
        (Unknown, 1, &[(10, 2)], (0, 1)),
        (Unknown, 2, &[(11, 1)], (1, 0)),
        (Refused, 1, &[], (0, 0)),
        (Refused, 1, &[(10, 1)], (0, 1)),
        (Refused, 2, &[(10, 1), (11, 1)], (0, 2)),
    ] {
        assert_eq!(judged(promise, count, rows), expected, "{promise:?} {count} {rows:?}");
    }
}
