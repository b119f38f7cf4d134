//! The pools of backend connections: `core::pool::plan` with sockets.
//!
//! One lock over all pools, held for a few comparisons and never across a wait. A lease *is* the
//! connection, moved into the session that holds it.

mod ahead;
mod dialling;
mod lending;
mod listeners;
mod member;
mod pause;
mod reconfigure;
mod renew;
mod spec;
mod upkeep;
mod wait;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use everline_core::pool::plan::{Counts, Plan, PoolId};
use everline_core::session::backend_state::Parameters;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Endpoint;
use super::dial::{DialError, Dialer, Login};
use super::lease::{Backend, Lease};
use crate::metrics::histogram::{Histogram, WAITS};
use crate::supervisor::{Reporter, Target};
use ahead::Ahead;

pub use member::Member;
pub use pause::{Pauses, Resumed, Scope};
pub use spec::PoolSpec;

/// The pause after a first dial that failed; each further one doubles it.
const DIAL_PAUSE_MIN: Duration = Duration::from_millis(20);

/// The pool that serves one database and user.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PoolKey {
    /// The database, as the client named it.
    pub database: String,
    /// The role.
    pub user: String,
}

/// How long a statement may wait.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// For a leader; zero: not at all.
    pub hold: Duration,
    /// For a connection while there is a leader.
    pub query_wait: Duration,
    /// For a leader after one that announced its shutdown; not shorter than `hold`.
    pub shutdown: Duration,
    /// For the end of a pause.
    pub pause: Duration,
    /// What it holds in memory meanwhile, in bytes.
    pub bytes: usize,
}

/// Why there is no lease.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LeaseError {
    /// No leader in time.
    #[error("no leader within {held:?}")]
    NoLeader {
        /// How long the statement was held.
        held: Duration,
    },
    /// The pause has lasted too long.
    #[error("paused for {held:?}")]
    Paused {
        /// How long the statement was held.
        held: Duration,
    },
    /// No connection became free in time.
    #[error("no backend connection became free within {waited:?}")]
    Exhausted {
        /// How long the statement waited.
        waited: Duration,
    },
    /// Too many statements are held already.
    #[error("too many statements are held")]
    TooManyHeld,
    /// The backend does not let this user or database in.
    #[error("{0}")]
    Refused(Arc<DialError>),
}

type Grant = Result<Lease, Arc<DialError>>;

struct Waiter {
    ticket: u64,
    since: Instant,
    grant: oneshot::Sender<Grant>,
}

struct Pool {
    key: PoolKey,
    login: Arc<Login>,
    /// What the last connection reported after its login.
    parameters: Arc<Parameters>,
    /// Connections that it had when the last epoch ended.
    had: usize,
    /// Sessions that it serves, whether they have a connection or not.
    members: usize,
    /// What was opened before is closed when it is given back.
    renewed: Instant,
    /// When it last was because of plans that were out of date.
    replanned: Option<Instant>,
    /// No dial before this instant: the last one failed.
    not_before: Instant,
    /// The pause after the next failure.
    pause: Duration,
    #[expect(clippy::vec_box, reason = "a connection moves in and out with each transaction")]
    idle: Vec<Box<Backend>>,
    waiters: VecDeque<Waiter>,
}

struct Inner {
    plan: Plan,
    by_key: BTreeMap<PoolKey, PoolId>,
    pools: BTreeMap<PoolId, Pool>,
    groups: spec::Groups,
    /// Connections to the node that will lead.
    ahead: Vec<Ahead>,
    /// The epoch that was swept last.
    epoch: u64,
    next_pool: u32,
    next_ticket: u64,
}

