//! A primary and its standbys.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::disk::Disk;
use super::node::{Node, rows};
use super::{APP_DATABASE, Installation, SUPERUSER, Stop, template};
use crate::network::Host;
use crate::{Error, Result, during, ports};

/// What a cluster shall be like.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many standbys, 0 to 3.
    pub standbys: u8,
    /// Whether a commit waits until a standby has it on disk.
    pub synchronous: bool,
    /// `max_connections` of every node; 3 of them are reserved for the superuser.
    pub max_connections: u16,
    /// Address of the first node; each further one has the next higher.
    pub first_address: Ipv4Addr,
    /// Further settings of every node, stronger than the lab's.
    pub settings: Vec<(String, String)>,
    /// Files put into every data directory, name and content, for their owner alone: certificates.
    pub files: Vec<(String, String)>,
    /// Lines put in front of `pg_hba.conf`.
    pub hba: String,
    /// Whether to run `initdb` anew, for a system identifier that no other cluster has.
    pub own_identifier: bool,
    /// Hosts of their own for the nodes, which then have their addresses; none for this machine.
    pub hosts: Vec<Host>,
    /// Size of each node's disk in MiB, when it shall have one of its own.
    pub disk_mebibytes: Option<u32>,
}

impl Default for ClusterOptions {
    /// One synchronous standby, 100 connections, nodes at 127.0.0.2 and 127.0.0.3.
    fn default() -> Self {
        Self {
            standbys: 1,
            synchronous: true,
            max_connections: 100,
            first_address: Ipv4Addr::new(127, 0, 0, 2),
            settings: Vec::new(),
            files: Vec::new(),
            hba: String::new(),
            own_identifier: false,
            hosts: Vec::new(),
            disk_mebibytes: None,
        }
    }
}

impl ClusterOptions {
    /// A primary alone.
    #[must_use]
    pub fn single() -> Self {
        Self { standbys: 0, synchronous: false, ..Self::default() }
    }
}

/// A primary with its standbys, all listening on one port of different loopback addresses, so that
/// one name can move between them.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    nodes: Vec<Node>,
    primary: usize,
    port: u16,
}

impl Cluster {
    /// Sets up and starts a cluster; with `synchronous`, the standby has caught up.
    ///
    /// # Errors
    /// [`Error::Skip`] without PostgreSQL or loopback addresses; what the nodes say otherwise.
    pub async fn start(options: ClusterOptions) -> Result<Self> {
        Self::start_saying(options, |_| ()).await
    }

