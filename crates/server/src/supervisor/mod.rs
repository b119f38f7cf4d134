//! The supervisor: one task that owns the failover machine, looks for the leader, keeps the system
//! connection and publishes where sessions may go.
//!
//! Everything that waits runs in tasks of its own and comes back as news; the supervisor itself
//! never waits for anything but news and its timer, so a name server or a node that hangs cannot
//! keep it from hearing of a better one. Nobody calls it: pool and sessions report through
//! [`Reporter`], and read [`Target`].

mod ahead;
mod configure;
mod fence;
mod pulse;
mod report;
mod search;
mod status;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use everline_core::ha::{Identity, Mode, UnhealthyMin};
use everline_core::retry::Pace;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Endpoint;
use crate::backend::system::Beat;
use crate::config::dsn::HostPort;
use crate::config::{BackendConfig, HaMode, Source};

pub use everline_core::ha::{Availability, Unavailable};
pub use fence::{Fence, boot_time};
pub use report::{Registration, Reporter};
pub use status::{Counters, HaStatus, StatusHandle};
pub use task::Supervisor;

/// Where new backend connections go, and whether they may.
#[derive(Clone, Debug)]
pub struct Target {
    /// The number of this reign.
    pub epoch: u64,
    /// The leader; `None` while none has been found in this epoch. It stays while it is looked for.
    pub leader: Option<Arc<Leader>>,
    /// Whether sessions may dispatch.
    pub availability: Availability,
    /// A node that will lead as soon as the source says so, and answers: connections to it may be
    /// made, and nothing may be dispatched on them.
    pub coming: Option<Endpoint>,
    /// Cancelled when the epoch is retired: every connection of it must be dropped.
    pub ended: CancellationToken,
    /// Until when the source vouches for the leader.
    pub fence: Fence,
    /// Holds one token for each socket towards a backend that is open, or being opened, since the
    /// source last spoke. A token is taken before [`Target::ended`] is looked at for the first
    /// time, and dropped after its socket.
    pub open: TaskTracker,
}

impl Target {
    /// Whether the leader has announced that it goes: nothing new begins, and a successor, or the
    /// leader itself after a restart, is to be expected.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.availability == Availability::Unavailable(Unavailable::ShuttingDown)
    }

    /// Whether sessions may dispatch, at this moment.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.availability.is_available() && self.fence.holds()
    }
}

/// The node that is written to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leader {
    /// Where it is. Every connection of the epoch goes to this address.
    pub endpoint: Endpoint,
    /// Who it says it is.
    pub identity: Identity,
    /// Its settings as it reported them to the system connection.
    pub parameters: BTreeMap<String, String>,
}

/// What the supervisor has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether failovers are concluded from evidence.
    pub mode: Mode,
    /// Where the leader may be.
    pub hosts: Vec<HostPort>,
    /// One deadline over connect, TLS, login and the first questions.
    pub dial_timeout: Duration,
    /// The pace of the heartbeat.
    pub beat: Beat,
    /// How often the names are asked while all is well.
    pub resolve_interval: Duration,
    /// How long a candidate that is not clearly right waits for others to answer.
    pub election_grace: Duration,
    /// Whether a node with another system identifier is accepted.
    pub accept_new_cluster: bool,
    /// Pool connections that there can be at most: bounds the channel of their reports.
    pub connections_max: usize,
    /// How often a leader is looked for while there is none.
    pub pace: Pace,
    /// Until when the source vouches for the leader.
    pub fence: Fence,
}

/// How long a candidate waits for others, where nothing else is set: longer than a login takes on
/// the way to any node of a cluster, and short beside the outage it is part of.
pub const ELECTION_GRACE: Duration = Duration::from_millis(200);

impl Settings {
    /// The settings that a configuration asks for.
    #[must_use]
    pub fn from_config(backend: &BackendConfig, connections_max: usize) -> Self {
        let mode = match backend.ha {
            HaMode::Fixed => Mode::Fixed,
            HaMode::Adaptive { disconnect_percent, unhealthy_min } => {
                let percent = everline_core::ha::Percent::new(disconnect_percent.get());
                let unhealthy_min = UnhealthyMin::new(unhealthy_min).unwrap_or(UnhealthyMin::MAX);
                match percent {
                    Some(disconnect_percent) => {
                        Mode::Adaptive { disconnect_percent, unhealthy_min }
                    }
                    None => Mode::ADAPTIVE,
                }
            }
        };
        let (pace, election_grace, fence) = match &backend.source {
            Source::Dsn => (Pace::SYSTEM_DIAL, ELECTION_GRACE, Fence::none()),
            // The source has elected: whoever answers at the announced address as a primary is it.
            Source::Stolon(_) => (Pace::ANNOUNCED_DIAL, Duration::ZERO, Fence::closed()),
        };
        Self {
            mode,
            hosts: backend.dsn.hosts.clone(),
            dial_timeout: backend.dial_timeout,
            beat: Beat { interval: backend.heartbeat_interval, timeout: backend.heartbeat_timeout },
            resolve_interval: backend.resolve_interval,
            election_grace,
            accept_new_cluster: backend.accept_new_cluster,
            connections_max,
            pace,
            fence,
        }
    }
}

