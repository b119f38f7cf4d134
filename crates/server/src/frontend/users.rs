//! Who may log in: those of the DSN and of the files, and those for whom PostgreSQL is asked.
//!
//! Every frontend asks here: [`Context::find_user`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use everline_core::limits::{AUTH_QUERIES_MAX, AUTH_QUERY_MAX, AUTH_QUERY_USERS_MAX};
use everline_core::refusal::Refusal;
use everline_wire::auth::secret::{Md5Verifier, ScramVerifier, Secret, Verifier};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Context;
use crate::backend::pool::{PoolKey, PoolSpec, Terms};
use crate::config::AuthQuery;

/// One user that may log in.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// What a SCRAM exchange is checked against.
    pub verifier: Option<ScramVerifier>,
    /// What an MD5 exchange is checked against, where there is no password.
    pub md5: Option<Md5Verifier>,
    /// The password, where it is known: it logs in at backends.
    pub password: Option<Secret>,
}

impl User {
    /// A user of whom is known what PostgreSQL stores.
    #[must_use]
    pub fn stored(verifier: &Verifier) -> Self {
        match verifier {
            Verifier::Scram(scram) => Self { verifier: Some(scram.clone()), ..Self::default() },
            Verifier::Md5(md5) => Self { md5: Some(md5.clone()), ..Self::default() },
        }
    }
}

/// The answers.
#[derive(Debug)]
pub struct Asked {
    answers: Mutex<BTreeMap<String, Answer>>,
    permits: Semaphore,
}

#[derive(Clone, Debug)]
struct Answer {
    user: Option<User>,
    asked: Instant,
}

impl Default for Asked {
    fn default() -> Self {
        Self { answers: Mutex::default(), permits: Semaphore::new(AUTH_QUERIES_MAX) }
    }
}

impl Asked {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, user: &str) -> Option<Answer> {
        self.lock().get(user).cloned()
    }

    /// Forgets what was answered, as after a reload.
    pub fn forget(&self) {
        self.lock().clear();
    }

    fn keep(&self, name: &str, user: Option<User>) {
        let mut answers = self.lock();
        if answers.len() >= AUTH_QUERY_USERS_MAX && !answers.contains_key(name) {
            let oldest = answers.iter().min_by_key(|(_, answer)| answer.asked);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                answers.remove(&oldest);
            }
        }
        answers.insert(name.to_owned(), Answer { user, asked: Instant::now() });
    }
}

impl Context {
    /// What is known of a user; `None`: there is no such user.
    ///
    /// An answer of `auth_query` is asked for once in its life, and holds for longer while
    /// PostgreSQL cannot be asked.
    ///
    /// # Errors
    /// [`Refusal::NoLeaderAtLogin`] when PostgreSQL would have to be asked and does not answer.
    ///
    /// # Cancel safety
    /// Safe: the connection that asks is closed.
    pub async fn find_user(self: &Arc<Self>, name: &str) -> Result<Option<User>, Refusal> {
        let live = self.live();
        if let Some(user) = live.users.get(name) {
            return Ok(Some(user.clone()));
        }
        let Some(query) = &live.auth_query else { return Ok(None) };
        let known = self.asked.known(name);
        if let Some(known) = known.as_ref().filter(|known| known.asked.elapsed() < query.life) {
            return Ok(known.user.clone());
        }
        if let Some(known) = known.as_ref().filter(|_| !self.pools.target().is_available()) {
            return Ok(known.user.clone());
        }
        match timeout(AUTH_QUERY_MAX, self.ask(query, name)).await {
            Ok(Ok(user)) => {
                self.asked.keep(name, user.clone());
                Ok(user)
            }
            Ok(Err(problem)) => {
                tracing::warn!(problem, "auth_query has no answer");
                known.map(|known| known.user).ok_or(Refusal::NoLeaderAtLogin)
            }
            Err(_) => {
                tracing::warn!("auth_query has no answer in {AUTH_QUERY_MAX:?}");
                known.map(|known| known.user).ok_or(Refusal::NoLeaderAtLogin)
            }
        }
    }

    /// Asks over a connection of a pool that no client shares: nobody's settings are on it.
    async fn ask(self: &Arc<Self>, query: &AuthQuery, name: &str) -> Result<Option<User>, String> {
        let _permit = self.asked.permits.acquire().await.map_err(|error| error.to_string())?;
        let live = self.live();
        let mut login = live.backend_login.clone();
        login.database.clone_from(&query.database);
        let key = PoolKey::asks(&query.database, &login.user);
        let member = self.pools.pool(&key, PoolSpec::unbounded(login));
        let (hold, pause) = (live.hold, live.pause_hold);
        let terms = Terms { hold, query_wait: AUTH_QUERY_MAX, shutdown: hold, pause, bytes: 0 };
        let lease = self.pools.lease(member.id(), terms).await;
        let mut lease = lease.map_err(|error| error.to_string())?;
        match lease.ask(&query.sql, name).await {
            Ok(row) => {
                lease.give_back();
                row.map_or(Ok(None), |row| read(&row, name))
            }
            Err(error) if error.is_of_the_statement() => {
                lease.give_back();
                Err(error.to_string())
            }
            Err(error) => {
                lease.broken();
                Err(error.to_string())
            }
        }
    }
}

/// A name and what is stored of it.
fn read(row: &[Option<Vec<u8>>], name: &str) -> Result<Option<User>, String> {
    let [found, stored, ..] = row else {
        return Err("it has to return two columns: the name, and what is stored of it".to_owned());
    };
    if found.as_deref() != Some(name.as_bytes()) {
        return Ok(None);
    }
    let Some(stored) = stored.as_ref().filter(|stored| !stored.is_empty()) else {
        return Ok(None); // no password: nobody logs in by one
    };
    let stored = str::from_utf8(stored).ok().and_then(|stored| stored.parse::<Verifier>().ok());
    let stored = stored.ok_or("the second column is no verifier of PostgreSQL's")?;
    Ok(Some(User::stored(&stored)))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_row_is_a_name_and_a_verifier() {
        let row = |name: &str, stored: Option<&str>| {
            let bytes = |text: &str| text.as_bytes().to_vec();
            read(&[Some(bytes(name)), stored.map(bytes)], "app")
        };
        let md5 = format!("md5{}", "0".repeat(32));
        assert!(row("app", Some(&md5)).unwrap().is_some_and(|user| user.md5.is_some()));
        assert!(row("other", Some(&md5)).unwrap().is_none());
        assert!(row("app", None).unwrap().is_none() && row("app", Some("")).unwrap().is_none());
        assert!(row("app", Some("plain")).is_err());
        assert!(read(&[None], "app").is_err());
    }
}
