//! How a session ends: because it has gone on for too long, or because one of the two has left.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use everline_core::refusal::Refusal;
use tokio::time::timeout;

use super::{Next, Session};
use crate::frontend::login;
use crate::frontend::patience::Overdue;
use crate::frontend::pump::poll_write_all;

/// How long the last words to a client may take.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

impl Session {
    /// Something has gone on for too long.
    pub(super) fn be_impatient(&mut self) -> Next {
        let refusal = match self.patience.overdue() {
            Overdue::Idle => Refusal::IdleTooLong,
            Overdue::IdleInTransaction => Refusal::IdleInTransactionTooLong,
            Overdue::Cancelled => Refusal::QueryTooLong,
            Overdue::Statement => {
                tracing::info!("statement runs for longer than query_timeout: cancelled");
                let (context, key) = (Arc::clone(&self.context), self.cancel.key());
                self.context.pools.spawn(async move {
                    context.cancels.cancel(key.0, &key.1, context.pools.dialer()).await;
                });
                return Next::Wait;
            }
        };
        tracing::info!(%refusal, "session ended");
        self.say(&refusal);
        Next::End
    }

    /// Ends the session: gives the connection back if it is clean, and says the last words.
    pub(super) async fn part(mut self: Box<Self>) {
        self.count();
        if let Some(lease) = self.lease.take() {
            let whole = self.out.to_backend.is_empty() && self.rest.1 == 0;
            let clean = self.conversation.leaves_clean();
            match (self.cancel.slot.detach() && clean, whole) {
                (true, true) => lease.give_back(),
                (false, true) if self.conversation.awaits_backend() => lease.abandon(),
                (false, true) => lease.close(),
                (_, false) => lease.close_mid_message(),
            }
        }
        let goodbye = poll_fn(|context| {
            poll_write_all(
                &mut self.client,
                &mut self.out.to_client,
                &mut self.client_unflushed,
                context,
            )
        });
        if let Ok(Ok(())) = timeout(GOODBYE_MAX, goodbye).await {
            login::close_gently(&mut self.client).await;
        }
    }
}
