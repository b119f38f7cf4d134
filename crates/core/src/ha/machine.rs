//! The failover machine: enum states, and a pure `step(event, now)` that answers with effects.

use super::event::{Availability, Effect, Event, Outcome, Unavailable};
use super::history::{Cause, Transition};
use super::identity::Node;
use super::mode::Mode;
use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How long the leader's "no slot is free" (53300) stands for its life while other connections do.
///
/// Longer than the longest wait between two dials (1 s) and one dial's way, so that a leader that
/// keeps answering so stays available without a gap.
pub const REFUSED_GRACE: Duration = Duration::from_secs(3);

/// What the machine believes of the leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Nothing has answered yet.
    Starting,
    /// The leader answers and nothing has broken since.
    Healthy,
    /// Something broke; the evidence is being collected.
    Unhealthy {
        /// Before this instant the evidence does not suffice, however strong it is.
        decide_at: Instant,
        /// Connections that existed on entering, the system connection and the broken one included,
        /// less those that were closed on purpose since.
        baseline: NonZeroU32,
        /// How many of them have broken.
        broken: u32,
        /// How many open connections were opened since; they are no part of the evidence. Which
        /// connection broke is not told, so these are taken to have broken first: the cautious
        /// side, and exact as soon as everything breaks.
        fresh: u32,
    },
    /// The old leader is given up; waiting for a primary to answer on the system connection.
    Failover,
}

impl State {
    /// The state without its evidence, for logs, metrics and the history.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Starting => Phase::Starting,
            Self::Healthy => Phase::Healthy,
            Self::Unhealthy { .. } => Phase::Unhealthy,
            Self::Failover => Phase::Failover,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unhealthy { baseline, broken, .. } => {
                write!(f, "unhealthy ({broken} of {baseline} connections lost)")
            }
            Self::Starting | Self::Healthy | Self::Failover => self.phase().fmt(f),
        }
    }
}

/// The name of a [`State`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Nothing has answered yet.
    Starting,
    /// The leader answers.
    Healthy,
    /// Something broke.
    Unhealthy,
    /// The old leader is given up.
    Failover,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Failover => "failover",
        })
    }
}

/// The failover machine. One task owns it, steps it and performs its effects.
#[derive(Clone, Debug)]
pub struct Machine {
    mode: Mode,
    state: State,
    epoch: u64,
    /// The leader of this epoch, once one has been found; its address stays while it is looked for.
    leader: Option<Node>,
    system_up: bool,
    /// Open pool connections of this epoch.
    pooled: u32,
    /// When the leader's address last said 53300, if nothing broke and no system connection stood
    /// since.
    refused_at: Option<Instant>,
    /// The leader is in a smart shutdown: nothing new begins, and it is left when nothing runs.
    leaving: bool,
    /// The last leader announced that it would go.
    announced: bool,
    published: Availability,
}

