//! A backend scripted by a table: it says exactly these bytes at these instants.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use everline_wire::backend::{
    TransactionStatus, authentication_ok, command_complete, key_data, parameter_status,
    ready_for_query,
};
use everline_wire::startup::{Startup, parse_startup};
use everline_wire::{Header, Report, Severity, SqlState, frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Result, during};

/// One line of a script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads a startup packet; requests for encryption before it are answered with `N`.
    HearStartup,
    /// Reads messages up to and with the next one of this type.
    Hear(u8),
    /// Reads and says nothing until exactly this much time has passed.
    Wait(Duration),
    /// Sends these bytes.
    Say(Bytes),
    /// Closes the connection in order.
    Close,
    /// Resets the connection.
    Reset,
    /// Goes back to the first [`Step::Hear`] after the startup, for ever.
    Repeat,
}

/// What one connection is told. At the end of its script a backend reads on in silence.
#[derive(Debug, Clone, Default)]
pub struct Script(Vec<Step>);

impl Script {
    /// An empty script: accepts and stays silent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets anybody in, as a primary of version 17 that reports `in_hot_standby = off`.
    #[must_use]
    pub fn login() -> Self {
        Self::login_with(&[
            ("server_version", "17.0"),
            ("in_hot_standby", "off"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ])
    }

    /// Lets anybody in and reports these parameters.
    #[must_use]
    pub fn login_with(parameters: &[(&str, &str)]) -> Self {
        Self::new().step(Step::HearStartup).say(|out| {
            authentication_ok(out);
            for (name, value) in parameters {
                parameter_status(out, name, value);
            }
            key_data(out, 4711, b"oath");
            ready_for_query(out, TransactionStatus::Idle);
        })
    }

    /// Adds one step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    /// Adds: hear a message of this type.
    #[must_use]
    pub fn hear(self, tag: u8) -> Self {
        self.step(Step::Hear(tag))
    }

    /// Adds: say what `write` appends, with the writers of [`everline_wire::backend`].
    #[must_use]
    pub fn say(self, write: impl FnOnce(&mut BytesMut)) -> Self {
        let mut bytes = BytesMut::new();
        write(&mut bytes);
        self.step(Step::Say(bytes.freeze()))
    }

    /// Adds: complete a command and be ready outside a transaction.
    #[must_use]
    pub fn complete(self, command: &str) -> Self {
        self.say(|out| {
            command_complete(out, command);
            ready_for_query(out, TransactionStatus::Idle);
        })
    }

    /// Adds: an `ErrorResponse`.
    #[must_use]
    pub fn error(self, severity: Severity, code: SqlState, message: &str) -> Self {
        self.say(|out| {
            Report { severity, code, message, detail: None, hint: None }.error_response(out);
        })
    }

    /// Adds: wait.
    #[must_use]
    pub fn wait(self, time: Duration) -> Self {
        self.step(Step::Wait(time))
    }
}

/// A message that a fake backend was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The connection it came on, from 0.
    pub connection: usize,
    /// Its type; 0 for a startup packet.
    pub tag: u8,
    /// Its body; of a startup packet, the whole packet.
    pub body: Bytes,
}

/// A running fake backend; it ends with all its connections when dropped.
#[derive(Debug)]
pub struct FakeBackend {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    _ends: DropGuard,
}

impl FakeBackend {
    /// Listens on `127.0.0.1`; the n-th connection plays the n-th script, further ones the last.
    ///
    /// # Errors
    /// [`crate::Error::Io`] when no port can be bound.
    pub async fn start(scripts: Vec<Script>) -> Result<Self> {
        Self::start_at(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), scripts).await
    }

    /// As [`FakeBackend::start`], at an address of choice.
    ///
    /// # Errors
    /// See [`FakeBackend::start`].
    pub async fn start_at(address: SocketAddr, scripts: Vec<Script>) -> Result<Self> {
        let what = || format!("listening on {address}");
        let listener = during(what, TcpListener::bind(address).await)?;
        let address = during(what, listener.local_addr())?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ended = CancellationToken::new();
        let serving = serve(listener, scripts, heard.clone(), ended.clone());
        tokio::spawn(ended.clone().run_until_cancelled_owned(serving));
        Ok(Self { address, heard, _ends: ended.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it was sent so far, in the order of arrival.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    listener: TcpListener,
    scripts: Vec<Script>,
    heard: Arc<Mutex<Vec<Heard>>>,
    ended: CancellationToken,
) {
    let mut connection = 0;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let script = scripts.get(connection).or(scripts.last()).cloned().unwrap_or_default();
        let actor = Actor { stream, read: BytesMut::new(), connection, heard: heard.clone() };
        tokio::spawn(ended.clone().run_until_cancelled_owned(actor.play(script)));
        connection += 1;
    }
}

/// The connection has ended, by the script or by the other side.
struct Ended;

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

struct Actor {
    stream: TcpStream,
    read: BytesMut,
    connection: usize,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Actor {
    async fn play(mut self, script: Script) {
        let first_hear = script.0.iter().position(|step| matches!(step, Step::Hear(_)));
        let mut at = 0;
        while let Some(step) = script.0.get(at) {
            at += 1;
            let ended = match step {
                Step::HearStartup => self.hear_startup().await,
                Step::Hear(tag) => self.hear(*tag).await,
                Step::Wait(time) => {
                    tokio::time::sleep(*time).await;
                    Ok(())
                }
                Step::Say(bytes) => self.stream.write_all(bytes).await.map_err(Ended::from),
                Step::Close => Err(Ended),
                Step::Reset => {
                    let _ = self.stream.set_zero_linger();
                    Err(Ended)
                }
                Step::Repeat => {
                    at = first_hear.unwrap_or(at);
                    Ok(())
                }
            };
            if ended.is_err() {
                return;
            }
        }
        while self.hear(0).await.is_ok() {}
    }

    async fn more(&mut self) -> std::result::Result<(), Ended> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(Ended),
            _ => Ok(()),
        }
    }

    async fn hear_startup(&mut self) -> std::result::Result<(), Ended> {
        loop {
            let parsed = parse_startup(&self.read).map_err(|_| Ended)?;
            let Some((length, packet)) = parsed else {
                self.more().await?;
                continue;
            };
            let body = self.read.split_to(length).freeze();
            match packet {
                Startup::Tls | Startup::GssEncryption => self.stream.write_all(b"N").await?,
                Startup::Cancel { .. } | Startup::Startup(_) => {
                    self.note(0, body);
                    return Ok(());
                }
            }
        }
    }

    /// Reads up to and with the next message of type `wanted`, 0 for ever.
    async fn hear(&mut self, wanted: u8) -> std::result::Result<(), Ended> {
        loop {
            let header = frame::header(&self.read).map_err(|_| Ended)?;
            let Some(header) = header.filter(|header| self.read.len() >= header.total()) else {
                self.more().await?;
                continue;
            };
            self.read.advance(Header::BYTES);
            let body = self.read.split_to(header.body).freeze();
            self.note(header.tag, body);
            if header.tag == wanted {
                return Ok(());
            }
        }
    }

    fn note(&self, tag: u8, body: Bytes) {
        let heard = Heard { connection: self.connection, tag, body };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    }
}
