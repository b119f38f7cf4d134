//! From an address to a connection that is ready for its first statement, under one deadline.

mod error;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::BytesMut;
use everline_wire::startup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::connection::{BackendKey, Connection, SMALL_MESSAGE_BYTES_MAX, read_message};
use super::login::{Exchange, Policy, Step};
use super::{Address, Endpoint};
use crate::config::dsn::{AuthMethods, ChannelBinding, Dsn, PassFile, SslMode, SslNegotiation};
use crate::net::socket::SocketOptions;
use crate::net::stream::Stream;
use crate::net::tls::{BackendTls, TlsError};
use everline_wire::auth::ScramKeys;
use everline_wire::auth::secret::Secret;

pub use error::{DialError, Phase};

/// Who logs in, and with which settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// The role's password; where it is `None` the DSN's password file is asked.
    pub password: Option<Secret>,
    /// The keys of the password, where it is not known itself.
    pub keys: Option<ScramKeys>,
    /// Further start-up parameters, in their order.
    pub parameters: Vec<(String, String)>,
}

impl Login {
    /// The DSN's own login.
    #[must_use]
    pub fn from_dsn(dsn: &Dsn) -> Self {
        let application = dsn.application_name.clone().unwrap_or_else(|| "everline".to_owned());
        let mut parameters = vec![("application_name".to_owned(), application)];
        parameters.extend(dsn.settings.iter().cloned());
        Self {
            database: dsn.database.clone(),
            user: dsn.user.clone(),
            password: dsn.password.clone(),
            keys: None,
            parameters,
        }
    }
}

/// Opens connections as one DSN wants them. Cheap to clone; the clones are one dialer.
#[derive(Clone, Debug)]
pub struct Dialer(Arc<RwLock<Arc<Inner>>>);

#[derive(Debug)]
struct Inner {
    tls: Option<BackendTls>,
    mode: SslMode,
    negotiation: SslNegotiation,
    channel_binding: ChannelBinding,
    require_auth: AuthMethods,
    socket: SocketOptions,
    passfile: PassFile,
    minor: AtomicU16,
}

/// The first PostgreSQL that gives more for a newer minor version of protocol 3: longer keys for
/// cancel requests.
const NEWER_SINCE: u32 = 18;

/// What is asked where nothing is to be gained, or nothing is known yet.
const OLD_MINOR: u16 = 0;

/// Somebody on the way to the backend does not let a newer version through: it is not asked again.
const NEVER_NEWER: u16 = u16::MAX;

/// Whether one attempt asks for TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Attempt {
    Plain,
    /// TLS where the backend has it.
    Offered,
    Tls,
}

