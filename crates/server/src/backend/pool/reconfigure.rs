//! Other settings while clients are served.

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
        self.set_budget(settings.connections_max);
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
