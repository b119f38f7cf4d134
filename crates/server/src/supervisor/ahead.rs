//! Connecting ahead: to the node that a source will name as the leader, most likely, before it
//! does. Logging in is over then when the word comes. Nothing is dispatched meanwhile, and the
//! answer to the one question that matters, whether it is a primary, is asked for anew.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::debug;

use super::task::{Done, Supervisor};
use crate::backend::system::{AskError, Found, Scout};
use crate::backend::{Address, Endpoint};
use crate::config::dsn::HostPort;

/// The pause after an attempt that failed: the node may have to start first.
const PAUSE: Duration = Duration::from_millis(100);

/// The node that will lead.
#[derive(Debug)]
pub(super) struct Coming<G> {
    pub(super) host: HostPort,
    number: u64,
    greeted: Option<Greeted<G>>,
    /// Ends the attempts.
    _stop: DropGuard,
}

/// A connection with its place among the sockets that are open, given up after it.
#[derive(Debug)]
pub(super) struct Greeted<G> {
    endpoint: Endpoint,
    connection: G,
    open: TaskTrackerToken,
}

impl<S: Scout> Supervisor<S> {
    /// Connects ahead to this host, and to nobody else.
    pub(super) fn prepare(&mut self, host: HostPort) {
        self.forget_coming();
        self.links += 1;
        let number = self.links;
        let stop = CancellationToken::new();
        let (scout, open) = (self.scout.clone(), self.current.open.token());
        let (place, dial_timeout) = (host.clone(), self.settings.dial_timeout);
        let attempts = async move {
            loop {
                if let Some((endpoint, connection)) = greet(&scout, &place, dial_timeout).await {
                    return Greeted { endpoint, connection, open };
                }
                sleep(PAUSE).await;
            }
        };
        let stopped = stop.clone();
        self.tasks.spawn(async move {
            Done::Greeted(number, stopped.run_until_cancelled_owned(attempts).await)
        });
        self.coming = Some(Coming { host, number, greeted: None, _stop: stop.drop_guard() });
    }

    /// A connection stands, unless the attempts were ended.
    pub(super) fn greeted(&mut self, number: u64, greeted: Option<Greeted<S::Greeted>>) {
        let Some(coming) = self.coming.as_mut().filter(|coming| coming.number == number) else {
            return; // dropped: the source has spoken since
        };
        let Some(greeted) = greeted else { return };
        debug!(endpoint = %greeted.endpoint, "connected ahead");
        self.current.coming = Some(greeted.endpoint.clone());
        coming.greeted = Some(greeted);
        self.publish();
    }

    /// Closes the connection that was made ahead, and has the pools close theirs with what is
    /// published next.
    pub(super) fn forget_coming(&mut self) {
        self.coming = None;
        self.current.coming = None;
    }

    /// The connection that was made ahead to this address; given out once.
    pub(super) fn take_greeted(&mut self, address: &Address) -> Option<Greeted<S::Greeted>> {
        let coming = self.coming.as_mut()?;
        coming.greeted.take_if(|greeted| greeted.endpoint.address == *address)
    }
}

/// Asks on the connection that was made ahead; on a new one where there is none, or it broke.
pub(super) async fn ask<S: Scout>(
    scout: &S,
    endpoint: &Endpoint,
    ahead: Option<Greeted<S::Greeted>>,
    deadline: Instant,
) -> Result<Found<S::Link>, AskError> {
    let Some(Greeted { connection, open, .. }) = ahead else {
        return scout.ask(endpoint, deadline).await;
    };
    let _open = open;
    match scout.question(connection, deadline).await {
        Err(AskError::Dial(_) | AskError::Query(_)) => scout.ask(endpoint, deadline).await,
        answer => answer,
    }
}

async fn greet<S: Scout>(
    scout: &S,
    host: &HostPort,
    dial_timeout: Duration,
) -> Option<(Endpoint, S::Greeted)> {
    let deadline = Instant::now() + dial_timeout;
    for endpoint in scout.resolve(host, deadline).await.ok()? {
        match scout.greet(&endpoint, deadline).await {
            Ok(connection) => return Some((endpoint, connection)),
            Err(error) => debug!(%endpoint, %error, "no connection ahead"),
        }
    }
    None
}
