//! Prepared statements: which names a client has given, and which backend connection has them.
//!
//! A client's statement is known to backends by a name made of a hash of its text and parameter
//! types, so that it means the same on every connection and equal statements of several clients
//! share one plan. It is prepared, unseen by the client, on whichever connection needs it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use everline_wire::digest::sha256;

use super::survey::Survey;

/// What every such name begins with.
const PREFIX: &str = "everline_";

/// Names a statement on backend connections: 128 bits of SHA-256 over text and types.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct StatementId([u8; 16]);

impl StatementId {
    /// The name of `sql` (without NUL) with `types` (the raw tail of Parse).
    #[must_use]
    pub fn of(sql: &[u8], types: &[u8]) -> Self {
        let digest = sha256(&[sql, b"\0", types]);
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        Self(id)
    }

    /// The statement's name on a backend connection.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::with_capacity(PREFIX.len() + 32);
        name.push_str(PREFIX);
        for byte in self.0 {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
            name.extend([digit(byte >> 4), digit(byte & 15)]);
        }
        name
    }
}

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One statement that a client prepared; its clones share it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement(Arc<Prepare>);

#[derive(Debug, Eq, PartialEq)]
struct Prepare {
    sql: Box<[u8]>,
    types: Box<[u8]>,
    survey: Arc<Survey>,
    /// Made when it is needed: an unnamed statement seldom has one.
    id: OnceLock<StatementId>,
}

impl Statement {
    /// A statement of this text, with the raw parameter types of its Parse message: a count and
    /// that many OIDs.
    #[must_use]
    pub fn new(sql: &[u8], types: &[u8], survey: Arc<Survey>) -> Self {
        let (sql, types) = (sql.into(), types.into());
        Self(Arc::new(Prepare { sql, types, survey, id: OnceLock::new() }))
    }

    /// Its name on backends.
    #[must_use]
    pub fn id(&self) -> StatementId {
        *self.0.id.get_or_init(|| StatementId::of(&self.0.sql, &self.0.types))
    }

    /// Its text.
    #[must_use]
    pub fn sql(&self) -> &[u8] {
        &self.0.sql
    }

    /// The raw parameter types of its Parse message.
    #[must_use]
    pub fn types(&self) -> &[u8] {
        &self.0.types
    }

    /// What its text tells.
    #[must_use]
    pub fn survey(&self) -> &Arc<Survey> {
        &self.0.survey
    }

    /// Whether it is of this text, with these types.
    #[must_use]
    pub fn is(&self, sql: &[u8], types: &[u8]) -> bool {
        *self.0.sql == *sql && *self.0.types == *types
    }

    fn bytes(&self) -> usize {
        self.0.sql.len().saturating_add(self.0.types.len())
    }
}

/// Names given up by a statement that was forwarded; they come back when it was not carried out.
pub type Dropped = Vec<(Box<[u8]>, Statement)>;

/// The statements that one client has prepared by name.
#[derive(Debug, Default)]
pub struct Names {
    by_name: BTreeMap<Box<[u8]>, Statement>,
    bytes: usize,
}

impl Names {
    /// What the client means by `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Statement> {
        self.by_name.get(name)
    }

    /// Bytes of text held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a name, in place of an older statement of that name.
    pub fn insert(&mut self, name: &[u8], statement: Statement) {
        self.remove(name);
        self.bytes = self.bytes.saturating_add(statement.bytes());
        self.by_name.insert(name.into(), statement);
    }

    /// Forgets a name, and returns what it meant.
    pub fn remove(&mut self, name: &[u8]) -> Option<Statement> {
        let old = self.by_name.remove(name)?;
        self.bytes = self.bytes.saturating_sub(old.bytes());
        Some(old)
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.by_name.clear();
        self.bytes = 0;
    }

    /// Forgets them all, and returns them.
    pub fn take(&mut self) -> Dropped {
        std::mem::take(self).by_name.into_iter().collect()
    }
}

/// The statements that one backend connection has, least recently used first out.
#[derive(Debug, Default)]
pub struct Prepared {
    by_id: BTreeMap<StatementId, u64>,
    by_age: BTreeMap<u64, StatementId>,
    clock: u64,
}

impl Prepared {
    /// Whether the connection has `id`; marks it as used.
    pub fn touch(&mut self, id: StatementId) -> bool {
        let Some(age) = self.by_id.get_mut(&id) else { return false };
        self.by_age.remove(age);
        self.clock = self.clock.saturating_add(1);
        *age = self.clock;
        self.by_age.insert(self.clock, id);
        true
    }

    /// Notes that the connection has `id`; returns the one to close for it, if any.
    pub fn insert(&mut self, id: StatementId, most: usize) -> Option<StatementId> {
        if self.touch(id) {
            return None;
        }
        self.clock = self.clock.saturating_add(1);
        self.by_id.insert(id, self.clock);
        self.by_age.insert(self.clock, id);
        if self.by_id.len() <= most {
            return None;
        }
        let (_, oldest) = self.by_age.pop_first()?;
        self.by_id.remove(&oldest);
        Some(oldest)
    }

    /// Notes that the connection does not have `id`.
    pub fn remove(&mut self, id: StatementId) {
        if let Some(age) = self.by_id.remove(&id) {
            self.by_age.remove(&age);
        }
    }

    /// Notes that the connection has none.
    pub fn clear(&mut self) {
        self.by_id.clear();
        self.by_age.clear();
    }
}

#[cfg(test)]
#[path = "statements_tests.rs"]
mod tests;
