//! One data directory and the postmaster on it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use super::disk::Disk;
use super::{APP_DATABASE, APP_PASSWORD, APP_USER, Installation, SUPERUSER};
use crate::network::Host;
use crate::process::Process;
use crate::{Error, Result, during};

/// Longest time for a start, a stop or a promotion.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest time for one statement of the lab's own.
const STATEMENT: Duration = Duration::from_secs(20);
/// How often it is asked whether something has happened.
const POLL: Duration = Duration::from_millis(10);
/// How many bytes of the log go into an error.
const TAIL_BYTES: usize = 2000;
/// How often a start is tried while the memory of the killed predecessor is in use.
const START_TRIES: u32 = 5;
/// The pause before the next try.
const START_PAUSE: Duration = Duration::from_millis(300);
/// What PostgreSQL says then.
const MEMORY_IN_USE: &str = "pre-existing shared memory block";

/// How a postmaster is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: takes no new connections, waits until the last one has gone.
    Smart,
    /// SIGINT: ends all connections with 57P01 and stops cleanly.
    Fast,
    /// SIGQUIT: ends all connections with 57P02, without a checkpoint.
    Immediate,
}

/// One PostgreSQL node. It ends when dropped, and its directory goes.
#[derive(Debug)]
pub struct Node {
    pub(super) installation: Installation,
    pub(super) directory: PathBuf,
    name: String,
    address: SocketAddr,
    process: Option<Process>,
    /// Where it runs, when not on this machine itself.
    pub(super) host: Option<Host>,
    /// Its disk, when it has one of its own. Unmounted last.
    pub(super) disk: Option<Disk>,
}

impl Node {
    pub(super) fn new(
        installation: &Installation,
        directory: PathBuf,
        name: &str,
        address: SocketAddr,
    ) -> Self {
        let installation = installation.clone();
        let name = name.to_owned();
        Self { installation, directory, name, address, process: None, host: None, disk: None }
    }

    /// Its name, which is its `application_name` as a standby.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory of its Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Where it writes its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// A DSN with which an application reaches it: [`APP_USER`] in [`APP_DATABASE`].
    #[must_use]
    pub fn dsn(&self) -> String {
        format!("postgres://{APP_USER}:{APP_PASSWORD}@{}/{APP_DATABASE}", self.address)
    }

