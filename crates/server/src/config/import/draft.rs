//! What is written: the file, and the list of what is not in it.

use std::fmt::Write as _;
use std::time::Duration;

use super::ini::Entry;
use crate::config::ConfigError;

/// The longest time that a setting takes.
const DURATION_MAX: Duration = Duration::from_hours(24);

/// What a time of 0 means to PgBouncer where it does not mean the same here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Zero {
    /// The same as here.
    Same,
    /// For ever, which we do not have.
    ForEver,
    /// At once.
    AtOnce,
}

/// `key = value` lines of one table.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<(&'static str, String)>);

impl Table {
    pub(super) fn put(&mut self, key: &'static str, value: String) {
        self.0.push((key, value));
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.put(key, quoted(value));
    }

    pub(super) fn list<T: AsRef<str>>(&mut self, key: &'static str, values: &[T]) {
        let values: Vec<String> = values.iter().map(|value| quoted(value.as_ref())).collect();
        self.put(key, format!("[{}]", values.join(", ")));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn write(&self, out: &mut String) {
        for (key, value) in &self.0 {
            let _ = writeln!(out, "{key} = {value}"); // a String takes everything
        }
    }
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c)); // a String takes everything
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Remarks(pub(super) Vec<String>);

impl Remarks {
    /// Something about one entry.
    pub(super) fn at(&mut self, entry: &Entry, remark: &str) {
        self.0.push(format!("{}: {}: {remark}", entry.place, entry.key));
    }

    /// Something about a part of one entry.
    pub(super) fn of(&mut self, entry: &Entry, part: &str, remark: &str) {
        self.0.push(format!("{}: {}: {part}: {remark}", entry.place, entry.key));
    }

    /// Something about the whole.
    pub(super) fn note(&mut self, remark: String) {
        self.0.push(remark);
    }

    /// A time in seconds, as PgBouncer has it, with what cannot be said here.
    pub(super) fn time(
        &mut self,
        entry: &Entry,
        text: &str,
        zero: Zero,
    ) -> Result<String, ConfigError> {
        let seconds = text.trim().parse::<f64>().ok();
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let time = time.ok_or_else(|| entry.wrong("wants a time in seconds"))?;
        if time.is_zero() {
            return Ok(match zero {
                Zero::Same => "0s".to_owned(),
                Zero::AtOnce => "1ms".to_owned(),
                Zero::ForEver => {
                    self.at(entry, "0 is for ever there; one day, the longest here, is written");
                    "24h".to_owned()
                }
            });
        }
        if time > DURATION_MAX {
            self.at(entry, "one day, the longest here, is written");
            return Ok("24h".to_owned());
        }
        Ok(if time.subsec_nanos() == 0 {
            format!("{}s", time.as_secs())
        } else {
            format!("{}ms", time.as_millis().max(1))
        })
    }
}

/// A whole number.
pub(super) fn number(entry: &Entry, text: &str) -> Result<usize, ConfigError> {
    text.trim().parse().map_err(|_| entry.wrong("wants a whole number"))
}

/// A switch, in PgBouncer's words.
pub(super) fn boolean(entry: &Entry, text: &str) -> Result<bool, ConfigError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(true),
        "0" | "no" | "false" | "off" => Ok(false),
        _ => Err(entry.wrong("wants 0 or 1")),
    }
}

/// A pool's mode, whose names are the same.
pub(super) fn mode<'a>(entry: &Entry, text: &'a str) -> Result<&'a str, ConfigError> {
    let known = ["session", "transaction", "statement"].contains(&text);
    known.then_some(text).ok_or_else(|| entry.wrong("wants session, transaction or statement"))
}
