//! Tests as scripts: the left half is what happens, the right half what must come of it.
//!
//! `> message` is the client's, `< message` the backend's; several are separated by ` / `.
//! `lease` attaches a fresh backend connection and offers again the message that asked for it;
//! `lease old` attaches the one that was released last; `lost`, `refuse` and `drop` are what they
//! say. On the right stand the client's messages, behind `=>` the backend's, and a step that is
//! not "taken".
//!
//! Messages: client `Q:sql P:name:sql B:portal:statement D:S:name D:P:name E:portal C:S:name S H
//! d:data c f X`; backend `1 2 3 n t T D C:tag I s G H Z:I E:code W N:code F:code
//! S:name=value`, `W` being the error of a plan that is out of date.
//! Statements named by a hash are shown as `#1`, `#2` in the order of their appearance.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use everline_wire::fields::{ErrorFields, Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::frontend::{self, Target};
use everline_wire::sqlstate::SqlState;
use everline_wire::{backend, tag};

use super::{BackendState, Conversation, Incoming, Output, Policy, Relayed, Step};
use crate::refusal::Refusal;

pub(super) struct Script {
    pub conversation: Conversation,
    backend: Option<BackendState>,
    released: Option<BackendState>,
    pending: Option<BytesMut>,
    /// What the backend has said and the conversation has not taken.
    read: BytesMut,
    /// What was taken back with the message that is pending, and comes after it.
    behind: BytesMut,
    out: Output,
    names: Vec<String>,
    epoch: u64,
}

/// Runs `script` and compares each line's right half with what came of the left.
pub(super) fn check(script: &str) {
    check_with(Policy::default(), script);
}

pub(super) fn check_with(policy: Policy, script: &str) {
    let mut run = Script {
        conversation: Conversation::new(1, Arc::new(policy), Arc::default(), Arc::default()),
        backend: None,
        released: None,
        pending: None,
        read: BytesMut::new(),
        behind: BytesMut::new(),
        out: Output::default(),
        names: Vec::new(),
        epoch: 0,
    };
    let (mut wanted, mut got) = (String::new(), String::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (left, right) = line.split_once('|').unwrap_or((line, ""));
        let (left, right) = (left.trim(), right.trim());
        writeln!(wanted, "{left:<46} | {right}").unwrap();
        writeln!(got, "{left:<46} | {}", run.step(left)).unwrap();
    }
    assert!(wanted == got, "wanted:\n{wanted}\ngot:\n{got}");
}

fn whole(bytes: &[u8]) -> Incoming<'_> {
    let body = &bytes[Header::BYTES..];
    Incoming { tag: bytes[0], body_bytes: body.len(), body }
}

impl Script {
    fn step(&mut self, what: &str) -> String {
        let mut steps = Vec::new();
        if let Some(messages) = what.strip_prefix("> ") {
            for message in messages.split(" / ") {
                let bytes = client_message(message);
                steps.extend(self.offer(bytes));
            }
        } else if let Some(messages) = what.strip_prefix("< ") {
            let mut input = std::mem::take(&mut self.read);
            for message in messages.split(" / ") {
                backend_message(message, &mut input);
            }
            let backend = self.backend.as_mut().expect("a lease");
            match self.conversation.relay(backend, &mut input, &mut self.out.to_client) {
                Relayed::All => self.read = input, // what is awaited stands there again
                Relayed::Doubtful => steps.push("doubtful".to_owned()),
                refused @ (Relayed::Demoted | Relayed::Stale) => {
                    let why = if refused == Relayed::Stale { "stale" } else { "demoted" };
                    steps.push(why.to_owned());
                    self.backend = None;
                    let again = self.conversation.take_back();
                    steps.extend(self.offer_all(again));
                }
                Relayed::Lost(loss) => {
                    steps.push(format!("lost({loss})"));
                    self.backend = None;
                    self.conversation.backend_lost(&mut self.out.to_client);
                }
            }
            if self.backend.is_some()
                && let Some(waiting) = self.pending.take()
            {
                steps.extend(self.offer(waiting));
            }
        } else {
            steps.extend(self.event(what));
        }
        if self.backend.is_some() && self.conversation.wants_release() {
            self.released = self.backend.take();
            steps.push("release".to_owned());
        }
        self.show(steps)
    }

