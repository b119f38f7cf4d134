//! One client's conversation: for each of its messages, forward, answer, or refuse.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use everline_wire::backend;
use everline_wire::fields::{Report, Severity};
use everline_wire::frontend;
use everline_wire::sqlstate::SqlState;
use everline_wire::tag::frontend as tag;

use super::backend_state::{BackendState, Parameters};
use super::kept::Kept;
use super::pin::Pins;
use super::pipeline::{Effects, Pipeline, Request};
use super::policy::{Lending, Policy};
use super::portals::Portals;
use super::settings::{Journal, Settings};
use super::statements::{Dropped, Names, Statement};
use super::survey::{Survey, leads_out};
use super::transaction::Transaction;
use crate::limits::PIPELINE_REQUESTS_MAX;
use crate::refusal::Refusal;

/// One message of the client: its header, and as much of its body as has been read.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The type byte.
    pub tag: u8,
    /// The length of the whole body, in bytes.
    pub body_bytes: usize,
    /// The body, or its beginning.
    pub body: &'a [u8],
}

impl Incoming<'_> {
    pub(super) const fn is_cut(&self) -> bool {
        self.body.len() < self.body_bytes
    }

    /// Writes the message as it came; the part of the body that is missing has to follow.
    pub(super) fn forward(&self, out: &mut BytesMut) {
        let length = u32::try_from(self.body_bytes.saturating_add(4)).unwrap_or(u32::MAX);
        out.put_u8(self.tag);
        out.put_u32(length);
        out.put_slice(self.body);
    }
}

/// Where the part of a message's body goes that had not been read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    /// To the backend.
    Forward,
    /// Nowhere.
    Discard,
}

/// What came of one message of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Done with; the rest of its body goes where the flow says.
    Taken(Flow),
    /// It needs a backend connection: lease one and offer it again, or call
    /// [`Conversation::refuse`].
    Lease,
    /// It begins something on a connection that may begin nothing at this moment: offer it again
    /// when it may, or call [`Conversation::refuse`].
    Hold,
    /// It has to be read whole before it can be judged.
    Whole,
    /// Too much is unanswered: offer it again after the backend has answered something.
    Wait,
    /// The client leaves, or has to; write what is in the buffer and close.
    Close,
}

/// The two buffers that a conversation writes into.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes for the backend connection.
    pub to_backend: BytesMut,
    /// Bytes for the client.
    pub to_client: BytesMut,
}

/// Answers of ours since the tally was last taken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Every refusal, by its code.
    pub refused: Vec<(SqlState, u32)>,
    /// Refusals that may be repeated.
    pub retryable: u32,
    /// Refusals that say that the outcome is unknown.
    pub unknown: u32,
    /// Statements that a backend has answered.
    pub statements: u32,
    /// Transactions, of one statement or several, that came to an end.
    pub transactions: u32,
}

