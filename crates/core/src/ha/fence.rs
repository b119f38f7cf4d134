//! Until when may we dispatch, when somebody else says who leads?
//!
//! A source vouches for a leader for a bounded time after we asked it. The time is counted from the
//! *sending* of the question, for the answer may be as old as that, and on the boot-time clock,
//! which goes on while the machine is suspended: a thawed machine finds its fence in the past.

use std::fmt;
use std::time::Duration;

/// A point on the boot-time clock (`CLOCK_BOOTTIME`), in whole milliseconds.
///
/// The same unit everywhere, so that two readers of one instant never disagree about a fence.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BootTime(u64);

impl BootTime {
    /// The boot itself: a fence there lets nothing through.
    pub const ZERO: Self = Self(0);
    /// Never reached: a fence there lets everything through.
    pub const MAX: Self = Self(u64::MAX);

    /// So many milliseconds after the boot.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the boot.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Later by a duration, which is rounded down to milliseconds. Never overflows.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long after `earlier`; nothing if it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for BootTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s after the boot", self.0 / 1_000, self.0 % 1_000)
    }
}

/// What vouches for the leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vouched {
    /// When the consistent read was sent whose answer names the leader.
    pub read_sent: BootTime,
    /// When the write of our registration was sent that succeeded last; `None` where we follow
    /// without being registered.
    pub write_sent: Option<BootTime>,
    /// How long both are good for.
    pub timeout: Duration,
}

impl Vouched {
    /// The instant from which on nothing may be dispatched: counted from the older of the two,
    /// since the source stops waiting for us when our writes fail, however well we read.
    #[must_use]
    pub fn fence(&self) -> BootTime {
        let oldest = self.write_sent.map_or(self.read_sent, |write| write.min(self.read_sent));
        oldest.plus(self.timeout)
    }
}

#[cfg(test)]
#[path = "fence_tests.rs"]
mod tests;
