//! The supervisor's task.

use std::collections::BTreeMap;
use std::sync::Arc;

use everline_core::ha::{
    Availability, Candidate, Effect, Election, Event, Identity, Machine, Node, Offer, Outcome,
    Phase, Refused, Transition,
};
use rand::rngs::StdRng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, info, warn};

use super::ahead::{Coming, Greeted, ask};
use super::pulse::Pulse;
use super::report::{Report, Reports};
use super::search::{Question, Search};
use super::status::{HaStatus, StatusHandle};
use super::{
    COMMANDS_MAX, Command, Control, Handle, Leader, Settings, Target, Word, jitter, report,
};
use crate::backend::Endpoint;
use crate::backend::resolve::ResolveError;
use crate::backend::system::{AskError, Beat, Found, LinkEnd, Scout, keep};

/// The task's state. [`Supervisor::run`] is the task.
#[derive(Debug)]
pub struct Supervisor<S: Scout> {
    pub(super) settings: Settings,
    pub(super) scout: S,
    pub(super) machine: Machine,
    pub(super) election: Election<Primary<S::Link>>,
    pub(super) search: Search,
    pub(super) tasks: JoinSet<Done<S>>,
    reports: Reports,
    commands: mpsc::Receiver<Command>,
    /// What is published, kept so that each effect changes one thing of it.
    pub(super) current: Target,
    /// The node that will lead, while there is none.
    pub(super) coming: Option<Coming<S::Greeted>>,
    target: watch::Sender<Arc<Target>>,
    status: StatusHandle,
    /// The leader on whose system connection the machine stands.
    leader: Option<Arc<Leader>>,
    link: Option<Standing>,
    /// Counts what is kept, so that late news of what is not is recognised.
    pub(super) links: u64,
    /// What was last logged about a place that led to no leader, so that it is said once.
    pub(super) told: BTreeMap<String, String>,
    /// Cancelled when the source speaks: what is being dialled on its former word is of no use.
    pub(super) word: CancellationToken,
    /// The pace of the heartbeat.
    pub(super) beat: watch::Sender<Beat>,
    rng: StdRng,
}

/// A primary that answered, with the name that led to it.
#[derive(Debug)]
pub(super) struct Primary<L> {
    endpoint: Endpoint,
    found: Found<L>,
    /// Its socket among those that are open; dropped after it.
    open: TaskTrackerToken,
}

/// The system connection as its owner sees it.
#[derive(Debug)]
struct Standing {
    number: u64,
    task: AbortHandle,
    ask_now: Arc<Notify>,
}

/// What an address answered, and the socket's place among those that are open.
type Answer<L> = (Result<Found<L>, AskError>, TaskTrackerToken);

/// What a task came back with.
pub(super) enum Done<S: Scout> {
    Resolved(Question, Result<Vec<Endpoint>, ResolveError>),
    /// By the edition of the list of hosts that led to it; without an answer it was given up.
    Asked(u64, Endpoint, Option<Answer<S::Link>>),
    Greeted(u64, Option<Greeted<S::Greeted>>),
    LinkEnded(u64, LinkEnd),
}

/// How many places are remembered for which a failure was logged.
const TOLD_MAX: usize = 256;

impl<S: Scout> Supervisor<S> {
    /// A supervisor that has not looked for anything yet, and the handle for the others.
    #[must_use]
    pub fn new(settings: Settings, scout: S) -> (Self, Handle) {
        Self::with_jitter(settings, scout, jitter())
    }

    fn with_jitter(settings: Settings, scout: S, rng: StdRng) -> (Self, Handle) {
        let now = Instant::now();
        let machine = Machine::new(settings.mode);
        let (reporter, reports) = report::channel(2 * settings.connections_max + REPORTS_SPARE);
        let (control, commands) = mpsc::channel(COMMANDS_MAX);
        let current = Target {
            epoch: machine.epoch(),
            leader: None,
            coming: None,
            availability: machine.availability(),
            ended: CancellationToken::new(),
            fence: settings.fence.clone(),
            open: TaskTracker::new(),
        };
        let beat = watch::Sender::new(settings.beat);
        let (sender, target) = watch::channel(Arc::new(current.clone()));
        let status = HaStatus::new(machine.state(), machine.availability(), now.into_std());
        let status = StatusHandle::new(status);
        let handle = Handle { target, reporter, status: status.clone(), control: Control(control) };
        let supervisor = Self {
            election: Election::new(settings.election_grace, settings.accept_new_cluster),
            search: Search::new(
                settings.hosts.clone(),
                settings.resolve_interval,
                settings.pace,
                now,
            ),
            settings,
            scout,
            machine,
            tasks: JoinSet::new(),
            reports,
            commands,
            current,
            coming: None,
            target: sender,
            status,
            leader: None,
            link: None,
            links: 0,
            told: BTreeMap::new(),
            word: CancellationToken::new(),
            beat,
            rng,
        };
        (supervisor, handle)
    }

