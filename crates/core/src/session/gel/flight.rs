//! From a job to bytes for the backend, and from the backend's answers to the client's.

use std::sync::Arc;

use bytes::BytesMut;
use everline_wire::backend::{TransactionStatus, view};
use everline_wire::fields::{ErrorFields, Severity};
use everline_wire::frontend::{self, Target};
use everline_wire::tag::backend as tag;
use everline_wire_gel::capability::DDL;
use everline_wire_gel::edgeql::Control;
use everline_wire_gel::server;
use everline_wire_gel::types::Type;

use super::describe::{Column, Description, Descriptions};
use super::job::{Checked, Job, Kind, Part, Phase};
use super::machine::{Machine, Progress, Transaction, aborted, describe, timeouts, wants_wrap};
use super::refuse::{Refused, shuts_down};
use crate::session::BackendState;
use crate::session::backend_state::UNKNOWN_OWNER;

/// Which types the domains among these have in the end.
const DOMAINS: &str = "WITH RECURSIVE d (oid, base) AS (\
     SELECT oid, typbasetype FROM pg_catalog.pg_type WHERE typtype = 'd' AND oid IN (";
const DOMAINS_END: &str = ") UNION ALL SELECT d.oid, t.typbasetype FROM d \
     JOIN pg_catalog.pg_type t ON t.oid = d.base WHERE t.typtype = 'd') \
     SELECT d.oid, d.base FROM d JOIN pg_catalog.pg_type t ON t.oid = d.base \
     WHERE t.typtype <> 'd'";

/// What follows a flight that went well.
enum After {
    /// The job is done.
    Done,
    /// The client has its answer already.
    Answered,
    /// The next flight is on its way.
    InFlight,
    /// The next flight has to be sent.
    Next,
}

impl Machine {
    /// Begins the job at hand on a leased connection.
    pub fn dispatch(&mut self, backend: &mut BackendState, to_backend: &mut BytesMut) {
        if let Some(mut job) = self.job.take() {
            self.next_flight(&mut job, backend, to_backend);
            self.job = Some(job);
        }
    }

    /// The next flight of a job whose last one has landed well.
    fn next_flight(&mut self, job: &mut Job, backend: &mut BackendState, out: &mut BytesMut) {
        backend.spoiled |= job.checked.leaves;
        let undressed = !Arc::ptr_eq(&self.policy.settings, &backend.settings);
        if undressed && matches!(self.transaction, Transaction::None | Transaction::Deferred(_)) {
            let mut sql = Vec::new();
            self.policy.settings.difference(&backend.settings, &mut sql);
            let wanted = Arc::clone(&self.policy.settings);
            let worn = std::mem::replace(&mut backend.settings, wanted);
            if !sql.is_empty() {
                frontend::query(out, &sql);
                backend.unnamed_owner = None;
                job.phase = Phase::Dressing(worn);
                return;
            }
        }
        backend.unnamed_owner = Some(UNKNOWN_OWNER);
        let unknown = job.description.is_none() && !matches!(job.kind, Kind::Control(_));
        if unknown {
            self.put_begin(job, out);
            frontend::parse(out, b"", job.checked.text.as_bytes(), &[]);
            frontend::describe(out, Target::Statement, b"");
            job.parts.push_back(Part::Described);
            job.phase = Phase::Describing;
        } else {
            self.put_running(job, out);
        }
        frontend::sync(out);
    }

    /// What begins a transaction that was begun here.
    fn put_begin(&self, job: &mut Job, out: &mut BytesMut) {
        if let Transaction::Deferred(begin) = &self.transaction {
            for sql in begin {
                put_ours(job, sql, out);
            }
        }
    }

    fn put_running(&self, job: &mut Job, out: &mut BytesMut) {
        job.phase = Phase::Running;
        job.sent = true;
        self.put_begin(job, out);
        if let Kind::Control(control) = &job.kind {
            let sql = match (control, &self.transaction) {
                (Control::Commit, Transaction::Failed) => "ROLLBACK".to_owned(),
                (control, _) => sql_of(control),
            };
            return put_ours(job, &sql, out);
        }
        job.wrapped = self.transaction == Transaction::None && wants_wrap(&job.checked.state);
        if job.wrapped {
            let begin = job.checked.state.modes.begin();
            put_ours(job, &begin, out);
            for sql in timeouts(&job.checked.state) {
                put_ours(job, &sql, out);
            }
        }
        if let (Kind::Execute(execution), Some(description)) = (&job.kind, &job.description) {
            let (text, types) = (job.checked.text.as_bytes(), description.types_raw());
            frontend::parse(out, b"", text, &types);
            frontend::bind(out, b"", b"", &execution.bound, execution.bound.len());
            frontend::describe(out, Target::Portal, b"");
            frontend::execute(out, b"", execution.limit);
            job.parts.push_back(Part::Statement);
        }
        if job.wrapped {
            put_ours(job, "COMMIT", out);
        }
    }

