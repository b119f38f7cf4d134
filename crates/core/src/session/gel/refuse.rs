//! The failure contract in Gel's terms: which code each refusal has, and what PostgreSQL's own
//! errors mean.
//!
//! | what is certain | code |
//! |---|---|
//! | nothing was executed, there is no transaction | `BackendUnavailableError`: what only reads is repeated |
//! | the transaction is lost, its COMMIT was never sent | `TransactionSerializationError`: every client repeats it |
//! | a COMMIT or a statement that writes was sent and not answered | `AvailabilityError`: nobody repeats it |

use everline_wire::fields::{ErrorFields, Severity};
use everline_wire::sqlstate::SqlState;
use everline_wire_gel::error::{ErrorCode, Place, Problem};

use crate::refusal::{Codes, Refusal};

/// An error for a client, with texts of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// One line.
    pub message: String,
    /// More of the same.
    pub details: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the statement.
    pub place: Option<Box<Place>>,
}

impl Failure {
    /// An error of one line.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None, hint: None, place: None }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// As it is written.
    #[must_use]
    pub fn problem(&self) -> Problem<'_> {
        Problem {
            code: self.code,
            message: &self.message,
            hint: self.hint.as_deref(),
            details: self.details.as_deref(),
            place: self.place.as_deref().copied(),
        }
    }

    /// Why we answer instead of PostgreSQL. `unavailable` is the code for what was surely not
    /// executed outside of a transaction's statements.
    #[must_use]
    pub fn of(refusal: &Refusal, unavailable: ErrorCode) -> Self {
        let code = match refusal {
            Refusal::FailingOver { .. }
            | Refusal::NeverExecuted
            | Refusal::PoolExhausted { .. }
            | Refusal::TooManyHeld
            | Refusal::Paused { .. }
            | Refusal::NoLeaderAtLogin => unavailable,
            Refusal::TransactionLost | Refusal::StateLost { .. } => ErrorCode::SERIALIZATION,
            Refusal::CommitLost
            | Refusal::StatementLost
            | Refusal::TooManyClients
            | Refusal::TooManyClientsOf { .. } => ErrorCode::AVAILABILITY,
            Refusal::ShuttingDown | Refusal::Killed => ErrorCode::AVAILABILITY,
            Refusal::IdleTooLong => ErrorCode::AVAILABILITY,
            Refusal::IdleInTransactionTooLong => ErrorCode::IDLE_TRANSACTION_TIMEOUT,
            Refusal::NoSuchDatabase { .. } => ErrorCode::EXECUTION,
            Refusal::Disabled { .. } | Refusal::NotAllowed { .. } => ErrorCode::AUTHENTICATION,
            Refusal::QueryTooLong | Refusal::Cancelled => ErrorCode::QUERY_TIMEOUT,
            Refusal::Protocol { .. } => ErrorCode::PROTOCOL,
            Refusal::TooLarge { .. } | Refusal::Unsupported { .. } => ErrorCode::UNSUPPORTED,
        };
        match refusal.words(&Codes::default()) {
            Some((message, details, hint)) => Self {
                code,
                message: message.to_owned(),
                details: Some(details.to_owned()),
                hint: Some(hint.to_owned()),
                place: None,
            },
            None => Self::new(code, refusal.to_string()),
        }
    }
}

/// What PostgreSQL said of a statement that it refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refused {
    pub code: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<String>,
    /// It ends the connection.
    pub fatal: bool,
}

impl Refused {
    pub(crate) fn read(fields: &ErrorFields<'_>) -> Self {
        let position = fields.get(b'P').map(|text| String::from_utf8_lossy(text).into_owned());
        Self {
            code: fields.code(),
            message: fields.message().into_owned(),
            detail: fields.detail().map(std::borrow::Cow::into_owned),
            hint: fields.hint().map(std::borrow::Cow::into_owned),
            position,
            fatal: matches!(fields.severity(), Severity::Fatal | Severity::Panic),
        }
    }

    /// Whether it says that this is no backend for the statement, and not that the statement is
    /// wrong. `writable` where the server says of itself that it is no standby: then a read-only
    /// transaction is what the client has asked for.
    pub(crate) fn is_away(&self, writable: bool) -> bool {
        let code = self.code;
        shuts_down(code)
            || code.class() == "08"
            || code == SqlState::TOO_MANY_CONNECTIONS
            || code == SqlState::READ_ONLY_SQL_TRANSACTION && !writable
    }

    /// For the client, of a statement with this text.
    pub(crate) fn failure(&self, text: &str) -> Failure {
        Failure {
            code: ErrorCode::of(self.code),
            message: self.message.clone(),
            details: self.detail.clone(),
            hint: self.hint.clone(),
            place: self
                .position
                .as_deref()
                .and_then(|position| Place::of(text, position))
                .map(Box::new),
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

/// Whether the leader itself may be going.
pub(super) fn shuts_down(code: SqlState) -> bool {
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW]
        .contains(&code)
}