/// All pools.
pub struct Pools {
    inner: Mutex<Inner>,
    targets: watch::Receiver<Arc<Target>>,
    reporter: Reporter,
    dialer: Dialer,
    settings: RwLock<PoolSettings>,
    /// Whether another process has half of the budget.
    shared: AtomicBool,
    /// Wakes the driver where sessions have begun to wait.
    waits: Notify,
    tasks: TaskTracker,
    held: AtomicUsize,
    held_total: AtomicUsize,
    held_bytes: AtomicUsize,
    /// Changed under the lock of `inner` alone.
    pauses: watch::Sender<Arc<Pauses>>,
    /// A connection has come back or gone.
    returned: Notify,
    gauges: Gauges,
}

/// How long things took, over all pools.
#[derive(Debug)]
pub struct Gauges {
    /// Waits for a free connection, those that were in vain included; a statement that found one
    /// at once has not waited.
    pub wait: Histogram,
    /// Waits for a leader.
    pub hold: Histogram,
    /// Dials that led to a connection.
    pub dial: Histogram,
    /// Dials that led to none.
    pub dials_failed: AtomicU64,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

/// What [`Pools::new`] needs to know.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Backend connections over all pools, the system connection not counted.
    pub connections_max: usize,
    /// Connections that are dialled at the same time.
    pub dials_max: usize,
    /// The deadline of one dial.
    pub dial_timeout: Duration,
    /// After how long without use a connection is closed.
    pub idle_max: Duration,
    /// After how long a connection is closed, once nobody uses it; zero: never.
    pub lifetime_max: Duration,
    /// Statements that wait at the same time, for a connection or for a leader.
    pub waiters_max: usize,
    /// Statements held at the same time.
    pub held_max: usize,
    /// What they may hold in memory together, in bytes.
    pub held_bytes_max: usize,
}

/// How many sessions and connections there are.
#[derive(Clone, Debug, Default)]
pub struct PoolsStatus {
    /// Statements that wait for a leader at this moment.
    pub held: usize,
    /// Statements that have waited for a leader since the start.
    pub held_total: usize,
    /// Bytes of statements that are held at this moment.
    pub held_bytes: usize,
    /// What is paused.
    pub pauses: Arc<Pauses>,
    /// The most connections that there may be, the system connection not counted.
    pub budget: usize,
    /// Each pool.
    pub pools: Vec<PoolReport>,
}

/// One pool at one moment.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// Which.
    pub key: PoolKey,
    /// Connections and waiting sessions.
    pub counts: Counts,
    /// Sessions that it serves.
    pub sessions: usize,
    /// How long the session has waited that has waited longest.
    pub longest_wait: Duration,
}

/// A connection that nobody uses, for those who watch.
#[derive(Clone, Debug)]
pub struct IdleReport {
    /// The pool it belongs to.
    pub key: PoolKey,
    /// Where it leads to.
    pub endpoint: Endpoint,
    /// The backend's process.
    pub process_id: u32,
    /// Whether it is encrypted.
    pub tls: bool,
    /// When it was opened.
    pub opened: Instant,
    /// Since when nobody uses it.
    pub idle_since: Instant,
}

