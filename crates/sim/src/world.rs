//! Nodes, network, time and faults, all drawn from one seed.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use everline_core::session::BackendState;

use crate::client::Client;
use crate::dice::Dice;
use crate::owner::Owner;
use crate::postgres::{Process, Writes};

/// Milliseconds of faults; then all is repaired.
pub(crate) const FAULTS_END: u64 = 12_000;
/// When all is repaired.
const REPAIRED: u64 = 22_000;
/// When everything has to be answered.
const DONE_BY: u64 = 70_000;
/// Clients in one run.
const CLIENTS: u64 = 4;
/// Requests of each client.
const REQUESTS: u64 = 40;

/// A rule broken on purpose, in the owner of the core's machines, so that the checks are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mutation {
    /// Statements are dispatched whether there is a leader or not.
    DispatchUnavailable,
    /// Idle connections of an epoch that is over stay in the pool.
    LendPastEpoch,
    /// Any primary is the leader, of whatever timeline.
    AnyPrimary,
    /// What is in flight when the connection is lost is sent again, unseen.
    RepeatInFlight,
    /// The unknown is called retryable.
    UnknownIsRetryable,
    /// Sessions keep the connections of an epoch that is over.
    KeepLeases,
    /// A statement is held for ever.
    HoldForEver,
    /// Who waits when an epoch ends is forgotten.
    ForgetWaiters,
    /// A late heartbeat means nothing.
    EndlessPatience,
    /// A loss is told to clients that wait for nothing.
    Unsolicited,
    /// A connection goes back to the pool in the middle of a transaction.
    ReleaseEarly,
    /// Bytes are sent twice.
    SendTwice,
    /// A refusal by a demoted leader is answered, and the statement sent again.
    AnswerAndRepeat,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::DispatchUnavailable,
        Self::LendPastEpoch,
        Self::AnyPrimary,
        Self::RepeatInFlight,
        Self::UnknownIsRetryable,
        Self::KeepLeases,
        Self::HoldForEver,
        Self::ForgetWaiters,
        Self::EndlessPatience,
        Self::Unsolicited,
        Self::ReleaseEarly,
        Self::SendTwice,
        Self::AnswerAndRepeat,
    ];
}

/// What runs came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Steps of the simulation.
    pub steps: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Reigns of leaders that ended.
    pub epochs: u64,
    /// Rows acknowledged.
    pub acknowledged: u64,
    /// Rows refused retryably or rolled back.
    pub refused: u64,
    /// Rows of unknown outcome.
    pub unknown: u64,
    /// First statements taken back from a demoted leader.
    pub taken_back: u64,
}

impl Figures {
    /// Adds another run's.
    pub const fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.faults += other.faults;
        self.epochs += other.epochs;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.taken_back += other.taken_back;
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    ToNode(u64),
    ToOwner(u64),
    Ended(u64),
    PoolDialled { epoch: u64, node: usize, until: u64 },
    Asked { node: usize, until: u64 },
    Beat(u64),
    BeatAnswered { link: u64, beat: u64 },
    BeatLate { link: u64, beat: u64 },
    LinkEnded { link: u64, told: bool },
    Round,
    Serve,
    Tick,
    Held { session: usize, since: u64 },
    Speak(usize),
    Fault,
    Thaw(usize),
    Restart(usize),
    Return { node: usize, alone: bool },
    Promote(usize),
    Name(usize),
    NameAnswers,
    Fast,
    Repair,
}

impl News {
    /// Whether it concerns our own process, which may be asleep.
    const fn is_ours(&self) -> bool {
        !matches!(
            self,
            Self::ToNode(_)
                | Self::Fault
                | Self::Thaw(_)
                | Self::Restart(_)
                | Self::Return { .. }
                | Self::Promote(_)
                | Self::Name(_)
                | Self::NameAnswers
                | Self::Fast
                | Self::Repair
        )
    }
}

/// One PostgreSQL.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what is wrong with it, each for itself")]
pub(crate) struct Node {
    pub(crate) up: bool,
    /// It answers nothing: frozen, or cut off.
    pub(crate) mute: bool,
    /// Since when.
    pub(crate) mute_since: u64,
    pub(crate) primary: bool,
    /// It commits without its standby.
    pub(crate) alone: bool,
    /// It has every commit of the leader.
    pub(crate) synced: bool,
    pub(crate) timeline: u32,
    pub(crate) incarnation: u64,
    pub(crate) rows: BTreeMap<u64, u32>,
}

