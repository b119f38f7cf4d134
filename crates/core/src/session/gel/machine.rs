//! The machine: messages of the client, and the state of its transaction.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use everline_wire_gel::capability::{self, Action, Class};
use everline_wire_gel::client::{Command, Execute, Expected, Format, Language, Parse};
use everline_wire_gel::descriptor::Descriptor;
use everline_wire_gel::edgeql::Control;
use everline_wire_gel::error::ErrorCode;
use everline_wire_gel::server::{self, Cardinality, CommandDescription, Described, Status};
use everline_wire_gel::state::State;
use everline_wire_gel::tag::client as tag;
use everline_wire_gel::{BodyError, NIL, value};

use super::describe::{Description, Descriptions, Shape};
use super::job::{Checked, Execution, Job, Kind};
use super::refuse::Failure;
use crate::refusal::{Codes, Refusal, Retry};
use crate::session::conversation::Tally;
use crate::session::settings::Settings;

/// What is the same for all sessions.
#[derive(Clone, Debug)]
pub struct GelPolicy {
    /// Whether text that is marked as `EdgeQL` is run as SQL.
    pub edgeql_as_sql: bool,
    /// The code for what was surely not executed.
    pub unavailable: ErrorCode,
    /// Whether a query whose answer is lost may be repeated although a function in it may have
    /// written.
    pub in_flight_select_retryable: bool,
    /// What a backend connection wears for these sessions.
    pub settings: Arc<Settings>,
    /// The type of the state that clients send.
    pub state: Descriptor,
}

/// Where the client's transaction stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Transaction {
    None,
    /// Begun here; no backend knows of it. The statements that are to begin it there.
    Deferred(Vec<String>),
    /// Open on the leased connection.
    Open,
    /// Failed there.
    Failed,
    /// Gone with its connection.
    Lost,
}

/// What came of one message of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// It is answered.
    Answered,
    /// It needs a backend connection: lease one, unless one is held, and call
    /// [`Machine::dispatch`]; or [`Machine::refuse`] where there is none.
    Run,
    /// The client leaves, or has to; write what is in the buffer and close.
    Close,
}

/// What came of one message of the backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// There is more to come.
    More,
    /// The client has its answer.
    Done,
    /// The connection must not be used any longer: call [`Machine::backend_lost`].
    Lost,
}

const NOT_EDGEQL: &str =
    "EdgeQL is not supported by this server: send SQL with query_sql() or execute_sql()";
const WHAT_THIS_IS: &str = "This is Everline, which serves SQL on PostgreSQL to Gel's clients. \
     In JavaScript: querySQL() and executeSQL(); in Go: QuerySQL() and ExecuteSQL().";

/// One client of Gel's protocol, after its login.
#[derive(Debug)]
pub struct Machine {
    pub(super) policy: Arc<GelPolicy>,
    pub(super) transaction: Transaction,
    pub(super) job: Option<Job>,
    /// What follows an error is passed over until Sync.
    skipping: bool,
    /// The statement that the client last had described.
    described: Option<Box<str>>,
    pub(super) tally: Tally,
    pub(super) doubtful: bool,
}

impl Machine {
    /// A session that has just begun.
    #[must_use]
    pub fn new(policy: Arc<GelPolicy>) -> Self {
        Self {
            policy,
            transaction: Transaction::None,
            job: None,
            skipping: false,
            described: None,
            tally: Tally::default(),
            doubtful: false,
        }
    }

