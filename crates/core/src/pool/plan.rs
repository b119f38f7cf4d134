//! Lend, wait, dial or close, decided over counts: no sockets, no clock of its own.
//!
//! All pools, one for each (database, user), share one budget of backend connections. As long as
//! there is room, a session that waits has a connection dialled for it. When the budget is spent:
//!
//! 1. A pool that has none comes before a pool that wants more. It gets the idle connection of
//!    another pool, else the next one that a pool with several gives back.
//! 2. Where there are more pools in need than connections, they take turns: a pool keeps its one
//!    connection for a slice of time, some dials long, and then the pool that has been without
//!    for longest gets it. A pool whose need is small is done before its slice is over, so it is
//!    served in full beside greedy ones.
//! 3. Else connections move to where the wait would be longest without them: a pool's wait is
//!    estimated as the statements in its queue times how long a connection is kept, shared among
//!    its connections. One moves only if that pays for the dial.
//! 4. What a pool has used lately is not taken from it in the moment in which it is idle, except
//!    for a pool that has none.
//!
//! A connection of another pool cannot be used: it is closed, and one is dialled in its place. So
//! as few as possible move.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::demand::{Average, Use};

/// How long a dial is thought to take before one was seen.
const DIAL_GUESS: Duration = Duration::from_millis(20);

/// How long a connection is thought to be kept before it was seen.
const HOLD_GUESS: Duration = Duration::from_millis(5);

/// How long a pool keeps its only connection while others have none, in dials.
const SLICE_DIALS: u32 = 4;

/// The shortest such time.
const SLICE_MIN: Duration = Duration::from_millis(20);

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
    /// Connections to the node that will lead, which nobody may use yet.
    pub ahead: usize,
    /// Sessions that wait for a connection.
    pub waiting: usize,
}

impl Counts {
    /// Connections that count against the budget.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.idle.saturating_add(self.lent).saturating_add(self.dialling).saturating_add(self.ahead)
    }

    /// Waiting sessions for which no connection is on its way.
    #[must_use]
    pub const fn unserved(&self) -> usize {
        let coming = self.idle.saturating_add(self.dialling).saturating_add(self.ahead);
        self.waiting.saturating_sub(coming)
    }

    /// Whether sessions wait and there is nothing that could ever come to them.
    #[must_use]
    pub const fn starves(&self) -> bool {
        self.waiting > 0 && self.held() == 0
    }
}

/// Names pools that share a bound of their own: those of one database, or those of one user.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct GroupId(pub u32);

/// How many connections one pool may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// So many are kept ready while the budget has room; they yield only to a pool without any.
    pub min: usize,
    /// More are never dialled.
    pub max: usize,
    /// The groups that it belongs to, each with what all its pools may have together.
    pub groups: [Option<(GroupId, usize)>; 2],
}

impl Default for Limits {
    fn default() -> Self {
        Self { min: 0, max: usize::MAX, groups: [None, None] }
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
    /// Closed, to make room for a pool that needs it more.
    Close,
}

/// One pool.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    counts: Counts,
    limits: Limits,
    /// How long its sessions keep a connection.
    hold: Average,
    uses: Use,
    /// Since when it waits and has nothing.
    starves_since: Option<Instant>,
    /// Since when it has had a connection without a break.
    fed_since: Option<Instant>,
}

impl Entry {
    /// How long a session that comes next would wait if the pool had `connections`.
    fn wait_with(&self, connections: usize) -> Duration {
        let waiting = u32::try_from(self.counts.waiting).unwrap_or(u32::MAX);
        let connections = u32::try_from(connections).unwrap_or(u32::MAX);
        let Some(share) = self.hold.or(HOLD_GUESS).saturating_mul(waiting).checked_div(connections)
        else {
            return Duration::MAX;
        };
        share
    }

    fn wait(&self) -> Duration {
        self.wait_with(self.counts.held())
    }

    /// Connections that it uses, waits for, or has used lately.
    fn need(&self) -> usize {
        let Counts { lent, waiting, .. } = self.counts;
        self.uses.connections().max(lent.saturating_add(waiting))
    }

    const fn may_grow(&self) -> bool {
        self.counts.held() < self.limits.max
    }

    fn is_in(&self, group: GroupId) -> bool {
        self.limits.groups.iter().flatten().any(|(own, _)| *own == group)
    }
}

/// The counts of all pools, and the bounds on them.
#[derive(Debug)]
pub struct Plan {
    budget: usize,
    dials_max: usize,
    dial: Average,
    pools: BTreeMap<PoolId, Entry>,
}

