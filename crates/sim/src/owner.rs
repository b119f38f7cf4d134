//! The owner of the core's machines: what the server's supervisor and pools do, in virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use everline_core::ha::{Effect, Election, Event, Identity, Machine, Mode, Node, Offer};
use everline_core::pool::plan::{Plan, PoolId, Verdict};

use crate::client::Client;
use crate::session::{LeaseWanted, Session};
use crate::world::{Mutation, News, World};

/// Backend connections that there may be.
const BUDGET: usize = 3;
/// How long a statement is held, in milliseconds.
const HOLD: u64 = 5_000;
/// Heartbeat and its patience, in milliseconds.
const BEAT: u64 = 1_000;
const PATIENCE: u64 = 3_000;
/// The deadline of a dial.
const DIAL_MAX: u64 = 5_000;
const POOL: PoolId = PoolId(0);

/// All of the server.
#[derive(Debug)]
pub(crate) struct Owner {
    machine: Machine,
    election: Election<usize>,
    plan: Plan,
    pub(crate) idle: Vec<u64>,
    waiters: Vec<usize>,
    pub(crate) sessions: Vec<Session>,
    /// Nodes that are being asked who they are.
    asking: BTreeSet<usize>,
    /// Heartbeats sent, and answered, on the present system connection.
    beats: (u64, u64),
    links: u64,
    /// Where the leader of the epoch stands.
    target: Option<usize>,
    retired: u64,
    mutation: Option<Mutation>,
}