impl Tally {
    pub(super) fn refuse(&mut self, code: SqlState) {
        match self.refused.iter_mut().find(|(known, _)| *known == code) {
            Some((_, times)) => *times = times.saturating_add(1),
            None => self.refused.push((code, 1)),
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Anything may come.
    Ready,
    /// An extended message was refused: all is skipped until Sync.
    SkipToSync,
    /// The next message is refused: nobody waited when there was something to say.
    Owing(Refusal),
    /// The next message is the last.
    Doomed(Refusal),
    /// Over.
    Closed,
}

/// The state of one client's session.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is pending, each for itself")]
pub struct Conversation {
    pub(super) id: u64,
    pub(super) policy: Arc<Policy>,
    pub(super) phase: Phase,
    pub(super) transaction: Transaction,
    pub(super) pipeline: Pipeline,
    pub(super) journal: Journal,
    pub(super) names: Names,
    pub(super) unnamed: Option<Statement>,
    pub(super) unnamed_serial: u64,
    pub(super) portals: Portals,
    pub(super) pins: Pins,
    pub(super) told: Arc<Parameters>,
    pub(super) copy_in: bool,
    /// Bytes of a large backend message that are still to be passed through.
    pub(super) streaming: usize,
    /// Whether the client has got a part of a message.
    pub(super) torn: bool,
    /// The backend has said something that makes its leadership doubtful.
    pub(super) doubtful: bool,
    /// A connection had a plan that is out of date.
    pub(super) stale: bool,
    /// The channels were on no connection for a while.
    pub(super) gap: bool,
    /// The next statement is answered when a connection wears the session's settings.
    pub(super) dress_first: bool,
    /// PostgreSQL did not take the session's settings, and said this.
    pub(super) undressed: Option<(SqlState, String)>,
    /// The first statement, until its answer begins.
    pub(super) kept: Kept,
    /// The client has asked for a transaction that only reads.
    pub(super) asks_read_only: bool,
    pub(super) tally: Tally,
}

impl Conversation {
    /// A session that has just logged in with these settings and was told these parameters.
    #[must_use]
    pub fn new(
        id: u64,
        policy: Arc<Policy>,
        settings: Arc<Settings>,
        told: Arc<Parameters>,
    ) -> Self {
        let mut pins = Pins::default();
        if policy.lending == Lending::Session {
            pins.add(Pins::SESSION_MODE);
        }
        Self {
            id,
            policy,
            phase: Phase::Ready,
            transaction: Transaction::None,
            pipeline: Pipeline::default(),
            journal: Journal::new(settings),
            names: Names::default(),
            unnamed: None,
            unnamed_serial: 0,
            portals: Portals::default(),
            pins,
            told,
            copy_in: false,
            streaming: 0,
            torn: false,
            doubtful: false,
            stale: false,
            gap: false,
            dress_first: false,
            undressed: None,
            kept: Kept::default(),
            asks_read_only: false,
            tally: Tally::default(),
        }
    }

    /// Whether the lease may go back to the pool.
    #[must_use]
    pub fn wants_release(&self) -> bool {
        self.pipeline.is_empty()
            && self.pins.is_empty()
            && !self.copy_in
            && self.streaming == 0
            && self.transaction == Transaction::None
    }

    /// Whether the backend connection could serve somebody else once this client is gone.
    #[must_use]
    pub fn leaves_clean(&self) -> bool {
        self.pipeline.is_empty()
            && !self.pins.leaves_state()
            && !self.copy_in
            && matches!(self.transaction, Transaction::None | Transaction::Virtual(_))
    }

    /// Whether the session could go on at once on another connection, as if nothing had happened:
    /// everything is answered, no transaction is open on this one, and all that it has there can be
    /// brought over.
    #[must_use]
    pub fn may_move(&self) -> bool {
        self.may_begin()
            && self.pins.unreplayable().is_none()
            && !self.copy_in
            && self.streaming == 0
    }

    /// Whether what comes next begins something: nothing is owed, and no real transaction is open.
    #[must_use]
    pub fn may_begin(&self) -> bool {
        self.pipeline.is_empty()
            && matches!(self.transaction, Transaction::None | Transaction::Virtual(_))
    }

    /// The leased connection is given up while the session [may move](Self::may_move).
    pub fn moves(&mut self) {
        self.portals.clear();
        self.gap |= self.listens();
    }

    /// Whether an answer of the backend is owed.
    #[must_use]
    pub fn awaits_backend(&self) -> bool {
        !self.pipeline.is_answered()
    }

    /// Whether the client has a transaction open, lost ones included.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction != Transaction::None
    }

    /// Whether the session is over: there is no way on from a message that was torn.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// What ties the session to its backend connection.
    #[must_use]
    pub const fn pins(&self) -> Pins {
        self.pins
    }

    /// Takes the answers counted since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Takes one message of the client.
    ///
    /// `backend` is the leased connection's state, if there is a lease.
    pub fn from_client(
        &mut self,
        message: &Incoming<'_>,
        backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Step {
        if message.tag == tag::TERMINATE {
            self.phase = Phase::Closed;
        }
        match &self.phase {
            Phase::Ready => {}
            Phase::Closed => return Step::Close,
            Phase::Doomed(refusal) => {
                let refusal = refusal.clone();
                self.refuse_with(&refusal, &mut out.to_client);
                self.phase = Phase::Closed;
                return Step::Close;
            }
            Phase::Owing(refusal) => {
                let refusal = refusal.clone();
                return self.pay(message.tag, &refusal, &mut out.to_client);
            }
            Phase::SkipToSync => return self.skip(message, &mut out.to_client),
        }
        let dressing = matches!(self.pipeline.first(), Some(Request::Dress(_)));
        if dressing || self.pipeline.len() >= PIPELINE_REQUESTS_MAX {
            return Step::Wait;
        }
        if let Some((code, words)) = self.take_undressed() {
            let severity = Severity::Error;
            let report = Report { severity, code, message: &words, detail: None, hint: None };
            self.refuse_as(message.tag, &report, &mut out.to_client);
            return Step::Taken(Flow::Discard);
        }
        if let Some(step) = self.refuse_transaction(message, &mut out.to_client) {
            return step;
        }
        let fresh = self.pipeline.is_empty() && self.transaction == Transaction::None;
        if fresh && backend.is_some() {
            self.kept.begin(message, self.pins); // else it is offered again
        }
        let step = match message.tag {
            tag::QUERY => self.query(message, backend, out),
            tag::PARSE => self.parse(message, backend, out),
            tag::BIND => self.bind(message, backend, out),
            tag::DESCRIBE => self.describe(message, backend, out),
            tag::EXECUTE => self.execute(message, backend, out),
            tag::CLOSE => self.close(message, backend, out),
            tag::SYNC => Ok(self.sync(message, backend.is_some(), out)),
            tag::FLUSH => Ok(self.flush(message, backend.is_some(), out)),
            tag::FUNCTION_CALL => Ok(self.function_call(message, backend, out)),
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {
                Ok(self.copy(message, backend.is_some(), out))
            }
            other => {
                Err(Refusal::Protocol { what: format!("invalid frontend message type {other}") })
            }
        };
        let step = step.unwrap_or_else(|refusal| {
            self.refuse_with(&refusal, &mut out.to_client);
            self.phase = Phase::Closed;
            Step::Close
        });
        if self.pipeline.is_empty() {
            self.kept.forget(); // answered here
        } else if self.pipeline.is_answered() {
            self.kept.answered();
        } else if matches!(step, Step::Taken(_)) && !fresh {
            self.kept.add(message);
        }
        step
    }

    /// Refuses the message that asked for a lease.
    pub fn refuse(&mut self, message_tag: u8, refusal: &Refusal, out: &mut BytesMut) {
        self.transaction.lose();
        self.refuse_with(refusal, out);
        self.end_refused(message_tag, out);
    }

    /// Refuses the message that asked for a lease in the backend's own words.
    pub fn refuse_as(&mut self, message_tag: u8, report: &Report<'_>, out: &mut BytesMut) {
        self.transaction.lose();
        report.error_response(out);
        self.end_refused(message_tag, out);
    }

    pub(super) fn end_refused(&mut self, message_tag: u8, out: &mut BytesMut) {
        self.dress_first = false;
        match message_tag {
            tag::QUERY | tag::FUNCTION_CALL => {
                backend::ready_for_query(out, self.transaction.status());
            }
            _ => self.phase = Phase::SkipToSync,
        }
    }

    /// What the client was told at its login.
    pub fn has_been_told(&mut self, parameters: Arc<Parameters>) {
        self.told = parameters;
    }

    /// Refuses what was to be refused at the next message that waits for an answer.
    fn pay(&mut self, message_tag: u8, refusal: &Refusal, out: &mut BytesMut) -> Step {
        match message_tag {
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL | tag::FLUSH => {}
            tag::QUERY | tag::FUNCTION_CALL | tag::SYNC => {
                self.phase = Phase::Ready;
                self.refuse_with(refusal, out);
                backend::ready_for_query(out, self.transaction.status());
            }
            _ => {
                self.phase = Phase::SkipToSync;
                self.refuse_with(refusal, out);
            }
        }
        Step::Taken(Flow::Discard)
    }

    fn skip(&mut self, message: &Incoming<'_>, out: &mut BytesMut) -> Step {
        if message.tag == tag::SYNC {
            self.phase = Phase::Ready;
            backend::ready_for_query(out, self.transaction.status());
        } else {
            self.phase = Phase::SkipToSync;
        }
        Step::Taken(Flow::Discard)
    }

    fn query(
        &mut self,
        message: &Incoming<'_>,
        backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Result<Step, Refusal> {
        let cut = message.is_cut();
        let sql = if cut {
            message.body
        } else {
            frontend::Query::parse(message.body).map_err(malformed)?.sql
        };
        if self.skips_open_segment() {
            return Ok(Step::Taken(Flow::Discard));
        }
        let mut backend = backend;
        if self.dress_first && self.pipeline.is_empty() {
            let Some(backend) = backend.as_deref_mut() else { return Ok(Step::Lease) };
            if backend.withheld {
                return Ok(Step::Hold);
            }
            self.dress_first = false;
            self.wear(backend, out);
            if !self.pipeline.is_empty() {
                return Ok(Step::Wait);
            }
        }
        if self.pipeline.is_empty() && !cut && self.answer_query(sql, &mut out.to_client) {
            self.renew_unnamed(None); // as every simple query does
            self.forget_portals(sql);
            return Ok(Step::Taken(Flow::Discard));
        }
        if self.is_lost() {
            return Ok(self.refuse_in_lost(&mut out.to_client)); // too long to be answered above
        }
        let Some(backend) = backend else { return Ok(Step::Lease) };
        if let Some(step) = self.make_ready(backend, out) {
            return Ok(step);
        }
        let mut survey = backend.surveyed.survey(sql, cut);
        let rewritten = self.mean_by_deallocate(&mut survey);
        self.have_something_to_deallocate(&survey, backend, out);
        self.forget_portals(sql);
        if matches!(self.transaction, Transaction::Real(_)) {
            self.bring_portals(backend, out);
        }
        let mut segment = self.pipeline.open.take().unwrap_or_default();
        segment.add_survey(&survey);
        segment.dropped.extend(self.take_effect(&survey, backend));
        self.renew_unnamed(None);
        backend.unnamed_owner = None;
        match rewritten {
            Some(sql) => frontend::query(&mut out.to_backend, &sql),
            None => message.forward(&mut out.to_backend),
        }
        self.pipeline.push(Request::Query(segment));
        Ok(Step::Taken(Flow::Forward))
    }

    fn refuse_in_lost(&mut self, out: &mut BytesMut) -> Step {
        self.refuse_with(&Refusal::TransactionLost, out);
        backend::ready_for_query(out, self.transaction.status());
        Step::Taken(Flow::Discard)
    }

    fn function_call(
        &mut self,
        message: &Incoming<'_>,
        backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Step {
        if self.skips_open_segment() {
            return Step::Taken(Flow::Discard);
        }
        if self.is_lost() {
            return self.refuse_in_lost(&mut out.to_client);
        }
        let Some(backend) = backend else { return Step::Lease };
        if let Some(step) = self.make_ready(backend, out) {
            return step;
        }
        let mut segment = self.pipeline.open.take().unwrap_or_default();
        segment.add(&super::survey::Control::Bound, false);
        backend.spoiled = true; // it may be set_config(), or take a lock
        message.forward(&mut out.to_backend);
        self.pipeline.push(Request::Query(segment));
        Step::Taken(Flow::Forward)
    }

    /// `CopyData` and its end; strays are swallowed, as PostgreSQL does after a failed COPY.
    ///
    /// A client may send them before it has heard that its COPY has begun (pgx does). They wait
    /// until that is known here: which segment they end, and which Syncs the backend ignores.
    fn copy(&mut self, message: &Incoming<'_>, leased: bool, out: &mut Output) -> Step {
        if leased && !self.copy_in && !self.pipeline.is_answered() {
            if !self.pipeline.flushed {
                self.pipeline.flushed = true; // else an answer might wait for the Sync behind this
                frontend::flush(&mut out.to_backend);
            }
            return Step::Wait;
        }
        if !leased || !self.copy_in {
            return Step::Taken(Flow::Discard);
        }
        if message.tag != tag::COPY_DATA {
            self.copy_in = false;
        }
        // After CopyFail nothing of the COPY can have been committed.
        if message.tag == tag::COPY_DONE
            && let Some(segment) = self.pipeline.current_segment_mut()
        {
            segment.effects.remove(Effects::COPY_OPEN);
        }
        message.forward(&mut out.to_backend);
        Step::Taken(Flow::Forward)
    }

    /// What a simple query does to portals: the unnamed one goes, and all where no transaction
    /// keeps them.
    fn forget_portals(&mut self, sql: &[u8]) {
        if self.transaction == Transaction::None && self.pipeline.is_empty() {
            self.portals.clear();
        } else if !everline_wire::sql::is_blank(sql) {
            self.portals.remove(b"");
        }
    }

    /// What a statement does to the session at the moment it is forwarded.
    pub(super) fn take_effect(&mut self, survey: &Survey, backend: &mut BackendState) -> Dropped {
        self.pins.add(survey.pins);
        self.asks_read_only |= survey.asks_read_only;
        self.transaction.forget_savepoints(survey);
        backend.spoiled |= survey.cut || survey.hides;
        let failed = matches!(self.transaction, Transaction::Failed(_));
        if failed && survey.sole().is_some_and(|control| !leads_out(control)) {
            return Dropped::new(); // it is certainly refused
        }
        if survey.discards {
            backend.prepared.clear();
            return self.names.take();
        }
        let Some((name, Some(statement))) = &survey.deallocates else { return Dropped::new() };
        backend.prepared.remove(statement.id());
        let old = self.names.remove(name.as_bytes());
        old.into_iter().map(|statement| (name.as_bytes().into(), statement)).collect()
    }

    /// Whether the backend skips what comes, because the segment that is open has failed.
    pub(super) fn skips_open_segment(&self) -> bool {
        self.pipeline.failed && self.pipeline.open.is_some() && self.pipeline.is_answered()
    }
}

/// Blames the client for a body that cannot be read.
pub(super) fn malformed(error: everline_wire::BodyError) -> Refusal {
    Refusal::Protocol { what: format!("invalid message format: {error}") }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
