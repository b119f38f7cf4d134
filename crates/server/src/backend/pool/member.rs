//! A session's share in the pool that serves it: as long as there is one, the pool stays.

use std::sync::Arc;

use everline_core::pool::plan::{Counts, Limits, PoolId};

use super::{Inner, Pools};

/// One session's share in a pool; given up when it is dropped.
#[derive(Debug)]
pub struct Member {
    pools: Arc<Pools>,
    id: PoolId,
}

impl Member {
    pub(super) const fn new(pools: Arc<Pools>, id: PoolId) -> Self {
        Self { pools, id }
    }

    /// The pool.
    #[must_use]
    pub const fn id(&self) -> PoolId {
        self.id
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut inner = self.pools.lock();
        let mut last = false;
        if let Some(pool) = inner.pools.get_mut(&self.id) {
            pool.members = pool.members.saturating_sub(1);
            last = pool.members == 0;
        }
        if last {
            // Nobody is there for whom connections should be kept ready.
            let limits = inner.plan.limits(self.id);
            inner.plan.set_limits(self.id, Limits { min: 0, ..limits });
        }
        inner.forget_unused(self.id);
    }
}

impl Inner {
    /// Forgets a pool that has nothing and serves nobody.
    pub(super) fn forget_unused(&mut self, id: PoolId) {
        let unused = self.pools.get(&id).is_some_and(|pool| pool.members == 0);
        if !unused || self.plan.counts(id) != Counts::default() {
            return;
        }
        if let Some(pool) = self.pools.remove(&id) {
            self.by_key.remove(&pool.key);
            self.groups.forget(&pool.key);
        }
        self.plan.forget(id);
    }
}
