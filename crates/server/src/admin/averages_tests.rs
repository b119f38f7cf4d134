use std::time::Duration;

use super::average;
use crate::metrics::traffic::Counted;

#[test]
fn rates_are_by_the_second_and_times_for_each() {
    let counted = Counted {
        transactions: 120,
        statements: 240,
        received: 6_000,
        sent: 0,
        transaction_us: 12_000,
        statement_us: 4_800,
        wait_us: 0,
    };
    let expected = Counted {
        transactions: 2,
        statements: 4,
        received: 100,
        sent: 0,
        transaction_us: 100,
        statement_us: 20,
        wait_us: 0,
    };
    assert_eq!(average(&counted, Duration::from_mins(1)), expected);
    assert_eq!(average(&Counted::default(), Duration::ZERO), Counted::default());
}
