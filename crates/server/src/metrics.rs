//! Counters, in one struct that is passed by `Arc` and never global.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use everline_core::session::Tally;

/// What is counted over all sessions.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Client connections that are open.
    pub clients: AtomicUsize,
    /// Client connections accepted since the start.
    pub accepted: AtomicU64,
    /// Statements refused with a code that invites a retry.
    pub retryable: AtomicU64,
    /// Statements answered with "outcome unknown".
    pub unknown: AtomicU64,
    /// Statements answered by a backend.
    pub statements: AtomicU64,
    /// Transactions that came to an end at a backend.
    pub transactions: AtomicU64,
}

impl Metrics {
    /// Adds one session's tally.
    pub fn count(&self, tally: Tally) {
        if tally == Tally::default() {
            return;
        }
        for (counter, more) in [
            (&self.retryable, tally.retryable),
            (&self.unknown, tally.unknown),
            (&self.statements, tally.statements),
            (&self.transactions, tally.transactions),
        ] {
            if more > 0 {
                counter.fetch_add(more.into(), Ordering::Relaxed);
            }
        }
    }
}
