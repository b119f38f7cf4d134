//! Several clients over shared connections must see what each would see alone on its own.
//!
//! [`Model`] is a small PostgreSQL: transactions, savepoints, settings, prepared statements,
//! portals, the skip to Sync. Each client's messages go to a model of its own, and through a
//! [`Conversation`] to models that all clients share, a random one for each lease. Answers have
//! to be the same to the byte. What leaks from one client to another, or does not follow its
//! client from connection to connection, shows as a difference.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::BytesMut;
use everline_wire::backend::{self, Column, TransactionStatus};
use everline_wire::fields::{Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::frontend::{self, Target};
use everline_wire::sql::{self, Verb};
use everline_wire::{SqlState, tag};
use proptest::prelude::*;

use super::{BackendState, Conversation, Incoming, Output, Relayed, Step};

type Settings = BTreeMap<String, String>;

/// A transaction's way back: its savepoints, the first of them its begin.
#[derive(Clone, Debug, Default)]
struct Model {
    settings: Settings,
    explicit: bool,
    failed: bool,
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

    fn feed(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
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

/// One client twice: pooled, and alone.
struct Client {
    conversation: Conversation,
    lease: Option<usize>,
    pooled: BytesMut,
    alone: Model,
    direct: BytesMut,
}

struct World {
    clients: Vec<Client>,
    /// Shared connections, `None` while lent.
    backends: Vec<(Model, BackendState)>,
    free: Vec<usize>,
    done: Vec<String>,
}

impl World {
    fn new(clients: u64) -> Self {
        let client = |id| Client {
            conversation: Conversation::new(id, Arc::default(), Arc::default(), Arc::default()),
            lease: None,
            pooled: BytesMut::new(),
            alone: Model::default(),
            direct: BytesMut::new(),
        };
        let backends: Vec<_> = (0..clients).map(|_| Default::default()).collect();
        Self {
            clients: (1..=clients).map(client).collect(),
            free: (0..backends.len()).collect(),
            backends,
            done: Vec::new(),
        }
    }

    fn send(&mut self, client: usize, message: &BytesMut, choice: usize) {
        self.done.push(format!("client {client}: {:?}", String::from_utf8_lossy(message)));
        let Self { clients, backends, free, .. } = self;
        let client = &mut clients[client];
        client.alone.feed(message, &mut client.direct);
        let mut out = Output::default();
        loop {
            let incoming = Incoming {
                tag: message[0],
                body_bytes: message.len() - Header::BYTES,
                body: &message[Header::BYTES..],
            };
            let state = client.lease.map(|at| &mut backends[at].1);
            match client.conversation.from_client(&incoming, state, &mut out) {
                Step::Taken(_) => break,
                Step::Lease => {
                    assert!(client.lease.is_none());
                    client.lease = Some(free.swap_remove(choice % free.len()));
                }
                Step::Wait => {
                    let at = client.lease.expect("waits for a backend");
                    let (model, state) = &mut backends[at];
                    let mut answers = BytesMut::new();
                    model.feed(&out.to_backend.split(), &mut answers);
                    let relayed =
                        client.conversation.relay(state, &mut answers, &mut out.to_client);
                    assert_eq!(relayed, Relayed::All);
                }
                step @ (Step::Whole | Step::Hold | Step::Close) => panic!("unexpected {step:?}"),
            }
        }
        client.pooled.extend_from_slice(&out.to_client.split());
        if let Some(at) = client.lease {
            let (model, state) = &mut backends[at];
            let mut answers = BytesMut::new();
            model.feed(&out.to_backend, &mut answers);
            let relayed = client.conversation.relay(state, &mut answers, &mut client.pooled);
            assert_eq!(relayed, Relayed::All);
            assert!(answers.is_empty());
            if client.conversation.wants_release() {
                if state.spoiled {
                    // The pool closes such a connection.
                    backends[at] = Default::default();
                }
                client.lease = None;
                free.push(at);
            }
        }
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        for (index, client) in self.clients.iter().enumerate() {
            let (pooled, direct) = (show(&client.pooled), show(&client.direct));
            prop_assert!(
                pooled == direct,
                "client {index}\npooled: {pooled}\nalone:  {direct}\nafter:\n{}",
                self.done.join("\n")
            );
        }
        Ok(())
    }
}

fn show(mut bytes: &[u8]) -> String {
    let mut shown = String::new();
    while !bytes.is_empty() {
        let header = frame::header(bytes).unwrap().unwrap();
        let body = &bytes[Header::BYTES..header.total()];
        let body = match header.tag {
            tag::backend::ERROR | tag::backend::NOTICE => {
                everline_wire::ErrorFields::parse(body).unwrap().code().to_string()
            }
            _ => String::from_utf8_lossy(body).replace('\0', ""),
        };
        write!(shown, "{}[{body}] ", char::from(header.tag)).unwrap();
        bytes = &bytes[header.total()..];
    }
    shown
}

const TEXTS: &[&str] = &[
    "SELECT 1",
    "SELECT 1/0",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SET a.b TO 1",
    "SET a.b TO 2",
    "SET a.c TO 3",
    "RESET a.b",
    "RESET ALL",
    "SHOW a.b",
    "",
    "SELECT 1; SELECT 1",
    "SET a.b TO 4; SELECT 1/0",
    "DEALLOCATE ALL",
    "DEALLOCATE p",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "UNLISTEN *",
    "CLOSE ALL",
];

fn message() -> impl Strategy<Value = BytesMut> {
    let text = || prop::sample::select(TEXTS);
    let name = || prop::sample::select(&["", "p", "q"][..]);
    let kind = || prop::sample::select(&[Target::Statement, Target::Portal][..]);
    let rest = b"\0\0\0\0\0\0";
    prop_oneof![
        4 => text().prop_map(|text| made(|out| frontend::query(out, text.as_bytes()))),
        4 => (name(), text()).prop_map(|(name, text)| {
            // Several statements are not for the extended protocol; and a name is looked up when
            // its DEALLOCATE is parsed, not when it is executed.
            let text = text.split(';').next().unwrap_or_default().trim_end_matches(" p");
            made(|out| frontend::parse(out, name.as_bytes(), text.as_bytes(), b"\0\0"))
        }),
        4 => (name(), name()).prop_map(move |(portal, name)| {
            made(|out| {
                frontend::bind(out, portal.as_bytes(), name.as_bytes(), rest, rest.len());
            })
        }),
        1 => (kind(), name())
            .prop_map(|(kind, name)| made(|out| frontend::describe(out, kind, name.as_bytes()))),
        4 => name().prop_map(|name| made(|out| frontend::execute(out, name.as_bytes(), 0))),
        1 => (kind(), name())
            .prop_map(|(kind, name)| made(|out| frontend::close(out, kind, name.as_bytes()))),
        5 => Just(made(frontend::sync)),
    ]
}

fn made(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

proptest! {
    #[test]
    fn pooled_clients_see_what_they_would_see_alone(
        steps in prop::collection::vec((0..3_usize, message(), any::<usize>()), 1..60)
    ) {
        let mut world = World::new(3);
        for (client, message, choice) in &steps {
            world.send(*client, message, *choice);
        }
        world.compare()?;
    }
}
