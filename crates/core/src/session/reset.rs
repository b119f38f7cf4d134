//! Resets without a leader: what connection pools send to make a session as new.
//!
//! A session without a backend connection has nothing there that could be reset, so a text that
//! holds nothing but resets succeeds: when no leader is found for it, and when its connection is
//! lost before it answers. An error in its place would have the pool throw the client's connection
//! away, and drivers let it take the place of the error that the application has to see.

use bytes::BytesMut;
use everline_wire::backend::{self, Column, TransactionStatus};
use everline_wire::frame::{self, Header};
use everline_wire::frontend;
use everline_wire::sql::{self, Statement, Verb};
use everline_wire::tag::frontend as tag;

use super::conversation::{Conversation, Incoming};
use super::pin::Pins;
use super::pipeline::Request;
use super::settings::{Change, Key};
use super::transaction::Transaction;

/// The column of `SELECT pg_advisory_unlock_all()`, of type `void`.
const UNLOCKED: Column<'static> =
    Column { name: "pg_advisory_unlock_all", type_oid: 2278, type_bytes: 4 };

/// What a text of resets does, and the answer to it.
#[derive(Debug, Default)]
pub(super) struct Reset {
    changes: Vec<Change>,
    answer: BytesMut,
}

impl Reset {
    /// Reads a text; `None` unless it is resets and nothing else.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut reset = Self::default();
        let mut count = 0_usize;
        for statement in sql::statements(text) {
            count = count.saturating_add(1);
            reset.add(&statement)?;
        }
        // It must not stand among others.
        let discards = reset.changes.contains(&Change::DiscardAll);
        (count > 0 && (count == 1 || !discards)).then_some(reset)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other verb resets nothing")]
    fn add(&mut self, statement: &Statement<'_>) -> Option<()> {
        let tag = match &statement.verb {
            Verb::ResetAll => self.change(Change::ResetAll, "RESET"),
            Verb::DiscardAll => self.change(Change::DiscardAll, "DISCARD ALL"),
            Verb::Deallocate { name: None } => self.change(Change::DeallocateAll, "DEALLOCATE ALL"),
            Verb::Unlisten { all: true } => self.change(Change::UnlistenAll, "UNLISTEN"),
            Verb::CloseCursor { all: true } => "CLOSE CURSOR ALL",
            Verb::DiscardOther => discarded(statement.text)?,
            Verb::Reset { name } if is_identity(name) => {
                self.change(Change::Reset(Key::Setting((&**name).into())), "RESET")
            }
            Verb::Set { name } if is_identity(name) && says_default(statement.text) => {
                self.change(Change::Reset(Key::Setting((&**name).into())), "SET")
            }
            Verb::Select if statement.unlocks_all() => {
                backend::row_description(&mut self.answer, &[UNLOCKED]);
                backend::data_row(&mut self.answer, [Some(&b""[..])]);
                "SELECT 1"
            }
            _ => return None,
        };
        backend::command_complete(&mut self.answer, tag);
        Some(())
    }

    fn change(&mut self, change: Change, tag: &'static str) -> &'static str {
        self.changes.push(change);
        tag
    }
}

fn is_identity(name: &str) -> bool {
    ["role", "session_authorization"].contains(&name)
}

fn words(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Whether `SET SESSION AUTHORIZATION` or `SET ROLE` goes back to what the session began with.
fn says_default(text: &[u8]) -> bool {
    let known: [&[u8]; 2] = [b"default", b"none"];
    words(text).next_back().is_some_and(|last| known.iter().any(|k| last.eq_ignore_ascii_case(k)))
}

/// The tag of a `DISCARD` that is none of all.
fn discarded(text: &[u8]) -> Option<&'static str> {
    let what = words(text).nth(1)?;
    let known: [(&[u8], &str); 4] = [
        (b"temp", "DISCARD TEMP"),
        (b"temporary", "DISCARD TEMP"),
        (b"plans", "DISCARD PLANS"),
        (b"sequences", "DISCARD SEQUENCES"),
    ];
    known.iter().find(|(word, _)| what.eq_ignore_ascii_case(word)).map(|(_, tag)| *tag)
}

impl Conversation {
    /// Answers a message for which there is no leader, where it only resets; true when it did.
    ///
    /// Nothing is owed when this is called, and there is no lease.
    pub fn reset_without_leader(&mut self, message: &Incoming<'_>, out: &mut BytesMut) -> bool {
        let simple = message.tag == tag::QUERY && !message.is_cut();
        if !simple || !self.policy.local_resets || self.transaction != Transaction::None {
            return false;
        }
        let Ok(query) = frontend::Query::parse(message.body) else { return false };
        let Some(reset) = Reset::read(query.sql) else { return false };
        self.dress_first = false;
        self.reset(reset, out);
        true
    }

    /// The reset that was sent on the connection that is lost, if it is all that is owed and the
    /// client has heard nothing of its answer.
    pub(super) fn lost_reset(&self) -> Option<Reset> {
        let alone = self.pipeline.len() == 1
            && self.pipeline.open.is_none()
            && matches!(self.pipeline.first(), Some(Request::Query(_)));
        let unheard = self.kept.is_whole() && self.transaction == Transaction::None;
        if !alone || !unheard || !self.policy.local_resets {
            return None;
        }
        let bytes = self.kept.bytes();
        let header = frame::header(bytes).ok().flatten()?;
        let body = bytes.get(Header::BYTES..header.total())?;
        Reset::read(frontend::Query::parse(body).ok()?.sql)
    }

    /// Does what the reset says to what is kept here of the session, and answers it.
    pub(super) fn reset(&mut self, reset: Reset, out: &mut BytesMut) {
        for change in reset.changes {
            if matches!(change, Change::DiscardAll | Change::DeallocateAll) {
                self.names.clear();
            }
            if change == Change::DiscardAll {
                self.pins.remove(Pins::ALL_BUT_MODE);
            }
            self.journal.apply(change);
        }
        self.unpin();
        self.portals.clear();
        self.renew_unnamed(None); // as every simple query does
        out.extend_from_slice(&reset.answer);
        backend::ready_for_query(out, TransactionStatus::Idle);
    }
}

#[cfg(test)]
#[path = "reset_tests.rs"]
mod tests;
