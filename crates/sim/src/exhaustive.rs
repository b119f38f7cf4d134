//! Every reachable state of the failover machine, under all orders of events.
//!
//! The universe is small and closed: three reigns of two nodes, up to three pool connections,
//! time in steps of a second with thresholds of three. States are told apart by all that the
//! machine knows, times relative to the present, so that the search ends when there are no new
//! ones.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use everline_core::ha::{
    Effect, Event, Identity, Machine, Mode, Node, Outcome, Percent, State, UnhealthyMin,
};

/// Most pool connections at the same time.
const POOLED_MAX: u32 = 3;
/// Past this, more seconds change nothing.
const AGE_MAX: u64 = 5;

/// What the search has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Different states.
    pub states: usize,
    /// Steps taken from them.
    pub steps: usize,
    /// The longest shortest way to a state, in events.
    pub depth: usize,
}

/// The machine under test: what it is stepped by, so that a rule can be broken on the way.
pub type Step<'a> = &'a dyn Fn(&mut Machine, Event, Instant) -> Outcome;

/// One state, and what the outside remembers of the way to it.
#[derive(Clone, Debug)]
struct Standing {
    machine: Machine,
    now: Instant,
    depth: usize,
    /// A primary has answered on the system connection in this epoch.
    answered: bool,
    /// Somebody looks for a leader.
    dialling: bool,
    /// The leader said 53300 so many seconds ago, and nothing broke since.
    refused: Option<u64>,
    /// Seconds since the first connection broke, while it is unhealthy.
    unhealthy: Option<u64>,
}

/// The modes that are searched.
///
/// # Panics
/// Never: the numbers are within their bounds.
#[must_use]
pub fn modes() -> [Mode; 2] {
    let disconnect_percent = Percent::new(60).expect("within bounds");
    let unhealthy_min = UnhealthyMin::new(Duration::from_secs(3)).expect("within bounds");
    [Mode::Adaptive { disconnect_percent, unhealthy_min }, Mode::Fixed]
}

fn node(address: &str, timeline: u32) -> Node {
    let identity = Identity { timeline: Some(timeline), ..Identity::default() };
    Node { address: address.into(), identity }
}

/// Searches every state that `mode` can reach.
///
/// # Errors
/// The promise that does not hold, and where.
pub fn search(mode: Mode, began: Instant, step: Step<'_>) -> Result<Seen, String> {
    let machine = Machine::new(mode);
    let first = Standing {
        machine,
        now: began,
        depth: 0,
        answered: false,
        dialling: true,
        refused: None,
        unhealthy: None,
    };
    let mut seen = Seen::default();
    let mut known = BTreeSet::new();
    known.insert(first.key());
    let mut open = VecDeque::from([first]);
    while let Some(standing) = open.pop_front() {
        seen.states += 1;
        seen.depth = seen.depth.max(standing.depth);
        standing.leads_to_available(step)?;
        standing.is_given_up_in_time(step)?;
        for event in &standing.events() {
            seen.steps += 1;
            let next = standing.after(event, step)?;
            if known.insert(next.key()) {
                open.push_back(next);
            }
        }
    }
    Ok(seen)
}

impl Standing {
    /// All that may happen next. Of a past epoch: what comes late.
    fn events(&self) -> Vec<Event> {
        let epoch = self.machine.epoch();
        let past = epoch - 1;
        let mut events = vec![
            Event::SystemConnected { node: node("a", 1) },
            Event::SystemConnected { node: node("b", 2) },
            Event::SystemConnected { node: node("a", 3) },
            Event::SystemBroken { epoch },
            Event::SystemRefused { epoch },
            Event::ShuttingDown { epoch },
            Event::HotStandby { epoch },
            Event::Leaving { epoch },
            Event::Leaving { epoch: past },
            Event::LeaderChanged,
            Event::LeaderWithdrawn,
            Event::Tick,
            Event::PoolOpened { epoch: past },
            Event::PoolBroken { epoch: past },
            Event::PoolClosed { epoch: past },
            Event::SystemBroken { epoch: past },
            Event::SystemRefused { epoch: past },
            Event::ShuttingDown { epoch: past },
            Event::HotStandby { epoch: past },
        ];
        if self.machine.pooled() > 0 {
            events.push(Event::PoolBroken { epoch });
            events.push(Event::PoolClosed { epoch });
        }
        if self.machine.pooled() < POOLED_MAX && self.answered {
            events.push(Event::PoolOpened { epoch });
        }
        events
    }

