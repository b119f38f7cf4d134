//! What clients meet: accept, log in, and carry each session's conversation.

pub mod accept;
pub mod cancel;
pub mod login;
pub mod meter;
pub mod options;
pub mod pump;
pub mod roster;
pub mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use everline_core::session::Policy;
use everline_wire::auth::KEY_BYTES;
use everline_wire::auth::secret::{ScramVerifier, Secret};
use tokio_util::sync::CancellationToken;

use crate::backend::dial::Login;
use crate::backend::pool::{Pools, Terms};
use crate::metrics::Metrics;
use crate::net::tls::FrontendTls;
use cancel::Cancels;
use roster::Roster;

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// By password, SCRAM-SHA-256 (and -PLUS under TLS).
    Scram,
    /// Not at all.
    Trust,
}

/// One user that may log in.
#[derive(Clone, Debug)]
pub struct User {
    /// What the client's password is checked against.
    pub verifier: ScramVerifier,
    /// The password for the backend, where it is known.
    pub password: Option<Secret>,
}

/// What may change while clients are served: a reload swaps it whole.
#[derive(Debug)]
pub struct Live {
    /// The failure contract's settings; a session keeps those it began with.
    pub policy: Arc<Policy>,
    /// How long statements wait.
    pub terms: Terms,
    /// How clients log in.
    pub method: Method,
    /// Who may log in.
    pub users: BTreeMap<String, User>,
    /// TLS towards clients, where it is configured.
    pub tls: Option<FrontendTls>,
    /// Clients at the same time.
    pub clients_max: usize,
    /// How the DSN's own user logs in at the backend.
    pub backend_login: Login,
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
}

impl Context {
    /// What all sessions of a server share that has none yet.
    #[must_use]
    pub fn new(shared: Shared, live: Live) -> Self {
        let Shared { pools, metrics, mock_key, drain } = shared;
        Self {
            pools,
            cancels: Arc::default(),
            roster: Arc::default(),
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
    }
}
