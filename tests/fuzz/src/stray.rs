//! A conversation whose client and whose backend say anything, and whose connections die.
//!
//! What has to hold: nothing panics; what is written, either way, is whole messages; a client that
//! waits for nothing is told nothing of a loss; each ReadyForQuery was asked for, or is the
//! backend's; and nobody is left waiting for a connection that is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use everline_core::refusal::Refusal;
use everline_core::session::{BackendState, Conversation, Incoming, Output, Relayed, Step};
use everline_wire::backend::{self, Column, TransactionStatus};
use everline_wire::fields::{Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::sqlstate::SqlState;
use everline_wire::{frontend, tag};

use crate::conversation::{TEXTS, message};
use crate::input::Input;

/// Longest play.
const STEPS_MAX: usize = 300;

/// Further texts, which tie a session to its connection or are otherwise delicate.
const DELICATE: &[&str] = &[
    "CREATE TEMP TABLE t (n int)",
    "SELECT pg_advisory_lock(1)",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN a",
    "NOTIFY a",
    "SET LOCAL a.b TO 1",
    "SET ROLE x",
    "DISCARD ALL",
    "COPY t FROM STDIN",
    "INSERT INTO t VALUES (1)",
    "DO $$ BEGIN END $$",
    "CALL p()",
    "COMMIT AND CHAIN",
    "PREPARE TRANSACTION 'x'",
    "SELECT set_config('a.b', '1', false)",
    "BEGIN READ ONLY",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
];

/// The codes with which backends refuse and end.
const CODES: &[&str] = &["42601", "25006", "57P01", "57P02", "40001", "25P02", "0A000", "53300"];

struct Play {
    conversation: Conversation,
    lease: Option<BackendState>,
    /// What the backend has said and the conversation has not taken.
    read: BytesMut,
    out: Output,
    /// A message that has to be offered again.
    pending: Option<BytesMut>,
    /// Messages taken back, and those that came behind them.
    behind: BytesMut,
    /// ReadyForQuery that the client may hear yet: it asked for one, or the backend said one.
    asked: usize,
    over: bool,
}

/// Plays events out of bytes.
pub fn conversation(data: &[u8]) {
    let mut input = Input::new(data);
    let mut play = Play {
        conversation: Conversation::new(1, Arc::default(), Arc::default(), Arc::default()),
        lease: None,
        read: BytesMut::new(),
        out: Output::default(),
        pending: None,
        behind: BytesMut::new(),
        asked: 0,
        over: false,
    };
    for _ in 0..STEPS_MAX {
        if input.is_empty() || play.over {
            break;
        }
        play.step(&mut input);
        play.look();
    }
}

impl Play {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..6 if self.pending.is_none() => self.say(input),
            0..6 => self.lend(input),
            6..12 => self.hear(input),
            12 => self.lose(),
            13 => self.refuse(),
            14 => {
                self.conversation.take_tally();
                let _ = (self.conversation.may_move(), self.conversation.may_begin());
                let _ = (self.conversation.leaves_clean(), self.conversation.pins());
            }
            _ => self.listen(),
        }
    }

    /// The client says something.
    fn say(&mut self, input: &mut Input<'_>) {
        let bytes = match input.below(4) {
            0 | 1 => message(input),
            2 => {
                let text = input.one(DELICATE).as_bytes();
                let mut out = BytesMut::new();
                if input.byte().is_multiple_of(2) {
                    frontend::query(&mut out, text);
                } else {
                    frontend::parse(&mut out, b"", text, b"\0\0");
                }
                out
            }
            _ => raw(input.one(b"QPBEDCSHFdcfXp?"), input.bytes()),
        };
        if matches!(bytes[0], tag::frontend::QUERY | tag::frontend::SYNC | b'F') {
            self.asked += 1;
        }
        self.offer(bytes);
    }

    fn offer(&mut self, bytes: BytesMut) {
        let body = &bytes[Header::BYTES..];
        let incoming = Incoming { tag: bytes[0], body_bytes: body.len(), body };
        match self.conversation.from_client(&incoming, self.lease.as_mut(), &mut self.out) {
            Step::Taken(_) => {}
            Step::Lease => {
                assert!(self.lease.is_none(), "asks for a lease while it has one");
                self.pending = Some(bytes);
            }
            Step::Hold | Step::Wait => self.pending = Some(bytes),
            Step::Whole => panic!("it is whole"),
            Step::Close => self.over = true,
        }
    }

    fn offer_behind(&mut self) {
        while self.pending.is_none() && !self.over {
            let Ok(Some(header)) = frame::header(&self.behind) else { break };
            let message = self.behind.split_to(header.total());
            self.offer(message);
        }
    }

    /// There is a connection for the message that waits, or an answer that it waited for.
    fn lend(&mut self, input: &mut Input<'_>) {
        if self.lease.is_none() {
            self.lease = Some(BackendState { withheld: input.byte() == 7, ..Default::default() });
            self.read.clear();
        }
        if let Some(bytes) = self.pending.take() {
            self.offer(bytes);
        }
        self.offer_behind();
    }

    /// The backend says something.
    fn hear(&mut self, input: &mut Input<'_>) {
        let at = self.read.len();
        backend_message(input, &mut self.read);
        self.asked += usize::from(self.read.get(at) == Some(&tag::backend::READY_FOR_QUERY));
        let Some(state) = &mut self.lease else {
            self.read.clear();
            return;
        };
        let out = &mut self.out.to_client;
        match self.conversation.relay(state, &mut self.read, out) {
            Relayed::All | Relayed::Doubtful => {}
            Relayed::Demoted | Relayed::Stale => {
                self.lease = None;
                self.read.clear();
                self.out.to_backend.clear();
                let mut again = self.conversation.take_back();
                again.extend_from_slice(&self.pending.take().unwrap_or_default());
                again.extend_from_slice(&self.behind.split());
                self.behind = again;
                self.offer_behind();
            }
            Relayed::Lost(loss) => {
                assert!(!loss.to_string().is_empty());
                self.lose();
            }
        }
    }

    fn lose(&mut self) {
        if self.lease.take().is_none() {
            return;
        }
        self.read.clear();
        self.out.to_backend.clear();
        let waits = self.conversation.awaits_backend();
        let told = self.out.to_client.len();
        self.conversation.backend_lost(&mut self.out.to_client);
        assert!(waits || self.out.to_client.len() == told, "told although it waits for nothing");
        assert!(!self.conversation.awaits_backend(), "waits for a connection that is gone");
        if let Some(bytes) = self.pending.take() {
            self.offer(bytes);
        }
        self.offer_behind();
    }

    fn refuse(&mut self) {
        if self.lease.is_some() {
            return;
        }
        let Some(bytes) = self.pending.take() else { return };
        let body = &bytes[Header::BYTES..];
        let incoming = Incoming { tag: bytes[0], body_bytes: body.len(), body };
        let out = &mut self.out.to_client;
        if !self.conversation.reset_without_leader(&incoming, out) {
            let refusal = Refusal::FailingOver { held: Duration::from_secs(5) };
            self.conversation.refuse(bytes[0], &refusal, out);
        }
        self.offer_behind();
    }

    fn listen(&mut self) {
        if self.lease.is_none() && self.pending.is_none() && self.conversation.wants_to_listen() {
            let state = self.lease.insert(BackendState::default());
            self.conversation.listen_again(state, &mut self.out);
        }
    }

    /// Looks at what was written.
    fn look(&mut self) {
        let to_client = self.out.to_client.split();
        for (tag, _) in messages(&to_client) {
            if tag == tag::backend::READY_FOR_QUERY {
                assert!(self.asked > 0, "a ReadyForQuery that nobody has asked for");
                self.asked -= 1;
            }
        }
        messages(&self.out.to_backend.split());
        self.over |= self.conversation.is_over();
        if self.lease.is_some() && self.pending.is_none() && self.conversation.wants_release() {
            assert!(!self.conversation.awaits_backend());
            self.lease = None;
            self.read.clear();
        }
    }
}

