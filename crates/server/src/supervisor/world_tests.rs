//! A world of names and nodes for the supervisor's tests, under paused time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use everline_core::ha::{Identity, Mode};
use everline_wire::fields::{Report, Severity};
use everline_wire::sqlstate::SqlState;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::{Handle, Settings, Supervisor, Target};
use crate::backend::connection::QueryError;
use crate::backend::dial::{DialError, Phase};
use crate::backend::resolve::{Problem, ResolveError};
use crate::backend::system::{AskError, Beat, Found, Heard, Link, Scout};
use crate::backend::{Address, Endpoint, OwnedFields};
use crate::config::dsn::{Host, HostPort};

/// What a name server says.
#[derive(Clone, Debug)]
pub(super) enum Dns {
    To(&'static str),
    Fails,
    Hangs,
}

/// What a node does with who dials it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Does {
    Primary,
    Standby,
    Refuses(SqlState),
    /// Nobody listens there.
    Nothing,
    /// Frozen, or in a black hole: neither dials nor links get an answer.
    Hangs,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) does: Does,
    pub(super) timeline: u32,
    pub(super) lsn: u64,
    pub(super) start: i64,
    pub(super) system: u64,
    pub(super) latency: Duration,
    /// Links of an earlier incarnation are broken.
    incarnation: u64,
    /// Links of this incarnation and earlier ones have been told of a shutdown.
    shut: u64,
}

pub(super) const PRIMARY: Node = Node {
    does: Does::Primary,
    timeline: 1,
    lsn: 100,
    start: 0,
    system: 7,
    latency: Duration::from_millis(1),
    incarnation: 1,
    shut: 0,
};

pub(super) const STANDBY: Node = Node { does: Does::Standby, ..PRIMARY };

#[derive(Debug, Default)]
pub(super) struct Facts {
    names: BTreeMap<String, Dns>,
    nodes: BTreeMap<char, Node>,
    /// Dials under way, by node.
    dialling: BTreeMap<char, u32>,
    pub(super) resolves: u32,
    pub(super) dials: BTreeMap<char, u32>,
    /// System connections that stand, by node.
    pub(super) links: BTreeMap<char, i32>,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    facts: Arc<Mutex<Facts>>,
    changed: watch::Sender<()>,
}

/// The address of the node with this letter.
fn address(letter: char) -> Address {
    let last = u8::try_from(u32::from(letter) - u32::from('a') + 1).unwrap();
    Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 5432))
}

fn letter(address: &Address) -> char {
    ('a'..='z').find(|letter| self::address(*letter) == *address).unwrap()
}