    /// Takes one whole message of the backend. Bytes for the backend are the job's next flight.
    pub fn from_backend(
        &mut self,
        backend: &mut BackendState,
        known: &mut Descriptions,
        message: (u8, &[u8]),
        to_backend: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Progress {
        let (tag, body) = message;
        match tag {
            tag::PARAMETER_STATUS => {
                let Ok((name, value)) = view::parameter_status(body) else {
                    return Progress::Lost;
                };
                let kept = backend.reports(name, value);
                return if kept { Progress::More } else { Progress::Lost };
            }
            tag::NOTICE => return self.notice(body, out),
            tag::NOTIFICATION => return Progress::More,
            _ => {}
        }
        let Some(mut job) = self.job.take() else { return self.unasked(tag, body) };
        let progress = match tag {
            tag::READY_FOR_QUERY => match view::ready_for_query(body) {
                Ok(status) => {
                    return self.landed(job, status, backend, known, to_backend, out);
                }
                Err(_) => Progress::Lost,
            },
            tag::ERROR => self.error(&mut job, body),
            _ => job.answer(tag, body, known, out),
        };
        self.job = Some(job);
        progress
    }

    /// A message while nothing is asked: the end of the connection, as a rule.
    fn unasked(&mut self, tag: u8, body: &[u8]) -> Progress {
        if let (tag::ERROR, Ok(fields)) = (tag, ErrorFields::parse(body)) {
            self.doubtful |= shuts_down(fields.code());
        }
        Progress::Lost
    }

    fn notice(&mut self, body: &[u8], out: &mut BytesMut) -> Progress {
        let Ok(fields) = ErrorFields::parse(body) else { return Progress::Lost };
        if shuts_down(fields.code()) {
            self.doubtful = true; // and not true of the client's connection
            return Progress::More;
        }
        let runs = self.job.as_ref().is_some_and(|job| matches!(job.phase, Phase::Running));
        let severity = fields.severity();
        if runs && matches!(severity, Severity::Notice | Severity::Warning) {
            server::log_message(out, severity == Severity::Warning, &fields.message());
        }
        Progress::More
    }

    fn error(&mut self, job: &mut Job, body: &[u8]) -> Progress {
        let Ok(fields) = ErrorFields::parse(body) else { return Progress::Lost };
        let refused = Refused::read(&fields);
        self.doubtful |= shuts_down(refused.code);
        if refused.fatal {
            return Progress::Lost;
        }
        job.parts.clear();
        if job.refused.is_none() {
            job.refused = Some(refused);
        }
        Progress::More
    }

    /// A flight has come to its end.
    fn landed(
        &mut self,
        mut job: Job,
        status: TransactionStatus,
        backend: &mut BackendState,
        known: &mut Descriptions,
        to_backend: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Progress {
        if let (Phase::Dressing(worn), true) = (&job.phase, job.refused.is_some()) {
            backend.settings = Arc::clone(worn); // refused as a whole
            backend.spoiled = true;
        }
        if job.wrapped && status != TransactionStatus::Idle {
            frontend::query(to_backend, b"ROLLBACK");
            backend.unnamed_owner = None;
            job.phase = Phase::Undoing;
            self.job = Some(job);
            return Progress::More;
        }
        if !job.wrapped {
            self.told(status);
        }
        if status == TransactionStatus::Idle && matches!(job.phase, Phase::Running) {
            self.tally.transactions = self.tally.transactions.saturating_add(1);
        }
        if let Some(refused) = job.refused.take() {
            known.remove(job.checked.shape, &job.checked.text);
            self.refused(&job, &refused, backend, out);
            return Progress::Done;
        }
        if let Some(failure) = job.failure.take() {
            self.fail(&job, &failure, out);
            return Progress::Done;
        }
        let after = match job.phase {
            Phase::Running => After::Done,
            Phase::Describing => self.described(&mut job, known, to_backend, out),
            Phase::Resolving => self.resolved(&mut job, known, out),
            Phase::Ground | Phase::Dressing(_) | Phase::Undoing => After::Next,
        };
        match after {
            After::Done => {
                self.finish(&job, known, out);
                return Progress::Done;
            }
            After::Answered => return Progress::Done,
            After::InFlight => {}
            After::Next => self.next_flight(&mut job, backend, to_backend),
        }
        self.job = Some(job);
        Progress::More
    }

    /// Takes over what the backend's ReadyForQuery says of the transaction.
    fn told(&mut self, status: TransactionStatus) {
        self.transaction = match (status, &self.transaction) {
            // Not begun yet: what was sent was about the connection.
            (TransactionStatus::Idle, Transaction::Deferred(begin)) => {
                Transaction::Deferred(begin.clone())
            }
            (TransactionStatus::Idle, _) => Transaction::None,
            (TransactionStatus::InTransaction, _) => Transaction::Open,
            (TransactionStatus::Failed, _) => Transaction::Failed,
        };
    }

    /// PostgreSQL has described the statement.
    fn described(
        &mut self,
        job: &mut Job,
        known: &mut Descriptions,
        to_backend: &mut BytesMut,
        out: &mut BytesMut,
    ) -> After {
        let unknown: Vec<String> = job
            .parameters
            .iter()
            .filter(|oid| !Type::of(**oid).is_known())
            .map(u32::to_string)
            .collect();
        if unknown.is_empty() {
            return self.resolved(job, known, out);
        }
        let sql = format!("{DOMAINS}{}{DOMAINS_END}", unknown.join(","));
        put_ours(job, &sql, to_backend);
        if let Some(part) = job.parts.back_mut() {
            *part = Part::Asked;
        }
        frontend::sync(to_backend);
        job.phase = Phase::Resolving;
        After::InFlight
    }

    /// Everything is known of the statement.
    fn resolved(&mut self, job: &mut Job, known: &mut Descriptions, out: &mut BytesMut) -> After {
        let parameters = std::mem::take(&mut job.parameters);
        let columns = job.columns.take().map(|columns| {
            let asked = |mut column: Column| {
                column.format = Type::of(column.oid).format();
                column
            };
            columns.into_iter().map(asked).collect()
        });
        let shape = job.checked.shape;
        let description = Arc::new(Description::new(parameters, &job.bases, columns, shape));
        known.put(shape, &job.checked.text, Arc::clone(&description));
        job.description = Some(Arc::clone(&description));
        if let Kind::Describe { wants_rows } = job.kind {
            describe(&job.checked, &description, wants_rows, out);
            return After::Answered;
        }
        if let Err(failure) = job.bind(out) {
            self.say(&failure, out);
            return After::Answered;
        }
        After::Next
    }

    /// The client's command is done.
    fn finish(&mut self, job: &Job, known: &mut Descriptions, out: &mut BytesMut) {
        let Checked { capabilities, .. } = job.checked;
        if let Kind::Control(control) = &job.kind {
            let undone = *control == Control::Commit && job.tag != "COMMIT";
            if undone {
                self.say(&aborted(), out);
                return;
            }
            server::command_complete(out, capabilities, control.status());
            return;
        }
        self.tally.statements = self.tally.statements.saturating_add(1);
        if capabilities & DDL != 0 {
            known.clear();
        }
        server::command_complete(out, capabilities, &job.tag);
    }
}

/// Sends a statement of ours in the flight at hand: when it fails, the rest is skipped.
fn put_ours(job: &mut Job, sql: &str, out: &mut BytesMut) {
    frontend::parse(out, b"", sql.as_bytes(), &[]);
    frontend::bind(out, b"", b"", &[0; 6], 6);
    frontend::execute(out, b"", 0);
    job.parts.push_back(Part::Ours);
}

fn sql_of(control: &Control) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    match control {
        Control::Start(modes) => modes.begin(),
        Control::Commit => "COMMIT".to_owned(),
        Control::Rollback => "ROLLBACK".to_owned(),
        Control::Savepoint(name) => format!("SAVEPOINT {}", quoted(name)),
        Control::RollbackTo(name) => format!("ROLLBACK TO SAVEPOINT {}", quoted(name)),
        Control::Release(name) => format!("RELEASE SAVEPOINT {}", quoted(name)),
    }
}
