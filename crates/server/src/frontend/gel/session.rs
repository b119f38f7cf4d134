//! One client of Gel's protocol from the end of its login to its goodbye: drives
//! `core::session::gel`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use everline_core::limits::{GEL_ROW_BYTES_MAX, READ_BYTES, UNWRITTEN_BYTES_MAX};
use everline_core::session::gel::refuse::Failure;
use everline_core::session::gel::{Descriptions, Machine, Progress, Step};
use everline_wire::frame as backend_frame;
use everline_wire::sqlstate::SqlState;
use everline_wire_gel::error::{ErrorCode, Problem};
use everline_wire_gel::frame::{self, Header, Phase};
use everline_wire_gel::server::{self, Status};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Gel, login};
use crate::backend::lease::{Backend, Lease};
use crate::backend::pool::{LeaseError, Member, Terms};
use crate::config::sharing::Bounds;
use crate::frontend::cancel::Registered;
use crate::frontend::census::Counted;
use crate::frontend::login::{close_gently, words};
use crate::frontend::meter::Meter;
use crate::frontend::patience::{Overdue, Patience};
use crate::frontend::pump::{self, Leased, Wait, Woke};
use crate::frontend::roster::Presence;
use crate::metrics::traffic::Traffic;
use crate::net::end::End;
use crate::net::stream::Stream;

/// How long the last words to a client may take.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// How long a retired backend connection is read for words that are on their way.
const LAST_WORDS_MAX: Duration = Duration::from_millis(5);

/// A session that is about to begin.
#[derive(Debug)]
pub(super) struct Ready {
    /// What the client has sent already.
    pub input: BytesMut,
    pub machine: Machine,
    /// Descriptions that it shares with others.
    pub known: Arc<Mutex<Descriptions>>,
    pub pool: Member,
    pub cancel: Registered,
    pub presence: Presence,
    pub traffic: Arc<Traffic>,
    /// What it may have.
    pub bounds: Bounds,
    /// Its place among the clients of its database and its user.
    pub _place: Counted,
}

/// A session and all that it holds.
#[derive(Debug)]
pub(super) struct Session {
    gel: Arc<Gel>,
    client: Stream,
    ready: Ready,
    to_client: BytesMut,
    to_backend: BytesMut,
    lease: Option<Lease>,
    client_unflushed: bool,
    backend_unflushed: bool,
    draining: End,
    killed: End,
    /// The input holds a message of this many bytes that has not come whole.
    wants: usize,
    /// Since when the command at hand looks for a connection.
    began: Instant,
    meter: Meter,
    patience: Patience,
}

/// Whether the session goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Wait,
    End,
}

impl Session {
    pub(super) fn new(gel: Arc<Gel>, client: Stream, ready: Ready) -> Self {
        Self {
            draining: End::of(&gel.context.drain),
            killed: End::of(&ready.presence.killed()),
            patience: Patience::new(&ready.bounds),
            gel,
            client,
            ready,
            to_client: BytesMut::new(),
            to_backend: BytesMut::new(),
            lease: None,
            client_unflushed: false,
            backend_unflushed: false,
            wants: 0,
            began: Instant::now(),
            meter: Meter::default(),
        }
    }

    /// Serves the client until one of the two leaves.
    pub(super) async fn run(mut self) {
        let mut moved = false;
        loop {
            if self.digest().await == Next::End {
                break;
            }
            self.release_if_done();
            let inside = self.ready.machine.status() != Status::Idle;
            self.patience.note(self.ready.machine.is_busy(), inside, moved);
            let (here, there) = (self.ready.input.len(), self.to_client.len());
            self.meter.turn(self.ready.machine.is_busy(), self.lease.is_some(), None);
            let woke = match self.patience.deadline() {
                None => self.wait().await,
                Some(at) => match timeout_at(at, self.wait()).await {
                    Ok(woke) => woke,
                    Err(_) if self.be_impatient() == Next::Wait => continue,
                    Err(_) => break,
                },
            };
            moved = matches!(woke, Woke::Client);
            self.meter.moved(
                self.ready.input.len().saturating_sub(here),
                there.saturating_sub(self.to_client.len()),
            );
            match woke {
                Woke::Client | Woke::Written => {}
                Woke::Backend => self.relay().await,
                Woke::BackendGone(error) => {
                    tracing::debug!(?error, "the leased backend connection is gone");
                    self.lose().await;
                }
                Woke::Ended => {
                    self.last_words_of_backend().await;
                    self.lose().await;
                }
                // A session of these clients has no connection that it does not need, and
                // listens to nothing.
                Woke::Paused | Woke::Listening(_) => {}
                // Nothing is said unasked: a client would take it for something else.
                Woke::ClientGone | Woke::Draining => break,
            }
            self.count();
        }
        self.part().await;
    }

