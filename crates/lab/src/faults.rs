//! A TCP relay that fails in the ways of networks.
//!
//! What a relay cannot do without the kernel's help is to drop packets: a black hole here
//! acknowledges at the TCP level and forwards nothing, so the sender's `TCP_USER_TIMEOUT` never
//! runs out, which is the harder case. [`Unanswered`] is an address where even the handshake of
//! TCP gets no answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Error, Result, during};

/// How many bytes are forwarded at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Everything is forwarded.
    #[default]
    Forward,
    /// Sockets stay open and new ones are accepted, but nothing is forwarded, ends included. What
    /// was swallowed arrives when the relay forwards again, as TCP would repeat it.
    BlackHole,
    /// As [`Mode::BlackHole`], and new connections wait in the kernel without being accepted.
    Unaccepted,
    /// New connections are closed at once; those that stand go on.
    Refuse,
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// In order (FIN).
    Fin,
    /// With a reset (RST).
    Rst,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the one who connected to the target.
    ToBackend,
    /// From the target back.
    ToFrontend,
}

#[derive(Debug, Clone, Copy)]
struct Control {
    target: SocketAddr,
    mode: Mode,
    delay: Duration,
    strikes: u64,
    forgotten: u64,
    how: How,
    tear: Option<(Direction, usize)>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    accepted: AtomicU64,
    passed: Mutex<Vec<Passed>>,
}

/// A piece that was forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// When it had come and was about to be sent on.
    pub at: Instant,
    /// Which way it went.
    pub direction: Direction,
    /// Its length.
    pub bytes: usize,
}

/// How many pieces are remembered, the last ones.
const PASSED_MAX: usize = 100_000;

impl Counts {
    fn note(&self, direction: Direction, bytes: usize) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.len() >= PASSED_MAX {
            passed.drain(..PASSED_MAX / 2);
        }
        passed.push(Passed { at: Instant::now(), direction, bytes });
    }
}

/// A running relay; it ends with all its connections when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    control: watch::Sender<Control>,
    counts: Arc<Counts>,
    _ends: DropGuard,
}

impl Relay {
    /// Listens at `address`, port 0 for any, and forwards to `target`.
    ///
    /// # Errors
    /// [`Error::Io`] when the address cannot be bound.
    pub async fn start(address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let what = || format!("listening on {address}");
        let listener = during(what, TcpListener::bind(address).await)?;
        let address = during(what, listener.local_addr())?;
        let (control, heard) = watch::channel(Control {
            target,
            mode: Mode::Forward,
            delay: Duration::ZERO,
            strikes: 0,
            forgotten: 0,
            how: How::Fin,
            tear: None,
        });
        let counts = Arc::new(Counts::default());
        let ended = CancellationToken::new();
        let serving = serve(listener, heard, counts.clone(), ended.clone());
        tokio::spawn(ended.clone().run_until_cancelled_owned(serving));
        Ok(Self { address, control, counts, _ends: ended.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections stand.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// How many connections were ever accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// What was forwarded, piece by piece, the oldest first.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        self.counts.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends new connections elsewhere.
    pub fn retarget(&self, target: SocketAddr) {
        self.control.send_modify(|control| control.target = target);
    }

    /// Changes what happens from here on.
    pub fn set_mode(&self, mode: Mode) {
        self.control.send_modify(|control| control.mode = mode);
    }

    /// Holds every piece back for this long before it is forwarded.
    pub fn set_delay(&self, delay: Duration) {
        self.control.send_modify(|control| control.delay = delay);
    }

    /// Ends all connections that stand, on both sides.
    pub fn cut(&self, how: How) {
        self.control.send_modify(|control| {
            control.strikes += 1;
            control.how = how;
        });
    }

    /// Forgets the connections that stand, as a firewall does: they stay open on both sides and
    /// nothing passes any more, whatever comes. New ones work.
    pub fn forget(&self) {
        self.control.send_modify(|control| control.forgotten += 1);
    }

    /// Lets each connection forward `bytes` more in this direction, then ends it: messages are torn
    /// wherever that is.
    pub fn tear(&self, direction: Direction, bytes: usize, how: How) {
        self.control.send_modify(|control| {
            control.tear = Some((direction, bytes));
            control.how = how;
        });
    }

    /// Takes back what [`Relay::tear`] said.
    pub fn mend(&self) {
        self.control.send_modify(|control| control.tear = None);
    }
}

async fn serve(
    listener: TcpListener,
    mut control: watch::Receiver<Control>,
    counts: Arc<Counts>,
    ended: CancellationToken,
) {
    loop {
        if control.wait_for(|control| control.mode != Mode::Unaccepted).await.is_err() {
            return;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = control.wait_for(|control| control.mode == Mode::Unaccepted) => continue,
        };
        let Ok((client, _)) = accepted else { continue };
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        if control.borrow().mode == Mode::Refuse {
            continue;
        }
        let relaying = relay(client, control.clone(), Open::new(counts.clone()));
        tokio::spawn(ended.clone().run_until_cancelled_owned(relaying));
    }
}

/// Counts a connection as long as it lives.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn relay(mut client: TcpStream, mut control: watch::Receiver<Control>, open: Open) {
    let Control { strikes, forgotten, .. } = *control.borrow();
    if control.wait_for(flows).await.is_err() {
        return;
    }
    let target = control.borrow().target;
    let Ok(mut backend) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), backend.set_nodelay(true));
    let how = {
        let (from_client, to_client) = client.split();
        let (from_backend, to_backend) = backend.split();
        let there = pump(from_client, to_backend, Direction::ToBackend, control.clone(), &open.0);
        let back = pump(from_backend, to_client, Direction::ToFrontend, control.clone(), &open.0);
        let mut news = control.clone();
        let lost = news.wait_for(|control| control.forgotten != forgotten);
        let struck = control.wait_for(|control| control.strikes != strikes);
        tokio::select! {
            biased; // not one byte more of what is forgotten
            Ok(_) = lost => None,
            torn = async { tokio::try_join!(there, back) } => Some(torn.err().unwrap_or(How::Fin)),
            control = struck => Some(control.map_or(How::Fin, |control| control.how)),
        }
    };
    let Some(how) = how else { return std::future::pending().await };
    if how == How::Rst {
        let _ = (client.set_zero_linger(), backend.set_zero_linger());
    }
}

