//! What a client has SET, journalled so that it can be brought to any backend connection.
//!
//! Each client has [`Settings`]: the statements that made its session what it is, one for each
//! thing set. A backend connection remembers whose settings it wears; when it is lent to another
//! client, [`Settings::difference`] undoes and does what is needed, in one simple query that
//! travels ahead of the client's own statement. Nothing leaks, and equal settings cost nothing.
//!
//! Changes made inside a transaction are staged, and undone with it, to a savepoint or whole.

use std::sync::Arc;

use crate::limits::{SETTINGS_BYTES_MAX, SETTINGS_MAX};

/// What a journalled statement changes; setting it again replaces the entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Key {
    /// A configuration parameter, its name in lower case.
    Setting(Box<str>),
    /// A notification channel, as written after LISTEN.
    Channel(Box<str>),
    /// A statement prepared by SQL, its name.
    Prepared(Box<str>),
}

const ROLE: &str = "role";
const AUTHORIZATION: &str = "session_authorization";
const CHARACTERISTICS: &str = "session characteristics";

/// Things set, in the order in which they were.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    entries: Vec<(Key, Box<[u8]>)>,
}

/// The journal is full; the statement that would grow it is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a session may hold at most {SETTINGS_MAX} settings in {SETTINGS_BYTES_MAX} bytes")]
pub struct Full;

impl Settings {
    /// The settings that a startup packet asks for.
    ///
    /// `set_config` reads its value as the startup packet's would be read (`search_path` as a
    /// list), which `SET name TO 'text'` does not.
    #[must_use]
    pub fn from_startup<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut settings = Self::default();
        for (name, value) in parameters {
            let mut statement = b"SELECT pg_catalog.set_config(".to_vec();
            literal(&mut statement, name);
            statement.push(b',');
            literal(&mut statement, value);
            statement.extend_from_slice(b",false)");
            settings.put(Key::Setting(name.to_lowercase().into()), &statement);
        }
        settings
    }

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether something is set whose key is of this kind.
    #[must_use]
    pub fn any(&self, kind: impl Fn(&Key) -> bool) -> bool {
        self.entries.iter().any(|(key, _)| kind(key))
    }

    /// The statements that made things of this kind what they are, in order.
    pub fn texts(&self, kind: impl Fn(&Key) -> bool) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(move |(key, _)| kind(key)).map(|(_, text)| &**text)
    }

    /// The statement that made `key` what it is.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&[u8]> {
        self.entries.iter().find(|(known, _)| known == key).map(|(_, text)| &**text)
    }

    fn put(&mut self, key: Key, statement: &[u8]) {
        self.remove(&key);
        if key == Key::Setting(AUTHORIZATION.into()) {
            self.remove(&Key::Setting(ROLE.into())); // it resets the role
        }
        self.entries.push((key, statement.into()));
    }

    fn remove(&mut self, key: &Key) {
        self.entries.retain(|(known, _)| known != key);
    }

    fn full(&self) -> bool {
        let bytes: usize = self.entries.iter().map(|(_, text)| text.len()).sum();
        self.entries.len() > SETTINGS_MAX || bytes > SETTINGS_BYTES_MAX
    }

    /// Writes the SQL that turns a connection that wears `from` into one that wears `self`.
    ///
    /// Writes nothing when they are equal.
    pub fn difference(&self, from: &Self, sql: &mut Vec<u8>) {
        if self == from {
            return;
        }
        let identities = [AUTHORIZATION, ROLE].map(|name| Key::Setting(name.into()));
        let identity = |key: &Key| identities.contains(key);
        let identity_differs = identities.iter().any(|key| self.get(key) != from.get(key));
        if identity_differs {
            sql.extend_from_slice(b"RESET SESSION AUTHORIZATION;RESET ROLE;");
        }
        for (key, _) in &from.entries {
            if self.get(key).is_none() && !identity(key) {
                undo(key, sql);
            }
        }
        for (key, text) in &self.entries {
            let wanted =
                if identity(key) { identity_differs } else { from.get(key) != Some(&**text) };
            if wanted {
                sql.extend_from_slice(text);
                sql.push(b';');
            }
        }
    }
}

