//! The system connection: the one backend connection that is kept to learn about the leader. It is
//! never lent.
//!
//! [`Scout`] is the seam between what the supervisor decides and the network: it finds addresses
//! and asks who is there. [`keep()`] watches the connection that stands at the leader.

mod keep;
mod link;
mod probe;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use everline_core::ha::Identity;
use everline_wire::sqlstate::SqlState;
use tokio::time::Instant;

use super::connection::{Connection, QueryError};
use super::dial::{DialError, Dialer, Login};
use super::resolve::{ResolveError, Resolver};
use super::{Endpoint, OwnedFields};
use crate::config::dsn::{HostPort, TargetSessionAttrs};

pub use keep::{Beat, LinkEnd, Watch, keep};
pub use link::SystemLink;

/// Finds addresses and asks who is there.
pub trait Scout: Clone + Send + Sync + 'static {
    /// What a system connection is.
    type Link: Link;

    /// A connection that is logged in and was asked nothing.
    type Greeted: Send + 'static;

    /// Every address of one host, asked anew each time.
    ///
    /// Cancel safe.
    fn resolve(
        &self,
        host: &HostPort,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<Endpoint>, ResolveError>> + Send;

    /// Connects to one address and logs in by the deadline.
    ///
    /// Cancel safe: the socket is closed.
    fn greet(
        &self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Greeted, AskError>> + Send;

    /// Asks who answers on a connection, by the deadline.
    ///
    /// Cancel safe: the socket is closed.
    fn question(
        &self,
        greeted: Self::Greeted,
        deadline: Instant,
    ) -> impl Future<Output = Result<Found<Self::Link>, AskError>> + Send;

    /// Connects to one address, logs in and asks who answers: everything by the deadline.
    ///
    /// Cancel safe: the socket is closed.
    fn ask(
        &self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> impl Future<Output = Result<Found<Self::Link>, AskError>> + Send {
        async move {
            let greeted = self.greet(endpoint, deadline).await?;
            self.question(greeted, deadline).await
        }
    }
}

/// A connection that can be asked whether its server is in recovery.
pub trait Link: Send + 'static {
    /// Sends the question, without waiting for its answer.
    ///
    /// Not cancel safe: half a question may have been sent. Drop the link.
    fn ask(&mut self) -> impl Future<Output = Result<(), QueryError>> + Send;

    /// Waits for the answer, or for anything that comes unasked.
    ///
    /// Cancel safe.
    fn hear(&mut self) -> impl Future<Output = Result<Heard, QueryError>> + Send;
}

/// What came on the system connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// The answer: not in recovery.
    Primary,
    /// The answer, or a changed setting: in recovery.
    Standby,
    /// The answer is an error. The leader lives, but has not said what it is.
    Error(OwnedFields),
    /// 57P01 or 57P02, as an error or as a notice.
    ShuttingDown(OwnedFields),
    /// Something else; a sign of life.
    Other,
}

/// A primary that answered.
#[derive(Debug)]
pub struct Found<L> {
    /// Who it says it is.
    pub identity: Identity,
    /// Its settings as it reported them at the login.
    pub parameters: BTreeMap<String, String>,
    /// The connection over which it answered.
    pub link: L,
}

/// Why the answer of an address is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection stood, but the questions had no answer.
    #[error("the node did not say who it is: {0}")]
    Query(#[from] QueryError),
    /// It is in recovery.
    #[error("the node is a standby")]
    Standby,
    /// Its sessions may not write, and `target_session_attrs` asks for that.
    #[error("the node is read-only, and target_session_attrs asks for read-write")]
    ReadOnly,
}

impl AskError {
    /// Whether the node refused for want of a free slot (53300).
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Dial(error) => error.code() == Some(SqlState::TOO_MANY_CONNECTIONS),
            Self::Query(_) | Self::Standby | Self::ReadOnly => false,
        }
    }
}

/// The real network. Cheap to clone; the clones are one scout.
#[derive(Clone, Debug)]
pub struct SystemScout(Arc<RwLock<Arc<Ways>>>);

/// How a scout goes about it.
#[derive(Debug)]
struct Ways {
    resolver: Resolver,
    dialer: Dialer,
    login: Login,
    wanted: TargetSessionAttrs,
}

impl SystemScout {
    /// A scout that logs in as `login` and takes nodes that are as `wanted`.
    #[must_use]
    pub fn new(
        resolver: Resolver,
        dialer: Dialer,
        login: Login,
        wanted: TargetSessionAttrs,
    ) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Ways { resolver, dialer, login, wanted }))))
    }

    /// Goes about it as `other` does from here on, and so do the clones.
    pub fn become_as(&self, other: &Self) {
        let new = other.now();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn now(&self) -> Arc<Ways> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Scout for SystemScout {
    type Link = SystemLink;
    type Greeted = Connection;

    async fn resolve(
        &self,
        host: &HostPort,
        deadline: Instant,
    ) -> Result<Vec<Endpoint>, ResolveError> {
        self.now().resolver.endpoints(host, deadline).await
    }

    async fn greet(&self, endpoint: &Endpoint, deadline: Instant) -> Result<Connection, AskError> {
        // Boxed: a login's future is large, and many are under way at once.
        let ways = self.now();
        Ok(Box::pin(ways.dialer.dial(endpoint, &ways.login, deadline)).await?)
    }

    async fn question(
        &self,
        mut connection: Connection,
        deadline: Instant,
    ) -> Result<Found<SystemLink>, AskError> {
        let answer = probe::ask(&mut connection, deadline).await?;
        if answer.in_recovery {
            return Err(AskError::Standby);
        }
        if self.now().wanted == TargetSessionAttrs::ReadWrite && answer.read_only {
            return Err(AskError::ReadOnly);
        }
        let parameters = connection.parameters.clone();
        Ok(Found { identity: answer.identity, parameters, link: SystemLink::new(connection) })
    }
}