    /// As [`Cluster::start`]; `say` hears one line before each thing that takes time.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub async fn start_saying(options: ClusterOptions, say: impl Fn(&str)) -> Result<Self> {
        let installation = Installation::find_saying(&say).await?;
        say(&format!("initdb of PostgreSQL {}", installation.version()));
        let own;
        let source = if options.own_identifier {
            own = template::make(installation).await?;
            own.as_path()
        } else {
            template::shared(installation).await?
        };
        let addresses = addresses(&options);
        let port = if options.hosts.is_empty() { ports::free(&addresses)? } else { PORT };
        let mut cluster = Self { options, nodes: Vec::new(), primary: 0, port };
        for (at, address) in addresses.into_iter().enumerate() {
            let name = format!("node{}", at + 1);
            say(&if at == 0 {
                "starting the primary".to_owned()
            } else {
                format!("starting standby {name}")
            });
            let directory = template::new_directory(installation, "node").await?;
            let disk = match cluster.options.disk_mebibytes {
                Some(size) => Some(Disk::mount(installation, &directory, size).await?),
                None => None,
            };
            let address = SocketAddr::new(address, port);
            let mut node = Node::new(installation, directory, &name, address);
            node.disk = disk;
            node.host = cluster.options.hosts.get(at).cloned();
            template::copy(installation, source, &node.data()).await?;
            cluster.nodes.push(node);
            cluster.configure(at)?;
            cluster.node_mut(at).start().await?;
        }
        if cluster.options.synchronous {
            say("waiting until the standby is synchronous");
            cluster.require_standbys().await?;
        }
        Ok(cluster)
    }

    /// The port on which all nodes listen.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The nodes in the order of their addresses.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Node `at`, from 0.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn node(&self, at: usize) -> &Node {
        self.nodes.get(at).expect("the cluster was started with this node")
    }

    /// Node `at`, from 0, to be started, stopped and so on.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node_mut(&mut self, at: usize) -> &mut Node {
        self.nodes.get_mut(at).expect("the cluster was started with this node")
    }

    /// Which node leads, from 0: the first one, until [`Cluster::promote`].
    #[must_use]
    pub fn primary_index(&self) -> usize {
        self.primary
    }

    /// The node that leads.
    #[must_use]
    pub fn primary(&self) -> &Node {
        self.node(self.primary)
    }

    /// The node that leads, to be stopped, killed or frozen.
    pub fn primary_mut(&mut self) -> &mut Node {
        self.node_mut(self.primary)
    }

    /// Promotes node `at` and waits until it accepts writes. What the old primary does is not
    /// touched: kill, freeze or stop it first, or have two.
    ///
    /// # Errors
    /// See [`Node::promote`].
    pub async fn promote(&mut self, at: usize) -> Result<()> {
        self.node_mut(at).promote().await?;
        self.primary = at;
        Ok(())
    }

    /// Starts node `at` again as the primary that it was, on its old timeline and accepting writes
    /// without any standby: the split brain that must win nothing.
    ///
    /// # Errors
    /// See [`Node::start`].
    pub async fn start_as_old_primary(&mut self, at: usize) -> Result<()> {
        let settings = self.settings(at, false, false);
        let node = self.node_mut(at);
        node.configure(&settings)?;
        node.installation.write(&node.data().join("postgresql.auto.conf"), "")?;
        let _ = std::fs::remove_file(node.data().join("standby.signal"));
        node.start().await
    }

    /// Has node `at`, whatever its state, become a standby of the primary: a copy of it, taken
    /// while it works. In a synchronous cluster commits wait for it from then on.
    ///
    /// # Errors
    /// What the nodes say.
    pub async fn rejoin(&mut self, at: usize) -> Result<()> {
        self.node_mut(at).kill9();
        let data = self.node(at).data();
        let removed = std::fs::remove_dir_all(&data);
        during(|| format!("removing {}", data.display()), removed)?;
        self.backup(&data).await?;
        self.configure(at)?;
        self.node_mut(at).start().await?;
        if self.options.synchronous { self.require_standbys().await } else { Ok(()) }
    }

    /// Copies the running primary's data directory (PostgreSQL manual, "Making a Base Backup Using
    /// the Low Level API"), since not every installation has `pg_basebackup`.
    async fn backup(&self, to: &Path) -> Result<()> {
        let primary = self.primary();
        let installation = &primary.installation;
        let (start, stop) = if installation.major() >= 15 {
            ("pg_backup_start('lab', true)", "pg_backup_stop(false)")
        } else {
            ("pg_start_backup('lab', true, false)", "pg_stop_backup(false, false)")
        };
        let wrong = |source| Error::Sql { what: "taking a backup".to_owned(), source };
        let (client, _task) = primary.connect().await?;
        client.simple_query(&format!("SELECT {start}")).await.map_err(wrong)?;
        let mut cp = installation.as_owner("cp");
        cp.args(["-R", "-p"]).arg(primary.data()).arg(to);
        // Files that vanish while they are copied are no loss: what is missing is in the WAL.
        let copied = cp.stderr(std::process::Stdio::null()).status().await;
        during(|| "copying the primary".to_owned(), copied)?;
        let label = format!("SELECT labelfile FROM {stop}");
        let label = rows(&client.simple_query(&label).await.map_err(wrong)?);
        let label = label.into_iter().flatten().next().flatten().unwrap_or_default();
        let _ = std::fs::remove_file(to.join("postmaster.pid"));
        let _ = std::fs::remove_file(to.join("postmaster.opts"));
        installation.write(&to.join("backup_label"), &label)
    }

    /// Has commits on the primary wait for its standbys, and waits until one is there.
    async fn require_standbys(&mut self) -> Result<()> {
        let names: Vec<String> =
            self.nodes.iter().map(|node| format!("\"{}\"", node.name())).collect();
        let required = format!("ANY 1 ({})", names.join(", "));
        let primary = self.primary_mut();
        primary.set("synchronous_standby_names", &required).await?;
        let there = |rows: &[Vec<Option<String>>]| {
            rows.iter().flatten().flatten().any(|state| state == "sync" || state == "quorum")
        };
        // A commit of before these settings was not waited for: a standby that has not got it yet
        // must not be promoted.
        let written = primary.value("SELECT pg_current_wal_lsn()").await?;
        let asked = format!(
            "SELECT sync_state FROM pg_stat_replication \
             WHERE state = 'streaming' AND flush_lsn >= '{written}'"
        );
        primary.until("a synchronous standby", &asked, there).await
    }

    /// Makes node `at` what it shall be on a copied data directory: primary or standby.
    fn configure(&self, at: usize) -> Result<()> {
        let node = self.node(at);
        let data = node.data();
        node.configure(&self.settings(at, at != self.primary, true))?;
        for (name, content) in &self.options.files {
            node.installation.write(&data.join(name), content)?;
        }
        let hba = data.join("pg_hba.conf");
        let lines = during(|| format!("reading {}", hba.display()), std::fs::read_to_string(&hba))?;
        let mut first = self.options.hba.clone();
        if !self.options.hosts.is_empty() {
            first.push_str(HBA_OF_HOSTS);
        }
        if !lines.starts_with(&first) {
            node.installation.write(&hba, &format!("{first}\n{lines}"))?;
        }
        // A copy has what its original said with ALTER SYSTEM.
        node.installation.write(&data.join("postgresql.auto.conf"), "")?;
        if at != self.primary {
            node.installation.write(&data.join("standby.signal"), "")?;
        }
        Ok(())
    }

    fn settings(&self, at: usize, standby: bool, follow: bool) -> String {
        let node = self.node(at);
        let sockets = node.socket_directory().display();
        let mut text = format!(
            "listen_addresses = '{}'\nport = {}\nunix_socket_directories = '{sockets}'\n\
             max_connections = {}\n{COMMON}",
            node.address().ip(),
            self.port,
            self.options.max_connections,
        );
        let mut add = |name: &str, value: &str| {
            let value = value.replace('\'', "''");
            writeln!(text, "{name} = '{value}'").expect("a String takes all that is written");
        };
        add("cluster_name", node.name());
        if !follow {
            add("synchronous_standby_names", "");
        }
        if standby {
            let primary = self.primary().address();
            add(
                "primary_conninfo",
                &format!(
                    "host={} port={} user={SUPERUSER} dbname={APP_DATABASE} application_name={}",
                    primary.ip(),
                    primary.port(),
                    node.name(),
                ),
            );
        }
        for (name, value) in &self.options.settings {
            add(name, value);
        }
        text
    }

    /// Stops all nodes, standbys last, so that everything the primary wrote has arrived.
    ///
    /// # Errors
    /// See [`Node::stop`].
    pub async fn stop(&mut self) -> Result<()> {
        self.primary_mut().stop(Stop::Fast).await?;
        for node in &mut self.nodes {
            node.stop(Stop::Fast).await?;
        }
        Ok(())
    }
}

/// What a test wants of every node: small, quick, and quick to notice.
const COMMON: &str = "\
fsync = off
full_page_writes = off
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
wal_level = replica
max_wal_senders = 10
wal_keep_size = 256MB
max_prepared_transactions = 10
hot_standby = on
wal_receiver_timeout = 10s
wal_sender_timeout = 10s
wal_retrieve_retry_interval = 100ms
wal_receiver_status_interval = 1s
log_line_prefix = '%m [%p] %q%u@%d '
";

/// Where nodes listen that have hosts of their own.
const PORT: u16 = 5432;
/// Who may log in there from other hosts.
const HBA_OF_HOSTS: &str = "\
host all,replication postgres samenet trust
host all all samenet scram-sha-256
";

fn addresses(options: &ClusterOptions) -> Vec<IpAddr> {
    if !options.hosts.is_empty() {
        return options.hosts.iter().map(|host| IpAddr::V4(host.address())).collect();
    }
    let first = options.first_address.to_bits();
    (0..=u32::from(options.standbys))
        .map(|at| IpAddr::V4(Ipv4Addr::from_bits(first.saturating_add(at))))
        .collect()
}
