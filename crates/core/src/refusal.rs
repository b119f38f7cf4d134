//! Why a statement or a login is refused, and what the client is told: the contract with drivers
//! in one place.
//!
//! `40001` is the one code that retry helpers of every ecosystem repeat and that no pool evicts;
//! `08007` is never taken for more retryable than a lost connection is. Severity is `ERROR`
//! wherever the connection goes on: `FATAL` makes drivers close it, and lib/pq under
//! `database/sql` runs the statement again, blindly.

use std::sync::Arc;
use std::time::Duration;

use everline_wire::fields::{Report, Severity};
use everline_wire::sqlstate::SqlState;

/// The text that retry helpers look for: Sequelize matches `could not serialize`, helpers that
/// descend from `CockroachDB`'s `restart transaction`.
pub const RETRYABLE_MESSAGE: &str =
    "could not serialize access due to backend failover; restart transaction";
const RETRYABLE_HINT: &str = "The transaction might succeed if retried.";

/// The SQLSTATEs and the words that an operator may choose, and their defaults.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Codes {
    /// For a statement that was never forwarded. Default `40001`.
    pub retryable: SqlState,
    /// For every statement of a transaction whose backend connection is lost. Default `40001`.
    pub in_transaction: SqlState,
    /// For a COMMIT or a statement outside a transaction that was forwarded and never answered.
    /// Default `08007`.
    pub unknown: SqlState,
    /// For a login that finds no leader and no cached answer. Default `57P03`.
    pub startup: SqlState,
    /// What a refusal says that may be repeated because of a failover. Default
    /// [`RETRYABLE_MESSAGE`].
    pub message: Arc<str>,
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            retryable: SqlState::SERIALIZATION_FAILURE,
            in_transaction: SqlState::SERIALIZATION_FAILURE,
            unknown: SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
            startup: SqlState::CANNOT_CONNECT_NOW,
            message: RETRYABLE_MESSAGE.into(),
        }
    }
}

/// May the client send it again without fear of running it twice?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// It surely had no effect.
    Safe,
    /// It may have taken effect.
    Unsafe,
    /// It would be refused again.
    Useless,
}

/// Why we answer instead of PostgreSQL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No leader within the hold; the statement was never forwarded.
    #[error("no leader within {held:?}")]
    FailingOver {
        /// How long the statement was held.
        held: Duration,
    },
    /// The statement was forwarded, or was about to be, in a way that surely left no effect.
    #[error("the backend connection was lost before the statement took effect")]
    NeverExecuted,
    /// The backend connection of a transaction was lost; its COMMIT was never forwarded.
    #[error("the backend connection was lost before the transaction committed")]
    TransactionLost,
    /// The backend connection was lost while COMMIT was in flight.
    #[error("the backend connection was lost during COMMIT; whether it took effect is unknown")]
    CommitLost,
    /// The backend connection was lost while a statement outside a transaction was in flight.
    #[error("the backend connection was lost during a statement outside a transaction")]
    StatementLost,
    /// No backend connection became free in time; the statement was never forwarded.
    #[error("no backend connection became free in {waited:?}")]
    PoolExhausted {
        /// How long the statement waited.
        waited: Duration,
    },
    /// The operator has paused the database for longer than statements wait for that.
    #[error("the database has been paused for {held:?}")]
    Paused {
        /// How long the statement was held.
        held: Duration,
    },
    /// Too many statements, or too many of their bytes, are held already.
    #[error("too many statements are held")]
    TooManyHeld,
    /// The client asked that the held statement be cancelled.
    #[error("canceling statement due to user request")]
    Cancelled,
    /// A login needs a leader that is not there.
    #[error("no leader is known yet")]
    NoLeaderAtLogin,
    /// State that cannot be brought over (temporary tables, session locks) went with the leader.
    #[error("session ended by backend failover, which its state cannot follow: {state}")]
    StateLost {
        /// What was lost, in words for the client.
        state: &'static str,
    },
    /// `clients_max` is reached.
    #[error("sorry, too many clients already")]
    TooManyClients,
    /// An administrator ended the session.
    #[error("terminating connection due to administrator command")]
    Killed,
    /// A database or a user has as many clients as it may have.
    #[error("too many connections for {whose} \"{name}\"")]
    TooManyClientsOf {
        /// `database` or `role`.
        whose: &'static str,
        /// Its name.
        name: String,
    },
    /// A client has said nothing for longer than it may.
    #[error("terminating connection due to idle-session timeout")]
    IdleTooLong,
    /// As [`Refusal::IdleTooLong`], in the middle of a transaction.
    #[error("terminating connection due to idle-in-transaction timeout")]
    IdleInTransactionTooLong,
    /// A statement was cancelled because it took too long, and has not ended even so.
    #[error("terminating connection: the statement ran for longer than query_timeout")]
    QueryTooLong,
    /// The database is not among those that are served.
    #[error("database \"{name}\" does not exist")]
    NoSuchDatabase {
        /// Its name.
        name: String,
    },
    /// An administrator has closed the database to newcomers.
    #[error("database \"{name}\" is disabled")]
    Disabled {
        /// The database.
        name: String,
    },
    /// The user may log in, and may not do this.
    #[error("{what}")]
    NotAllowed {
        /// What, in words for the client.
        what: &'static str,
    },
    /// The server is on its way out.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The client broke the protocol.
    #[error("{what}")]
    Protocol {
        /// What was wrong, in words for the client.
        what: String,
    },
    /// A message or a set of prepared statements goes past a bound of ours.
    #[error("{what}")]
    TooLarge {
        /// Which bound, in words for the client.
        what: String,
    },
    /// Something that Everline does not serve.
    #[error("{what}")]
    Unsupported {
        /// What, in words for the client.
        what: &'static str,
    },
}

