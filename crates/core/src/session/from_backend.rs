//! The backend's messages: what goes on to the client, and what they say about the session.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use everline_wire::backend::{self, TransactionStatus};
use everline_wire::fields::{ErrorFields, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::sqlstate::SqlState;
use everline_wire::tag::backend as tag;

use super::backend_state::{BackendState, UNKNOWN_OWNER};
use super::conversation::Conversation;
use super::kept::{FirstWord, has_stale_plan};
use super::pin::Pins;
use super::pipeline::{Effects, Request, Segment};
use super::settings::{Change, Key};
use crate::limits::WHOLE_MESSAGE_BYTES_MAX;

/// What came of the bytes of a backend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Relayed {
    /// Everything that was whole is in the client's buffer.
    All,
    /// The same, and a word in it that a leader does not say: ask the leader whether it is one.
    Doubtful,
    /// The backend refuses the session's first statement as a node that does not lead, and nothing
    /// of its answer was given: end the connection, call [`Conversation::take_back`] and offer
    /// again what that returns.
    Demoted,
    /// The connection must not be used any longer: call [`Conversation::backend_lost`].
    Lost(Loss),
    /// It has a plan for a statement of the client whose columns have changed since, and nothing of
    /// that has gone to the client: end the connection and call [`Conversation::take_back`].
    Stale,
}

/// Why a backend connection is given up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Loss {
    /// PostgreSQL ended it.
    #[error("the backend ended the connection: {code} {message}")]
    Fatal {
        /// Its SQLSTATE.
        code: SqlState,
        /// Its message.
        message: String,
    },
    /// It did not take the session's settings or the replayed beginning of a transaction.
    #[error("session state could not be replayed: {message}")]
    Replay {
        /// PostgreSQL's message.
        message: String,
    },
    /// It refuses to write, which a leader does not.
    #[error("the backend refuses to write: it is not the leader")]
    Demoted,
    /// It said what cannot be at this point.
    #[error("unexpected message {tag:#04x} from the backend")]
    Protocol {
        /// The message's type byte.
        tag: u8,
    },
}

impl Loss {
    /// Whether the leader itself may be going, so that it should be asked at once.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        match self {
            Self::Fatal { code, .. } => shuts_down(*code),
            Self::Demoted => true,
            Self::Replay { .. } | Self::Protocol { .. } => false,
        }
    }
}

fn shuts_down(code: SqlState) -> bool {
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW]
        .contains(&code)
}

/// Whether a message comes when the backend likes, and is no part of an answer.
fn comes_unasked(rest: &[u8]) -> bool {
    matches!(rest.first(), Some(&(tag::PARAMETER_STATUS | tag::NOTIFICATION)))
}

/// What is done with one message.
enum Action {
    Forward,
    Swallow,
    Lost(Loss),
}

