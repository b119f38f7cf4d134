//! One backend connection in the pool's care, and its loan to a session.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use everline_core::limits::CANCEL_MAX;
use everline_core::pool::plan::PoolId;
use everline_core::session::BackendState;
use everline_wire::frontend;
use everline_wire::tag::backend as tag;
use std::pin::Pin;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Endpoint;
use super::connection::{BackendKey, Connection};
use super::pool::Pools;
use crate::net::end::End;
use crate::net::stream::Stream;
use crate::supervisor::{Fence, Registration, Target};

/// How long an abandoned statement is waited for after its cancellation.
const ABANDONED_MAX: Duration = Duration::from_secs(30);

/// A backend connection with all that is known of it.
#[derive(Debug)]
pub struct Backend {
    /// The socket.
    pub stream: Stream,
    /// Bytes read and not yet relayed.
    pub read: BytesMut,
    /// What it wears and knows.
    pub state: BackendState,
    /// The reign it was dialled in.
    pub epoch: u64,
    /// Cancelled when that reign is over.
    pub ended: CancellationToken,
    /// The same, as whoever holds the connection waits for it.
    pub end: End,
    /// How its statement is cancelled.
    pub place: Arc<Place>,
    /// Since when nobody uses it.
    pub idle_since: Instant,
    /// Since when somebody does, if somebody does.
    pub lent_at: Instant,
    /// When it has lived long enough; `None`: never.
    pub until: Option<Instant>,
    /// Until when the leader it leads to is vouched for.
    pub fence: Fence,
    registration: Registration,
}

/// How the statement of a backend connection is cancelled.
#[derive(Debug)]
pub struct Place {
    /// Where the connection leads to.
    pub endpoint: Endpoint,
    /// What PostgreSQL wants to hear.
    pub key: BackendKey,
    /// Cancelled when the reign is over that the connection belongs to.
    pub ended: CancellationToken,
    /// Whether it is encrypted.
    pub tls: bool,
    /// When it was opened.
    pub opened: Instant,
    /// The connection's own socket among those that are open; dropped after it.
    open: TaskTrackerToken,
}

impl Place {
    /// Counts another socket towards the same backend among those that are open.
    pub fn another(&self) -> TaskTrackerToken {
        self.open.clone()
    }
}

impl Backend {
    /// A connection fresh from its login.
    #[must_use]
    pub fn new(
        connection: Connection,
        target: &Target,
        registration: Registration,
        open: TaskTrackerToken,
        until: Option<Instant>,
    ) -> Self {
        let Connection { stream, read, endpoint, key, parameters } = connection;
        let parameters =
            parameters.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let now = Instant::now();
        let ended = target.ended.clone();
        let place = Place { endpoint, key, ended, tls: stream.is_tls(), opened: now, open };
        Self {
            stream,
            read,
            state: BackendState::new(parameters),
            epoch: target.epoch,
            ended: target.ended.clone(),
            end: End::of(&target.ended),
            place: Arc::new(place),
            idle_since: now,
            lent_at: now,
            until,
            fence: target.fence.clone(),
            registration,
        }
    }

    /// Whether a statement may be sent on it at this moment.
    #[must_use]
    pub fn may_dispatch(&self) -> bool {
        self.fence.holds()
    }

    /// Whether nothing has come since the last answer: no end, no FATAL, no stray byte.
    ///
    /// Asks the socket only when the runtime has seen it become readable.
    pub fn is_quiet(&mut self) -> bool {
        if !self.read.is_empty() || self.ended.is_cancelled() {
            return false;
        }
        let mut space = [0; 64];
        let Some(read) = self.stream.stray(&mut space) else { return true };
        if announces_shutdown(space.get(..read).unwrap_or_default()) {
            self.registration.suspect();
        }
        false
    }

    /// Ends the connection as one that we wanted to end, in the middle of a message of ours: a
    /// goodbye would be read as a part of it.
    pub fn close_mid_message(self) {
        drop(self.stream);
        self.registration.closed();
        drop(self.place);
    }

