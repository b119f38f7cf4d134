//! Why there is no connection.

use std::fmt;
use std::io;

use everline_wire::sqlstate::SqlState;

use crate::backend::connection::QueryError;
use crate::backend::resolve::ResolveError;
use crate::backend::{Endpoint, OwnedFields};

/// Why there is no connection. Each is one sentence for the log; a client never sees it.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The socket could not be connected.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// Where to.
        endpoint: Endpoint,
        /// Why not.
        source: io::Error,
    },
    /// The deadline passed.
    #[error("no connection in time: the deadline passed during {phase}")]
    Timeout {
        /// What was going on.
        phase: Phase,
    },
    /// The backend does not speak TLS, and the DSN insists on it.
    #[error("the backend does not offer TLS, but sslmode asks for it")]
    TlsRefused,
    /// The handshake failed, as a rule because of a certificate.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// The socket failed or ended later on.
    #[error("the connection was lost during {phase}: {source}")]
    Lost {
        /// What was going on.
        phase: Phase,
        /// Why.
        source: io::Error,
    },
    /// The backend said no.
    #[error("{0}")]
    Refused(OwnedFields),
    /// The backend wants a password, and there is none.
    #[error("the backend wants a password for user {user}, and there is none")]
    NoPassword {
        /// The role.
        user: String,
    },
    /// The backend wants an authentication that the DSN does not allow or that is not built in.
    #[error("the backend asks for {method}, which {reason}")]
    Authentication {
        /// The method.
        method: String,
        /// Who says no to it.
        reason: &'static str,
    },
    /// The backend did not prove that it knows the password.
    #[error("SCRAM with the backend failed: {0}")]
    Scram(io::Error),
    /// The backend said something that it should not.
    #[error("the backend broke the protocol: {0}")]
    Protocol(&'static str),
    /// What we were to say cannot be said.
    #[error("the login cannot be sent: {0}")]
    Login(&'static str),
}

/// The steps of a dial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Connecting the socket.
    Connect,
    /// Asking for TLS, and its handshake.
    Tls,
    /// Start-up and authentication.
    Login,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "the connect",
            Self::Tls => "the TLS negotiation",
            Self::Login => "the login",
        })
    }
}

impl DialError {
    /// The backend's SQLSTATE, where it was the backend that said no.
    #[must_use]
    pub fn code(&self) -> Option<SqlState> {
        match self {
            Self::Refused(fields) => Some(fields.code()),
            Self::Resolve(_)
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::TlsRefused
            | Self::Tls(_)
            | Self::Lost { .. }
            | Self::NoPassword { .. }
            | Self::Authentication { .. }
            | Self::Scram(_)
            | Self::Protocol(_)
            | Self::Login(_) => None,
        }
    }

    /// Whether a newer version of the protocol is what was refused: by something between us and a
    /// PostgreSQL that would have taken it.
    pub(super) fn refuses_the_version(&self) -> bool {
        let code = self.code();
        code == Some(SqlState::PROTOCOL_VIOLATION) || code == Some(SqlState::FEATURE_NOT_SUPPORTED)
    }

    /// Whether with TLS instead of without, or the reverse, the backend may say yes.
    pub(super) fn may_want_the_other_way(&self) -> bool {
        // `pg_hba.conf` has no line for this way; a wrong password has a code of its own.
        matches!(self, Self::Tls(_)) || self.code() == Some(SqlState::INVALID_AUTHORIZATION)
    }
}

impl From<QueryError> for DialError {
    /// What went wrong while the login's messages were read.
    fn from(error: QueryError) -> Self {
        let lost = |source| Self::Lost { phase: Phase::Login, source };
        match error {
            QueryError::Io(source) => lost(source),
            QueryError::Closed => lost(io::ErrorKind::UnexpectedEof.into()),
            QueryError::Timeout => Self::Timeout { phase: Phase::Login },
            QueryError::Refused { error, .. } => Self::Refused(error),
            QueryError::Protocol(problem) => Self::Protocol(problem),
        }
    }
}
