//! Lend, wait, dial or close, decided over counts: no sockets, no clock.
//!
//! All pools, one for each (database, user), share one budget of backend connections. A pool
//! that has none and needs one comes before a pool that has some and wants more; beyond that,
//! connections stay where they are used, because a connection of another database has to be
//! closed and dialled anew.

use std::collections::BTreeMap;

/// Names a pool.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PoolId(pub u32);

/// What one pool has and wants, in connections and sessions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Connections that nobody uses.
    pub idle: usize,
    /// Connections lent to sessions.
    pub lent: usize,
    /// Connections being dialled.
    pub dialling: usize,
    /// Sessions that wait for a connection.
    pub waiting: usize,
}

impl Counts {
    /// Connections that count against the budget.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.idle.saturating_add(self.lent).saturating_add(self.dialling)
    }

    /// Waiting sessions for which no connection is on its way.
    #[must_use]
    pub const fn unserved(&self) -> usize {
        self.waiting.saturating_sub(self.idle.saturating_add(self.dialling))
    }

    /// Whether sessions wait and there is nothing that could ever come to them.
    #[must_use]
    pub const fn starves(&self) -> bool {
        self.waiting > 0 && self.held() == 0
    }
}

/// What is to be done for a pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing; what is needed is on its way, or there is no room.
    Wait,
    /// Dial one connection.
    Dial,
    /// Close an idle connection of that pool, then dial one.
    Evict(PoolId),
}

/// What becomes of a connection that a session gives back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Returned {
    /// To the session that has waited longest in its own pool, or to the idle ones.
    Keep,
    /// Closed, to make room for a pool that starves.
    Close,
}

/// The counts of all pools, and the bounds on them.
#[derive(Debug)]
pub struct Plan {
    budget: usize,
    dials_max: usize,
    pools: BTreeMap<PoolId, Counts>,
}

impl Plan {
    /// An empty plan: at most `budget` connections, at most `dials_max` of them being dialled.
    #[must_use]
    pub const fn new(budget: usize, dials_max: usize) -> Self {
        Self { budget, dials_max, pools: BTreeMap::new() }
    }

    /// The most connections that there may be.
    #[must_use]
    pub const fn budget(&self) -> usize {
        self.budget
    }

    /// Changes the most connections that there may be; what is beyond it goes when it is given
    /// back.
    pub const fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
    }

    /// The counts of `pool`, to be brought up to date.
    pub fn counts_mut(&mut self, pool: PoolId) -> &mut Counts {
        self.pools.entry(pool).or_default()
    }

    /// The counts of `pool`.
    #[must_use]
    pub fn counts(&self, pool: PoolId) -> Counts {
        self.pools.get(&pool).copied().unwrap_or_default()
    }

    /// Forgets `pool`.
    pub fn forget(&mut self, pool: PoolId) {
        self.pools.remove(&pool);
    }

    /// Pools in which sessions wait, those that starve first.
    #[must_use]
    pub fn hungry(&self) -> Vec<PoolId> {
        let unserved = |(_, counts): &(&PoolId, &Counts)| counts.unserved() > 0;
        let mut hungry: Vec<_> = self.pools.iter().filter(unserved).collect();
        hungry.sort_by_key(|(_, counts)| counts.held());
        hungry.into_iter().map(|(id, _)| *id).collect()
    }

    /// What to do for `pool`, whose sessions may be waiting.
    #[must_use]
    pub fn serve(&self, pool: PoolId) -> Verdict {
        let counts = self.counts(pool);
        let dialling: usize = self.pools.values().map(|counts| counts.dialling).sum();
        if counts.unserved() == 0 || dialling >= self.dials_max {
            return Verdict::Wait;
        }
        let held: usize = self.pools.values().map(Counts::held).sum();
        if held < self.budget {
            return Verdict::Dial;
        }
        let spare =
            |(id, other): &(&PoolId, &Counts)| **id != pool && other.idle > 0 && other.waiting == 0;
        let richest = self.pools.iter().filter(spare).max_by_key(|(_, counts)| counts.idle);
        richest.map_or(Verdict::Wait, |(id, _)| Verdict::Evict(*id))
    }

    /// What becomes of a connection that comes back to `pool`; it is still counted as lent.
    #[must_use]
    pub fn returned(&self, pool: PoolId) -> Returned {
        let held: usize = self.pools.values().map(Counts::held).sum();
        if held > self.budget {
            return Returned::Close;
        }
        if held < self.budget {
            return Returned::Keep;
        }
        let waits_here = self.counts(pool).waiting > 0;
        let needed = self.pools.iter().any(|(id, counts)| {
            *id != pool && (counts.starves() || (!waits_here && counts.unserved() > 0))
        });
        if needed { Returned::Close } else { Returned::Keep }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
