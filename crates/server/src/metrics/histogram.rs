//! How durations are spread: fixed buckets, one atomic addition for each observation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of what usually takes milliseconds: a wait for a connection, a dial.
pub const WAITS: &[Duration] = &[
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
];

/// Upper bounds of how long a service is away.
pub const OUTAGES: &[Duration] = &[
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
    Duration::from_mins(5),
];

/// Observed durations, counted by bucket.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what lies above all of them.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

/// What a [`Histogram`] had counted at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Each bucket's upper bound in seconds, and how many were not longer.
    pub buckets: Vec<(f64, u64)>,
    /// How many were observed.
    pub count: u64,
    /// All of them together, in seconds.
    pub sum_s: f64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, which ascend.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_us: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let at = self.bounds.partition_point(|bound| *bound < duration);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What has been counted.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let mut count: u64 = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        let mut counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        for bound in self.bounds {
            count = count.saturating_add(counts.next().unwrap_or_default());
            buckets.push((bound.as_secs_f64(), count));
        }
        count = count.saturating_add(counts.next().unwrap_or_default());
        let sum_s = Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        Spread { buckets, count, sum_s }
    }
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
