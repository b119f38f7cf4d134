//! What is logged, where, and how it looks.

mod repeats;

use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{LogConfig, LogFormat};
pub use repeats::{Repeats, WINDOW};

/// Longest text of directives, in bytes.
const FILTER_BYTES_MAX: usize = 4096;

/// Whether a text says what is to be logged.
///
/// # Errors
/// What is wrong with it, for the end of a sentence.
pub fn check(filter: &str) -> Result<(), String> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(format!("is longer than {FILTER_BYTES_MAX} bytes"));
    }
    let expected = || {
        "has to be error, warn, info, debug or trace, or such levels by module as in \
         info,everline::backend=debug"
            .to_owned()
    };
    // A single word that is no level would be read as the name of a module that says nothing.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let words = filter.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']));
    for word in words {
        if !levels.contains(&word.to_ascii_lowercase().as_str()) {
            return Err(expected());
        }
    }
    EnvFilter::try_new(filter).map(drop).map_err(|_| expected())
}

/// What can be done about a log that has been started.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    /// What was left out because it was said again and again.
    pub repeats: Arc<Repeats>,
}

impl Log {
    /// Changes what is logged. A text that [`check`] refuses changes nothing.
    pub fn set(&self, filter: &str) {
        let Ok(filter) = EnvFilter::try_new(filter) else { return };
        if let Err(error) = self.filter.reload(filter) {
            tracing::warn!(%error, "what is logged could not be changed");
        }
    }
}

/// Sends the log to standard error from here on. Called once, before anything is logged; a second
/// call changes nothing.
///
/// Colours are used where standard error is a terminal and `NO_COLOR` is not set.
#[must_use]
pub fn start(config: &LogConfig) -> Log {
    // Checked when the configuration was loaded.
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let repeats = Arc::new(Repeats::default());
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match config.format {
        LogFormat::Human => lines.with_ansi(colours).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let quiet = repeats::Layer(Arc::clone(&repeats));
    // It fails only when somebody else has set the log up already, as tests do.
    drop(tracing_subscriber::registry().with(filter).with(quiet).with(lines).try_init());
    Log { filter: handle, repeats }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
