//! Lending: a connection goes to a session, and comes back to whoever waits, or to its end.

use std::sync::Arc;
use std::time::Duration;

use everline_core::pool::plan::{PoolId, Returned};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::wait::{For, Held, Waiting};
use super::{LeaseError, Pools, Terms, Waiter};
use crate::backend::lease::{Backend, Lease};

/// How often a statement that waits looks at a fence that was reached.
const FENCE_LOOKS: Duration = Duration::from_millis(20);

impl Pools {
    /// Lends an idle connection, if there is one and nobody waits before.
    #[must_use]
    pub fn try_lease(self: &Arc<Self>, pool: PoolId) -> Option<Lease> {
        loop {
            let epoch = {
                let target = self.targets.borrow();
                if !target.is_available() {
                    return None;
                }
                target.epoch
            };
            let mut backend = {
                let mut inner = self.lock();
                if self.pauses_pool(&inner, pool) {
                    return None;
                }
                let queue = inner.pools.get_mut(&pool)?;
                if !queue.waiters.is_empty() {
                    return None;
                }
                let backend = queue.idle.pop()?;
                let counts = inner.plan.counts_mut(pool);
                counts.idle = counts.idle.saturating_sub(1);
                counts.lent = counts.lent.saturating_add(1);
                backend
            };
            let alive = backend.epoch == epoch && backend.is_quiet();
            backend.lent_at = Instant::now();
            let lease = Lease::new(backend, pool, Arc::clone(self));
            if alive {
                return Some(lease);
            }
            lease.broken();
        }
    }

    /// Lends a connection, waiting for a leader and for a free connection within `terms`.
    ///
    /// First come, first served within a pool.
    ///
    /// # Errors
    /// See [`LeaseError`]; nothing was sent to any backend.
    ///
    /// # Cancel safety
    /// Safe: the place in the queue is given up, a connection granted meanwhile goes back.
    pub async fn lease(self: &Arc<Self>, pool: PoolId, terms: Terms) -> Result<Lease, LeaseError> {
        if let Some(lease) = self.try_lease(pool) {
            return Ok(lease);
        }
        let (mut targets, mut pauses) = (self.targets.clone(), self.pauses.subscribe());
        let mut waiting = Waiting::new(self, terms);
        let (grant, mut granted) = oneshot::channel();
        let _place = self.enqueue(pool, grant)?;
        self.waits.notify_one();
        self.tend();
        loop {
            let (available, fenced, leaving) = {
                let target = targets.borrow_and_update();
                let fenced = target.availability.is_available() && !target.fence.holds();
                (target.is_available(), fenced, target.is_leaving())
            };
            pauses.borrow_and_update();
            waiting.turn_to(match (self.is_paused(pool), available) {
                (true, _) => For::Resumption,
                (false, false) if leaving => For::Successor,
                (false, false) => For::Leader,
                (false, true) => For::Connection,
            })?;
            let fence_looks = Instant::now() + FENCE_LOOKS;
            tokio::select! {
                biased; // a grant in hand beats a deadline that passes with it
                grant = &mut granted => return match grant {
                    Ok(Ok(lease)) => {
                        waiting.granted();
                        Ok(lease)
                    }
                    Ok(Err(error)) => Err(LeaseError::Refused(error)),
                    Err(_) => Err(waiting.over()),
                },
                changed = targets.changed() => if changed.is_err() {
                    return Err(waiting.over());
                },
                _ = pauses.changed() => {}
                () = sleep_until(waiting.deadline()) => return Err(waiting.over()),
                () = sleep_until(fence_looks), if fenced => {
                    // A fence that was moved on in the moment it was reached tells nobody.
                    self.tend();
                }
            }
        }
    }