impl Refusal {
    /// SQLSTATE, severity and whether a retry is safe.
    #[must_use]
    pub const fn contract(&self, codes: &Codes) -> (SqlState, Severity, Retry) {
        match self {
            Self::FailingOver { .. }
            | Self::NeverExecuted
            | Self::PoolExhausted { .. }
            | Self::Paused { .. }
            | Self::TooManyHeld => (codes.retryable, Severity::Error, Retry::Safe),
            Self::TransactionLost => (codes.in_transaction, Severity::Error, Retry::Safe),
            Self::CommitLost | Self::StatementLost => {
                (codes.unknown, Severity::Error, Retry::Unsafe)
            }
            Self::Cancelled => (SqlState::QUERY_CANCELED, Severity::Error, Retry::Safe),
            Self::NoLeaderAtLogin => (codes.startup, Severity::Fatal, Retry::Safe),
            Self::Disabled { .. } => (SqlState::CANNOT_CONNECT_NOW, Severity::Fatal, Retry::Safe),
            Self::NotAllowed { .. } => {
                (SqlState::INSUFFICIENT_PRIVILEGE, Severity::Fatal, Retry::Useless)
            }
            Self::StateLost { .. } | Self::Killed | Self::ShuttingDown => {
                (SqlState::ADMIN_SHUTDOWN, Severity::Fatal, Retry::Safe)
            }
            Self::TooManyClients | Self::TooManyClientsOf { .. } => {
                (SqlState::TOO_MANY_CONNECTIONS, Severity::Fatal, Retry::Safe)
            }
            Self::IdleTooLong => (SqlState::IDLE_SESSION_TIMEOUT, Severity::Fatal, Retry::Safe),
            Self::IdleInTransactionTooLong => {
                (SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, Severity::Fatal, Retry::Safe)
            }
            Self::QueryTooLong => (SqlState::QUERY_CANCELED, Severity::Fatal, Retry::Unsafe),
            Self::NoSuchDatabase { .. } => {
                (SqlState::INVALID_CATALOG_NAME, Severity::Fatal, Retry::Useless)
            }
            Self::Protocol { .. } => {
                (SqlState::PROTOCOL_VIOLATION, Severity::Fatal, Retry::Useless)
            }
            Self::TooLarge { .. } => {
                (SqlState::PROGRAM_LIMIT_EXCEEDED, Severity::Error, Retry::Useless)
            }
            Self::Unsupported { .. } => {
                (SqlState::FEATURE_NOT_SUPPORTED, Severity::Fatal, Retry::Useless)
            }
        }
    }

    /// Message, detail and hint for the client, where they are always the same words.
    pub(crate) fn words<'a>(
        &self,
        codes: &'a Codes,
    ) -> Option<(&'a str, &'static str, &'static str)> {
        Some(match self {
            Self::FailingOver { .. } => (
                &*codes.message,
                "There was no leader to send the statement to; it was not executed.",
                RETRYABLE_HINT,
            ),
            Self::NeverExecuted | Self::TransactionLost => (
                &*codes.message,
                "The transaction was rolled back with its backend.",
                RETRYABLE_HINT,
            ),
            Self::PoolExhausted { .. } => (
                "could not serialize access: no backend connection became free; \
                 restart transaction",
                "The statement was not executed.",
                RETRYABLE_HINT,
            ),
            Self::Paused { .. } => (
                "could not serialize access: the database is paused; restart transaction",
                "The statement was not executed.",
                RETRYABLE_HINT,
            ),
            Self::TooManyHeld => (
                "could not serialize access: too many statements wait for a leader; \
                 restart transaction",
                "The statement was not executed.",
                RETRYABLE_HINT,
            ),
            Self::CommitLost => (
                "transaction resolution unknown: the backend was lost while COMMIT was in flight",
                "COMMIT was sent and not answered; it may or may not have taken effect.",
                "Look whether the transaction took effect before you repeat it.",
            ),
            Self::StatementLost => (
                "transaction resolution unknown: the backend was lost while the statement was \
                 in flight",
                "The statement was sent and not answered; it may or may not have taken effect.",
                "Look whether the statement took effect before you repeat it.",
            ),
            Self::NoLeaderAtLogin => (
                "the database system is not yet accepting connections",
                "There is no leader, and nothing is known yet about this database.",
                "Try again in a few seconds.",
            ),
            Self::StateLost { .. }
            | Self::Cancelled
            | Self::TooManyClients
            | Self::Killed
            | Self::TooManyClientsOf { .. }
            | Self::IdleTooLong
            | Self::IdleInTransactionTooLong
            | Self::QueryTooLong
            | Self::NoSuchDatabase { .. }
            | Self::Disabled { .. }
            | Self::NotAllowed { .. }
            | Self::ShuttingDown
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Unsupported { .. } => return None,
        })
    }

    /// Writes the `ErrorResponse` that the client gets.
    pub fn write(&self, codes: &Codes, out: &mut bytes::BytesMut) {
        let (code, severity, _) = self.contract(codes);
        if let Some((message, detail, hint)) = self.words(codes) {
            let (detail, hint) = (Some(detail), Some(hint));
            return Report { severity, code, message, detail, hint }.error_response(out);
        }
        let message = self.to_string();
        let hint = matches!(self, Self::StateLost { .. }).then_some("Connect again.");
        Report { severity, code, message: &message, detail: None, hint }.error_response(out);
    }
}
