//! The pool plan under load, in virtual time: arrivals, holds, dials and ticks in one queue of
//! events, drawn from a seeded generator, so that a run can be repeated.
#![expect(clippy::indexing_slicing, reason = "databases are numbered from zero, without a gap")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use everline_core::limits::DIALS_MAX;
use everline_core::pool::{Plan, PoolId, Returned, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::score::Record;

/// A duration that varies: its middle and how far it strays, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost(pub(crate) f64, pub(crate) f64);

/// Statements of one database for some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) database: usize,
    /// From when to when, in seconds.
    pub(crate) from: f64,
    pub(crate) until: f64,
    /// By second.
    pub(crate) rate: f64,
    /// How long a statement keeps its connection.
    pub(crate) hold: Cost,
}

/// What a run is about.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) budget: usize,
    pub(crate) dial: Cost,
    pub(crate) loads: Vec<Load>,
    /// Of a hundred dials, so many fail.
    pub(crate) failing_percent: u32,
    /// After how long without use a connection is closed.
    pub(crate) idle_max: Duration,
}

/// Shortest dial and shortest close, shortest statement.
const DIAL_MIN: f64 = 0.01;
const HOLD_MIN: f64 = 0.001;
/// What it costs to close a connection before another can be dialled in its place.
const CLOSE: Cost = Cost(0.006, 0.0015);
/// How often the plan is told the time.
const TICK: Duration = Duration::from_millis(10);
/// How often connections are looked through that nobody uses.
const SWEEP: Duration = Duration::from_millis(100);
/// The pause after a dial that failed.
const PAUSE: Duration = Duration::from_millis(20);
/// Virtual time after which a run counts as stuck.
const RUN_MAX: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Arrives { database: usize, hold: Duration },
    Done { database: usize, kept: Duration },
    Dialled { database: usize, took: Duration, fails: bool },
    Tick,
    Sweep,
}

#[derive(Debug, Default)]
struct Pool {
    /// Since when each idle connection is; the latest last.
    idle: Vec<Instant>,
    /// When each session began to wait, and how long it will keep the connection.
    waiting: VecDeque<(Instant, Duration)>,
    not_before: Option<Instant>,
}

/// One run.
pub(crate) struct Simulation {
    plan: Plan,
    pools: Vec<Pool>,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
    now: Instant,
    random: StdRng,
    setting: Setting,
    /// Closed connections in whose place none was dialled yet.
    places: u32,
    arriving: usize,
    record: Record,
}

impl Simulation {
    /// Plays a setting to its end.
    ///
    /// # Panics
    /// When the budget is overrun, or a statement is never served.
    pub(crate) fn run(setting: Setting, seed: u64) -> Record {
        let origin = origin();
        let databases = setting.loads.iter().map(|load| load.database + 1).max().unwrap_or(0);
        let mut simulation = Self {
            plan: Plan::new(setting.budget, DIALS_MAX),
            pools: (0..databases).map(|_| Pool::default()).collect(),
            events: BinaryHeap::new(),
            sequence: 0,
            now: origin,
            random: StdRng::seed_from_u64(seed),
            setting,
            places: 0,
            arriving: 0,
            record: Record { waits: vec![Vec::new(); databases], closed: 0, ending: 0 },
        };
        simulation.arrivals();
        simulation.at(origin + TICK, Event::Tick);
        simulation.at(origin + SWEEP, Event::Sweep);
        while simulation.is_busy() {
            let Some(Reverse((now, _, event))) = simulation.events.pop() else { break };
            simulation.now = now;
            assert!(now < origin + RUN_MAX, "stuck: {:?}", simulation.plan);
            simulation.take(event);
            let held = simulation.held();
            assert!(held <= simulation.setting.budget, "{held} connections");
        }
        simulation.record.ending = u32::try_from(simulation.held()).unwrap_or(u32::MAX);
        simulation.record
    }

    fn is_busy(&self) -> bool {
        let busy = |id| {
            let counts = self.plan.counts(id);
            counts.lent > 0 || counts.waiting > 0
        };
        self.arriving > 0 || (0..self.pools.len()).any(|database| busy(pool_id(database)))
    }

    fn held(&self) -> usize {
        (0..self.pools.len()).map(|database| self.plan.counts(pool_id(database)).held()).sum()
    }

