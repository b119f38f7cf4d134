//! What is answered without a backend: transaction control before the first real statement, the
//! end of a lost transaction, and the probes and resets of connection pools.

use bytes::BytesMut;
use everline_wire::backend;
use everline_wire::fields::{Report, Severity};
use everline_wire::sql::{self, Statement, Verb};
use everline_wire::sqlstate::SqlState;

use super::conversation::Conversation;
use super::settings::Change;
use super::survey::is_probe;
use super::transaction::{Prefix, Transaction};
use crate::limits::PREFIX_BYTES_MAX;
use crate::refusal::Refusal;

/// The tag of `BEGIN` or `START TRANSACTION`.
fn begin_tag(text: &[u8]) -> &'static str {
    if text.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b's')) {
        "START TRANSACTION"
    } else {
        "BEGIN"
    }
}

fn no_transaction(out: &mut BytesMut) {
    Report {
        severity: Severity::Warning,
        code: SqlState::NO_ACTIVE_SQL_TRANSACTION,
        message: "there is no transaction in progress",
        detail: None,
        hint: None,
    }
    .notice_response(out);
}

impl Conversation {
    /// Answers a simple query without a backend, if that can be done; true when it was.
    ///
    /// Nothing is owed when this is called, so the answer comes in its turn.
    pub(super) fn answer_query(&mut self, sql: &[u8], out: &mut BytesMut) -> bool {
        if sql::begins_with_work(sql) && !self.is_lost() && !self.policy.answer_select_1 {
            return false;
        }
        let mut statements = sql::statements(sql);
        let first = statements.next();
        let sole = statements.next().is_none();
        let answered = match first {
            None => {
                let answers = self.policy.local_probes || self.is_lost();
                if answers {
                    backend::empty_query(out);
                }
                answers
            }
            Some(statement) if self.is_probe(&statement, sole) => {
                Self::answer_probe(out);
                true
            }
            Some(statement) => match &self.transaction {
                Transaction::None => sole && self.answer_outside(&statement, out),
                Transaction::Virtual(_) => sole && self.answer_in_virtual(&statement, out),
                Transaction::Real(_) => sole && self.answer_deallocate(&statement, out),
                Transaction::Failed(_) => false,
                Transaction::Lost(_) => self.answer_in_lost(&statement, sole, out),
            },
        };
        if answered {
            backend::ready_for_query(out, self.transaction.status());
        }
        answered
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other verb needs a backend")]
    pub(super) fn answer_outside(&mut self, statement: &Statement<'_>, out: &mut BytesMut) -> bool {
        match &statement.verb {
            Verb::Begin { plain: true, .. } => {
                self.transaction = Transaction::Virtual(Prefix::begin(statement.text));
                backend::command_complete(out, begin_tag(statement.text));
                true
            }
            Verb::Commit { chain: false, plain: true } => {
                no_transaction(out);
                backend::command_complete(out, "COMMIT");
                true
            }
            Verb::Rollback { chain: false } => {
                no_transaction(out);
                backend::command_complete(out, "ROLLBACK");
                true
            }
            _ => self.answer_deallocate(statement, out) || self.answer_reset(&statement.verb, out),
        }
    }

    fn is_probe(&self, statement: &Statement<'_>, sole: bool) -> bool {
        let outside = matches!(self.transaction, Transaction::None | Transaction::Virtual(_));
        self.policy.answer_select_1 && sole && outside && is_probe(statement.text)
    }

    /// Resets of a session that is not tied to a connection: its state lives here.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other verb needs a backend")]
    fn answer_reset(&mut self, verb: &Verb<'_>, out: &mut BytesMut) -> bool {
        if self.pins.leaves_state() || !self.policy.local_resets {
            return false;
        }
        let (change, tag) = match verb {
            Verb::ResetAll => (Change::ResetAll, "RESET"),
            Verb::DiscardAll => (Change::DiscardAll, "DISCARD ALL"),
            Verb::Deallocate { name: None } => (Change::DeallocateAll, "DEALLOCATE ALL"),
            Verb::Unlisten { all: true } => (Change::UnlistenAll, "UNLISTEN"),
            Verb::CloseCursor { all: true } => {
                self.portals.clear();
                backend::command_complete(out, "CLOSE CURSOR ALL");
                return true;
            }
            _ => return false,
        };
        if matches!(change, Change::DiscardAll | Change::DeallocateAll) {
            self.names.clear();
        }
        if change == Change::DiscardAll {
            self.portals.clear();
        }
        let resets = matches!(change, Change::ResetAll | Change::DiscardAll);
        self.dress_first = resets && self.journal.has_changed();
        self.journal.apply(change);
        if self.dress_first {
            // A backend says which values are in force again, before the client goes on; then
            // this is answered.
            return false;
        }
        backend::command_complete(out, tag);
        true
    }

    /// `DEALLOCATE` of a statement prepared by protocol: backends know it by another name.
    fn answer_deallocate(&mut self, statement: &Statement<'_>, out: &mut BytesMut) -> bool {
        let Verb::Deallocate { name: Some(name) } = &statement.verb else { return false };
        if self.names.remove(name.as_bytes()).is_none() {
            return false;
        }
        backend::command_complete(out, "DEALLOCATE");
        true
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other verb needs a backend")]
    pub(super) fn answer_in_virtual(
        &mut self,
        statement: &Statement<'_>,
        out: &mut BytesMut,
    ) -> bool {
        let Transaction::Virtual(prefix) = &mut self.transaction else { return false };
        if prefix.sql().len().saturating_add(statement.text.len()) > PREFIX_BYTES_MAX {
            return false; // from here on the backend holds it
        }
        let tag = match &statement.verb {
            Verb::Commit { chain: false, plain: true } => {
                self.transaction = Transaction::None;
                "COMMIT"
            }
            Verb::Rollback { chain: false } => {
                self.transaction = Transaction::None;
                "ROLLBACK"
            }
            Verb::SetTransaction { plain: true } => {
                prefix.push(statement.text);
                "SET"
            }
            Verb::Savepoint(name) => {
                prefix.savepoint(name, statement.text);
                "SAVEPOINT"
            }
            Verb::RollbackTo(name) if prefix.roll_back_to(name) => "ROLLBACK",
            Verb::Release(name) if prefix.release(name, statement.text) => "RELEASE",
            _ => return self.answer_deallocate(statement, out),
        };
        backend::command_complete(out, tag);
        true
    }

    /// In a lost transaction every statement is answered here; true unless the client has left
    /// it and goes on with another statement in the same text.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other verb is refused")]
    fn answer_in_lost(
        &mut self,
        statement: &Statement<'_>,
        sole: bool,
        out: &mut BytesMut,
    ) -> bool {
        match &statement.verb {
            Verb::Rollback { chain: false } => {
                self.transaction = Transaction::None;
                if sole {
                    backend::command_complete(out, "ROLLBACK");
                }
                sole
            }
            Verb::Commit { plain: true, .. } => {
                self.transaction = Transaction::None;
                if self.policy.silent_rollback && sole {
                    backend::command_complete(out, "ROLLBACK");
                } else {
                    self.refuse_with(&Refusal::TransactionLost, out);
                }
                true
            }
            Verb::RollbackTo(name) if sole && self.back_to(name) => {
                backend::command_complete(out, "ROLLBACK");
                true
            }
            _ => {
                self.refuse_with(&Refusal::TransactionLost, out);
                true
            }
        }
    }

    /// Goes from a lost transaction back to a savepoint set before its first real statement.
    pub(super) fn back_to(&mut self, savepoint: &str) -> bool {
        let Transaction::Lost(prefix) = &mut self.transaction else { return false };
        if !self.policy.restart_savepoint || !prefix.roll_back_to(savepoint) {
            return false;
        }
        let prefix = std::mem::take(prefix);
        self.transaction = Transaction::Virtual(prefix);
        true
    }
}
