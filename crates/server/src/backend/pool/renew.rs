//! Connections replaced, because an administrator asks for it or their plans are out of date.

use std::sync::Arc;
use std::time::Duration;

use everline_core::pool::plan::PoolId;
use tokio::time::Instant;

use super::{Inner, Pools};

/// The shortest time between two replacements because of plans: a schema that changes all the time
/// must not keep a pool from having connections.
const REPLANNING_GAP: Duration = Duration::from_secs(1);

impl Pools {
    /// Closes every connection of a database, or of all, that is open at this moment: at once where
    /// nobody uses it, else when it is given back.
    pub fn renew(self: &Arc<Self>, database: Option<&str>) {
        let now = Instant::now();
        let mut unused = Vec::new();
        {
            let mut inner = self.lock();
            let Inner { plan, pools, .. } = &mut *inner;
            let meant = |name: &str| database.is_none_or(|database| database == name);
            for (id, pool) in pools.iter_mut().filter(|(_, pool)| meant(&pool.key.database)) {
                pool.renewed = now;
                unused.append(&mut pool.idle);
                plan.counts_mut(*id).idle = 0;
            }
        }
        tracing::info!(database, closed = unused.len(), "connections are replaced");
        for backend in unused {
            backend.end();
        }
        self.settle_ahead();
        self.tend();
    }

    /// Closes the connections of a pool, whose plans are out of date: at once where nobody uses
    /// them, else when they are given back. Not more than once a second.
    pub fn replan(self: &Arc<Self>, id: PoolId) {
        let now = Instant::now();
        let unused = {
            let mut inner = self.lock();
            let Some(pool) = inner.pools.get_mut(&id) else { return };
            if pool.replanned.is_some_and(|at| now < at + REPLANNING_GAP) {
                return;
            }
            pool.replanned = Some(now);
            pool.renewed = now;
            let unused = std::mem::take(&mut pool.idle);
            inner.plan.counts_mut(id).idle = 0;
            unused
        };
        tracing::debug!(closed = unused.len(), "plans are out of date: connections are replaced");
        for backend in unused {
            backend.end();
        }
        self.settle_ahead();
        self.tend();
    }
}
