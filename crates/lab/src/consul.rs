//! A real Consul: found or built, on ports of its own, paused and ended at will.

mod api;
mod build;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

pub use api::{Api, Pair};
pub use build::{find, find_saying};

use crate::network::Host;
use crate::process::{Process, run_directory};
use crate::{Error, Result, during, ports};

/// Longest time for a start or an end.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is tried.
const POLL: Duration = Duration::from_millis(20);
/// The token that may do everything, where tokens are asked for.
const MANAGEMENT: &str = "6c2d1a5e-4c0f-4d53-9a6b-0c6f6f1f2a01";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What an agent shall be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Holds everything in memory and forgets it when it ends.
    #[default]
    Forgetful,
    /// Keeps its data on disk, so that it survives [`Agent::kill`] and [`Agent::start_again`].
    Lasting,
    /// As [`Kind::Forgetful`]; whoever has no token may do nothing.
    Guarded,
}

/// What an agent needs to speak TLS: PEM files. Whoever connects has to show a certificate.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Who vouches for clients.
    pub ca: PathBuf,
    /// The agent's own certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A running agent, which is its own only server. It ends when dropped.
#[derive(Debug)]
pub struct Agent {
    kind: Kind,
    program: PathBuf,
    directory: PathBuf,
    http: SocketAddr,
    others: [u16; 3],
    tls: Option<Box<(u16, Tls)>>,
    process: Option<Process>,
    host: Option<Host>,
}

impl Agent {
    /// Starts an agent on loopback and waits until it serves.
    ///
    /// # Errors
    /// [`Error::Skip`] without Consul, [`Error::Failed`] with its log when it ends,
    /// [`Error::Late`].
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::start_at(kind, None, None).await
    }

    /// As [`Agent::start`], with a second port for HTTPS.
    ///
    /// # Errors
    /// See [`Agent::start`].
    pub async fn start_with_tls(kind: Kind, tls: Tls) -> Result<Self> {
        let port = ports::free_address()?.port();
        Self::start_at(kind, Some(Box::new((port, tls))), None).await
    }

    /// As [`Agent::start`], on a host of its own.
    ///
    /// # Errors
    /// See [`Agent::start`].
    pub async fn start_on(kind: Kind, host: &Host) -> Result<Self> {
        Self::start_at(kind, None, Some(host.clone())).await
    }

    async fn start_at(
        kind: Kind,
        tls: Option<Box<(u16, Tls)>>,
        host: Option<Host>,
    ) -> Result<Self> {
        let program = find().await?.to_owned();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = run_directory()?.join(format!("consul{number}"));
        during(|| format!("making {}", directory.display()), fs::create_dir_all(&directory))?;
        let (http, others) = if let Some(host) = &host {
            (SocketAddr::from((host.address(), 8500)), [8301, 8302, 8300])
        } else {
            let port = || ports::free_address().map(|address| address.port());
            (ports::free_address()?, [port()?, port()?, port()?])
        };
        let mut agent = Self { kind, program, directory, http, others, tls, process: None, host };
        agent.start_again().await?;
        Ok(agent)
    }

    /// Starts it on the same ports after [`Agent::kill`] or [`Agent::stop`], and waits.
    ///
    /// # Errors
    /// See [`Agent::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        let what = || self.log_path().display().to_string();
        let opened = fs::OpenOptions::new().create(true).append(true).open(self.log_path());
        let log = during(what, opened)?;
        let errors = during(what, log.try_clone())?;
        let mut command = match &self.host {
            Some(host) => host.command(&self.program, None),
            None => Command::new(&self.program),
        };
        command.args(self.arguments()).stdin(Stdio::null()).stdout(log).stderr(errors);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CONSUL_") {
                command.env_remove(name);
            }
        }
        let process = self.process.insert(Process::spawn(&mut command)?);
        let api = Api::new(self.http, Some(MANAGEMENT.to_owned()));
        let until = Instant::now() + PATIENCE;
        // The keys are served, and written, only some time after a leader is known.
        while !api.is_led().await || api.put("everline-lab", "").await.is_err() {
            if process.status().is_some() {
                let detail = fs::read_to_string(self.log_path()).unwrap_or_default();
                return Err(Error::Failed { what: "starting Consul".to_owned(), detail });
            }
            if Instant::now() >= until {
                return Err(Error::Late { what: "Consul's start".to_owned(), within: PATIENCE });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["agent".to_owned()];
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
        let directory = self.directory.join("data");
        match self.kind {
            Kind::Forgetful | Kind::Guarded => add(&["-dev"]),
            Kind::Lasting => add(&[
                "-server",
                "-bootstrap-expect=1",
                &format!("-data-dir={}", directory.display()),
            ]),
        }
        if self.kind == Kind::Guarded {
            add(&[
                "-hcl",
                &format!(
                    "acl {{ enabled = true default_policy = \"deny\" tokens {{ \
                     initial_management = \"{MANAGEMENT}\" agent = \"{MANAGEMENT}\" }} }}"
                ),
            ]);
        }
        let [lan, wan, server] = self.others;
        let ip = self.http.ip();
        add(&["-node=lab", &format!("-bind={ip}"), &format!("-client={ip}")]);
        add(&[&format!("-advertise={ip}")]);
        add(&["-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-log-level=warn"]);
        add(&["-disable-host-node-id", "-hcl", "disable_update_check = true"]);
        add(&["-hcl", "performance { raft_multiplier = 1 }"]);
        add(&[&format!("-http-port={}", self.http.port()), &format!("-serf-lan-port={lan}")]);
        add(&[&format!("-serf-wan-port={wan}"), &format!("-server-port={server}")]);
        if let Some((port, Tls { ca, cert, key })) = self.tls.as_deref() {
            add(&[&format!("-https-port={port}"), "-hcl"]);
            let (ca, cert, key) = (ca.display(), cert.display(), key.display());
            add(&[&format!(
                "tls {{ https {{ ca_file = \"{ca}\" cert_file = \"{cert}\" key_file = \"{key}\" \
                 verify_incoming = true }} }}"
            )]);
        }
        arguments
    }

    /// Where its HTTP interface is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Where it speaks TLS, if it does.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        let (port, _) = self.tls.as_deref()?;
        Some(SocketAddr::new(self.http.ip(), *port))
    }

    /// Its interface, with the right to do everything.
    #[must_use]
    pub fn api(&self) -> Api {
        let token = (self.kind == Kind::Guarded).then(|| MANAGEMENT.to_owned());
        Api::new(self.http, token)
    }

    /// Stops it where it stands (SIGSTOP): connections stay and nothing is answered.
    pub fn pause(&mut self) {
        if let Some(process) = &mut self.process {
            process.freeze();
        }
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        if let Some(process) = &mut self.process {
            process.thaw();
        }
    }

    /// Kills it: its connections are closed by the kernel, new ones refused.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// [`Error::Late`] when it still runs after a minute.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.thaw();
            process.signal(Signal::INT);
            process.ended(PATIENCE).await?;
        }
        self.process = None;
        Ok(())
    }

    /// Where it writes its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The program that runs.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

#[cfg(test)]
#[path = "consul_tests.rs"]
mod tests;