impl World {
    pub(super) fn new(names: &[(&str, &'static str)], nodes: &[(char, Node)]) -> Self {
        let names = names.iter().map(|(name, to)| ((*name).to_owned(), Dns::To(to))).collect();
        let nodes = nodes.iter().copied().collect();
        let facts = Facts { names, nodes, ..Facts::default() };
        Self { facts: Arc::new(Mutex::new(facts)), changed: watch::Sender::new(()) }
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }

    pub(super) fn name(&self, name: &str, dns: Dns) {
        self.facts().names.insert(name.to_owned(), dns);
        self.changed.send_replace(());
    }

    pub(super) fn node(&self, letter: char, change: impl FnOnce(&mut Node)) {
        change(self.facts().nodes.get_mut(&letter).unwrap());
        self.changed.send_replace(());
    }

    /// kill -9: links break, nobody listens.
    pub(super) fn kill(&self, letter: char) {
        self.node(letter, |node| {
            node.does = Does::Nothing;
            node.incarnation += 1;
        });
    }

    /// Links break; the node goes on.
    pub(super) fn cut(&self, letter: char) {
        self.node(letter, |node| node.incarnation += 1);
    }

    /// A fast shutdown: links are told, then nobody listens.
    pub(super) fn shut_down(&self, letter: char) {
        self.node(letter, |node| {
            node.shut = node.incarnation;
            node.incarnation += 1;
            node.does = Does::Nothing;
        });
    }

    pub(super) fn promote(&self, letter: char, timeline: u32) {
        self.node(letter, |node| {
            node.does = Does::Primary;
            node.timeline = timeline;
        });
    }

    fn look(&self, letter: char) -> Node {
        *self.facts().nodes.get(&letter).unwrap()
    }
}

impl Scout for World {
    type Link = FakeLink;
    type Greeted = Endpoint;

    async fn resolve(
        &self,
        host: &HostPort,
        deadline: Instant,
    ) -> Result<Vec<Endpoint>, ResolveError> {
        let name: Arc<str> = host.host.to_string().into();
        self.facts().resolves += 1;
        let dns = self.facts().names.get(&*name).cloned().unwrap_or(Dns::Fails);
        let error = |problem| ResolveError { name: Arc::clone(&name), problem };
        match dns {
            Dns::To(letters) => Ok(letters
                .chars()
                .map(|letter| Endpoint { host: Arc::clone(&name), address: address(letter) })
                .collect()),
            Dns::Fails => Err(error(Problem::NotFound)),
            Dns::Hangs => {
                sleep_until(deadline).await;
                Err(error(Problem::Timeout))
            }
        }
    }

    async fn greet(&self, endpoint: &Endpoint, _deadline: Instant) -> Result<Endpoint, AskError> {
        Ok(endpoint.clone())
    }

    async fn question(
        &self,
        endpoint: Endpoint,
        deadline: Instant,
    ) -> Result<Found<FakeLink>, AskError> {
        let endpoint = &endpoint;
        let letter = letter(&endpoint.address);
        {
            let mut facts = self.facts();
            *facts.dials.entry(letter).or_default() += 1;
            let dialling = facts.dialling.entry(letter).or_default();
            *dialling += 1;
            assert_eq!(*dialling, 1, "two dials to {letter} under way");
        }
        let answer = timeout_at(deadline, self.answer(letter, endpoint)).await;
        *self.facts().dialling.get_mut(&letter).unwrap() -= 1;
        answer.unwrap_or(Err(AskError::Dial(DialError::Timeout { phase: Phase::Connect })))
    }
}

impl World {
    /// What the node answers to a dial; nothing while it hangs.
    async fn answer(&self, letter: char, endpoint: &Endpoint) -> Result<Found<FakeLink>, AskError> {
        let mut changed = self.changed.subscribe();
        sleep(self.look(letter).latency).await;
        let node = loop {
            let node = self.look(letter);
            if node.does != Does::Hangs {
                break node;
            }
            changed.changed().await.unwrap();
        };
        if node.does == Does::Primary {
            *self.facts().links.entry(letter).or_default() += 1;
        }
        match node.does {
            Does::Primary => Ok(Found {
                identity: Identity {
                    system_identifier: Some(node.system),
                    timeline: Some(node.timeline),
                    lsn: Some(node.lsn),
                    postmaster_start: Some(node.start),
                },
                parameters: BTreeMap::new(),
                link: FakeLink {
                    world: self.clone(),
                    letter,
                    incarnation: node.incarnation,
                    changed: self.changed.subscribe(),
                    answer_at: None,
                },
            }),
            Does::Standby => Err(AskError::Standby),
            Does::Refuses(code) => Err(AskError::Dial(DialError::Refused(said(code)))),
            Does::Nothing => Err(AskError::Dial(DialError::Connect {
                endpoint: endpoint.clone(),
                source: io::ErrorKind::ConnectionRefused.into(),
            })),
            Does::Hangs => unreachable!(),
        }
    }
}

/// What a backend says with this code.
fn said(code: SqlState) -> OwnedFields {
    let report =
        Report { severity: Severity::Fatal, code, message: "as told", detail: None, hint: None };
    let mut out = BytesMut::new();
    report.error_response(&mut out);
    OwnedFields::new(out.split_off(5).freeze()).unwrap()
}

/// A system connection of the world.
#[derive(Debug)]
pub(super) struct FakeLink {
    world: World,
    letter: char,
    incarnation: u64,
    changed: watch::Receiver<()>,
    answer_at: Option<Instant>,
}

impl Drop for FakeLink {
    fn drop(&mut self) {
        *self.world.facts().links.get_mut(&self.letter).unwrap() -= 1;
    }
}

impl Link for FakeLink {
    async fn ask(&mut self) -> Result<(), QueryError> {
        self.answer_at = Some(Instant::now() + self.world.look(self.letter).latency);
        Ok(())
    }

    async fn hear(&mut self) -> Result<Heard, QueryError> {
        loop {
            self.changed.borrow_and_update();
            let node = self.world.look(self.letter);
            if node.shut >= self.incarnation {
                return Ok(Heard::ShuttingDown(said(SqlState::ADMIN_SHUTDOWN)));
            }
            if node.incarnation != self.incarnation {
                return Err(QueryError::Closed);
            }
            let due = self.answer_at.filter(|_| node.does != Does::Hangs);
            match due {
                Some(at) if at <= Instant::now() => {
                    self.answer_at = None;
                    let standby = node.does == Does::Standby;
                    return Ok(if standby { Heard::Standby } else { Heard::Primary });
                }
                Some(at) => drop(timeout_at(at, self.changed.changed()).await),
                None => self.changed.changed().await.unwrap(),
            }
        }
    }
}

/// What was published, and when.
type Published = Vec<(Instant, Arc<Target>)>;

/// A supervisor in a world, and all that it has published.
pub(super) struct Stage {
    pub(super) handle: Handle,
    began: Instant,
    published: Arc<Mutex<Published>>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

pub(super) fn settings(hosts: &[&str]) -> Settings {
    let host = |name: &&str| HostPort::new(Host::Name((*name).into()), 5432);
    Settings {
        mode: Mode::ADAPTIVE,
        hosts: hosts.iter().map(host).collect(),
        dial_timeout: Duration::from_secs(5),
        beat: Beat { interval: Duration::from_secs(1), timeout: Duration::from_secs(3) },
        resolve_interval: Duration::from_secs(5),
        election_grace: Duration::from_millis(200),
        accept_new_cluster: false,
        connections_max: 100,
        pace: everline_core::retry::Pace::SYSTEM_DIAL,
        fence: crate::supervisor::Fence::none(),
    }
}

impl Stage {
    pub(super) fn new(world: &World, hosts: &[&str]) -> Self {
        Self::with(world, settings(hosts))
    }

    pub(super) fn with(world: &World, settings: Settings) -> Self {
        let rng = StdRng::seed_from_u64(1);
        let (supervisor, handle) = Supervisor::with_jitter(settings, world.clone(), rng);
        let shutdown = CancellationToken::new();
        let published = Arc::<Mutex<Published>>::default();
        let (list, mut target) = (Arc::clone(&published), handle.target.clone());
        let watching = async move {
            let mut before: Option<Arc<Target>> = None;
            loop {
                let now = Arc::clone(&target.borrow_and_update());
                if let Some(before) = before.replace(Arc::clone(&now)) {
                    let over = before.epoch != now.epoch;
                    assert_eq!(before.ended.is_cancelled(), over, "exactly past epochs are over");
                }
                list.lock().unwrap().push((Instant::now(), now));
                if target.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(watching);
        let task = tokio::spawn(supervisor.run(shutdown.clone()));
        let began = Instant::now();
        Self { handle, began, published, shutdown, task }
    }

    /// Lets virtual time pass until `seconds` after the start.
    pub(super) async fn until(&self, seconds: f64) {
        sleep_until(self.began + Duration::from_secs_f64(seconds)).await;
        sleep(Duration::ZERO).await;
    }

    /// What has been published, one line for each change: seconds, epoch, leader, availability.
    pub(super) fn told(&self) -> String {
        let mut told = String::new();
        for (at, target) in self.published.lock().unwrap().iter() {
            let leader =
                target.leader.as_ref().map_or('-', |leader| letter(&leader.endpoint.address));
            let may = if target.is_available() { "available" } else { "unavailable" };
            let seconds = at.duration_since(self.began).as_secs_f64();
            writeln!(told, "{seconds:.3} {} {leader} {may}", target.epoch).unwrap();
        }
        told
    }

    /// The same without the times.
    pub(super) fn order(&self) -> String {
        let told = self.told();
        let lines = told.lines().map(|line| line.split_once(' ').unwrap().1);
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Seconds from the start to the last thing published.
    pub(super) fn last_at(&self) -> f64 {
        let published = self.published.lock().unwrap();
        published.last().unwrap().0.duration_since(self.began).as_secs_f64()
    }

    pub(super) fn target(&self) -> Arc<Target> {
        Arc::clone(&self.handle.target.borrow())
    }

    /// Where the leader is and whether sessions may dispatch, such as `b available`.
    pub(super) fn leader(&self) -> String {
        let target = self.target();
        let leader = target.leader.as_ref().map_or('-', |leader| letter(&leader.endpoint.address));
        format!("{leader} {}", if target.is_available() { "available" } else { "unavailable" })
    }

    /// Ends the supervisor and passes on its panic, if it had one.
    pub(super) async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// Runs a test whose virtual time is bounded, so that one that hangs fails.
pub(super) async fn bounded(test: impl Future<Output = ()>) {
    timeout(Duration::from_hours(24), test).await.expect("the test hangs");
}