/// Messages that have to be whole.
fn messages(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let header = frame::header(bytes).expect("a header").expect("a whole header");
        all.push((header.tag, bytes.get(Header::BYTES..header.total()).expect("a whole body")));
        bytes = &bytes[header.total()..];
    }
    all
}

fn raw(tag: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(tag);
    out.put_u32(u32::try_from(body.len() + 4).unwrap());
    out.put_slice(body);
    out
}

fn backend_message(input: &mut Input<'_>, out: &mut BytesMut) {
    let report = |input: &mut Input<'_>, severity| {
        let code: SqlState = input.one(CODES).parse().expect("a code");
        Report::new(severity, code, "words")
    };
    match input.below(20) {
        0 | 1 => backend::parse_complete(out),
        2 | 3 => backend::bind_complete(out),
        4 => backend::close_complete(out),
        5 => backend::no_data(out),
        6 => backend::parameter_description(out, &[]),
        7 => backend::row_description(out, &[Column::text("v")]),
        8 => backend::data_row(out, [Some(input.bytes())]),
        9 | 10 => {
            let words = ["SELECT 1", "BEGIN", "COMMIT", "ROLLBACK", "SET", "INSERT 0 1", "LISTEN"];
            backend::command_complete(out, input.one(&words));
        }
        11 => backend::empty_query(out),
        12 => backend::portal_suspended(out),
        13 => out.put_slice(&raw(input.one(b"GHW"), &[0, 0, 0])),
        14 | 15 => {
            let statuses = [
                TransactionStatus::Idle,
                TransactionStatus::InTransaction,
                TransactionStatus::Failed,
            ];
            backend::ready_for_query(out, input.one(&statuses));
        }
        16 => report(input, Severity::Error).error_response(out),
        17 => match input.below(3) {
            0 => report(input, Severity::Fatal).error_response(out),
            1 => report(input, Severity::Warning).notice_response(out),
            _ => backend::parameter_status(out, input.one(TEXTS), "x"),
        },
        _ => {
            let tag = input.byte();
            out.put_slice(&raw(tag, input.bytes()));
        }
    }
}
