//! Cancel requests: from the key that a client was given to what its session is doing.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::{Bytes, BytesMut};
use everline_wire::{auth, startup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use crate::backend::Endpoint;
use crate::backend::dial::Dialer;
use crate::backend::lease::{Backend, Place};
use crate::config::PeersConfig;
use everline_core::limits::{CANCEL_MAX, CANCELS_MAX};

/// Length of the secret in a key of ours, in bytes: what protocol 3.0 allows.
const SECRET_BYTES: usize = 4;

/// The same from protocol 3.2 on.
const LONG_SECRET_BYTES: usize = 32;

/// In a process id, where the number of the peer is that gave it out.
const PEER_SHIFT: u32 = 24;

/// In a process id, what is random.
const RANDOM_BITS: u32 = (1 << PEER_SHIFT) - 1;

/// In a process id, the mark of a request that a peer has passed on: it goes no further.
const PASSED_ON: u32 = 1 << 31;

/// The keys of all sessions.
#[derive(Debug)]
pub struct Cancels {
    /// By process id: the secret, and what it leads to.
    slots: Mutex<BTreeMap<u32, (Bytes, Arc<Slot>)>>,
    peers: PeersConfig,
    permits: Semaphore,
    serial: AtomicU64,
}

/// What a cancel request meets.
#[derive(Debug, Default)]
pub struct Slot {
    running: Mutex<Running>,
    /// Wakes a statement that is held.
    pub held: Notify,
}

#[derive(Debug, Default)]
struct Running {
    /// The leased connection, and since when it is leased.
    on: Option<(Arc<Place>, Instant)>,
    delivering: u32,
    /// A delivery to the leased connection failed, and may still arrive.
    adrift: bool,
}

/// A connection that a session has leased.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Where it leads to.
    pub endpoint: Endpoint,
    /// The backend's process.
    pub process_id: u32,
    /// Whether it is encrypted.
    pub tls: bool,
    /// When it was opened.
    pub opened: Instant,
    /// When it was leased.
    pub since: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// The session has leased a connection.
    pub fn attach(&self, backend: &Backend, since: Instant) {
        let mut running = lock(&self.running);
        running.adrift = false;
        running.on = Some((Arc::clone(&backend.place), since));
    }

    /// The connection that the session has leased, if it has one, for those who watch.
    #[must_use]
    pub fn leased(&self) -> Option<Leased> {
        lock(&self.running).on.as_ref().map(|(place, since)| Leased {
            endpoint: place.endpoint.clone(),
            process_id: place.key.process_id,
            tls: place.tls,
            opened: place.opened,
            since: *since,
        })
    }

    /// The session gives its connection up. False when a cancel request is on its way to it, so
    /// that it must not be lent to somebody else.
    #[must_use]
    pub fn detach(&self) -> bool {
        let mut running = lock(&self.running);
        running.on = None;
        running.delivering == 0 && !running.adrift
    }
}

/// A session's registration; the key is forgotten when it is dropped.
#[derive(Debug)]
pub struct Registered {
    cancels: Arc<Cancels>,
    /// The process id that the client is told.
    pub process_id: u32,
    /// The secret that the client is told.
    pub secret: Bytes,
    /// A number that no other session of this process has.
    pub serial: u64,
    /// Where cancel requests arrive.
    pub slot: Arc<Slot>,
}

impl Registered {
    /// Process id and secret, as in a cancel request.
    #[must_use]
    pub fn key(&self) -> (u32, Bytes) {
        (self.process_id, self.secret.clone())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.cancels.slots).remove(&self.process_id);
    }
}

