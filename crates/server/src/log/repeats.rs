//! Lines that are said again and again: after a number of them in a while the rest is counted, and
//! the count is said.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;

/// Lines of one kind that are logged in one window.
const LINES_MAX: u32 = 20;

/// How long a window lasts.
pub const WINDOW: Duration = Duration::from_secs(10);

/// What has been said how often in the present window, by the place in the program that says it.
///
/// There are as many kinds as places that log, so it is bounded. What is below INFO is not counted:
/// whoever asks for it wants all of it.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<HashMap<Identifier, Kind>>);

#[derive(Debug)]
struct Kind {
    began: Instant,
    said: u32,
    left_out: u64,
    words: String,
}

impl Repeats {
    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more line is said.
    fn admit(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut kinds = self.lock();
        let kind = kinds.entry(metadata.callsite()).or_insert_with(|| Kind {
            began: Instant::now(),
            said: 0,
            left_out: 0,
            words: String::new(),
        });
        if kind.said < LINES_MAX {
            kind.said += 1;
            return true;
        }
        if kind.began.elapsed() >= WINDOW && kind.left_out == 0 {
            (kind.began, kind.said) = (Instant::now(), 1);
            return true;
        }
        if kind.left_out == 0 {
            event.record(&mut Words(&mut kind.words));
        }
        kind.left_out = kind.left_out.saturating_add(1);
        false
    }

    /// Ends windows that have lasted long enough, and says what was left out in them. To be called
    /// once in a [`WINDOW`].
    pub fn tell(&self) {
        let mut ended = Vec::new();
        {
            let mut kinds = self.lock();
            for kind in kinds.values_mut().filter(|kind| kind.left_out > 0) {
                ended.push((std::mem::take(&mut kind.words), kind.left_out));
                (kind.began, kind.said, kind.left_out) = (Instant::now(), 0, 0);
            }
        }
        for (words, times) in ended {
            tracing::warn!(times, "said again and again, and left out of the log: {words}");
        }
    }
}

/// Takes an event's message.
struct Words<'a>(&'a mut String);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

/// Leaves out what is said again and again.
#[derive(Debug)]
pub(super) struct Layer(pub Arc<Repeats>);

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admit(event)
    }
}

#[cfg(test)]
#[path = "repeats_tests.rs"]
mod tests;
