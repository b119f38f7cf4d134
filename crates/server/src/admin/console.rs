//! The SQL console: what a client of the database `everline` talks to.
//!
//! It speaks both of PostgreSQL's query protocols, so that psql, drivers and their pools can use
//! it. Nothing of it touches a backend, so it answers whatever the leader does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use everline_wire::backend::{self, TransactionStatus};
use everline_wire::fields::{Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::frontend::{self as messages, Target};
use everline_wire::sqlstate::SqlState;
use everline_wire::tag::frontend as tag;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::averages::Averages;
use super::command::{self, Command, NoCommand, Order, Probe};
use super::control::{Complaint, Request};
use super::guests::Guests;
use super::show::{self, Show};
use super::status::Observer;
use super::table::{self, Column, Format, Formats, Kind, Row, Value};
use crate::config::Shown;
use crate::frontend::{Role, Visitor};
use crate::net::stream::Stream;
use crate::supervisor::Control;

/// Consoles open at the same time; the one that has been open longest makes room.
const CONSOLES_MAX: usize = 64;

/// Longest message that is read, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Prepared statements, and portals, of one console.
const PREPARED_MAX: usize = 100;

/// How long a client may take to read an answer.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// What all consoles share.
#[derive(Debug)]
pub struct Desk {
    /// What there is to see.
    pub observer: Arc<Observer>,
    /// What was usual in the last minute.
    pub averages: Averages,
    /// The settings as they are in force.
    pub settings: Mutex<Vec<Shown>>,
    /// What only the process as a whole can do.
    pub requests: mpsc::Sender<Request>,
    /// How the leader is looked for anew.
    pub control: Control,
}

/// Serves visitors until `stop` is cancelled.
pub async fn serve(
    mut visitors: mpsc::Receiver<Visitor>,
    desk: Arc<Desk>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let guests = Guests::new(CONSOLES_MAX);
    loop {
        let visitor = tokio::select! {
            biased; // told to stop, nobody new is let in
            () = stop.cancelled() => return,
            visitor = visitors.recv() => visitor,
        };
        let Some(visitor) = visitor else { return };
        let (guest, desk, stop) = (guests.enter(), Arc::clone(&desk), stop.clone());
        tasks.spawn(async move {
            let leaves = guest.leaves();
            let user = visitor.user.clone();
            tracing::info!(user, role = ?visitor.role, "console opened");
            tokio::select! {
                biased; // told to stop, nobody is waited for
                () = stop.cancelled() => {}
                () = leaves.cancelled() => tracing::info!(user, "console makes room for another"),
                ended = Console::new(visitor, desk).run() => {
                    if let Err(error) = ended {
                        tracing::debug!(user, %error, "console lost");
                    }
                }
            }
        });
    }
}

/// One client's console.
struct Console {
    desk: Arc<Desk>,
    stream: Stream,
    input: BytesMut,
    out: BytesMut,
    user: String,
    role: Role,
    status: TransactionStatus,
    prepared: BTreeMap<Bytes, Arc<Prepared>>,
    portals: BTreeMap<Bytes, (Arc<Prepared>, Formats)>,
    /// An extended message has failed: all is skipped until Sync.
    skips: bool,
}

/// A statement that was read without a fault.
#[derive(Debug)]
struct Prepared(Command);

/// Whether the console goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    More,
    End,
}

impl Console {
    fn new(visitor: Visitor, desk: Arc<Desk>) -> Self {
        let Visitor { stream, input, user, role } = visitor;
        Self {
            desk,
            stream,
            input,
            out: BytesMut::new(),
            user,
            role,
            status: TransactionStatus::Idle,
            prepared: BTreeMap::new(),
            portals: BTreeMap::new(),
            skips: false,
        }
    }