/// One backend connection, both of its ends.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) node: usize,
    pub(crate) incarnation: u64,
    pub(crate) epoch: u64,
    pub(crate) state: BackendState,
    pub(crate) read: BytesMut,
    pub(crate) process: Process,
    /// Our end is open.
    pub(crate) open: bool,
    inbox: VecDeque<BytesMut>,
    outbox: VecDeque<BytesMut>,
    to_at: u64,
    from_at: u64,
}

/// A whole simulated world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    began: Instant,
    serial: u64,
    queue: BTreeMap<(u64, u64), News>,
    pub(crate) dice: Dice,
    pub(crate) nodes: Vec<Node>,
    pub(crate) leader: usize,
    /// To which node the name leads.
    pub(crate) name: usize,
    pub(crate) name_fails: bool,
    pub(crate) two_hosts: bool,
    /// The system connection: its number, node and incarnation.
    pub(crate) link: Option<(u64, usize, u64)>,
    pub(crate) conns: BTreeMap<u64, Conn>,
    pub(crate) slow: bool,
    /// The highest timeline that was ever led.
    pub(crate) led: u32,
    pub(crate) asleep_until: u64,
    pub(crate) figures: Figures,
    pub(crate) mutation: Option<Mutation>,
}

/// Plays `seed` to its end.
///
/// # Errors
/// What does not hold, with the seed and the time.
pub fn play(seed: u64, mutation: Option<Mutation>, began: Instant) -> Result<Figures, String> {
    let mut dice = Dice::new(seed);
    let standby = Node { up: true, synced: true, timeline: 1, ..Node::default() };
    let primary = Node { up: true, primary: true, timeline: 1, ..Node::default() };
    let clients = (0..CLIENTS).map(|number| {
        Client::new(Dice::new(seed ^ ((number + 1) << 40)), (number + 1) * 10_000, REQUESTS)
    });
    let mut owner = Owner::new(clients.collect(), mutation);
    let mut world = World {
        now: 0,
        began,
        serial: 0,
        queue: BTreeMap::new(),
        two_hosts: dice.once_in(2),
        dice,
        nodes: vec![primary, standby],
        leader: 0,
        name: 0,
        name_fails: false,
        link: None,
        conns: BTreeMap::new(),
        slow: false,
        led: 0,
        asleep_until: 0,
        figures: Figures::default(),
        mutation,
    };
    world.plan(0, News::Round);
    world.plan(300, News::Fault);
    world.plan(REPAIRED, News::Repair);
    for session in 0..owner.sessions.len() {
        world.plan(5, News::Speak(session));
    }
    let told = |why: String, now: u64| format!("seed {seed}, {now} ms, {mutation:?}: {why}");
    while let Some(((at, _), news)) = world.queue.pop_first() {
        world.now = at;
        if at > DONE_BY {
            return Err(told("a client still waits, although a leader is there".to_owned(), at));
        }
        if news.is_ours() && at < world.asleep_until {
            world.put(world.asleep_until, news);
            continue;
        }
        world.figures.steps += 1;
        if let Some(ours) = world.happens(news) {
            owner.hears(ours, &mut world).map_err(|why| told(why, at))?;
        }
        if at > REPAIRED && owner.is_done() {
            break;
        }
    }
    world.figures.epochs = owner.epochs();
    world.settle(&owner).map_err(|why| told(why, world.now))?;
    Ok(world.figures)
}

impl World {
    /// The present, for the core's machines.
    pub(crate) fn instant(&self) -> Instant {
        self.began + Duration::from_millis(self.now)
    }

