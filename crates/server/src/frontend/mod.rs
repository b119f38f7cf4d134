//! What clients meet: accept, log in, and carry each session's conversation.

pub mod accept;
pub mod cancel;
pub mod census;
pub mod doors;
pub mod gel;
pub mod login;
pub mod meter;
mod opening;
pub mod options;
mod patience;
pub mod prove;
pub mod pump;
pub mod roster;
pub mod session;
pub mod users;
mod visitor;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use everline_core::session::{Lending, Policy};
use everline_wire::auth::KEY_BYTES;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backend::dial::Login;
use crate::backend::pool::{Pools, Terms};
use crate::config::cidr::Cidr;
use crate::config::ident::Maps;
use crate::config::sharing::{Bounds, Sharing};
use crate::config::{AuthQuery, Door, PeersConfig, PoolMode};
use crate::metrics::Metrics;
use crate::net::tls::FrontendTls;
use cancel::Cancels;
use census::Census;
use doors::Doors;
use roster::Roster;
use users::{Asked, User};
pub use visitor::{CONSOLE, Role, Visitor};

/// What may change while clients are served: a reload swaps it whole.
#[derive(Debug)]
pub struct Live {
    /// The failure contract's settings; a session keeps those it began with.
    pub policy: Arc<Policy>,
    /// How everything is shared.
    pub sharing: Sharing,
    /// How long a statement waits for a leader.
    pub hold: Duration,
    /// How long a statement waits while its pool is paused.
    pub pause_hold: Duration,
    /// How long a statement waits for a leader after one that has announced its shutdown.
    pub shutdown_hold: Duration,
    /// How long a login may take.
    pub login_max: Duration,
    /// Longest message of a client, in bytes.
    pub message_bytes_max: usize,
    /// How clients prove who they are.
    pub door: Door,
    /// Who may be whom.
    pub maps: Maps,
    /// The map that `cert` and `peer` look at.
    pub map: Option<String>,
    /// What PostgreSQL is asked about users that no file names.
    pub auth_query: Option<AuthQuery>,
    /// Whether backends are logged in to as the DSN's user, with the client's user as its role.
    pub by_role: bool,
    /// Whose connections begin with a header of the PROXY protocol.
    pub proxies: Vec<Cidr>,
    /// Who may log in.
    pub users: BTreeMap<String, User>,
    /// TLS towards clients, where it is configured.
    pub tls: Option<FrontendTls>,
    /// Clients at the same time.
    pub clients_max: usize,
    /// How the DSN's own user logs in at the backend.
    pub backend_login: Login,
    /// Who may do what on the console.
    pub roles: BTreeMap<String, Role>,
}

/// What all sessions share.
#[derive(Debug)]
pub struct Context {
    /// Backend connections.
    pub pools: Arc<Pools>,
    /// Cancel keys.
    pub cancels: Arc<Cancels>,
    /// Who is connected.
    pub roster: Arc<Roster>,
    /// What `auth_query` has answered.
    pub asked: Asked,
    /// Clients by database and by user.
    pub census: Arc<Census>,
    /// Databases to which nobody new is let in.
    pub doors: Doors,
    /// Where clients of the console go.
    pub console: mpsc::Sender<Visitor>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Makes up verifiers for users that do not exist.
    pub mock_key: [u8; KEY_BYTES],
    /// Cancelled when the server is told to stop.
    pub drain: CancellationToken,
    /// Login answers that are known already.
    pub welcomes: login::Welcomes,
    live: RwLock<Arc<Live>>,
}

/// What a [`Context`] is made of.
#[derive(Debug)]
pub struct Shared {
    /// See [`Context`].
    pub pools: Arc<Pools>,
    /// See [`Context`].
    pub metrics: Arc<Metrics>,
    /// See [`Context`].
    pub mock_key: [u8; KEY_BYTES],
    /// See [`Context`].
    pub drain: CancellationToken,
    /// See [`Context`].
    pub console: mpsc::Sender<Visitor>,
    /// This process among several.
    pub peers: PeersConfig,
}

impl Context {
    /// What all sessions of a server share that has none yet.
    #[must_use]
    pub fn new(shared: Shared, live: Live) -> Self {
        let Shared { pools, metrics, mock_key, drain, console, peers } = shared;
        Self {
            pools,
            cancels: Cancels::new(peers),
            roster: Arc::default(),
            asked: Asked::default(),
            census: Arc::default(),
            doors: Doors::default(),
            console,
            metrics,
            mock_key,
            drain,
            welcomes: login::Welcomes::default(),
            live: RwLock::new(Arc::new(live)),
        }
    }

    /// What holds at this moment.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what holds, at once and whole. Sessions keep the policy that they began with.
    pub fn reload(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.asked.forget();
    }
}

impl Live {
    /// How long statements of a session wait.
    #[must_use]
    pub const fn terms(&self, bounds: &Bounds) -> Terms {
        Terms {
            hold: self.hold,
            query_wait: bounds.query_wait,
            shutdown: self.shutdown_hold,
            pause: self.pause_hold,
            bytes: 0,
        }
    }

    /// The policy of sessions that are lent connections in this way.
    #[must_use]
    pub fn policy_for(&self, mode: PoolMode) -> Arc<Policy> {
        let lending = match mode {
            PoolMode::Transaction => Lending::Transaction,
            PoolMode::Session => Lending::Session,
            PoolMode::Statement => Lending::Statement,
        };
        if self.policy.lending == lending {
            return Arc::clone(&self.policy);
        }
        Arc::new(Policy { lending, ..Policy::clone(&self.policy) })
    }
}
