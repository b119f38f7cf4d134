//! What is done for pools from time to time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, Pools};
use crate::backend::lease::Backend;

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_millis(500);

/// How often the plan is told the time while sessions wait: turns are to be taken in time.
const TICK: Duration = Duration::from_millis(10);

impl Pools {
    /// Closes idle connections that are dead, of an epoch that is over, old, or unused for long.
    pub(super) fn sweep(self: &Arc<Self>) {
        let target = self.target();
        let (epoch, leaving) = (target.epoch, target.is_leaving());
        let now = Instant::now();
        let idle_max = self.settings().idle_max;
        let mut dead = Vec::new();
        {
            let mut inner = self.lock();
            let Inner { plan, pools, epoch: swept, .. } = &mut *inner;
            let ended = std::mem::replace(swept, epoch) != epoch;
            for (id, pool) in pools.iter_mut() {
                let counts = plan.counts(*id);
                if ended {
                    pool.had = counts.idle.saturating_add(counts.lent);
                }
                // Those unused for longest come first, and the minimum stays.
                let spare = counts.held().saturating_sub(plan.limits(*id).min);
                let mut unused = 0;
                let mut lives = |backend: &mut Box<Backend>| {
                    let young = backend.until.is_none_or(|until| now < until);
                    if leaving || backend.epoch != epoch || !young || !backend.is_quiet() {
                        return false;
                    }
                    let used = now.saturating_duration_since(backend.idle_since) < idle_max;
                    if used || unused >= spare {
                        return true;
                    }
                    unused = unused.saturating_add(1);
                    false
                };
                dead.extend(pool.idle.extract_if(.., |backend| !lives(backend)));
                plan.counts_mut(*id).idle = pool.idle.len();
            }
            let unused: Vec<_> = inner.pools.keys().copied().collect();
            for id in unused {
                inner.forget_unused(id);
            }
        }
        for backend in dead {
            backend.end();
        }
    }

    /// Gives idle connections to those who wait, and dials where that is not enough.
    ///
    /// Does nothing while nothing may be dispatched; whoever learns of a leader calls it again.
    pub(in crate::backend) fn tend(self: &Arc<Self>) {
        if !self.targets.borrow().is_available() {
            self.dial_ahead();
            return;
        }
        while let Some((waiter, lease)) = self.match_one() {
            waiter.take(lease);
        }
        self.dial_where_needed();
    }

    /// Follows the leader: closes what belongs to an epoch that is over, serves who waits when
    /// there is a leader, and looks twice a second for idle connections that have died.
    pub async fn run(self: Arc<Self>) {
        let mut targets = self.targets.clone();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let waited_for = self.lock().plan.is_waited_for();
            tokio::select! {
                biased; // a new leader before housekeeping
                changed = targets.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.sweep();
                    self.settle_ahead();
                }
                _ = sweep.tick() => self.sweep(),
                _ = tick.tick(), if waited_for => {}
                () = self.waits.notified(), if !waited_for => continue,
            }
            self.lock().plan.tick(Instant::now().into_std());
            self.tend();
        }
    }
}