    /// A moment of the core's machines in the world's time.
    pub(crate) fn moment(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    /// Has `news` happen in `wait` milliseconds.
    pub(crate) fn plan(&mut self, wait: u64, news: News) {
        self.put(self.now + wait, news);
    }

    fn put(&mut self, at: u64, news: News) {
        self.serial += 1;
        self.queue.insert((at, self.serial), news);
    }

    /// One way over the network.
    pub(crate) fn latency(&mut self) -> u64 {
        if self.slow { self.dice.between(100, 300) } else { self.dice.between(0, 3) }
    }

    pub(crate) fn node(&self, at: usize) -> &Node {
        self.nodes.get(at).expect("a node of this world")
    }

    pub(crate) fn node_mut(&mut self, at: usize) -> &mut Node {
        self.nodes.get_mut(at).expect("a node of this world")
    }

    /// Opens a backend connection.
    pub(crate) fn connect(&mut self, node: usize, epoch: u64) -> u64 {
        self.serial += 1;
        let conn = Conn {
            node,
            incarnation: self.node(node).incarnation,
            epoch,
            state: BackendState::default(),
            read: BytesMut::new(),
            process: Process::default(),
            open: true,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            to_at: self.now,
            from_at: self.now,
        };
        self.conns.insert(self.serial, conn);
        self.serial
    }

    /// Sends bytes to a node; they arrive although our end may be closed meanwhile.
    pub(crate) fn send(&mut self, number: u64, bytes: BytesMut) {
        let latency = self.latency();
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.to_at = conn.to_at.max(now + latency);
        conn.inbox.push_back(bytes);
        let at = conn.to_at;
        self.put(at, News::ToNode(number));
    }

    /// What happens at the nodes; hands on what concerns us.
    fn happens(&mut self, news: News) -> Option<News> {
        match news {
            News::ToNode(number) => self.arrive(number),
            News::ToOwner(number) => {
                let conn = self.conns.get(&number)?;
                if !conn.open {
                    return None;
                }
                if self.node(conn.node).mute {
                    self.plan(50, news);
                    return None;
                }
                let conn = self.conns.get_mut(&number)?;
                let bytes = conn.outbox.pop_front()?;
                conn.read.extend_from_slice(&bytes);
                return Some(News::ToOwner(number));
            }
            News::Fault => self.fault(),
            News::Thaw(node) => self.node_mut(node).mute = false,
            News::Restart(node) => self.restart(node),
            News::Return { node, alone } => self.come_back(node, alone),
            News::Promote(node) => self.promote(node),
            News::Name(node) => self.name = node,
            News::NameAnswers => self.name_fails = false,
            News::Fast => self.slow = false,
            News::Repair => self.repair(),
            News::Ended(_)
            | News::PoolDialled { .. }
            | News::Asked { .. }
            | News::Beat(_)
            | News::BeatAnswered { .. }
            | News::BeatLate { .. }
            | News::LinkEnded { .. }
            | News::Round
            | News::Serve
            | News::Tick
            | News::Held { .. }
            | News::Speak(_) => return Some(news),
        }
        None
    }

    fn arrive(&mut self, number: u64) {
        let Some(conn) = self.conns.get(&number) else { return };
        let (at, incarnation) = (conn.node, conn.incarnation);
        let node = self.node(at);
        if !node.up || node.incarnation != incarnation {
            return;
        }
        if node.mute {
            self.plan(50, News::ToNode(number));
            return;
        }
        let writes = if !node.primary {
            Writes::Refuses
        } else if at == self.leader || node.alone {
            Writes::Takes
        } else {
            Writes::Waits
        };
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let Some(bytes) = conn.inbox.pop_front() else { return };
        let mut out = BytesMut::new();
        let committed = conn.process.hear(&bytes, writes, &mut out);
        for row in committed {
            for index in 0..self.nodes.len() {
                let node = self.node_mut(index);
                if index == at || (node.synced && !node.primary) {
                    *node.rows.entry(row).or_default() += 1;
                }
            }
        }
        self.answer(number, out);
    }

    /// Sends what a node says, in pieces.
    fn answer(&mut self, number: u64, mut out: BytesMut) {
        while !out.is_empty() {
            let all = u64::try_from(out.len()).unwrap_or(u64::MAX);
            let length = if self.dice.once_in(3) { self.dice.between(1, all) } else { all };
            let piece = out.split_to(usize::try_from(length).unwrap_or(usize::MAX));
            let latency = self.latency();
            let now = self.now;
            let Some(conn) = self.conns.get_mut(&number) else { return };
            conn.from_at = conn.from_at.max(now + latency);
            conn.outbox.push_back(piece);
            let at = conn.from_at;
            self.put(at, News::ToOwner(number));
        }
    }

    /// Ends connections to `node`: all, or about half of them.
    pub(crate) fn cut(&mut self, node: usize, all: bool) {
        let open = self.conns.iter().filter(|(_, conn)| conn.node == node && conn.open);
        let numbers: Vec<_> = open.map(|(number, _)| *number).collect();
        for number in numbers {
            if all || self.dice.once_in(2) {
                let latency = self.latency();
                self.plan(latency, News::Ended(number));
            }
        }
    }
}
