//! Who is compared: found on this machine, configured alike, started beside one another.

mod everline;
mod haproxy;
mod odyssey;
mod pgbouncer;
mod pgcat;
mod pgdog;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use everline_lab::client::Client;
use everline_lab::everline::Everline;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Installation, TRUSTED_USER};
use everline_lab::process::{Process, run_directory};
use everline_lab::{Result, ports};
use tokio::time::{Instant, sleep};

use crate::args::Args;
use crate::tls::Tls;
use crate::{failed, io};

pub(crate) use everline::SERVER;
pub(crate) use pgbouncer::redirect;

/// Longest time until a peer serves a statement.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often that is tried.
const POLL: Duration = Duration::from_millis(50);

/// What kind of pooler a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With this many workers.
    Everline(u8),
    PgBouncer,
    HaProxy,
    Odyssey,
    PgCat,
    PgDog,
}

/// A pooler that takes part.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// What it is called in tables, version included.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
    /// Whether a client's backend connection is its own as long as it stays: what a pooler is run
    /// with that cannot keep prepared statements otherwise.
    pub(crate) session_pooling: bool,
    /// Whether prepared statements outlive a transaction.
    pub(crate) prepares: bool,
}

impl Peer {
    /// Whether each client has a backend connection of its own.
    pub(crate) fn needs_one_each(&self) -> bool {
        self.session_pooling || self.kind == Kind::HaProxy
    }
}

/// How clients prove who they are, here and at PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Trust,
    Scram,
}

impl Login {
    pub(crate) fn user(self) -> &'static str {
        match self {
            Self::Trust => TRUSTED_USER,
            Self::Scram => APP_USER,
        }
    }

    /// The password, empty where none is asked for.
    pub(crate) fn password(self) -> &'static str {
        match self {
            Self::Trust => "",
            Self::Scram => APP_PASSWORD,
        }
    }
}

/// What all peers are given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// Where PostgreSQL is; several where one may follow the other.
    pub(crate) databases: &'a [SocketAddr],
    /// How many connections to it a peer may have in transaction pooling.
    pub(crate) connections: u16,
    pub(crate) login: Login,
    pub(crate) tls: &'a Tls,
    pub(crate) installation: &'a Installation,
}

impl Setup<'_> {
    fn database(&self) -> Result<SocketAddr> {
        let first = self.databases.first().copied();
        first.ok_or_else(|| failed("configuring a peer", "there is no database"))
    }
}

/// A pooler at work. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) peer: Peer,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where its configuration is, for those that have a file.
    pub(crate) configuration: PathBuf,
    program: Program,
}

#[derive(Debug)]
enum Program {
    Everline(Everline),
    Other { process: Process, log: PathBuf },
}

impl Running {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        match &self.program {
            Program::Everline(everline) => everline.id(),
            Program::Other { process, .. } => process.id(),
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&mut self, signal: rustix::process::Signal) {
        match &mut self.program {
            Program::Everline(everline) => everline.signal(signal),
            Program::Other { process, .. } => process.signal(signal),
        }
    }