    fn event(&mut self, what: &str) -> Option<String> {
        match what {
            "lease" | "lease old" => {
                assert!(self.backend.is_none(), "two leases");
                self.epoch += 1;
                let old = if what == "lease old" { self.released.take() } else { None };
                self.backend = Some(old.unwrap_or_default());
                let first = self.pending.take().and_then(|bytes| self.offer(bytes));
                let behind = std::mem::take(&mut self.behind);
                first.or_else(|| self.offer_all(behind))
            }
            "listen" => {
                assert!(self.backend.is_none() && self.conversation.wants_to_listen());
                let backend = self.backend.insert(BackendState::default());
                self.conversation.listen_again(backend, &mut self.out);
                None
            }
            "lost" => {
                self.read.clear();
                self.backend = None;
                if self.conversation.awaits_probe() {
                    let again = self.conversation.take_back();
                    return self.offer_all(again);
                }
                self.conversation.backend_lost(&mut self.out.to_client);
                None
            }
            "refuse" => {
                let bytes = self.pending.take().expect("a message that asked for a lease");
                let message = whole(&bytes);
                if !self.conversation.reset_without_leader(&message, &mut self.out.to_client) {
                    let refusal = Refusal::FailingOver { held: std::time::Duration::from_secs(5) };
                    self.conversation.refuse(bytes[0], &refusal, &mut self.out.to_client);
                }
                None
            }
            other => panic!("no such event: {other}"),
        }
    }

    fn offer(&mut self, bytes: BytesMut) -> Option<String> {
        let message = whole(&bytes);
        match self.conversation.from_client(&message, self.backend.as_mut(), &mut self.out) {
            Step::Taken(_) => None,
            Step::Lease => {
                assert!(self.backend.is_none(), "asks for a lease while it has one");
                self.pending = Some(bytes);
                Some("lease".to_owned())
            }
            Step::Hold => {
                self.pending = Some(bytes);
                Some("hold".to_owned())
            }
            Step::Whole => Some("whole".to_owned()),
            Step::Wait => {
                self.pending = Some(bytes);
                Some("wait".to_owned())
            }
            Step::Close => Some("close".to_owned()),
        }
    }

    /// Offers messages until one asks for a lease; all of them are then offered again.
    fn offer_all(&mut self, mut bytes: BytesMut) -> Option<String> {
        while !bytes.is_empty() {
            let header = frame::header(&bytes).unwrap().expect("a whole header");
            let message = bytes.split_to(header.total());
            if let Some(step) = self.offer(message) {
                self.behind = bytes;
                return Some(step);
            }
        }
        None
    }

    fn show(&mut self, steps: Vec<String>) -> String {
        let client = std::mem::take(&mut self.out.to_client);
        let backend = std::mem::take(&mut self.out.to_backend);
        let mut parts = vec![self.render(&client, show_backend_message)];
        if !backend.is_empty() {
            parts.push(format!("=> {}", self.render(&backend, show_client_message)));
        }
        parts.extend(steps);
        parts.retain(|part| !part.is_empty());
        parts.join(" ")
    }

    fn render(&mut self, mut bytes: &[u8], show: fn(u8, &[u8]) -> String) -> String {
        let mut shown = Vec::new();
        while !bytes.is_empty() {
            let header = frame::header(bytes).unwrap().expect("a whole header");
            let text = show(header.tag, &bytes[Header::BYTES..header.total()]);
            shown.push(self.shorten(text));
            bytes = &bytes[header.total()..];
        }
        shown.join(" / ")
    }

    fn shorten(&mut self, mut text: String) -> String {
        while let Some(at) = text.find("everline_") {
            let name = text[at..at + 41].to_owned();
            let known = self.names.iter().position(|known| *known == name);
            let index = known.unwrap_or_else(|| {
                self.names.push(name.clone());
                self.names.len() - 1
            });
            text = text.replace(&name, &format!("#{}", index + 1));
        }
        text
    }
}

fn client_message(text: &str) -> BytesMut {
    let mut out = BytesMut::new();
    let mut parts = text.splitn(3, ':');
    let kind = parts.next().unwrap_or_default();
    let first = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    let target = if first == "S" { Target::Statement } else { Target::Portal };
    match kind {
        "Q" => frontend::query(&mut out, &text.as_bytes()[2..]),
        "P" => frontend::parse(&mut out, first.as_bytes(), second.as_bytes(), b"\0\0"),
        "B" => {
            let rest = b"\0\0\0\0\0\0";
            frontend::bind(&mut out, first.as_bytes(), second.as_bytes(), rest, rest.len());
        }
        "D" => frontend::describe(&mut out, target, second.as_bytes()),
        "C" => frontend::close(&mut out, target, second.as_bytes()),
        "E" => frontend::execute(&mut out, first.as_bytes(), 0),
        "S" => frontend::sync(&mut out),
        "H" => frontend::flush(&mut out),
        "X" => frontend::terminate(&mut out),
        "d" | "c" | "f" => {
            let body = first.as_bytes();
            let nul = usize::from(kind == "f");
            out.put_u8(kind.as_bytes()[0]);
            out.put_u32(u32::try_from(body.len() + 4 + nul).unwrap());
            out.put_slice(body);
            out.put_bytes(0, nul);
        }
        other => panic!("no such client message: {other}"),
    }
    out
}

