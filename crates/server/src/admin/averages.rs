//! What was usual in the last minute, by database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::metrics::traffic::Counted;

/// How long an average is taken over, as PgBouncer's `stats_period`.
const PERIOD: Duration = Duration::from_mins(1);

/// Counts per second, and times per transaction, statement and wait, in microseconds.
#[derive(Debug, Default)]
pub struct Averages(Mutex<BTreeMap<Arc<str>, Counted>>);

impl Averages {
    /// The averages of the last full period; empty in the first.
    #[must_use]
    pub fn get(&self) -> BTreeMap<Arc<str>, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes them until `stop` is cancelled.
    pub async fn run(&self, metrics: &Metrics, stop: CancellationToken) {
        let mut every = interval(PERIOD);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        every.tick().await;
        let (mut before, mut began) = (metrics.databases.counted(), Instant::now());
        loop {
            tokio::select! {
                biased; // told to stop, nothing is counted any more
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            let counted = metrics.databases.counted();
            let over = began.elapsed();
            let average = |(name, now): (&Arc<str>, &Counted)| {
                let then = before.get(name).copied().unwrap_or_default();
                (Arc::clone(name), average(&now.since(&then), over))
            };
            let averages = counted.iter().map(average).collect();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = averages;
            (before, began) = (counted, Instant::now());
        }
    }
}

fn average(counted: &Counted, over: Duration) -> Counted {
    let ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = |count: u64| count.saturating_mul(1_000) / ms;
    let each = |time: u64, of: u64| time.checked_div(of).unwrap_or_default();
    Counted {
        transactions: rate(counted.transactions),
        statements: rate(counted.statements),
        received: rate(counted.received),
        sent: rate(counted.sent),
        transaction_us: each(counted.transaction_us, counted.transactions),
        statement_us: each(counted.statement_us, counted.statements),
        wait_us: each(counted.wait_us, counted.transactions),
    }
}

#[cfg(test)]
#[path = "averages_tests.rs"]
mod tests;
