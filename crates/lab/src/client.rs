//! A client that hides nothing: raw bytes out, single messages in, each under a deadline.

use std::fmt::{self, Debug, Formatter};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use everline_wire::backend::{Authentication, view};
use everline_wire::tag::backend as tag;
use everline_wire::{Header, frame, frontend, startup};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

pub use crate::message::{Message, render};
use crate::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};
use crate::{Error, Result, during};

/// How long each wait lasts unless [`Client::set_patience`] says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client speaks over: TCP, a Unix socket, TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How a connection was found to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order: the other side closed it.
    Closed,
    /// With a reset or another error of the socket.
    Reset,
}

/// One PostgreSQL connection, seen from the frontend.
pub struct Client {
    stream: Box<dyn Stream>,
    read: BytesMut,
    end: Option<End>,
    patience: Duration,
    key: Option<(u32, Bytes)>,
    parameters: Vec<(String, String)>,
    minor: u16,
}

impl Debug for Client {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client")
            .field("read", &self.read)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects over TCP and says nothing yet.
    ///
    /// # Errors
    /// [`Error::Io`] when it is refused, [`Error::Late`] after 30 s.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let what = || format!("connecting to {address}");
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = connected.map_err(|_| Error::Late { what: what(), within: PATIENCE })?;
        let stream = during(what, stream)?;
        during(what, stream.set_nodelay(true))?;
        Ok(Self::over(stream))
    }

    /// Connects to a Unix socket and says nothing yet.
    ///
    /// # Errors
    /// [`Error::Io`] when it is refused.
    pub async fn connect_unix(path: &Path) -> Result<Self> {
        let connected = UnixStream::connect(path).await;
        Ok(Self::over(during(|| format!("connecting to {}", path.display()), connected)?))
    }

    /// Speaks over a stream that stands, TLS for one.
    #[must_use]
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            read: BytesMut::new(),
            end: None,
            patience: PATIENCE,
            key: None,
            parameters: Vec::new(),
            minor: 0,
        }
    }

    /// Connects and logs in as [`APP_USER`] to [`APP_DATABASE`].
    ///
    /// # Errors
    /// As [`Client::connect`] and [`Client::login`]; a refused login is [`Error::Failed`].
    pub async fn app(address: SocketAddr) -> Result<Self> {
        let mut client = Self::connect(address).await?;
        let answers = client.login(APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        match answers.last() {
            Some(last) if last.tag == tag::READY_FOR_QUERY => Ok(client),
            Some(_) | None => Err(Error::Failed {
                what: format!("logging in to {address}"),
                detail: client.rendered(&answers),
            }),
        }
    }

    /// Bounds every single wait from here on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Asks for this minor version of protocol 3 when it logs in.
    pub fn set_minor(&mut self, minor: u16) {
        self.minor = minor;
    }

    /// How the connection ended, as far as reading has shown.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Process number and secret of the login, for a cancel request.
    #[must_use]
    pub fn key(&self) -> Option<&(u32, Bytes)> {
        self.key.as_ref()
    }

    /// The parameters as last reported, in the order in which they first came.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.parameters.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// [`Error::Io`] when the connection is gone; what had come before can still be read.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        during(|| "sending".to_owned(), self.stream.write_all(bytes).await)?;
        during(|| "sending".to_owned(), self.stream.flush().await)
    }

    /// Sends what `write` appends, with the writers of [`everline_wire::frontend`].
    ///
    /// # Errors
    /// See [`Client::send`].
    pub async fn say(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<()> {
        let mut bytes = BytesMut::new();
        write(&mut bytes);
        self.send(&bytes).await
    }

    /// The next message; `None` when the connection has ended, see [`Client::end`].
    ///
    /// # Errors
    /// [`Error::Late`] when none came in time, [`Error::Failed`] when the bytes are no message or
    /// the connection ended within one.
    ///
    /// # Cancel safety
    /// Safe: what was read is kept.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        self.next_until(Instant::now() + self.patience).await
    }

    /// As [`Client::next`], with its own deadline.
    ///
    /// # Errors
    /// See [`Client::next`].
    ///
    /// # Cancel safety
    /// Safe: what was read is kept.
    pub async fn next_until(&mut self, deadline: Instant) -> Result<Option<Message>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.end.is_some() {
                return if self.read.is_empty() { Ok(None) } else { Err(self.torn()) };
            }
            let reading = self.stream.read_buf(&mut self.read);
            match timeout_at(deadline, reading).await {
                Err(_) => {
                    let what = "a message".to_owned();
                    return Err(Error::Late { what, within: self.patience });
                }
                Ok(Ok(0)) => self.end = Some(End::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.end = Some(End::Closed);
                }
                Ok(Err(_)) => self.end = Some(End::Reset),
            }
        }
    }

    /// One byte outside of any message: the answer to a request for TLS.
    ///
    /// # Errors
    /// [`Error::Late`], or [`Error::Failed`] at the connection's end.
    pub async fn byte(&mut self) -> Result<u8> {
        let reading = tokio::time::timeout(self.patience, self.stream.read_u8());
        let late = |_| Error::Late { what: "a byte".to_owned(), within: self.patience };
        during(|| "reading one byte".to_owned(), reading.await.map_err(late)?)
    }

    /// Everything up to and with the next ReadyForQuery, or what came before the connection ended.
    ///
    /// # Errors
    /// [`Error::Failed`] with what had come when the rest is late or torn.
    pub async fn until_ready(&mut self) -> Result<Vec<Message>> {
        self.until(|message| message.tag == tag::READY_FOR_QUERY).await
    }

    /// Everything up to and with the first message that `enough` accepts, or what came before the
    /// connection ended. The deadline is one for all.
    ///
    /// # Errors
    /// See [`Client::until_ready`].
    pub async fn until(&mut self, enough: impl Fn(&Message) -> bool) -> Result<Vec<Message>> {
        let deadline = Instant::now() + self.patience;
        let mut messages = Vec::new();
        loop {
            match self.next_until(deadline).await {
                Ok(None) => return Ok(messages),
                Ok(Some(message)) => {
                    let is_enough = enough(&message);
                    messages.push(message);
                    if is_enough {
                        return Ok(messages);
                    }
                }
                Err(error) => {
                    let detail = format!("{error} after {:?}", render(&messages));
                    return Err(Error::Failed { what: "waiting for answers".to_owned(), detail });
                }
            }
        }
    }

    /// A simple query and everything that answers it.
    ///
    /// # Errors
    /// See [`Client::until_ready`]. A send into a closed connection is no error: the answer says
    /// that it is closed.
    pub async fn exchange(&mut self, sql: &str) -> Result<Vec<Message>> {
        let _ = self.say(|out| frontend::query(out, sql.as_bytes())).await;
        self.until_ready().await
    }

    /// A simple query and its answers as one line, as `C[INSERT 0 1] Z[I]`; ends in `closed` or
    /// `reset` when the connection did.
    ///
    /// # Errors
    /// See [`Client::exchange`].
    pub async fn answers(&mut self, sql: &str) -> Result<String> {
        let messages = self.exchange(sql).await?;
        Ok(self.rendered(&messages))
    }

    /// The answers to bytes that hold `syncs` queries or Syncs, as one line.
    ///
    /// # Errors
    /// See [`Client::until_ready`].
    pub async fn answers_to(&mut self, bytes: &[u8], syncs: usize) -> Result<String> {
        let _ = self.send(bytes).await;
        let mut messages = Vec::new();
        for _ in 0..syncs {
            messages.extend(self.until_ready().await?);
        }
        Ok(self.rendered(&messages))
    }

    /// `messages` as one line, with the connection's end if it has.
    #[must_use]
    pub fn rendered(&self, messages: &[Message]) -> String {
        let mut line = render(messages);
        if let Some(end) = self.end {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(match end {
                End::Closed => "closed",
                End::Reset => "reset",
            });
        }
        line
    }

    /// Waits for `time` and tells what came unasked, connection's end included: empty is silence.
    ///
    /// # Errors
    /// [`Error::Failed`] when what came is no message.
    pub async fn hears(&mut self, time: Duration) -> Result<String> {
        let deadline = Instant::now() + time;
        let mut messages = Vec::new();
        loop {
            match self.next_until(deadline).await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) | Err(Error::Late { .. }) => return Ok(self.rendered(&messages)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Startup and login with whatever method is asked for; everything that came, up to the first
    /// ReadyForQuery, the connection's end, or an error that ends the login.
    ///
    /// # Errors
    /// [`Error::Failed`] when the exchange itself goes wrong. A refusal is an answer.
    pub async fn login(
        &mut self,
        user: &str,
        password: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<Message>> {
        let (minor, parameters) = (self.minor, parameters.iter().copied());
        self.say(|out| startup::startup_of(out, minor, user, database, parameters)).await?;
        let mut scram = None;
        let mut messages = Vec::new();
        loop {
            let heard = |message: &Message| {
                matches!(message.tag, tag::AUTHENTICATION | tag::READY_FOR_QUERY | tag::ERROR)
            };
            let mut heard = self.until(heard).await?;
            let last = heard.last().cloned();
            messages.append(&mut heard);
            let Some(last) = last.filter(|last| last.tag == tag::AUTHENTICATION) else {
                return Ok(messages);
            };
            let asked = view::authentication(&last.body);
            let asked = asked.map_err(|error| login_failed(error.to_string()))?;
            let answer = authenticate(asked, user, password, &mut scram)?;
            self.send(&answer).await?;
        }
    }

    fn take(&mut self) -> Result<Option<Message>> {
        let wrong = |detail| Error::Failed { what: "reading a message".to_owned(), detail };
        let header = frame::header(&self.read).map_err(|error| wrong(error.to_string()))?;
        let Some(header) = header.filter(|header| self.read.len() >= header.total()) else {
            return Ok(None);
        };
        self.read.advance(Header::BYTES);
        let body = self.read.split_to(header.body).freeze();
        if header.tag == tag::KEY_DATA
            && let Ok((process_id, secret)) = view::key_data(&body)
        {
            self.key = Some((process_id, Bytes::copy_from_slice(secret)));
        }
        if header.tag == tag::PARAMETER_STATUS
            && let Ok((name, value)) = view::parameter_status(&body)
        {
            match self.parameters.iter_mut().find(|(known, _)| known == name) {
                Some(known) => value.clone_into(&mut known.1),
                None => self.parameters.push((name.to_owned(), value.to_owned())),
            }
        }
        Ok(Some(Message { tag: header.tag, body }))
    }

    fn torn(&self) -> Error {
        let detail = format!("the connection ended after {} bytes of it", self.read.len());
        Error::Failed { what: "reading a message".to_owned(), detail }
    }
}

fn login_failed(detail: String) -> Error {
    Error::Failed { what: "logging in".to_owned(), detail }
}

/// The answer to one step of authentication; empty when none is due.
fn authenticate(
    asked: Authentication<'_>,
    user: &str,
    password: &str,
    scram: &mut Option<ScramSha256>,
) -> Result<BytesMut> {
    let mut out = BytesMut::new();
    let failed = |error: std::io::Error| login_failed(error.to_string());
    match (asked, scram) {
        (Authentication::Ok, _) => {}
        (Authentication::Cleartext, _) => frontend::password(&mut out, password.as_bytes()),
        (Authentication::Md5(salt), _) => {
            let hash = md5_hash(user.as_bytes(), password.as_bytes(), salt);
            frontend::password(&mut out, hash.as_bytes());
        }
        (Authentication::Sasl { mechanisms }, scram) if mechanisms.contains(SCRAM_SHA_256) => {
            let begun = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
            frontend::sasl_initial(&mut out, SCRAM_SHA_256, begun.message());
            *scram = Some(begun);
        }
        (Authentication::SaslContinue(data), Some(scram)) => {
            scram.update(data).map_err(failed)?;
            frontend::sasl_response(&mut out, scram.message());
        }
        (Authentication::SaslFinal(data), Some(scram)) => scram.finish(data).map_err(failed)?,
        (asked, _) => return Err(login_failed(format!("asked for {asked:?}"))),
    }
    Ok(out)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