    /// The end of what it has logged.
    pub(crate) fn log_tail(&self) -> String {
        let text = match &self.program {
            Program::Everline(everline) => everline.log(),
            Program::Other { log, .. } => {
                String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
            }
        };
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Everybody who takes part; `say` hears who does not, and why.
pub(crate) fn find(args: &Args, say: &impl Fn(&str)) -> Result<Vec<Peer>> {
    let mut peers = everline::peers(args)?;
    let finders: [(&str, Kind, Option<PathBuf>); 5] = [
        ("pgbouncer", Kind::PgBouncer, std::env::var_os(pgbouncer::VARIABLE).map(PathBuf::from)),
        ("haproxy", Kind::HaProxy, None),
        ("odyssey", Kind::Odyssey, None),
        ("pgcat", Kind::PgCat, None),
        ("pgdog", Kind::PgDog, None),
    ];
    for (word, kind, named) in finders {
        if !args.takes_peer(word) {
            continue;
        }
        let Some(program) = named.or_else(|| on_path(word)) else {
            say(&format!("{word} stays out: there is none on this machine"));
            continue;
        };
        let peer = match kind {
            Kind::Everline(_) => continue,
            Kind::PgBouncer => pgbouncer::peer(&program),
            Kind::HaProxy => haproxy::peer(&program),
            Kind::Odyssey => odyssey::peer(&program),
            Kind::PgCat => pgcat::peer(&program),
            Kind::PgDog => pgdog::peer(&program),
        };
        peers.push(peer);
    }
    for peer in &peers {
        say(&format!("{} takes part ({})", peer.name, peer.program.display()));
    }
    Ok(peers)
}

/// Starts a peer and waits until it serves a statement.
///
/// # Errors
/// [`everline_lab::Error::Failed`] with the end of its log when it does not.
pub(crate) async fn start(peer: &Peer, setup: &Setup<'_>) -> Result<Running> {
    let mut running = match peer.kind {
        Kind::Everline(workers) => everline::start(peer, workers, setup).await?,
        Kind::PgBouncer => pgbouncer::start(peer, setup)?,
        Kind::HaProxy => haproxy::start(peer, setup)?,
        Kind::Odyssey => odyssey::start(peer, setup)?,
        Kind::PgCat => pgcat::start(peer, setup)?,
        Kind::PgDog => pgdog::start(peer, setup)?,
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let said = match greet(running.address, setup.login).await {
            Ok(()) => return Ok(running),
            Err(error) => error.to_string(),
        };
        let ended = match &mut running.program {
            Program::Everline(everline) => everline.status(),
            Program::Other { process, .. } => process.status(),
        };
        if ended.is_some() || Instant::now() >= until {
            let detail = format!("{said}\n{}", running.log_tail());
            return Err(failed(&format!("starting {}", peer.name), &detail));
        }
        sleep(POLL).await;
    }
}

async fn greet(address: SocketAddr, login: Login) -> Result<()> {
    let mut client = Client::connect(address).await?;
    client.set_patience(Duration::from_secs(5));
    let answers = client.login(login.user(), login.password(), APP_DATABASE, &[]).await?;
    let told = client.rendered(&answers);
    let answer = client.answers("SELECT 1").await?;
    if answer.contains("C[SELECT 1]") {
        return Ok(());
    }
    Err(failed("a first statement", &format!("{told} {answer}")))
}

/// The program of this name on PATH, or where Debian puts servers.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(name)).find(|program| program.is_file())
}

/// What a program says when it is asked for its version: the first word with a digit and a dot.
fn version(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let Ok(output) = output else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    version_in(&said).unwrap_or_default()
}

fn version_in(said: &str) -> Option<String> {
    let numbered =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let word = said.split([' ', '\n', '\t', ',', '-', '+']).find(numbered)?;
    Some(word.to_owned())
}

/// A directory of its own for a peer's files, which it can read under the user it runs as.
fn directory(setup: &Setup<'_>, name: &str) -> Result<PathBuf> {
    let number = ports::free_address()?.port();
    let directory = run_directory()?.join(format!("{name}-{number}"));
    setup.installation.make_directory(&directory)?;
    Ok(directory)
}

/// Starts a program under the user that PostgreSQL runs as: most refuse to be root.
fn launch(
    peer: &Peer,
    setup: &Setup<'_>,
    address: SocketAddr,
    configuration: PathBuf,
    arguments: &[&str],
) -> Result<Running> {
    let log = configuration.with_extension("log");
    let what = format!("making {}", log.display());
    let file = File::create(&log).map_err(|source| io(&what, source))?;
    let errors = file.try_clone().map_err(|source| io(&what, source))?;
    let mut command = setup.installation.as_owner(&peer.program).into_std();
    command.args(arguments).stdin(Stdio::null()).stdout(file).stderr(errors);
    let process = Process::spawn(&mut command)?;
    let program = Program::Other { process, log };
    Ok(Running { peer: peer.clone(), address, configuration, program })
}

/// A peer that pools by transaction and keeps prepared statements.
fn pooling(name: &str, kind: Kind, program: &Path, argument: &str) -> Peer {
    let version = version(program, argument);
    Peer {
        name: format!("{name} {version}").trim().to_owned(),
        kind,
        program: program.to_owned(),
        session_pooling: false,
        prepares: true,
    }
}

/// A path as text for a configuration file.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
#[path = "../peers_tests.rs"]
mod tests;
