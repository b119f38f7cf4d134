//! Consul over one HTTP/1.1 connection: one request at a time, each under a deadline.
//!
//! A connection on which anything went wrong is not used again, and the next request goes to the
//! next agent. So an agent that is silent, half gone or unwell costs one deadline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};
use tokio_util::task::AbortOnDropHandle;

use super::stolon::CLUSTERDATA_BYTES_MAX;
use crate::backend::Address;
use crate::backend::resolve::{ResolveError, Resolver};
use crate::config::dsn::stolon::Stolon;
use crate::config::dsn::{Host, HostPort};
use crate::net::socket::SocketOptions;
use crate::net::stream::{Plain, Stream};
use crate::net::tls::{TlsError, http_client};

/// How long name, connect and TLS may take together: a lost SYN is worth a new one.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// How many redirections of one request are followed.
const REDIRECTS_MAX: usize = 3;

/// Speaks to Consul's agents.
pub struct Consul {
    stolon: Arc<Stolon>,
    resolver: Resolver,
    tls: Option<TlsConnector>,
    token: Option<HeaderValue>,
    /// Which agent is asked, counted on for ever.
    turn: usize,
    open: Option<Open>,
}

impl std::fmt::Debug for Consul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consul").field("agent", &self.agent().to_string()).finish_non_exhaustive()
    }
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

/// What Consul answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The status; never a redirection.
    pub status: StatusCode,
    /// `X-Consul-Index`.
    pub index: Option<u64>,
    /// The body, at most [`CLUSTERDATA_BYTES_MAX`] bytes.
    pub body: Bytes,
}

