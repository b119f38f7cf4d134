//! What each database has been used for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Databases counted each for itself; clients may name as many as they like, so what comes after
/// is counted under [`OTHERS`].
const DATABASES_MAX: usize = 1_000;

/// Stands for all databases that have no count of their own.
const OTHERS: &str = "(others)";

/// Counters of one database, or a copy of them.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Transactions that came to an end at a backend.
    pub transactions: AtomicU64,
    /// Statements answered by a backend.
    pub statements: AtomicU64,
    /// Bytes from clients.
    pub received: AtomicU64,
    /// Bytes to clients.
    pub sent: AtomicU64,
    /// How long backend connections were lent, in microseconds.
    pub transaction_us: AtomicU64,
    /// How long backends took to answer, in microseconds.
    pub statement_us: AtomicU64,
    /// How long statements waited for a backend connection or a leader, in microseconds.
    pub wait_us: AtomicU64,
}

/// What a [`Traffic`] had counted at one moment; units are the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// See [`Traffic`].
    pub transactions: u64,
    /// See [`Traffic`].
    pub statements: u64,
    /// See [`Traffic`].
    pub received: u64,
    /// See [`Traffic`].
    pub sent: u64,
    /// See [`Traffic`].
    pub transaction_us: u64,
    /// See [`Traffic`].
    pub statement_us: u64,
    /// See [`Traffic`].
    pub wait_us: u64,
}

impl Counted {
    /// Both together.
    #[must_use]
    pub const fn plus(&self, more: &Self) -> Self {
        Self {
            transactions: self.transactions.saturating_add(more.transactions),
            statements: self.statements.saturating_add(more.statements),
            received: self.received.saturating_add(more.received),
            sent: self.sent.saturating_add(more.sent),
            transaction_us: self.transaction_us.saturating_add(more.transaction_us),
            statement_us: self.statement_us.saturating_add(more.statement_us),
            wait_us: self.wait_us.saturating_add(more.wait_us),
        }
    }

    /// What came after `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            transactions: self.transactions.saturating_sub(before.transactions),
            statements: self.statements.saturating_sub(before.statements),
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
            transaction_us: self.transaction_us.saturating_sub(before.transaction_us),
            statement_us: self.statement_us.saturating_sub(before.statement_us),
            wait_us: self.wait_us.saturating_sub(before.wait_us),
        }
    }
}

impl Traffic {
    /// Adds what one session has counted.
    pub fn add(&self, more: &Counted) {
        for (counter, more) in [
            (&self.transactions, more.transactions),
            (&self.statements, more.statements),
            (&self.received, more.received),
            (&self.sent, more.sent),
            (&self.transaction_us, more.transaction_us),
            (&self.statement_us, more.statement_us),
            (&self.wait_us, more.wait_us),
        ] {
            if more > 0 {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    /// What has been counted.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            transactions: read(&self.transactions),
            statements: read(&self.statements),
            received: read(&self.received),
            sent: read(&self.sent),
            transaction_us: read(&self.transaction_us),
            statement_us: read(&self.statement_us),
            wait_us: read(&self.wait_us),
        }
    }
}

/// The counters of all databases; what has been counted once is never forgotten.
#[derive(Debug, Default)]
pub struct Databases(Mutex<BTreeMap<Arc<str>, Arc<Traffic>>>);

impl Databases {
    /// The counters of this database.
    #[must_use]
    pub fn of(&self, database: &str) -> Arc<Traffic> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(traffic) = all.get(database) {
            return Arc::clone(traffic);
        }
        let name = if all.len() < DATABASES_MAX { database } else { OTHERS };
        Arc::clone(all.entry(name.into()).or_default())
    }

    /// What each of them has counted, by name.
    #[must_use]
    pub fn counted(&self) -> BTreeMap<Arc<str>, Counted> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, traffic)| (Arc::clone(name), traffic.counted())).collect()
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
