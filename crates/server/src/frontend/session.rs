//! One client from the end of its login to its goodbye: drives `core::session`.

mod again;
mod losing;
mod parting;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use everline_core::limits::{INSPECT_BYTES_MAX, READ_BYTES};
use everline_core::refusal::Refusal;
use everline_core::session::{Conversation, Flow, Incoming, Loss, Output, Relayed, Step};
use everline_wire::fields::{Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::tag::frontend as tag;
use tokio::time::{Instant, timeout_at};

use self::again::Again;
use super::accept::Ready;
use super::cancel::Registered;
use super::census::Counted;
use super::meter::Meter;
use super::patience::Patience;
use super::pump::{Leased, Wait, Woke};
use super::roster::Presence;
use super::{Context, login};
use crate::backend::lease::{Backend, Lease};
use crate::backend::pool::{LeaseError, Member, Terms};
use crate::config::sharing::Bounds;
use crate::metrics::traffic::Traffic;
use crate::net::end::End;
use crate::net::stream::Stream;

/// A session and all that it holds.
#[derive(Debug)]
pub struct Session {
    context: Arc<Context>,
    client: Stream,
    input: BytesMut,
    conversation: Conversation,
    out: Output,
    lease: Option<Lease>,
    pool: Member,
    cancel: Registered,
    /// Comes when the server is told to stop.
    draining: End,
    /// Comes when an operator ends the session.
    killed: End,
    /// The part of a message's body that is still to come, and where it goes.
    rest: (Flow, usize),
    client_unflushed: bool,
    backend_unflushed: bool,
    /// What was refused by a node that does not lead is on its way again.
    again: Option<Again>,
    /// The lease was lent at this very moment, and what it takes to use it was looked at.
    just_lent: bool,
    /// The input holds a message that has to be longer before it can be judged, in bytes.
    wants: usize,
    presence: Presence,
    traffic: Arc<Traffic>,
    meter: Meter,
    bounds: Bounds,
    message_bytes_max: usize,
    patience: Patience,
    /// Counted among the clients of its database and its user.
    _place: Counted,
}

/// Whether the session goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Wait,
    End,
}

impl Session {
    /// A session over its client's connection.
    #[must_use]
    pub fn new(context: Arc<Context>, client: Stream, ready: Ready) -> Self {
        let Ready { input, conversation, pool, cancel, presence, traffic, bounds, place } = ready;
        let message_bytes_max = context.live().message_bytes_max;
        Self {
            draining: End::of(&context.drain),
            killed: End::of(&presence.killed()),
            context,
            client,
            input,
            conversation,
            out: Output::default(),
            lease: None,
            pool,
            cancel,
            rest: (Flow::Discard, 0),
            client_unflushed: false,
            backend_unflushed: false,
            again: None,
            just_lent: false,
            wants: 0,
            presence,
            traffic,
            meter: Meter::default(),
            patience: Patience::new(&bounds),
            bounds,
            message_bytes_max,
            _place: place,
        }
    }

    /// Serves the client until one of the two leaves.
    ///
    /// What is waited for seldom is boxed: an idle client costs the memory of this future.
    pub async fn run(mut self: Box<Self>) {
        let mut moved = false;
        loop {
            if self.digest().await == Next::End {
                break;
            }
            let released = self.release_if_done();
            self.patience.look(&self.conversation, moved);
            let (here, there) = (self.input.len(), self.out.to_client.len());
            self.meter.turn(self.conversation.awaits_backend(), self.lease.is_some(), released);
            let woke = match self.patience.deadline() {
                None => self.wait().await,
                Some(at) => match Box::pin(timeout_at(at, self.wait())).await {
                    Ok(woke) => woke,
                    Err(_) if self.be_impatient() == Next::Wait => continue,
                    Err(_) => break,
                },
            };
            self.meter.moved(
                self.input.len().saturating_sub(here),
                there.saturating_sub(self.out.to_client.len()),
            );
            moved = matches!(woke, Woke::Client);
            match woke {
                Woke::Client | Woke::Written => {}
                Woke::Backend => self.relay(),
                Woke::BackendGone(error) => {
                    tracing::debug!(?error, "the leased backend connection is gone");
                    self.lose();
                }
                Woke::Ended => {
                    Box::pin(self.last_words_of_backend()).await;
                    self.lose();
                }
                Woke::Listening(lease) => self.listen_again(*lease),
                Woke::Paused => self.make_way(),
                Woke::ClientGone => break,
                Woke::Draining => {
                    self.dismiss();
                    break;
                }
            }
            moved |= self.count();
            if self.conversation.is_over() {
                break;
            }
        }
        Box::pin(self.part()).await;
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) -> Woke {
        let held = self.conversation.awaits_backend() || self.conversation.in_transaction();
        let movable = self.lease.is_some()
            && self.conversation.may_move()
            && self.out.to_backend.is_empty()
            && !self.backend_unflushed;
        let listens = self.lease.is_none() && self.conversation.wants_to_listen();
        let backend = self.lease.as_mut().map(|lease| {
            let Backend { stream, read, end, fence, .. } = lease.backend();
            Leased { stream, read, unflushed: &mut self.backend_unflushed, end, fence }
        });
        let mut wait = Wait {
            client: &mut self.client,
            reads_client: self.input.len() < self.wants.max(READ_BYTES),
            input: &mut self.input,
            to_client: &mut self.out.to_client,
            unflushed: &mut self.client_unflushed,
            backend,
            to_backend: &mut self.out.to_backend,
            killed: &mut self.killed,
            draining: (!held).then_some(&mut self.draining),
        };
        if listens {
            let lease = Box::pin(self.context.pools.lease_for_listener(self.pool.id()));
            return tokio::select! {
                biased; // what the client says leases a connection by itself
                woke = poll_fn(|context| wait.poll(context)) => woke,
                lease = lease => Woke::Listening(Box::new(lease)),
            };
        }
        if !movable {
            return poll_fn(|context| wait.poll(context)).await;
        }
        let mut paused = Box::pin(self.context.pools.until_wanted_back(self.pool.id()));
        tokio::select! {
            biased; // what has been said comes before a pause
            woke = poll_fn(|context| wait.poll(context)) => woke,
            () = &mut paused => Woke::Paused,
        }
    }

