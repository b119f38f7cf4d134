//! Connections for sessions that listen and say nothing.

use std::sync::Arc;
use std::time::Duration;

use everline_core::pool::plan::PoolId;
use tokio::time::sleep;

use super::{Pools, Terms};
use crate::backend::lease::Lease;

/// How a listener waits for a connection while there is a leader; then it queues again.
const TERMS: Terms = Terms {
    hold: Duration::ZERO,
    query_wait: Duration::from_mins(1),
    shutdown: Duration::ZERO,
    pause: Duration::ZERO,
    bytes: 0,
};

/// The longest time between two looks: the fence that passes or is moved on tells nobody.
const LOOK: Duration = Duration::from_secs(1);

impl Pools {
    /// Lends a connection when there is a leader and no pause, however long that takes.
    ///
    /// # Cancel safety
    /// Safe, as [`Pools::lease`] is.
    pub async fn lease_for_listener(self: &Arc<Self>, pool: PoolId) -> Lease {
        let (mut targets, mut pauses) = (self.targets.clone(), self.pauses.subscribe());
        loop {
            pauses.borrow_and_update();
            let available = targets.borrow_and_update().is_available();
            if available && !self.is_paused(pool) {
                match self.lease(pool, TERMS).await {
                    Ok(lease) => return lease,
                    Err(error) => tracing::debug!(%error, "no connection for a listener"),
                }
            }
            tokio::select! {
                biased; // news before the clock
                _ = targets.changed() => {}
                _ = pauses.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }
}
