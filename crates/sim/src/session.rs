//! The owner of one conversation: what the server's session does, in virtual time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use everline_core::ha::Event;
use everline_core::refusal::Refusal;
use everline_core::session::{Conversation, Incoming, Loss, Output, Policy, Relayed, Step};
use everline_wire::frame::{self, Header};

use crate::client::Client;
use crate::owner::Owner;
use crate::world::{Mutation, News, World};

/// One client with its conversation and its lease.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    conversation: Conversation,
    out: Output,
    input: VecDeque<BytesMut>,
    pub(crate) lease: Option<u64>,
    /// Since when it waits for a connection.
    pub(crate) waiting: Option<u64>,
    /// Since when a demoted leader refuses its statement.
    again: Option<u64>,
    /// What was sent last, for an owner that sends again what it must not.
    sent: Vec<BytesMut>,
}

/// How a connection is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseWanted {
    /// Since when the statement has been refused by demoted leaders.
    pub(crate) since: Option<u64>,
}

impl Session {
    pub(crate) fn new(client: Client, id: u64, mutation: Option<Mutation>) -> Self {
        let mut policy = Policy::default();
        if mutation == Some(Mutation::UnknownIsRetryable) {
            policy.codes.unknown = policy.codes.retryable;
        }
        Self {
            client,
            conversation: Conversation::new(id, Arc::new(policy), Arc::default(), Arc::default()),
            out: Output::default(),
            input: VecDeque::new(),
            lease: None,
            waiting: None,
            again: None,
            sent: Vec::new(),
        }
    }

    /// What was sent and not answered is to be offered again.
    fn take_back(&mut self) {
        let mut bytes = self.conversation.take_back();
        let mut again = VecDeque::new();
        while let Ok(Some(header)) = frame::header(&bytes) {
            again.push_back(bytes.split_to(header.total()));
        }
        again.append(&mut self.input);
        self.input = again;
    }
}

impl World {
    /// Closes our end of a connection.
    pub(crate) fn close(&mut self, conn: u64) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.open = false;
        }
    }
}

impl Owner {
    /// The client says its next request.
    pub(crate) fn speak(&mut self, session: usize, world: &mut World) -> Result<(), String> {
        let speaker = self.session(session);
        let messages = speaker.client.speak();
        if messages.is_empty() {
            return Ok(());
        }
        speaker.sent.clone_from(&messages);
        speaker.input.extend(messages);
        self.digest(session, world)
    }

    /// Takes the client's messages, as far as they may be dealt with.
    pub(crate) fn digest(&mut self, at: usize, world: &mut World) -> Result<(), String> {
        while self.session(at).waiting.is_none() {
            let session = self.session(at);
            let Some(bytes) = session.input.front() else { break };
            let header = frame::header(bytes).ok().flatten().expect("a client's own message");
            let body = bytes.get(Header::BYTES..).unwrap_or_default();
            let message = Incoming { tag: header.tag, body_bytes: header.body, body };
            let conn = session.lease.and_then(|conn| world.conns.get_mut(&conn));
            let state = conn.map(|conn| &mut conn.state);
            match session.conversation.from_client(&message, state, &mut session.out) {
                Step::Taken(_) => drop(session.input.pop_front()),
                Step::Lease => {
                    let since = session.again;
                    self.wait(at, LeaseWanted { since }, world)?;
                }
                Step::Whole | Step::Wait => break,
                Step::Hold => return Err("held although nothing is withheld".to_owned()),
                Step::Close => return Err("a client's connection is closed".to_owned()),
            }
        }
        self.flush(at, world)
    }