    fn listen_again(&mut self, lease: Lease) {
        self.attach(lease);
        if let Some(lease) = &mut self.lease {
            self.conversation.listen_again(&mut lease.backend().state, &mut self.out);
        }
    }

    /// Gives up a connection that the session keeps but does not need, when it is wanted back: what
    /// it has there is brought to another one.
    fn make_way(&mut self) {
        let movable = self.lease.is_some() && self.conversation.may_move();
        if !movable || !self.context.pools.wants_back(self.pool.id()) {
            return;
        }
        let Some(lease) = self.lease.take() else { return };
        // A cancel request on its way meets a connection that is closed.
        let _ = self.cancel.slot.detach();
        self.conversation.moves();
        lease.close();
    }

    /// Takes the client's messages, as far as they have come and may be dealt with.
    async fn digest(&mut self) -> Next {
        loop {
            if self.is_fenced() {
                Box::pin(self.last_words_of_backend()).await;
                self.lose();
            }
            if !self.pass_rest() {
                return Next::Wait;
            }
            let header = match frame::header(&self.input) {
                Ok(Some(header)) => header,
                Ok(None) => return Next::Wait,
                Err(error) => return self.protocol_error(error.to_string()),
            };
            if let Err(what) = self.permits(header) {
                return self.protocol_error(what);
            }
            let here = self.input.len().saturating_sub(Header::BYTES).min(header.body);
            let looks_at = if header.tag == tag::COPY_DATA { 0 } else { INSPECT_BYTES_MAX };
            let needed = header.body.min(looks_at.max(self.wants));
            if here < needed {
                self.wants = self.wants.max(needed.saturating_add(Header::BYTES));
                return Next::Wait;
            }
            let sure = std::mem::take(&mut self.just_lent);
            if !sure {
                self.make_way();
            }
            let end = Header::BYTES.saturating_add(here);
            let body = self.input.get(Header::BYTES..end).unwrap_or_default();
            let message = Incoming { tag: header.tag, body_bytes: header.body, body };
            let withheld = !sure && self.conversation.may_begin() && !self.may_dispatch();
            let state = self.lease.as_mut().map(|lease| {
                let state = &mut lease.backend().state;
                state.withheld = withheld;
                state
            });
            let step = self.conversation.from_client(&message, state, &mut self.out);
            let missing = header.body.saturating_sub(here);
            match step {
                Step::Taken(flow) => self.taken(end, flow, missing),
                Step::Lease => match self.acquire().await {
                    Ok(lease) => self.attach(lease),
                    Err(None) => return Next::End,
                    Err(Some(error)) => {
                        self.refuse(header, end, &error);
                        self.taken(end, Flow::Discard, missing);
                    }
                },
                Step::Hold => match Box::pin(self.hold_pinned()).await {
                    Ok(()) => {}
                    Err(None) => return Next::End,
                    Err(Some(error)) => {
                        self.refuse(header, end, &error);
                        self.taken(end, Flow::Discard, missing);
                    }
                },
                Step::Whole => {
                    self.wants = header.total();
                    return Next::Wait;
                }
                Step::Wait => return Next::Wait,
                Step::Close => return Next::End,
            }
        }
    }

