//! One Everline: its search for the leader, its pool, and those who wait.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use everline_core::limits::DIALS_MAX;
use everline_core::pool::plan::{Plan, PoolId, Returned, Verdict};
use everline_core::retry::{Backoff, Pace};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Fleet;
use super::leader::{Leader, Login};
use crate::dice::Dice;

const POOL: PoolId = PoolId(0);
/// The pause after a dial that failed, and the longest.
const PAUSE_MIN_MS: u64 = 20;
const PAUSE_MAX_MS: u64 = 500;

/// Where the search for the leader stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum System {
    /// The next round is at that time.
    Looks { at: u64 },
    /// This dial is under way.
    Dials { dial: u64, until: u64 },
    /// There is a leader.
    Up,
}

#[derive(Debug)]
pub(super) struct Instance {
    fleet: Fleet,
    rng: StdRng,
    dice: Dice,
    plan: Plan,
    backoff: Backoff,
    outage_began: u64,
    system: System,
    /// Dials of the pool under way, each with its deadline.
    dials: BTreeMap<u64, u64>,
    dials_made: u64,
    not_before: u64,
    pause: u64,
    /// Connections lent, by when each comes back.
    lent: BTreeMap<u64, u64>,
    /// Who waits: since when, and how many.
    queue: VecDeque<(u64, u64)>,
    waiting: u64,
    /// Thousandths of a statement that are still to come.
    coming: u64,
    usual: u64,
    ready: bool,
    served: u64,
    pub(super) first_served: Option<u64>,
    pub(super) recovered: Option<u64>,
    pub(super) longest_wait: u64,
    pub(super) refused: u64,
    pub(super) given_up: u64,
}

impl Instance {
    pub(super) fn new(fleet: &Fleet, mut dice: Dice) -> Self {
        // One is the system connection.
        let budget = (fleet.connections / fleet.instances).max(2) - 1;
        let budget = usize::try_from(budget).unwrap_or(usize::MAX);
        Self {
            fleet: *fleet,
            rng: StdRng::seed_from_u64(dice.below(u64::MAX)),
            dice,
            plan: Plan::new(budget, DIALS_MAX),
            backoff: Backoff::new(Pace::SYSTEM_DIAL),
            outage_began: 0,
            system: System::Looks { at: 0 },
            dials: BTreeMap::new(),
            dials_made: 0,
            not_before: 0,
            pause: PAUSE_MIN_MS,
            lent: BTreeMap::new(),
            queue: VecDeque::new(),
            waiting: 0,
            coming: 0,
            usual: 0,
            ready: false,
            served: 0,
            first_served: None,
            recovered: None,
            longest_wait: 0,
            refused: 0,
            given_up: 0,
        }
    }

    pub(super) const fn waiting(&self) -> u64 {
        self.waiting
    }

    pub(super) const fn served(&self) -> u64 {
        self.served
    }

    pub(super) const fn is_recovered(&self) -> bool {
        self.recovered.is_some()
    }

    /// The leader is there from now on: what is counted begins here.
    pub(super) const fn forget_what_was(&mut self) {
        self.ready = true;
        self.served = 0;
        self.longest_wait = 0;
    }

    /// The leader has died: every connection with it.
    pub(super) fn loses(&mut self, now: u64) {
        self.usual = self.waiting();
        self.lent.clear();
        self.dials.clear();
        *self.plan.counts_mut(POOL) = everline_core::pool::plan::Counts::default();
        self.outage_began = now;
        self.backoff.reset();
        self.system = System::Looks { at: now };
    }

    pub(super) fn logged_in(&mut self, login: Login) {
        if matches!(self.system, System::Dials { dial, .. } if dial == login.dial) {
            self.system = System::Up;
        }
        if self.dials.remove(&login.dial).is_some() {
            self.pause = PAUSE_MIN_MS;
            let counts = self.plan.counts_mut(POOL);
            counts.dialling -= 1;
            counts.idle += 1;
        }
    }

    pub(super) fn step(&mut self, id: u64, now: u64, began: Instant, leader: &mut Leader) {
        let instant = began + Duration::from_millis(now);
        self.take_back(now, instant);
        self.arrive(now);
        self.expire(now);
        self.look(id, now, leader);
        if self.system == System::Up {
            self.lend(now);
            self.dial(id, now, leader);
        }
        if now.is_multiple_of(10) {
            self.plan.tick(instant);
        }
        if self.ready && self.system == System::Up && self.waiting() <= self.usual.max(1) {
            self.recovered = self.recovered.or(Some(now));
        }
    }

