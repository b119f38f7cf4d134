//! New configuration without a restart: whole, or not at all.

use std::sync::{Arc, PoisonError};

use super::Parts;
use super::live::live;
use super::moves::Move;
use super::wire::Way;
use crate::admin::console::Desk;
use crate::config::{Config, ConfigError, settings};
use crate::frontend::Context;
use crate::log::Log;

/// Reads the configuration again, from where it came.
pub type Loader = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// What changes while the server runs, and what it changes.
pub(super) struct Reloader {
    pub load: Loader,
    /// What is in force.
    pub current: Config,
    pub context: Arc<Context>,
    pub desk: Arc<Desk>,
    /// How backends are reached, as everybody who dials has it.
    pub way: Way,
    pub log: Log,
}

impl Reloader {
    /// Reads everything anew and puts it in force. What comes back says what has changed, and what
    /// would need a restart.
    ///
    /// # Errors
    /// What is wrong, in one sentence; nothing has changed then.
    async fn reload(&mut self, parts: &mut Parts) -> Result<Vec<String>, String> {
        let new = (self.load)().map_err(|error| error.to_string())?;
        let changed = self.current.given.changed(&new.given);
        let (late, now): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|key| settings::needs_restart(key));
        let config = self.current.with_changeable(new);
        let effective = config.clone();
        // Passwords are hashed, files are read.
        let reading = tokio::task::spawn_blocking(move || live(&effective));
        let read = reading.await.map_err(|error| error.to_string())?;
        let live = read.map_err(|error| error.to_string())?;
        let other = Move::prepare(self, &config).await?;
        other.go(self, &config, live, parts).await;
        if now.contains(&"log") {
            self.log.set(&config.log.filter);
        }
        *self.desk.settings.lock().unwrap_or_else(PoisonError::into_inner) = config.shown();
        self.current = config;
        Ok(told(&now, &late))
    }

    /// As [`Reloader::reload`], with the outcome in the log.
    pub(super) async fn reload_and_tell(
        &mut self,
        parts: &mut Parts,
    ) -> Result<Vec<String>, String> {
        let outcome = self.reload(parts).await;
        match &outcome {
            Ok(words) => tracing::info!("reloaded: {}", words.join("; ")),
            Err(why) => tracing::error!("not reloaded, nothing has changed: {why}"),
        }
        outcome
    }
}

fn told(now: &[&str], late: &[&str]) -> Vec<String> {
    let mut words = vec![match now {
        [] => "users, passwords and certificates were read again".to_owned(),
        keys => format!("changed: {}", keys.join(", ")),
    }];
    if !late.is_empty() {
        words.push(format!("needs a restart: {}", late.join(", ")));
    }
    words
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
