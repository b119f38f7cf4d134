//! The ways in which a client writes, and how it reads what it is answered.

use bytes::{BufMut as _, Bytes, BytesMut};
use everline_wire::frontend;
use everline_wire::tag::backend as tag;

use crate::client::Message;

/// How a client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One row by simple query, committed by itself.
    Simple,
    /// One row in the extended protocol, committed by itself.
    Extended,
    /// One row by a statement prepared once for each connection.
    Prepared,
    /// Two rows in a transaction, statement by statement.
    Transaction,
    /// Three times two rows, sent at once, each two with a Sync and so committed together.
    Pipeline,
    /// Two rows in a transaction that is sent at once, with one Sync.
    PipelinedTransaction,
    /// Five rows by COPY.
    Copy,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Simple,
        Self::Extended,
        Self::Prepared,
        Self::Transaction,
        Self::Pipeline,
        Self::PipelinedTransaction,
        Self::Copy,
    ];

    /// How many rows are written together, and how often in one attempt.
    pub(super) fn rows(self) -> (u64, u64) {
        match self {
            Self::Simple | Self::Extended | Self::Prepared => (1, 1),
            Self::Transaction | Self::PipelinedTransaction => (2, 1),
            Self::Pipeline => (2, 3),
            Self::Copy => (5, 1),
        }
    }
}

/// What one segment of the conversation, up to its ReadyForQuery, was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Success,
    /// COPY may begin.
    CopyIn,
    Retryable,
    Unknown,
    Refused,
    Closed,
}

/// Name of the statement that is prepared once.
const PREPARED: &[u8] = b"keep";
const INSERT: &[u8] = b"INSERT INTO ledger VALUES ($1, $2)";

/// Bytes to be sent, made step by step.
#[derive(Debug, Default)]
pub(super) struct Script(BytesMut);

impl Script {
    pub(super) fn query(sql: &str) -> Self {
        let mut bytes = BytesMut::new();
        frontend::query(&mut bytes, sql.as_bytes());
        Self(bytes)
    }

    /// Inserts one row by an unnamed statement.
    pub(super) fn insert(&mut self, id: u64, client: u16) {
        frontend::parse(&mut self.0, b"", INSERT, &[0, 0]);
        self.bind(b"", &[&id.to_string(), &client.to_string()]);
    }

    /// Prepares [`INSERT`] by its name.
    pub(super) fn prepare(&mut self) {
        frontend::parse(&mut self.0, PREPARED, INSERT, &[0, 0]);
    }

    /// Inserts one row by the prepared statement.
    pub(super) fn insert_prepared(&mut self, id: u64, client: u16) {
        self.bind(PREPARED, &[&id.to_string(), &client.to_string()]);
    }

    /// A statement without parameters in the extended protocol.
    pub(super) fn statement(&mut self, sql: &str) {
        frontend::parse(&mut self.0, b"", sql.as_bytes(), &[0, 0]);
        self.bind(b"", &[]);
    }

    fn bind(&mut self, statement: &[u8], values: &[&String]) {
        let mut rest = BytesMut::new();
        rest.put_u16(0);
        rest.put_u16(u16::try_from(values.len()).unwrap_or(0));
        for value in values {
            rest.put_u32(u32::try_from(value.len()).unwrap_or(0));
            rest.extend_from_slice(value.as_bytes());
        }
        rest.put_u16(0);
        frontend::bind(&mut self.0, b"", statement, &rest, rest.len());
        frontend::execute(&mut self.0, b"", 0);
    }

    pub(super) fn sync(&mut self) {
        frontend::sync(&mut self.0);
    }

    /// The rows of a COPY, one message each, and its end.
    pub(super) fn copy(ids: std::ops::Range<u64>, client: u16) -> Self {
        let mut bytes = BytesMut::new();
        for id in ids {
            message(&mut bytes, b'd', format!("{id}\t{client}\n").as_bytes());
        }
        message(&mut bytes, b'c', b"");
        Self(bytes)
    }

    pub(super) fn bytes(self) -> Bytes {
        self.0.freeze()
    }
}

fn message(out: &mut BytesMut, tag: u8, body: &[u8]) {
    out.put_u8(tag);
    out.put_u32(u32::try_from(body.len().saturating_add(4)).unwrap_or(0));
    out.put_slice(body);
}

/// An answer, as far as the ledger cares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) told: Told,
    pub(super) in_transaction: bool,
}

/// Reads an answer; `surprise` hears of an error that nobody expects.
pub(super) fn judge(messages: &[Message], surprise: impl Fn(&str, &str)) -> Answer {
    let last = messages.last();
    let ready = last.filter(|message| message.tag == tag::READY_FOR_QUERY);
    let copies = last.is_some_and(|message| message.tag == tag::COPY_IN);
    let in_transaction = ready.is_some_and(|ready| ready.body != b"I"[..]);
    let error = messages.iter().find(|message| message.tag == tag::ERROR);
    let told = match (ready, error) {
        (None, None) if copies => Told::CopyIn,
        (None, _) => Told::Closed,
        (Some(_), None) => Told::Success,
        (Some(_), Some(error)) => {
            let code = error.error_code().unwrap_or_default();
            match code.as_str() {
                "40001" => Told::Retryable,
                "08007" | "40003" => Told::Unknown,
                _ => {
                    surprise(&code, &error.field(b'M').unwrap_or_default());
                    Told::Refused
                }
            }
        }
    };
    Answer { told, in_transaction }
}

/// Whether a COMMIT was answered with the tag of a ROLLBACK.
pub(super) fn rolled_back(messages: &[Message]) -> bool {
    messages.iter().any(|message| message.to_string() == "C[ROLLBACK]")
}