    /// Runs until `shutdown` is cancelled. Published targets stay as they are then.
    ///
    /// # Panics
    /// When a task of its own has panicked: a supervisor that goes on half dead would be the worst
    /// state of all. Let it end the process.
    ///
    /// # Cancel safety
    /// Not safe: run it to its end.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.begin_round();
            let deadline = self.deadline();
            tokio::select! {
                // The leader's own words first, then what others say, the clock last.
                biased;
                () = shutdown.cancelled() => return,
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Err(_) => {} // aborted by us
                },
                Some(command) = self.commands.recv() => self.command(command),
                Some(report) = self.reports.queue.recv() => self.report(report),
                () = self.reports.reporter.nudged() => self.nudged(),
                () = sleep_until(deadline) => self.step(Event::Tick, String::new()),
            }
            self.decide();
        }
    }

    fn deadline(&self) -> Instant {
        let machine = self.machine.deadline(Instant::now().into_std()).map(Instant::from_std);
        let election = self.election.deadline().map(Instant::from_std);
        [machine, election].into_iter().flatten().fold(self.search.next_at(), Instant::min)
    }

    fn begin_round(&mut self) {
        let now = Instant::now();
        for question in self.search.round(now, &mut self.rng) {
            let (scout, deadline) = (self.scout.clone(), now + self.settings.dial_timeout);
            self.status.lock().counters.resolves += 1;
            self.tasks.spawn(async move {
                let answer = scout.resolve(&question.host, deadline).await;
                Done::Resolved(question, answer)
            });
        }
    }

    fn done(&mut self, done: Done<S>) {
        match done {
            Done::Resolved(question, answer) => self.resolved(&question, answer),
            Done::Asked(edition, endpoint, answer) => {
                if edition != self.search.edition() {
                    return; // whoever answered is dropped: the source has spoken since
                }
                self.search.dialled(&endpoint.address);
                match answer {
                    Some((Ok(found), open)) => self.met(Primary { endpoint, found, open }),
                    Some((Err(error), _)) => self.missed(&endpoint, &error),
                    None => {}
                }
            }
            Done::Greeted(number, greeted) => self.greeted(number, greeted),
            Done::LinkEnded(number, end) => {
                if self.link.as_ref().is_some_and(|link| link.number == number) {
                    self.link_ended(end);
                }
            }
        }
    }

    fn resolved(&mut self, question: &Question, answer: Result<Vec<Endpoint>, ResolveError>) {
        let answer = match answer {
            Ok(endpoints) => {
                self.told.remove(&named(&question.host));
                Some(endpoints)
            }
            Err(error) => {
                self.status.lock().counters.resolves_failed += 1;
                self.tell(named(&question.host), error.to_string());
                None
            }
        };
        let now = Instant::now();
        let endpoints = self.search.resolved(question, answer, now);
        self.status.lock().addresses = self.search.addresses();
        let deadline = now + self.settings.dial_timeout;
        for endpoint in endpoints {
            let (scout, edition) = (self.scout.clone(), self.search.edition());
            self.status.lock().counters.dials += 1;
            let (open, word) = (self.current.open.token(), self.word.clone());
            let ahead = self.take_greeted(&endpoint.address);
            self.tasks.spawn(async move {
                let answer = tokio::select! {
                    biased; // a source that has spoken since makes the answer useless
                    () = word.cancelled() => None,
                    answer = ask(&scout, &endpoint, ahead, deadline) => Some((answer, open)),
                };
                Done::Asked(edition, endpoint, answer)
            });
        }
    }

    /// A primary has answered.
    fn met(&mut self, primary: Primary<S::Link>) {
        let endpoint = &primary.endpoint;
        self.told.remove(&endpoint.to_string());
        let node = node(endpoint, primary.found.identity);
        let now = Instant::now();
        let named = |address| self.search.is_named(address, now);
        let Some(leader) = self.leader.as_ref().filter(|_| self.link.is_some()) else {
            if named(&endpoint.address) {
                match self.election.offer(node.clone(), primary, now.into_std()) {
                    Offer::Stands => {}
                    Offer::Refused { reason, first } => self.refused(&node, reason, first),
                }
            } else {
                debug!(%endpoint, "a primary answered to which no name leads any more");
            }
            return;
        };
        let named = named(&leader.endpoint.address);
        match self.election.challenge(&node, named) {
            Ok(true) => self.stand_at(node, primary),
            Ok(false) => debug!(%endpoint, "another primary; the leader stays"),
            Err((reason, first)) => self.refused(&node, reason, first),
        }
    }

    fn refused(&mut self, node: &Node, reason: Refused, first: bool) {
        let mut status = self.status.lock();
        status.counters.refused += 1;
        status.last_error = Some(format!("{node}: {reason}"));
        drop(status);
        if first {
            warn!(%node, "{reason}");
        }
    }

    /// An address led to no primary.
    fn missed(&mut self, endpoint: &Endpoint, error: &AskError) {
        self.status.lock().counters.dials_failed += 1;
        let at_leader =
            self.leader.as_ref().is_some_and(|leader| leader.endpoint.address == endpoint.address);
        if self.link.is_none() && at_leader && error.is_full() {
            let epoch = self.machine.epoch();
            self.step(Event::SystemRefused { epoch }, error.to_string());
        }
        self.tell(endpoint.to_string(), error.to_string());
    }

    /// Logs why a place led to no leader: once for each reason, and loudly only while it matters.
    fn tell(&mut self, place: String, why: String) {
        let seeking = self.search.is_seeking();
        if seeking {
            self.status.lock().last_error = Some(format!("{place}: {why}"));
        }
        if self.told.get(&place) == Some(&why) {
            return;
        }
        if seeking {
            info!(%place, "not the leader: {why}");
        } else {
            debug!(%place, "not the leader: {why}");
        }
        if self.told.len() < TOLD_MAX || self.told.contains_key(&place) {
            self.told.insert(place, why);
        }
    }

    fn link_ended(&mut self, end: LinkEnd) {
        let epoch = self.machine.epoch();
        let (event, detail) = match end {
            LinkEnd::Broken(why) => (Event::SystemBroken { epoch }, why),
            LinkEnd::ShuttingDown(words) => (Event::ShuttingDown { epoch }, words),
            LinkEnd::HotStandby => (Event::HotStandby { epoch }, String::new()),
        };
        self.link = None;
        self.step(event, detail);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Reconnect { forget } => {
                if forget {
                    self.election.forget();
                }
                self.step(Event::LeaderChanged, "by command".to_owned());
            }
            Command::Prepare(host) => self.prepare(host),
            Command::Configure { settings, moved, done } => {
                self.configure(*settings, moved);
                let _: Result<_, _> = done.send(()); // whoever asked may have left
            }
            Command::Follow { word, before } => {
                let open = self.follow(word);
                // A source that does not wait for the answer has ended.
                drop(before.send(open));
            }
        }
    }

    /// Goes where the source says, and gives back the sockets that are open until then.
    fn follow(&mut self, Word { host, forget, why }: Word) -> TaskTracker {
        if forget {
            self.election.forget();
        }
        let event = match host {
            Some(_) => Event::LeaderChanged,
            None => Event::LeaderWithdrawn,
        };
        self.told.clear();
        // What was made ahead to this host goes on, and counts as open from here on.
        let as_expected = match (&host, &self.coming) {
            (Some(host), Some(coming)) => *host == coming.host,
            (Some(_) | None, _) => false,
        };
        if !as_expected {
            self.forget_coming();
        }
        self.search.follow(host.into_iter().collect(), Instant::now());
        std::mem::take(&mut self.word).cancel();
        let open = if as_expected {
            TaskTracker::new()
        } else {
            std::mem::replace(&mut self.current.open, TaskTracker::new())
        };
        open.close();
        self.step(event, why);
        self.publish(); // also where no epoch was retired: new sockets count anew
        open
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Opened(epoch) => self.step(Event::PoolOpened { epoch }, String::new()),
            Report::Broken(epoch) => self.step(Event::PoolBroken { epoch }, String::new()),
            Report::Closed(epoch) => self.step(Event::PoolClosed { epoch }, String::new()),
            Report::Uncounted => {}
        }
        for (epoch, uncounted) in self.reports.uncounted() {
            for _ in 0..uncounted.opened {
                self.step(Event::PoolOpened { epoch }, String::new());
            }
            for _ in 0..uncounted.closed {
                self.step(Event::PoolClosed { epoch }, String::new());
            }
            for _ in 0..uncounted.broken {
                self.step(Event::PoolBroken { epoch }, String::new());
            }
        }
    }

    fn nudged(&mut self) {
        if self.reports.reporter.take_doubt() == Some(self.machine.epoch()) {
            self.search.doubt(Instant::now());
        }
        if let Some(epoch) = self.reports.reporter.take_leaving() {
            self.step(Event::Leaving { epoch }, String::new());
        }
        let (suspected, dial_failed) = self.reports.reporter.take_suspicions();
        if suspected != Some(self.machine.epoch()) {
            return; // of an epoch that is over
        }
        self.status.lock().counters.suspicions += 1;
        if let Some(link) = &self.link {
            link.ask_now.notify_one();
        }
        if dial_failed {
            self.search.nudge();
        }
    }

    /// Elects, if the time has come.
    fn decide(&mut self) {
        let now = Instant::now().into_std();
        if let Some(Candidate { node, with }) = self.election.decide(now, self.search.outstanding())
        {
            self.stand_at(node, with);
        }
    }

    /// Makes this the system connection.
    fn stand_at(&mut self, node: Node, primary: Primary<S::Link>) {
        let Primary { endpoint, found, open } = primary;
        let Found { identity, parameters, link } = found;
        let detail = endpoint.to_string();
        self.drop_link();
        self.told.clear();
        self.search.watch(endpoint.address.clone(), Instant::now());
        self.leader = Some(Arc::new(Leader { endpoint, identity, parameters }));
        self.forget_coming(); // it leads, or another does: the pools see which with this step
        self.step(Event::SystemConnected { node }, detail);
        self.links += 1;
        let number = self.links;
        let ask_now = Arc::new(Notify::new());
        let (reporter, status) = (self.reports.reporter.clone(), self.status.clone());
        let fence = self.settings.fence.clone();
        let beat = self.beat.subscribe();
        let pulse = Pulse::new(self.machine.epoch(), reporter, status, fence, beat);
        let kept = keep(link, pulse, Arc::clone(&ask_now));
        let task = self.tasks.spawn(async move {
            let _open = open; // dropped after the link's socket
            Done::LinkEnded(number, { kept }.await)
        });
        self.link = Some(Standing { number, task, ask_now });
        let mut status = self.status.lock();
        status.last_error = None;
        status.last_answer = Some(Instant::now().into_std());
    }

    fn drop_link(&mut self) {
        if let Some(link) = self.link.take() {
            link.task.abort();
        }
    }

    pub(super) fn step(&mut self, event: Event, detail: String) {
        let Outcome { effects, transition } = self.machine.step(event, Instant::now().into_std());
        for effect in effects {
            self.perform(effect);
        }
        let mut status = self.status.lock();
        status.state = self.machine.state();
        status.epoch = self.machine.epoch();
        status.system_up = self.machine.system_up();
        status.pooled = self.machine.pooled();
        status.availability = self.machine.availability();
        status.leader.clone_from(&self.current.leader);
        drop(status);
        if let Some(transition) = transition {
            self.record(transition, detail);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Publish(availability) => {
                self.current.availability = availability;
                match availability {
                    Availability::Available => self.current.leader.clone_from(&self.leader),
                    Availability::Unavailable(_) => {}
                }
                self.publish();
            }
            Effect::Retire(epoch) => {
                self.current.epoch = epoch + 1;
                self.current.leader = None;
                let ended = std::mem::take(&mut self.current.ended);
                self.publish(); // the new target stands before the old one ends
                ended.cancel();
                self.status.lock().counters.retired += 1;
            }
            Effect::DialSystem => {
                self.drop_link();
                self.election.clear();
                self.search.seek(Instant::now(), &mut self.rng);
            }
        }
    }

    pub(super) fn publish(&self) {
        self.target.send_replace(Arc::new(self.current.clone()));
    }

    fn record(&self, transition: Transition, detail: String) {
        let calm = transition.to == Phase::Healthy && transition.availability.is_available();
        if calm {
            info!(epoch = transition.epoch, detail, "{transition}");
        } else {
            warn!(epoch = transition.epoch, detail, "{transition}");
        }
        self.status.lock().record(transition, detail, Instant::now().into_std());
    }
}

/// Room in the channel of reports beyond what the connections need.
const REPORTS_SPARE: usize = 8;

fn node(endpoint: &Endpoint, identity: Identity) -> Node {
    Node { address: endpoint.address.to_string().into(), identity }
}

/// What a name is called among the places that led to no leader: not as the endpoint is to which
/// an address without a name leads.
fn named(host: &crate::config::dsn::HostPort) -> String {
    format!("name {host}")
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
