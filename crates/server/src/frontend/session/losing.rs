//! The leased connection ends, or its leader does: its last words, and what the client is told.

use std::time::Duration;

use everline_core::session::{Flow, Relayed};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::Session;

/// How long a retired backend connection is read for words that are on their way.
const LAST_WORDS_MAX: Duration = Duration::from_millis(5);

/// The same, where the leader has announced its shutdown.
const LAST_WORDS_IN_ORDER: Duration = Duration::from_secs(1);

impl Session {
    /// The epoch is over: what the old leader has said already still counts.
    ///
    /// The runtime may not have seen it yet, so it is waited for, for a moment.
    pub(super) async fn last_words_of_backend(&mut self) {
        // A leader that goes in order closes its connections itself, when it has said everything.
        let in_order = self.context.pools.target().is_leaving();
        let until = Instant::now() + if in_order { LAST_WORDS_IN_ORDER } else { LAST_WORDS_MAX };
        while self.conversation.awaits_backend() {
            let Some(lease) = &mut self.lease else { return };
            let backend = lease.backend();
            let read = timeout_at(until, backend.stream.read_buf(&mut backend.read)).await;
            if !matches!(read, Ok(Ok(1..))) {
                return;
            }
            let (state, read) = (&mut backend.state, &mut backend.read);
            match self.conversation.relay(state, read, &mut self.out.to_client) {
                Relayed::All | Relayed::Doubtful => {}
                Relayed::Demoted => return self.turn_from_demoted(true),
                Relayed::Stale => return self.turn_from_stale(),
                Relayed::Lost(_) => return, // as it is about to be told
            }
        }
    }

    /// The leased connection is gone: the client gets the answers that it is owed.
    pub(super) fn lose(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let _ = self.cancel.slot.detach();
        lease.broken();
        self.out.to_backend.clear();
        self.backend_unflushed = false;
        if self.rest.0 == Flow::Forward {
            self.rest.0 = Flow::Discard;
        }
        if self.conversation.awaits_probe() {
            return self.offer_again();
        }
        self.conversation.backend_lost(&mut self.out.to_client);
    }
}
