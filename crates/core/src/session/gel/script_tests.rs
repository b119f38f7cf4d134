//! Plays a table: what the client and the backend say on the left, what is said to them on the
//! right.
//!
//! Left: `> P:sql`, `> O:sql` (a first shot), `> N:sql` (the same, no rows wanted), `> A:sql`
//! (with an argument, as described before), `> Q:edgeql`, `> S` of the client; `lease` and
//! `refused` for the lease, `again` for another one; `< …` of the backend,
//! messages separated by ` / `, of `1 2 n t:oid,…
//! T:name.oid.format,… D:value C:tag E:code[!] Z:status N:words`; `lost`.
//! Right: `=> …` to the backend, else to the client.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use everline_wire::fields::{ErrorFields, Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::frontend::{Parse, Query};
use everline_wire_gel::error::ErrorCode;
use everline_wire_gel::state;

use super::describe::Descriptions;
use super::machine::{GelPolicy, Machine, Progress, Step};
use crate::refusal::Refusal;
use crate::session::BackendState;
use crate::session::settings::Settings;

pub(super) struct Play {
    pub(super) machine: Machine,
    pub(super) known: Descriptions,
    pub(super) backend: BackendState,
    /// The descriptor that the arguments of `A:` are written by.
    input: [u8; 16],
}

pub(super) fn policy() -> GelPolicy {
    GelPolicy {
        edgeql_as_sql: false,
        unavailable: ErrorCode::BACKEND_UNAVAILABLE,
        in_flight_select_retryable: false,
        settings: Arc::default(),
        state: state::descriptor(),
    }
}

impl Play {
    pub(super) fn new(policy: GelPolicy) -> Self {
        let mut backend = BackendState::default();
        if policy.settings.is_empty() {
            backend.settings = Arc::clone(&policy.settings);
        }
        Self {
            machine: Machine::new(Arc::new(policy)),
            known: Descriptions::default(),
            backend,
            input: [0; 16],
        }
    }

    pub(super) fn say(&mut self, said: &str) {
        self.step(said);
    }

    fn step(&mut self, said: &str) -> String {
        let (mut to_backend, mut to_client) = (BytesMut::new(), BytesMut::new());
        let (who, what) = said.split_once(' ').unwrap_or((said, ""));
        let mut words = String::new();
        match who {
            ">" => {
                let (kind, text) = what.split_once(':').unwrap_or((what, ""));
                let (tag, body) = self.client(kind, text);
                let step = self.machine.from_client(tag, &body, &self.known, &mut to_client);
                words = match step {
                    Step::Answered => String::new(),
                    Step::Run if self.machine.holds_lease() => "run".to_owned(),
                    Step::Run => "?".to_owned(),
                    Step::Close => "close".to_owned(),
                };
            }
            "lease" => self.machine.dispatch(&mut self.backend, &mut to_backend),
            "refused" => {
                let refusal = Refusal::FailingOver { held: Duration::from_secs(5) };
                self.machine.refuse(&refusal, &mut to_client);
            }
            "again" => words = self.machine.begin_again().to_string(),
            "lost" => self.machine.backend_lost(&mut to_client),
            "<" => {
                for message in what.split(" / ") {
                    let (tag, body) = backend(message);
                    let progress = self.machine.from_backend(
                        &mut self.backend,
                        &mut self.known,
                        (tag, &body),
                        &mut to_backend,
                        &mut to_client,
                    );
                    match progress {
                        Progress::More => {}
                        Progress::Done => words = "done".to_owned(),
                        Progress::Lost => words = "lost".to_owned(),
                    }
                }
            }
            other => panic!("nobody says {other}"),
        }
        let mut heard = Vec::new();
        if !to_backend.is_empty() {
            heard.push(format!("=> {}", to_backend_shown(to_backend)));
        }
        if !to_client.is_empty() {
            heard.push(self.shown_to_client(to_client));
        }
        if !words.is_empty() {
            heard.push(words);
        }
        heard.join(" ; ")
    }

    fn client(&self, kind: &str, text: &str) -> (u8, BytesMut) {
        let (tag, language, format) = match kind {
            "S" => return (b'S', BytesMut::new()),
            "X" => return (b'X', BytesMut::new()),
            "dump" => return (b'>', BytesMut::new()),
            "P" => (b'P', b'S', b'b'),
            "O" | "A" => (b'O', b'S', b'b'),
            "N" => (b'O', b'S', b'n'),
            "Q" => (b'O', b'E', b'n'),
            "J" => (b'O', b'S', b'j'),
            other => panic!("no client says {other}"),
        };
        let mut body = BytesMut::new();
        body.put_u16(0);
        body.put_u64(u64::MAX);
        body.put_u64(0);
        body.put_u64(0);
        body.put_slice(&[language, format, b'm']);
        let (text, state) = text.split_once(" ~ ").unwrap_or((text, ""));
        body.put_u32(u32::try_from(text.len()).unwrap());
        body.put_slice(text.as_bytes());
        let wanted: Vec<u8> = if state == "serializable" {
            let mut value = vec![0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0];
            value.extend_from_slice(&[0, 0, 0, 12]);
            value.extend_from_slice(b"Serializable");
            value
        } else {
            Vec::new()
        };
        body.put_slice(&if wanted.is_empty() { [0; 16] } else { self.machine.policy.state.id });
        body.put_u32(u32::try_from(wanted.len()).unwrap());
        body.put_slice(&wanted);
        if tag == b'O' {
            let given = kind == "A";
            body.put_slice(&if given { self.input } else { [0; 16] });
            body.put_slice(&[0; 16]);
            if given {
                body.put_slice(b"\0\0\0\x0d\0\0\0\x01\0\0\0\0\0\0\0\x01x");
            } else {
                body.put_u32(0);
            }
        }
        (tag, body)
    }

