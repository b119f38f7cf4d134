//! Counters, in one struct that is passed by `Arc` and never global.

pub mod histogram;
pub mod traffic;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use everline_core::session::Tally;
use everline_wire::sqlstate::SqlState;

use traffic::{Counted, Databases, Traffic};

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
    /// What each database has been used for.
    pub databases: Databases,
    refusals: Mutex<BTreeMap<SqlState, u64>>,
}

impl Metrics {
    /// Adds one session's tally, to the counts over all and to those of its database.
    pub fn count(&self, tally: &Tally, traffic: &Traffic, bytes: Counted) {
        let statements = tally.statements.into();
        let transactions = tally.transactions.into();
        traffic.add(&Counted { transactions, statements, ..bytes });
        if tally.refused.is_empty() {
            return;
        }
        self.retryable.fetch_add(tally.retryable.into(), Ordering::Relaxed);
        self.unknown.fetch_add(tally.unknown.into(), Ordering::Relaxed);
        for (code, times) in &tally.refused {
            self.refuse(*code, (*times).into());
        }
    }

    /// Counts errors that were not PostgreSQL's, by their code.
    pub fn refuse(&self, code: SqlState, times: u64) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        // Codes are ours: there are some dozens of them, not more.
        let count = refusals.entry(code).or_default();
        *count = count.saturating_add(times);
    }

    /// How often each code was answered by us, in place of PostgreSQL.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<SqlState, u64> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
