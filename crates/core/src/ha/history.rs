//! The last transitions of the machine with their causes, for console, page and log.

use super::event::{Availability, Event};
use super::identity::Node;
use super::machine::Phase;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// How many transitions are remembered: weeks of a calm cluster, some minutes of the worst one.
pub const HISTORY_MAX: usize = 256;

/// A change of phase, of epoch, or of whether sessions may dispatch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transition {
    /// The phase before.
    pub from: Phase,
    /// The phase after.
    pub to: Phase,
    /// The epoch after.
    pub epoch: u64,
    /// Whether sessions may dispatch after it.
    pub availability: Availability,
    /// What led to it.
    pub cause: Cause,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let may = if self.availability.is_available() { "available" } else { "unavailable" };
        write!(f, "{} -> {}, {may} (epoch {}): {}", self.from, self.to, self.epoch, self.cause)
    }
}

/// What led to a transition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// A pool connection was opened.
    PoolOpened,
    /// A pool connection ended without us.
    PoolBroken,
    /// A pool connection was closed on purpose.
    PoolClosed,
    /// A leader answered on the system connection.
    LeaderFound(Node),
    /// The system connection ended, or nothing was heard of the leader for too long.
    SystemBroken,
    /// The leader has no slot free for the system connection.
    SystemRefused,
    /// The leader said that it is shutting down.
    ShuttingDown,
    /// The leader lets nobody in any more.
    Leaving,
    /// The leader said that it is in recovery.
    HotStandby,
    /// A source, or the operator, named another leader.
    LeaderChanged,
    /// A source took its word back.
    LeaderWithdrawn,
    /// Time, with nothing new.
    Tick,
    /// Enough connections broke for long enough, and the system connection is down.
    Evidence {
        /// How many connections had broken.
        broken: u32,
        /// Of how many.
        baseline: u32,
    },
}

impl Cause {
    /// The cause that an event is by itself.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        match event {
            Event::PoolOpened { .. } => Self::PoolOpened,
            Event::PoolBroken { .. } => Self::PoolBroken,
            Event::PoolClosed { .. } => Self::PoolClosed,
            Event::SystemConnected { node } => Self::LeaderFound(node.clone()),
            Event::SystemBroken { .. } => Self::SystemBroken,
            Event::SystemRefused { .. } => Self::SystemRefused,
            Event::ShuttingDown { .. } => Self::ShuttingDown,
            Event::Leaving { .. } => Self::Leaving,
            Event::HotStandby { .. } => Self::HotStandby,
            Event::LeaderChanged => Self::LeaderChanged,
            Event::LeaderWithdrawn => Self::LeaderWithdrawn,
            Event::Tick => Self::Tick,
        }
    }

    /// One word for a metric's label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::PoolOpened => "pool_opened",
            Self::PoolBroken => "pool_broken",
            Self::PoolClosed => "pool_closed",
            Self::LeaderFound(_) => "leader_found",
            Self::SystemBroken => "system_broken",
            Self::SystemRefused => "system_refused",
            Self::ShuttingDown => "shutting_down",
            Self::Leaving => "leaving",
            Self::HotStandby => "hot_standby",
            Self::LeaderChanged => "leader_changed",
            Self::LeaderWithdrawn => "leader_withdrawn",
            Self::Tick => "tick",
            Self::Evidence { .. } => "evidence",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoolOpened => f.write_str("a pool connection was opened"),
            Self::PoolBroken => f.write_str("a pool connection broke"),
            Self::PoolClosed => f.write_str("a pool connection was closed"),
            Self::LeaderFound(node) => write!(f, "the leader is {node}"),
            Self::SystemBroken => f.write_str("the system connection broke"),
            Self::SystemRefused => {
                f.write_str("the leader has no slot free for the system connection")
            }
            Self::ShuttingDown => f.write_str("the leader is shutting down"),
            Self::Leaving => f.write_str("the leader lets nobody in any more"),
            Self::HotStandby => f.write_str("the leader is in recovery"),
            Self::LeaderChanged => f.write_str("another leader was announced"),
            Self::LeaderWithdrawn => f.write_str("nobody vouches for the leader any more"),
            Self::Tick => f.write_str("time passed"),
            Self::Evidence { broken, baseline } => {
                write!(f, "{broken} of {baseline} connections broke and the leader does not answer")
            }
        }
    }
}

/// One remembered transition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// When it happened.
    pub at: Instant,
    /// How long the phase before it had lasted in its epoch.
    pub lasted: Duration,
    /// What changed, and why.
    pub transition: Transition,
    /// What the cause leaves open: an error's text, a notice's words. May be empty.
    pub detail: String,
}

/// The last [`HISTORY_MAX`] transitions, oldest first.
#[derive(Clone, Debug)]
pub struct History {
    entries: VecDeque<Entry>,
    /// Since when the present phase lasts.
    since: Instant,
}

impl History {
    /// An empty history of a machine that started at `now`.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { entries: VecDeque::new(), since: now }
    }

    /// Remembers one more and forgets the oldest if there is no room. Returns how long the phase
    /// before it had lasted.
    pub fn record(&mut self, transition: Transition, detail: String, now: Instant) -> Duration {
        let lasted = now.saturating_duration_since(self.since);
        self.since = now;
        if self.entries.len() == HISTORY_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { at: now, lasted, transition, detail });
        lasted
    }

    /// Oldest first.
    #[must_use]
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Since when the present phase lasts.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