impl Dialer {
    /// A dialer for one DSN; reads the certificate files that it names.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn new(dsn: &Dsn) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(Inner {
            tls: BackendTls::new(&dsn.ssl)?,
            mode: dsn.ssl.mode,
            negotiation: dsn.ssl.negotiation,
            channel_binding: dsn.channel_binding,
            require_auth: dsn.require_auth,
            socket: SocketOptions::from_dsn(dsn),
            passfile: dsn.passfile.clone(),
            minor: AtomicU16::new(OLD_MINOR),
        })))))
    }

    /// Dials as `other` does from here on, and so do the clones. A dial that has begun goes on.
    pub fn become_as(&self, other: &Self) {
        let new = other.now();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn now(&self) -> Arc<Inner> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Connects, negotiates TLS and logs in at one address; the connection is ready for its first
    /// statement. Nothing is asked about the node's role.
    ///
    /// `sslmode` allow and prefer try the other way when the first is turned down, as libpq does:
    /// after a failed handshake, or when `pg_hba.conf` has no line for this kind of connection.
    ///
    /// # Errors
    /// [`DialError`]; the deadline covers everything.
    ///
    /// # Cancel safety
    /// Safe: the socket is closed.
    pub async fn dial(
        &self,
        endpoint: &Endpoint,
        login: &Login,
        deadline: Instant,
    ) -> Result<Connection, DialError> {
        let inner = self.now();
        let (first, second) = inner.attempts(endpoint);
        let error = match inner.attempt(endpoint, login, first, deadline).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let Some(second) = second.filter(|_| error.may_want_the_other_way()) else {
            return Err(error);
        };
        match inner.attempt(endpoint, login, second, deadline).await {
            // The second way was a guess; what the first met is what the operator can mend.
            Err(DialError::TlsRefused) => Err(error),
            other => other,
        }
    }

    /// Asks the backend at this address to cancel what the session with this key runs.
    ///
    /// The answer is the closed socket; whether anything was cancelled cannot be known. The same
    /// TLS policy holds as for a dial.
    ///
    /// # Errors
    /// [`DialError`] when the request could not be handed over.
    ///
    /// # Cancel safety
    /// Safe: the socket is closed.
    pub async fn cancel(
        &self,
        endpoint: &Endpoint,
        key: &BackendKey,
        deadline: Instant,
    ) -> Result<(), DialError> {
        let inner = self.now();
        let (first, second) = inner.attempts(endpoint);
        let mut stream = match (inner.open(endpoint, first, deadline).await, second) {
            (Err(error), Some(second)) if error.may_want_the_other_way() => {
                inner.open(endpoint, second, deadline).await?
            }
            (opened, _) => opened?,
        };
        let mut out = BytesMut::new();
        startup::cancel_request(&mut out, key.process_id, &key.secret);
        let request = async {
            stream.write_all(&out).await?;
            stream.flush().await?;
            // The backend closes once it has passed the request on; closing first could lose it.
            match stream.read_u8().await {
                Ok(_) | Err(_) => Ok(()),
            }
        };
        match timeout_at(deadline, request).await {
            Ok(result) => result.map_err(|source| DialError::Lost { phase: Phase::Login, source }),
            Err(_) => Err(DialError::Timeout { phase: Phase::Login }),
        }
    }
}