    /// Says goodbye, without waiting, and ends the connection as one that we wanted to end.
    pub fn close(mut self) {
        let mut goodbye = BytesMut::new();
        frontend::terminate(&mut goodbye);
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(error)) =
            Pin::new(&mut self.stream).poll_write(&mut context, &goodbye)
        {
            tracing::trace!(%error, "goodbye not sent");
        }
        self.close_mid_message();
    }

    /// Ends an idle connection: as one that broke if it has, else as one that we closed.
    pub fn end(mut self) {
        if self.ended.is_cancelled() || self.is_quiet() {
            self.close();
        }
        // Else dropped: its registration says that it broke.
    }
}

/// Whether these bytes begin with an error of which the leader's own shutdown may be the reason.
fn announces_shutdown(bytes: &[u8]) -> bool {
    let says = |code: &[u8]| bytes.windows(code.len()).any(|window| window == code);
    bytes.first() == Some(&tag::ERROR) && (says(b"\0C57P01\0") || says(b"\0C57P02\0"))
}

/// A backend connection lent to a session. Dropped after use without a word, it counts as broken.
#[derive(Debug)]
pub struct Lease {
    backend: Option<Box<Backend>>,
    pool: PoolId,
    pools: Arc<Pools>,
    used: bool,
}

impl Lease {
    pub(super) fn new(backend: Box<Backend>, pool: PoolId, pools: Arc<Pools>) -> Self {
        Self { backend: Some(backend), pool, pools, used: false }
    }

    /// The connection.
    ///
    /// # Panics
    /// Never: a lease holds its connection until it is consumed.
    pub fn backend(&mut self) -> &mut Backend {
        self.used = true;
        self.backend.as_mut().expect("a lease holds its connection until it is consumed")
    }

    /// Gives the connection back to the pool.
    pub fn give_back(self) {
        self.give_back_at(Instant::now());
    }

    /// The same, for those who know what time it is.
    pub fn give_back_at(mut self, now: Instant) {
        if let Some(backend) = self.backend.take() {
            self.pools.take_back(backend, self.pool, now);
        }
    }

    /// Ends the connection because we are done with it (its session leaves state behind).
    pub fn close(mut self) {
        if let Some(backend) = self.backend.take() {
            backend.close();
            self.pools.lost(self.pool);
        }
    }

    /// As [`Lease::close`], with a message of ours half written.
    pub fn close_mid_message(mut self) {
        if let Some(backend) = self.backend.take() {
            backend.close_mid_message();
            self.pools.lost(self.pool);
        }
    }

    /// The session has left while its statement runs: has it cancelled, and counts the connection
    /// until the backend has let go of it, so that the budget is what PostgreSQL sees.
    pub fn abandon(mut self) {
        let Some(mut backend) = self.backend.take() else { return };
        let (pools, pool) = (Arc::clone(&self.pools), self.pool);
        self.pools.spawn(async move {
            let ended = backend.ended.clone();
            let place = Arc::clone(&backend.place);
            let deadline = Instant::now() + CANCEL_MAX;
            let release = async {
                let dialer = pools.dialer();
                if let Err(error) = dialer.cancel(&place.endpoint, &place.key, deadline).await {
                    tracing::debug!(%error, "abandoned statement not cancelled");
                }
                let mut goodbye = BytesMut::new();
                frontend::terminate(&mut goodbye);
                let mut answer = [0_u8; 4096];
                if backend.stream.write_all(&goodbye).await.is_ok() {
                    while matches!(backend.stream.read(&mut answer).await, Ok(1..)) {}
                }
            };
            tokio::select! {
                biased; // an epoch that is over has no budget
                () = ended.cancelled() => {}
                released = timeout(ABANDONED_MAX, release) => {
                    if released.is_err() {
                        tracing::debug!("the backend has not let go of an abandoned statement");
                    }
                }
            }
            backend.close_mid_message();
            pools.lost(pool);
        });
    }

    /// The connection ended by itself.
    pub fn broken(mut self) {
        self.used = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(backend) = self.backend.take() else { return };
        if self.used {
            drop(backend);
            self.pools.lost(self.pool);
        } else {
            // Granted to a session that went away before it could use it.
            self.pools.take_back(backend, self.pool, Instant::now());
        }
    }
}
