//! How evidence is weighed: the two thresholds, as types that cannot hold nonsense.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Whether failovers are concluded from evidence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// One fixed leader, or one that a source names: ends of connections are no evidence. Sessions
    /// are still refused while the system connection is down, a shutdown notice still retires the
    /// epoch, and another server behind the name still begins a new one.
    Fixed,
    /// A failover is concluded from what the connections show.
    Adaptive {
        /// How much of the baseline must have broken.
        disconnect_percent: Percent,
        /// How long the evidence is collected before it may suffice.
        unhealthy_min: UnhealthyMin,
    },
}

impl Mode {
    /// Adaptive with the documented thresholds: 60 % and 30 s.
    pub const ADAPTIVE: Self =
        Self::Adaptive { disconnect_percent: Percent(60), unhealthy_min: UnhealthyMin::DEFAULT };
}

/// A share from 1 to 100 percent.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Percent(u8);

impl Percent {
    /// `None` unless `percent` is from 1 to 100.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        if percent >= 1 && percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// From 1 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether `part` is at least this share of `whole`.
    #[must_use]
    pub fn is_reached_by(self, part: u32, whole: NonZeroU32) -> bool {
        u64::from(part) * 100 >= u64::from(whole.get()) * u64::from(self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// How long evidence is collected: at most one day, so that adding it to an instant cannot
/// overflow.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnhealthyMin(Duration);

impl UnhealthyMin {
    /// 30 s.
    pub const DEFAULT: Self = Self(Duration::from_secs(30));
    /// One day.
    pub const MAX: Self = Self(Duration::from_hours(24));

    /// `None` if it is longer than [`Self::MAX`]. Zero decides as soon as enough has broken.
    #[must_use]
    pub fn new(duration: Duration) -> Option<Self> {
        (duration <= Self::MAX.0).then_some(Self(duration))
    }

    /// The duration, at most one day.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_hold_no_nonsense() {
        assert_eq!(Percent::new(0), None);
        assert_eq!(Percent::new(1).map(Percent::get), Some(1));
        assert_eq!(Percent::new(100).map(|percent| percent.to_string()), Some("100 %".into()));
        assert_eq!(Percent::new(101), None);
        assert_eq!(UnhealthyMin::new(Duration::ZERO).map(UnhealthyMin::get), Some(Duration::ZERO));
        assert_eq!(UnhealthyMin::new(Duration::from_hours(24)), Some(UnhealthyMin::MAX));
        assert_eq!(UnhealthyMin::new(Duration::from_millis(86_400_001)), None);
    }
}
