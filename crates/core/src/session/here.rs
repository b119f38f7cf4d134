//! The extended protocol without a backend: what is answered here as a simple query is answered
//! here as Parse, Bind, Describe and Execute too, with a leader or without.
//!
//! Only while a backend owes nothing, so that our answers come in their turn. A portal that was
//! bound here and turns out to need a backend is bound there first, unseen by the client.

use std::sync::Arc;

use bytes::BytesMut;
use everline_wire::backend::{self, Column};
use everline_wire::frontend::{self, Target};
use everline_wire::sql;

use super::backend_state::BackendState;
use super::conversation::{Conversation, Flow, Output, Step};
use super::pipeline::Request;
use super::portals::Portal;
use super::statements::Statement;
use super::survey::Survey;
use super::transaction::Transaction;
use crate::limits::PORTALS_MAX;
use crate::refusal::Refusal;

/// What a portal was bound to here.
#[derive(Clone, Debug)]
pub(super) struct Here {
    statement: Statement,
    /// The Bind message behind its two names.
    rest: Box<[u8]>,
}

/// The only column of `SELECT 1`.
const ONE: Column<'static> = Column { name: "?column?", type_oid: 23, type_bytes: 4 };

/// `int4`, as a result in binary format carries it.
const ONE_IN_BINARY: [u8; 4] = [0, 0, 0, 1];

/// Whether the types of a Parse name none.
fn is_without_types(types: &[u8]) -> bool {
    types.iter().all(|byte| *byte == 0)
}

/// The result format that a Bind without parameters asks for: text, or binary where it says so for
/// the first column; `None` when there are parameters.
fn result_format(rest: &[u8]) -> Option<bool> {
    let (formats, rest) = number(rest)?;
    let rest = rest.get(formats.checked_mul(2)?..)?;
    let (parameters, rest) = number(rest)?;
    if parameters > 0 {
        return None;
    }
    let (results, rest) = number(rest)?;
    match (results, rest) {
        (0, []) => Some(false),
        (1, [0, binary @ (0 | 1)]) => Some(*binary == 1),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_be_bytes(*number)), rest))
}

impl Conversation {
    /// Whether a statement may be answered without a backend.
    pub(super) fn is_for_here(&self, survey: &Survey) -> bool {
        survey.here
            || (survey.probe && self.policy.answer_select_1)
            || (survey.is_blank() && self.policy.local_probes)
    }

    /// Parse of what is executed here; false when a backend has to see it.
    pub(super) fn parse_here(
        &mut self,
        parse: &frontend::Parse<'_>,
        survey: &Arc<Survey>,
        out: &mut BytesMut,
    ) -> Result<bool, Refusal> {
        if !self.is_for_here(survey) {
            return Ok(false);
        }
        let named_twice = !parse.name.is_empty() && self.names.get(parse.name).is_some();
        let here = self.may_begin() && is_without_types(parse.types_raw) && !named_twice;
        if here {
            let statement = Statement::new(parse.sql, parse.types_raw, Arc::clone(survey));
            self.remember(parse.name, statement)?;
            backend::parse_complete(out);
        }
        Ok(here)
    }

    /// Bind of what is executed here; false when a backend has to see it.
    pub(super) fn bind_here(
        &mut self,
        bind: &frontend::Bind<'_>,
        statement: Option<&Statement>,
        out: &mut BytesMut,
    ) -> Result<bool, Refusal> {
        let Some(statement) = statement.filter(|known| self.is_for_here(known.survey())) else {
            return Ok(false);
        };
        let bound_twice = !bind.portal.is_empty() && self.portals.get(bind.portal).is_some();
        if !self.may_begin() || bound_twice || result_format(bind.rest).is_none() {
            return Ok(false);
        }
        let here = Here { statement: statement.clone(), rest: bind.rest.into() };
        let survey = Arc::clone(statement.survey());
        self.open_portal(bind.portal, Some(Portal { survey, here: Some(here) }))?;
        backend::bind_complete(out);
        Ok(true)
    }

