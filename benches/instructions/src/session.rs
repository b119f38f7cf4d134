//! Cases of the session machine: a client's messages in, the backend's answers back.

use std::hint::black_box;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use everline_core::session::settings::Settings;
use everline_core::session::{
    BackendState, Conversation, Flow, Incoming, Output, Policy, Relayed, Step,
};
use everline_wire::backend::{self, Column, TransactionStatus};
use everline_wire::frontend::{self, Target};
use everline_wire::{Header, frame};

use crate::codec;

const SQL: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 54321;";
const PREPARED: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = $1";
const STATEMENT: &[u8] = b"P0_1";

/// A session with a lease, as the pump has it between two reads.
struct Bench {
    conversation: Conversation,
    backend: BackendState,
    out: Output,
}

impl Bench {
    fn new() -> Self {
        let policy = Arc::new(Policy::default());
        Self {
            conversation: Conversation::new(1, policy, Arc::default(), Arc::default()),
            backend: BackendState::default(),
            out: Output::default(),
        }
    }

    /// The client's messages go to the backend, its answer to the client, and both sockets take
    /// everything.
    fn exchange(&mut self, asked: &[u8], answer: &[u8]) {
        let mut rest = black_box(asked);
        while let Ok(Some(Header { tag, body: body_bytes })) = frame::header(rest) {
            let (message, after) = rest.split_at(Header::BYTES + body_bytes);
            let body = message.get(Header::BYTES..).unwrap_or_default();
            let incoming = Incoming { tag, body_bytes, body };
            let backend = Some(&mut self.backend);
            let step = self.conversation.from_client(&incoming, backend, &mut self.out);
            assert!(matches!(step, Step::Taken(Flow::Forward | Flow::Discard)), "{step:?}");
            rest = after;
        }
        assert!(!self.out.to_backend.is_empty(), "the backend is asked");
        self.out.to_backend.clear();
        let mut input = BytesMut::from(black_box(answer));
        let relayed =
            self.conversation.relay(&mut self.backend, &mut input, &mut self.out.to_client);
        assert_eq!(relayed, Relayed::All);
        assert!(self.conversation.wants_release(), "all is answered");
        assert!(!self.out.to_client.is_empty(), "the client is answered");
        self.out.to_client.clear();
    }
}

/// The answer to a query with this many rows; `front` is what stands before it.
fn answer(front: &[u8], rows: u32) -> BytesMut {
    let mut out = BytesMut::from(front);
    let column = Column { name: "abalance", type_oid: 23, type_bytes: 4 };
    backend::row_description(&mut out, &[column]);
    codec::rows(rows, &mut out);
    backend::command_complete(&mut out, &format!("SELECT {rows}"));
    backend::ready_for_query(&mut out, TransactionStatus::Idle);
    out
}

pub(crate) fn simple_query(times: u32) {
    query(times, 1);
}

pub(crate) fn relay_1000_rows(times: u32) {
    query(times, 1000);
}

fn query(times: u32, rows: u32) {
    let mut bench = Bench::new();
    let mut asked = BytesMut::new();
    frontend::query(&mut asked, SQL);
    let answer = answer(&[], rows);
    for _ in 0..times {
        bench.exchange(&asked, &answer);
    }
}

/// Bind with one parameter in text, Describe, Execute, Sync.
fn run(statement: &[u8], out: &mut BytesMut) {
    let mut parameters = BytesMut::new();
    parameters.put_u16(0);
    parameters.put_u16(1);
    parameters.put_u32(5);
    parameters.put_slice(b"54321");
    parameters.put_u16(0);
    frontend::bind(out, b"", statement, &parameters, parameters.len());
    frontend::describe(out, Target::Portal, b"");
    frontend::execute(out, b"", 0);
    frontend::sync(out);
}

pub(crate) fn extended_query(times: u32) {
    let mut bench = Bench::new();
    let mut asked = BytesMut::new();
    frontend::parse(&mut asked, b"", PREPARED, &[]);
    run(b"", &mut asked);
    let mut front = BytesMut::new();
    backend::parse_complete(&mut front);
    backend::bind_complete(&mut front);
    let answer = answer(&front, 1);
    for _ in 0..times {
        bench.exchange(&asked, &answer);
    }
}

pub(crate) fn prepared_query(times: u32) {
    let mut bench = Bench::new();
    let mut asked = BytesMut::new();
    frontend::parse(&mut asked, STATEMENT, PREPARED, &[]);
    frontend::sync(&mut asked);
    let mut parsed = BytesMut::new();
    backend::parse_complete(&mut parsed);
    backend::ready_for_query(&mut parsed, TransactionStatus::Idle);
    bench.exchange(&asked, &parsed);
    asked.clear();
    run(STATEMENT, &mut asked);
    let mut front = BytesMut::new();
    backend::bind_complete(&mut front);
    let answer = answer(&front, 1);
    for _ in 0..times {
        bench.exchange(&asked, &answer);
    }
}

pub(crate) fn settings_difference(times: u32) {
    let ours = Settings::from_startup([
        ("application_name", "orders"),
        ("datestyle", "ISO"),
        ("search_path", "orders,public"),
        ("statement_timeout", "30s"),
        ("timezone", "Europe/Berlin"),
    ]);
    let theirs = Settings::from_startup([
        ("application_name", "billing"),
        ("datestyle", "ISO"),
        ("lock_timeout", "5s"),
        ("search_path", "billing,public"),
        ("timezone", "UTC"),
    ]);
    for _ in 0..times {
        let mut sql = Vec::new();
        black_box(&ours).difference(black_box(&theirs), &mut sql);
        assert!(!black_box(&sql).is_empty());
    }
}
