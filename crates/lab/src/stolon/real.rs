//! Stolon's own keepers and sentinel, where the machine has them.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value is asked by name: a missing one reads as null"
)]

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;
use tokio_postgres::{Config, NoTls};

use super::{Pace, ProxyInfo, go_duration, proxies};
use crate::consul::Api;
use crate::faults::{Mode, Relay};
use crate::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Installation};
use crate::process::{Process, run_directory};
use crate::{Error, Result, during, ports};

/// Longest time until the cluster has a leader and a standby that follows it.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(50);
/// The superuser and its password.
const SUPERUSER: (&str, &str) = ("stolon", "stolon-secret");

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Stolon's programs.
#[derive(Debug, Clone)]
pub struct Programs {
    keeper: PathBuf,
    sentinel: PathBuf,
    control: PathBuf,
}

impl Programs {
    /// Those in the directory that `EVERLINE_TEST_STOLON_BIN` names, else those on PATH, with
    /// Stolon's name in front or not.
    ///
    /// # Errors
    /// [`Error::Skip`] when they are not all there.
    pub fn find() -> Result<Self> {
        let path = env::var_os("EVERLINE_TEST_STOLON_BIN").or_else(|| env::var_os("PATH"));
        let path = path.unwrap_or_default();
        let find = |name: &str| {
            let names = [format!("stolon-{name}"), name.to_owned()];
            let mut places = env::split_paths(&path).flat_map(|place| {
                names.iter().map(move |name| place.join(name)).collect::<Vec<_>>()
            });
            let missing = || Error::Skip(format!("no Stolon here: {name} is missing"));
            places.find(|program| program.is_file()).ok_or_else(missing)
        };
        let (keeper, sentinel) = (find("keeper")?, find("sentinel")?);
        Ok(Self { keeper, sentinel, control: find("ctl").or_else(|_| find("stolonctl"))? })
    }
}

/// What a cluster shall be like.
#[derive(Debug, Clone, Copy)]
pub struct StolonOptions {
    /// How quick it is.
    pub pace: Pace,
    /// `max_connections` of every node.
    pub max_connections: u16,
    /// Whether a leader without a standby waits with its commits until there is one.
    pub blocks_alone: bool,
    /// Whether `keeper0` and its PostgreSQL have a network of their own that [`Stolon::cut_off`]
    /// silences.
    pub network: bool,
}

impl Default for StolonOptions {
    /// The lab's pace, 100 connections, strictly synchronous.
    fn default() -> Self {
        Self { pace: Pace::default(), max_connections: 100, blocks_alone: true, network: false }
    }
}

/// What lies between `keeper0` and everybody else.
#[derive(Debug)]
struct Network {
    /// In front of its PostgreSQL.
    postgres: Relay,
    /// Between it and Consul.
    store: Relay,
}

/// A cluster of two keepers and a sentinel, `keeper0` on 127.0.0.2 and `keeper1` on 127.0.0.3.
/// Everything ends when it is dropped.
#[derive(Debug)]
pub struct Stolon {
    programs: Programs,
    installation: Installation,
    directory: PathBuf,
    api: Api,
    name: String,
    nodes: [SocketAddr; 2],
    keepers: [Option<Process>; 2],
    network: Option<Network>,
    _sentinel: Process,
}

impl Stolon {
    /// Starts a cluster with one synchronous standby, the role [`APP_USER`] and the database
    /// [`APP_DATABASE`], and waits until it is whole.
    ///
    /// # Errors
    /// [`Error::Skip`] without PostgreSQL or Stolon, [`Error::Late`], what PostgreSQL says.
    pub async fn start(api: Api, name: &str, options: StolonOptions) -> Result<Self> {
        Self::start_saying(api, name, options, |_| ()).await
    }

    /// As [`Stolon::start`]; `say` hears one line before each thing that takes time.
    ///
    /// # Errors
    /// See [`Stolon::start`].
    pub async fn start_saying(
        api: Api,
        name: &str,
        options: StolonOptions,
        say: impl Fn(&str),
    ) -> Result<Self> {
        let programs = Programs::find()?;
        let installation = Installation::find_saying(&say).await?.clone();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = run_directory()?.join(format!("stolon{number}"));
        installation.make_directory(&directory)?;
        // A port for each: their Unix sockets are all in /tmp.
        let node = |last| -> Result<SocketAddr> {
            let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
            Ok(SocketAddr::new(address, ports::free(&[address])?))
        };
        let nodes = [node(2)?, node(3)?];
        let network = if options.network {
            Some(Network::start(node(4)?, nodes[0], api.address()).await?)
        } else {
            None
        };
        for (name, text) in [
            ("spec.json", spec(options).to_string().as_str()),
            ("su", SUPERUSER.1),
            ("repl", "repl-secret"),
        ] {
            installation.write(&directory.join(name), text)?;
        }
        say("starting Stolon's sentinel");
        let mut sentinel = installation.as_owner(&programs.sentinel);
        sentinel
            .args(store(api.address(), name))
            .arg("--initial-cluster-spec")
            .arg(directory.join("spec.json"));
        let sentinel = spawn(sentinel, &directory.join("sentinel.log"))?;
        let mut stolon = Self {
            programs,
            installation,
            directory,
            api,
            name: name.to_owned(),
            nodes,
            keepers: [None, None],
            network,
            _sentinel: sentinel,
        };
        say("starting keeper0, which makes the leader");
        stolon.start_keeper(0)?;
        stolon.until_whole(1).await?;
        say("starting keeper1, which makes a synchronous standby");
        stolon.start_keeper(1)?;
        stolon.until_whole(2).await?;
        let role = format!("CREATE ROLE {APP_USER} LOGIN PASSWORD '{APP_PASSWORD}'");
        stolon.sql(0, "postgres", &role).await?;
        let database = format!("CREATE DATABASE {APP_DATABASE} OWNER {APP_USER}");
        stolon.sql(0, "postgres", &database).await?;
        Ok(stolon)
    }

