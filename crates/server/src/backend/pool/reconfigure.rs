//! Other settings while clients are served.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{PoolKey, PoolSettings, Pools};
use crate::backend::dial::Login;

impl Pools {
    /// The settings in force.
    pub(super) fn settings(&self) -> PoolSettings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a dial may take.
    pub fn dial_timeout(&self) -> Duration {
        self.settings().dial_timeout
    }

    /// Takes other settings. What waits or was opened before keeps the deadlines that it began
    /// with.
    pub fn configure(self: &Arc<Self>, settings: PoolSettings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        self.set_budget();
    }

    /// Takes half of the budget while another process has the other half, or all of it; what is
    /// beyond it is closed when it is given back.
    pub fn share_budget(self: &Arc<Self>, is_shared: bool) {
        self.shared.store(is_shared, Ordering::Relaxed);
        self.set_budget();
    }

    fn set_budget(self: &Arc<Self>) {
        let most = self.settings().connections_max;
        let shared = self.shared.load(Ordering::Relaxed);
        self.lock().plan.set_budget(if shared { (most / 2).max(1) } else { most });
        self.tend();
    }

    /// Lets each pool log in as `login` says of its key and of how it did so far. Connections that
    /// are open stay as they are.
    pub fn log_in_as(&self, login: impl Fn(&PoolKey, &Login) -> Login) {
        let mut inner = self.lock();
        for pool in inner.pools.values_mut() {
            let new = login(&pool.key, &pool.login);
            if new != *pool.login {
                pool.login = Arc::new(new);
            }
        }
    }
}
