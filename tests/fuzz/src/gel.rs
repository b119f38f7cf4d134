//! Gel's protocol: frames with all that they hold, and a session whose two sides say anything.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use everline_core::refusal::Refusal;
use everline_core::session::BackendState;
use everline_core::session::gel::{Descriptions, GelPolicy, Machine, Progress, Step};
use everline_wire::backend::view::data_row;
use everline_wire::backend::{self, TransactionStatus};
use everline_wire::fields::{Report, Severity};
use everline_wire::sqlstate::SqlState;
use everline_wire_gel::capability::Class;
use everline_wire_gel::client::{Execute, Handshake, Parse, sasl_initial, sasl_response};
use everline_wire_gel::descriptor::distinct;
use everline_wire_gel::edgeql::Control;
use everline_wire_gel::error::{ErrorCode, Place};
use everline_wire_gel::frame::{self, Header, Phase};
use everline_wire_gel::server::Status;
use everline_wire_gel::state::{self, State};
use everline_wire_gel::types::Type;
use everline_wire_gel::value;

use crate::input::Input;

/// OIDs that are in the table, and some that are not.
const OIDS: [u32; 14] = [16, 17, 20, 21, 23, 25, 26, 114, 869, 1009, 1231, 3802, 3904, 4451];
/// Longest play.
const STEPS_MAX: usize = 300;

/// Frames, each body read as everything that it might be.
pub fn frames(data: &[u8]) {
    let mut rest = data;
    let mut phase = Phase::Handshake;
    while let Ok(Some(header)) = frame::header(rest, phase) {
        let length = u32::try_from(header.body + 4).unwrap().to_be_bytes();
        assert_eq!(&rest[1..Header::BYTES], length);
        assert!(Some(header.body) <= frame::body_max(header.tag, phase));
        let came = rest.len().min(header.total());
        body(&rest[Header::BYTES..came]);
        rest = &rest[came..];
        phase = Phase::Commands;
    }
    body(data);
}

fn body(body: &[u8]) {
    let _: Result<_, _> = sasl_initial(body);
    let _: Result<_, _> = sasl_response(body);
    let _: Result<_, _> = Parse::parse(body);
    let _: Result<_, _> = State::parse(body);
    if let Ok(handshake) = Handshake::parse(body) {
        assert!(handshake.user.is_none_or(|user| user.len() <= body.len()));
    }
    if let Ok(execute) = Execute::parse(body) {
        let text = execute.command.text;
        let class = Class::of(text);
        assert!(!class.read_only || class.capabilities == 0, "reads, and has capabilities");
        let _: Option<Control> = Control::parse(text);
        let _: Result<_, _> = State::parse(execute.command.state);
        if let Some(place) = Place::of(text, "3") {
            assert!(text.is_char_boundary(place.byte));
        }
        let names: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let told_apart = distinct(names.clone());
        assert_eq!(told_apart.len(), names.len());
        arguments(execute.arguments);
    }
    arguments(body);
}

/// Arguments become PostgreSQL's, and what PostgreSQL would send back is the same row.
fn arguments(bytes: &[u8]) {
    let count = bytes.get(3).map_or(0, |count| usize::from(*count));
    let types = vec![Type::of(17); count];
    let mut out = BytesMut::new();
    if value::bind(&mut out, bytes, &types, &[]).is_ok() && !bytes.is_empty() {
        let row = data_row(&out[2 + 2 * count..out.len() - 2]).expect("a row");
        let mut data = BytesMut::new();
        value::row(&mut data, row, &types);
        let again: Vec<u8> = data[11..].to_vec();
        assert_eq!(again.len(), bytes.len());
    }
    let mut out = BytesMut::new();
    let _: Result<_, _> = value::bind(&mut out, bytes, &OIDS.map(Type::of), &[1]);
    assert!(out.len() <= bytes.len() + 4 * OIDS.len() + 64);
}

/// Statements of SQL and of `EdgeQL` that clients may send.
const TEXTS: [&str; 12] = [
    "SELECT 1",
    "SELECT f()",
    "INSERT INTO t VALUES ($1)",
    "UPDATE t SET n = 1",
    "CREATE TABLE t ()",
    "BEGIN",
    "COPY t FROM STDIN",
    "CREATE TEMP TABLE t ()",
    "VALUES (1)",
    "",
    "SELECT 1; SELECT 2",
    "SHOW x",
];
const CONTROLS: [&str; 10] = [
    "START TRANSACTION",
    "START TRANSACTION ISOLATION REPEATABLE READ, READ ONLY",
    "COMMIT",
    "COMMIT;",
    "ROLLBACK",
    "DECLARE SAVEPOINT a",
    "RELEASE SAVEPOINT a",
    "ROLLBACK TO SAVEPOINT a",
    "select 1",
    "start",
];
const CODES: [&str; 8] = ["42601", "25006", "57P01", "40001", "25P02", "23505", "53300", "22012"];

