//! How long to wait before trying again: doubling, bounded, with jitter from a generator that the
//! caller passes in, so that a run can be repeated and many processes do not knock in step.

use rand::{Rng, RngExt};
use std::time::Duration;

/// The pace of one kind of attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// The wait after the first attempt.
    pub first: Duration,
    /// The longest wait while the trouble is younger than [`Pace::early`].
    pub cap_early: Duration,
    /// How long the trouble counts as young: clients are still being held, so haste is worth it.
    pub early: Duration,
    /// The longest wait later on: a backend that stays away must not be hammered.
    pub cap_late: Duration,
}

impl Pace {
    /// The pace at which the system connection is dialled while there is none.
    pub const SYSTEM_DIAL: Self = Self {
        first: Duration::from_millis(50),
        cap_early: Duration::from_millis(100),
        early: Duration::from_mins(1),
        cap_late: Duration::from_secs(1),
    };

    /// The pace at which a node is dialled that a source has announced: it is being promoted.
    pub const ANNOUNCED_DIAL: Self = Self {
        first: Duration::from_millis(20),
        cap_early: Duration::from_millis(40),
        early: Duration::from_mins(1),
        cap_late: Duration::from_millis(500),
    };

    /// The pace at which a source is asked again that does not answer.
    pub const SOURCE: Self = Self {
        first: Duration::from_millis(50),
        cap_early: Duration::from_secs(1),
        early: Duration::MAX,
        cap_late: Duration::from_secs(1),
    };
}

/// The waits between the attempts of one outage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    pace: Pace,
    /// The wait before jitter that comes next.
    next: Duration,
}

impl Backoff {
    /// A backoff whose first wait is about [`Pace::first`].
    #[must_use]
    pub const fn new(pace: Pace) -> Self {
        Self { pace, next: pace.first }
    }

    /// Starts over: the trouble has ended.
    pub const fn reset(&mut self) {
        self.next = self.pace.first;
    }

    /// The wait before the next attempt, in a trouble that has lasted for `age`.
    ///
    /// Drawn evenly from the upper half of the bounded doubling, so it is never longer than the cap
    /// and never shorter than half of it. Never overflows.
    pub fn wait(&mut self, age: Duration, rng: &mut impl Rng) -> Duration {
        let cap = if age < self.pace.early { self.pace.cap_early } else { self.pace.cap_late };
        let full = self.next.min(cap);
        self.next = full.saturating_mul(2);
        let half = full / 2;
        let spread = u64::try_from(full.saturating_sub(half).as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(rng.random_range(0..=spread))
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
