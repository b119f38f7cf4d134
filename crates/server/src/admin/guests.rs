//! Who is served at the same time: a bounded number, and the newest always gets in.
//!
//! A client that holds its connection open and does nothing must not keep a probe out, so where
//! there is no room one leaves: of those that have asked for nothing yet the one that has been
//! there longest, and only where all have asked, the oldest of them. So a crowd that says nothing
//! pushes out its own kind, and not who looks on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The guests of one kind.
#[derive(Clone, Debug)]
pub struct Guests(Arc<Mutex<Seats>>);

#[derive(Debug)]
struct Seats {
    most: usize,
    last: u64,
    guests: VecDeque<Seat>,
}

#[derive(Debug)]
struct Seat {
    number: u64,
    has_asked: bool,
    leaves: CancellationToken,
}

/// One of them; its seat is free when this is dropped.
#[derive(Debug)]
pub struct Guest {
    guests: Guests,
    number: u64,
    leaves: CancellationToken,
}

impl Guests {
    /// Room for so many, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let seats = Seats { most: most.max(1), last: 0, guests: VecDeque::new() };
        Self(Arc::new(Mutex::new(seats)))
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one in; where there is no room another leaves.
    #[must_use]
    pub fn enter(&self) -> Guest {
        let mut seats = self.lock();
        while seats.guests.len() >= seats.most {
            let silent = seats.guests.iter().position(|seat| !seat.has_asked);
            let Some(seat) = seats.guests.remove(silent.unwrap_or(0)) else { break };
            seat.leaves.cancel();
        }
        seats.last = seats.last.wrapping_add(1);
        let (number, leaves) = (seats.last, CancellationToken::new());
        seats.guests.push_back(Seat { number, has_asked: false, leaves: leaves.clone() });
        Guest { guests: self.clone(), number, leaves }
    }
}

impl Guest {
    /// It has asked for something.
    pub fn asks(&self) {
        let mut seats = self.guests.lock();
        if let Some(seat) = seats.guests.iter_mut().find(|seat| seat.number == self.number) {
            seat.has_asked = true;
        }
    }

    /// Cancelled when it has to leave.
    #[must_use]
    pub fn leaves(&self) -> CancellationToken {
        self.leaves.clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.lock().guests.retain(|seat| seat.number != self.number);
    }
}

#[cfg(test)]
#[path = "guests_tests.rs"]
mod tests;
