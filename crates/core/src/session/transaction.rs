//! The client's transaction: real, answered by us, or lost.
//!
//! `BEGIN`, `SET TRANSACTION` and `SAVEPOINT` before the first real statement are answered by us
//! and replayed when a backend connection is attached: a failed BEGIN is outside most retry
//! loops, and a transaction that has done nothing needs no connection. `REPEATABLE READ` and
//! `SERIALIZABLE` take their snapshot at the first statement anyway.

use everline_wire::backend::TransactionStatus;

use super::survey::Survey;

/// What was answered by us in a transaction and has to be said to its backend first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prefix {
    sql: Vec<u8>,
    /// Name, and where `sql` ends just behind the savepoint.
    savepoints: Vec<(Box<str>, usize)>,
}

impl Prefix {
    /// Opens with the text of `BEGIN`.
    #[must_use]
    pub fn begin(text: &[u8]) -> Self {
        Self { sql: text.to_vec(), savepoints: Vec::new() }
    }

    /// The SQL to replay, statements separated by semicolons.
    #[must_use]
    pub fn sql(&self) -> &[u8] {
        &self.sql
    }

    /// Adds a statement.
    pub fn push(&mut self, text: &[u8]) {
        self.sql.push(b';');
        self.sql.extend_from_slice(text);
    }

    /// Adds `SAVEPOINT name`.
    pub fn savepoint(&mut self, name: &str, text: &[u8]) {
        self.push(text);
        self.savepoints.push((name.into(), self.sql.len()));
    }

    /// Goes back to just behind `SAVEPOINT name`; false when it is not among ours.
    pub fn roll_back_to(&mut self, name: &str) -> bool {
        let Some(index) = self.savepoints.iter().rposition(|(known, _)| **known == *name) else {
            return false;
        };
        self.savepoints.truncate(index.saturating_add(1));
        if let Some((_, end)) = self.savepoints.last() {
            self.sql.truncate(*end);
        }
        true
    }

    /// Forgets `SAVEPOINT name` and all after it; false when it is not among ours.
    pub fn release(&mut self, name: &str, text: &[u8]) -> bool {
        let Some(index) = self.savepoints.iter().rposition(|(known, _)| **known == *name) else {
            return false;
        };
        self.savepoints.truncate(index);
        self.push(text);
        true
    }

    /// A real statement has made or released a savepoint of that name: it is no longer ours.
    fn forget(&mut self, name: &str) {
        if let Some(index) = self.savepoints.iter().position(|(known, _)| **known == *name) {
            self.savepoints.truncate(index);
        }
    }

    /// Whether `ROLLBACK TO name` would lead to a point before any real statement.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.savepoints.iter().any(|(known, _)| **known == *name)
    }
}

/// Where the client's transaction stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Transaction {
    /// None is open.
    #[default]
    None,
    /// Opened by us; no backend knows of it.
    Virtual(Prefix),
    /// Open on the leased backend connection.
    Real(Prefix),
    /// Failed there, waiting for its end.
    Failed(Prefix),
    /// Its backend connection is gone; each statement is refused until the client ends it.
    Lost(Prefix),
}

impl Transaction {
    /// What ReadyForQuery says of it.
    #[must_use]
    pub const fn status(&self) -> TransactionStatus {
        match self {
            Self::None => TransactionStatus::Idle,
            Self::Virtual(_) | Self::Real(_) => TransactionStatus::InTransaction,
            Self::Failed(_) | Self::Lost(_) => TransactionStatus::Failed,
        }
    }

    /// Takes over what the backend's ReadyForQuery says.
    pub fn told(&mut self, status: TransactionStatus) {
        let prefix = match std::mem::take(self) {
            Self::None => Prefix::default(),
            Self::Virtual(prefix)
            | Self::Real(prefix)
            | Self::Failed(prefix)
            | Self::Lost(prefix) => prefix,
        };
        *self = match status {
            TransactionStatus::Idle => Self::None,
            TransactionStatus::InTransaction => Self::Real(prefix),
            TransactionStatus::Failed => Self::Failed(prefix),
        };
    }

    /// Forgets the savepoints that a forwarded text makes anew, releases, or could have: going
    /// back to one of these would pass over real work.
    pub fn forget_savepoints(&mut self, survey: &Survey) {
        let prefix = match self {
            Self::None => return,
            Self::Virtual(prefix)
            | Self::Real(prefix)
            | Self::Failed(prefix)
            | Self::Lost(prefix) => prefix,
        };
        if survey.cut || survey.ends_a_transaction() {
            prefix.savepoints.clear();
        }
        for name in &survey.savepoints {
            prefix.forget(name);
        }
    }

    /// The backend connection is gone and the transaction with it.
    pub fn lose(&mut self) {
        *self = match std::mem::take(self) {
            Self::None => Self::None,
            Self::Virtual(prefix)
            | Self::Real(prefix)
            | Self::Failed(prefix)
            | Self::Lost(prefix) => Self::Lost(prefix),
        };
    }
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
