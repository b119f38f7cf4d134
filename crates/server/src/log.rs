//! What is logged, where, and how it looks.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogConfig, LogFormat};

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

/// Sends the log to standard error from here on. Called once, before anything is logged; a second
/// call changes nothing.
///
/// Colours are used where standard error is a terminal and `NO_COLOR` is not set.
pub fn start(config: &LogConfig) {
    // Checked when the configuration was loaded.
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(io::stderr);
    // It fails only when somebody else has set the log up already, as tests do.
    let _: Result<_, _> = match config.format {
        LogFormat::Human => lines.with_ansi(colours).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
