//! Connections to the node that will lead, made before the source says so: logged in, and not used.
//!
//! When it leads they are asked whether it is a primary, whatever it said before, and are idle from
//! then on. When it turns out that another leads, or nobody, they are closed.

use std::sync::Arc;

use everline_core::pool::plan::PoolId;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::dialling::share;
use super::{Inner, Pools};
use crate::backend::Endpoint;
use crate::backend::connection::Connection;
use crate::backend::dial::Login;
use crate::backend::lease::Backend;
use crate::supervisor::Target;

/// One of them.
pub(super) struct Ahead {
    pool: PoolId,
    connection: Connection,
    /// When its dial began.
    since: Instant,
    /// Its socket among those that are open; dropped after it.
    open: TaskTrackerToken,
}

/// What is to be done with a connection to `endpoint`.
enum Fate {
    /// It leads: the connection may be used once it says that it is a primary.
    Adopt,
    Wait,
    Close,
}

fn fate(target: &Target, endpoint: &Endpoint) -> Fate {
    let leads = target.leader.as_ref().is_some_and(|leader| leader.endpoint == *endpoint);
    if leads && target.is_available() {
        Fate::Adopt
    } else if target.coming.as_ref() == Some(endpoint) {
        Fate::Wait
    } else {
        Fate::Close
    }
}

impl Pools {
    /// Dials what the pools can use at once when the node that will lead does: as many connections
    /// as they had, or as sessions wait, within the bounds of all dials.
    pub(super) fn dial_ahead(self: &Arc<Self>) {
        let target = self.target();
        let Some(endpoint) = &target.coming else { return };
        let mut dials = Vec::new();
        {
            let mut inner = self.lock();
            let now = Instant::now();
            let ids: Vec<PoolId> = inner.pools.keys().copied().collect();
            for id in ids {
                let waiting = inner.plan.counts(id).waiting;
                let Some(pool) = inner.pools.get(&id) else { continue };
                let (wanted, login) = (pool.had.max(waiting), Arc::clone(&pool.login));
                if now < pool.not_before || self.pauses_pool(&inner, id) {
                    continue;
                }
                while inner.plan.dial_ahead(id, wanted) {
                    let counts = inner.plan.counts_mut(id);
                    counts.dialling = counts.dialling.saturating_add(1);
                    dials.push((id, Arc::clone(&login)));
                }
            }
        }
        for (id, login) in dials {
            self.tasks.spawn(Arc::clone(self).dial_one_ahead(id, login, endpoint.clone()));
        }
    }

    async fn dial_one_ahead(self: Arc<Self>, pool: PoolId, login: Arc<Login>, endpoint: Endpoint) {
        let mut targets = self.targets.clone();
        let open = targets.borrow().open.token(); // before it is asked what is to come of it
        let useless = targets.wait_for(|target| matches!(fate(target, &endpoint), Fate::Close));
        let since = Instant::now();
        let deadline = since + self.settings().dial_timeout;
        let dialled = tokio::select! {
            biased; // another leads: the dial is of no use
            _ = useless => None,
            dialled = self.dialer.dial(&endpoint, &login, deadline) => dialled
                .inspect_err(|error| tracing::debug!(%error, "dial ahead failed"))
                .ok(),
        };
        {
            let mut inner = self.lock();
            let counts = inner.plan.counts_mut(pool);
            counts.dialling = counts.dialling.saturating_sub(1);
            match dialled {
                Some(connection) => {
                    counts.ahead = counts.ahead.saturating_add(1);
                    inner.ahead.push(Ahead { pool, connection, since, open });
                }
                None => {
                    if let Some(pool) = inner.pools.get_mut(&pool) {
                        pool.not_before = Instant::now() + super::DIAL_PAUSE_MIN;
                    }
                }
            }
        }
        self.settle_ahead();
    }

    /// Adopts or closes what was made ahead, as the target says.
    pub(super) fn settle_ahead(self: &Arc<Self>) {
        let target = self.target();
        let mut adopted = Vec::new();
        let mut closed = Vec::new();
        {
            let mut inner = self.lock();
            for one in std::mem::take(&mut inner.ahead) {
                let fate = if self.may_not_have(&inner, one.pool, one.since) {
                    Fate::Close
                } else {
                    fate(&target, &one.connection.endpoint)
                };
                match fate {
                    Fate::Adopt => adopted.push(one),
                    Fate::Wait => inner.ahead.push(one),
                    Fate::Close => {
                        let counts = inner.plan.counts_mut(one.pool);
                        counts.ahead = counts.ahead.saturating_sub(1);
                        closed.push(one);
                    }
                }
            }
        }
        let freed = !closed.is_empty();
        drop(closed); // unused, so nothing is owed to them
        if freed {
            self.returned.notify_waiters();
        }
        for one in adopted {
            self.tasks.spawn(Arc::clone(self).adopt(one, Arc::clone(&target)));
        }
        if freed {
            self.tend();
        }
    }

    /// Whether a connection dialled at `since` is to be closed whoever leads: its pool pauses, or
    /// has been told to renew its connections meanwhile.
    fn may_not_have(&self, inner: &Inner, id: PoolId, since: Instant) -> bool {
        let renewed = inner.pools.get(&id).is_none_or(|pool| since < pool.renewed);
        renewed || self.pauses_pool(inner, id)
    }

    /// Asks whether it is a primary, and lends it if it is.
    async fn adopt(self: Arc<Self>, one: Ahead, target: Arc<Target>) {
        let Ahead { pool, mut connection, since, open } = one;
        let deadline = Instant::now() + self.settings().dial_timeout;
        let asked = connection.simple_query("SELECT pg_is_in_recovery()", deadline);
        let is_primary = tokio::select! {
            biased; // an epoch that is over makes the answer useless
            () = target.ended.cancelled() => false,
            reply = asked => reply.is_ok_and(|reply| {
                reply.rows.first().and_then(|row| row.first()) == Some(&Some(b"f".to_vec()))
            }),
        };
        let backend = is_primary.then(|| {
            let registration = self.reporter.opened(target.epoch);
            Box::new(Backend::new(connection, &target, registration, open, self.lives_until()))
        });
        let unwanted = {
            let mut inner = self.lock();
            let refused = self.may_not_have(&inner, pool, since);
            let counts = inner.plan.counts_mut(pool);
            counts.ahead = counts.ahead.saturating_sub(1);
            match backend {
                Some(mut backend) if !refused => {
                    counts.idle = counts.idle.saturating_add(1);
                    if let Some(queue) = inner.pools.get_mut(&pool) {
                        share(&mut queue.parameters, &mut backend.state.parameters);
                        queue.idle.push(backend);
                    }
                    None
                }
                backend => backend,
            }
        };
        if let Some(backend) = unwanted {
            backend.close();
        }
        self.returned.notify_waiters();
        self.tend();
    }
}
