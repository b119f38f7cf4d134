//! What clients meet: accept, log in, and carry each session's conversation.

pub mod accept;
pub mod cancel;
pub mod login;
pub mod options;
pub mod pump;
pub mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use everline_core::session::Policy;
use everline_wire::auth::KEY_BYTES;
use everline_wire::auth::secret::{ScramVerifier, Secret};
use tokio_util::sync::CancellationToken;

use crate::backend::dial::Login;
use crate::backend::pool::{Pools, Terms};
use crate::metrics::Metrics;
use crate::net::tls::FrontendTls;
use cancel::Cancels;

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

/// What all sessions share.
#[derive(Debug)]
pub struct Context {
    /// Backend connections.
    pub pools: Arc<Pools>,
    /// Cancel keys.
    pub cancels: Arc<Cancels>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The failure contract's settings.
    pub policy: Arc<Policy>,
    /// How long statements wait.
    pub terms: Terms,
    /// How clients log in.
    pub method: Method,
    /// Who may log in.
    pub users: BTreeMap<String, User>,
    /// Makes up verifiers for users that do not exist.
    pub mock_key: [u8; KEY_BYTES],
    /// TLS towards clients, where it is configured.
    pub tls: Option<FrontendTls>,
    /// Clients at the same time.
    pub clients_max: usize,
    /// Cancelled when the server is told to stop.
    pub drain: CancellationToken,
    /// Login answers that are known already.
    pub welcomes: login::Welcomes,
    /// How the DSN's own user logs in at the backend.
    pub backend_login: Login,
}