    /// Whether a message of this type may be this long.
    fn permits(&self, header: Header) -> Result<(), String> {
        let most = self.message_bytes_max;
        match frame::frontend_body_max(header.tag) {
            None => Err(format!("invalid frontend message type {}", header.tag)),
            Some(most) if header.body > most => Err("invalid message length".to_owned()),
            Some(_) if header.body > most => {
                Err(format!("a message is longer than message_bytes_max ({most} bytes)"))
            }
            Some(_) => Ok(()),
        }
    }

    fn taken(&mut self, bytes: usize, flow: Flow, missing: usize) {
        self.input.advance(bytes);
        self.rest = (flow, missing);
        self.wants = 0;
    }

    /// Passes on the rest of a long message; false while some of it is still to come.
    fn pass_rest(&mut self) -> bool {
        let (flow, missing) = self.rest;
        if missing == 0 {
            return true;
        }
        let piece = self.input.split_to(missing.min(self.input.len()));
        let forwards = flow == Flow::Forward && self.lease.is_some();
        if forwards {
            self.out.to_backend.extend_from_slice(&piece);
        }
        self.rest = (flow, missing.saturating_sub(piece.len()));
        self.rest.1 == 0
    }

    /// Last words that nobody asked for: the server ends, or an administrator wants it so.
    fn dismiss(&mut self) {
        self.say(&if self.presence.killed().is_cancelled() {
            Refusal::Killed
        } else {
            Refusal::ShuttingDown
        });
    }

    fn say(&mut self, refusal: &Refusal) {
        let codes = &self.context.live().policy.codes;
        self.context.metrics.refuse(refusal.contract(codes).0, 1);
        refusal.write(codes, &mut self.out.to_client);
    }

    fn protocol_error(&mut self, what: String) -> Next {
        self.say(&Refusal::Protocol { what });
        Next::End
    }

    /// Leases a connection for the message at hand, watching the client meanwhile.
    ///
    /// `Err(None)`: the client is gone, and its statement with it.
    async fn acquire(&mut self) -> Result<Lease, Option<Acquire>> {
        if self.again.is_none()
            && let Some(lease) = self.context.pools.try_lease(self.pool.id())
        {
            self.just_lent = true;
            return Ok(lease);
        }
        Box::pin(self.wait_for_lease()).await
    }

    async fn wait_for_lease(&mut self) -> Result<Lease, Option<Acquire>> {
        let _waiting = self.presence.waiting();
        let killed = self.presence.killed();
        let began = Instant::now();
        let slot = Arc::clone(&self.cancel.slot);
        let cancelled = slot.held.notified();
        let pools = Arc::clone(&self.context.pools);
        let terms = self.context.live().terms(&self.bounds);
        let terms = Terms { bytes: self.input.len(), ..terms };
        let lease = again::lease(&pools, self.pool.id(), terms, self.again);
        let (mut cancelled, mut lease) = (pin!(cancelled), pin!(lease));
        let room = self.input.len().saturating_add(READ_BYTES).max(INSPECT_BYTES_MAX);
        let outcome = tokio::select! {
            biased; // a lease in hand beats everything that comes with it
            lease = &mut lease => lease.map_err(|error| Some(Acquire::Lease(error))),
            () = &mut cancelled => Err(Some(Acquire::Cancelled)),
            () = killed.cancelled() => Err(None),
            gone = poll_fn(|context| super::pump::poll_client_alone(
                (&mut self.client, &mut self.client_unflushed),
                (&mut self.input, room),
                &mut self.out.to_client,
                context,
            )) => {
                tracing::debug!(?gone, "client left while its statement waited");
                Err(None)
            }
        };
        self.meter.waited(began.elapsed());
        if killed.is_cancelled() && matches!(outcome, Err(None)) {
            self.dismiss();
        }
        outcome
    }

    /// Whether something may begin on a connection that is leased already.
    fn may_dispatch(&self) -> bool {
        self.lease.is_none() || self.context.pools.is_available()
    }