    /// Describe of what is executed here; false when a backend has to see it.
    pub(super) fn describe_here(
        &self,
        describe: &frontend::Describe<'_>,
        out: &mut BytesMut,
    ) -> bool {
        if !self.may_begin() {
            return false;
        }
        let mut binary = false;
        let survey = match describe.kind {
            Target::Statement => {
                let unnamed = || self.unnamed.as_ref();
                let statement = match describe.name {
                    [] => unnamed(),
                    name => self.names.get(name),
                };
                let typeless = |known: &&Statement| is_without_types(known.types());
                statement.filter(typeless).map(Statement::survey)
            }
            Target::Portal => {
                let portal = self.portals.get(describe.name);
                let here = portal.and_then(|portal| portal.here.as_ref());
                binary = here.and_then(|here| result_format(&here.rest)) == Some(true);
                here.map(|here| here.statement.survey())
            }
        };
        let Some(survey) = survey.filter(|survey| self.is_for_here(survey)) else { return false };
        if describe.kind == Target::Statement {
            backend::parameter_description(out, &[]);
        }
        if survey.probe {
            backend::row_description(out, &[ONE]);
            // The last bytes are the format of the only column.
            if let (true, Some(format)) = (binary, out.last_mut()) {
                *format = 1;
            }
        } else {
            backend::no_data(out);
        }
        true
    }

    /// Execute of a portal that was bound here; `None` when a backend has to see it.
    pub(super) fn execute_here(
        &mut self,
        portal: &[u8],
        mut backend: Option<&mut BackendState>,
        out: &mut Output,
    ) -> Option<Step> {
        if !self.may_begin() {
            return None;
        }
        let here = self.portals.get(portal)?.here.clone()?;
        // A reset that is answered when a connection has said what is in force again goes round
        // twice.
        for _ in 0..2 {
            if self.dress_first {
                let Some(backend) = backend.as_deref_mut() else { return Some(Step::Lease) };
                self.dress_first = false;
                self.wear(backend, out);
                if !self.pipeline.is_empty() {
                    return Some(Step::Wait);
                }
            }
            if self.run_here(&here, &mut out.to_client) {
                self.portals.remove(portal);
                if here.statement.survey().ends_a_transaction() {
                    self.portals.clear();
                }
                return Some(Step::Taken(Flow::Discard));
            }
            if !self.dress_first {
                return None;
            }
        }
        None
    }

    fn run_here(&mut self, here: &Here, out: &mut BytesMut) -> bool {
        let statement = &here.statement;
        if statement.survey().probe {
            if result_format(&here.rest) == Some(true) {
                backend::data_row(out, [Some(&ONE_IN_BINARY[..])]);
            } else {
                backend::data_row(out, [Some(&b"1"[..])]);
            }
            backend::command_complete(out, "SELECT 1");
            return true;
        }
        let Some(one) = sql::statements(statement.sql()).next() else {
            backend::empty_query(out);
            return true;
        };
        match &self.transaction {
            Transaction::None => self.answer_outside(&one, out),
            Transaction::Virtual(_) => self.answer_in_virtual(&one, out),
            Transaction::Real(_) | Transaction::Failed(_) | Transaction::Lost(_) => false,
        }
    }

    /// Binds on the connection what was bound here alone: a message that it must not miss follows.
    pub(super) fn bring_portals(&mut self, backend: &mut BackendState, out: &mut Output) {
        for (name, Here { statement, rest }) in self.portals.take_here() {
            self.ensure_prepared(&statement, backend, out);
            let on_backend = statement.id().name();
            let to = &mut out.to_backend;
            frontend::bind(to, &name, on_backend.as_bytes(), &rest, rest.len());
            self.pipeline.push(Request::Bind { ours: true });
            self.pipeline.open.get_or_insert_default();
        }
    }

    /// Remembers a portal, or forgets what had its name.
    pub(super) fn open_portal(
        &mut self,
        name: &[u8],
        portal: Option<Portal>,
    ) -> Result<(), Refusal> {
        match portal {
            None => {
                self.portals.remove(name);
            }
            Some(portal) => {
                if self.portals.len() >= PORTALS_MAX && self.portals.get(name).is_none() {
                    let what = "too many portals are open".to_owned();
                    return Err(Refusal::TooLarge { what });
                }
                self.portals.insert(name, portal);
            }
        }
        Ok(())
    }

    /// A simple query of `SELECT 1` that is answered here.
    pub(super) fn answer_probe(out: &mut BytesMut) {
        backend::row_description(out, &[ONE]);
        backend::data_row(out, [Some(&b"1"[..])]);
        backend::command_complete(out, "SELECT 1");
    }
}

#[cfg(test)]
#[path = "here_tests.rs"]
mod tests;