impl Conversation {
    /// Takes what was read from the leased backend connection, as far as it is whole.
    ///
    /// What goes on to the client is moved to `out`, without a copy when nothing is left out
    /// and `out` is empty. A message of more than [`WHOLE_MESSAGE_BYTES_MAX`] is passed through
    /// in pieces.
    pub fn relay(
        &mut self,
        backend: &mut BackendState,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Relayed {
        let mut run = Run::default();
        let relayed = loop {
            if self.streaming > 0 {
                let piece = self.streaming.min(input.len().saturating_sub(run.end));
                run.end = run.end.saturating_add(piece);
                self.streaming = self.streaming.saturating_sub(piece);
                if self.streaming > 0 {
                    break Relayed::All;
                }
                self.torn = false;
            }
            let Some(rest) = input.get(run.end..) else { break Relayed::All };
            let rows = self.rows(rest);
            if rows > 0 {
                run.end = run.end.saturating_add(rows);
                continue;
            }
            if self.kept.is_whole() && !comes_unasked(rest) {
                match self.first_word(backend, rest) {
                    FirstWord::Awaited => break Relayed::All,
                    FirstWord::Demoted => break Relayed::Demoted,
                    FirstWord::Farewell => {} // it is not passed on
                    FirstWord::Stale => break Relayed::Stale,
                    FirstWord::Other => self.kept.forget(),
                }
            }
            let header = match frame::header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break Relayed::All,
                Err(_) => break Relayed::Lost(Loss::Protocol { tag: 0 }),
            };
            let Some(body) = rest.get(Header::BYTES..header.total()) else {
                if header.total() <= WHOLE_MESSAGE_BYTES_MAX {
                    break Relayed::All;
                }
                if !self.may_stream(header.tag) {
                    break Relayed::Lost(Loss::Protocol { tag: header.tag });
                }
                self.streaming = header.total();
                self.torn = true;
                continue;
            };
            match self.message(backend, header.tag, body, out, &mut run, input) {
                Action::Forward => run.end = run.end.saturating_add(header.total()),
                Action::Swallow => {
                    run.flush(input, out);
                    run.end = run.end.saturating_add(header.total());
                    run.start = run.end;
                }
                Action::Lost(loss) => break Relayed::Lost(loss),
            }
            if self.owes_own_answer() {
                run.flush(input, out);
                self.answer_due(out);
            }
        };
        run.finish(input, out);
        let doubtful = std::mem::take(&mut self.doubtful);
        if relayed == Relayed::All && doubtful { Relayed::Doubtful } else { relayed }
    }

    /// How many bytes of whole rows `input` begins with that are passed on without a look: of an
    /// answer that is the client's, and of which it has had a part already.
    fn rows(&self, input: &[u8]) -> usize {
        let mut rows = 0_usize;
        if input.first() != Some(&tag::DATA_ROW) || self.kept.is_whole() {
            return rows;
        }
        if matches!(self.pipeline.first(), Some(Request::Ours | Request::Dress(_))) {
            return rows;
        }
        while let Some(rest) = input.get(rows..)
            && let Ok(Some(header)) = frame::header(rest)
            && header.tag == tag::DATA_ROW
            && header.total() <= rest.len()
        {
            rows = rows.saturating_add(header.total());
        }
        rows
    }

    fn may_stream(&self, tag: u8) -> bool {
        let ours = matches!(self.pipeline.first(), Some(Request::Ours | Request::Dress(_)));
        !ours && matches!(tag, tag::DATA_ROW | tag::COPY_DATA | tag::NOTICE)
    }

    fn owes_own_answer(&self) -> bool {
        matches!(
            self.pipeline.first(),
            Some(Request::ParseAnswered { .. } | Request::CloseAnswered(_))
        )
    }

    /// Gives our own answers whose turn has come.
    pub(super) fn answer_due(&mut self, out: &mut BytesMut) {
        loop {
            match self.pipeline.first() {
                Some(Request::ParseAnswered { .. }) => backend::parse_complete(out),
                Some(Request::CloseAnswered(_)) => backend::close_complete(out),
                Some(
                    Request::Parse { .. }
                    | Request::Bind { .. }
                    | Request::DescribeStatement
                    | Request::DescribePortal
                    | Request::Execute(_)
                    | Request::Close { .. }
                    | Request::Sync(_)
                    | Request::Query(_)
                    | Request::Dress(_)
                    | Request::Ours,
                )
                | None => return,
            }
            self.pipeline.pop();
        }
    }

