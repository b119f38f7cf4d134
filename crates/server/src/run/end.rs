//! The ways to end: at once, after open transactions, after the last client has left.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::Parts;
use crate::backend::pool::Pools;
use crate::signals::Stops;

/// How long the source's leave may take.
pub(super) const WITHDRAW_MAX: Duration = Duration::from_secs(6);

/// How often it is said what is waited for.
const PROGRESS: Duration = Duration::from_secs(5);

/// Waits until every client has left by itself, up to `longest`. Nobody new is let in.
pub(super) async fn linger(
    parts: &Parts,
    stops: &mut Stops,
    pools: &Arc<Pools>,
    longest: Option<Duration>,
) {
    parts.accepting.cancel();
    parts.sessions.close();
    let until = longest.map(|longest| Instant::now() + longest);
    let deadline = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased; // told to stop, nobody is waited for
        signal = stops.next() => tracing::info!(signal, "told to stop: draining"),
        () = parts.sessions.wait() => tracing::info!("all clients have left"),
        () = deadline => tracing::info!(clients = parts.sessions.len(), "waited long enough"),
        () = progress(parts, pools, "waiting for clients to leave") => {}
    }
}

/// Lets open transactions finish, up to `longest`, and ends the rest.
pub(super) async fn drain(parts: Parts, stops: &mut Stops, pools: &Arc<Pools>, longest: Duration) {
    parts.accepting.cancel();
    parts.drain.cancel();
    parts.sessions.close();
    tokio::select! {
        biased; // whoever asks twice does not want to wait
        signal = stops.next() => tracing::warn!(signal, "asked again: ending at once"),
        drained = timeout(longest, parts.sessions.wait()) => {
            if drained.is_err() {
                tracing::warn!(clients = parts.sessions.len(), "ended with transactions open");
            }
        }
        () = progress(&parts, pools, "draining") => {}
    }
    parts.withdraw.cancel();
    if timeout(WITHDRAW_MAX, parts.withdrawn.cancelled()).await.is_err() {
        tracing::warn!("the source was not told that we are gone");
    }
    parts.stop.cancel();
    parts.background.close();
    // They have been told; what hangs on the network is not worth waiting for.
    drop(timeout(Duration::from_millis(500), parts.background.wait()).await);
    tracing::info!("stopped");
}

/// Says from time to time how many there still are. Never ends.
async fn progress(parts: &Parts, pools: &Arc<Pools>, what: &str) {
    let mut every = interval(PROGRESS);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every.tick().await;
    loop {
        every.tick().await;
        let lent: usize = pools.status().pools.iter().map(|pool| pool.counts.lent).sum();
        tracing::info!(clients = parts.sessions.len(), with_a_connection = lent, "{what}");
    }
}
