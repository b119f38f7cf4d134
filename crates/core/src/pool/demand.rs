//! What a pool has needed lately, as averages: how long it keeps a connection, how many it uses.

use std::time::{Duration, Instant};

/// Over how long the average of connections in use looks back.
///
/// Long enough that a pool which is asked a few times a second keeps its connection between two
/// statements, short enough that what it has used before is free for others within a second.
const LOOKS_BACK: Duration = Duration::from_millis(150);

/// Of a new sample, how much an average takes over: one part in so many.
const SAMPLES: u32 = 16;

/// An average of the latest durations of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Average(Option<Duration>);

impl Average {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn note(&mut self, sample: Duration) {
        self.0 = Some(match self.0 {
            None => sample,
            Some(average) => (average.saturating_mul(SAMPLES - 1).saturating_add(sample)) / SAMPLES,
        });
    }

    /// The average; `otherwise` while there is no sample.
    pub(super) fn or(self, otherwise: Duration) -> Duration {
        self.0.unwrap_or(otherwise)
    }
}

/// The average number of connections that one pool uses or waits for, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Use {
    thousandths: u64,
    looked: Option<Instant>,
}

impl Use {
    /// Notes that `count` connections are used or waited for.
    pub(super) fn note(&mut self, count: usize, now: Instant) {
        let count = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(1000);
        let passed = self.looked.map(|looked| now.saturating_duration_since(looked));
        self.looked = Some(now);
        let Some(passed) = passed else {
            self.thousandths = count;
            return;
        };
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let (part, whole) = (micros(passed), micros(passed.saturating_add(LOOKS_BACK)));
        let step = count.abs_diff(self.thousandths).saturating_mul(part) / whole.max(1);
        self.thousandths = if count > self.thousandths {
            self.thousandths.saturating_add(step)
        } else {
            self.thousandths.saturating_sub(step)
        };
    }

    /// Connections for that use, rounded up; a twentieth of one is none.
    pub(super) fn connections(self) -> usize {
        let rounded = self.thousandths.saturating_add(949) / 1000;
        usize::try_from(rounded).unwrap_or(usize::MAX)
    }
}