    /// What was lent comes back.
    fn take_back(&mut self, now: u64, instant: Instant) {
        while let Some((at, count)) = self.lent.pop_first() {
            if at > now {
                self.lent.insert(at, count);
                return;
            }
            for _ in 0..count {
                let returned = self.plan.returned(POOL, instant);
                let counts = self.plan.counts_mut(POOL);
                counts.lent -= 1;
                if returned == Returned::Keep {
                    counts.idle += 1;
                }
                self.plan.note_hold(POOL, Duration::from_millis(self.fleet.kept_ms));
            }
            self.served += count;
            self.first_served = self.first_served.or(self.ready.then_some(now));
        }
    }

    /// Clients that do nothing send a statement now and then.
    fn arrive(&mut self, now: u64) {
        let busy = self.waiting() + self.lent.values().sum::<u64>();
        let free = self.fleet.clients_each.saturating_sub(busy);
        let everybody = self.fleet.instances * self.fleet.clients_each;
        // In thousandths of a statement a millisecond, half of it by chance.
        let rate = self.fleet.statements_per_second * free / everybody.max(1);
        self.coming += self.dice.between(rate / 2, rate + rate / 2);
        let count = self.coming / 1_000;
        self.coming %= 1_000;
        if count > 0 {
            self.queue.push_back((now, count));
            self.waiting += count;
            self.count_waiting();
        }
    }

    /// Who has waited for a leader for as long as the hold is refused.
    fn expire(&mut self, now: u64) {
        if self.system == System::Up {
            return;
        }
        while let Some((_, count)) =
            self.queue.pop_front_if(|(at, _)| *at + self.fleet.hold_ms < now)
        {
            self.refused += count;
            self.waiting -= count;
            self.count_waiting();
        }
    }

    fn look(&mut self, id: u64, now: u64, leader: &mut Leader) {
        match self.system {
            System::Up => return,
            System::Looks { at } if now < at => return,
            System::Dials { until, .. } if now < until => return,
            System::Dials { dial, .. } => {
                leader.give_up(id, dial);
                self.given_up += 1;
            }
            System::Looks { .. } => {}
        }
        self.dials_made += 1;
        if leader.dial(id, self.dials_made) {
            let until = now + self.fleet.dial_max_ms;
            self.system = System::Dials { dial: self.dials_made, until };
            return;
        }
        let age = Duration::from_millis(now - self.outage_began);
        let wait = self.backoff.wait(age, &mut self.rng).as_millis();
        self.system = System::Looks { at: now + u64::try_from(wait).unwrap_or(u64::MAX).max(1) };
    }

    fn lend(&mut self, now: u64) {
        while self.plan.counts(POOL).idle > 0 {
            let Some((since, count)) = self.queue.front_mut() else { return };
            self.longest_wait = self.longest_wait.max(now - *since);
            *count -= 1;
            self.waiting -= 1;
            if *count == 0 {
                self.queue.pop_front();
            }
            let counts = self.plan.counts_mut(POOL);
            counts.idle -= 1;
            counts.lent += 1;
            *self.lent.entry(now + self.fleet.kept_ms).or_default() += 1;
            self.count_waiting();
        }
    }

    fn dial(&mut self, id: u64, now: u64, leader: &mut Leader) {
        let late: Vec<_> =
            self.dials.iter().filter(|(_, until)| **until <= now).map(|(dial, _)| *dial).collect();
        for dial in late {
            self.dials.remove(&dial);
            leader.give_up(id, dial);
            self.given_up += 1;
            self.plan.counts_mut(POOL).dialling -= 1;
            self.not_before = now + self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX_MS);
        }
        while now >= self.not_before && self.plan.serve(POOL) == Verdict::Dial {
            self.dials_made += 1;
            if !leader.dial(id, self.dials_made) {
                return;
            }
            self.dials.insert(self.dials_made, now + self.fleet.dial_max_ms);
            self.plan.counts_mut(POOL).dialling += 1;
        }
    }

    fn count_waiting(&mut self) {
        let waiting = usize::try_from(self.waiting).unwrap_or(usize::MAX);
        self.plan.counts_mut(POOL).waiting = waiting;
    }
}
