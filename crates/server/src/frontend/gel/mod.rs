//! Clients of Gel's binary protocol: accept, log in, and carry each session's commands.
//!
//! Beside the frontend for PostgreSQL's clients, on the same pools, users and terms.

pub mod accept;
mod login;
mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use everline_core::session::gel::{Descriptions, GelPolicy};
use everline_wire_gel::state;

use super::Context;
use crate::backend::pool::PoolKey;
use crate::net::tls::FrontendTls;

/// Pairs of database and role whose descriptions are kept; beyond that all are forgotten.
const SHELVES_MAX: usize = 1_000;

/// What clients are told about idle sessions. We end none: with it they ask, before they use a
/// connection that has rested longer than that, whether it still is there.
const SESSION_IDLE: Duration = Duration::from_mins(1);

/// Connections that one client's pool may hold, as it is told.
const SUGGESTED: std::ops::RangeInclusive<usize> = 10..=100;

/// What all sessions of Gel's clients share.
#[derive(Debug)]
pub struct Gel {
    /// What the sessions of PostgreSQL's clients share as well.
    pub context: Arc<Context>,
    /// TLS, without which Gel's clients do not speak.
    pub tls: FrontendTls,
    /// What is the same for all sessions.
    pub policy: Arc<GelPolicy>,
    /// The database that clients get who name none.
    pub database: String,
    /// The role that clients get who name none.
    pub user: String,
    greeting: BytesMut,
    shelves: Mutex<BTreeMap<PoolKey, Shelf>>,
}

/// The descriptions that the sessions of one database and role share.
type Shelf = Arc<Mutex<Descriptions>>;

impl Gel {
    /// What is shared by sessions that do not exist yet; `connections_max` is the most backend
    /// connections there may be.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        tls: FrontendTls,
        policy: GelPolicy,
        (database, user): (String, String),
        connections_max: usize,
    ) -> Self {
        let pool = connections_max.clamp(*SUGGESTED.start(), *SUGGESTED.end());
        let greeting = login::greeting(&policy.state, pool, &state::system_config(SESSION_IDLE));
        let policy = Arc::new(policy);
        Self { context, tls, policy, database, user, greeting, shelves: Mutex::default() }
    }

    fn shelf(&self, key: &PoolKey) -> Shelf {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if shelves.len() >= SHELVES_MAX && !shelves.contains_key(key) {
            shelves.clear(); // sessions keep theirs
        }
        Arc::clone(shelves.entry(key.clone()).or_default())
    }
}