    fn message(
        &mut self,
        backend: &mut BackendState,
        tag: u8,
        body: &[u8],
        out: &mut BytesMut,
        run: &mut Run,
        input: &[u8],
    ) -> Action {
        let unexpected = || Action::Lost(Loss::Protocol { tag });
        let ours = matches!(self.pipeline.first(), Some(Request::Ours | Request::Dress(_)));
        match tag {
            tag::PARAMETER_STATUS => self.parameter_status(backend, body, ours),
            tag::NOTICE => self.notice(body, ours),
            tag::NOTIFICATION => Action::Forward,
            tag::ERROR => self.error(backend, body, ours),
            tag::READY_FOR_QUERY => {
                let Ok(status) = backend::view::ready_for_query(body) else { return unexpected() };
                if !ours {
                    return self.segment_ends(status, backend);
                }
                run.flush(input, out);
                self.ours_ends(backend, out);
                Action::Swallow
            }
            _ if ours => Action::Swallow,
            tag::PARSE_COMPLETE => match self.pipeline.pop() {
                Some(Request::Parse { name: Some(_), .. }) => Action::Forward,
                Some(Request::Parse { name: None, .. }) => Action::Swallow,
                _ => unexpected(),
            },
            tag::BIND_COMPLETE => match self.pipeline.pop() {
                Some(Request::Bind { ours: false }) => Action::Forward,
                Some(Request::Bind { ours: true }) => Action::Swallow,
                _ => unexpected(),
            },
            tag::CLOSE_COMPLETE => match self.pipeline.pop() {
                Some(Request::Close { ours: false }) => Action::Forward,
                Some(Request::Close { ours: true }) => Action::Swallow,
                _ => unexpected(),
            },
            tag::ROW_DESCRIPTION | tag::NO_DATA => {
                if let Some(Request::DescribeStatement | Request::DescribePortal) =
                    self.pipeline.first()
                {
                    self.pipeline.pop();
                }
                Action::Forward
            }
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY | tag::PORTAL_SUSPENDED => {
                if let Some(Request::Execute(_)) = self.pipeline.first() {
                    self.pipeline.pop();
                }
                self.copy_in = false;
                self.tally.statements = self.tally.statements.saturating_add(1);
                Action::Forward
            }
            tag::COPY_IN => {
                self.copy_in = true;
                self.pipeline.drop_syncs_in_copy();
                if let Some(segment) = self.pipeline.current_segment_mut() {
                    segment.effects.add(Effects::COPY_OPEN);
                }
                Action::Forward
            }
            tag::DATA_ROW
            | tag::PARAMETER_DESCRIPTION
            | tag::COPY_OUT
            | tag::COPY_DATA
            | tag::COPY_DONE
            | tag::FUNCTION_CALL_RESPONSE => Action::Forward,
            _ => unexpected(),
        }
    }

    /// ReadyForQuery of a simple query of ours.
    fn ours_ends(&mut self, backend: &mut BackendState, out: &mut BytesMut) {
        if let Some(Request::Dress(worn)) = self.pipeline.pop() {
            if self.undressed.is_some() {
                backend.settings = worn; // refused as a whole
            } else {
                self.tell_of_gap(out);
            }
        }
        self.tell(backend, out);
    }

    fn parameter_status(&mut self, backend: &mut BackendState, body: &[u8], ours: bool) -> Action {
        let Ok((name, value)) = backend::view::parameter_status(body) else {
            return Action::Lost(Loss::Protocol { tag: tag::PARAMETER_STATUS });
        };
        if !backend.reports(name, value) {
            return Action::Lost(Loss::Protocol { tag: tag::PARAMETER_STATUS });
        }
        if ours || self.told.get(name).is_some_and(|told| **told == *value) {
            return Action::Swallow;
        }
        Arc::make_mut(&mut self.told).insert(name.into(), value.into());
        Action::Forward
    }

    fn notice(&mut self, body: &[u8], ours: bool) -> Action {
        let Ok(fields) = ErrorFields::parse(body) else {
            return Action::Lost(Loss::Protocol { tag: tag::NOTICE });
        };
        // "terminating connection because …" is not true of the client's connection.
        let dies = shuts_down(fields.code());
        self.doubtful |= dies;
        if ours || dies { Action::Swallow } else { Action::Forward }
    }

