//! Dialling for pools: where sessions wait, within the budget, with a pause after each failure.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use everline_core::pool::plan::{PoolId, Verdict};
use everline_core::session::backend_state::Parameters;
use tokio::time::Instant;

use super::{DIAL_PAUSE_MIN, Pools};
use crate::backend::Endpoint;
use crate::backend::connection::Connection;
use crate::backend::dial::{DialError, Login};
use crate::backend::lease::Backend;

/// The longest pause after a dial that failed.
const DIAL_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Why a dial led to no connection.
enum Failed {
    /// Nothing may be dispatched; whoever learns of a leader dials again.
    NoLeader,
    /// The dial itself.
    Dial,
}

impl Pools {
    pub(super) fn dial_where_needed(self: &Arc<Self>) {
        let mut evicted = Vec::new();
        let mut dials = Vec::new();
        {
            let mut inner = self.lock();
            if !inner.plan.is_needed() {
                return;
            }
            let now = Instant::now();
            for id in inner.plan.hungry(now.into_std()) {
                if inner.pools.get(&id).is_some_and(|pool| now < pool.not_before)
                    || self.pauses_pool(&inner, id)
                {
                    continue;
                }
                loop {
                    match inner.plan.serve(id) {
                        Verdict::Wait => break,
                        Verdict::Dial => {}
                        Verdict::Evict(from) => {
                            let Some(pool) = inner.pools.get_mut(&from) else { break };
                            if pool.idle.is_empty() {
                                break;
                            }
                            evicted.push(pool.idle.remove(0)); // the one unused for longest
                            let counts = inner.plan.counts_mut(from);
                            counts.idle = counts.idle.saturating_sub(1);
                        }
                    }
                    let Some(login) = inner.pools.get(&id).map(|pool| Arc::clone(&pool.login))
                    else {
                        break;
                    };
                    let counts = inner.plan.counts_mut(id);
                    counts.dialling = counts.dialling.saturating_add(1);
                    dials.push((id, login));
                }
            }
        }
        for backend in evicted {
            backend.close();
        }
        for (id, login) in dials {
            self.tasks.spawn(Arc::clone(self).dial(id, login));
        }
    }

    /// Dials once. After a failure its place among the dials is free for other pools until the
    /// pause is over.
    async fn dial(self: Arc<Self>, pool: PoolId, login: Arc<Login>) {
        let began = Instant::now();
        let outcome = self.try_dial(pool, &login).await;
        let mut unwanted = None;
        let retry_at = {
            let mut inner = self.lock();
            let paused = self.pauses_pool(&inner, pool);
            if outcome.is_ok() {
                inner.plan.note_dial(began.elapsed());
            }
            let counts = inner.plan.counts_mut(pool);
            counts.dialling = counts.dialling.saturating_sub(1);
            if outcome.is_ok() && !paused {
                counts.idle = counts.idle.saturating_add(1);
            }
            let mut retry_at = None;
            if let Some(queue) = inner.pools.get_mut(&pool) {
                match outcome {
                    Ok(backend) if paused => unwanted = Some(backend),
                    Ok(mut backend) => {
                        share(&mut queue.parameters, &mut backend.state.parameters);
                        queue.idle.push(backend);
                        queue.pause = DIAL_PAUSE_MIN;
                    }
                    Err(Failed::NoLeader) => {}
                    Err(Failed::Dial) => {
                        self.gauges.dials_failed.fetch_add(1, Ordering::Relaxed);
                        queue.not_before = Instant::now() + queue.pause;
                        queue.pause = (queue.pause * 2).min(DIAL_PAUSE_MAX);
                        retry_at = (!queue.waiters.is_empty()).then_some(queue.not_before);
                    }
                }
            }
            retry_at
        };
        if let Some(backend) = unwanted {
            backend.close();
        }
        self.returned.notify_waiters();
        self.tend();
        if let Some(retry_at) = retry_at {
            tokio::time::sleep_until(retry_at).await;
            self.tend();
        }
    }