impl Owner {
    pub(crate) fn new(clients: Vec<Client>, mutation: Option<Mutation>) -> Self {
        let sessions = clients.into_iter().zip(1..);
        Self {
            machine: Machine::new(Mode::ADAPTIVE),
            election: Election::new(Duration::from_millis(200), false),
            plan: Plan::new(BUDGET, BUDGET),
            idle: Vec::new(),
            waiters: Vec::new(),
            sessions: sessions.map(|(client, id)| Session::new(client, id, mutation)).collect(),
            asking: BTreeSet::new(),
            beats: (0, 0),
            links: 0,
            target: None,
            retired: 0,
            mutation,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.sessions.iter().all(|session| session.client.is_done())
    }

    pub(crate) const fn epochs(&self) -> u64 {
        self.retired
    }

    pub(crate) const fn epoch(&self) -> u64 {
        self.machine.epoch()
    }

    fn broken(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn hears(&mut self, news: News, world: &mut World) -> Result<(), String> {
        match news {
            News::Round => {
                self.is_attentive(world)?;
                self.round(world);
            }
            News::Asked { node, until } => self.asked(node, until, world)?,
            News::Beat(link) => self.beat(link, world),
            News::BeatAnswered { link, beat } => self.beat_answered(link, beat, world)?,
            News::BeatLate { link, beat } => {
                let late = world.link.is_some_and(|(at, ..)| at == link) && self.beats.1 < beat;
                if late && !self.broken(Mutation::EndlessPatience) {
                    self.link_lost(world)?;
                }
            }
            News::LinkEnded { link, told } => self.link_ended(link, told, world)?,
            News::PoolDialled { epoch, node, until } => {
                self.pool_dialled(epoch, node, until, world)?;
            }
            News::Serve => self.serve(world)?,
            News::Tick => self.step(Event::Tick, world)?,
            News::ToOwner(conn) => self.relay(conn, world)?,
            News::Ended(conn) => self.ended(conn, world)?,
            News::Held { session, since } => self.held(session, since, world)?,
            News::Speak(session) => self.speak(session, world)?,
            News::ToNode(_)
            | News::Fault
            | News::Thaw(_)
            | News::Restart(_)
            | News::Return { .. }
            | News::Promote(_)
            | News::Name(_)
            | News::NameAnswers
            | News::Fast
            | News::Repair => {}
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, event: Event, world: &mut World) -> Result<(), String> {
        let outcome = self.machine.step(event, world.instant());
        for effect in outcome.effects {
            match effect {
                Effect::Publish(availability) => {
                    if availability.is_available() {
                        world.plan(0, News::Serve);
                    }
                }
                Effect::Retire(epoch) => {
                    self.retired += 1;
                    if epoch + 1 != self.machine.epoch() {
                        return Err(format!("epoch {epoch} ended out of turn"));
                    }
                    self.retire(epoch, world)?;
                }
                Effect::DialSystem => world.plan(0, News::Round),
            }
        }
        if !self.machine.system_up() {
            world.link = None;
        }
        if let Some(at) = self.machine.deadline(world.instant()) {
            let wait = world.moment(at).saturating_sub(world.now);
            world.plan(wait, News::Tick);
        }
        Ok(())
    }

    fn retire(&mut self, epoch: u64, world: &mut World) -> Result<(), String> {
        self.target = None;
        if self.broken(Mutation::ForgetWaiters) {
            self.waiters.clear();
        }
        if !self.broken(Mutation::LendPastEpoch) {
            for conn in std::mem::take(&mut self.idle) {
                world.close(conn);
            }
        }
        if self.broken(Mutation::KeepLeases) {
            return Ok(());
        }
        for session in 0..self.sessions.len() {
            let lease = self.session(session).lease;
            let over = lease
                .is_some_and(|conn| world.conns.get(&conn).is_some_and(|conn| conn.epoch == epoch));
            if over {
                self.lose(session, world)?;
            }
        }
        Ok(())
    }

    /// A leader that is silent is noticed within heartbeat interval and patience, and nobody is
    /// held for longer than the hold.
    fn is_attentive(&self, world: &World) -> Result<(), String> {
        let held =
            |session: &Session| session.waiting.is_some_and(|at| at + HOLD + 500 < world.now);
        if world.asleep_until + 500 < world.now && self.sessions.iter().any(held) {
            return Err("a statement is held for longer than the hold".to_owned());
        }
        let noticed = BEAT + PATIENCE + 1_500;
        let awake = world.asleep_until + noticed < world.now;
        let Some((_, at, _)) = world.link.filter(|_| awake) else { return Ok(()) };
        let node = world.node(at);
        if node.mute && node.mute_since + noticed < world.now {
            return Err("a silent leader is not noticed".to_owned());
        }
        Ok(())
    }

    fn round(&mut self, world: &mut World) {
        let now = world.instant();
        if let Some(winner) = self.election.decide(now, self.asking.len()) {
            world.plan(0, News::Asked { node: winner.with, until: world.now + DIAL_MAX });
        }
        let named = [world.name];
        let nodes: &[usize] = if world.two_hosts { &[0, 1] } else { &named };
        for node in nodes {
            let at_leader = world.link.is_some_and(|(_, at, _)| at == *node);
            if (world.two_hosts || !world.name_fails) && !at_leader && self.asking.insert(*node) {
                let wait = 2 * world.latency() + 1;
                world.plan(wait, News::Asked { node: *node, until: world.now + DIAL_MAX });
            }
        }
        let wait = if world.link.is_some() { BEAT } else { world.dice.between(50, 100) };
        world.plan(wait, News::Round);
    }

    fn asked(&mut self, at: usize, until: u64, world: &mut World) -> Result<(), String> {
        let node = world.node(at);
        if node.mute && world.now < until {
            world.plan(50, News::Asked { node: at, until });
            return Ok(());
        }
        self.asking.remove(&at);
        if !node.up || node.mute || !node.primary {
            return Ok(());
        }
        let identity = Identity {
            system_identifier: Some(7),
            timeline: Some(node.timeline),
            lsn: u64::try_from(node.rows.len()).ok(),
            postmaster_start: i64::try_from(node.incarnation).ok(),
        };
        let (timeline, incarnation) = (node.timeline, node.incarnation);
        let found = Node { address: format!("node {at}").into(), identity };
        let elected = if self.broken(Mutation::AnyPrimary) {
            true
        } else if self.machine.system_up() {
            let leader = world.link.map(|(_, at, _)| at);
            let named = world.two_hosts || world.name_fails || leader == Some(world.name);
            self.election.challenge(&found, named) == Ok(true)
        } else {
            let stands = self.election.offer(found.clone(), at, world.instant()) == Offer::Stands;
            let winner = self.election.decide(world.instant(), self.asking.len());
            stands && winner.is_some_and(|winner| winner.with == at)
        };
        if !elected {
            return Ok(());
        }
        if timeline < world.led {
            return Err(format!("timeline {timeline} leads after {}", world.led));
        }
        world.led = timeline;
        self.step(Event::SystemConnected { node: found }, world)?;
        self.links += 1;
        self.beats = (0, 0);
        self.target = Some(at);
        world.link = Some((self.links, at, incarnation));
        world.plan(BEAT, News::Beat(self.links));
        if !self.machine.availability().is_available() {
            return Err("a healthy leader answers and is not used".to_owned());
        }
        Ok(())
    }

    fn beat(&mut self, link: u64, world: &mut World) {
        if world.link.is_none_or(|(at, ..)| at != link) {
            return;
        }
        self.beats.0 += 1;
        let beat = self.beats.0;
        let wait = 2 * world.latency();
        world.plan(wait, News::BeatAnswered { link, beat });
        world.plan(PATIENCE, News::BeatLate { link, beat });
    }

    fn beat_answered(&mut self, link: u64, beat: u64, world: &mut World) -> Result<(), String> {
        let Some((_, at, incarnation)) = world.link.filter(|(at, ..)| *at == link) else {
            return Ok(());
        };
        let node = world.node(at);
        if !node.up || node.incarnation != incarnation {
            return self.link_lost(world);
        }
        if node.mute {
            world.plan(50, News::BeatAnswered { link, beat });
            return Ok(());
        }
        if !node.primary {
            let epoch = self.machine.epoch();
            return self.step(Event::HotStandby { epoch }, world);
        }
        self.beats.1 = beat;
        world.plan(BEAT, News::Beat(link));
        Ok(())
    }

    fn link_ended(&mut self, link: u64, told: bool, world: &mut World) -> Result<(), String> {
        if world.link.is_none_or(|(at, ..)| at != link) {
            return Ok(());
        }
        if told {
            let epoch = self.machine.epoch();
            return self.step(Event::ShuttingDown { epoch }, world);
        }
        self.link_lost(world)
    }

    fn link_lost(&mut self, world: &mut World) -> Result<(), String> {
        let epoch = self.machine.epoch();
        self.step(Event::SystemBroken { epoch }, world)
    }

    /// Asks the leader at once whether it is one.
    pub(crate) fn suspect(&mut self, world: &mut World) {
        if let Some((link, ..)) = world.link {
            let (wait, beat) = (2 * world.latency(), self.beats.0);
            world.plan(wait, News::BeatAnswered { link, beat });
        }
    }

    fn pool_dialled(
        &mut self,
        epoch: u64,
        at: usize,
        until: u64,
        world: &mut World,
    ) -> Result<(), String> {
        let node = world.node(at);
        let over = epoch != self.machine.epoch();
        if !over && node.mute && world.now < until {
            world.plan(50, News::PoolDialled { epoch, node: at, until });
            return Ok(());
        }
        self.plan.counts_mut(POOL).dialling -= 1;
        if over {
            return self.serve(world);
        }
        if !node.up || node.mute || !node.primary {
            self.suspect(world);
            world.plan(50, News::Serve);
            return Ok(());
        }
        let conn = world.connect(at, epoch);
        self.idle.push(conn);
        self.step(Event::PoolOpened { epoch }, world)?;
        self.serve(world)
    }

    /// Gives idle connections to those who wait, and dials where that is not enough.
    pub(crate) fn serve(&mut self, world: &mut World) -> Result<(), String> {
        let available = self.machine.availability().is_available();
        if !available && !self.broken(Mutation::DispatchUnavailable) {
            return Ok(());
        }
        while let Some(conn) = self.idle.pop_if(|_| !self.waiters.is_empty()) {
            let session = self.waiters.remove(0);
            self.grant(session, conn, world)?;
        }
        let lent = self.sessions.iter().filter(|session| session.lease.is_some()).count();
        let counts = self.plan.counts_mut(POOL);
        counts.idle = self.idle.len();
        counts.lent = lent;
        counts.waiting = self.waiters.len();
        while self.plan.serve(POOL) == Verdict::Dial {
            let Some(node) = self.target else { break };
            self.plan.counts_mut(POOL).dialling += 1;
            let wait = 3 * world.latency() + 1;
            let (epoch, until) = (self.machine.epoch(), world.now + DIAL_MAX);
            world.plan(wait, News::PoolDialled { epoch, node, until });
        }
        Ok(())
    }

    /// Lends a connection.
    fn grant(&mut self, session: usize, conn: u64, world: &mut World) -> Result<(), String> {
        let Some(epoch) = world.conns.get(&conn).map(|conn| conn.epoch) else { return Ok(()) };
        if epoch != self.machine.epoch() {
            return Err("a connection of an epoch that is over is lent".to_owned());
        }
        if !self.machine.availability().is_available() {
            return Err("a statement is dispatched while nobody leads".to_owned());
        }
        let lent = self.session(session);
        lent.waiting = None;
        lent.lease = Some(conn);
        self.digest(session, world)
    }

    pub(crate) fn session(&mut self, at: usize) -> &mut Session {
        self.sessions.get_mut(at).expect("a session of this world")
    }

    /// A session wants a connection for its message.
    pub(crate) fn wait(
        &mut self,
        session: usize,
        wanted: LeaseWanted,
        world: &mut World,
    ) -> Result<(), String> {
        let since = world.now;
        let begun = wanted.since.unwrap_or(since);
        self.session(session).waiting = Some(since);
        self.waiters.push(session);
        let left = (begun + HOLD).saturating_sub(world.now);
        if !self.broken(Mutation::HoldForEver) {
            world.plan(left, News::Held { session, since });
        }
        if wanted.since.is_some() {
            world.plan(50, News::Serve); // the leader is asked meanwhile
            return Ok(());
        }
        self.serve(world)
    }

    fn held(&mut self, session: usize, since: u64, world: &mut World) -> Result<(), String> {
        let forgotten = self.broken(Mutation::ForgetWaiters) && !self.waiters.contains(&session);
        if self.session(session).waiting != Some(since) || forgotten {
            return Ok(());
        }
        self.waiters.retain(|waiting| *waiting != session);
        self.refuse(session, world)
    }

    /// The connection is gone without us.
    fn ended(&mut self, conn: u64, world: &mut World) -> Result<(), String> {
        let Some(ended) = world.conns.get(&conn).filter(|conn| conn.open) else { return Ok(()) };
        let epoch = ended.epoch;
        if self.idle.contains(&conn) {
            self.idle.retain(|idle| *idle != conn);
            world.close(conn);
            self.step(Event::PoolBroken { epoch }, world)?;
            return self.serve(world);
        }
        let holder = self.sessions.iter().position(|session| session.lease == Some(conn));
        let Some(session) = holder else { return Ok(()) };
        self.step(Event::PoolBroken { epoch }, world)?;
        if self.session(session).lease == Some(conn) {
            self.lose(session, world)?;
        }
        self.serve(world)
    }
}
