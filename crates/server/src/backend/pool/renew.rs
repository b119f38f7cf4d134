//! Changes that an administrator asks for: connections replaced, another budget.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Inner, Pools};

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

    /// Changes the most connections that may be lent; what is beyond it is closed when it is given
    /// back.
    pub fn set_budget(self: &Arc<Self>, budget: usize) {
        self.lock().plan.set_budget(budget);
        self.tend();
    }
}
