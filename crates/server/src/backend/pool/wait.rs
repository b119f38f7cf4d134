//! What a waiting session holds: its place in the queue, and its count among the held.

use std::sync::atomic::Ordering;

use everline_core::pool::plan::PoolId;
use tokio::time::Instant;

use super::{LeaseError, Pools};

/// A session's place in the queue; given up when it is dropped.
pub(super) struct Place<'a> {
    pub pools: &'a Pools,
    pub pool: PoolId,
    pub ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.pools.lock();
        let Some(queue) = inner.pools.get_mut(&self.pool) else { return };
        let before = queue.waiters.len();
        queue.waiters.retain(|waiter| waiter.ticket != self.ticket);
        let gone = before.saturating_sub(queue.waiters.len());
        let counts = inner.plan.counts_mut(self.pool);
        counts.waiting = counts.waiting.saturating_sub(gone);
    }
}

/// One statement that is held for want of a leader, counted while it is.
pub(super) struct Held<'a> {
    pools: &'a Pools,
    pub since: Instant,
}

impl<'a> Held<'a> {
    pub(super) fn begin(pools: &'a Pools) -> Result<Self, LeaseError> {
        if pools.held.fetch_add(1, Ordering::Relaxed) >= pools.held_max {
            pools.held.fetch_sub(1, Ordering::Relaxed);
            return Err(LeaseError::TooManyHeld);
        }
        pools.held_total.fetch_add(1, Ordering::Relaxed);
        Ok(Self { pools, since: Instant::now() })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pools.held.fetch_sub(1, Ordering::Relaxed);
    }
}
