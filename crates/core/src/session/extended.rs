//! The extended query protocol: prepared statements on whichever connection, portals, segments.

use std::sync::Arc;

use bytes::BytesMut;
use everline_wire::backend;
use everline_wire::frontend::{self, Target};
use everline_wire::sql::begins_with_work;

use super::backend_state::BackendState;
use super::conversation::{Conversation, Flow, Incoming, Output, Step, malformed};
use super::pipeline::{Effects, Request};
use super::portals::Portal;
use super::statements::{Dropped, Statement, StatementId};
use super::survey::{Control, Survey, leads_out};
use super::transaction::Transaction;
use crate::limits::{
    INSPECT_BYTES_MAX, PREPARED_BYTES_PER_CLIENT_MAX, PREPARED_PER_BACKEND_MAX,
    PREPARED_STATEMENT_BYTES_MAX,
};
use crate::refusal::Refusal;

/// The message went nowhere; the client has its answer.
const ANSWERED: Result<Step, Refusal> = Ok(Step::Taken(Flow::Discard));
/// What stands on a connection for a name that is given twice in a failed transaction.
const TWICE: &str = "everline_twice";
/// The message went to the backend.
const FORWARDED: Result<Step, Refusal> = Ok(Step::Taken(Flow::Forward));

impl Conversation {
    /// Whether the client's transaction is lost and there is no backend to ask.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.transaction, Transaction::Lost(_))
    }

    /// Refuses an extended message of a lost transaction.
    fn refuse_lost(&mut self, out: &mut BytesMut) -> Result<Step, Refusal> {
        self.refuse_with(&Refusal::TransactionLost, out);
        self.phase = super::conversation::Phase::SkipToSync;
        ANSWERED
    }

    pub(super) fn parse(
        &mut self,
        message: &Incoming<'_>,
        mut backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Result<Step, Refusal> {
        if self.skips_open_segment() {
            return ANSWERED;
        }
        let unnamed = message.body.first() == Some(&0);
        if message.is_cut() {
            if message.body_bytes <= PREPARED_STATEMENT_BYTES_MAX {
                return Ok(Step::Whole);
            }
            if !unnamed {
                return Err(too_large("a named prepared statement is too long"));
            }
            if message.body.len() < INSPECT_BYTES_MAX {
                return Ok(Step::Whole);
            }
            return self.parse_cut(message, backend, out);
        }
        let parse = frontend::Parse::parse(message.body).map_err(malformed)?;
        if backend.is_none() && self.surely_needs_backend(parse.sql) {
            return Ok(Step::Lease);
        }
        let known = self.unnamed.as_ref().filter(|known| {
            let same = parse.name.is_empty() && known.is(parse.sql, parse.types_raw);
            same && known.survey().is_plain() && !self.is_lost()
        });
        if let (Some(known), Some(backend)) = (known.cloned(), backend.as_deref_mut()) {
            return Ok(self.parse_unnamed(known, None, message, backend, out));
        }
        let mut survey = match &mut backend {
            Some(backend) => backend.surveyed.survey(parse.sql, false),
            None => Arc::new(Survey::of(parse.sql, false)),
        };
        if self.parse_here(&parse, &survey, &mut out.to_client)? {
            return ANSWERED;
        }
        if self.is_lost() {
            if !survey.leaves_lost() {
                return self.refuse_lost(&mut out.to_client);
            }
        } else if backend.is_none() {
            return Ok(Step::Lease);
        }
        let rewritten = self.mean_by_deallocate(&mut survey);
        let sql = rewritten.as_deref().unwrap_or(parse.sql);
        let statement = Statement::new(sql, parse.types_raw, survey);
        let Some(backend) = backend else {
            self.remember(parse.name, statement)?;
            backend::parse_complete(&mut out.to_client);
            return ANSWERED;
        };
        if parse.name.is_empty() {
            return Ok(self.parse_unnamed(statement, rewritten, message, backend, out));
        }
        let known = self.names.get(parse.name).map(Statement::id);
        if self.doubts(known) || self.doubts(Some(statement.id())) {
            return Ok(Step::Wait);
        }
        if let Some(step) = self.make_ready_for_extended(backend, out) {
            return Ok(step);
        }
        self.pipeline.open.get_or_insert_default();
        self.parse_named(parse.name, statement, backend, out)?;
        ANSWERED
    }

    /// Whether a text can be seen at a glance to be none that is answered here.
    fn surely_needs_backend(&self, sql: &[u8]) -> bool {
        begins_with_work(sql) && !self.is_lost() && !self.policy.answer_select_1
    }

    fn parse_named(
        &mut self,
        name: &[u8],
        statement: Statement,
        backend: &mut BackendState,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let refused = matches!(self.transaction, Transaction::Failed(_))
            && !statement.survey().sole().is_some_and(leads_out);
        if refused && self.names.get(name).is_some() {
            // The failed transaction is what PostgreSQL minds first.
            let id = statement.id().name();
            let (sql, types) = (statement.sql(), statement.types());
            frontend::parse(&mut out.to_backend, id.as_bytes(), sql, types);
            self.pipeline.push(Request::Parse { name: None, id: None });
            return Ok(());
        }
        if let Some(known) = self.names.get(name) {
            // PostgreSQL refuses a name given twice, in its turn and with all that follows from
            // it: so let it refuse a name that this connection certainly has.
            let known = known.clone();
            let failed = matches!(self.transaction, Transaction::Failed(_));
            let mut id = known.id().name();
            if failed && !backend.prepared.touch(known.id()) {
                // Nothing but a way out can be prepared there, so another name stands for it.
                TWICE.clone_into(&mut id);
                frontend::parse(&mut out.to_backend, id.as_bytes(), b"ROLLBACK", b"\0\0");
                self.pipeline.push(Request::Parse { name: None, id: None });
                backend.spoiled = true;
            } else {
                self.ensure_prepared(&known, backend, out);
            }
            let (sql, types) = (statement.sql(), statement.types());
            frontend::parse(&mut out.to_backend, id.as_bytes(), sql, types);
            self.pipeline.push(Request::Parse { name: None, id: None });
            return Ok(());
        }
        let id = statement.id();
        if refused {
            // PostgreSQL says so in its own words, whether it has the statement or not.
            let text = id.name();
            let (sql, types) = (statement.sql(), statement.types());
            frontend::parse(&mut out.to_backend, text.as_bytes(), sql, types);
            self.pipeline.push(Request::Parse { name: Some(name.into()), id: None });
        } else if backend.prepared.touch(id) {
            self.pipeline.push(Request::ParseAnswered { name: name.into() });
        } else {
            self.send_parse(&statement, Some(name.into()), backend, out);
        }
        self.remember(name, statement)?;
        self.answer_due(&mut out.to_client);
        Ok(())
    }

    /// As [`Conversation::make_ready`], with the portals that were bound here.
    pub(super) fn make_ready_for_extended(
        &mut self,
        backend: &mut BackendState,
        out: &mut Output,
    ) -> Option<Step> {
        let waits = self.make_ready(backend, out);
        if waits.is_none() {
            self.bring_portals(backend, out);
        }
        waits
    }

    /// An unnamed Parse too long to be looked at whole.
    fn parse_cut(
        &mut self,
        message: &Incoming<'_>,
        backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Result<Step, Refusal> {
        if self.is_lost() {
            return self.refuse_lost(&mut out.to_client);
        }
        let Some(backend) = backend else { return Ok(Step::Lease) };
        if let Some(step) = self.make_ready_for_extended(backend, out) {
            return Ok(step);
        }
        self.pipeline.open.get_or_insert_default();
        self.renew_unnamed(None);
        backend.unnamed_owner = Some(self.unnamed_tag());
        backend.spoiled = true;
        self.pipeline.push(Request::Parse { name: Some(Box::default()), id: None });
        message.forward(&mut out.to_backend);
        FORWARDED
    }

    /// Whether the answers to earlier segments have to come before this statement can be used.
    fn doubts(&self, id: Option<StatementId>) -> bool {
        id.is_some_and(|id| self.pipeline.doubts(id))
    }

    pub(super) fn remember(&mut self, name: &[u8], statement: Statement) -> Result<(), Refusal> {
        if name.is_empty() {
            self.renew_unnamed(Some(statement));
            return Ok(());
        }
        if self.names.bytes().saturating_add(statement.sql().len()) > PREPARED_BYTES_PER_CLIENT_MAX
        {
            return Err(too_large("too much text in prepared statements"));
        }
        self.names.insert(name, statement);
        Ok(())
    }

    /// Prepares `statement` on the connection unless it is there, unseen by the client.
    pub(super) fn ensure_prepared(
        &mut self,
        statement: &Statement,
        backend: &mut BackendState,
        out: &mut Output,
    ) {
        if !backend.prepared.touch(statement.id()) {
            self.send_parse(statement, None, backend, out);
        }
    }

    fn send_parse(
        &mut self,
        statement: &Statement,
        name: Option<Box<[u8]>>,
        backend: &mut BackendState,
        out: &mut Output,
    ) {
        let id = statement.id();
        if let Some(oldest) = backend.prepared.insert(id, PREPARED_PER_BACKEND_MAX) {
            frontend::close(&mut out.to_backend, Target::Statement, oldest.name().as_bytes());
            self.pipeline.push(Request::Close { ours: true });
        }
        let text = id.name();
        frontend::parse(&mut out.to_backend, text.as_bytes(), statement.sql(), statement.types());
        self.pipeline.push(Request::Parse { name, id: Some(id) });
    }

    pub(super) fn bind(
        &mut self,
        message: &Incoming<'_>,
        backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Result<Step, Refusal> {
        if self.skips_open_segment() {
            return ANSWERED;
        }
        let bind = match frontend::Bind::parse(message.body) {
            Ok(bind) => bind,
            Err(_) if message.is_cut() && message.body.len() < INSPECT_BYTES_MAX => {
                return Ok(Step::Whole);
            }
            Err(error) => return Err(malformed(error)),
        };
        let statement = if bind.statement.is_empty() {
            self.unnamed.clone()
        } else {
            self.names.get(bind.statement).cloned()
        };
        if !message.is_cut() && self.bind_here(&bind, statement.as_ref(), &mut out.to_client)? {
            return ANSWERED;
        }
        let survey = statement.as_ref().map(|statement| Arc::clone(statement.survey()));
        let portal = |survey| Portal { survey, here: None };
        if self.is_lost() {
            let Some(survey) = survey.filter(|survey| survey.leaves_lost()) else {
                return self.refuse_lost(&mut out.to_client);
            };
            self.open_portal(bind.portal, Some(portal(survey)))?;
            backend::bind_complete(&mut out.to_client);
            return ANSWERED;
        }
        let Some(backend) = backend else { return Ok(Step::Lease) };
        let named = statement.as_ref().filter(|_| !bind.statement.is_empty());
        if self.doubts(named.map(Statement::id)) {
            return Ok(Step::Wait);
        }
        if let Some(step) = self.make_ready_for_extended(backend, out) {
            return Ok(step);
        }
        self.pipeline.open.get_or_insert_default();
        self.open_portal(bind.portal, survey.map(portal))?;
        match statement {
            Some(statement) if !bind.statement.is_empty() => {
                self.ensure_prepared(&statement, backend, out);
                let name = statement.id().name();
                let rest = bind.rest;
                let missing = message.body_bytes.saturating_sub(message.body.len());
                let rest_bytes = rest.len().saturating_add(missing);
                let to = &mut out.to_backend;
                frontend::bind(to, bind.portal, name.as_bytes(), rest, rest_bytes);
            }
            _ => {
                if bind.statement.is_empty() {
                    self.ensure_unnamed(backend, out);
                }
                message.forward(&mut out.to_backend);
            }
        }
        self.pipeline.push(Request::Bind { ours: false });
        FORWARDED
    }

    pub(super) fn describe(
        &mut self,
        message: &Incoming<'_>,
        backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Result<Step, Refusal> {
        if self.skips_open_segment() {
            return ANSWERED;
        }
        if message.is_cut() {
            return Ok(Step::Whole);
        }
        let describe = frontend::Describe::parse(message.body).map_err(malformed)?;
        if self.describe_here(&describe, &mut out.to_client) {
            return ANSWERED;
        }
        if self.is_lost() {
            if describe.kind == Target::Statement {
                backend::parameter_description(&mut out.to_client, &[]);
            }
            backend::no_data(&mut out.to_client);
            return ANSWERED;
        }
        let Some(backend) = backend else { return Ok(Step::Lease) };
        let named = self.names.get(describe.name).filter(|_| describe.kind == Target::Statement);
        if self.doubts(named.map(Statement::id)) {
            return Ok(Step::Wait);
        }
        if let Some(step) = self.make_ready_for_extended(backend, out) {
            return Ok(step);
        }
        self.pipeline.open.get_or_insert_default();
        match describe.kind {
            Target::Statement => {
                if let Some(statement) = self.names.get(describe.name).cloned() {
                    self.ensure_prepared(&statement, backend, out);
                    let name = statement.id().name();
                    frontend::describe(&mut out.to_backend, describe.kind, name.as_bytes());
                } else {
                    if describe.name.is_empty() {
                        self.ensure_unnamed(backend, out);
                    }
                    message.forward(&mut out.to_backend);
                }
                self.pipeline.push(Request::DescribeStatement);
            }
            Target::Portal => {
                message.forward(&mut out.to_backend);
                self.pipeline.push(Request::DescribePortal);
            }
        }
        FORWARDED
    }

    pub(super) fn execute(
        &mut self,
        message: &Incoming<'_>,
        mut backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Result<Step, Refusal> {
        if self.skips_open_segment() {
            return ANSWERED;
        }
        if message.is_cut() {
            return Ok(Step::Whole);
        }
        let execute = frontend::Execute::parse(message.body).map_err(malformed)?;
        if let Some(step) = self.execute_here(execute.portal, backend.as_deref_mut(), out) {
            return Ok(step);
        }
        let survey = self.portals.get(execute.portal).map(|portal| Arc::clone(&portal.survey));
        if self.is_lost() {
            let survey = survey.as_deref().filter(|survey| survey.leaves_lost());
            let control = survey.and_then(Survey::sole);
            return self.execute_lost(control, &mut out.to_client);
        }
        let Some(backend) = backend else { return Ok(Step::Lease) };
        if let Some(step) = self.make_ready_for_extended(backend, out) {
            return Ok(step);
        }
        let mut dropped = Dropped::new();
        if let Some(survey) = survey {
            self.ensure_deallocated(&survey, backend, out);
            dropped = self.take_effect(&survey, backend);
            self.pipeline.open.get_or_insert_default().add_survey(&survey);
        } else {
            let segment = self.pipeline.open.get_or_insert_default();
            segment.add(&Control::Free, false);
            segment.effects.add(Effects::COMMITS);
        }
        message.forward(&mut out.to_backend);
        self.pipeline.push(Request::Execute(dropped));
        FORWARDED
    }

    fn execute_lost(
        &mut self,
        control: Option<&Control>,
        out: &mut BytesMut,
    ) -> Result<Step, Refusal> {
        match control {
            Some(Control::Rollback) => {
                self.transaction = Transaction::None;
                backend::command_complete(out, "ROLLBACK");
                ANSWERED
            }
            Some(Control::RollbackTo(name)) if self.back_to(name) => {
                backend::command_complete(out, "ROLLBACK");
                ANSWERED
            }
            Some(Control::Commit) => {
                self.transaction = Transaction::None;
                if self.policy.silent_rollback {
                    backend::command_complete(out, "ROLLBACK");
                    return ANSWERED;
                }
                self.refuse_lost(out)
            }
            Some(Control::Blank) => {
                backend::empty_query(out);
                ANSWERED
            }
            Some(Control::RollbackTo(_) | Control::Bound | Control::Free | Control::Begin)
            | None => self.refuse_lost(out),
        }
    }

    pub(super) fn close(
        &mut self,
        message: &Incoming<'_>,
        backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Result<Step, Refusal> {
        if self.skips_open_segment() {
            return ANSWERED;
        }
        if message.is_cut() {
            return Ok(Step::Whole);
        }
        let close = frontend::Close::parse(message.body).map_err(malformed)?;
        let closes_ours = close.kind == Target::Statement;
        if backend.is_none_or(|_| self.pipeline.is_empty() && closes_ours) {
            // Nothing is owed: the answer's turn has come.
            match close.kind {
                Target::Portal => self.portals.remove(close.name),
                Target::Statement => drop(self.give_up(close.name)),
            }
            backend::close_complete(&mut out.to_client);
            return ANSWERED;
        }
        self.pipeline.open.get_or_insert_default();
        if closes_ours {
            let old = self.give_up(close.name);
            let old = old.map(|statement| (close.name.into(), statement));
            self.pipeline.push(Request::CloseAnswered(old));
            self.answer_due(&mut out.to_client);
            return ANSWERED;
        }
        if close.kind == Target::Portal {
            self.portals.remove(close.name);
        }
        message.forward(&mut out.to_backend);
        self.pipeline.push(Request::Close { ours: false });
        FORWARDED
    }

    /// Forgets the client's statement of that name, the unnamed one included.
    fn give_up(&mut self, name: &[u8]) -> Option<Statement> {
        if !name.is_empty() {
            return self.names.remove(name);
        }
        let old = self.unnamed.take();
        self.renew_unnamed(None);
        old
    }

    pub(super) fn sync(&mut self, message: &Incoming<'_>, leased: bool, out: &mut Output) -> Step {
        if !leased || self.pipeline.is_empty() {
            if self.transaction == Transaction::None {
                self.portals.clear();
            }
            backend::ready_for_query(&mut out.to_client, self.transaction.status());
            return Step::Taken(Flow::Discard);
        }
        message.forward(&mut out.to_backend);
        if !self.copy_in {
            let segment = self.pipeline.open.take().unwrap_or_default();
            self.pipeline.push(Request::Sync(segment));
        }
        Step::Taken(Flow::Forward)
    }

    pub(super) fn flush(&mut self, message: &Incoming<'_>, leased: bool, out: &mut Output) -> Step {
        if leased && !self.pipeline.is_answered() {
            message.forward(&mut out.to_backend);
        }
        Step::Taken(Flow::Forward)
    }
}

fn too_large(what: &str) -> Refusal {
    Refusal::TooLarge { what: what.to_owned() }
}
