//! The backend's data source name: where PostgreSQL is and how to log in there.
//!
//! Names and rules are libpq's ("Connection Strings" and "Parameter Key Words" in PostgreSQL's
//! manual): `postgres://` URIs with several hosts, the keyword/value form, the `PG…` environment
//! variables and `.pgpass`. What libpq knows and Everline does not do is refused by name instead
//! of being ignored.

mod error;
mod host;
mod keyword;
mod known;
mod passfile;
mod read;
mod ssl;
pub mod stolon;
mod surroundings;
mod uri;

use std::path::PathBuf;
use std::time::Duration;

pub use error::DsnError;
use everline_wire::auth::secret::Secret;
pub use host::{Host, HostPort};
pub use known::nearest;
pub use passfile::PassFile;
pub use surroundings::Surroundings;

/// A checked data source name with every default filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dsn {
    /// The hosts in the order in which they were written, at most [`HOSTS_MAX`]; none where a
    /// source names the leader, one or more everywhere else.
    pub hosts: Vec<HostPort>,
    /// The role to log in as.
    pub user: String,
    /// The password from the DSN or from `PGPASSWORD`; see [`Dsn::password_for`].
    pub password: Option<Secret>,
    /// The lines of the password file, empty when there is none.
    pub passfile: PassFile,
    /// The database; the user's name when none was given, as libpq has it.
    pub database: String,
    /// What TLS has to look like.
    pub ssl: SslSettings,
    /// Whether SCRAM has to be bound to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// Which ways of authentication the backend may ask for.
    pub require_auth: AuthMethods,
    /// Bound on one dial; `None` leaves it to the setting `dial_timeout`.
    pub connect_timeout: Option<Duration>,
    /// Which of several hosts is wanted.
    pub target_session_attrs: TargetSessionAttrs,
    /// `application_name`, else `fallback_application_name`.
    pub application_name: Option<String>,
    /// Start-up parameters beyond user, database and application name (`options`,
    /// `client_encoding`), in that order.
    pub settings: Vec<(String, String)>,
    /// Keepalive probes on backend sockets.
    pub keepalive: Keepalive,
    /// `TCP_USER_TIMEOUT` of backend sockets; `None` leaves it to Everline's own default.
    pub tcp_user_timeout: Option<Duration>,
}

/// Most hosts that one DSN may name: each is asked in turn under one deadline.
pub const HOSTS_MAX: usize = 64;

/// Longest DSN that is read, in bytes.
pub const DSN_BYTES_MAX: usize = 64 * 1024;

impl Dsn {
    /// Reads a DSN in either form and fills in what it leaves out.
    ///
    /// What the DSN says wins over the `PG…` variables, those win over the defaults; the password
    /// file is asked last.
    ///
    /// # Errors
    /// One sentence that names the part which is wrong, and never shows a password.
    pub fn parse(text: &str, surroundings: &Surroundings<'_>) -> Result<Self, DsnError> {
        read::dsn(text, surroundings)
    }

    /// The password for one login: the DSN's own, else the password file's line for this host,
    /// database and user.
    #[must_use]
    pub fn password_for(
        &self,
        host: &str,
        port: u16,
        database: &str,
        user: &str,
    ) -> Option<&Secret> {
        match &self.password {
            Some(password) if user == self.user => Some(password),
            Some(_) | None => self.passfile.find(host, port, database, user),
        }
    }

    /// The password of the DSN's own user at its first host that has one.
    #[must_use]
    pub fn own_password(&self) -> Option<&Secret> {
        if self.password.is_some() {
            return self.password.as_ref();
        }
        self.hosts.iter().find_map(|host| {
            self.password_for(&host.host.to_string(), host.port, &self.database, &self.user)
        })
    }
}

/// Everything `ssl…` in a DSN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SslSettings {
    /// How much TLS is asked for.
    pub mode: SslMode,
    /// Where trust in the backend's certificate comes from.
    pub root_cert: RootCert,
    /// Our own certificate, PEM.
    pub cert: Option<PathBuf>,
    /// The key of our own certificate, PEM, not encrypted.
    pub key: Option<PathBuf>,
    /// The lowest version of TLS accepted.
    pub min_version: TlsVersion,
    /// The highest version of TLS accepted.
    pub max_version: TlsVersion,
    /// How TLS begins.
    pub negotiation: SslNegotiation,
    /// Whether the host's name is sent in the clear (`sslsni`).
    pub server_name: bool,
}

/// `sslmode`, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Plain; TLS when the backend refuses plain.
    Allow,
    /// TLS where the backend has it; plain otherwise.
    Prefer,
    /// Always TLS, the certificate is not looked at (unless a root certificate file is there).
    Require,
    /// Always TLS, the certificate's chain is checked, its name is not.
    VerifyCa,
    /// Always TLS, chain and name are checked.
    VerifyFull,
}

/// `sslrootcert`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RootCert {
    /// No file: nothing to check certificates against.
    None,
    /// The operating system's store (`sslrootcert=system`).
    System,
    /// A PEM file.
    File(PathBuf),
}

/// A version of TLS that Everline speaks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// `sslnegotiation`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SslNegotiation {
    /// Ask by `SSLRequest` first: every version of PostgreSQL.
    Postgres,
    /// Begin with TLS at once: PostgreSQL 17 and later.
    Direct,
}

/// `channel_binding`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelBinding {
    /// Never bind.
    Disable,
    /// Bind where the backend offers it.
    Prefer,
    /// Refuse to log in unbound.
    Require,
}

/// `target_session_attrs`, as far as it makes sense for a proxy that follows the leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TargetSessionAttrs {
    /// Any host (the default). Everline still wants the one that is not in recovery.
    Any,
    /// A host whose sessions may write.
    ReadWrite,
    /// A host that is not in recovery.
    Primary,
}

/// `require_auth`: which ways of authentication are accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthMethods(u8);

impl AuthMethods {
    /// No password exchange at all (trust, peer, certificates).
    pub const NONE: Self = Self(1);
    /// `password`: the password in the clear.
    pub const PASSWORD: Self = Self(2);
    /// `md5`.
    pub const MD5: Self = Self(4);
    /// `scram-sha-256`.
    pub const SCRAM_SHA_256: Self = Self(8);
    /// Whatever the backend asks for.
    pub const ALL: Self = Self(15);

    /// Whether every method of `other` is accepted.
    #[must_use]
    pub const fn accepts(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// `keepalives…`: probes on an idle socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keepalive {
    /// No probes.
    Off,
    /// Probes; what is `None` is left to Everline's own default.
    On {
        /// Idle time before the first probe.
        idle: Option<Duration>,
        /// Time between two probes.
        interval: Option<Duration>,
        /// Probes without an answer before the socket is given up.
        count: Option<u32>,
    },
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;
