//! Cancel requests: from the key that a client was given to what its session is doing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use everline_wire::auth;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backend::Endpoint;
use crate::backend::dial::Dialer;
use crate::backend::lease::{Backend, Place};
use everline_core::limits::CANCEL_MAX;

/// Length of the secret in a key of ours, in bytes: what protocol 3.0 allows.
const SECRET_BYTES: usize = 4;

/// Process id and secret, as the client was told them.
type Key = (u32, [u8; SECRET_BYTES]);

/// The keys of all sessions.
#[derive(Debug, Default)]
pub struct Cancels {
    slots: Mutex<BTreeMap<Key, Arc<Slot>>>,
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
    pub secret: [u8; SECRET_BYTES],
    /// Where cancel requests arrive.
    pub slot: Arc<Slot>,
}

impl Registered {
    /// Process id and secret, as in a cancel request.
    #[must_use]
    pub fn key(&self) -> (u32, Bytes) {
        (self.process_id, Bytes::copy_from_slice(&self.secret))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.cancels.slots).remove(&(self.process_id, self.secret));
    }
}

impl Cancels {
    /// Gives a session its key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn register(self: &Arc<Self>) -> Result<Registered, auth::NoRandom> {
        loop {
            let secret = auth::random::<SECRET_BYTES>()?;
            let process_id = u32::from_be_bytes(auth::random::<4>()?) & 0x7fff_ffff;
            let slot = Arc::new(Slot::default());
            let mut slots = lock(&self.slots);
            if slots.contains_key(&(process_id, secret)) {
                continue;
            }
            slots.insert((process_id, secret), Arc::clone(&slot));
            return Ok(Registered { cancels: Arc::clone(self), process_id, secret, slot });
        }
    }

    /// Carries a cancel request to where the session is: to its backend, or to its hold.
    ///
    /// Nothing is said to whoever asked, whether the key was right or not, as in PostgreSQL.
    pub async fn cancel(&self, process_id: u32, secret: &Bytes, dialer: &Dialer) {
        let Ok(secret) = <[u8; SECRET_BYTES]>::try_from(&**secret) else { return };
        let Some(slot) = lock(&self.slots).get(&(process_id, secret)).map(Arc::clone) else {
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
