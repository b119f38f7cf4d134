//! What is sent again: what was refused by a node that does not lead, what met a plan that is out
//! of date, and a probe that lost its connection.

use std::sync::Arc;
use std::time::Duration;

use everline_core::pool::plan::PoolId;
use tokio::time::Instant;

use super::Session;
use crate::backend::lease::Lease;
use crate::backend::pool::{LeaseError, Pools, Terms};

/// How long the next leader is waited for before the same node is tried once more; meanwhile the
/// leader is asked whether it is one. Each further try waits twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A statement that was refused by a node that does not lead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// When it first was.
    since: Instant,
    /// The epoch of the node that refused it last.
    epoch: u64,
    pause: Duration,
}

/// Leases a connection; for what was refused before within what is left of the hold.
///
/// # Errors
/// As [`Pools::lease`].
///
/// # Cancel safety
/// Safe.
pub(super) async fn lease(
    pools: &Arc<Pools>,
    pool: PoolId,
    terms: Terms,
    again: Option<Again>,
) -> Result<Lease, LeaseError> {
    let Some(again) = again else { return pools.lease(pool, terms).await };
    let rest = || {
        let waited = again.since.elapsed();
        let left = terms.hold.saturating_sub(waited);
        if left.is_zero() { Err(LeaseError::NoLeader { held: waited }) } else { Ok(left) }
    };
    pools.reconsider(again.epoch, again.pause.min(rest()?)).await?;
    pools.lease(pool, Terms { hold: rest()?, ..terms }).await
}

impl Session {
    /// Ends the leased connection, whose node does not lead. What was sent on it is taken back and
    /// offered again, or else answered as lost.
    pub(super) fn turn_from_demoted(&mut self, takes_back: bool) {
        let Some(mut lease) = self.lease.take() else { return };
        let epoch = lease.backend().epoch;
        self.context.pools.reporter().suspect(epoch);
        self.again = Some(match self.again {
            None => Again { since: Instant::now(), epoch, pause: PAUSE_MIN },
            Some(Again { since, pause, .. }) => {
                Again { since, epoch, pause: (pause * 2).min(PAUSE_MAX) }
            }
        });
        let _ = self.cancel.slot.detach();
        lease.close();
        self.out.to_backend.clear();
        self.backend_unflushed = false;
        if !takes_back {
            let before = self.out.to_client.len();
            self.conversation.backend_lost(&mut self.out.to_client);
            if self.out.to_client.len() > before {
                self.again = None; // the client has its answer
            }
            return;
        }
        self.offer_again();
    }

    /// Ends the leased connection, which has a plan that is out of date, as those beside it have.
    /// What was sent on it is offered again.
    pub(super) fn turn_from_stale(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let _ = self.cancel.slot.detach();
        lease.close();
        self.out.to_backend.clear();
        self.backend_unflushed = false;
        self.context.pools.replan(self.pool.id());
        self.offer_again();
    }

    /// What was sent and not answered is offered again, as if it had come just now.
    pub(super) fn offer_again(&mut self) {
        let mut bytes = self.conversation.take_back();
        bytes.unsplit(std::mem::take(&mut self.input));
        self.input = bytes;
        self.wants = 0;
    }
}