    /// The process id of its postmaster.
    #[must_use]
    pub fn postmaster(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Whether its postmaster runs, frozen or not.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.status().is_none())
    }

    /// Starts the postmaster and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Failed`] with the end of its log when it ends instead, [`Error::Late`].
    pub async fn start(&mut self) -> Result<()> {
        for _ in 0..START_TRIES {
            self.spawn()?;
            match self.until("an answer", "SELECT 1", |rows| !rows.is_empty()).await {
                // Children of the postmaster that was killed before are not all gone yet.
                Err(Error::Failed { detail, .. }) if detail.contains(MEMORY_IN_USE) => {
                    tokio::time::sleep(START_PAUSE).await;
                    give_back_shared_memory(&self.data());
                }
                started => return started,
            }
        }
        let what = format!("the start of {}", self.name);
        Err(Error::Failed { what, detail: self.log_tail() })
    }

    /// Starts the postmaster without waiting.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let path = self.log_path();
        let opened = fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = during(|| path.display().to_string(), opened)?;
        let errors = during(|| path.display().to_string(), log.try_clone())?;
        let mut command: Command = match &self.host {
            Some(host) => self.installation.program_on(host, "postgres"),
            None => self.installation.program("postgres").into_std(),
        };
        command.arg("-D").arg(self.data());
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.process = Some(Process::spawn(&mut command)?);
        Ok(())
    }

    /// Tells the postmaster to stop, without waiting.
    pub fn begin_stop(&mut self, how: Stop) {
        let signal = match how {
            Stop::Smart => Signal::TERM,
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// Stops the postmaster and waits for its end. A smart stop waits for all clients.
    ///
    /// # Errors
    /// [`Error::Late`] when it still runs after a minute.
    pub async fn stop(&mut self, how: Stop) -> Result<Option<ExitStatus>> {
        self.begin_stop(how);
        let Some(process) = &mut self.process else { return Ok(None) };
        let status = process.ended(PATIENCE).await?;
        self.process = None;
        Ok(Some(status))
    }

    /// Kills the postmaster and all its children at one stroke: what a crash of the machine is to
    /// PostgreSQL. The kernel closes the sockets, so clients see the end of the connection.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill_all();
            give_back_shared_memory(&self.data());
        }
    }

    /// Stops the postmaster and all its children where they stand (SIGSTOP): sockets stay open,
    /// connections are accepted by the kernel, nothing is ever answered.
    pub fn freeze(&mut self) {
        if let Some(process) = &mut self.process {
            process.freeze();
        }
    }

    /// Lets a frozen node go on.
    pub fn thaw(&mut self) {
        if let Some(process) = &mut self.process {
            process.thaw();
        }
    }

    /// Kills the process of one backend (SIGKILL), as a system does that has no memory left: the
    /// postmaster ends all others and recovers. `pid` is what `pg_backend_pid()` said there.
    pub fn kill_backend(&self, pid: i32) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Fills its disk up, when it has one of its own.
    ///
    /// # Errors
    /// [`Error::Failed`] when it has none, [`Error::Io`].
    pub fn fill_disk(&self) -> Result<()> {
        let none = || Error::Failed {
            what: "filling a disk up".to_owned(),
            detail: format!("{} has none of its own", self.name),
        };
        self.disk.as_ref().ok_or_else(none)?.fill()
    }

    /// Gives back what [`Node::fill_disk`] took.
    pub fn free_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.free();
        }
    }

    /// Runs statements as the superuser in [`APP_DATABASE`] over a connection of its own; the rows
    /// of all of them, in text.
    ///
    /// # Errors
    /// [`Error::Sql`] with PostgreSQL's answer, [`Error::Late`] after 20 s.
    ///
    /// # Cancel safety
    /// The statements may or may not have run.
    pub async fn sql(&self, statements: &str) -> Result<Vec<Vec<Option<String>>>> {
        let wrong = |source| Error::Sql { what: format!("{}: {statements}", self.name), source };
        let work = async {
            let (client, _task) = self.connect().await?;
            let messages = client.simple_query(statements).await.map_err(wrong)?;
            Ok(rows(&messages))
        };
        let what = || format!("{}: {statements}", self.name);
        let late = |_| Error::Late { what: what(), within: STATEMENT };
        tokio::time::timeout(STATEMENT, work).await.map_err(late)?
    }

    /// The first column of the first row of `statement`; empty when there is none or it is NULL.
    ///
    /// # Errors
    /// See [`Node::sql`].
    pub async fn value(&self, statement: &str) -> Result<String> {
        let rows = self.sql(statement).await?;
        Ok(rows.into_iter().flatten().next().flatten().unwrap_or_default())
    }

    /// A connection as the superuser, which lasts as long as the task handle beside it.
    pub(super) async fn connect(&self) -> Result<(tokio_postgres::Client, Task)> {
        let wrong = |source| Error::Sql { what: format!("connecting to {}", self.name), source };
        let mut config = Config::new();
        config.host(self.address.ip().to_string()).port(self.address.port());
        config.user(SUPERUSER).dbname(APP_DATABASE).application_name("everline-lab");
        let (client, connection) = config.connect(NoTls).await.map_err(wrong)?;
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok((client, Task(task)))
    }

    /// Changes a setting with ALTER SYSTEM and has it read again. An empty `value` is a value.
    ///
    /// # Errors
    /// See [`Node::sql`].
    pub async fn set(&self, name: &str, value: &str) -> Result<()> {
        let value = value.replace('\'', "''");
        self.sql(&format!("ALTER SYSTEM SET {name} = '{value}'")).await?;
        self.sql("SELECT pg_reload_conf()").await.map(drop)
    }

    /// Whether it is in recovery.
    ///
    /// # Errors
    /// See [`Node::sql`].
    pub async fn is_standby(&self) -> Result<bool> {
        Ok(self.value("SELECT pg_is_in_recovery()").await? == "t")
    }

    /// Promotes a standby and waits until it accepts writes, with no synchronous standby.
    ///
    /// # Errors
    /// See [`Node::sql`]; [`Error::Late`] after a minute.
    pub async fn promote(&mut self) -> Result<()> {
        self.sql("SELECT pg_promote(false)").await?;
        let accepts = |rows: &[Vec<Option<String>>]| rows == [[Some("f".to_owned())]];
        self.until("the end of recovery", "SELECT pg_is_in_recovery()", accepts).await?;
        if !self.value("SHOW synchronous_standby_names").await?.is_empty() {
            self.set("synchronous_standby_names", "").await?;
        }
        Ok(())
    }

    /// Asks `statement` until its rows satisfy `enough`.
    ///
    /// # Errors
    /// [`Error::Late`] after a minute, [`Error::Failed`] with the log when the postmaster ends.
    pub async fn until(
        &mut self,
        what: &str,
        statement: &str,
        enough: impl Fn(&[Vec<Option<String>>]) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.sql(statement).await.is_ok_and(|rows| enough(&rows)) {
                return Ok(());
            }
            let what = format!("{what} of {}", self.name);
            if !self.is_running() {
                return Err(Error::Failed { what, detail: self.log_tail() });
            }
            if Instant::now() >= until {
                return Err(Error::Late { what, within: PATIENCE });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The end of its log, for an error message.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let from = log.len().saturating_sub(TAIL_BYTES);
        String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned()
    }

    /// Writes what distinguishes this node's configuration from that of its template.
    pub(super) fn configure(&self, settings: &str) -> Result<()> {
        let path = self.data().join("postgresql.conf");
        let read = fs::read_to_string(&path);
        let template = during(|| format!("reading {}", path.display()), read)?;
        let (template, _) = template.split_once(MARK).unwrap_or((&template, ""));
        self.installation.write(&path, &format!("{template}{MARK}{settings}"))
    }
}

/// Divides initdb's configuration from the lab's.
const MARK: &str = "\n# everline-lab\n";

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.thaw();
            process.signal(Signal::QUIT);
            let mut waited = Duration::ZERO;
            // An immediate stop lets the postmaster give back its shared memory.
            while process.status().is_none() && waited < Duration::from_secs(3) {
                std::thread::sleep(POLL);
                waited += POLL;
            }
        }
        give_back_shared_memory(&self.data());
        if std::env::var_os("EVERLINE_LAB_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Removes the System V segment of a postmaster that was killed: the kernel keeps it for ever.
/// Its id stands on the seventh line of the file that the postmaster left behind.
pub(super) fn give_back_shared_memory(data: &Path) {
    let left = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let id = left.lines().nth(6).and_then(|line| line.split_ascii_whitespace().nth(1));
    if let Some(id) = id {
        let mut ipcrm = Command::new("ipcrm");
        let _ = ipcrm.args(["-m", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The rows among the answers to a simple query.
pub(crate) fn rows(messages: &[SimpleQueryMessage]) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let columns = 0..row.len();
            rows.push(columns.map(|column| row.get(column).map(str::to_owned)).collect());
        }
    }
    rows
}