    /// Sends and tells what is to be sent and told; gives the lease back when it may go.
    fn flush(&mut self, at: usize, world: &mut World) -> Result<(), String> {
        let session = self.session(at);
        let to_backend = session.out.to_backend.split();
        if let Some(conn) = session.lease
            && !to_backend.is_empty()
        {
            if world.mutation == Some(Mutation::SendTwice) && world.dice.once_in(20) {
                world.send(conn, to_backend.clone());
            }
            world.send(conn, to_backend);
        }
        let session = self.session(at);
        let to_client = session.out.to_client.split();
        let waited = session.client.waits();
        session.client.hear(&to_client)?;
        if waited && !session.client.waits() {
            session.again = None;
            let pause = world.dice.below(1_000);
            world.plan(pause, News::Speak(at));
        }
        let session = self.session(at);
        let early = world.mutation == Some(Mutation::ReleaseEarly) && !session.client.waits();
        let done = session.conversation.wants_release() || early;
        if let Some(conn) = session.lease.take_if(|_| done) {
            self.idle.push(conn);
            return self.serve(world);
        }
        Ok(())
    }

    /// Relays what a backend has said.
    pub(crate) fn relay(&mut self, number: u64, world: &mut World) -> Result<(), String> {
        let Some(at) = self.sessions.iter().position(|one| one.lease == Some(number)) else {
            return Ok(());
        };
        let Some(conn) = world.conns.get_mut(&number) else { return Ok(()) };
        let session = self.session(at);
        let out = &mut session.out.to_client;
        let relayed = session.conversation.relay(&mut conn.state, &mut conn.read, out);
        match relayed {
            Relayed::All => {}
            Relayed::Doubtful => self.suspect(world),
            Relayed::Demoted => {
                world.figures.taken_back += 1;
                session.take_back();
                if world.mutation == Some(Mutation::AnswerAndRepeat) {
                    let codes = Policy::default().codes;
                    Refusal::NeverExecuted.write(&codes, &mut session.out.to_client);
                }
                session.again = session.again.or(Some(world.now));
                self.part(at, number, world)?;
            }
            Relayed::Lost(Loss::Demoted) => {
                session.conversation.backend_lost(&mut session.out.to_client);
                self.part(at, number, world)?;
            }
            Relayed::Stale => return Err("no table is ever altered".to_owned()),
            Relayed::Lost(loss) => return Err(format!("{loss}")),
        }
        self.digest(at, world)
    }

    /// Ends a connection whose node does not lead.
    fn part(&mut self, at: usize, conn: u64, world: &mut World) -> Result<(), String> {
        let session = self.session(at);
        session.lease = None;
        session.out.to_backend.clear();
        world.close(conn);
        self.suspect(world);
        let epoch = self.epoch();
        self.closed(epoch, world)
    }

    /// The lease is gone: the client is told what it is owed.
    pub(crate) fn lose(&mut self, at: usize, world: &mut World) -> Result<(), String> {
        let session = self.session(at);
        let Some(conn) = session.lease.take() else { return Ok(()) };
        world.close(conn);
        session.out.to_backend.clear();
        let waits = session.client.waits();
        if world.mutation == Some(Mutation::RepeatInFlight) && waits {
            let mut unseen = BytesMut::new();
            session.conversation.backend_lost(&mut unseen);
            session.input = session.sent.clone().into();
            return self.digest(at, world);
        }
        if world.mutation == Some(Mutation::Unsolicited) && !waits {
            let codes = Policy::default().codes;
            Refusal::TransactionLost.write(&codes, &mut session.out.to_client);
        }
        if session.conversation.awaits_probe() {
            session.take_back();
        } else {
            session.conversation.backend_lost(&mut session.out.to_client);
        }
        self.digest(at, world)
    }

    /// Refuses the message that waits for a connection.
    pub(crate) fn refuse(&mut self, at: usize, world: &mut World) -> Result<(), String> {
        let session = self.session(at);
        session.waiting = None;
        let Some(bytes) = session.input.pop_front() else { return Ok(()) };
        let message = bytes.first().copied().unwrap_or_default();
        let refusal = Refusal::FailingOver { held: Duration::from_secs(5) };
        session.conversation.refuse(message, &refusal, &mut session.out.to_client);
        self.digest(at, world)
    }

    fn closed(&mut self, epoch: u64, world: &mut World) -> Result<(), String> {
        self.step(Event::PoolClosed { epoch }, world)
    }
}
