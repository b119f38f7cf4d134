//! What the clients of a ledger have seen, counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Observer, Outcome};

/// Counts of what all clients have seen.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Rows that were acknowledged.
    pub acknowledged: u64,
    /// How often the answer was 40001.
    pub retryable: u64,
    /// How often the outcome is unknown.
    pub unknown: u64,
    /// Connections that ended although their client had not ended them.
    pub closed: u64,
    /// Errors that nobody expects, each with how often it came.
    pub surprises: BTreeMap<String, u64>,
    /// Who waits for an answer, and since when.
    waiting: BTreeMap<u16, Instant>,
}

impl Counts {
    /// Which client has waited longest for the answer that it waits for, and how long.
    #[must_use]
    pub fn longest_wait(&self) -> Option<(u16, Duration)> {
        let first = self.waiting.iter().min_by_key(|(_, since)| **since)?;
        Some((*first.0, first.1.elapsed()))
    }
}

/// The observer that counts.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

impl Tally {
    /// The counts at this moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Tally {
    fn asks(&self, client: u16) {
        self.lock().waiting.insert(client, Instant::now());
    }

    fn answered(&self, client: u16, outcome: Outcome) {
        let mut counts = self.lock();
        counts.waiting.remove(&client);
        match outcome {
            Outcome::Done | Outcome::Refused => {}
            Outcome::Acknowledged(rows) => counts.acknowledged += rows,
            Outcome::Retryable => counts.retryable += 1,
            Outcome::Unknown => counts.unknown += 1,
        }
    }

    fn closed(&self) {
        self.lock().closed += 1;
    }

    fn surprise(&self, code: &str, text: &str) {
        *self.lock().surprises.entry(format!("{code} {text}")).or_default() += 1;
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
