//! Who is served at the same time: a bounded number, and the newest always gets in.
//!
//! A client that holds its connection open and does nothing must not keep a probe out, so where
//! there is no room the one that has been there longest leaves.

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
    guests: VecDeque<(u64, CancellationToken)>,
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

    /// Takes one in; the oldest leaves where there is no room.
    #[must_use]
    pub fn enter(&self) -> Guest {
        let mut seats = self.lock();
        while seats.guests.len() >= seats.most {
            let Some((_, leaves)) = seats.guests.pop_front() else { break };
            leaves.cancel();
        }
        seats.last = seats.last.wrapping_add(1);
        let (number, leaves) = (seats.last, CancellationToken::new());
        seats.guests.push_back((number, leaves.clone()));
        Guest { guests: self.clone(), number, leaves }
    }
}

impl Guest {
    /// Cancelled when it has to leave.
    #[must_use]
    pub fn leaves(&self) -> CancellationToken {
        self.leaves.clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.lock().guests.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
#[path = "guests_tests.rs"]
mod tests;