struct Play {
    machine: Machine,
    known: Descriptions,
    backend: BackendState,
    state: [u8; 16],
    leased: bool,
    /// It asked for a connection.
    runs: bool,
    to_client: BytesMut,
    to_backend: BytesMut,
    /// Sync that are to be answered.
    asked: usize,
    /// A COMMIT has been sent and is not answered.
    commit_sent: bool,
}

/// A session whose client and backend say anything. What is written is whole messages; who waits
/// for nothing is told nothing; a COMMIT that was sent and is lost is never called repeatable.
pub fn session(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let state = state::descriptor();
    let id = state.id;
    let policy = GelPolicy {
        edgeql_as_sql: flags & 1 != 0,
        unavailable: ErrorCode::BACKEND_UNAVAILABLE,
        in_flight_select_retryable: flags & 2 != 0,
        settings: Arc::default(),
        state,
    };
    let mut play = Play {
        machine: Machine::new(Arc::new(policy)),
        known: Descriptions::default(),
        backend: BackendState::default(),
        state: id,
        leased: false,
        runs: false,
        to_client: BytesMut::new(),
        to_backend: BytesMut::new(),
        asked: 0,
        commit_sent: false,
    };
    for _ in 0..STEPS_MAX {
        if input.is_empty() || !play.step(&mut input) {
            break;
        }
    }
}

impl Play {
    /// False when the client is gone.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        let goes_on = match input.below(8) {
            0..3 if self.machine.is_busy() => self.serve(input),
            0..3 => self.say(input),
            3..6 => self.hear(input),
            6 => self.lose(),
            _ => {
                let _ = (self.machine.take_doubtful(), self.machine.take_tally());
                true
            }
        };
        self.look();
        goes_on
    }

    fn say(&mut self, input: &mut Input<'_>) -> bool {
        let (tag, body) = match input.below(4) {
            0 => (b'S', Vec::new()),
            1 => (input.one(b"POSHX><=.?V"), input.bytes().to_vec()),
            _ => self.command(input),
        };
        if tag == b'S' {
            self.asked += 1;
        }
        let step = self.machine.from_client(tag, &body, &self.known, &mut self.to_client);
        self.runs = step == Step::Run;
        assert_eq!(self.runs, self.machine.is_busy());
        step != Step::Close
    }

    fn command(&self, input: &mut Input<'_>) -> (u8, Vec<u8>) {
        let tag = input.one(b"PO");
        let (language, text) = match input.below(2) {
            0 => (b'S', input.one(&TEXTS)),
            _ => (b'E', input.one(&CONTROLS)),
        };
        let mut body = BytesMut::new();
        body.put_u16(0);
        body.put_u64(if input.byte() == 9 { 0 } else { u64::MAX });
        body.put_u64(0);
        body.put_u64(u64::from(input.byte() / 200));
        body.put_slice(&[language, input.one(b"bnnj"), input.one(b"mmo")]);
        body.put_u32(u32::try_from(text.len()).unwrap());
        body.put_slice(text.as_bytes());
        let state = if input.byte().is_multiple_of(3) { input.bytes() } else { &[] };
        body.put_slice(&if state.is_empty() { [0; 16] } else { self.state });
        body.put_u32(u32::try_from(state.len()).unwrap());
        body.put_slice(state);
        if tag == b'O' {
            let known = self.known.get(everline_core::session::gel::describe::Shape::Record, text);
            let known = known.filter(|_| input.byte().is_multiple_of(2));
            body.put_slice(&known.map_or([0; 16], |known| known.input.id));
            body.put_slice(&[0; 16]);
            let arguments = input.bytes();
            body.put_u32(u32::try_from(arguments.len()).unwrap());
            body.put_slice(arguments);
        }
        (tag, body.to_vec())
    }

    /// A connection for the command that wants one, or none.
    fn serve(&mut self, input: &mut Input<'_>) -> bool {
        if !self.runs {
            return true;
        }
        self.runs = false;
        if !self.leased && input.byte().is_multiple_of(4) {
            let refusal = Refusal::FailingOver { held: Duration::from_secs(5) };
            self.machine.refuse(&refusal, &mut self.to_client);
            assert!(!self.machine.is_busy(), "waits after it was refused");
            return true;
        }
        if !self.leased {
            self.backend = BackendState::default();
            self.leased = true;
        }
        self.machine.dispatch(&mut self.backend, &mut self.to_backend);
        self.send();
        true
    }

    /// What is sent is whole messages.
    fn send(&mut self) {
        let sent = self.to_backend.split();
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let header = everline_wire::frame::header(rest).expect("a header").expect("whole");
            self.commit_sent |= rest[..header.total()].windows(8).any(|part| part == b"\0COMMIT\0");
            rest = &rest[header.total()..];
        }
    }

    fn hear(&mut self, input: &mut Input<'_>) -> bool {
        if !self.leased {
            return true;
        }
        let (tag, body) = said(input);
        let progress = self.machine.from_backend(
            &mut self.backend,
            &mut self.known,
            (tag, &body),
            &mut self.to_backend,
            &mut self.to_client,
        );
        self.send();
        match progress {
            Progress::More => {}
            Progress::Done => {
                assert!(!self.machine.is_busy());
                self.commit_sent = false;
            }
            Progress::Lost => return self.lose(),
        }
        if !self.machine.holds_lease() {
            self.leased = false;
        }
        true
    }

    fn lose(&mut self) -> bool {
        if !self.leased {
            return true;
        }
        self.look();
        self.leased = false;
        self.to_backend.clear();
        let waits = self.machine.is_busy();
        if self.machine.begin_again() {
            assert!(waits && !self.commit_sent, "a COMMIT that was sent begins again");
            self.runs = true;
            return true;
        }
        self.runs = false;
        let outside = self.machine.status() == Status::Idle;
        self.machine.backend_lost(&mut self.to_client);
        assert!(!self.machine.is_busy() && !self.machine.holds_lease());
        assert!(waits || self.to_client.is_empty(), "told although it waits for nothing");
        if std::mem::take(&mut self.commit_sent) && waits && !outside {
            let told = codes(&self.to_client);
            let repeatable = [ErrorCode::BACKEND_UNAVAILABLE, ErrorCode::SERIALIZATION];
            let again = told.iter().any(|code| repeatable.iter().any(|known| known.0 == *code));
            assert!(!again, "a COMMIT that was sent is called repeatable: {told:?}");
        }
        true
    }

    fn look(&mut self) {
        let told = self.to_client.split();
        let mut rest = &told[..];
        while let Some([tag, a, b, c, d]) = rest.first_chunk().copied() {
            let total = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap() + 1;
            if tag == b'Z' {
                assert!(self.asked > 0, "ready although nobody has asked");
                self.asked -= 1;
            }
            rest = rest.get(total..).expect("a whole message");
        }
        assert!(rest.is_empty(), "half a message");
        assert_eq!(self.asked, 0, "Sync is answered at once");
    }
}

