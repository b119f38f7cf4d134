//! A small PostgreSQL: transactions, savepoints, settings, prepared statements, portals, the skip
//! to Sync. Only as much as tells clients that share connections from clients that do not.

use std::collections::BTreeMap;

use bytes::BytesMut;
use everline_wire::backend::{self, Column, TransactionStatus};
use everline_wire::fields::{Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::frontend::{self, Target};
use everline_wire::sql::{self, Verb};
use everline_wire::{SqlState, tag};

type Settings = BTreeMap<String, String>;

/// One session at one server.
#[derive(Clone, Debug, Default)]
pub struct Model {
    settings: Settings,
    explicit: bool,
    failed: bool,
    /// A transaction's way back: its savepoints, the first of them its begin.
    marks: Vec<(String, Settings)>,
    statements: BTreeMap<Vec<u8>, Vec<u8>>,
    portals: BTreeMap<Vec<u8>, Vec<u8>>,
    skipping: bool,
}

impl Model {
    fn status(&self) -> TransactionStatus {
        match (self.explicit, self.failed) {
            (false, _) => TransactionStatus::Idle,
            (true, false) => TransactionStatus::InTransaction,
            (true, true) => TransactionStatus::Failed,
        }
    }

    /// Takes whole messages of a client and writes the answers.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        while !bytes.is_empty() {
            let header = frame::header(bytes).unwrap().unwrap();
            self.message(header.tag, &bytes[Header::BYTES..header.total()], out);
            bytes = &bytes[header.total()..];
        }
    }

    fn message(&mut self, message: u8, body: &[u8], out: &mut BytesMut) {
        if self.skipping && message != tag::frontend::SYNC {
            return;
        }
        self.begin_implicitly();
        let outcome = match message {
            tag::frontend::QUERY => {
                let text = frontend::Query::parse(body).unwrap().sql;
                self.statements.remove(&b""[..]);
                if !sql::is_blank(text) {
                    self.portals.remove(&b""[..]);
                }
                let outcome = self.query(text, out);
                self.settle(outcome, out);
                self.end_implicitly();
                backend::ready_for_query(out, self.status());
                return;
            }
            tag::frontend::SYNC => {
                self.end_implicitly();
                self.skipping = false;
                backend::ready_for_query(out, self.status());
                return;
            }
            tag::frontend::PARSE => self.parse(&frontend::Parse::parse(body).unwrap(), out),
            tag::frontend::BIND => self.bind(&frontend::Bind::parse(body).unwrap(), out),
            tag::frontend::DESCRIBE => {
                self.describe(&frontend::Describe::parse(body).unwrap(), out)
            }
            tag::frontend::EXECUTE => {
                let portal = frontend::Execute::parse(body).unwrap().portal.to_vec();
                match self.portals.get(&portal).cloned() {
                    Some(text) => {
                        let outcome = self.run_all(&text, out);
                        // What has no rows can be run once; PostgreSQL calls it 55000.
                        let has_rows = text.starts_with(b"SELECT") || text.starts_with(b"SHOW");
                        if outcome.is_ok() && !has_rows {
                            self.portals.remove(&portal);
                        }
                        outcome
                    }
                    None => Err("34000"),
                }
            }
            tag::frontend::CLOSE => {
                let close = frontend::Close::parse(body).unwrap();
                match close.kind {
                    Target::Statement => self.statements.remove(close.name),
                    Target::Portal => self.portals.remove(close.name),
                };
                backend::close_complete(out);
                Ok(())
            }
            other => panic!("the model does not know {other}"),
        };
        if outcome.is_err() {
            self.skipping = true;
        }
        self.settle(outcome, out);
    }

    fn begin_implicitly(&mut self) {
        if !self.explicit && self.marks.is_empty() {
            self.marks.push((String::new(), self.settings.clone()));
        }
    }

    fn end_implicitly(&mut self) {
        if !self.explicit {
            self.marks.clear();
            self.portals.clear();
            self.failed = false;
        }
    }

    fn settle(&mut self, outcome: Result<(), &str>, out: &mut BytesMut) {
        let Err(code) = outcome else { return };
        let report = Report {
            severity: Severity::Error,
            code: code.parse::<SqlState>().unwrap(),
            message: "no",
            detail: None,
            hint: None,
        };
        report.error_response(out);
        self.failed = true;
        if !self.explicit
            && let Some((_, settings)) = self.marks.first()
        {
            self.settings = settings.clone();
        }
    }

    fn admits(&self, text: &[u8]) -> Result<(), &'static str> {
        let leads_out = sql::statements(text).all(|statement| {
            matches!(
                statement.verb,
                Verb::Commit { .. } | Verb::Rollback { .. } | Verb::RollbackTo(_)
            )
        });
        if self.explicit && self.failed && !leads_out { Err("25P02") } else { Ok(()) }
    }

    fn parse(
        &mut self,
        parse: &frontend::Parse<'_>,
        out: &mut BytesMut,
    ) -> Result<(), &'static str> {
        if parse.name.is_empty() {
            self.statements.remove(&b""[..]);
        }
        self.admits(parse.sql)?;
        if self.statements.contains_key(parse.name) {
            return Err("42P05");
        }
        self.statements.insert(parse.name.to_vec(), parse.sql.to_vec());
        backend::parse_complete(out);
        Ok(())
    }

    fn bind(&mut self, bind: &frontend::Bind<'_>, out: &mut BytesMut) -> Result<(), &'static str> {
        let text = self.statements.get(bind.statement).cloned().ok_or("26000")?;
        self.admits(&text)?;
        self.portals.insert(bind.portal.to_vec(), text);
        backend::bind_complete(out);
        Ok(())
    }

    fn describe(
        &mut self,
        describe: &frontend::Describe<'_>,
        out: &mut BytesMut,
    ) -> Result<(), &'static str> {
        match describe.kind {
            Target::Statement => {
                let text = self.statements.get(describe.name).cloned().ok_or("26000")?;
                self.admits(&text)?;
                backend::parameter_description(out, &[]);
            }
            Target::Portal => drop(self.portals.get(describe.name).ok_or("34000")?),
        }
        backend::no_data(out);
        Ok(())
    }

    fn query(&mut self, text: &[u8], out: &mut BytesMut) -> Result<(), &'static str> {
        self.run_all(text, out)
    }

    fn run_all(&mut self, text: &[u8], out: &mut BytesMut) -> Result<(), &'static str> {
        if sql::is_blank(text) {
            backend::empty_query(out);
            return Ok(());
        }
        for statement in sql::statements(text) {
            self.admits(statement.text)?;
            self.run(&statement, out)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, clippy::wildcard_enum_match_arm, reason = "one arm a verb")]
    fn run(
        &mut self,
        statement: &sql::Statement<'_>,
        out: &mut BytesMut,
    ) -> Result<(), &'static str> {
        let text = String::from_utf8(statement.text.to_vec()).unwrap();
        let tag = match &statement.verb {
            Verb::Begin { .. } => {
                if self.explicit {
                    warn("25001", out);
                }
                self.explicit = true;
                "BEGIN"
            }
            Verb::Commit { .. } | Verb::Rollback { .. } => {
                let commits = matches!(statement.verb, Verb::Commit { .. });
                if !self.explicit {
                    warn("25P01", out);
                }
                let undone = self.explicit && (self.failed || !commits);
                if undone && let Some((_, settings)) = self.marks.first() {
                    self.settings = settings.clone();
                }
                self.explicit = false;
                self.failed = false;
                self.marks = vec![(String::new(), self.settings.clone())];
                self.portals.clear();
                if commits && !undone { "COMMIT" } else { "ROLLBACK" }
            }
            Verb::Savepoint(name) => {
                if !self.explicit {
                    return Err("25P01");
                }
                self.marks.push((name.to_string(), self.settings.clone()));
                "SAVEPOINT"
            }
            Verb::RollbackTo(name) => {
                if !self.explicit {
                    return Err("25P01");
                }
                let at = self.marks.iter().rposition(|(known, _)| **known == **name);
                let at = at.filter(|at| *at > 0).ok_or("3B001")?;
                self.marks.truncate(at + 1);
                self.settings = self.marks[at].1.clone();
                self.failed = false;
                "ROLLBACK"
            }
            Verb::Set { name } => {
                let value = text.rsplit(' ').next().unwrap_or_default().to_owned();
                self.settings.insert(name.to_string(), value);
                "SET"
            }
            Verb::Reset { name } => {
                self.settings.remove(&**name);
                "RESET"
            }
            Verb::ResetAll => {
                self.settings.clear();
                "RESET"
            }
            Verb::Deallocate { name: None } => {
                self.statements.retain(|name, _| name.is_empty());
                "DEALLOCATE ALL"
            }
            Verb::Deallocate { name: Some(name) } => {
                self.statements.remove(name.as_bytes()).ok_or("26000")?;
                "DEALLOCATE"
            }
            Verb::Unlisten { all: true } => "UNLISTEN",
            Verb::CloseCursor { all: true } => {
                self.portals.clear();
                "CLOSE CURSOR ALL"
            }
            Verb::Show => {
                let value = format!("{:?}", self.settings);
                backend::row_description(out, &[Column::text("v")]);
                backend::data_row(out, [Some(value.as_bytes())]);
                "SHOW"
            }
            _ if text.contains("1/0") => return Err("22012"),
            _ => "SELECT 1",
        };
        backend::command_complete(out, tag);
        Ok(())
    }
}

fn warn(code: &str, out: &mut BytesMut) {
    let report = Report {
        severity: Severity::Warning,
        code: code.parse::<SqlState>().unwrap(),
        message: "hm",
        detail: None,
        hint: None,
    };
    report.notice_response(out);
}