    /// Waits for the leader with the lease in hand; it is lost if the epoch ends meanwhile.
    async fn hold_pinned(&mut self) -> Result<(), Option<Acquire>> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let ended = lease.backend().ended.clone();
        let pools = Arc::clone(&self.context.pools);
        let cancelled = self.cancel.slot.held.notified();
        let terms = self.context.live().terms(&self.bounds);
        let terms = Terms { bytes: self.input.len(), ..terms };
        let available = pools.until_available(terms);
        let room = self.input.len().saturating_add(READ_BYTES).max(INSPECT_BYTES_MAX);
        let outcome = tokio::select! {
            biased; // the end of the epoch decides first
            () = ended.cancelled() => Ok(()),
            available = available => available.map_err(|error| Some(Acquire::Lease(error))),
            () = cancelled => Err(Some(Acquire::Cancelled)),
            gone = poll_fn(|context| super::pump::poll_client_alone(
                (&mut self.client, &mut self.client_unflushed),
                (&mut self.input, room),
                &mut self.out.to_client,
                context,
            )) => {
                tracing::debug!(?gone, "client left while its statement waited");
                Err(None)
            }
        };
        if ended.is_cancelled() {
            self.lose();
        }
        outcome
    }

    fn attach(&mut self, mut lease: Lease) {
        let backend = lease.backend();
        self.cancel.slot.attach(backend, self.meter.leased(backend.lent_at));
        self.backend_unflushed = false;
        self.out.to_backend.clear();
        self.lease = Some(lease);
    }

    /// Answers the message at hand, which reaches to `end`, for want of a connection.
    fn refuse(&mut self, header: Header, end: usize, why: &Acquire) {
        let message_tag = header.tag;
        let no_leader =
            matches!(why, Acquire::Lease(LeaseError::NoLeader { .. } | LeaseError::TooManyHeld));
        if no_leader && self.lease.is_none() {
            let body = self.input.get(Header::BYTES..end).unwrap_or_default();
            let message = Incoming { tag: message_tag, body_bytes: header.body, body };
            if self.conversation.reset_without_leader(&message, &mut self.out.to_client) {
                return;
            }
        }
        let out = &mut self.out.to_client;
        let refusal = match why {
            Acquire::Cancelled => Refusal::Cancelled,
            Acquire::Lease(LeaseError::NoLeader { held }) => Refusal::FailingOver { held: *held },
            Acquire::Lease(LeaseError::Paused { held }) => Refusal::Paused { held: *held },
            Acquire::Lease(LeaseError::Exhausted { waited }) => {
                Refusal::PoolExhausted { waited: *waited }
            }
            Acquire::Lease(LeaseError::TooManyHeld) => Refusal::TooManyHeld,
            Acquire::Lease(LeaseError::Refused(error)) => {
                let message = login::words(error);
                let code = error.code().unwrap_or(self.context.live().policy.codes.retryable);
                self.context.metrics.refuse(code, 1);
                let severity = Severity::Error;
                let report = Report { severity, code, message: &message, detail: None, hint: None };
                self.conversation.refuse_as(message_tag, &report, out);
                return;
            }
        };
        self.again = None;
        tracing::debug!(%refusal, "statement refused");
        self.conversation.refuse(message_tag, &refusal, out);
    }

    /// Whether nobody vouches for the leader of the loan any more: the message at hand is then
    /// known never to have been sent.
    fn is_fenced(&mut self) -> bool {
        self.lease.as_mut().is_some_and(|lease| !lease.backend().may_dispatch())
    }

    /// Relays what the backend has said.
    fn relay(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let backend = lease.backend();
        self.context.pools.reporter().life(backend.epoch);
        let (state, read) = (&mut backend.state, &mut backend.read);
        match self.conversation.relay(state, read, &mut self.out.to_client) {
            Relayed::All => self.again = self.again.filter(|_| self.conversation.awaits_word()),
            Relayed::Demoted => self.turn_from_demoted(true),
            Relayed::Stale => self.turn_from_stale(),
            Relayed::Lost(Loss::Demoted) => self.turn_from_demoted(false),
            Relayed::Doubtful => self.context.pools.reporter().suspect(backend.epoch),
            Relayed::Lost(loss) => {
                tracing::debug!(%loss, "the leased backend connection is given up");
                if loss.is_suspect() {
                    self.context.pools.reporter().suspect(backend.epoch);
                }
                self.lose();
            }
        }
        if self.conversation.take_stale() {
            self.context.pools.replan(self.pool.id());
        }
    }

    /// Gives the connection back when the client can do without it; when that was, if it was.
    fn release_if_done(&mut self) -> Option<Instant> {
        let done = self.conversation.wants_release()
            && self.out.to_backend.is_empty()
            && !self.backend_unflushed
            && self.rest.1 == 0;
        if !done {
            return None;
        }
        let lease = self.lease.take()?;
        let now = Instant::now();
        if self.cancel.slot.detach() {
            lease.give_back_at(now);
        } else {
            lease.close();
        }
        Some(now)
    }

    /// Passes on what was counted; true when a statement was answered.
    fn count(&mut self) -> bool {
        self.presence.tied(self.conversation.pins());
        let tally = self.conversation.take_tally();
        self.context.metrics.count(&tally, &self.traffic, self.meter.take());
        tally.statements > 0
    }
}

/// Why there is no lease for a statement.
#[derive(Debug)]
enum Acquire {
    Cancelled,
    Lease(LeaseError),
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