/// The codes of the errors among these messages.
fn codes(mut bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while let Some([tag, a, b, c, d]) = bytes.first_chunk().copied() {
        if tag == b'E' {
            found.push(u32::from_be_bytes(bytes[6..10].try_into().expect("four bytes")));
        }
        bytes = &bytes[usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap() + 1..];
    }
    found
}

/// A message of the backend: its type and its body.
fn said(input: &mut Input<'_>) -> (u8, Vec<u8>) {
    let mut out = BytesMut::new();
    match input.below(16) {
        0 | 1 => backend::parse_complete(&mut out),
        2 | 3 => backend::bind_complete(&mut out),
        4 => backend::no_data(&mut out),
        5 => {
            let oids = [input.one(&OIDS), input.one(&OIDS)];
            backend::parameter_description(&mut out, &oids[..input.below(3)]);
        }
        6 => backend::row_description(&mut out, &[backend::Column::text("v")]),
        7 => backend::data_row(&mut out, [Some(input.bytes())]),
        8 | 9 => {
            let words = ["SELECT 1", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "INSERT 0 1"];
            backend::command_complete(&mut out, input.one(&words));
        }
        10 => backend::portal_suspended(&mut out),
        11..14 => {
            let statuses = [
                TransactionStatus::Idle,
                TransactionStatus::InTransaction,
                TransactionStatus::Failed,
            ];
            backend::ready_for_query(&mut out, input.one(&statuses));
        }
        14 => {
            let severities = [Severity::Error, Severity::Error, Severity::Fatal];
            let code: SqlState = input.one(&CODES).parse().expect("a code");
            Report::new(input.one(&severities), code, "words").error_response(&mut out);
        }
        _ => return (input.byte(), input.bytes().to_vec()),
    }
    (out[0], out[everline_wire::Header::BYTES..].to_vec())
}
