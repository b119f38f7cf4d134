//! What one session counts for itself, until it is added to the counts of its database.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::traffic::Counted;

/// Times and bytes of one session. The clock is read only where something begins or ends: twice
/// for a statement that is a transaction of its own.
#[derive(Debug, Default)]
pub struct Meter {
    counted: Counted,
    statement: Option<Instant>,
    lease: Option<Instant>,
    /// When the connection was leased, if that was in this turn.
    just: Option<Instant>,
}

impl Meter {
    /// Notes whether an answer is owed, and whether a connection is leased; `now`, where it is
    /// known.
    pub fn turn(&mut self, awaits: bool, leased: bool, now: Option<Instant>) {
        let just = self.just.take();
        if awaits == self.statement.is_some() && leased == self.lease.is_some() {
            return;
        }
        let now = now.or(just).unwrap_or_else(Instant::now);
        self.counted.statement_us += turned(&mut self.statement, awaits, now);
        self.counted.transaction_us += turned(&mut self.lease, leased, now);
    }

    /// Notes that a connection is leased since `at`.
    pub fn leased(&mut self, at: Instant) -> Instant {
        self.just = Some(at);
        *self.lease.get_or_insert(at)
    }

    /// Notes a wait for a connection.
    pub fn waited(&mut self, time: Duration) {
        self.counted.wait_us += micros(time);
    }

    /// Notes bytes from the client and to it.
    pub fn moved(&mut self, received: usize, sent: usize) {
        self.counted.received += u64::try_from(received).unwrap_or_default();
        self.counted.sent += u64::try_from(sent).unwrap_or_default();
    }

    /// Takes what was counted since the last call.
    pub fn take(&mut self) -> Counted {
        std::mem::take(&mut self.counted)
    }
}

fn turned(since: &mut Option<Instant>, goes_on: bool, now: Instant) -> u64 {
    match (*since, goes_on) {
        (None, true) => {
            *since = Some(now);
            0
        }
        (Some(began), false) => {
            *since = None;
            micros(now.saturating_duration_since(began))
        }
        (None, false) | (Some(_), true) => 0,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
