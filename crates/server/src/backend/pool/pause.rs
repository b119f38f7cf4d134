//! Pauses, for planned work: no new transaction begins, those that run may end, and what clients
//! send meanwhile waits for the resumption.
//!
//! A pause changes nothing for a session whose state exists on its connection alone (temporary
//! tables and their kin): it goes on, and the pause is complete when it has ended.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use everline_core::pool::plan::PoolId;

use super::{Inner, PoolKey, Pools};

/// What a pause is about.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// Everything.
    All,
    /// Everything, while a reload moves to another `backend_dsn`.
    Move,
    /// One database, whoever uses it.
    Database(String),
    /// One database and user.
    Pool(PoolKey),
}

impl Scope {
    fn covers(&self, key: &PoolKey) -> bool {
        match self {
            Self::All | Self::Move => true,
            Self::Database(database) => *database == key.database,
            Self::Pool(pool) => pool == key,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Move => f.write_str("everything, for a new backend_dsn"),
            Self::Database(database) => write!(f, "database {database}"),
            Self::Pool(pool) => write!(f, "database {}, user {}", pool.database, pool.user),
        }
    }
}

/// The pauses in force.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pauses(BTreeSet<Scope>);

impl Pauses {
    /// Whether nothing is paused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this pause is in force, by itself.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// Whether the pool of `key` is paused.
    #[must_use]
    pub fn covers(&self, key: &PoolKey) -> bool {
        self.0.iter().any(|scope| scope.covers(key))
    }

    /// Each pause.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

/// The pause was lifted before it was complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("resumed before everything was quiet")]
pub struct Resumed;

impl Pools {
    /// Begins a pause, and waits until nothing of its scope runs and every connection of it is
    /// closed: PostgreSQL may then be restarted, or the lead be moved.
    ///
    /// A pause that is in force already is only waited for. How long a statement waits for the
    /// resumption is bounded by [`Terms::pause`](super::Terms::pause), how long this waits by
    /// nothing: transactions take as long as they take.
    ///
    /// # Errors
    /// [`Resumed`]: the pause was lifted meanwhile.
    ///
    /// # Cancel safety
    /// Safe: the pause stays in force.
    pub async fn pause(self: &Arc<Self>, scope: Scope) -> Result<(), Resumed> {
        let mut pauses = self.pauses.subscribe();
        {
            let _inner = self.lock(); // so that nothing is lent after this
            self.pauses.send_if_modified(|pauses| Arc::make_mut(pauses).0.insert(scope.clone()));
        }
        tracing::info!(%scope, "paused: no new transaction begins");
        loop {
            let mut changed = pin!(self.returned.notified());
            changed.as_mut().enable();
            self.close_paused();
            if !pauses.borrow_and_update().contains(&scope) {
                return Err(Resumed);
            }
            if self.is_quiet(&scope) {
                tracing::info!(%scope, "pause complete: every connection is closed");
                return Ok(());
            }
            tokio::select! {
                biased; // either way everything is looked at again
                () = changed => {}
                _ = pauses.changed() => {}
            }
        }
    }

    /// Lifts a pause; [`Scope::All`] lifts every one. False when there was none.
    pub fn resume(self: &Arc<Self>, scope: &Scope) -> bool {
        let lifted = {
            let _inner = self.lock();
            self.pauses.send_if_modified(|pauses| {
                let pauses = &mut Arc::make_mut(pauses).0;
                match scope {
                    Scope::All => !std::mem::take(pauses).is_empty(),
                    Scope::Move | Scope::Database(_) | Scope::Pool(_) => pauses.remove(scope),
                }
            })
        };
        if lifted {
            tracing::info!(%scope, "resumed");
            self.tend();
        }
        lifted
    }

    /// The pauses in force.
    #[must_use]
    pub fn pauses(&self) -> Arc<Pauses> {
        Arc::clone(&self.pauses.borrow())
    }

    /// Whether the pool is paused.
    #[must_use]
    pub fn is_paused(&self, pool: PoolId) -> bool {
        !self.pauses.borrow().is_empty() && self.pauses_pool(&self.lock(), pool)
    }

    /// Whether connections that sessions keep without needing them should come back: for a pause,
    /// or because their leader waits for its last connections to go.
    #[must_use]
    pub fn wants_back(&self, pool: PoolId) -> bool {
        self.targets.borrow().is_leaving() || self.is_paused(pool)
    }

    /// Waits until [`Pools::wants_back`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn until_wanted_back(&self, pool: PoolId) {
        let (mut pauses, mut targets) = (self.pauses.subscribe(), self.targets.clone());
        while !self.wants_back(pool) {
            tokio::select! {
                biased; // either way it is looked at again
                Ok(()) = pauses.changed() => {}
                Ok(()) = targets.changed() => {}
                else => std::future::pending::<()>().await, // nobody wants anything any more
            }
        }
    }

    /// As [`Pools::is_paused`], with the lock in hand: what is lent under it is lent before a pause
    /// begins, or not at all.
    pub(super) fn pauses_pool(&self, inner: &Inner, pool: PoolId) -> bool {
        let pauses = self.pauses.borrow();
        !pauses.is_empty() && inner.pools.get(&pool).is_some_and(|pool| pauses.covers(&pool.key))
    }

    fn is_quiet(&self, scope: &Scope) -> bool {
        let inner = self.lock();
        inner.pools.iter().filter(|(_, pool)| scope.covers(&pool.key)).all(|(id, _)| {
            let counts = inner.plan.counts(*id);
            counts.held() == 0
        })
    }

    fn close_paused(self: &Arc<Self>) {
        let mut unused = Vec::new();
        {
            let mut inner = self.lock();
            let pauses = Arc::clone(&self.pauses.borrow());
            let Inner { plan, pools, .. } = &mut *inner;
            for (id, pool) in pools.iter_mut().filter(|(_, pool)| pauses.covers(&pool.key)) {
                unused.append(&mut pool.idle);
                plan.counts_mut(*id).idle = 0;
            }
        }
        for backend in unused {
            backend.end();
        }
        self.settle_ahead();
    }
}
