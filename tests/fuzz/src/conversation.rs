//! Several clients over shared connections must see what each would see alone on its own.
//!
//! Each client's messages go to a [`Model`] of its own, and through a [`Conversation`] to models
//! that all clients share, a random one for each lease. Answers have to be the same to the byte.
//! What leaks from one client to another, or does not follow its client from connection to
//! connection, shows as a difference.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::BytesMut;
use everline_core::session::{BackendState, Conversation, Incoming, Output, Relayed, Step};
use everline_wire::frame::{self, Header};
use everline_wire::frontend::{self, Target};
use everline_wire::tag;

use crate::input::Input;
use crate::model::Model;

/// Clients, and connections.
const CLIENTS: u64 = 3;
/// Longest play.
const STEPS_MAX: usize = 200;

/// One message of a client: who, what, and which connection it gets if it needs one.
#[derive(Clone, Debug)]
pub struct Said {
    /// The client, by its number.
    pub client: usize,
    /// A whole message.
    pub message: BytesMut,
    /// Chooses the connection.
    pub choice: usize,
}

/// Plays a conversation out of bytes, three or four of them for each message.
pub fn differential(data: &[u8]) {
    let mut input = Input::new(data);
    let mut said = Vec::new();
    while !input.is_empty() && said.len() < STEPS_MAX {
        let (client, choice) = (input.byte(), usize::from(input.byte()));
        let client = usize::from(client) % 3;
        said.push(Said { client, message: message(&mut input), choice });
    }
    play(&said);
}

/// Plays a conversation and compares.
pub fn play(said: &[Said]) {
    let mut world = World::new(CLIENTS);
    for Said { client, message, choice } in said {
        world.send(*client, message, *choice);
    }
    world.compare();
}

/// One message out of bytes.
pub fn message(input: &mut Input<'_>) -> BytesMut {
    let rest = b"\0\0\0\0\0\0";
    let kind = input.below(23);
    let name = |input: &mut Input<'_>| input.one(&["", "p", "q"]).as_bytes();
    let target = |input: &mut Input<'_>| input.one(&[Target::Statement, Target::Portal]);
    made(|out| match kind {
        0..4 => frontend::query(out, input.one(TEXTS).as_bytes()),
        4..8 => {
            // Several statements are not for the extended protocol; and a name is looked up when
            // its DEALLOCATE is parsed, not when it is executed.
            let text = input.one(TEXTS).split(';').next().unwrap_or_default();
            let text = text.trim_end_matches(" p").as_bytes();
            frontend::parse(out, name(input), text, b"\0\0");
        }
        8..12 => frontend::bind(out, name(input), name(input), rest, rest.len()),
        12 => frontend::describe(out, target(input), name(input)),
        13..17 => frontend::execute(out, name(input), 0),
        17 => frontend::close(out, target(input), name(input)),
        _ => frontend::sync(out),
    })
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

    fn compare(&self) {
        for (index, client) in self.clients.iter().enumerate() {
            let (pooled, direct) = (show(&client.pooled), show(&client.direct));
            assert!(
                pooled == direct,
                "client {index}\npooled: {pooled}\nalone:  {direct}\nafter:\n{}",
                self.done.join("\n")
            );
        }
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

/// What clients say in SQL.
pub(crate) const TEXTS: &[&str] = &[
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

fn made(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}