fn flows(control: &Control) -> bool {
    matches!(control.mode, Mode::Forward | Mode::Refuse)
}

/// Forwards one direction until its end, which it forwards too.
///
/// # Errors
/// How the whole connection shall be ended.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut control: watch::Receiver<Control>,
    counts: &Counts,
) -> std::result::Result<(), How> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = None;
    loop {
        let length = from.read(&mut chunk).await.map_err(|_| How::Rst)?;
        let seen = *control.wait_for(flows).await.map_err(|_| How::Fin)?;
        if !seen.delay.is_zero() {
            tokio::time::sleep(seen.delay).await;
        }
        let piece = chunk.get(..length).unwrap_or_default();
        let allowed = match seen.tear.filter(|(torn, _)| *torn == direction) {
            Some((_, bytes)) => *left.get_or_insert(bytes),
            None => usize::MAX,
        };
        let passed = piece.get(..allowed.min(length)).unwrap_or_default();
        if !passed.is_empty() {
            counts.note(direction, passed.len());
        }
        to.write_all(passed).await.map_err(|_| How::Rst)?;
        if let Some(left) = &mut left {
            *left -= passed.len();
        }
        if passed.len() < length {
            return Err(seen.how);
        }
        if length == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
    }
}

/// An address at which connecting neither succeeds nor fails: its queue is full, so the kernel
/// drops every further handshake.
#[derive(Debug)]
pub struct Unanswered {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Unanswered {
    /// Fills the queue of a listener at `address`, port 0 for any.
    ///
    /// # Errors
    /// [`Error::Skip`] where the kernel goes on answering, [`Error::Io`].
    pub async fn start(address: SocketAddr) -> Result<Self> {
        let what = || format!("listening on {address}");
        let socket = during(what, TcpSocket::new_v4())?;
        during(what, socket.bind(address))?;
        let listener = during(what, socket.listen(0))?;
        let address = during(what, listener.local_addr())?;
        let mut queued = Vec::new();
        for _ in 0..16 {
            let connecting = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(300), connecting).await {
                Ok(connected) => queued.push(during(what, connected)?),
                Err(_) => return Ok(Self { address, _listener: listener, _queued: queued }),
            }
        }
        Err(Error::Skip("a full queue does not silence this kernel".to_owned()))
    }

    /// Where nothing answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