    fn at(&mut self, when: Instant, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((when, self.sequence, event)));
    }

    /// In each millisecond as many as make the rate true up to then.
    fn arrivals(&mut self) {
        for load in self.setting.loads.clone() {
            let (mut due, mut told) = (0.0_f64, 0.0_f64);
            let mut at = Duration::from_secs_f64(load.from);
            let until = Duration::from_secs_f64(load.until);
            while at < until {
                while told < due {
                    told += 1.0;
                    let hold = self.draw(load.hold, HOLD_MIN);
                    let event = Event::Arrives { database: load.database, hold };
                    self.arriving += 1;
                    self.at(self.now + at, event);
                }
                due = due.max((at.as_secs_f64() - load.from + 0.001) * load.rate).floor();
                at += Duration::from_millis(1);
            }
        }
    }

    /// From a triangle around the middle.
    fn draw(&mut self, Cost(middle, strays): Cost, least: f64) -> Duration {
        let spread = self.random.random::<f64>() - self.random.random::<f64>();
        Duration::from_secs_f64((middle + spread * strays).max(least))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Arrives { database, hold } => {
                self.arriving -= 1;
                let id = pool_id(database);
                self.pools[database].waiting.push_back((self.now, hold));
                self.plan.counts_mut(id).waiting += 1;
            }
            Event::Done { database, kept } => self.give_back(database, kept),
            Event::Dialled { database, took, fails } => {
                let counts = self.plan.counts_mut(pool_id(database));
                counts.dialling -= 1;
                if fails {
                    self.pools[database].not_before = Some(self.now + PAUSE);
                } else {
                    counts.idle += 1;
                    self.pools[database].idle.push(self.now);
                    self.plan.note_dial(took);
                }
            }
            Event::Tick => {
                self.plan.tick(self.now);
                self.at(self.now + TICK, Event::Tick);
            }
            Event::Sweep => {
                self.sweep();
                self.at(self.now + SWEEP, Event::Sweep);
            }
        }
        self.tend();
    }

    fn give_back(&mut self, database: usize, kept: Duration) {
        let id = pool_id(database);
        self.plan.note_hold(id, kept);
        let returned = self.plan.returned(id, self.now);
        let counts = self.plan.counts_mut(id);
        counts.lent -= 1;
        match returned {
            Returned::Keep => {
                counts.idle += 1;
                self.pools[database].idle.push(self.now);
            }
            Returned::Close => self.close(),
        }
    }

    fn close(&mut self) {
        self.record.closed += 1;
        self.places += 1;
    }

    fn sweep(&mut self) {
        for database in 0..self.pools.len() {
            let (now, idle_max) = (self.now, self.setting.idle_max);
            let idle = &mut self.pools[database].idle;
            let before = idle.len();
            idle.retain(|since| now.saturating_duration_since(*since) < idle_max);
            let gone = before - idle.len();
            self.plan.counts_mut(pool_id(database)).idle -= gone;
            (0..gone).for_each(|_| self.close());
            self.places = 0; // closed long before anything is dialled in their place
        }
    }

    fn tend(&mut self) {
        for database in 0..self.pools.len() {
            self.lend(database);
        }
        if !self.plan.is_needed() {
            return;
        }
        for id in self.plan.hungry(self.now) {
            let database = usize::try_from(id.0).unwrap_or(usize::MAX);
            if self.pools[database].not_before.is_some_and(|until| self.now < until) {
                continue;
            }
            loop {
                match self.plan.serve(id) {
                    Verdict::Wait => break,
                    Verdict::Dial => {}
                    Verdict::Evict(from) => {
                        self.plan.counts_mut(from).idle -= 1;
                        let from = usize::try_from(from.0).unwrap_or(usize::MAX);
                        self.pools[from].idle.remove(0);
                        self.close();
                    }
                }
                self.dial(database);
            }
        }
    }

    fn lend(&mut self, database: usize) {
        let id = pool_id(database);
        while !self.pools[database].idle.is_empty() {
            let Some((since, hold)) = self.pools[database].waiting.pop_front() else { return };
            self.pools[database].idle.pop();
            let counts = self.plan.counts_mut(id);
            counts.idle -= 1;
            counts.waiting -= 1;
            counts.lent += 1;
            self.record.waits[database].push((self.now - since).as_secs_f64());
            self.at(self.now + hold, Event::Done { database, kept: hold });
        }
    }

    fn dial(&mut self, database: usize) {
        self.plan.counts_mut(pool_id(database)).dialling += 1;
        let mut took = self.draw(self.setting.dial, DIAL_MIN);
        if self.places > 0 {
            self.places -= 1;
            took += self.draw(CLOSE, DIAL_MIN);
        }
        let fails = self.random.random_range(0..100) < self.setting.failing_percent;
        self.at(self.now + took, Event::Dialled { database, took, fails });
    }
}

fn pool_id(database: usize) -> PoolId {
    PoolId(u32::try_from(database).expect("a run has a few databases"))
}

/// Where virtual time begins; nothing looks at a clock after that.
fn origin() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an instant can be had from the clock alone")]
    Instant::now()
}
