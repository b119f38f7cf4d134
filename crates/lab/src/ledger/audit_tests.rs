use super::*;

#[test]
fn rows_are_lost_doubled_kept_halved_or_in_order() {
    use Promise::{Acknowledged, Refused, Unknown};
    use Violation::{Doubled, Half, Kept, Lost, Stray};
    type Case<'a> = (Promise, u64, &'a [(u64, u64)], &'a [Violation]);
    let cases: &[Case<'_>] = &[
        (Acknowledged, 1, &[(10, 1)], &[]),
        (Acknowledged, 1, &[], &[Lost(10)]),
        (Acknowledged, 1, &[(10, 2)], &[Doubled(10, 2)]),
        (Acknowledged, 2, &[(10, 1)], &[Lost(11)]),
        (Acknowledged, 2, &[(10, 2), (11, 3)], &[Doubled(10, 2), Doubled(11, 3)]),
        (Acknowledged, 1, &[(9, 1), (10, 1), (11, 1)], &[Stray(9), Stray(11)]),
        (Unknown, 1, &[], &[]),
        (Unknown, 1, &[(10, 1)], &[]),
        (Unknown, 1, &[(10, 2)], &[Doubled(10, 2)]),
        (Unknown, 2, &[(11, 1)], &[Half(10)]),
        (Unknown, 2, &[(10, 1), (11, 1)], &[]),
        (Refused, 1, &[], &[]),
        (Refused, 1, &[(10, 1)], &[Kept(10)]),
        (Refused, 1, &[(10, 2)], &[Doubled(10, 2)]),
        (Refused, 2, &[(10, 1), (11, 1)], &[Kept(10), Kept(11)]),
    ];
    for (promise, count, rows, violations) in cases {
        let entry = Entry { first: 10, count: *count, promise: *promise };
        let audit = audit(&[entry], rows);
        assert_eq!(audit.violations, *violations, "{promise:?} {count} {rows:?}");
        let total = u64::try_from(violations.len()).unwrap();
        assert_eq!(audit.lost() + audit.doubled(), total, "each is one or the other");
    }
}

#[test]
fn every_row_is_counted_once() {
    let entry = |first, count, promise| Entry { first, count, promise };
    let entries = [
        entry(1, 2, Promise::Acknowledged),
        entry(3, 5, Promise::Unknown),
        entry(8, 1, Promise::Unknown),
        entry(9, 3, Promise::Refused),
    ];
    let rows: Vec<(u64, u64)> = (1..8).map(|id| (id, 1)).collect();
    let audit = audit(&entries, &rows);
    let Audit { acknowledged, refused, unknown_there, unknown_absent, violations } = audit;
    assert_eq!([acknowledged, refused, unknown_there, unknown_absent], [2, 3, 5, 1]);
    assert_eq!(violations, []);
}