    /// Starts the keeper `at`, and with it its PostgreSQL.
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// When there is no such keeper: there are 0 and 1.
    pub fn start_keeper(&mut self, at: usize) -> Result<()> {
        let node = self.nodes.get(at).expect("there are two keepers");
        let mut keeper = self.installation.as_owner(&self.programs.keeper);
        let network = self.network.as_ref().filter(|_| at == 0);
        let consul = network.map_or(self.api.address(), |network| network.store.address());
        keeper.args(store(consul, &self.name));
        if let Some(network) = network {
            let outside = network.postgres.address();
            keeper.args(["--pg-advertise-address", &outside.ip().to_string()]);
            keeper.args(["--pg-advertise-port", &outside.port().to_string()]);
        }
        keeper.arg("--data-dir").arg(self.directory.join(format!("keeper{at}")));
        keeper.args(["--uid", &format!("keeper{at}")]);
        keeper.args(["--pg-listen-address", &node.ip().to_string()]);
        keeper.args(["--pg-port", &node.port().to_string()]);
        keeper.arg("--pg-bin-path").arg(self.installation.bin());
        keeper.args(["--pg-su-username", SUPERUSER.0, "--pg-repl-username", "repl"]);
        keeper.arg("--pg-su-passwordfile").arg(self.directory.join("su"));
        keeper.arg("--pg-repl-passwordfile").arg(self.directory.join("repl"));
        let started = spawn(keeper, &self.directory.join(format!("keeper{at}.log")))?;
        let place = self.keepers.get_mut(at).expect("there are two keepers");
        *place = Some(started);
        Ok(())
    }

    /// Kills the keeper `at` and its PostgreSQL at one stroke, as if the machine had gone.
    pub fn kill(&mut self, at: usize) {
        if let Some(keeper) = self.keepers.get_mut(at) {
            *keeper = None;
        }
    }

    /// Stops the keeper `at` and its PostgreSQL where they stand.
    pub fn freeze(&mut self, at: usize) {
        if let Some(Some(keeper)) = self.keepers.get_mut(at) {
            keeper.freeze();
        }
    }

    /// Lets them go on.
    pub fn thaw(&mut self, at: usize) {
        if let Some(Some(keeper)) = self.keepers.get_mut(at) {
            keeper.thaw();
        }
    }

    /// Everything to and from `keeper0` is swallowed, where it has a network of its own.
    pub fn cut_off(&self) {
        self.set_network(Mode::BlackHole);
    }

    /// Its network works again.
    pub fn reconnect(&self) {
        self.set_network(Mode::Forward);
    }

    fn set_network(&self, mode: Mode) {
        if let Some(network) = &self.network {
            network.postgres.set_mode(mode);
            network.store.set_mode(mode);
        }
    }

    /// `stolonctl failkeeper`: a planned change away from keeper `at`.
    ///
    /// # Errors
    /// [`Error::Failed`] with what it said.
    pub async fn fail_keeper(&self, at: usize) -> Result<()> {
        let mut control = Command::new(&self.programs.control);
        control
            .args(store(self.api.address(), &self.name))
            .args(["failkeeper", &format!("keeper{at}")]);
        let said = during(|| "stolonctl".to_owned(), control.output().await)?;
        if said.status.success() {
            return Ok(());
        }
        let detail = String::from_utf8_lossy(&said.stderr).into_owned();
        Err(Error::Failed { what: "stolonctl failkeeper".to_owned(), detail })
    }

    /// Where the keepers' nodes listen.
    #[must_use]
    pub fn nodes(&self) -> &[SocketAddr; 2] {
        &self.nodes
    }