fn literal(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"E'");
    for byte in text.bytes() {
        if matches!(byte, b'\'' | b'\\') {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

fn identifier(out: &mut Vec<u8>, name: &str) {
    for (index, part) in name.split('.').enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        out.push(b'"');
        for byte in part.bytes() {
            if byte == b'"' {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}

fn undo(key: &Key, sql: &mut Vec<u8>) {
    match key {
        Key::Setting(name) if **name == *CHARACTERISTICS => sql.extend_from_slice(
            b"RESET default_transaction_isolation;RESET default_transaction_read_only;\
              RESET default_transaction_deferrable",
        ),
        Key::Setting(name) => {
            sql.extend_from_slice(b"RESET ");
            identifier(sql, name);
        }
        Key::Channel(channel) => {
            sql.extend_from_slice(b"UNLISTEN ");
            sql.extend_from_slice(channel.as_bytes());
        }
        Key::Prepared(name) => {
            sql.extend_from_slice(b"DEALLOCATE ");
            identifier(sql, name);
        }
    }
    sql.push(b';');
}

/// One change that a statement makes, when it succeeds and its transaction commits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// `SET`, `LISTEN`, `PREPARE`: the statement's own text brings it back.
    Set(Key, Box<[u8]>),
    /// `RESET name`, `SET name TO DEFAULT`, `UNLISTEN channel`, `DEALLOCATE name`.
    Reset(Key),
    /// `RESET ALL`: all configuration parameters but role and session authorization.
    ResetAll,
    /// `UNLISTEN *`.
    UnlistenAll,
    /// `DEALLOCATE ALL`.
    DeallocateAll,
    /// `DISCARD ALL`.
    DiscardAll,
    /// Not a change: a mark in the stage, to which `ROLLBACK TO` goes back.
    Savepoint(Box<str>),
    /// `ROLLBACK TO name`.
    RollbackTo(Box<str>),
}

impl Change {
    /// Whether PostgreSQL keeps it when its transaction is rolled back.
    #[must_use]
    pub const fn outlives_rollback(&self) -> bool {
        match self {
            Self::Set(key, _) | Self::Reset(key) => matches!(key, Key::Prepared(_)),
            Self::DeallocateAll => true,
            Self::ResetAll
            | Self::UnlistenAll
            | Self::DiscardAll
            | Self::Savepoint(_)
            | Self::RollbackTo(_) => false,
        }
    }
}

/// A client's settings: those it came with, those in force, those a transaction has staged.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    base: Arc<Settings>,
    committed: Arc<Settings>,
    staged: Vec<Change>,
}

impl Journal {
    /// A session that starts with `base`, to which `RESET` goes back.
    #[must_use]
    pub fn new(base: Arc<Settings>) -> Self {
        Self { committed: Arc::clone(&base), base, staged: Vec::new() }
    }

    /// What a backend connection has to wear for this client.
    #[must_use]
    pub const fn committed(&self) -> &Arc<Settings> {
        &self.committed
    }

    /// Makes what is in force and `other` one, where they are equal.
    pub fn share(&mut self, other: &mut Arc<Settings>) {
        if Arc::ptr_eq(&self.committed, other) {
            return;
        }
        let is_base = Arc::ptr_eq(&self.base, &self.committed);
        if super::dress::share(&mut self.committed, other) && is_base {
            self.base = Arc::clone(&self.committed);
        }
    }

    /// Takes changes of a statement that succeeded inside a transaction that goes on.
    ///
    /// # Errors
    /// [`Full`] when the stage would grow past the bounds.
    pub fn stage(&mut self, changes: &mut Vec<Change>) -> Result<(), Full> {
        for change in changes.drain(..) {
            match change {
                Change::RollbackTo(name) => {
                    let mark = |c: &Change| matches!(c, Change::Savepoint(n) if *n == name);
                    if let Some(at) = self.staged.iter().rposition(mark) {
                        let undone = self.staged.split_off(at.saturating_add(1));
                        self.staged.extend(undone.into_iter().filter(Change::outlives_rollback));
                    }
                }
                other @ (Change::Set(..)
                | Change::Reset(_)
                | Change::ResetAll
                | Change::UnlistenAll
                | Change::DeallocateAll
                | Change::DiscardAll
                | Change::Savepoint(_)) => self.staged.push(other),
            }
        }
        if self.staged.len() > SETTINGS_MAX.saturating_mul(4) { Err(Full) } else { Ok(()) }
    }

    /// The transaction committed: what it staged is in force. Returns what the connection wears on
    /// which that was done: its `RESET` goes back to its own defaults, and not to what this session
    /// came with.
    ///
    /// # Errors
    /// [`Full`] when the journal has grown past the bounds; what is in force stays as it was.
    pub fn commit(&mut self) -> Result<Arc<Settings>, Full> {
        let staged = std::mem::take(&mut self.staged);
        self.enforce(staged)
    }

    /// The transaction is gone, and what it staged with it, but for prepared statements: `PREPARE`
    /// and `DEALLOCATE` are not undone by PostgreSQL. Returns what the connection wears, if the
    /// transaction has ended on one.
    ///
    /// # Errors
    /// As [`Journal::commit`].
    pub fn roll_back(&mut self) -> Result<Arc<Settings>, Full> {
        let mut staged = std::mem::take(&mut self.staged);
        staged.retain(Change::outlives_rollback);
        self.enforce(staged)
    }

    fn enforce(&mut self, changes: Vec<Change>) -> Result<Arc<Settings>, Full> {
        if changes.is_empty() {
            return Ok(Arc::clone(&self.committed));
        }
        let mut settings = Settings::clone(&self.committed);
        let mut worn = settings.clone();
        for change in changes {
            apply(&mut worn, &Settings::default(), change.clone());
            apply(&mut settings, &self.base, change);
        }
        if settings.full() {
            return Err(Full);
        }
        let worn = (worn != settings).then(|| Arc::new(worn));
        self.committed =
            if settings == *self.base { Arc::clone(&self.base) } else { Arc::new(settings) };
        Ok(worn.unwrap_or_else(|| Arc::clone(&self.committed)))
    }

    /// Whether the settings in force are others than those the session began with.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.committed != self.base
    }

    /// Whether an open transaction has changed settings.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Applies one change at once, outside a transaction.
    pub fn apply(&mut self, change: Change) {
        let mut settings = Settings::clone(&self.committed);
        apply(&mut settings, &self.base, change);
        self.committed =
            if settings == *self.base { Arc::clone(&self.base) } else { Arc::new(settings) };
    }
}

fn apply(settings: &mut Settings, base: &Settings, change: Change) {
    match change {
        Change::Set(key, text) => settings.put(key, &text),
        Change::Reset(key) => {
            if key == Key::Setting(AUTHORIZATION.into()) {
                settings.remove(&Key::Setting(ROLE.into())); // it resets the role, too
            }
            match base.get(&key) {
                Some(text) => settings.put(key, text),
                None => settings.remove(&key),
            }
        }
        Change::ResetAll => {
            let identity = [ROLE, AUTHORIZATION];
            settings.entries.retain(|(key, _)| match key {
                Key::Setting(name) => identity.contains(&&**name),
                Key::Channel(_) | Key::Prepared(_) => true,
            });
            for (key, text) in &base.entries {
                settings.put(key.clone(), text);
            }
        }
        Change::UnlistenAll => settings.entries.retain(|(key, _)| !matches!(key, Key::Channel(_))),
        Change::DeallocateAll => {
            settings.entries.retain(|(key, _)| !matches!(key, Key::Prepared(_)));
        }
        Change::DiscardAll => *settings = base.clone(),
        Change::Savepoint(_) | Change::RollbackTo(_) => {}
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