    /// Messages to the client: their types, and what is telling of each.
    fn shown_to_client(&mut self, mut bytes: BytesMut) -> String {
        let mut shown = Vec::new();
        while let Some([tag, a, b, c, d]) = bytes.first_chunk().copied() {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap();
            let mut message = bytes.split_to(length + 1);
            message.advance(5);
            let text = String::from_utf8_lossy(&message).into_owned();
            shown.push(match tag {
                b'T' => {
                    let capabilities = message[9];
                    self.input = message[11..27].try_into().unwrap();
                    let kind = if message.len() == 51 { "T:bare" } else { "T" };
                    format!("{kind}:{capabilities}")
                }
                b'E' => {
                    let code = u32::from_be_bytes(message[1..5].try_into().unwrap());
                    format!("E:{}", code_name(code))
                }
                b'Z' => format!("Z:{}", char::from(message[2])),
                b'C' => {
                    let length = usize::from(message[13]);
                    format!("C:{}", String::from_utf8_lossy(&message[14..14 + length]))
                }
                b'L' => format!("L:{}", text.contains("careful")),
                other => char::from(other).to_string(),
            });
        }
        shown.join(" / ")
    }
}

fn code_name(code: u32) -> String {
    let names = [
        (ErrorCode::BACKEND_UNAVAILABLE, "unavailable"),
        (ErrorCode::AVAILABILITY, "unknown"),
        (ErrorCode::SERIALIZATION, "serialization"),
        (ErrorCode::TRANSACTION, "transaction"),
        (ErrorCode::UNSUPPORTED, "unsupported"),
        (ErrorCode::SYNTAX, "syntax"),
        (ErrorCode::CONSTRAINT, "constraint"),
        (ErrorCode::PARAMETER_TYPES, "parameters"),
        (ErrorCode::INPUT_DATA, "input"),
        (ErrorCode::PROTOCOL, "protocol"),
    ];
    let name = names.iter().find(|(known, _)| known.0 == code);
    name.map_or_else(|| format!("{code:#010x}"), |(_, name)| (*name).to_owned())
}

fn to_backend_shown(mut bytes: BytesMut) -> String {
    let mut shown = Vec::new();
    while let Some(header) = frame::header(&bytes).unwrap() {
        let mut message = bytes.split_to(header.total());
        message.advance(Header::BYTES);
        let text = |sql: &[u8]| String::from_utf8_lossy(sql).into_owned();
        shown.push(match header.tag {
            b'Q' => format!("Q:{}", text(Query::parse(&message).unwrap().sql)),
            b'P' => {
                let sql = text(Parse::parse(&message).unwrap().sql);
                let sql = if sql.starts_with("WITH RECURSIVE d") { "domains" } else { &sql };
                format!("P:{sql}")
            }
            b'D' => format!("D{}", char::from(message[0]).to_ascii_lowercase()),
            other => char::from(other).to_string(),
        });
    }
    shown.join(" ")
}

/// A message of the backend.
fn backend(message: &str) -> (u8, BytesMut) {
    let (tag, rest) = message.split_once(':').unwrap_or((message, ""));
    let mut body = BytesMut::new();
    match tag {
        "Z" => body.put_slice(rest.as_bytes()),
        "C" => {
            body.put_slice(rest.as_bytes());
            body.put_u8(0);
        }
        "E" | "N" => {
            let (code, severity) = match rest.strip_suffix('!') {
                Some(code) => (code, Severity::Fatal),
                None if tag == "N" => ("01000", Severity::Warning),
                None => (rest, Severity::Error),
            };
            let report = Report::new(severity, code.parse().unwrap(), "careful");
            report.error_response(&mut body);
            body.advance(Header::BYTES);
            assert!(ErrorFields::parse(&body).is_ok());
        }
        "t" => {
            let oids: Vec<u32> = rest.split(',').filter_map(|oid| oid.parse().ok()).collect();
            body.put_u16(u16::try_from(oids.len()).unwrap());
            for oid in oids {
                body.put_u32(oid);
            }
        }
        "T" => {
            let columns: Vec<_> = rest.split(',').filter(|column| !column.is_empty()).collect();
            body.put_u16(u16::try_from(columns.len()).unwrap());
            for column in columns {
                let parts: Vec<_> = column.split('.').collect();
                body.put_slice(parts[0].as_bytes());
                body.put_slice(&[0; 7]);
                body.put_u32(parts[1].parse().unwrap());
                body.put_slice(&[0; 6]);
                body.put_i16(parts[2].parse().unwrap());
            }
        }
        "D" => {
            let values: Vec<_> = rest.split(',').collect();
            body.put_u16(u16::try_from(values.len()).unwrap());
            for value in values {
                body.put_u32(u32::try_from(value.len()).unwrap());
                body.put_slice(value.as_bytes());
            }
        }
        _ => {}
    }
    (tag.as_bytes()[0], body)
}

/// Plays the left half of a table and compares the whole.
pub(super) fn check_with(mut play: Play, table: &str) {
    let mut expected = String::new();
    let mut went = String::new();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (left, right) = line.split_once('|').unwrap_or((line, ""));
        let (left, right) = (left.trim(), right.trim());
        let heard = play.step(left);
        writeln!(expected, "{left} | {right}").unwrap();
        writeln!(went, "{left} | {heard}").unwrap();
    }
    assert_eq!(went, expected, "\nas it went:\n{went}");
}

pub(super) fn check(table: &str) {
    check_with(Play::new(policy()), table);
}

pub(super) fn with_settings() -> Play {
    let isolation = [("default_transaction_isolation", "serializable")];
    Play::new(GelPolicy { settings: Arc::new(Settings::from_startup(isolation)), ..policy() })
}