impl Machine {
    /// A machine that knows of no leader yet, in epoch 1.
    #[must_use]
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            state: State::Starting,
            epoch: 1,
            leader: None,
            system_up: false,
            pooled: 0,
            refused_at: None,
            leaving: false,
            announced: false,
            published: Availability::Unavailable(Unavailable::Starting),
        }
    }

    /// Weighs evidence as `mode` says, from the next event on.
    pub const fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// What it believes.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The current epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What was last published.
    #[must_use]
    pub const fn availability(&self) -> Availability {
        self.published
    }

    /// The leader of this epoch; `None` while none has been found in it.
    #[must_use]
    pub const fn leader(&self) -> Option<&Node> {
        self.leader.as_ref()
    }

    /// Whether the system connection of this epoch stands.
    #[must_use]
    pub const fn system_up(&self) -> bool {
        self.system_up
    }

    /// Whether the leader is in a smart shutdown.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// How many pool connections of this epoch are open.
    #[must_use]
    pub const fn pooled(&self) -> u32 {
        self.pooled
    }

    /// The instant at which [`Event::Tick`] is wanted, if any is; always later than `now`.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let decide_at = match self.state {
            State::Unhealthy { decide_at, .. } => Some(decide_at),
            State::Starting | State::Healthy | State::Failover => None,
        };
        let lapses_at = match self.published {
            Availability::Available => self.refused_at.map(grace_ends),
            Availability::Unavailable(_) => None,
        };
        [decide_at, lapses_at].into_iter().flatten().filter(|instant| *instant > now).min()
    }

    /// Takes one event and returns what must be done about it, in order.
    ///
    /// News from an epoch that is over changes nothing: a pool of a hundred connections dying with
    /// the leader we have already left must not count against the one we have just found.
    pub fn step(&mut self, event: Event, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        if event.epoch().is_some_and(|epoch| epoch != self.epoch) {
            return outcome;
        }
        let before = (self.state.phase(), self.epoch, self.published.is_available());
        let effects = &mut outcome.effects;
        let mut cause = Cause::of(&event);
        match event {
            Event::PoolOpened { .. } => self.pool_opened(),
            Event::PoolBroken { .. } => self.pool_broken(now),
            Event::PoolClosed { .. } => self.pool_closed(),
            Event::SystemConnected { node } => self.system_connected(node, effects),
            Event::SystemBroken { .. } => self.system_broken(now, effects),
            Event::SystemRefused { .. } => self.system_refused(now),
            Event::ShuttingDown { .. } => self.shuts_down(effects),
            Event::Leaving { .. } => self.leaving |= self.system_up,
            Event::HotStandby { .. } => self.fail_over(effects),
            Event::LeaderChanged | Event::LeaderWithdrawn => {
                self.fail_over(effects);
                if effects.is_empty() {
                    effects.push(Effect::DialSystem); // news worth an attempt at once
                }
            }
            Event::Tick => {}
        }
        if self.leaving && self.pooled == 0 {
            self.shuts_down(effects);
            cause = Cause::ShuttingDown;
        }
        if let Some((broken, baseline)) = self.evidence(now) {
            self.fail_over(effects);
            cause = Cause::Evidence { broken, baseline };
        }
        self.publish(now, effects);
        let (epoch, availability, to) = (self.epoch, self.published, self.state.phase());
        if before != (to, epoch, availability.is_available()) {
            let from = before.0;
            outcome.transition = Some(Transition { from, to, epoch, availability, cause });
        }
        outcome
    }

    fn pool_opened(&mut self) {
        self.pooled = self.pooled.saturating_add(1);
        let proves_health = self.system_up; // else a pool dial alone would hide a lost leader
        if let State::Unhealthy { fresh, .. } = &mut self.state {
            if proves_health {
                self.state = State::Healthy;
            } else {
                *fresh = fresh.saturating_add(1);
            }
        }
    }

    fn pool_broken(&mut self, now: Instant) {
        let existed = self.open();
        self.pooled = self.pooled.saturating_sub(1);
        self.refused_at = None;
        self.broke(existed, now);
    }

    fn pool_closed(&mut self) {
        self.pooled = self.pooled.saturating_sub(1);
        if let State::Unhealthy { baseline, fresh, .. } = &mut self.state {
            if *fresh > 0 {
                *fresh -= 1;
            } else {
                *baseline = NonZeroU32::new(baseline.get() - 1).unwrap_or(NonZeroU32::MIN);
            }
        }
    }

    fn system_connected(&mut self, node: Node, effects: &mut Vec<Effect>) {
        let elsewhere = self.leader.as_ref().is_some_and(|leader| !leader.is_same_server(&node));
        if elsewhere {
            if self.published.is_available() {
                let refuse = Availability::Unavailable(Unavailable::FailingOver);
                self.published = refuse;
                effects.push(Effect::Publish(refuse));
            }
            self.retire(effects);
        }
        self.leader = Some(node);
        self.system_up = true;
        self.refused_at = None;
        self.leaving = false;
        self.announced = false;
        self.state = State::Healthy;
    }

    /// The leader goes, and has said so.
    fn shuts_down(&mut self, effects: &mut Vec<Effect>) {
        self.fail_over(effects);
        self.announced = true;
    }

    fn system_broken(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.system_up {
            let existed = self.open();
            self.system_up = false;
            self.broke(existed, now);
            effects.push(Effect::DialSystem);
        }
    }

    fn system_refused(&mut self, now: Instant) {
        if !self.system_up {
            self.refused_at = Some(now);
        }
    }

    /// Counts one unexpected end, or begins to; `existed` connections were open before it.
    fn broke(&mut self, existed: u32, now: Instant) {
        let Mode::Adaptive { unhealthy_min, .. } = self.mode else { return };
        match &mut self.state {
            State::Healthy => {
                self.state = State::Unhealthy {
                    decide_at: now + unhealthy_min.get(),
                    baseline: NonZeroU32::new(existed).unwrap_or(NonZeroU32::MIN),
                    broken: 1,
                    fresh: 0,
                };
            }
            State::Unhealthy { fresh, .. } if *fresh > 0 => *fresh -= 1,
            State::Unhealthy { broken, .. } => *broken = broken.saturating_add(1),
            State::Starting | State::Failover => {}
        }
    }

    /// The counts that prove the leader lost, once all three conditions hold.
    fn evidence(&self, now: Instant) -> Option<(u32, u32)> {
        let Mode::Adaptive { disconnect_percent, .. } = self.mode else { return None };
        let State::Unhealthy { decide_at, baseline, broken, .. } = self.state else { return None };
        let enough = disconnect_percent.is_reached_by(broken, baseline);
        let leader_answers = self.system_up || self.is_merely_full(now);
        (now >= decide_at && enough && !leader_answers).then_some((broken, baseline.get()))
    }

    /// Gives the leader up, if there is one to give up.
    fn fail_over(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Healthy | State::Unhealthy { .. } => {
                self.state = State::Failover;
                self.retire(effects);
                effects.retain(|effect| *effect != Effect::DialSystem);
                effects.push(Effect::DialSystem);
            }
            State::Starting | State::Failover => {}
        }
    }

    /// Ends the epoch and begins the next one, which has no connections and no leader.
    fn retire(&mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Retire(self.epoch));
        self.epoch += 1;
        self.leader = None;
        self.system_up = false;
        self.leaving = false;
        self.pooled = 0;
    }

    /// Publishes what is so, if it is not what was published: refuses before, allows after
    /// everything else that the step led to.
    fn publish(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let availability = self.judge(now);
        if availability != self.published {
            self.published = availability;
            let place = if availability.is_available() { effects.len() } else { 0 };
            effects.insert(place, Effect::Publish(availability));
        }
    }

    fn judge(&self, now: Instant) -> Availability {
        match self.state {
            State::Starting => Availability::Unavailable(Unavailable::Starting),
            State::Failover if self.announced => {
                Availability::Unavailable(Unavailable::ShuttingDown)
            }
            State::Failover => Availability::Unavailable(Unavailable::FailingOver),
            State::Healthy | State::Unhealthy { .. } if self.leaving => {
                Availability::Unavailable(Unavailable::ShuttingDown)
            }
            State::Healthy | State::Unhealthy { .. } => {
                if self.system_up || self.is_merely_full(now) {
                    Availability::Available
                } else {
                    Availability::Unavailable(Unavailable::SystemConnectionLost)
                }
            }
        }
    }

    /// Whether the system connection is missing for want of a slot alone: the leader's address said
    /// so a moment ago, connections of this epoch are open, and none has broken since.
    fn is_merely_full(&self, now: Instant) -> bool {
        self.pooled > 0 && self.refused_at.is_some_and(|at| now < grace_ends(at))
    }

    fn open(&self) -> u32 {
        self.pooled.saturating_add(u32::from(self.system_up))
    }
}

fn grace_ends(refused_at: Instant) -> Instant {
    refused_at + REFUSED_GRACE
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
