//! What a waiting session holds: its place in the queue, and its count among the held.

use std::sync::atomic::Ordering;
use std::time::Duration;

use everline_core::pool::plan::PoolId;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{Grant, Inner, LeaseError, Pools, Terms, Waiter};
use crate::backend::lease::Lease;

/// A session's place in the queue; given up when it is dropped.
pub(super) struct Place<'a> {
    pub pools: &'a Pools,
    pub pool: PoolId,
    pub ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.pools.lock();
        let Some(queue) = inner.pools.get_mut(&self.pool) else { return };
        // Tickets are given out in order. Whoever was granted a connection is not there any more.
        let place = queue.waiters.binary_search_by_key(&self.ticket, |waiter| waiter.ticket);
        let Ok(place) = place else { return };
        queue.waiters.remove(place);
        let counts = inner.plan.counts_mut(self.pool);
        counts.waiting = counts.waiting.saturating_sub(1);
    }
}

impl Waiter {
    /// Gives it the connection that it waits for; if it is gone, somebody else gets it.
    pub(super) fn take(self, lease: Lease) {
        if let Err(Ok(unwanted)) = self.grant.send(Ok(lease)) {
            unwanted.give_back();
        }
    }
}

impl Inner {
    /// Whoever has waited longest in `pool`, to be given a connection that another session of it
    /// has given back: nothing else has changed, and nothing needs to be looked at.
    pub(super) fn next_waiter(&mut self, pool: PoolId) -> Option<Waiter> {
        let waiter = self.pools.get_mut(&pool)?.waiters.pop_front()?;
        let counts = self.plan.counts_mut(pool);
        counts.waiting = counts.waiting.saturating_sub(1);
        Some(waiter)
    }
}

impl Pools {
    /// Gives a session its place in the queue of `pool`.
    ///
    /// # Errors
    /// [`LeaseError::TooManyHeld`].
    pub(super) fn enqueue(
        &self,
        pool: PoolId,
        grant: oneshot::Sender<Grant>,
    ) -> Result<Place<'_>, LeaseError> {
        let mut inner = self.lock();
        let waiting: usize = inner.pools.values().map(|pool| pool.waiters.len()).sum();
        if waiting >= self.settings().waiters_max {
            return Err(LeaseError::TooManyHeld);
        }
        let ticket = inner.next_ticket;
        inner.next_ticket = inner.next_ticket.wrapping_add(1);
        if let Some(queue) = inner.pools.get_mut(&pool) {
            queue.waiters.push_back(Waiter { ticket, since: Instant::now(), grant });
            let counts = inner.plan.counts_mut(pool);
            counts.waiting = counts.waiting.saturating_add(1);
        }
        Ok(Place { pools: self, pool, ticket })
    }

    /// Waits, held, until there is another epoch than `epoch`, at most for `pause`: the node that
    /// leads it has refused a statement as one that does not lead.
    ///
    /// # Errors
    /// [`LeaseError::TooManyHeld`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn reconsider(&self, epoch: u64, pause: Duration) -> Result<(), LeaseError> {
        let mut targets = self.targets.clone();
        let _held = Held::begin(self, 0)?;
        let another = targets.wait_for(|target| target.epoch != epoch);
        drop(timeout(pause, another).await); // whatever came of it, a lease is asked for next
        Ok(())
    }
}

/// One statement that is held for want of a leader, counted while it is.
pub(super) struct Held<'a> {
    pools: &'a Pools,
    bytes: usize,
    pub since: Instant,
}

impl<'a> Held<'a> {
    pub(super) fn begin(pools: &'a Pools, bytes: usize) -> Result<Self, LeaseError> {
        let held = Self { pools, bytes, since: Instant::now() };
        let number = pools.held.fetch_add(1, Ordering::Relaxed);
        let others = pools.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        let most = pools.settings();
        // One that is too many is dropped, which takes it out of the count.
        if number >= most.held_max || others.saturating_add(bytes) > most.held_bytes_max {
            return Err(LeaseError::TooManyHeld);
        }
        pools.held_total.fetch_add(1, Ordering::Relaxed);
        Ok(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pools.held.fetch_sub(1, Ordering::Relaxed);
        self.pools.gauges.hold.observe(self.since.elapsed());
        self.pools.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a statement waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum For {
    /// A free connection.
    Connection,
    /// A leader.
    Leader,
    /// A leader after one that has announced its shutdown.
    Successor,
    /// The end of a pause.
    Resumption,
}

/// The clock of one statement that waits. Each reason to wait has a bound of its own; the time of a
/// pause counts for none of the others.
pub(super) struct Waiting<'a> {
    pools: &'a Pools,
    terms: Terms,
    reason: For,
    /// Since when it waits for that.
    since: Instant,
    /// Since when it has waited for a connection, where nothing else was in the way.
    queued: Instant,
    held: Option<Held<'a>>,
    /// Whether it has waited for nothing but a connection.
    undisturbed: bool,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(pools: &'a Pools, terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            pools,
            terms,
            reason: For::Connection,
            since: now,
            queued: now,
            held: None,
            undisturbed: true,
        }
    }

    /// It waits for this.
    ///
    /// # Errors
    /// [`LeaseError::TooManyHeld`].
    pub(super) fn turn_to(&mut self, reason: For) -> Result<(), LeaseError> {
        if self.reason == reason {
            return Ok(());
        }
        let now = Instant::now();
        if self.reason == For::Resumption {
            self.queued = now;
        }
        self.reason = reason;
        match reason {
            For::Connection => {
                self.held = None;
                self.since = self.queued;
            }
            For::Leader | For::Successor | For::Resumption => {
                self.undisturbed = false;
                self.since = now;
                if self.held.is_none() {
                    self.held = Some(Held::begin(self.pools, self.terms.bytes)?);
                }
            }
        }
        Ok(())
    }

    /// When it has waited long enough.
    pub(super) fn deadline(&self) -> Instant {
        let terms = self.terms;
        self.since
            + match self.reason {
                For::Connection => terms.query_wait,
                For::Leader => terms.hold,
                For::Successor => terms.shutdown,
                For::Resumption => terms.pause,
            }
    }

    /// It has got its connection.
    pub(super) fn granted(&self) {
        if self.undisturbed {
            self.pools.gauges.wait.observe(self.since.elapsed());
        }
    }

    /// What is said then.
    pub(super) fn over(&self) -> LeaseError {
        let waited = self.since.elapsed();
        match self.reason {
            For::Connection => {
                self.pools.gauges.wait.observe(waited);
                LeaseError::Exhausted { waited }
            }
            For::Leader | For::Successor => LeaseError::NoLeader { held: waited },
            For::Resumption => LeaseError::Paused { held: waited },
        }
    }
}