    /// Which keeper's node is announced to the proxies.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn announced(&self) -> Result<Option<usize>> {
        let data = self.data().await?;
        Ok(keeper_of(&data, &data["proxy"]["spec"]["masterDbUid"]))
    }

    /// Which keeper's node the sentinel has elected.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn elected(&self) -> Result<Option<usize>> {
        let data = self.data().await?;
        Ok(keeper_of(&data, &data["cluster"]["status"]["master"]))
    }

    /// The registered proxies.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn proxies(&self) -> Result<Vec<ProxyInfo>> {
        proxies(&self.api, &format!("stolon/cluster/{}", self.name)).await
    }

    /// The cluster's data; null when there is none.
    ///
    /// # Errors
    /// What Consul says.
    pub async fn data(&self) -> Result<Value> {
        let pair = self.api.get(&format!("stolon/cluster/{}/clusterdata", self.name)).await?;
        Ok(pair.and_then(|pair| serde_json::from_slice(&pair.value).ok()).unwrap_or_default())
    }

    /// Waits until a leader is announced and converged, and `nodes` nodes are healthy and have
    /// done what is asked of them, the standby in synchrony.
    ///
    /// # Errors
    /// [`Error::Late`] after two minutes; what Consul says.
    pub async fn until_whole(&self, nodes: usize) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let data = self.data().await?;
            let master = data["proxy"]["spec"]["masterDbUid"].as_str().unwrap_or_default();
            let dbs = data["dbs"].as_object();
            let whole = dbs.into_iter().flat_map(serde_json::Map::values).filter(|db| {
                db["status"]["healthy"] == true
                    && db["status"]["currentGeneration"] == db["generation"]
            });
            let synchronous = data["dbs"][master]["status"]["synchronousStandbys"].as_array();
            if !master.is_empty()
                && whole.count() == nodes
                && (nodes == 1 || synchronous.is_some_and(|standbys| !standbys.is_empty()))
            {
                return Ok(());
            }
            if Instant::now() >= until {
                let what =
                    format!("a whole Stolon cluster in {}: {data}", self.directory.display());
                return Err(Error::Late { what, within: PATIENCE });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs statements as the superuser on node `at`; the first column of the rows.
    ///
    /// # Errors
    /// [`Error::Sql`] with PostgreSQL's answer, [`Error::Late`] after 20 s.
    ///
    /// # Panics
    /// When there is no such node.
    pub async fn sql(&self, at: usize, database: &str, sql: &str) -> Result<Vec<String>> {
        let node = self.nodes.get(at).expect("there are two nodes");
        let wrong = |source| Error::Sql { what: format!("keeper{at}: {sql}"), source };
        let mut config = Config::new();
        config.host(node.ip().to_string()).port(node.port()).dbname(database);
        config.user(SUPERUSER.0).password(SUPERUSER.1);
        let work = async {
            let (client, connection) = config.connect(NoTls).await.map_err(wrong)?;
            let connection = tokio::spawn(connection);
            let rows = client.simple_query(sql).await.map_err(wrong);
            connection.abort();
            let rows = crate::postgres::rows(&rows?);
            Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?).collect())
        };
        let within = Duration::from_secs(20);
        let late = |_| Error::Late { what: format!("keeper{at}: {sql}"), within };
        tokio::time::timeout(within, work).await.map_err(late)?
    }
}

impl Network {
    async fn start(at: SocketAddr, postgres: SocketAddr, consul: SocketAddr) -> Result<Self> {
        let postgres = Relay::start(at, postgres).await?;
        let store = Relay::start(SocketAddr::new(at.ip(), 0), consul).await?;
        Ok(Self { postgres, store })
    }
}

fn spec(options: StolonOptions) -> Value {
    let StolonOptions { pace, max_connections, blocks_alone, network: _ } = options;
    json!({
        "initMode": "new",
        "sleepInterval": go_duration(pace.sleep),
        "requestTimeout": "2s",
        "failInterval": "3s",
        "convergenceTimeout": "10s",
        "proxyCheckInterval": go_duration(pace.check),
        "proxyTimeout": go_duration(pace.timeout),
        "usePgrewind": true,
        "synchronousReplication": true,
        "minSynchronousStandbys": u8::from(blocks_alone),
        // A base backup begins with a checkpoint, which is else spread over minutes.
        "pgParameters": {
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": max_connections.to_string(),
            "checkpoint_completion_target": "0",
        },
    })
}

/// Whose node a db is.
fn keeper_of(data: &Value, db: &Value) -> Option<usize> {
    let keeper = data["dbs"][db.as_str()?]["spec"]["keeperUID"].as_str()?;
    keeper.strip_prefix("keeper")?.parse().ok()
}

fn store(consul: SocketAddr, name: &str) -> Vec<String> {
    vec![
        format!("--cluster-name={name}"),
        "--store-backend=consul".to_owned(),
        format!("--store-endpoints=http://{consul}"),
        "--store-prefix=stolon/cluster".to_owned(),
    ]
}

fn spawn(mut command: Command, log: &Path) -> Result<Process> {
    let what = || log.display().to_string();
    let file = during(what, fs::OpenOptions::new().create(true).append(true).open(log))?;
    let errors = during(what, file.try_clone())?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    Process::spawn(&mut command.into_std())
}