impl Plan {
    /// An empty plan: at most `budget` connections, at most `dials_max` of them being dialled.
    #[must_use]
    pub const fn new(budget: usize, dials_max: usize) -> Self {
        Self { budget, dials_max, dial: Average::NONE, pools: BTreeMap::new() }
    }

    /// Sets how many connections `pool` may have.
    pub fn set_limits(&mut self, pool: PoolId, limits: Limits) {
        self.pools.entry(pool).or_default().limits = limits;
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
        &mut self.pools.entry(pool).or_default().counts
    }

    /// The counts of `pool`.
    #[must_use]
    pub fn counts(&self, pool: PoolId) -> Counts {
        self.pools.get(&pool).map(|entry| entry.counts).unwrap_or_default()
    }

    /// How many connections `pool` may have.
    #[must_use]
    pub fn limits(&self, pool: PoolId) -> Limits {
        self.pools.get(&pool).map(|entry| entry.limits).unwrap_or_default()
    }

    /// Forgets `pool`.
    pub fn forget(&mut self, pool: PoolId) {
        self.pools.remove(&pool);
    }

    /// Notes how long a session has kept a connection of `pool`.
    pub fn note_hold(&mut self, pool: PoolId, kept: Duration) {
        if let Some(entry) = self.pools.get_mut(&pool) {
            entry.hold.note(kept);
        }
    }

    /// Notes how long a dial took that led to a connection.
    pub fn note_dial(&mut self, took: Duration) {
        self.dial.note(took);
    }

    /// Brings the averages up to date. To be called some times a second, and more often while
    /// sessions wait.
    pub fn tick(&mut self, now: Instant) {
        for entry in self.pools.values_mut() {
            let Counts { lent, waiting, .. } = entry.counts;
            entry.uses.note(lent.saturating_add(waiting), now);
        }
        self.look(now);
    }