    /// Something has gone on for too long. Nothing is said to a client that is not waiting.
    fn be_impatient(&mut self) -> Next {
        let overdue = self.patience.overdue();
        tracing::info!(?overdue, "a session of Gel's protocol");
        if overdue != Overdue::Statement {
            return Next::End;
        }
        let (context, key) = (Arc::clone(&self.gel.context), self.ready.cancel.key());
        self.gel.context.pools.spawn(async move {
            context.cancels.cancel(key.0, &key.1, context.pools.dialer()).await;
        });
        Next::Wait
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) -> Woke {
        let machine = &self.ready.machine;
        let may_end = !machine.is_busy() && machine.status() == Status::Idle;
        let backend = self.lease.as_mut().map(|lease| {
            let Backend { stream, read, end, fence, .. } = lease.backend();
            Leased { stream, read, unflushed: &mut self.backend_unflushed, end, fence }
        });
        let mut wait = Wait {
            client: &mut self.client,
            reads_client: self.ready.input.len() < self.wants.max(READ_BYTES),
            input: &mut self.ready.input,
            to_client: &mut self.to_client,
            unflushed: &mut self.client_unflushed,
            backend,
            to_backend: &mut self.to_backend,
            killed: &mut self.killed,
            draining: may_end.then_some(&mut self.draining),
        };
        poll_fn(|context| wait.poll(context)).await
    }

    /// Takes the client's messages, as far as they have come and may be dealt with.
    async fn digest(&mut self) -> Next {
        while !self.ready.machine.is_busy() {
            if self.to_client.len() >= UNWRITTEN_BYTES_MAX && !self.write_to_client().await {
                return Next::End;
            }
            let input = &mut self.ready.input;
            let header = match frame::header(input, Phase::Commands) {
                Ok(Some(header)) => header,
                Ok(None) => return Next::Wait,
                Err(error) => {
                    let message = error.to_string();
                    let problem = Problem::new(ErrorCode::PROTOCOL, &message);
                    server::error(&mut self.to_client, &problem);
                    return Next::End;
                }
            };
            if input.len() < header.total() {
                self.wants = header.total();
                return Next::Wait;
            }
            self.wants = 0;
            let message = input.split_to(header.total());
            let body = message.get(Header::BYTES..).unwrap_or_default();
            let step = {
                let known = self.ready.known.lock().unwrap_or_else(PoisonError::into_inner);
                self.ready.machine.from_client(header.tag, body, &known, &mut self.to_client)
            };
            match step {
                Step::Answered => {}
                Step::Close => return Next::End,
                Step::Run => {
                    self.began = Instant::now();
                    if self.begin().await == Next::End {
                        return Next::End;
                    }
                }
            }
        }
        Next::Wait
    }

