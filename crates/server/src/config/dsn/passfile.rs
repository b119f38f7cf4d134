//! The password file (`.pgpass`).

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use everline_wire::auth::secret::Secret;

/// The lines of a password file, in their order; the first that fits is taken.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct PassFile {
    lines: Vec<Line>,
}

#[derive(Clone, Eq, PartialEq)]
struct Line {
    host: Field,
    port: Field,
    database: Field,
    user: Field,
    password: Secret,
}

#[derive(Clone, Eq, PartialEq)]
enum Field {
    Any,
    Exactly(String),
}

impl Field {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(expected) => expected == text,
        }
    }
}

/// Largest password file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

impl PassFile {
    /// Reads a password file.
    ///
    /// # Errors
    /// What is wrong, for the end of a sentence: it cannot be opened, is not a plain file, or
    /// others may read it (libpq wants 0600 or less, and so do we).
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        if !metadata.is_file() {
            return Err("is not a plain file".to_owned());
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err("may be read by group or others; its permissions should be 0600".to_owned());
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(Self::parse(&text))
    }

    /// Reads the lines `host:port:database:user:password`; lines of another shape and comments
    /// are passed over, as libpq does.
    pub fn parse(text: &str) -> Self {
        Self { lines: text.lines().filter_map(line).collect() }
    }

    /// The password for one login. `host` is the host as the DSN has it; the default socket
    /// directories count as `localhost`.
    #[must_use]
    pub fn find(&self, host: &str, port: u16, database: &str, user: &str) -> Option<&Secret> {
        let port = port.to_string();
        let local = ["/tmp", "/run/postgresql", "/var/run/postgresql"].contains(&host);
        let line = self.lines.iter().find(|line| {
            (line.host.fits(host) || local && line.host.fits("localhost"))
                && line.port.fits(&port)
                && line.database.fits(database)
                && line.user.fits(user)
        })?;
        Some(&line.password)
    }
}

impl fmt::Debug for PassFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassFile({} lines)", self.lines.len())
    }
}

fn line(text: &str) -> Option<Line> {
    if text.starts_with('#') {
        return None;
    }
    let (host, rest) = field(text)?;
    let (port, rest) = field(rest)?;
    let (database, rest) = field(rest)?;
    let (user, rest) = field(rest)?;
    let (password, _) = unescape(rest);
    (!password.is_empty()).then(|| Line {
        host,
        port,
        database,
        user,
        password: Secret::plain(password),
    })
}

fn field(text: &str) -> Option<(Field, &str)> {
    if let Some(rest) = text.strip_prefix("*:") {
        return Some((Field::Any, rest));
    }
    let (value, rest) = unescape(text);
    Some((Field::Exactly(value), rest?))
}

/// Takes the text up to the next `:` that has no `\` before it; a `\` makes the next character
/// plain. The rest is `None` where the text ends first.
fn unescape(text: &str) -> (String, Option<&str>) {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => return (value, Some(characters.as_str())),
            '\\' => value.extend(characters.next()),
            plain => value.push(plain),
        }
    }
    (value, None)
}

#[cfg(test)]
#[path = "passfile_tests.rs"]
mod tests;
