//! A simulated client: what it says, and the reference model of what it may hear.

use std::collections::BTreeSet;

use bytes::BytesMut;
use everline_wire::backend::view;
use everline_wire::fields::{ErrorFields, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::{frontend, tag};

use crate::dice::Dice;

/// What one client says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Op {
    Begin,
    Insert,
    Select,
    Commit,
    Rollback,
}

/// What became of the rows, as the client was told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Acknowledged: there, once.
    pub(crate) acknowledged: BTreeSet<u64>,
    /// Refused retryably, or rolled back: not there.
    pub(crate) refused: BTreeSet<u64>,
    /// Unknown: there once, or not.
    pub(crate) unknown: BTreeSet<u64>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    dice: Dice,
    next_row: u64,
    /// Requests still to be made.
    left: u64,
    /// The request that is not answered.
    asked: Option<Op>,
    /// The status that it was told last.
    status: u8,
    /// Rows of the open transaction.
    rows: Vec<u64>,
    heard: BytesMut,
    /// The error in the answer to the request.
    error: Option<String>,
    completed: Option<String>,
    /// What it was told.
    pub(crate) ledger: Ledger,
}

impl Client {
    /// A client that makes `requests` and whose rows are numbered from `first_row` on.
    #[must_use]
    pub(crate) fn new(dice: Dice, first_row: u64, requests: u64) -> Self {
        Self {
            dice,
            next_row: first_row,
            left: requests,
            asked: None,
            status: b'I',
            rows: Vec::new(),
            heard: BytesMut::new(),
            error: None,
            completed: None,
            ledger: Ledger::default(),
        }
    }

    /// Whether it has said all and heard all.
    #[must_use]
    pub(crate) const fn is_done(&self) -> bool {
        self.left == 0 && self.asked.is_none() && self.status == b'I'
    }

    /// Whether it waits for an answer.
    #[must_use]
    pub(crate) const fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// Its next request, message by message.
    pub(crate) fn speak(&mut self) -> Vec<BytesMut> {
        if self.asked.is_some() || self.is_done() {
            return Vec::new();
        }
        let last = self.left == 0; // it leaves no transaction open
        self.left = self.left.saturating_sub(1);
        let draw = self.dice.below(10);
        let op = match (self.status, draw) {
            _ if last => Op::Rollback,
            (b'I', 0..3) => Op::Begin,
            (b'I', 3..9) => Op::Insert,
            (b'I', _) => Op::Select,
            (b'T', 0..5) => Op::Insert,
            (b'T', 5..8) => Op::Commit,
            (b'T', _) => Op::Rollback,
            (_, 0..3) => Op::Insert,
            (_, 3..5) => Op::Commit,
            (_, _) => Op::Rollback,
        };
        self.asked = Some(op);
        let sql = match op {
            Op::Begin => "BEGIN".to_owned(),
            Op::Select => "SELECT 1".to_owned(),
            Op::Commit => "COMMIT".to_owned(),
            Op::Rollback => "ROLLBACK".to_owned(),
            Op::Insert => {
                let row = self.next_row;
                self.next_row += 1;
                self.rows.push(row);
                format!("INSERT {row}")
            }
        };
        self.write(op, &sql)
    }

    fn write(&mut self, op: Op, sql: &str) -> Vec<BytesMut> {
        let mut messages = Vec::new();
        let mut say = |write: &dyn Fn(&mut BytesMut)| {
            let mut out = BytesMut::new();
            write(&mut out);
            messages.push(out);
        };
        let works = matches!(op, Op::Insert | Op::Select);
        if works && self.dice.once_in(2) {
            let rest = b"\0\0\0\0\0\0";
            say(&|out| frontend::parse(out, b"", sql.as_bytes(), b"\0\0"));
            say(&|out| frontend::bind(out, b"", b"", rest, rest.len()));
            say(&|out| frontend::execute(out, b"", 0));
            say(&|out| frontend::sync(out));
        } else {
            say(&|out| frontend::query(out, sql.as_bytes()));
        }
        messages
    }

    /// Hears `bytes`.
    ///
    /// # Errors
    /// What it should never hear.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.heard.extend_from_slice(bytes);
        while let Ok(Some(header)) = frame::header(&self.heard) {
            if self.heard.len() < header.total() {
                break;
            }
            let message = self.heard.split_to(header.total());
            let body = message.get(Header::BYTES..).unwrap_or_default();
            self.message(header.tag, body)?;
        }
        Ok(())
    }

    fn message(&mut self, kind: u8, body: &[u8]) -> Result<(), String> {
        let Some(op) = self.asked else {
            return Err(format!("said {:?} to a client that waits for nothing", char::from(kind)));
        };
        match kind {
            tag::backend::ERROR => {
                let fields = ErrorFields::parse(body).map_err(|error| error.to_string())?;
                if fields.severity() != Severity::Error || self.error.is_some() {
                    return Err(format!("{op:?} was answered FATAL or twice: {}", fields.code()));
                }
                self.error = Some(fields.code().to_string());
            }
            tag::backend::COMMAND_COMPLETE => {
                let word = view::command_complete(body).map_err(|error| error.to_string())?;
                self.completed = Some(String::from_utf8_lossy(word).into_owned());
            }
            tag::backend::READY_FOR_QUERY => {
                let status = body.first().copied().unwrap_or_default();
                return self.answered(op, status);
            }
            _ => {}
        }
        Ok(())
    }

    /// The failure contract: what may have come of `op`, and what is then so.
    fn answered(&mut self, op: Op, status: u8) -> Result<(), String> {
        let before = std::mem::replace(&mut self.status, status);
        let error = self.error.take();
        // A word that came before an error is no answer: PostgreSQL has not been ready after it.
        let word = self.completed.take().filter(|_| error.is_none());
        self.asked = None;
        let heard = (error.as_deref(), word.as_deref(), status);
        let rows = std::mem::take(&mut self.rows);
        match (op, before, heard) {
            (Op::Begin, b'I', (None, Some("BEGIN"), b'T')) => {}
            (Op::Select, b'I', (None, Some("SELECT 1"), b'I')) => {}
            (Op::Select, b'I', (Some("40001" | "08007"), None, b'I')) => {}
            (Op::Insert, b'I', (None, Some("INSERT 0 1"), b'I')) => {
                self.ledger.acknowledged.extend(rows);
            }
            (Op::Insert, b'I', (Some("40001"), None, b'I')) => self.ledger.refused.extend(rows),
            (Op::Insert, b'I', (Some("08007"), None, b'I')) => self.ledger.unknown.extend(rows),
            (Op::Insert, b'T', (None, Some("INSERT 0 1"), b'T')) => self.rows = rows,
            (Op::Insert, b'T' | b'E', (Some("40001"), None, b'E')) => self.rows = rows,
            (Op::Commit, b'T', (None, Some("COMMIT"), b'I')) => {
                self.ledger.acknowledged.extend(rows);
            }
            (Op::Commit, b'T' | b'E', (Some("40001"), None, b'I')) => {
                self.ledger.refused.extend(rows);
            }
            (Op::Commit, b'T', (Some("08007"), None, b'I')) => self.ledger.unknown.extend(rows),
            (Op::Rollback, b'T' | b'E', (None, Some("ROLLBACK"), b'I')) => {
                self.ledger.refused.extend(rows);
            }
            _ => {
                let before = char::from(before);
                return Err(format!("{op:?} in {before} was answered {heard:?}"));
            }
        }
        Ok(())
    }
}