    /// Writes what the client is owed; false when it is gone or has to go: one that asks and does
    /// not read is ended by whatever ends one that is silent. A leased connection whose epoch ends
    /// meanwhile is given up.
    async fn write_to_client(&mut self) -> bool {
        let may_end = self.ready.machine.status() == Status::Idle;
        self.patience.note(false, !may_end, false);
        let mut end = self.lease.as_mut().map(|lease| &mut lease.backend().end);
        let (killed, draining) = (&mut self.killed, &mut self.draining);
        let (client, unflushed) = (&mut self.client, &mut self.client_unflushed);
        let to_client = &mut self.to_client;
        // An epoch that is over is not kept open by a client that does not read.
        let write = poll_fn(|context| {
            if end.as_mut().is_some_and(|end| end.poll(context).is_ready()) {
                return Poll::Ready(None);
            }
            if let Poll::Ready(written) =
                pump::poll_write_all(client, to_client, unflushed, context)
            {
                return Poll::Ready(Some(written.is_ok()));
            }
            let ends =
                killed.poll(context).is_ready() || may_end && draining.poll(context).is_ready();
            if ends { Poll::Ready(Some(false)) } else { Poll::Pending }
        });
        let written = match self.patience.deadline() {
            None => write.await,
            Some(at) => timeout_at(at, write).await.unwrap_or(Some(false)),
        };
        if written.is_none() {
            self.drop_lease();
            self.ready.machine.backend_lost(&mut self.to_client);
        }
        written.unwrap_or(true)
    }

    /// Begins the command at hand on a connection, or refuses it.
    async fn begin(&mut self) -> Next {
        if let Some(lease) = &mut self.lease {
            let backend = lease.backend();
            if !backend.may_dispatch() || !backend.is_quiet() {
                // It is known to be over: nothing of the command was sent.
                self.last_words_of_backend().await;
                self.drop_lease();
                self.ready.machine.backend_lost(&mut self.to_client);
                return Next::Wait;
            }
        } else {
            match self.acquire().await {
                Ok(lease) => self.attach(lease),
                Err(None) => return Next::End,
                Err(Some(error)) => {
                    self.refuse(&error);
                    return Next::Wait;
                }
            }
        }
        if let Some(lease) = &mut self.lease {
            self.ready.machine.dispatch(&mut lease.backend().state, &mut self.to_backend);
        }
        Next::Wait
    }

    /// Leases a connection for the command at hand, watching the client meanwhile.
    ///
    /// `Err(None)`: the client is gone, and its command with it.
    async fn acquire(&mut self) -> Result<Lease, Option<LeaseError>> {
        let pools = &self.gel.context.pools;
        if let Some(lease) = pools.try_lease(self.ready.pool.id()) {
            return Ok(lease);
        }
        let _waiting = self.ready.presence.waiting();
        let bytes = self.ready.input.len();
        let terms = self.gel.context.live().terms(&self.ready.bounds);
        let mut terms = Terms { bytes, ..terms };
        terms.hold = terms.hold.saturating_sub(self.began.elapsed());
        let began = Instant::now();
        let mut lease = pin!(pools.lease(self.ready.pool.id(), terms));
        let killed = self.ready.presence.killed();
        let room = self.ready.input.len().saturating_add(READ_BYTES);
        let outcome = tokio::select! {
            biased; // a lease in hand beats everything that comes with it
            lease = &mut lease => lease.map_err(Some),
            () = killed.cancelled() => Err(None),
            gone = poll_fn(|context| pump::poll_client_alone(
                (&mut self.client, &mut self.client_unflushed),
                (&mut self.ready.input, room),
                &mut self.to_client,
                context,
            )) => {
                tracing::debug!(?gone, "client left while its command waited");
                Err(None)
            }
        };
        self.meter.waited(began.elapsed());
        outcome
    }

    fn attach(&mut self, mut lease: Lease) {
        let backend = lease.backend();
        self.ready.cancel.slot.attach(backend, self.meter.leased(backend.lent_at));
        self.backend_unflushed = false;
        self.to_backend.clear();
        self.lease = Some(lease);
    }

    fn refuse(&mut self, error: &LeaseError) {
        let out = &mut self.to_client;
        if let Some(refusal) = login::refusal(error) {
            tracing::debug!(%refusal, "command refused");
            return self.ready.machine.refuse(&refusal, out);
        }
        let LeaseError::Refused(error) = error else { return };
        let code = error.code().unwrap_or(SqlState::INTERNAL_ERROR);
        self.ready.machine.refuse_as(&Failure::new(ErrorCode::of(code), words(error)), out);
    }

    /// Deals with what the backend has said.
    async fn relay(&mut self) {
        if self.read_backend() == Progress::Lost {
            self.lose().await;
        }
    }

