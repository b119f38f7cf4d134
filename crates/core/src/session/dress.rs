//! Bringing a connection to where a session's next statement can run on it: its settings, and the
//! beginning of a transaction that was answered here.

use std::sync::Arc;

use bytes::BytesMut;
use everline_wire::backend::{self, TransactionStatus};
use everline_wire::frontend;
use everline_wire::sqlstate::SqlState;

use super::backend_state::BackendState;
use super::conversation::{Conversation, Output, Step};
use super::pipeline::Request;
use super::survey::says_read_only;
use super::transaction::Transaction;

impl Conversation {
    /// Brings the leased connection to where this session's next statement can run on it; what to
    /// do first, if it cannot at once.
    ///
    /// A statement must not follow settings that may be refused: it would run under those of
    /// another client. So it waits for them; the replayed `BEGIN` travels with it.
    pub(super) fn make_ready(
        &mut self,
        backend: &mut BackendState,
        out: &mut Output,
    ) -> Option<Step> {
        if !self.pipeline.is_empty() {
            return None;
        }
        if matches!(self.transaction, Transaction::None | Transaction::Virtual(_)) {
            if backend.withheld {
                return Some(Step::Hold);
            }
            self.wear(backend, out);
            if !self.pipeline.is_empty() {
                return Some(Step::Wait);
            }
        }
        if let Transaction::Virtual(prefix) = &self.transaction {
            frontend::query(&mut out.to_backend, prefix.sql());
            self.pipeline.push(Request::Ours);
            self.asks_read_only |= says_read_only(prefix.sql());
            backend.unnamed_owner = None;
            self.transaction.told(TransactionStatus::InTransaction);
        }
        None
    }

    /// PostgreSQL's words when it did not take the session's settings.
    pub fn take_undressed(&mut self) -> Option<(SqlState, String)> {
        self.undressed.take()
    }

    /// Makes the connection wear this session's settings.
    pub fn wear(&mut self, backend: &mut BackendState, out: &mut Output) {
        self.journal.share(&mut backend.settings);
        let wanted = self.journal.committed();
        if !Arc::ptr_eq(wanted, &backend.settings) {
            let mut sql = Vec::new();
            wanted.difference(&backend.settings, &mut sql);
            let worn = std::mem::replace(&mut backend.settings, Arc::clone(wanted));
            if !sql.is_empty() {
                frontend::query(&mut out.to_backend, &sql);
                self.pipeline.push(Request::Dress(worn));
                backend.unnamed_owner = None;
                return;
            }
        }
        self.tell(backend, &mut out.to_client);
    }

    /// Tells the client the parameters that differ from what it was told last.
    pub(super) fn tell(&mut self, backend: &mut BackendState, to_client: &mut BytesMut) {
        if share(&mut self.told, &mut backend.parameters) {
            return;
        }
        for (name, value) in &*backend.parameters {
            if self.told.get(name) != Some(value) {
                backend::parameter_status(to_client, name, value);
            }
        }
        self.told = Arc::clone(&backend.parameters);
    }
}

/// Makes two that are equal one, for clients and connections to compare at a glance; true when they
/// are. Of several it is always the same one that stays, so all of them come to that.
pub(super) fn share<T: PartialEq>(left: &mut Arc<T>, right: &mut Arc<T>) -> bool {
    if Arc::ptr_eq(left, right) {
        return true;
    }
    if left != right {
        return false;
    }
    if Arc::as_ptr(left) < Arc::as_ptr(right) {
        *right = Arc::clone(left);
    } else {
        *left = Arc::clone(right);
    }
    true
}