    /// Waits, within the hold, until statements may be dispatched: for a session that has its
    /// connection already.
    ///
    /// # Errors
    /// [`LeaseError::NoLeader`] or [`LeaseError::TooManyHeld`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn until_available(&self, terms: Terms) -> Result<(), LeaseError> {
        let mut targets = self.targets.clone();
        let held = Held::begin(self, terms.bytes)?;
        while !targets.borrow_and_update().is_available() {
            let waited = held.since.elapsed();
            let leaving = self.targets.borrow().is_leaving();
            let most = if leaving { terms.shutdown } else { terms.hold };
            if waited >= most {
                return Err(LeaseError::NoLeader { held: waited });
            }
            let look = FENCE_LOOKS.min(most.saturating_sub(waited));
            tokio::select! {
                biased; // news before the clock
                changed = targets.changed() => if changed.is_err() {
                    return Err(LeaseError::NoLeader { held: held.since.elapsed() });
                },
                () = tokio::time::sleep(look) => {}
            }
        }
        Ok(())
    }

    /// Takes a connection back: to whoever waits, to the idle ones, or to its end.
    pub(in crate::backend) fn take_back(
        self: &Arc<Self>,
        mut backend: Box<Backend>,
        pool: PoolId,
        now: Instant,
    ) {
        let (current, available) = {
            let target = self.targets.borrow();
            let same = backend.epoch == target.epoch && !target.ended.is_cancelled();
            (same && !target.is_leaving(), target.is_available())
        };
        let young = backend.until.is_none_or(|until| now < until);
        let fit = current && young && !backend.state.spoiled && backend.is_quiet();
        let mut inner = self.lock();
        let renewed = inner.pools.get(&pool).map(|pool| pool.renewed);
        let fresh = renewed.is_none_or(|renewed| backend.place.opened >= renewed);
        let fit = fit && fresh && !self.pauses_pool(&inner, pool);
        inner.plan.note_hold(pool, now.saturating_duration_since(backend.lent_at));
        let keep = fit && inner.plan.returned(pool, now.into_std()) == Returned::Keep;
        if keep
            && available
            && let Some(waiter) = inner.next_waiter(pool)
        {
            drop(inner);
            backend.lent_at = now;
            waiter.take(Lease::new(backend, pool, Arc::clone(self)));
            return;
        }
        let counts = inner.plan.counts_mut(pool);
        counts.lent = counts.lent.saturating_sub(1);
        if keep {
            backend.idle_since = now;
            counts.idle = counts.idle.saturating_add(1);
            if let Some(queue) = inner.pools.get_mut(&pool) {
                queue.idle.push(backend);
            }
            if inner.pools.values().all(|pool| pool.waiters.is_empty()) {
                return;
            }
            drop(inner);
        } else {
            drop(inner);
            backend.close();
        }
        self.returned.notify_waiters();
        self.tend();
    }

    /// Notes that a lent connection is gone.
    pub(in crate::backend) fn lost(self: &Arc<Self>, pool: PoolId) {
        {
            let mut inner = self.lock();
            let counts = inner.plan.counts_mut(pool);
            counts.lent = counts.lent.saturating_sub(1);
        }
        self.returned.notify_waiters();
        self.tend();
    }

    /// The next who waits, with an idle connection for it.
    pub(super) fn match_one(self: &Arc<Self>) -> Option<(Waiter, Lease)> {
        loop {
            let mut inner = self.lock();
            let ready = inner
                .pools
                .iter()
                .find(|(id, pool)| {
                    let both = !pool.waiters.is_empty() && !pool.idle.is_empty();
                    both && !self.pauses_pool(&inner, **id)
                })
                .map(|(id, _)| *id)?;
            let pool = inner.pools.get_mut(&ready)?;
            let mut backend = pool.idle.pop()?;
            if !backend.is_quiet() {
                // Dead, or of an epoch that is over, and not swept yet.
                let counts = inner.plan.counts_mut(ready);
                counts.idle = counts.idle.saturating_sub(1);
                drop(inner);
                backend.end();
                continue;
            }
            let Some(waiter) = pool.waiters.pop_front() else {
                pool.idle.push(backend);
                return None;
            };
            let counts = inner.plan.counts_mut(ready);
            counts.waiting = counts.waiting.saturating_sub(1);
            counts.idle = counts.idle.saturating_sub(1);
            counts.lent = counts.lent.saturating_add(1);
            drop(inner);
            backend.lent_at = Instant::now();
            return Some((waiter, Lease::new(backend, ready, Arc::clone(self))));
        }
    }
}
