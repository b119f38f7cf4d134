//! Who is connected: what console and page say of each client, and how one is sent away.
//!
//! A session's entry is made at its login and removed at its end. Nothing here is on the way of a
//! statement: what a session is doing stands in its cancel slot, which it keeps up to date anyway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use everline_core::session::pin::Pins;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cancel::Slot;

/// One client, as it presented itself.
#[derive(Debug)]
pub struct Client {
    /// Its number, counted from 1 since the start.
    pub number: u64,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// What it called itself at its login.
    pub application: String,
    /// Where it comes from; `None` over a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Where it came in.
    pub local: Option<SocketAddr>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// When its login was over.
    pub since: Instant,
    /// The same, by the calendar.
    pub since_wall: SystemTime,
    /// What it has leased.
    pub slot: Arc<Slot>,
    /// Since when its statement waits, in microseconds after its login, plus 1; 0: it does not.
    waits: AtomicU64,
    ties: AtomicU8,
    killed: CancellationToken,
}

impl Client {
    /// How long its statement has waited for a connection or a leader, if it does.
    #[must_use]
    pub fn waits(&self) -> Option<Duration> {
        let began = self.waits.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.since.elapsed().saturating_sub(Duration::from_micros(began)))
    }

    /// What ties it to its connection beyond the transaction.
    #[must_use]
    pub fn ties(&self) -> Pins {
        Pins::from_bits(self.ties.load(Ordering::Relaxed))
    }

    /// Sends it away: FATAL 57P01, its transaction is rolled back.
    pub fn kill(&self) {
        self.killed.cancel();
    }
}

/// What is known of a client that has just logged in.
#[derive(Debug)]
pub struct Newcomer {
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// What it calls itself.
    pub application: String,
    /// Where it comes from, and where it came in.
    pub ends: (Option<SocketAddr>, Option<SocketAddr>),
    /// Whether it is encrypted.
    pub tls: bool,
    /// Its cancel slot.
    pub slot: Arc<Slot>,
}

/// All clients.
#[derive(Debug, Default)]
pub struct Roster(Mutex<Seats>);

#[derive(Debug, Default)]
struct Seats {
    last: u64,
    clients: BTreeMap<u64, Arc<Client>>,
}

impl Roster {
    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a client in.
    #[must_use]
    pub fn enter(self: &Arc<Self>, newcomer: Newcomer) -> Presence {
        let Newcomer { database, user, application, ends, tls, slot } = newcomer;
        let mut seats = self.lock();
        seats.last = seats.last.saturating_add(1);
        let client = Arc::new(Client {
            number: seats.last,
            database,
            user,
            application,
            peer: ends.0,
            local: ends.1,
            tls,
            since: Instant::now(),
            since_wall: SystemTime::now(),
            slot,
            waits: AtomicU64::new(0),
            ties: AtomicU8::new(0),
            killed: CancellationToken::new(),
        });
        seats.clients.insert(client.number, Arc::clone(&client));
        Presence { roster: Arc::clone(self), client }
    }

    /// Everybody, the oldest first.
    #[must_use]
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.lock().clients.values().map(Arc::clone).collect()
    }

    /// The client of this number, while it is there.
    #[must_use]
    pub fn client(&self, number: u64) -> Option<Arc<Client>> {
        self.lock().clients.get(&number).map(Arc::clone)
    }
}

/// A session's entry; it is removed when this is dropped.
#[derive(Debug)]
pub struct Presence {
    roster: Arc<Roster>,
    client: Arc<Client>,
}

impl Presence {
    /// Notes that a statement waits, until what is returned is dropped.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let began = u64::try_from(self.client.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.client.waits.store(began.saturating_add(1), Ordering::Relaxed);
        Waiting(Arc::clone(&self.client))
    }

    /// Notes what ties the session to its connection.
    pub fn tied(&self, by: Pins) {
        if self.client.ties.load(Ordering::Relaxed) != by.bits() {
            self.client.ties.store(by.bits(), Ordering::Relaxed);
        }
    }

    /// Cancelled when the client is to be sent away.
    #[must_use]
    pub fn killed(&self) -> CancellationToken {
        self.client.killed.clone()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.roster.lock().clients.remove(&self.client.number);
    }
}

/// A statement that waits.
#[derive(Debug)]
pub struct Waiting(Arc<Client>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waits.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
