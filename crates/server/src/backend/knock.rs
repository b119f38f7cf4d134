//! Knocking: does the leader still let anybody in?
//!
//! In a smart shutdown it does not, and says so to nobody whose connection stands: it waits for all
//! of them to go, the system connection and idle ones of pools included. Where pools have no reason
//! to dial, nobody would hear of it, and PostgreSQL would wait for ever.

use std::sync::Arc;
use std::time::Duration;

use everline_wire::sqlstate::SqlState;
use tokio::time::{Instant, sleep};

use super::pool::Pools;
use super::system::{AskError, Scout as _, SystemScout};

/// How often: seldom enough to be nothing beside an orchestrator's own probes, and soon enough for
/// a shutdown that waits for open transactions anyway.
const KNOCK_INTERVAL: Duration = Duration::from_secs(30);

/// Longest wait for a goodbye to be written.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Logs in at the leader from time to time, as the system connection does, each within
/// `dial_timeout`, and leaves; reports when it lets nobody in any more. While something is paused,
/// it stays away.
///
/// # Cancel safety
/// Safe: the socket is closed.
pub async fn knock(pools: Arc<Pools>, scout: SystemScout) {
    loop {
        sleep(KNOCK_INTERVAL).await;
        let target = pools.target();
        let _open = target.open.token(); // until the socket is closed
        let may_knock = target.is_available() && pools.pauses().is_empty();
        let Some(leader) = target.leader.as_ref().filter(|_| may_knock) else { continue };
        let dialled = async {
            let deadline = Instant::now() + pools.dial_timeout();
            match scout.greet(&leader.endpoint, deadline).await {
                Ok(connection) => connection.close(Instant::now() + GOODBYE_MAX).await,
                Err(AskError::Dial(error))
                    if error.code() == Some(SqlState::CANNOT_CONNECT_NOW) =>
                {
                    pools.reporter().dial_failed(target.epoch, &error);
                }
                Err(error) => tracing::debug!(%error, "knocked in vain"),
            }
        };
        tokio::select! {
            biased; // a socket of an epoch that is over is closed at once
            () = target.ended.cancelled() => {}
            () = dialled => {}
        }
    }
}