impl Pools {
    /// Pools without a connection.
    #[must_use]
    pub fn new(
        settings: PoolSettings,
        targets: watch::Receiver<Arc<Target>>,
        reporter: Reporter,
        dialer: Dialer,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let inner = Inner {
            plan: Plan::new(settings.connections_max, settings.dials_max),
            by_key: BTreeMap::new(),
            pools: BTreeMap::new(),
            groups: spec::Groups::default(),
            ahead: Vec::new(),
            epoch: 0,
            next_pool: 0,
            next_ticket: 0,
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            targets,
            reporter,
            dialer,
            settings: RwLock::new(settings),
            shared: AtomicBool::new(false),
            waits: Notify::new(),
            tasks,
            held: AtomicUsize::new(0),
            held_total: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            pauses: watch::Sender::new(Arc::default()),
            returned: Notify::new(),
            gauges: Gauges {
                wait: Histogram::new(WAITS),
                hold: Histogram::new(WAITS),
                dial: Histogram::new(WAITS),
                dials_failed: AtomicU64::new(0),
            },
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counts are brought up to date in single steps, so a panic elsewhere leaves them whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How statements and connections tell that a leader lives.
    #[must_use]
    pub const fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// How cancel requests reach a backend.
    #[must_use]
    pub const fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The leader that is followed, if any.
    #[must_use]
    pub fn target(&self) -> Arc<Target> {
        Arc::clone(&self.targets.borrow())
    }

    /// Whether there is a leader to which statements may be sent.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.targets.borrow().is_available()
    }

    /// The pool of `key`, made when it is the first of its kind.
    ///
    /// What `spec` says holds from then on, also where the pool is there already: a password may
    /// have changed.
    pub fn pool(self: &Arc<Self>, key: &PoolKey, spec: PoolSpec) -> Member {
        let mut inner = self.lock();
        let limits = inner.groups.limits(key, &spec);
        if let Some(id) = inner.by_key.get(key) {
            let id = *id;
            if let Some(pool) = inner.pools.get_mut(&id) {
                pool.members = pool.members.saturating_add(1);
                let mut login = spec.login;
                if login.keys.is_none() && login.user == pool.login.user {
                    // This client has shown none; those of another are as good.
                    login.keys.clone_from(&pool.login.keys);
                }
                pool.login = Arc::new(login);
            }
            inner.plan.set_limits(id, limits);
            return Member::new(Arc::clone(self), id);
        }
        let id = PoolId(inner.next_pool);
        inner.next_pool = inner.next_pool.saturating_add(1);
        inner.by_key.insert(key.clone(), id);
        let pool = Pool {
            key: key.clone(),
            login: Arc::new(spec.login),
            had: 0,
            parameters: Arc::default(),
            members: 1,
            renewed: Instant::now(),
            replanned: None,
            not_before: Instant::now(),
            pause: DIAL_PAUSE_MIN,
            idle: Vec::new(),
            waiters: VecDeque::new(),
        };
        inner.pools.insert(id, pool);
        inner.plan.set_limits(id, limits);
        Member::new(Arc::clone(self), id)
    }

    /// What there is, for those who watch.
    #[must_use]
    pub fn status(&self) -> PoolsStatus {
        let inner = self.lock();
        let report = |(key, id): (&PoolKey, &PoolId)| {
            let pool = inner.pools.get(id);
            let oldest = pool.and_then(|pool| pool.waiters.front());
            PoolReport {
                key: key.shown(),
                counts: inner.plan.counts(*id),
                sessions: pool.map_or(0, |pool| pool.members),
                longest_wait: oldest.map_or(Duration::ZERO, |waiter| waiter.since.elapsed()),
            }
        };
        let pools = inner.by_key.iter().map(report).collect();
        PoolsStatus {
            budget: inner.plan.budget(),
            held: self.held.load(Ordering::Relaxed),
            held_total: self.held_total.load(Ordering::Relaxed),
            held_bytes: self.held_bytes.load(Ordering::Relaxed),
            pools,
            pauses: self.pauses(),
        }
    }

    /// The connections that nobody uses, for those who watch.
    #[must_use]
    pub fn idle(&self) -> Vec<IdleReport> {
        let inner = self.lock();
        let report = |pool: &Pool, backend: &Backend| IdleReport {
            key: pool.key.shown(),
            endpoint: backend.place.endpoint.clone(),
            process_id: backend.place.key.process_id,
            tls: backend.stream.is_tls(),
            opened: backend.place.opened,
            idle_since: backend.idle_since,
        };
        let all = inner.pools.values();
        all.flat_map(|pool| pool.idle.iter().map(|backend| report(pool, backend))).collect()
    }

    /// How long things took.
    #[must_use]
    pub const fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Runs something that outlives the session that asked for it; it is waited for when the
    /// server ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// The parameters that the leader reported last to the system connection.
    #[must_use]
    pub fn leader_parameters(&self) -> Option<Parameters> {
        self.target().leader.as_ref().map(|leader| {
            leader.parameters.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into())).collect()
        })
    }
}
