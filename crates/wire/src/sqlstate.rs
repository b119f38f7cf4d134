//! SQLSTATE codes and the names of those we speak of.
//!
//! Source: PostgreSQL's manual, appendix A.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Five bytes, each a digit or an upper-case ASCII letter.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SqlState([u8; 5]);

/// The text is not five digits or upper-case letters.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("an SQLSTATE has five digits or upper-case letters")]
pub struct InvalidSqlState;

/// Declares the constants and the table that names them.
macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: Self = Self(*$code);)*

            /// The name of the condition in capitals, for the codes declared here.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match &self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

states! {
    /// The statement succeeded.
    SUCCESSFUL_COMPLETION = b"00000";
    /// A connection to the other side failed.
    CONNECTION_EXCEPTION = b"08000";
    /// The connection was refused.
    SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION = b"08004";
    /// The connection is gone.
    CONNECTION_FAILURE = b"08006";
    /// Whether the transaction was committed is not known.
    TRANSACTION_RESOLUTION_UNKNOWN = b"08007";
    /// The peer broke the protocol.
    PROTOCOL_VIOLATION = b"08P01";
    /// It exists in PostgreSQL and not here.
    FEATURE_NOT_SUPPORTED = b"0A000";
    /// A value has no acceptable form.
    INVALID_PARAMETER_VALUE = b"22023";
    /// A transaction is open already.
    ACTIVE_SQL_TRANSACTION = b"25001";
    /// The transaction may only read.
    READ_ONLY_SQL_TRANSACTION = b"25006";
    /// No transaction is open.
    NO_ACTIVE_SQL_TRANSACTION = b"25P01";
    /// The transaction has failed; only its end is accepted.
    IN_FAILED_SQL_TRANSACTION = b"25P02";
    /// The session was idle in a transaction for too long.
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = b"25P03";
    /// There is no prepared statement of that name.
    INVALID_SQL_STATEMENT_NAME = b"26000";
    /// This user may not log in this way.
    INVALID_AUTHORIZATION = b"28000";
    /// Wrong password.
    INVALID_PASSWORD = b"28P01";
    /// There is no portal of that name.
    INVALID_CURSOR_NAME = b"34000";
    /// There is no such database.
    INVALID_CATALOG_NAME = b"3D000";
    /// There is no such savepoint.
    INVALID_SAVEPOINT_SPECIFICATION = b"3B001";
    /// The transaction lost against others and may be repeated.
    SERIALIZATION_FAILURE = b"40001";
    /// Whether the statement took effect is not known.
    STATEMENT_COMPLETION_UNKNOWN = b"40003";
    /// The transaction was part of a deadlock and may be repeated.
    DEADLOCK_DETECTED = b"40P01";
    /// The role may not do that.
    INSUFFICIENT_PRIVILEGE = b"42501";
    /// The text is not SQL.
    SYNTAX_ERROR = b"42601";
    /// There is no object of that name.
    UNDEFINED_OBJECT = b"42704";
    /// A prepared statement of that name exists already.
    DUPLICATE_PREPARED_STATEMENT = b"42P05";
    /// Something has run out.
    INSUFFICIENT_RESOURCES = b"53000";
    /// Memory has run out.
    OUT_OF_MEMORY = b"53200";
    /// No connection is left.
    TOO_MANY_CONNECTIONS = b"53300";
    /// A bound of the configuration is reached.
    CONFIGURATION_LIMIT_EXCEEDED = b"53400";
    /// A bound of the program is reached.
    PROGRAM_LIMIT_EXCEEDED = b"54000";
    /// The object is not in the state that this needs.
    OBJECT_NOT_IN_PREREQUISITE_STATE = b"55000";
    /// Somebody stepped in.
    OPERATOR_INTERVENTION = b"57000";
    /// The statement was cancelled.
    QUERY_CANCELED = b"57014";
    /// Shut down, or this session was terminated.
    ADMIN_SHUTDOWN = b"57P01";
    /// Another session crashed.
    CRASH_SHUTDOWN = b"57P02";
    /// Starting up, shutting down or in recovery.
    CANNOT_CONNECT_NOW = b"57P03";
    /// The database was dropped.
    DATABASE_DROPPED = b"57P04";
    /// The session was idle for too long.
    IDLE_SESSION_TIMEOUT = b"57P05";
    /// Something that cannot happen did.
    INTERNAL_ERROR = b"XX000";
}

impl SqlState {
    /// The code in five bytes; `None` unless each is a digit or an upper-case letter.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let code = <[u8; 5]>::try_from(bytes).ok()?;
        let valid = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        code.iter().all(valid).then_some(Self(code))
    }

    /// The five characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default() // always ASCII: from_bytes
    }

    /// The class: the first two characters.
    #[must_use]
    pub fn class(&self) -> &str {
        self.as_str().get(..2).unwrap_or_default()
    }
}

impl FromStr for SqlState {
    type Err = InvalidSqlState;

    fn from_str(text: &str) -> Result<Self, InvalidSqlState> {
        Self::from_bytes(text.as_bytes()).ok_or(InvalidSqlState)
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SqlState({})", self.as_str())
    }
}

#[cfg(test)]
#[path = "sqlstate_tests.rs"]
mod tests;
