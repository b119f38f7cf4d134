//! The fence where it is checked: at every dispatch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use everline_core::ha::BootTime;
use rustix::time::{ClockId, clock_gettime};

/// Until when a source vouches for the leader. Cheap to clone; the clones are one fence.
#[derive(Clone, Debug)]
pub struct Fence(Option<Arc<AtomicU64>>);

impl Fence {
    /// A fence that is never reached: where no source has to vouch.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// A fence that lets nothing through until it is moved.
    #[must_use]
    pub fn closed() -> Self {
        Self(Some(Arc::new(AtomicU64::new(BootTime::ZERO.as_millis()))))
    }

    /// Moves the fence.
    pub fn set(&self, until: BootTime) {
        if let Some(fence) = &self.0 {
            fence.store(until.as_millis(), Ordering::Release);
        }
    }

    /// Whether a statement may be dispatched at this moment. Asks the clock only where there is a
    /// fence.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|fence| {
            // The fence first: read after the clock it could have been moved since.
            let until = fence.load(Ordering::Acquire);
            boot_time().as_millis() < until
        })
    }

    /// How long it still holds; `None` where there is no fence.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let until = BootTime::from_millis(self.0.as_ref()?.load(Ordering::Acquire));
        Some(until.since(boot_time()))
    }
}

/// The time since the boot, suspensions included.
#[must_use]
pub fn boot_time() -> BootTime {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let millis = u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000;
    BootTime::from_millis(seconds.saturating_mul(1_000).saturating_add(millis))
}

#[cfg(test)]
#[path = "fence_tests.rs"]
mod tests;
