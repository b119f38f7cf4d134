//! Databases to which nobody new is let in: `DISABLE` on the console.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Databases that may be closed at the same time; an administrator names them one by one.
const CLOSED_MAX: usize = 10_000;

/// Which databases are closed.
#[derive(Debug, Default)]
pub struct Doors(Mutex<BTreeSet<String>>);

impl Doors {
    /// Closes a database to newcomers.
    pub fn close(&self, database: &str) {
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() < CLOSED_MAX {
            closed.insert(database.to_owned());
        }
    }

    /// Opens it again.
    pub fn open(&self, database: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(database);
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self, database: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(database)
    }
}