fn backend_message(text: &str, out: &mut BytesMut) {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let report = |severity| Report {
        severity,
        code: rest.parse::<SqlState>().unwrap(),
        message: "words of the backend",
        detail: None,
        hint: None,
    };
    match kind {
        "1" => backend::parse_complete(out),
        "2" => backend::bind_complete(out),
        "3" => backend::close_complete(out),
        "n" => backend::no_data(out),
        "t" => backend::parameter_description(out, &[]),
        "T" => backend::row_description(out, &[]),
        "D" => backend::data_row(out, [Some(rest.as_bytes())]),
        "C" => backend::command_complete(out, rest),
        "I" => backend::empty_query(out),
        "s" => backend::portal_suspended(out),
        "G" | "H" => out.put_slice(&[kind.as_bytes()[0], 0, 0, 0, 7, 0, 0, 0]),
        "Z" => {
            let status = backend::TransactionStatus::from_byte(rest.as_bytes()[0]).unwrap();
            backend::ready_for_query(out, status);
        }
        "E" => report(Severity::Error).error_response(out),
        "W" => {
            let fields =
                b"SERROR\0VERROR\0C0A000\0Mwords of the backend\0RRevalidateCachedQuery\0\0";
            out.put_u8(b'E');
            out.put_u32(u32::try_from(fields.len() + 4).unwrap());
            out.put_slice(fields);
        }
        "F" => report(Severity::Fatal).error_response(out),
        "N" => report(Severity::Warning).notice_response(out),
        "S" => {
            let (name, value) = rest.split_once('=').unwrap();
            backend::parameter_status(out, name, value);
        }
        other => panic!("no such backend message: {other}"),
    }
}

fn show_client_message(tag: u8, body: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kind = |kind| if kind == Target::Statement { 'S' } else { 'P' };
    match tag {
        tag::frontend::QUERY => format!("Q:{}", text(frontend::Query::parse(body).unwrap().sql)),
        tag::frontend::PARSE => {
            let parse = frontend::Parse::parse(body).unwrap();
            format!("P:{}:{}", text(parse.name), text(parse.sql))
        }
        tag::frontend::BIND => {
            let bind = frontend::Bind::parse(body).unwrap();
            format!("B:{}:{}", text(bind.portal), text(bind.statement))
        }
        tag::frontend::DESCRIBE => {
            let describe = frontend::Describe::parse(body).unwrap();
            format!("D:{}:{}", kind(describe.kind), text(describe.name))
        }
        tag::frontend::CLOSE => {
            let close = frontend::Close::parse(body).unwrap();
            format!("C:{}:{}", kind(close.kind), text(close.name))
        }
        tag::frontend::EXECUTE => {
            format!("E:{}", text(frontend::Execute::parse(body).unwrap().portal))
        }
        tag::frontend::COPY_DATA => format!("d:{}", text(body)),
        other => char::from(other).to_string(),
    }
}

fn show_backend_message(tag: u8, body: &[u8]) -> String {
    let letter = char::from(tag);
    match tag {
        tag::backend::COMMAND_COMPLETE => {
            let command = backend::view::command_complete(body).unwrap();
            format!("C:{}", String::from_utf8_lossy(command))
        }
        tag::backend::READY_FOR_QUERY => format!("Z:{}", char::from(body[0])),
        tag::backend::ERROR => {
            let fields = ErrorFields::parse(body).unwrap();
            let fatal = if fields.severity() == Severity::Error { "E" } else { "F" };
            format!("{fatal}:{}", fields.code())
        }
        tag::backend::NOTICE => format!("N:{}", ErrorFields::parse(body).unwrap().code()),
        tag::backend::PARAMETER_STATUS => {
            let (name, value) = backend::view::parameter_status(body).unwrap();
            format!("S:{name}={value}")
        }
        tag::backend::NOTIFICATION => {
            let mut parts = body[4..].split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let (channel, payload) = (parts.next().unwrap(), parts.next().unwrap());
            format!("A:{channel}={payload}")
        }
        tag::backend::DATA_ROW => {
            format!("D:{}", String::from_utf8_lossy(body.get(6..).unwrap_or_default()))
        }
        _ => letter.to_string(),
    }
}
