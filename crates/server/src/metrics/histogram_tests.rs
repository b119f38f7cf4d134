use std::time::Duration;

use super::{Histogram, OUTAGES, Spread, WAITS};

#[test]
fn a_duration_counts_in_every_bucket_that_it_fits_in() {
    const BOUNDS: &[Duration] = &[Duration::from_millis(10), Duration::from_millis(100)];
    let histogram = Histogram::new(BOUNDS);
    for ms in [1, 10, 11, 100, 101] {
        histogram.observe(Duration::from_millis(ms));
    }
    let buckets = vec![(0.01, 2), (0.1, 4)];
    assert_eq!(histogram.spread(), Spread { buckets, count: 5, sum_s: 0.223 });
}

#[test]
fn bounds_ascend() {
    for bounds in [WAITS, OUTAGES] {
        assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
    }
}