    /// What Ready says.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self.transaction {
            Transaction::None => Status::Idle,
            Transaction::Deferred(_) | Transaction::Open => Status::InTransaction,
            Transaction::Failed | Transaction::Lost => Status::Failed,
        }
    }

    /// Whether the leased connection is still needed after the answer.
    #[must_use]
    pub const fn holds_lease(&self) -> bool {
        matches!(self.transaction, Transaction::Open | Transaction::Failed) || self.job.is_some()
    }

    /// Whether the client waits for a backend's answer.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// Whether a word came that a leader does not say: ask the leader whether it is one.
    pub fn take_doubtful(&mut self) -> bool {
        std::mem::take(&mut self.doubtful)
    }

    /// What was counted since this was last called.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Takes one whole message of the client. Not while [`Machine::is_busy`].
    pub fn from_client(
        &mut self,
        message: u8,
        body: &[u8],
        known: &Descriptions,
        out: &mut BytesMut,
    ) -> Step {
        match message {
            tag::SYNC => {
                self.skipping = false;
                server::ready(out, self.status());
                Step::Answered
            }
            tag::TERMINATE => Step::Close,
            tag::FLUSH => Step::Answered,
            _ if self.skipping => Step::Answered,
            tag::PARSE => match Parse::parse(body) {
                Ok(Parse { command }) => self.parse(&command, known, out),
                Err(error) => self.malformed(error, out),
            },
            tag::EXECUTE => match Execute::parse(body) {
                Ok(execute) => self.execute(&execute, known, out),
                Err(error) => self.malformed(error, out),
            },
            tag::DUMP | tag::RESTORE | tag::RESTORE_BLOCK | tag::RESTORE_EOF => {
                let message = "dump and restore are not supported by this server: use pg_dump";
                self.say(&Failure::new(ErrorCode::UNSUPPORTED, message), out)
            }
            other => {
                let message = format!("unexpected message type {other:#04x}");
                self.say(&Failure::new(ErrorCode::PROTOCOL, message), out);
                Step::Close
            }
        }
    }

    fn malformed(&mut self, error: BodyError, out: &mut BytesMut) -> Step {
        self.say(&Failure::new(ErrorCode::PROTOCOL, error.to_string()), out);
        Step::Close
    }

    /// Writes an error; what follows is passed over until Sync.
    pub(super) fn say(&mut self, failure: &Failure, out: &mut BytesMut) -> Step {
        server::error(out, &failure.problem());
        self.skipping = true;
        Step::Answered
    }

    /// Writes a refusal, and counts it.
    pub(super) fn say_refusal(&mut self, refusal: &Refusal, out: &mut BytesMut) -> Step {
        self.count_refusal(refusal);
        let failure = Failure::of(refusal, self.policy.unavailable);
        self.say(&failure, out)
    }

    pub(super) fn count_refusal(&mut self, refusal: &Refusal) {
        let (code, _, retry) = refusal.contract(&Codes::default());
        self.tally.refuse(code);
        match retry {
            Retry::Safe => self.tally.retryable = self.tally.retryable.saturating_add(1),
            Retry::Unsafe => self.tally.unknown = self.tally.unknown.saturating_add(1),
            Retry::Useless => {}
        }
    }

    fn parse(&mut self, command: &Command<'_>, known: &Descriptions, out: &mut BytesMut) -> Step {
        let (checked, action) = match self.check(command, out) {
            Ok(checked) => checked,
            Err(failure) => return self.say(&failure, out),
        };
        self.described = Some(checked.text.clone());
        let wants_rows = command.format == Format::Binary;
        match action {
            Action::Control(_) => {
                CommandDescription::capabilities_only(checked.capabilities).write(out);
                Step::Answered
            }
            Action::Refuse(why) => self.say(&Failure::new(ErrorCode::UNSUPPORTED, why), out),
            Action::Run => {
                if let Some(step) = self.refuse_in_failed(out) {
                    return step;
                }
                if let Some(description) = known.get(checked.shape, &checked.text) {
                    describe(&checked, &description, wants_rows, out);
                    return Step::Answered;
                }
                self.job = Some(Job::new(checked, Kind::Describe { wants_rows }, None));
                Step::Run
            }
        }
    }

    fn execute(&mut self, execute: &Execute<'_>, known: &Descriptions, out: &mut BytesMut) -> Step {
        let (checked, action) = match self.check(&execute.command, out) {
            Ok(checked) => checked,
            Err(failure) => return self.say(&failure, out),
        };
        match action {
            Action::Control(control) => return self.control(checked, control, out),
            Action::Refuse(why) => {
                return self.say(&Failure::new(ErrorCode::UNSUPPORTED, why), out);
            }
            Action::Run => {}
        }
        if let Some(step) = self.refuse_in_failed(out) {
            return step;
        }
        let described = self.described.take();
        let command = &execute.command;
        let execution = Execution {
            arguments: Bytes::copy_from_slice(execute.arguments),
            input_id: execute.input_id,
            output_id: execute.output_id,
            limit: i32::try_from(command.limit).unwrap_or(i32::MAX),
            at_most_one: command.expected == Expected::AtMostOne,
            wants_rows: command.format == Format::Binary,
            uninformed: execute.is_first_shot() && described.as_deref() != Some(&*checked.text),
            bound: BytesMut::new(),
            rows: 0,
        };
        let description = known.get(checked.shape, &checked.text);
        let kind = Kind::Execute(Box::new(execution));
        let mut job = Job::new(checked, kind, description);
        if let Err(failure) = job.bind(out) {
            return self.say(&failure, out);
        }
        self.job = Some(job);
        Step::Run
    }

    /// A statement in a transaction that is over but for its end.
    fn refuse_in_failed(&mut self, out: &mut BytesMut) -> Option<Step> {
        match self.transaction {
            Transaction::None | Transaction::Deferred(_) | Transaction::Open => None,
            Transaction::Failed => Some(self.say(&aborted(), out)),
            Transaction::Lost => Some(self.say_refusal(&Refusal::TransactionLost, out)),
        }
    }

    /// What can be said of a command without a backend.
    fn check(
        &self,
        command: &Command<'_>,
        out: &mut BytesMut,
    ) -> Result<(Checked, Action), Failure> {
        if command.state_id != NIL && command.state_id != self.policy.state.id {
            server::state_description(out, self.policy.state.described());
            let message = "the state is written by another descriptor";
            return Err(Failure::new(ErrorCode::STATE, message));
        }
        let state = if command.state_id == NIL { &[][..] } else { command.state };
        let state = State::parse(state).map_err(|error| {
            Failure::new(ErrorCode::INPUT_DATA, format!("invalid session state: {error}"))
        })?;
        let (class, shape) = self.class(command)?;
        if let Some(message) = capability::forbidden(class.capabilities, command.allowed) {
            return Err(Failure::new(ErrorCode::CAPABILITY, message));
        }
        let format = match command.format {
            Format::Binary | Format::None => Ok(()),
            Format::Other(_) => {
                let message = "JSON results are not supported by this server: ask for rows, and \
                               let SQL make the JSON";
                Err(Failure::new(ErrorCode::UNSUPPORTED, message))
            }
        };
        format?;
        if let Expected::Other(_) = command.expected {
            let message = "this cardinality cannot be expected of a statement of SQL";
            return Err(Failure::new(ErrorCode::UNSUPPORTED, message));
        }
        if command.text.contains('\0') {
            return Err(Failure::new(ErrorCode::SYNTAX, "a statement cannot hold a NUL"));
        }
        let Class { capabilities, action, read_only, leaves } = class;
        let text = command.text.into();
        Ok((Checked { text, shape, capabilities, read_only, leaves, state }, action))
    }

    fn class(&self, command: &Command<'_>) -> Result<(Class, Shape), Failure> {
        match command.language {
            Language::Sql => Ok((Class::of(command.text), Shape::Record)),
            Language::EdgeQl => {
                if let Some(control) = Control::parse(command.text) {
                    let class = Class {
                        capabilities: capability::TRANSACTION,
                        action: Action::Control(control),
                        read_only: false,
                        leaves: false,
                    };
                    return Ok((class, Shape::Record));
                }
                if self.policy.edgeql_as_sql {
                    return Ok((Class::of(command.text), Shape::Object));
                }
                Err(Failure::new(ErrorCode::UNSUPPORTED, NOT_EDGEQL).hint(WHAT_THIS_IS))
            }
            Language::Other(_) => {
                let message = "this query language is not supported by this server: send SQL";
                Err(Failure::new(ErrorCode::UNSUPPORTED, message).hint(WHAT_THIS_IS))
            }
        }
    }

    fn control(&mut self, checked: Checked, control: Control, out: &mut BytesMut) -> Step {
        let wrong = |message: &str| Failure::new(ErrorCode::TRANSACTION, message);
        let answer = match (&control, &self.transaction) {
            (Control::Start(modes), Transaction::None) => {
                let mut begin = vec![modes.or(checked.state.modes).begin()];
                begin.extend(timeouts(&checked.state));
                self.transaction = Transaction::Deferred(begin);
                Ok(())
            }
            (Control::Start(_), _) => Err(wrong("there is already a transaction in progress")),
            (Control::Commit, Transaction::None) => {
                return self.say(&wrong("there is no transaction in progress"), out);
            }
            (Control::Commit, Transaction::Lost) => {
                self.transaction = Transaction::None;
                return self.say_refusal(&Refusal::TransactionLost, out);
            }
            (Control::Commit | Control::Rollback, Transaction::Deferred(_))
            | (Control::Rollback, Transaction::None | Transaction::Lost) => {
                self.transaction = Transaction::None;
                Ok(())
            }
            (_, Transaction::None) => Err(wrong("savepoints stand in transactions only")),
            (Control::Savepoint(_) | Control::Release(_), Transaction::Failed) => Err(aborted()),
            (_, Transaction::Lost) => return self.say_refusal(&Refusal::TransactionLost, out),
            (Control::Commit | Control::Rollback, Transaction::Open | Transaction::Failed)
            | (
                Control::Savepoint(_) | Control::Release(_) | Control::RollbackTo(_),
                Transaction::Deferred(_) | Transaction::Open | Transaction::Failed,
            ) => {
                self.job = Some(Job::new(checked, Kind::Control(control), None));
                return Step::Run;
            }
        };
        match answer {
            Ok(()) => {
                server::command_complete(out, checked.capabilities, control.status());
                Step::Answered
            }
            Err(failure) => self.say(&failure, out),
        }
    }
}

