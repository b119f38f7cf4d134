//! Listening: a session whose connection is gone gets its channels back before it says anything.

use bytes::BytesMut;
use everline_wire::{backend, sql};

use super::backend_state::BackendState;
use super::conversation::{Conversation, Output, Phase};
use super::settings::Key;

/// What the notification says that Everline sends for each channel after a gap.
const GAP_PAYLOAD: &str = "everline:gap";

impl Conversation {
    /// Whether the session has channels.
    pub(super) fn listens(&self) -> bool {
        self.journal.committed().any(|key| matches!(key, Key::Channel(_)))
    }

    /// Whether notifications could be missed, were there no connection: the session listens, and
    /// nothing of it is under way.
    #[must_use]
    pub fn wants_to_listen(&self) -> bool {
        self.phase == Phase::Ready && self.may_begin() && !self.in_transaction() && self.listens()
    }

    /// Brings the session's channels, and all else that it has set, to a connection, without a
    /// statement of the client.
    pub fn listen_again(&mut self, backend: &mut BackendState, out: &mut Output) {
        if self.may_begin() {
            self.wear(backend, out);
        }
    }

    /// Tells the client that it may have missed something, once it listens again.
    pub(super) fn tell_of_gap(&mut self, out: &mut BytesMut) {
        if !std::mem::take(&mut self.gap) || !self.policy.tells_of_gaps {
            return;
        }
        for text in self.journal.committed().texts(|key| matches!(key, Key::Channel(_))) {
            let statement = sql::statements(text).next();
            if let Some(channel) = statement.as_ref().and_then(sql::Statement::channel) {
                backend::notification(out, &channel, GAP_PAYLOAD);
            }
        }
    }
}

#[cfg(test)]
#[path = "listening_tests.rs"]
mod tests;
