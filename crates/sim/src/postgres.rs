//! A small PostgreSQL: transactions, both query protocols, rows that are numbers.

use std::collections::BTreeMap;

use bytes::BytesMut;
use everline_wire::backend::{self, TransactionStatus};
use everline_wire::fields::{Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::sqlstate::SqlState;
use everline_wire::{frontend, tag};

/// How a node takes writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Writes {
    /// As a leader does.
    Takes,
    /// It refuses them with 25006: it has been demoted.
    Refuses,
    /// It waits for a standby that is no longer its own: a COMMIT is never answered.
    Waits,
}

/// One backend process.
#[derive(Debug)]
pub(crate) struct Process {
    input: BytesMut,
    status: TransactionStatus,
    rows: Vec<u64>,
    skipping: bool,
    stuck: bool,
    statements: BTreeMap<Vec<u8>, String>,
    portals: BTreeMap<Vec<u8>, String>,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            input: BytesMut::new(),
            status: TransactionStatus::Idle,
            rows: Vec::new(),
            skipping: false,
            stuck: false,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
        }
    }
}

impl Process {
    /// Hears `bytes`, answers into `out`, and returns the rows that are committed.
    pub(crate) fn hear(&mut self, bytes: &[u8], writes: Writes, out: &mut BytesMut) -> Vec<u64> {
        self.input.extend_from_slice(bytes);
        let mut committed = Vec::new();
        while let Ok(Some(header)) = frame::header(&self.input) {
            if self.stuck || self.input.len() < header.total() {
                break;
            }
            let message = self.input.split_to(header.total());
            let body = message.get(Header::BYTES..).unwrap_or_default();
            self.message(header.tag, body, writes, out, &mut committed);
        }
        committed
    }

    fn message(
        &mut self,
        kind: u8,
        body: &[u8],
        writes: Writes,
        out: &mut BytesMut,
        committed: &mut Vec<u64>,
    ) {
        if self.skipping && kind != tag::frontend::SYNC {
            return;
        }
        match kind {
            tag::frontend::QUERY => {
                let sql = frontend::Query::parse(body).map(|query| query.sql).unwrap_or_default();
                let sql = String::from_utf8_lossy(sql).into_owned();
                for statement in sql.split(';') {
                    if !self.run(statement.trim(), writes, out, committed) {
                        break;
                    }
                }
                self.ready(writes, out, committed);
            }
            tag::frontend::PARSE => {
                if let Ok(parse) = frontend::Parse::parse(body) {
                    let sql = String::from_utf8_lossy(parse.sql).into_owned();
                    self.statements.insert(parse.name.to_vec(), sql);
                }
                backend::parse_complete(out);
            }
            tag::frontend::BIND => {
                if let Ok(bind) = frontend::Bind::parse(body) {
                    let sql = self.statements.get(bind.statement).cloned().unwrap_or_default();
                    self.portals.insert(bind.portal.to_vec(), sql);
                }
                backend::bind_complete(out);
            }
            tag::frontend::EXECUTE => {
                let portal = frontend::Execute::parse(body).map(|execute| execute.portal);
                let sql = self.portals.get(portal.unwrap_or_default()).cloned();
                self.skipping = !self.run(&sql.unwrap_or_default(), writes, out, committed);
            }
            tag::frontend::CLOSE => backend::close_complete(out),
            tag::frontend::SYNC => {
                self.skipping = false;
                self.ready(writes, out, committed);
            }
            _ => {}
        }
    }

    /// Runs one statement; false: it failed.
    fn run(
        &mut self,
        statement: &str,
        writes: Writes,
        out: &mut BytesMut,
        committed: &mut Vec<u64>,
    ) -> bool {
        let failed = self.status == TransactionStatus::Failed;
        match statement.split(' ').next().unwrap_or_default() {
            "BEGIN" => {
                self.status = TransactionStatus::InTransaction;
                backend::command_complete(out, "BEGIN");
            }
            "COMMIT" => {
                let word = if failed { "ROLLBACK" } else { "COMMIT" };
                self.status = TransactionStatus::Idle;
                if !self.commit(writes, out, committed) {
                    return false;
                }
                backend::command_complete(out, word);
            }
            "ROLLBACK" => {
                self.status = TransactionStatus::Idle;
                self.rows.clear();
                backend::command_complete(out, "ROLLBACK");
            }
            _ if failed => return self.fail("25P02", out),
            "INSERT" if writes == Writes::Refuses => return self.fail("25006", out),
            "INSERT" => {
                let number = statement.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
                self.rows.extend(number);
                backend::command_complete(out, "INSERT 0 1");
            }
            _ => backend::command_complete(out, "SELECT 1"),
        }
        true
    }

    fn fail(&mut self, code: &str, out: &mut BytesMut) -> bool {
        self.rows.clear();
        if self.status == TransactionStatus::InTransaction {
            self.status = TransactionStatus::Failed;
        }
        let Ok(code) = code.parse::<SqlState>() else { return false };
        let (severity, message) = (Severity::Error, "refused");
        Report { severity, code, message, detail: None, hint: None }.error_response(out);
        false
    }

    fn commit(&mut self, writes: Writes, out: &mut BytesMut, committed: &mut Vec<u64>) -> bool {
        if writes == Writes::Refuses && !self.rows.is_empty() {
            return self.fail("25006", out);
        }
        if writes == Writes::Waits && !self.rows.is_empty() {
            self.stuck = true;
            return false;
        }
        committed.append(&mut self.rows);
        true
    }

    fn ready(&mut self, writes: Writes, out: &mut BytesMut, committed: &mut Vec<u64>) {
        if self.status == TransactionStatus::Idle && !self.stuck {
            self.commit(writes, out, committed);
        }
        if !self.stuck {
            backend::ready_for_query(out, self.status);
        }
    }
}