    fn error(&mut self, backend: &mut BackendState, body: &[u8], ours: bool) -> Action {
        let Ok(fields) = ErrorFields::parse(body) else {
            return Action::Lost(Loss::Protocol { tag: tag::ERROR });
        };
        let message = fields.message().into_owned();
        if matches!(fields.severity(), Severity::Fatal | Severity::Panic) {
            return Action::Lost(Loss::Fatal { code: fields.code(), message });
        }
        let refuses = fields.code() == SqlState::READ_ONLY_SQL_TRANSACTION;
        if refuses && !self.is_read_only(backend) {
            self.pipeline.refused = !ours;
            return Action::Lost(Loss::Demoted);
        }
        self.doubtful |= refuses;
        if let Some(Request::Dress(_)) = self.pipeline.first() {
            self.undressed = Some((fields.code(), message));
            return Action::Swallow;
        }
        if ours {
            return Action::Lost(Loss::Replay { message });
        }
        if has_stale_plan(body) {
            // A client that prepares it anew must not meet the same plan under the same name.
            backend.spoiled = true;
            self.stale = true;
        }
        self.segment_fails(backend);
        Action::Forward
    }

    /// An error answers the rest of the segment: the backend skips what else was in it.
    fn segment_fails(&mut self, backend: &mut BackendState) {
        self.pipeline.failed = true;
        self.copy_in = false;
        let skipped = self.pipeline.take_skipped();
        for request in &skipped {
            match request {
                Request::Parse { id: Some(id), .. } => backend.prepared.remove(*id),
                // It closed a statement that the connection still has, under a name that we
                // would give again.
                Request::Close { ours: true } => backend.spoiled = true,
                Request::Parse { id: None, .. } => backend.unnamed_owner = Some(UNKNOWN_OWNER),
                // The connection has statements that were taken off its list.
                Request::Query(segment)
                    if segment.effects.has(Effects::DISCARDS) || !segment.dropped.is_empty() =>
                {
                    backend.spoiled = true;
                }
                Request::Execute(dropped) if !dropped.is_empty() => backend.spoiled = true,
                Request::ParseAnswered { .. }
                | Request::Bind { .. }
                | Request::DescribeStatement
                | Request::DescribePortal
                | Request::Execute(_)
                | Request::Close { ours: false }
                | Request::CloseAnswered(_)
                | Request::Sync(_)
                | Request::Query(_)
                | Request::Dress(_)
                | Request::Ours => {}
            }
        }
        self.unsay(skipped.iter());
    }

