//! An Everline of its own: a program given by path, on ports of its own, with its log kept.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::network::Host;
use crate::process::{Process, run_directory};
use crate::{Error, Result, during, ports};

/// Longest time until it accepts connections, and until it has ended when told to.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest time for one request to its HTTP listener.
const HTTP: Duration = Duration::from_secs(15);
/// How often it is tried.
const POLL: Duration = Duration::from_millis(10);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What to start and how.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    places: Option<(SocketAddr, SocketAddr)>,
    host: Option<Host>,
}

impl Launch {
    /// Starts the program at `program`.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            places: None,
            host: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|one| one.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment. It sees none of ours that begin with `EVERLINE_`,
    /// `GEL_`, `EDGEDB_`, `PG` or `CONSUL_`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has it listen, and serve HTTP, here and not at free ports.
    #[must_use]
    pub fn at(mut self, address: SocketAddr, http: SocketAddr) -> Self {
        self.places = Some((address, http));
        self
    }

    /// Runs it on a host of its own, at ports of our choice.
    #[must_use]
    pub fn on(mut self, host: &Host) -> Self {
        let at = |port| SocketAddr::from((host.address(), port));
        self.places = Some((at(5432), at(6433)));
        self.host = Some(host.clone());
        self
    }

    /// Starts it with `--listen` and `--http-listen` at free ports and waits until it accepts.
    ///
    /// # Errors
    /// [`Error::Failed`] with its log when it ends instead, [`Error::Late`].
    pub async fn start(self) -> Result<Everline> {
        let mut everline = self.spawn()?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = everline.process.status() {
                let detail = format!("{status}: {}", everline.log());
                return Err(Error::Failed { what: "starting Everline".to_owned(), detail });
            }
            if TcpStream::connect(everline.address).await.is_ok() {
                return Ok(everline);
            }
            if Instant::now() >= until {
                return Err(Error::Late {
                    what: "Everline's listener".to_owned(),
                    within: PATIENCE,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// As [`Launch::start`], without waiting.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be started.
    pub fn spawn(self) -> Result<Everline> {
        let (address, http) = match self.places {
            Some(places) => places,
            None => (ports::free_address()?, ports::free_address()?),
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = run_directory()?.join(format!("everline{number}.log"));
        let file = during(|| log.display().to_string(), fs::File::create(&log))?;
        let errors = during(|| log.display().to_string(), file.try_clone())?;
        let mut command = match &self.host {
            Some(host) => host.command(&self.program, None),
            None => Command::new(&self.program),
        };
        command.args(&self.arguments);
        command.args(["--listen", &address.to_string(), "--http-listen", &http.to_string()]);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["EVERLINE_", "GEL_", "EDGEDB_", "PG", "CONSUL_"]
                .iter()
                .any(|one| text.starts_with(one))
            {
                command.env_remove(name);
            }
        }
        command.envs(self.environment).stdin(Stdio::null()).stdout(file).stderr(errors);
        Ok(Everline { address, http, log, process: Process::spawn(&mut command)? })
    }
}

/// A running Everline; it ends when dropped.
#[derive(Debug)]
pub struct Everline {
    address: SocketAddr,
    http: SocketAddr,
    log: PathBuf,
    process: Process,
}

impl Everline {
    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its page and metrics are.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote to standard output and standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, or `None` while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.process.status()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// [`Error::Late`] when it still runs after 30 s.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM);
        self.process.ended(PATIENCE).await
    }

    /// Waits until its log holds `words`.
    ///
    /// # Errors
    /// [`Error::Failed`] with the log when it does not within `within`.
    pub async fn logged(&self, words: &str, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        while !self.log().contains(words) {
            if Instant::now() >= until {
                let what = format!("waiting for {words:?} in Everline's log");
                return Err(Error::Failed { what, detail: self.log() });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Status code and body of `path` on its HTTP listener.
    ///
    /// # Errors
    /// See [`get`].
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        get(self.http, path).await
    }
}

/// Status code and body of one HTTP request.
///
/// # Errors
/// [`Error::Io`], [`Error::Late`] after 15 s, [`Error::Failed`] when the answer is not HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let what = || format!("GET http://{address}{path}");
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        // HTTP 1.0: the body ends with the connection, so it is never chunked.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let late = |_| Error::Late { what: what(), within: HTTP };
    let answer = during(what, tokio::time::timeout(HTTP, asking).await.map_err(late)?)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    match (code, answer.split_once("\r\n\r\n")) {
        (Some(code), Some((_, body))) => Ok((code, body.to_owned())),
        (_, _) => Err(Error::Failed { what: what(), detail: answer }),
    }
}