impl Inner {
    /// The first way to try and, where `sslmode` has one, the other.
    fn attempts(&self, endpoint: &Endpoint) -> (Attempt, Option<Attempt>) {
        // TLS means nothing on a Unix socket; libpq passes `sslmode` over there.
        if matches!(endpoint.address, Address::Unix(_)) {
            return (Attempt::Plain, None);
        }
        match self.mode {
            SslMode::Disable => (Attempt::Plain, None),
            SslMode::Allow => (Attempt::Plain, Some(Attempt::Tls)),
            SslMode::Prefer => (Attempt::Offered, Some(Attempt::Plain)),
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (Attempt::Tls, None),
        }
    }

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        login: &Login,
        attempt: Attempt,
        deadline: Instant,
    ) -> Result<Connection, DialError> {
        let minor = self.minor.load(Ordering::Relaxed);
        let asked = if minor == NEVER_NEWER { OLD_MINOR } else { minor };
        match self.attempt_as(endpoint, login, attempt, asked, deadline).await {
            Ok(connection) => {
                if minor != NEVER_NEWER {
                    let minor = newest_minor(&connection.parameters);
                    self.minor.store(minor, Ordering::Relaxed);
                }
                Ok(connection)
            }
            Err(error) if asked != OLD_MINOR && error.refuses_the_version() => {
                self.minor.store(NEVER_NEWER, Ordering::Relaxed);
                self.attempt_as(endpoint, login, attempt, OLD_MINOR, deadline).await
            }
            Err(error) => Err(error),
        }
    }

    async fn attempt_as(
        &self,
        endpoint: &Endpoint,
        login: &Login,
        attempt: Attempt,
        minor: u16,
        deadline: Instant,
    ) -> Result<Connection, DialError> {
        let mut stream = self.open(endpoint, attempt, deadline).await?;
        let file = &self.passfile;
        let password = login
            .password
            .as_ref()
            .or_else(|| file.find(&endpoint.host, endpoint.port(), &login.database, &login.user));
        let policy = Policy {
            end_point: stream.tls_server_end_point(),
            tls: stream.is_tls(),
            channel_binding: self.channel_binding,
            require_auth: self.require_auth,
        };
        let mut exchange = Exchange::new(login, password, policy).of_minor(minor);
        let mut read = BytesMut::with_capacity(READ_BYTES);
        match timeout_at(deadline, converse(&mut stream, &mut read, &mut exchange)).await {
            Ok(result) => result?,
            Err(_) => return Err(DialError::Timeout { phase: Phase::Login }),
        }
        let (key, parameters) = exchange.into_parts();
        Ok(Connection { stream, read, endpoint: endpoint.clone(), key, parameters })
    }

    /// Connects the socket and puts TLS over it.
    async fn open(
        &self,
        endpoint: &Endpoint,
        attempt: Attempt,
        deadline: Instant,
    ) -> Result<Stream, DialError> {
        let stream = match timeout_at(deadline, self.connect(&endpoint.address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => {
                return Err(DialError::Connect { endpoint: endpoint.clone(), source });
            }
            Err(_) => return Err(DialError::Timeout { phase: Phase::Connect }),
        };
        let (Attempt::Offered | Attempt::Tls, Some(tls)) = (attempt, &self.tls) else {
            return Ok(stream);
        };
        match timeout_at(deadline, self.negotiate(stream, endpoint, attempt, tls)).await {
            Ok(stream) => stream,
            Err(_) => Err(DialError::Timeout { phase: Phase::Tls }),
        }
    }

    async fn connect(&self, address: &Address) -> io::Result<Stream> {
        match address {
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                self.socket.apply(&stream)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    async fn negotiate(
        &self,
        mut stream: Stream,
        endpoint: &Endpoint,
        attempt: Attempt,
        tls: &BackendTls,
    ) -> Result<Stream, DialError> {
        if self.negotiation == SslNegotiation::Postgres && !offers_tls(&mut stream).await? {
            return match attempt {
                Attempt::Plain | Attempt::Offered => Ok(stream),
                Attempt::Tls => Err(DialError::TlsRefused),
            };
        }
        let plain = stream.into_plain().map_err(|_| DialError::Protocol("TLS within TLS"))?;
        tls.connect(plain, &endpoint.host, endpoint.address.ip()).await.map_err(DialError::Tls)
    }
}

/// Asks for TLS and reads the answer, exactly one byte: whatever somebody has put behind it is
/// taken for a part of the handshake, which then fails, and never for the backend's word
/// (CVE-2021-23222).
async fn offers_tls(stream: &mut Stream) -> Result<bool, DialError> {
    let lost = |source| DialError::Lost { phase: Phase::Tls, source };
    let mut out = BytesMut::new();
    startup::tls_request(&mut out);
    stream.write_all(&out).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    match stream.read_u8().await.map_err(lost)? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        // What follows could come from anybody, so it is not shown (CVE-2024-10977).
        b'E' => Err(DialError::Protocol("an error in answer to the request for TLS")),
        _ => Err(DialError::Protocol("neither yes nor no in answer to the request for TLS")),
    }
}

/// The minor version that is worth asking for at a backend that reports this.
fn newest_minor(parameters: &BTreeMap<String, String>) -> u16 {
    let version = parameters.get("server_version").map_or("", String::as_str);
    let major = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let is_new = major.parse().is_ok_and(|major: u32| major >= NEWER_SINCE);
    if is_new { startup::MINOR_MAX } else { OLD_MINOR }
}

/// Carries the login's messages to and fro until the backend is ready.
async fn converse(
    stream: &mut Stream,
    read: &mut BytesMut,
    exchange: &mut Exchange<'_>,
) -> Result<(), DialError> {
    let lost = |source| DialError::Lost { phase: Phase::Login, source };
    let mut out = BytesMut::new();
    exchange.begin(&mut out)?;
    for _ in 0..MESSAGES_MAX {
        if !out.is_empty() {
            stream.write_all(&out).await.map_err(lost)?;
            stream.flush().await.map_err(lost)?;
            out.clear();
        }
        let message = read_message(stream, read, SMALL_MESSAGE_BYTES_MAX).await?;
        match exchange.step(message.tag, message.body, &mut out)? {
            Step::More => {}
            Step::Ready => return Ok(()),
        }
    }
    Err(DialError::Protocol("the login does not come to an end"))
}

/// Most messages of a login; PostgreSQL 18 sends about twenty.
const MESSAGES_MAX: usize = 256;

/// First size of the read buffer: all of an ordinary login fits.
const READ_BYTES: usize = 1024;

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "dial_postgres_tests.rs"]
mod postgres_tests;
