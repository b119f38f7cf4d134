//! Dialling for pools: where sessions wait, within the budget, with a pause after each failure.

use std::sync::Arc;
use std::time::Duration;

use everline_core::pool::plan::{PoolId, Verdict};
use tokio::time::Instant;

use super::Pools;
use crate::backend::Endpoint;
use crate::backend::connection::Connection;
use crate::backend::dial::{DialError, Login};
use crate::backend::lease::Backend;

impl Pools {
    pub(super) fn dial_where_needed(self: &Arc<Self>) {
        let mut evicted = Vec::new();
        let mut dials = Vec::new();
        {
            let mut inner = self.lock();
            for id in inner.plan.hungry() {
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

    /// Dials until a connection stands, nobody waits for it any longer, or the leader is gone.
    async fn dial(self: Arc<Self>, pool: PoolId, login: Arc<Login>) {
        let mut pause = Duration::from_millis(20);
        let outcome = loop {
            let target = self.target();
            let open = target.open.token(); // before it is asked whether the epoch has ended
            let (true, Some(leader)) = (target.is_available(), target.leader.clone()) else {
                break None;
            };
            let deadline = Instant::now() + self.dial_timeout;
            let dialled = tokio::select! {
                biased; // an epoch that is over makes the dial useless
                () = target.ended.cancelled() => break None,
                dialled = self.dial_once(&leader.endpoint, &login, deadline) => dialled,
            };
            match dialled {
                Ok((connection, false)) => {
                    tracing::debug!("dialled a node that is no primary");
                    self.reporter.suspect(target.epoch);
                    drop((connection, open));
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Ok((connection, true)) => {
                    let registration = self.reporter.opened(target.epoch);
                    break Some(Box::new(Backend::new(connection, &target, registration, open)));
                }
                Err(error) => {
                    drop(open);
                    self.reporter.dial_failed(target.epoch, &error);
                    if is_final(&error) {
                        tracing::warn!(database = login.database, user = login.user, %error,
                            "the backend refuses the login");
                        self.fail_waiters(pool, &Arc::new(error));
                        break None;
                    }
                    tracing::debug!(%error, "dial failed");
                }
            }
            if self.lock().plan.counts(pool).waiting == 0 {
                break None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        };
        {
            let mut inner = self.lock();
            let counts = inner.plan.counts_mut(pool);
            counts.dialling = counts.dialling.saturating_sub(1);
            if let Some(backend) = outcome {
                counts.idle = counts.idle.saturating_add(1);
                if let Some(queue) = inner.pools.get_mut(&pool) {
                    queue.idle.push(backend);
                }
            }
        }
        self.tend();
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