    /// The state after `event`, which for a tick is a second later, if all promises hold.
    fn after(&self, event: &Event, step: Step<'_>) -> Result<Self, String> {
        let mut next = self.clone();
        next.depth += 1;
        if *event == Event::Tick {
            next.now += Duration::from_secs(1);
            next.refused = next.refused.map(|age| (age + 1).min(AGE_MAX));
            next.unhealthy = next.unhealthy.map(|age| (age + 1).min(AGE_MAX));
        }
        let told_before = self.machine.availability();
        let shown = format!("{event:?}");
        let outcome = step(&mut next.machine, event.clone(), next.now);
        let fail = |why: &str| Err(format!("{why}: {shown} in {self:?} led to {outcome:?}"));
        let past = event.epoch().is_some_and(|of| of != self.machine.epoch());
        if past && (outcome != Outcome::default() || next.key() != self.key()) {
            return fail("news of a past epoch change something");
        }
        let mut told = told_before;
        let mut retired = 0;
        for effect in &outcome.effects {
            match effect {
                Effect::Publish(availability) if *availability == told => {
                    return fail("told twice");
                }
                Effect::Publish(availability) => told = *availability,
                Effect::Retire(epoch) => {
                    if told.is_available() {
                        return fail("retired before refusing");
                    }
                    if *epoch != self.machine.epoch() {
                        return fail("an epoch ends that is not the present one");
                    }
                    retired += 1;
                }
                Effect::DialSystem => next.dialling = true,
            }
        }
        if told != next.machine.availability() {
            return fail("sessions were not told what is so");
        }
        if next.machine.epoch() != self.machine.epoch() + retired || retired > 1 {
            return fail("an epoch ends other than exactly once");
        }
        next.remember(event, retired > 0);
        if let Err(why) = next.holds(self, event) {
            return fail(why);
        }
        Ok(next)
    }

    /// Brings up to date what the outside remembers.
    fn remember(&mut self, event: &Event, retired: bool) {
        if retired {
            self.answered = false;
            self.refused = None;
        }
        match event {
            Event::SystemConnected { .. } => {
                self.answered = true;
                self.dialling = false;
                self.refused = None;
            }
            Event::SystemRefused { epoch } if *epoch == self.machine.epoch() => {
                if !self.machine.system_up() {
                    self.refused = Some(0);
                }
            }
            Event::PoolBroken { epoch } if *epoch == self.machine.epoch() => self.refused = None,
            Event::SystemRefused { .. }
            | Event::PoolBroken { .. }
            | Event::PoolOpened { .. }
            | Event::PoolClosed { .. }
            | Event::SystemBroken { .. }
            | Event::ShuttingDown { .. }
            | Event::Leaving { .. }
            | Event::HotStandby { .. }
            | Event::LeaderChanged
            | Event::LeaderWithdrawn
            | Event::Tick => {}
        }
        self.unhealthy = match self.machine.state() {
            State::Unhealthy { .. } => Some(self.unhealthy.unwrap_or(0)),
            State::Starting | State::Healthy | State::Failover => None,
        };
    }