    /// Whether any session waits that is not served yet.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.pools.values().any(|entry| entry.counts.unserved() > 0)
    }

    /// Whether any session waits that is not served yet, or any minimum is not there.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        let below = |entry: &Entry| entry.counts.held() < entry.limits.min;
        self.pools.values().any(|entry| entry.counts.unserved() > 0 || below(entry))
    }

    /// Pools for which connections are wanted: first those that have starved for longest, then
    /// those whose sessions would wait longest, last those below their minimum.
    #[must_use]
    pub fn hungry(&mut self, now: Instant) -> Vec<PoolId> {
        self.look(now);
        let wants = |(_, entry): &(&PoolId, &Entry)| {
            entry.counts.unserved() > 0 || entry.counts.held() < entry.limits.min
        };
        let mut hungry: Vec<_> = self.pools.iter().filter(wants).collect();
        hungry.sort_by(|(_, left), (_, right)| {
            let starves = |entry: &Entry| entry.starves_since.filter(|_| entry.counts.starves());
            match (starves(left), starves(right)) {
                (Some(left), Some(right)) => left.cmp(&right),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => right.wait().cmp(&left.wait()),
            }
        });
        hungry.into_iter().map(|(id, _)| *id).collect()
    }

    /// What to do for `pool`, whose sessions may be waiting.
    #[must_use]
    pub fn serve(&self, pool: PoolId) -> Verdict {
        let Some(entry) = self.pools.get(&pool) else { return Verdict::Wait };
        let counts = entry.counts;
        let dialling: usize = self.pools.values().map(|entry| entry.counts.dialling).sum();
        if dialling >= self.dials_max || !entry.may_grow() {
            return Verdict::Wait;
        }
        let free = !self.is_full_for(entry);
        if counts.unserved() == 0 {
            let below = counts.held() < entry.limits.min;
            return if below && free { Verdict::Dial } else { Verdict::Wait };
        }
        if free {
            return Verdict::Dial;
        }
        self.victim(pool, entry).map_or(Verdict::Wait, Verdict::Evict)
    }

    /// The pool that can best do without one of its idle connections, in whose place `thief` may
    /// dial one.
    fn victim(&self, thief: PoolId, for_entry: &Entry) -> Option<PoolId> {
        let starves = for_entry.counts.starves();
        let spare = |(id, other): &(&PoolId, &Entry)| {
            let Counts { idle, waiting, .. } = other.counts;
            let held = other.counts.held();
            let unneeded = held > other.need() && held > other.limits.min;
            let fits = || self.makes_room(other, for_entry);
            **id != thief && idle > 0 && waiting == 0 && (starves || unneeded) && fits()
        };
        let surplus = |entry: &Entry| {
            let kept = entry.need().max(entry.limits.min);
            (entry.counts.held().saturating_sub(kept), entry.counts.idle)
        };
        let candidates = self.pools.iter().filter(spare);
        candidates.max_by_key(|(_, entry)| surplus(entry)).map(|(id, _)| *id)
    }

    /// Whether `pool` shall dial one more connection to a node that will lead: `wanted` are of use
    /// to it, and all pools together make no more than are dialled at the same time.
    #[must_use]
    pub fn dial_ahead(&self, pool: PoolId, wanted: usize) -> bool {
        let Some(entry) = self.pools.get(&pool) else { return false };
        let made = |entry: &Entry| entry.counts.ahead.saturating_add(entry.counts.dialling);
        let all: usize = self.pools.values().map(made).sum();
        let room = entry.may_grow() && !self.is_full_for(entry);
        made(entry) < wanted && all < self.dials_max && room
    }

    /// What becomes of a connection that comes back to `pool`; it is still counted as lent.
    #[must_use]
    pub fn returned(&self, pool: PoolId, now: Instant) -> Returned {
        let held = self.held();
        if held > self.budget {
            return Returned::Close;
        }
        let Some(entry) = self.pools.get(&pool) else { return Returned::Close };
        if entry.counts.held() > entry.limits.max {
            return Returned::Close;
        }
        if held < self.budget && entry.limits.groups == [None, None] {
            return Returned::Keep;
        }
        let mut longest: Option<Duration> = None;
        for (id, other) in &self.pools {
            let wants = *id != pool && other.counts.unserved() > 0 && other.may_grow();
            if !wants || !self.is_full_for(other) || !self.makes_room(entry, other) {
                continue;
            }
            if other.counts.starves() {
                if self.yields(entry, now) {
                    return Returned::Close;
                }
                continue;
            }
            longest = longest.max(Some(other.wait()));
        }
        let Some(longest) = longest else { return Returned::Keep };
        if entry.counts.waiting == 0 {
            let kept = entry.need().max(entry.limits.min);
            return if entry.counts.held() > kept { Returned::Close } else { Returned::Keep };
        }
        let left = entry.counts.held().saturating_sub(1);
        if left < entry.limits.min.max(1) {
            return Returned::Keep;
        }
        let here = entry.wait_with(left);
        let pays = here.saturating_add(here / 16).saturating_add(self.dial.or(DIAL_GUESS));
        if longest > pays { Returned::Close } else { Returned::Keep }
    }

    /// Whether a pool gives its connection to one that has none.
    fn yields(&self, entry: &Entry, now: Instant) -> bool {
        if entry.counts.waiting == 0 || entry.counts.held() > 1 {
            return true;
        }
        let slice = self.dial.or(DIAL_GUESS).saturating_mul(SLICE_DIALS).max(SLICE_MIN);
        entry.fed_since.is_none_or(|since| now.saturating_duration_since(since) >= slice)
    }

    /// Notes who has a connection and who has none.
    fn look(&mut self, now: Instant) {
        for entry in self.pools.values_mut() {
            let counts = entry.counts;
            entry.starves_since = counts.starves().then(|| entry.starves_since.unwrap_or(now));
            let fed = counts.idle.saturating_add(counts.lent) > 0;
            entry.fed_since = fed.then(|| entry.fed_since.unwrap_or(now));
        }
    }

    fn held(&self) -> usize {
        self.pools.values().map(|entry| entry.counts.held()).sum()
    }

    fn is_full(&self, group: GroupId, most: usize) -> bool {
        let of_group = self.pools.values().filter(|entry| entry.is_in(group));
        of_group.map(|entry| entry.counts.held()).sum::<usize>() >= most
    }

    /// Whether the budget or a group's bound keeps a pool from dialling.
    fn is_full_for(&self, entry: &Entry) -> bool {
        let mut groups = entry.limits.groups.iter().flatten();
        self.held() >= self.budget || groups.any(|(group, most)| self.is_full(*group, *most))
    }

    /// Whether a connection less in `from` would let `to` dial one, where it may not.
    fn makes_room(&self, from: &Entry, to: &Entry) -> bool {
        let mut groups = to.limits.groups.iter().flatten();
        groups.all(|(group, most)| from.is_in(*group) || !self.is_full(*group, *most))
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