    /// Gives the machine what has come whole.
    fn read_backend(&mut self) -> Progress {
        let Some(lease) = &mut self.lease else { return Progress::Done };
        let backend = lease.backend();
        let reporter = self.gel.context.pools.reporter();
        reporter.life(backend.epoch);
        let mut known = self.ready.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = Progress::More;
        while progress != Progress::Lost {
            let Ok(header) = backend_frame::header(&backend.read) else { return Progress::Lost };
            let Some(header) = header else { break };
            if header.total() > GEL_ROW_BYTES_MAX {
                let most = GEL_ROW_BYTES_MAX / 1024 / 1024;
                let message = format!("a row has more than the {most} MiB that are allowed");
                let failure = Failure::new(ErrorCode::UNSUPPORTED, message);
                self.ready.machine.refuse_as(&failure, &mut self.to_client);
                return Progress::Lost;
            }
            if backend.read.len() < header.total() {
                break;
            }
            let message = backend.read.split_to(header.total());
            let body = message.get(backend_frame::Header::BYTES..).unwrap_or_default();
            progress = self.ready.machine.from_backend(
                &mut backend.state,
                &mut known,
                (header.tag, body),
                &mut self.to_backend,
                &mut self.to_client,
            );
        }
        if self.ready.machine.take_doubtful() {
            reporter.suspect(backend.epoch);
        }
        progress
    }

    /// The epoch is over: what the old leader has said already still counts.
    async fn last_words_of_backend(&mut self) {
        let until = Instant::now() + LAST_WORDS_MAX;
        while self.ready.machine.is_busy() {
            let Some(lease) = &mut self.lease else { return };
            let backend = lease.backend();
            let read = timeout_at(until, backend.stream.read_buf(&mut backend.read)).await;
            if !matches!(read, Ok(Ok(1..))) || self.read_backend() == Progress::Lost {
                return;
            }
        }
    }

    /// The leased connection is gone: the command begins again on another, if nothing of it can
    /// have had an effect, or the client gets the answer that it is owed.
    async fn lose(&mut self) {
        self.drop_lease();
        let hold = self.gel.context.live().hold;
        if self.began.elapsed() < hold && self.ready.machine.begin_again() {
            // A client that leaves meanwhile is noticed by the next wait.
            let _: Next = Box::pin(self.begin()).await;
            return;
        }
        self.ready.machine.backend_lost(&mut self.to_client);
    }

    fn drop_lease(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let _: bool = self.ready.cancel.slot.detach();
        lease.broken();
        self.to_backend.clear();
        self.backend_unflushed = false;
    }

    fn release_if_done(&mut self) {
        let done = !self.ready.machine.holds_lease()
            && self.to_backend.is_empty()
            && !self.backend_unflushed;
        if !done {
            return;
        }
        let Some(lease) = self.lease.take() else { return };
        if self.ready.cancel.slot.detach() {
            lease.give_back();
        } else {
            lease.close();
        }
    }

    fn count(&mut self) {
        let tally = self.ready.machine.take_tally();
        self.gel.context.metrics.count(&tally, &self.ready.traffic, self.meter.take());
    }

    /// Ends the session: gives the connection back or has its command cancelled.
    async fn part(mut self) {
        self.meter.turn(false, false, None);
        self.count();
        if let Some(lease) = self.lease.take() {
            let clean = self.ready.cancel.slot.detach() && !self.ready.machine.holds_lease();
            match (clean, self.to_backend.is_empty()) {
                (true, true) => lease.give_back(),
                (false, true) if self.ready.machine.is_busy() => lease.abandon(),
                (false, true) => lease.close(),
                (_, false) => lease.close_mid_message(),
            }
        }
        let goodbye = poll_fn(|context| {
            pump::poll_write_all(
                &mut self.client,
                &mut self.to_client,
                &mut self.client_unflushed,
                context,
            )
        });
        if let Ok(Ok(())) = timeout(GOODBYE_MAX, goodbye).await {
            close_gently(&mut self.client).await;
        }
    }
}