    fn holds(&self, before: &Self, event: &Event) -> Result<(), &'static str> {
        let machine = &self.machine;
        let full = machine.pooled() > 0 && self.refused.is_some_and(|age| age < 3);
        if machine.availability().is_available() {
            if !self.answered {
                return Err("dispatched to a node that has not answered as a primary");
            }
            if !machine.system_up() && !full {
                return Err("dispatched although the leader does not answer");
            }
        }
        if machine.is_leaving() && machine.availability().is_available() {
            return Err("dispatched to a leader that is going");
        }
        let stays = machine.system_up() && !machine.is_leaving();
        if stays && !machine.availability().is_available() {
            return Err("held although the leader answers");
        }
        let gone = match event {
            Event::ShuttingDown { epoch } | Event::HotStandby { epoch } => {
                *epoch == before.machine.epoch()
            }
            Event::LeaderChanged | Event::LeaderWithdrawn => true,
            Event::SystemConnected { .. }
            | Event::PoolOpened { .. }
            | Event::PoolBroken { .. }
            | Event::PoolClosed { .. }
            | Event::SystemBroken { .. }
            | Event::SystemRefused { .. }
            | Event::Leaving { .. }
            | Event::Tick => false,
        };
        if gone && machine.availability().is_available() {
            return Err("dispatched to a demoted leader");
        }
        if !machine.system_up() && !self.dialling {
            return Err("nobody looks for the leader");
        }
        if machine.deadline(self.now).is_some_and(|at| at <= self.now) {
            return Err("a deadline does not lie ahead");
        }
        let gave_up =
            machine.state() == State::Failover && before.machine.state() != State::Failover;
        let young = before.unhealthy.is_none_or(|age| age + u64::from(*event == Event::Tick) < 3);
        let left = before.machine.is_leaving() || matches!(event, Event::Leaving { .. });
        if gave_up && !gone && !left && young {
            return Err("given up by evidence that is too young");
        }
        if gave_up && !gone && before.machine.system_up() && *event == Event::Tick {
            return Err("given up although the leader answers");
        }
        Ok(())
    }

    /// Liveness: a healthy leader that answers is used at once, wherever it stands.
    fn leads_to_available(&self, step: Step<'_>) -> Result<(), String> {
        for leader in [node("a", 1), node("b", 2), node("a", 3)] {
            let next = self.after(&Event::SystemConnected { node: leader.clone() }, step)?;
            let used = next.machine.leader() == Some(&leader);
            if !next.machine.availability().is_available() || !used {
                return Err(format!("a healthy leader is not used: {self:?}"));
            }
        }
        Ok(())
    }

    /// Liveness: when everything breaks and nobody answers, a leader is given up once its time is
    /// over; but never where it is fixed.
    fn is_given_up_in_time(&self, step: Step<'_>) -> Result<(), String> {
        let State::Unhealthy { .. } = self.machine.state() else { return Ok(()) };
        let mut now = self.clone();
        let epoch = self.machine.epoch();
        now = now.after(&Event::SystemBroken { epoch }, step)?;
        while now.machine.epoch() == epoch && now.machine.pooled() > 0 {
            now = now.after(&Event::PoolBroken { epoch }, step)?;
        }
        for _ in 0..4 {
            now = now.after(&Event::Tick, step)?;
        }
        if now.machine.state() == State::Failover {
            return Ok(());
        }
        Err(format!("a dead leader is not given up: {self:?}"))
    }

    /// All that is known, times relative to the present and the epoch left out.
    fn key(&self) -> String {
        let Self { machine, now, answered, dialling, refused, unhealthy, depth: _ } = self;
        let mut key = format!("{answered}{dialling}{refused:?}{unhealthy:?}");
        let leader = machine.leader().map(ToString::to_string);
        let (system, pooled) = (machine.system_up(), machine.pooled());
        let system = (system, machine.is_leaving());
        let state = match machine.state() {
            State::Unhealthy { decide_at, baseline, broken, fresh } => {
                let left = decide_at.saturating_duration_since(*now);
                format!("{left:?}{baseline}/{broken}/{fresh}")
            }
            State::Starting | State::Healthy | State::Failover => machine.state().to_string(),
        };
        let availability = machine.availability();
        let deadline = machine.deadline(*now).map(|at| at - *now);
        write!(key, "{leader:?}{system:?}{pooled}{state}{availability:?}{deadline:?}")
            .expect("a text has room");
        key
    }
}