    async fn run(mut self) -> io::Result<()> {
        self.welcome();
        loop {
            self.flush().await?;
            let message = loop {
                match self.message() {
                    Ok(Some(message)) => break message,
                    Ok(None) => {}
                    Err(what) => {
                        self.report(Severity::Fatal, SqlState::PROTOCOL_VIOLATION, &what, None);
                        return self.flush().await;
                    }
                }
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Ok(());
                }
            };
            if self.take(message.0, &message.1).await? == Next::End {
                return self.flush().await;
            }
        }
    }

    fn welcome(&mut self) {
        let out = &mut self.out;
        backend::authentication_ok(out);
        for (name, value) in [
            ("server_version", command::SERVER_VERSION),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
            ("application_name", ""),
            ("DateStyle", "ISO, MDY"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "Etc/UTC"),
            ("integer_datetimes", "on"),
            ("standard_conforming_strings", "on"),
            ("in_hot_standby", "off"),
            ("default_transaction_read_only", "off"),
            ("session_authorization", &self.user),
            ("is_superuser", if self.role == Role::Admin { "on" } else { "off" }),
        ] {
            backend::parameter_status(out, name, value);
        }
        // A cancel request with this key finds nobody: whoever leaves ends what was waited for.
        backend::key_data(out, std::process::id() & 0x7fff_ffff, &[0; 4]);
        backend::ready_for_query(out, TransactionStatus::Idle);
    }

    /// The next message, once it is there.
    fn message(&mut self) -> Result<Option<(u8, Bytes)>, String> {
        let header = frame::header(&self.input).map_err(|error| error.to_string())?;
        let Some(header) = header else { return Ok(None) };
        if frame::frontend_body_max(header.tag).is_none() {
            return Err(format!("invalid frontend message type {}", header.tag));
        }
        if header.body > MESSAGE_BYTES_MAX {
            return Err("the message is too long for the console".to_owned());
        }
        if self.input.len() < header.total() {
            return Ok(None);
        }
        let mut message = self.input.split_to(header.total()).freeze();
        message.advance(Header::BYTES);
        Ok(Some((header.tag, message)))
    }

    async fn flush(&mut self) -> io::Result<()> {
        let writing = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        let written = timeout(WRITE_MAX, writing).await;
        self.out.clear();
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn take(&mut self, message_tag: u8, body: &Bytes) -> io::Result<Next> {
        match message_tag {
            tag::TERMINATE => return Ok(Next::End),
            tag::SYNC => {
                self.skips = false;
                backend::ready_for_query(&mut self.out, self.status);
            }
            tag::QUERY => {
                self.skips = false;
                if self.query(body).await? == Next::End {
                    return Ok(Next::End);
                }
                backend::ready_for_query(&mut self.out, self.status);
            }
            tag::FLUSH => {}
            _ if self.skips => {}
            tag::PARSE => self.parse(body),
            tag::BIND => self.bind(body),
            tag::DESCRIBE => self.describe(body),
            tag::EXECUTE => return self.execute(body).await,
            tag::CLOSE => self.close(body),
            _ => self.fail(SqlState::FEATURE_NOT_SUPPORTED, "the console does not do that", None),
        }
        Ok(Next::More)
    }

    async fn query(&mut self, body: &Bytes) -> io::Result<Next> {
        let text = String::from_utf8_lossy(body.strip_suffix(&[0]).unwrap_or(body)).into_owned();
        let statements = command::statements(&text);
        if statements.is_empty() {
            backend::empty_query(&mut self.out);
        }
        for statement in statements {
            let command = match command::parse(&statement) {
                Ok(command) => command,
                Err(error) => {
                    self.not_a_command(&error);
                    break;
                }
            };
            if let Some(columns) = Self::columns(&command) {
                table::describe(&mut self.out, &columns, &Formats::default());
            }
            match self.perform(&command, &Formats::default()).await? {
                Done::Yes => {}
                Done::Failed => break,
                Done::Gone => return Ok(Next::End),
            }
        }
        Ok(Next::More)
    }

    fn parse(&mut self, body: &Bytes) {
        let Ok(view) = messages::Parse::parse(body) else { return self.malformed() };
        let text = String::from_utf8_lossy(view.sql).into_owned();
        let name = Bytes::copy_from_slice(view.name);
        match command::parse(text.trim().trim_end_matches(';')) {
            Ok(command) => {
                if self.prepared.len() >= PREPARED_MAX && !self.prepared.contains_key(&name) {
                    let words = "too many prepared statements";
                    return self.fail(SqlState::PROGRAM_LIMIT_EXCEEDED, words, None);
                }
                self.prepared.insert(name, Arc::new(Prepared(command)));
                backend::parse_complete(&mut self.out);
            }
            Err(error) => self.not_a_command(&error),
        }
    }

    fn bind(&mut self, body: &Bytes) {
        let Ok(view) = messages::Bind::parse(body) else { return self.malformed() };
        let Some(prepared) = self.prepared.get(view.statement).map(Arc::clone) else {
            return self.no_statement();
        };
        let Some(formats) = formats(view.rest) else {
            let words = "the console takes no parameters";
            return self.fail(SqlState::FEATURE_NOT_SUPPORTED, words, None);
        };
        let name = Bytes::copy_from_slice(view.portal);
        if self.portals.len() >= PREPARED_MAX && !self.portals.contains_key(&name) {
            return self.fail(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many portals", None);
        }
        self.portals.insert(name, (prepared, formats));
        backend::bind_complete(&mut self.out);
    }

    fn describe(&mut self, body: &Bytes) {
        let Ok(view) = messages::Describe::parse(body) else { return self.malformed() };
        let found = match view.kind {
            Target::Statement => {
                let prepared = self.prepared.get(view.name).map(Arc::clone);
                prepared.map(|prepared| (prepared, Formats::default()))
            }
            Target::Portal => self.portals.get(view.name).cloned(),
        };
        let Some((prepared, formats)) = found else { return self.no_statement() };
        if view.kind == Target::Statement {
            backend::parameter_description(&mut self.out, &[]);
        }
        match Self::columns(&prepared.0) {
            Some(columns) => table::describe(&mut self.out, &columns, &formats),
            None => backend::no_data(&mut self.out),
        }
    }

    async fn execute(&mut self, body: &Bytes) -> io::Result<Next> {
        let Ok(view) = messages::Execute::parse(body) else {
            self.malformed();
            return Ok(Next::More);
        };
        let Some((prepared, formats)) = self.portals.get(view.portal).cloned() else {
            self.no_statement();
            return Ok(Next::More);
        };
        Ok(match self.perform(&prepared.0, &formats).await? {
            Done::Yes => Next::More,
            Done::Failed => {
                self.skips = true;
                Next::More
            }
            Done::Gone => Next::End,
        })
    }

    fn close(&mut self, body: &Bytes) {
        let Ok(view) = messages::Close::parse(body) else { return self.malformed() };
        match view.kind {
            Target::Statement => drop(self.prepared.remove(view.name)),
            Target::Portal => drop(self.portals.remove(view.name)),
        }
        backend::close_complete(&mut self.out);
    }

    /// The columns of what a command returns, if it returns rows.
    fn columns(command: &Command) -> Option<Vec<Column>> {
        match command {
            Command::Show(Show { columns, .. }) => Some(columns.to_vec()),
            Command::StateOf(_) => Some(vec![table::text("name"), table::text("value")]),
            Command::Probe(probe) => {
                let name = match probe {
                    Probe::Number(_) => "?column?",
                    Probe::Version => "version",
                    Probe::Database => "current_database",
                    Probe::User => "current_user",
                    Probe::Parameter(name, _) => name,
                };
                let kind = match probe {
                    Probe::Number(_) => Kind::Int,
                    Probe::Version | Probe::Database | Probe::User | Probe::Parameter(_, _) => {
                        Kind::Text
                    }
                };
                Some(vec![Column { name, kind }])
            }
            Command::Empty
            | Command::Help
            | Command::Ignore(_)
            | Command::Begin
            | Command::End(_)
            | Command::Order(_) => None,
        }
    }

    async fn perform(&mut self, command: &Command, formats: &Formats) -> io::Result<Done> {
        let complete = match command {
            Command::Empty => {
                backend::empty_query(&mut self.out);
                return Ok(Done::Yes);
            }
            Command::Help => {
                self.help();
                "SHOW"
            }
            Command::Show(show) => {
                let rows = show.rows(&self.desk);
                self.rows(&rows, formats);
                "SHOW"
            }
            Command::StateOf(number) => {
                let Some(client) = self.desk.observer.context.roster.client(*number) else {
                    let words = format!("there is no client {number}; SHOW CLIENTS lists them");
                    self.report(Severity::Error, SqlState::UNDEFINED_OBJECT, &words, None);
                    return Ok(Done::Failed);
                };
                self.rows(&show::state_of(&client, &self.desk), formats);
                "SHOW"
            }
            Command::Probe(probe) => {
                let value = match probe {
                    Probe::Number(number) => Value::Int(*number),
                    Probe::Version => format!("PostgreSQL {}", command::SERVER_VERSION).into(),
                    Probe::Database => crate::frontend::CONSOLE.into(),
                    Probe::User => self.user.as_str().into(),
                    Probe::Parameter(_, value) => (*value).into(),
                };
                self.rows(&[vec![value]], formats);
                "SELECT 1"
            }
            Command::Ignore(complete) => complete,
            Command::Begin => {
                self.status = TransactionStatus::InTransaction;
                "BEGIN"
            }
            Command::End(complete) => {
                self.status = TransactionStatus::Idle;
                complete
            }
            Command::Order(order) => return self.obey(order).await,
        };
        backend::command_complete(&mut self.out, complete);
        Ok(Done::Yes)
    }

    async fn obey(&mut self, order: &Order) -> io::Result<Done> {
        if self.role != Role::Admin {
            let words = "only an administrator may do that";
            let hint = "The setting admin_users says who is one.";
            self.report(Severity::Error, SqlState::INSUFFICIENT_PRIVILEGE, words, Some(hint));
            return Ok(Done::Failed);
        }
        tracing::info!(user = self.user, ?order, "console command");
        let desk = Arc::clone(&self.desk);
        let outcome = tokio::select! {
            biased; // what is done is said
            outcome = desk.obey(order) => outcome,
            () = self.gone() => return Ok(Done::Gone),
        };
        match outcome {
            Ok(done) => {
                for notice in &done.notices {
                    self.notice(notice);
                }
                backend::command_complete(&mut self.out, done.complete);
                Ok(Done::Yes)
            }
            Err(Complaint { code, words }) => {
                self.report(Severity::Error, code, &words, None);
                Ok(Done::Failed)
            }
        }
    }

    /// Returns when the client has left, or said more than it may while a command runs.
    async fn gone(&mut self) {
        while self.input.len() < MESSAGE_BYTES_MAX {
            if !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {
                return;
            }
            if self.input.first() == Some(&tag::TERMINATE) {
                return;
            }
        }
    }

    fn rows(&mut self, rows: &[Row], formats: &Formats) {
        for row in rows {
            table::row(&mut self.out, row, formats);
        }
    }

    fn help(&mut self) {
        let mut words = String::from("Everline's console\n");
        for table in show::TABLES {
            let _ = writeln!(words, "\tSHOW {:<22} {}", table.name, table.about);
        }
        for (line, about) in super::control::HELP {
            let _ = writeln!(words, "\t{line:<27} {about}");
        }
        self.notice(words.trim_end());
    }

    fn notice(&mut self, words: &str) {
        let code = SqlState::SUCCESSFUL_COMPLETION;
        Report { severity: Severity::Notice, code, message: words, detail: None, hint: None }
            .notice_response(&mut self.out);
    }

    fn report(&mut self, severity: Severity, code: SqlState, message: &str, hint: Option<&str>) {
        Report { severity, code, message, detail: None, hint }.error_response(&mut self.out);
    }

    fn fail(&mut self, code: SqlState, message: &str, hint: Option<&str>) {
        self.report(Severity::Error, code, message, hint);
        self.skips = true;
    }

    fn malformed(&mut self) {
        self.fail(SqlState::PROTOCOL_VIOLATION, "malformed message", None);
    }

    fn no_statement(&mut self) {
        let words = "there is no such statement or portal";
        self.fail(SqlState::INVALID_SQL_STATEMENT_NAME, words, None);
    }

    fn not_a_command(&mut self, why: &NoCommand) {
        match why {
            NoCommand::Unknown(what) => {
                let words = format!("invalid command '{what}', use SHOW HELP;");
                self.fail(SqlState::SYNTAX_ERROR, &words, None);
            }
            NoCommand::Tables => self.fail(
                SqlState::FEATURE_NOT_SUPPORTED,
                "Everline's console has no tables, use SHOW HELP;",
                Some("Your own database is reached under its own name."),
            ),
        }
    }
}

/// What came of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Done {
    Yes,
    Failed,
    Gone,
}

/// The result formats in a Bind without parameters.
fn formats(mut rest: &[u8]) -> Option<Formats> {
    let codes = numbers(&mut rest)?;
    drop(codes);
    let (count, after) = rest.split_first_chunk::<2>()?;
    if *count != [0, 0] {
        return None;
    }
    rest = after;
    let codes = numbers(&mut rest)?;
    let format = |code: u16| if code == 1 { Format::Binary } else { Format::Text };
    Some(Formats(codes.into_iter().map(format).collect()))
}

/// A counted list of 16-bit numbers.
fn numbers(rest: &mut &[u8]) -> Option<Vec<u16>> {
    let mut next = || {
        let (number, after) = rest.split_first_chunk::<2>()?;
        *rest = after;
        Some(u16::from_be_bytes(*number))
    };
    let count = next()?;
    (0..count).map(|_| next()).collect()
}