impl Reply {
    /// Why this is not the answer that was asked for, with the first line of Consul's words.
    #[must_use]
    pub fn problem(&self) -> String {
        let words = String::from_utf8_lossy(self.body.get(..200).unwrap_or(&self.body));
        let line: String =
            words.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        match line.trim() {
            "" => format!("Consul answers {}", self.status),
            line => format!("Consul answers {}: {line}", self.status),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConsulError {
    /// The agent's name has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The agent cannot be connected to.
    #[error("cannot connect to the Consul agent {agent}: {problem}")]
    Connect {
        /// The agent.
        agent: HostPort,
        /// Why not.
        problem: String,
    },
    /// The connection failed, or what came was no HTTP.
    #[error("the connection to the Consul agent {agent} failed: {problem}")]
    Lost {
        /// The agent.
        agent: HostPort,
        /// Why.
        problem: String,
    },
    /// The agent does not answer.
    #[error("the Consul agent {agent} does not answer")]
    Silent {
        /// The agent.
        agent: HostPort,
    },
    /// The agent sends us elsewhere, and we do not go.
    #[error("the Consul agent {agent} redirects to another server, which is not followed")]
    Redirect {
        /// The agent.
        agent: HostPort,
    },
    /// The request cannot be written as HTTP.
    #[error("the request cannot be sent: {0}")]
    Request(hyper::http::Error),
}

impl Consul {
    /// Speaks to the agents of `stolon`; reads the certificate files that it names.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn new(stolon: Arc<Stolon>, resolver: Resolver) -> Result<Self, TlsError> {
        let tls = match &stolon.tls {
            None => None,
            Some(tls) => {
                let identity = tls.identity.as_ref();
                let identity = identity.map(|(cert, key)| (cert.as_path(), key.as_path()));
                Some(TlsConnector::from(Arc::new(http_client(tls.ca.as_deref(), identity)?)))
            }
        };
        let token = stolon.token.as_ref().and_then(|token| {
            let mut value = HeaderValue::from_str(token.reveal()).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Ok(Self { stolon, resolver, tls, token, turn: 0, open: None })
    }

    /// The same with a connection of its own, not made yet, to the next agent.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            stolon: Arc::clone(&self.stolon),
            resolver: self.resolver.clone(),
            tls: self.tls.clone(),
            token: self.token.clone(),
            turn: self.turn.wrapping_add(1),
            open: None,
        }
    }

    /// The agent that is asked next.
    #[must_use]
    pub fn agent(&self) -> HostPort {
        let agents = &self.stolon.agents;
        let agent = agents.get(self.turn % agents.len().max(1));
        agent.cloned().unwrap_or_else(|| HostPort::new(Host::Name("localhost".into()), 8500))
    }

    /// Closes the connection and turns to the next agent: this one has answered and is unwell.
    /// Where there is no answer that has been done already.
    pub fn turn_away(&mut self) {
        if self.open.take().is_some() {
            self.turn = self.turn.wrapping_add(1);
        }
    }

    /// Closes the connection: an answer that is under way is not wanted.
    pub fn hang_up(&mut self) {
        self.open = None;
    }

    /// Asks over a connection that stands already, until that ends.
    ///
    /// # Errors
    /// [`ConsulError::Lost`] when it has ended.
    ///
    /// # Cancel safety
    /// Safe: the connection is closed then.
    pub async fn use_connection(&mut self, stream: Stream) -> Result<(), ConsulError> {
        self.open = Some(self.shake_hands(stream).await?);
        Ok(())
    }

    /// Asks and waits for the whole answer. `path` begins with `/` and may have a query.
    ///
    /// A connection that stood idle may have been closed by the agent: the request is then sent
    /// once more on a new one. What is asked here may be asked twice.
    ///
    /// # Errors
    /// [`ConsulError`]; the next request goes to the next agent then.
    ///
    /// # Cancel safety
    /// Not safe: call [`Consul::hang_up`] before the next request.
    pub async fn ask(
        &mut self,
        method: &Method,
        path: &str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Reply, ConsulError> {
        let outcome = match timeout_at(deadline, self.follow(method, path, &body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConsulError::Silent { agent: self.agent() }),
        };
        if outcome.is_err() {
            self.open = None;
            self.turn = self.turn.wrapping_add(1);
        }
        outcome
    }

    async fn follow(
        &mut self,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<Reply, ConsulError> {
        let mut path = path.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.once_or_twice(method, &path, body).await?;
            if !response.status().is_redirection() {
                return self.read(response).await;
            }
            let location = self.elsewhere(response.headers());
            path = location.ok_or_else(|| ConsulError::Redirect { agent: self.agent() })?;
            self.read(response).await?; // the connection is ready for the next request after it
        }
        Err(ConsulError::Redirect { agent: self.agent() })
    }

    /// Where a redirection leads, if that is this agent: nobody else is shown the token.
    fn elsewhere(&self, headers: &HeaderMap) -> Option<String> {
        let location: Uri = headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
        let here = self.agent().to_string();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let same_place = location.authority().is_none_or(|there| there.as_str() == here)
            && location.scheme_str().is_none_or(|there| there == scheme);
        let path = location.path_and_query()?.as_str();
        (same_place && path.starts_with('/')).then(|| path.to_owned())
    }

    async fn once_or_twice(
        &mut self,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<Response<hyper::body::Incoming>, ConsulError> {
        if let Some(open) = &mut self.open {
            let request =
                request(&self.stolon, self.turn, self.token.as_ref(), method, path, body)?;
            if let Ok(response) = open.sender.send_request(request).await {
                return Ok(response);
            }
        }
        let request = request(&self.stolon, self.turn, self.token.as_ref(), method, path, body)?;
        let mut open = self.connect().await?;
        let sent = open.sender.send_request(request).await;
        let response = sent.map_err(|error| self.lost(&error))?;
        self.open = Some(open);
        Ok(response)
    }

    fn lost(&self, error: &(dyn std::error::Error + 'static)) -> ConsulError {
        ConsulError::Lost { agent: self.agent(), problem: root(error) }
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<Reply, ConsulError> {
        let status = response.status();
        let index = response.headers().get("x-consul-index");
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), CLUSTERDATA_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.lost(error.as_ref()))?;
        Ok(Reply { status, index, body: body.to_bytes() })
    }

    async fn connect(&mut self) -> Result<Open, ConsulError> {
        self.open = None;
        let agent = self.agent();
        let deadline = Instant::now() + CONNECT_MAX;
        let addresses = self.resolver.addresses(&agent, deadline).await?;
        let failed =
            |error: io::Error| ConsulError::Connect { agent: agent.clone(), problem: root(&error) };
        let mut problem = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            let Address::Tcp(address) = address else { continue };
            match timeout(CONNECT_MAX, self.stream(address, &agent)).await {
                Ok(Ok(stream)) => return self.shake_hands(stream).await,
                Ok(Err(error)) => problem = error,
                Err(_) => problem = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed(problem))
    }

    async fn stream(&self, address: std::net::SocketAddr, agent: &HostPort) -> io::Result<Stream> {
        let tcp = TcpStream::connect(address).await?;
        SocketOptions::default().apply(&tcp)?;
        let Some(connector) = &self.tls else { return Ok(Stream::Tcp(tcp)) };
        let own = self.stolon.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let name = own.unwrap_or_else(|| agent.host.to_string());
        let name = ServerName::try_from(name)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let tls = connector.connect(name, Plain::Tcp(tcp)).await?;
        Ok(TlsStream::Client(tls).into())
    }

    async fn shake_hands(&self, stream: Stream) -> Result<Open, ConsulError> {
        let shaken = http1::Builder::new().max_buf_size(64 * 1024).handshake(TokioIo::new(stream));
        let (sender, connection) = shaken.await.map_err(|error| self.lost(&error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "the connection to Consul ended");
            }
        });
        Ok(Open { sender, _driver: AbortOnDropHandle::new(driver) })
    }
}

/// What is behind an error. What hyper says in front of it differs from time to time.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let root = causes.last().unwrap_or(error);
    explained(root).map_or_else(|| root.to_string(), str::to_owned)
}

/// What to do about TLS's commonest refusals.
fn explained(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, CertificateError as Problem, Error, InvalidMessage};
    let io = error.downcast_ref::<io::Error>()?.get_ref()?;
    let tls = io.downcast_ref::<Error>()?;
    if matches!(tls, Error::InvalidMessage(InvalidMessage::InvalidContentType)) {
        Some("no TLS is spoken on this port; stolon+consul+http:// is without")
    } else if matches!(
        tls,
        Error::InvalidCertificate(Problem::UnknownIssuer | Problem::BadSignature)
    ) {
        Some(
            "no authority that cacert= trusts, or this system without it, has signed its \
             certificate",
        )
    } else if matches!(
        tls,
        Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnknownCA
                | Alert::HandshakeFailure
        )
    ) {
        Some("it wants another certificate of ours, given by cert= and key=")
    } else {
        None
    }
}

fn request(
    stolon: &Stolon,
    turn: usize,
    token: Option<&HeaderValue>,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Result<Request<Full<Bytes>>, ConsulError> {
    let agent = stolon.agents.get(turn % stolon.agents.len().max(1));
    let host = agent.map(ToString::to_string).unwrap_or_default();
    let mut builder = Request::builder().method(method).uri(path).header(HOST, host);
    if let Some(token) = token {
        builder = builder.header("x-consul-token", token);
    }
    if !body.is_empty() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    builder.body(Full::new(body.clone())).map_err(ConsulError::Request)
}

#[cfg(test)]
#[path = "consul_tests.rs"]
mod tests;