    /// Takes back what requests that were never carried out have changed here: the last one first,
    /// so that a name given and closed, or closed and given, is again what it was.
    pub(super) fn unsay<'a>(&mut self, requests: impl DoubleEndedIterator<Item = &'a Request>) {
        for request in requests.rev() {
            match request {
                Request::Parse { name: Some(name), .. } | Request::ParseAnswered { name } => {
                    if name.is_empty() {
                        self.renew_unnamed(None);
                    } else {
                        self.names.remove(name);
                    }
                }
                Request::CloseAnswered(Some((name, statement))) if name.is_empty() => {
                    self.renew_unnamed(Some(statement.clone()));
                }
                Request::CloseAnswered(Some((name, statement))) => {
                    self.names.insert(name, statement.clone());
                }
                Request::Execute(dropped) | Request::Query(Segment { dropped, .. }) => {
                    for (name, statement) in dropped {
                        self.names.insert(name, statement.clone());
                    }
                }
                Request::Parse { name: None, .. }
                | Request::Bind { .. }
                | Request::DescribeStatement
                | Request::DescribePortal
                | Request::Close { .. }
                | Request::CloseAnswered(None)
                | Request::Sync(_)
                | Request::Dress(_)
                | Request::Ours => {}
            }
        }
    }

    /// ReadyForQuery: what the segment changed is in force, staged, or gone.
    fn segment_ends(&mut self, status: TransactionStatus, backend: &mut BackendState) -> Action {
        self.kept.ended();
        let before = self.transaction.status();
        let failed = std::mem::take(&mut self.pipeline.failed);
        self.copy_in = false;
        let mut segment = match self.pipeline.pop() {
            Some(Request::Sync(segment) | Request::Query(segment)) => segment,
            // A Sync that reached the backend just after its COPY had failed.
            None => self.pipeline.open.take().unwrap_or_default(),
            Some(_) => return Action::Lost(Loss::Protocol { tag: tag::READY_FOR_QUERY }),
        };
        self.transaction.told(status);
        if failed && (segment.effects.has(Effects::DISCARDS) || !segment.dropped.is_empty()) {
            backend.spoiled = true;
        }
        if failed {
            for (name, statement) in segment.dropped.drain(..) {
                self.names.insert(&name, statement);
            }
        }
        self.settle_settings(segment, before, status, failed, backend);
        if status == TransactionStatus::Idle {
            if self.pipeline.is_empty() {
                self.asks_read_only = false;
                self.portals.clear(); // else some may be those of segments further on
            }
            self.tally.transactions = self.tally.transactions.saturating_add(1);
        }
        Action::Forward
    }

    /// Whether a connection had a plan that is out of date, since this was last asked: those beside
    /// it have it too.
    pub fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    fn settle_settings(
        &mut self,
        mut segment: Segment,
        before: TransactionStatus,
        status: TransactionStatus,
        failed: bool,
        backend: &mut BackendState,
    ) {
        let changes = !segment.changes.is_empty();
        let splits =
            segment.effects.has(Effects::COMMITS) || segment.effects.has(Effects::ROLLS_BACK);
        let mixed =
            splits && (segment.statements > 1 || failed) && (changes || self.journal.has_staged());
        if mixed {
            // Which of its changes stand cannot be told without running it.
            backend.spoiled = true;
            self.pins.add(Pins::UNSEEN_SETTING);
        }
        let discarded = segment.changes.contains(&Change::DiscardAll);
        let mut whole = true;
        if !failed {
            whole = self.journal.stage(&mut segment.changes).is_ok();
        }
        if status != TransactionStatus::Idle {
            if !whole {
                backend.spoiled = true;
            }
            return;
        }
        let undone = failed
            || before == TransactionStatus::Failed
            || segment.effects.has(Effects::ROLLS_BACK);
        // Which statements of a segment that failed had prepared theirs, nobody can tell.
        let prepares = segment.changes.iter().any(Change::outlives_rollback);
        backend.spoiled |= prepares && segment.statements > 1;
        let worn = if undone { self.journal.roll_back() } else { self.journal.commit() };
        let (true, Ok(worn)) = (whole, worn) else {
            backend.spoiled = true;
            self.pins.add(Pins::UNSEEN_SETTING);
            return;
        };
        backend.settings = worn;
        if undone {
            return;
        }
        if !self.pipeline.is_empty() {
            return; // segments further on may have tied the session anew
        }
        if discarded {
            self.pins.remove(Pins::ALL_BUT_MODE);
        }
        self.unpin();
    }

    /// Unties the session from its connection where the journal has nothing left that ties it.
    pub(super) fn unpin(&mut self) {
        let committed = self.journal.committed();
        if !committed.any(|key| matches!(key, Key::Channel(_))) {
            self.pins.remove(Pins::LISTEN);
        }
        if !committed.any(|key| matches!(key, Key::Prepared(_))) {
            self.pins.remove(Pins::PREPARE);
        }
    }
}

/// The messages that go on to the client as they stand in the input.
#[derive(Debug, Default)]
struct Run {
    start: usize,
    end: usize,
}

impl Run {
    /// Moves the run to `out`, so that something of ours can follow it.
    fn flush(&mut self, input: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(input.get(self.start..self.end).unwrap_or_default());
        self.start = self.end;
    }

    fn finish(mut self, input: &mut BytesMut, out: &mut BytesMut) {
        if self.start == 0 && self.end == input.len() && out.is_empty() {
            std::mem::swap(input, out);
            return;
        }
        self.flush(input, out);
        input.advance(self.end);
    }
}
