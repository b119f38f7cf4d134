//! What has been said about a trouble that lasts: each reason once, and again after a while.
//!
//! With several agents the reasons take turns, one after each attempt.

use std::time::Duration;

use tokio::time::Instant;

/// How many reasons are kept apart: as many as a few agents have.
const REASONS_MAX: usize = 16;

/// After this time the same is said again, for whoever looks only at the end of the log.
const AGAIN: Duration = Duration::from_mins(5);

/// The reasons of one trouble.
#[derive(Debug, Default)]
pub(super) struct Complaints(Vec<(String, Instant)>);

impl Complaints {
    /// Whether this is to be said. The oldest reason is forgotten when there are too many.
    pub(super) fn is_news(&mut self, reason: &str, now: Instant) -> bool {
        self.0.retain(|(_, said)| now.saturating_duration_since(*said) < AGAIN);
        if self.0.iter().any(|(known, _)| known == reason) {
            return false;
        }
        if self.0.len() >= REASONS_MAX {
            self.0.remove(0);
        }
        self.0.push((reason.to_owned(), now));
        true
    }

    /// The trouble is over: the next one is said whatever it is.
    pub(super) fn end(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
#[path = "complaints_tests.rs"]
mod tests;