pub(super) fn aborted() -> Failure {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    Failure::new(ErrorCode::TRANSACTION, message)
}

/// What sets a state's timeouts for one transaction.
pub(super) fn timeouts(state: &State) -> Vec<String> {
    let settings = [
        ("statement_timeout", state.query_timeout),
        ("idle_in_transaction_session_timeout", state.idle_timeout),
    ];
    let set = settings.into_iter().filter_map(|(name, value)| Some((name, value?)));
    set.map(|(name, value)| format!("SET LOCAL {name} = {value}")).collect()
}

/// Whether a state asks for a transaction of its own around a single statement.
pub(super) fn wants_wrap(state: &State) -> bool {
    !state.modes.is_empty() || state.query_timeout.is_some()
}

/// Writes what a statement takes and returns.
pub(super) fn describe(
    checked: &Checked,
    description: &Description,
    with_rows: bool,
    out: &mut BytesMut,
) {
    let output = if with_rows { description.output.described() } else { Described::NOTHING };
    let cardinality =
        if with_rows && description.returns_rows { Cardinality::Many } else { Cardinality::None };
    CommandDescription {
        capabilities: checked.capabilities,
        cardinality,
        input: description.input.described(),
        output,
    }
    .write(out);
}

impl Job {
    /// Writes the arguments as PostgreSQL wants them, where the statement is described.
    pub(super) fn bind(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        let (Kind::Execute(execution), Some(description)) = (&mut self.kind, &self.description)
        else {
            return Ok(());
        };
        if execution.input_id != description.input.id {
            describe(&self.checked, description, execution.wants_rows, out);
            let message = "the arguments are written by another descriptor";
            return Err(Failure::new(ErrorCode::PARAMETER_TYPES, message));
        }
        execution.bound.clear();
        let formats = description.formats();
        let types = &description.parameter_types;
        value::bind(&mut execution.bound, &execution.arguments, types, &formats)
            .map_err(|error| Failure::new(ErrorCode::INPUT_DATA, error.to_string()))
    }
}