/// What the rest of the process needs of the supervisor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where new connections go.
    pub target: watch::Receiver<Arc<Target>>,
    /// How pool and sessions report.
    pub reporter: Reporter,
    /// What console, page and metrics read.
    pub status: StatusHandle,
    /// How a source or the operator commands.
    pub control: Control,
}

/// Commands of sources and of the operator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control(mpsc::Sender<Command>);

/// A command.
#[derive(Debug)]
enum Command {
    Reconnect { forget: bool },
    Follow { word: Word, before: oneshot::Sender<TaskTracker> },
    Prepare(HostPort),
    Configure { settings: Box<Settings>, moved: Option<Moved>, done: oneshot::Sender<()> },
}

/// What a source says about the leader.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Word {
    /// Where the leader is; `None`: nobody may be followed.
    pub host: Option<HostPort>,
    /// What was known of the cluster before says nothing about this leader.
    pub forget: bool,
    /// Why, for log and history.
    pub why: String,
}

/// Settings that lead elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Moved {
    /// What was known of the cluster before says nothing about the next leader.
    pub forget: bool,
    /// Why, for log and history.
    pub why: String,
}

impl Control {
    /// Retires the epoch and looks for the leader anew.
    ///
    /// Cancel safe: the command is given or not.
    pub async fn reconnect(&self) {
        self.give(Command::Reconnect { forget: false }).await;
    }

    /// As [`Control::reconnect`], and forgets who the leader was: an older timeline or another
    /// cluster is accepted once. For the operator who has restored a backup.
    ///
    /// Cancel safe: the command is given or not.
    pub async fn reconnect_to_anyone(&self) {
        self.give(Command::Reconnect { forget: true }).await;
    }

    /// A source says where the leader is from here on: retires the epoch and looks for the leader
    /// there, and nowhere else.
    ///
    /// Where [`Control::prepare`] named the same place before, the connections that were made since
    /// go on, and count among those that are open.
    ///
    /// What is returned has a token for each socket towards a backend that was open before; it is
    /// closed, so that waiting for it ends when the last of them is.
    ///
    /// Cancel safe: the command is given or not.
    pub async fn follow(&self, word: Word) -> TaskTracker {
        let (before, answer) = oneshot::channel();
        self.give(Command::Follow { word, before }).await;
        answer.await.unwrap_or_else(|_| {
            // The supervisor has ended, and with it everything.
            let nothing = TaskTracker::new();
            nothing.close();
            nothing
        })
    }

    /// A source that names no leader says who will be the next one, most likely: connects there
    /// ahead, and dispatches nothing. [`Control::follow`] ends it.
    ///
    /// Cancel safe: the command is given or not.
    pub async fn prepare(&self, host: HostPort) {
        self.give(Command::Prepare(host)).await;
    }

    /// Other settings hold from here on. Where they lead elsewhere the epoch is retired, and the
    /// leader is looked for at the hosts and behind the fence of the new ones. Else the hosts and
    /// the fence stay those that are in force, and so does the epoch.
    ///
    /// When this returns it is done: where they lead elsewhere, nothing is dispatched any more to
    /// where they led before.
    ///
    /// Cancel safe: the command is given or not.
    pub async fn configure(&self, settings: Settings, moved: Option<Moved>) {
        let (done, is_done) = oneshot::channel();
        self.give(Command::Configure { settings: Box::new(settings), moved, done }).await;
        drop(is_done.await); // a supervisor that has ended dispatches nothing either
    }

    async fn give(&self, command: Command) {
        // A supervisor that has ended takes no commands: the process is going down.
        let _: Result<_, _> = self.0.send(command).await;
    }
}

/// How many commands may wait.
const COMMANDS_MAX: usize = 8;

/// A generator for the jitter, seeded by the operating system.
fn jitter() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}

#[cfg(test)]
#[path = "postgres_tests.rs"]
mod postgres_tests;