impl Cancels {
    /// No keys yet.
    #[must_use]
    pub fn new(peers: PeersConfig) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::default(),
            peers,
            permits: Semaphore::new(CANCELS_MAX),
            serial: AtomicU64::new(1),
        })
    }

    /// Gives a session its key; a long one where its protocol has room for it.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn register(self: &Arc<Self>, long: bool) -> Result<Registered, auth::NoRandom> {
        let secret = if long {
            Bytes::copy_from_slice(&auth::random::<LONG_SECRET_BYTES>()?)
        } else {
            Bytes::copy_from_slice(&auth::random::<SECRET_BYTES>()?)
        };
        loop {
            let random = u32::from_be_bytes(auth::random::<4>()?);
            let process_id = match self.peers.own {
                0 => random & !PASSED_ON,
                own => random & RANDOM_BITS | u32::from(own) << PEER_SHIFT,
            };
            let slot = Arc::new(Slot::default());
            let mut slots = lock(&self.slots);
            if slots.contains_key(&process_id) {
                continue;
            }
            slots.insert(process_id, (secret.clone(), Arc::clone(&slot)));
            let (cancels, serial) = (Arc::clone(self), self.serial.fetch_add(1, Ordering::Relaxed));
            return Ok(Registered { cancels, process_id, secret, serial, slot });
        }
    }

    /// The peer that gave out this process id, if it was another and there is one.
    fn peer(&self, process_id: u32) -> Option<SocketAddr> {
        let id = u8::try_from(process_id >> PEER_SHIFT).ok()?;
        let foreign = self.peers.own != 0 && process_id & PASSED_ON == 0 && id != self.peers.own;
        self.peers.others.get(&id).copied().filter(|_| foreign)
    }

    /// Passes a request on to the peer whose client it is for.
    async fn pass_on(&self, peer: SocketAddr, process_id: u32, secret: &Bytes) {
        let mut out = BytesMut::new();
        startup::cancel_request(&mut out, process_id | PASSED_ON, secret);
        let passing = async {
            let mut stream = TcpStream::connect(peer).await?;
            stream.write_all(&out).await?;
            stream.read_u8().await.map(drop).or(Ok::<_, io::Error>(())) // until it is closed
        };
        match timeout(CANCEL_MAX, passing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, %peer, "cancel request not passed on"),
            Err(_) => tracing::info!(%peer, "cancel request not passed on in time"),
        }
    }

    /// Carries a cancel request to where the session is: to its backend, to its hold, or to the
    /// peer that serves it. More than [`CANCELS_MAX`] at a time are dropped.
    ///
    /// Nothing is said to whoever asked, whether the key was right or not, as in PostgreSQL.
    pub async fn cancel(&self, process_id: u32, secret: &Bytes, dialer: &Dialer) {
        let Ok(_permit) = self.permits.try_acquire() else { return };
        if let Some(peer) = self.peer(process_id) {
            return self.pass_on(peer, process_id, secret).await;
        }
        let found = lock(&self.slots).get(&(process_id & !PASSED_ON)).cloned();
        let found = found.filter(|(own, _)| verify_slices_are_equal(own, secret).is_ok());
        let Some((_, slot)) = found else {
            tracing::debug!("cancel request with an unknown key");
            return;
        };
        let target = {
            let mut running = lock(&slot.running);
            if running.on.is_some() {
                running.delivering = running.delivering.saturating_add(1);
            }
            running.on.clone()
        };
        let Some((place, _)) = target else {
            slot.held.notify_waiters();
            return;
        };
        let _delivering = Delivering(&slot);
        let _open = place.another(); // dropped after the request's socket
        tokio::select! {
            biased; // what an ended reign runs is over
            () = place.ended.cancelled() => {}
            sent = dialer.cancel(&place.endpoint, &place.key, Instant::now() + CANCEL_MAX) => {
                if let Err(error) = sent {
                    lock(&slot.running).adrift = true;
                    tracing::debug!(%error, "cancel request not delivered");
                }
            }
        }
    }
}

/// Counts a delivery until it is over, however it ends.
struct Delivering<'a>(&'a Slot);

impl Drop for Delivering<'_> {
    fn drop(&mut self) {
        let mut running = lock(&self.0.running);
        running.delivering = running.delivering.saturating_sub(1);
    }
}