    async fn try_dial(&self, pool: PoolId, login: &Login) -> Result<Box<Backend>, Failed> {
        let target = self.target();
        let open = target.open.token(); // before it is asked whether the epoch has ended
        let (true, Some(leader)) = (target.is_available(), target.leader.clone()) else {
            return Err(Failed::NoLeader);
        };
        let began = Instant::now();
        let deadline = began + self.settings().dial_timeout;
        let dialled = tokio::select! {
            biased; // an epoch that is over makes the dial useless
            () = target.ended.cancelled() => return Err(Failed::NoLeader),
            dialled = self.dial_once(&leader.endpoint, login, deadline) => dialled,
        };
        match dialled {
            Ok((connection, true)) => {
                self.gauges.dial.observe(began.elapsed());
                let registration = self.reporter.opened(target.epoch);
                let until = self.lives_until();
                Ok(Box::new(Backend::new(connection, &target, registration, open, until)))
            }
            Ok((_, false)) => {
                tracing::debug!("dialled a node that is no primary");
                self.reporter.suspect(target.epoch);
                Err(Failed::Dial)
            }
            Err(error) => {
                self.reporter.dial_failed(target.epoch, &error);
                if is_final(&error) {
                    tracing::warn!(database = login.database, user = login.user, %error,
                        "the backend refuses the login");
                    self.fail_waiters(pool, &Arc::new(error));
                } else {
                    tracing::debug!(%error, "dial failed");
                }
                Err(Failed::Dial)
            }
        }
    }

    /// One connection, and whether it leads to a primary.
    async fn dial_once(
        &self,
        endpoint: &Endpoint,
        login: &Login,
        deadline: Instant,
    ) -> Result<(Connection, bool), DialError> {
        let mut connection = self.dialer.dial(endpoint, login, deadline).await?;
        let primary = is_primary(&mut connection, deadline).await;
        Ok((connection, primary))
    }

    /// When a connection that is dialled at this moment has lived long enough: not all that were
    /// dialled at the same time are closed at the same time.
    pub(super) fn lives_until(&self) -> Option<Instant> {
        let lifetime_max = self.settings().lifetime_max;
        if lifetime_max.is_zero() {
            return None;
        }
        let part = rand::random_range(0.8..1.0);
        Some(Instant::now() + lifetime_max.mul_f64(part))
    }

    fn fail_waiters(&self, pool: PoolId, error: &Arc<DialError>) {
        let waiters = {
            let mut inner = self.lock();
            inner.plan.counts_mut(pool).waiting = 0;
            inner.pools.get_mut(&pool).map(|pool| std::mem::take(&mut pool.waiters))
        };
        for waiter in waiters.into_iter().flatten() {
            // A session that has gone meanwhile needs no answer.
            drop(waiter.grant.send(Err(Arc::clone(error))));
        }
    }
}

/// Lets connections that reported the same have it once, so that a session that goes from one to
/// another is seen at a glance to have been told already.
pub(super) fn share(known: &mut Arc<Parameters>, reported: &mut Arc<Parameters>) {
    if known == reported {
        *reported = Arc::clone(known);
    } else {
        *known = Arc::clone(reported);
    }
}

/// The recovery check, which costs a round trip only before PostgreSQL 14, where nothing is
/// reported at login.
async fn is_primary(connection: &mut Connection, deadline: Instant) -> bool {
    match connection.parameters.get("in_hot_standby").map(String::as_str) {
        Some(standby) => standby == "off",
        None => match connection.simple_query("SELECT pg_is_in_recovery()", deadline).await {
            Ok(reply) => {
                reply.rows.first().and_then(|row| row.first()) == Some(&Some(b"f".to_vec()))
            }
            Err(_) => false,
        },
    }
}

/// Whether asking again would be answered in the same way.
fn is_final(error: &DialError) -> bool {
    match error {
        DialError::Refused(fields) => {
            // Shutting down or starting up, out of slots or memory, crashed: these pass.
            !["57", "53", "58", "08", "XX"].contains(&fields.code().class())
        }
        DialError::NoPassword { .. } | DialError::Authentication { .. } | DialError::Login(_) => {
            true
        }
        DialError::Resolve(_)
        | DialError::Connect { .. }
        | DialError::Timeout { .. }
        | DialError::TlsRefused
        | DialError::Tls(_)
        | DialError::Lost { .. }
        | DialError::Scram(_)
        | DialError::Protocol(_) => false,
    }
}
