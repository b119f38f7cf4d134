//! How many clients of each database and of each user there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use everline_core::refusal::Refusal;

use crate::config::sharing::Bounds;

/// Whose clients are counted together.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Whose {
    Database(String),
    User(String),
}

/// The counts.
#[derive(Debug, Default)]
pub struct Census {
    counts: Mutex<BTreeMap<Whose, usize>>,
}

/// A client that is counted; until it is dropped.
#[derive(Debug)]
pub struct Counted {
    census: Arc<Census>,
    whose: [Whose; 2],
}

impl Census {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Whose, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a client that has logged in, within the bounds.
    ///
    /// # Errors
    /// [`Refusal::TooManyClientsOf`].
    pub fn enter(
        self: &Arc<Self>,
        database: &str,
        user: &str,
        bounds: &Bounds,
    ) -> Result<Counted, Refusal> {
        let whose = [Whose::Database(database.to_owned()), Whose::User(user.to_owned())];
        let most = [bounds.database_clients_max, bounds.user_clients_max];
        let mut counts = self.lock();
        for (whose, most) in whose.iter().zip(most) {
            let count = counts.get(whose).copied().unwrap_or(0);
            if most.is_some_and(|most| count >= most) {
                let (whose, name) = match whose {
                    Whose::Database(name) => ("database", name.clone()),
                    Whose::User(name) => ("role", name.clone()),
                };
                return Err(Refusal::TooManyClientsOf { whose, name });
            }
        }
        for whose in &whose {
            let count = counts.entry(whose.clone()).or_default();
            *count = count.saturating_add(1);
        }
        drop(counts);
        Ok(Counted { census: Arc::clone(self), whose })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.census.lock();
        for whose in &self.whose {
            let Some(count) = counts.get_mut(whose) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(whose);
            }
        }
    }
}
