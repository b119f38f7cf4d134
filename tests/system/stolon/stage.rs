//! What these tests stand on: a Consul, a cluster, a sentinel, and Everline in front.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use everline_lab::consul::{Agent, Kind, find};
use everline_lab::everline::{Everline, Launch};
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Node};
use everline_lab::stolon::{Pace, ProxyInfo, Sentinel, Written};
use everline_lab::{Error, Result};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::scene;

/// The name of the cluster in Consul.
pub(super) const NAME: &str = "lab";
/// A hold that outlasts every test.
pub(super) const HOLD: [&str; 2] = ["--failover-hold", "5min"];
/// Longest time for one step of a test.
pub(super) const STEP_MAX: Duration = Duration::from_secs(20);

/// Runs a test once Consul is there: building it is not on the test's time.
pub(super) fn run<F: Future<Output = Result<()>>>(test: F) {
    run_within(Duration::from_secs(150), test);
}

/// As [`run`], with a deadline of its own.
pub(super) fn run_within<F: Future<Output = Result<()>>>(test_max: Duration, test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // The test says itself that it is skipped without.
    let _ = runtime.expect("a runtime").block_on(find());
    scene::run_within(test_max, test);
}

/// Everline behind a sentinel of the lab's.
pub(super) struct Stage {
    pub(super) everline: Everline,
    pub(super) sentinel: Sentinel,
    pub(super) cluster: Cluster,
    pub(super) agent: Agent,
}

impl Stage {
    /// A synchronous standby, a quick sentinel, an Everline that holds for long and is enabled.
    pub(super) async fn start() -> Result<Self> {
        Self::with(Kind::Forgetful, ClusterOptions::default()).await
    }

    /// As [`Stage::start`], with a Consul and a cluster of their own kind.
    pub(super) async fn with(kind: Kind, options: ClusterOptions) -> Result<Self> {
        let agent = Agent::start(kind).await?;
        let consul = agent.address();
        Self::over(agent, consul, options).await
    }

    /// As [`Stage::with`], Everline reaching Consul at `consul`.
    pub(super) async fn over(
        agent: Agent,
        consul: SocketAddr,
        options: ClusterOptions,
    ) -> Result<Self> {
        if !fs::exists("/proc/self/net/tcp").is_ok_and(|exists| exists) {
            return Err(Error::Skip("no /proc that shows a process's sockets".to_owned()));
        }
        let (cluster, sentinel) = cluster_and_sentinel(&agent, options).await?;
        Self::of(agent, consul, cluster, sentinel).await
    }

    /// Everline in front of all that, reaching Consul at `consul`.
    pub(super) async fn of(
        agent: Agent,
        consul: SocketAddr,
        cluster: Cluster,
        sentinel: Sentinel,
    ) -> Result<Self> {
        let everline = launch(consul, NAME).arguments(HOLD).start().await?;
        let stage = Self { everline, sentinel, cluster, agent };
        stage.until_available().await;
        stage.sql("CREATE TABLE t (n int8, at timestamptz DEFAULT clock_timestamp())").await?;
        Ok(stage)
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.everline.address()
    }

    /// Where node `at` is.
    pub(super) fn node(&self, at: usize) -> SocketAddr {
        self.cluster.node(at).address()
    }

    /// Runs statements on the primary as the application's role.
    pub(super) async fn sql(&self, sql: &str) -> Result<()> {
        self.cluster.primary().sql(&format!("SET ROLE {APP_USER}; {sql}")).await.map(drop)
    }

    pub(super) async fn status(&self) -> Value {
        scene::status(&self.everline).await
    }

    pub(super) async fn until_available(&self) {
        scene::until(&self.everline, "leader", scene::is_available).await;
    }

    pub(super) async fn until_unavailable(&self) {
        let is_not = |status: &Value| !scene::is_available(status);
        scene::until(&self.everline, "end of service", is_not).await;
    }

    /// The sockets that Everline has at node `at`.
    pub(super) fn sockets(&self, at: usize) -> Sockets {
        Sockets::to(self.everline.id(), self.node(at))
    }

    /// Waits until the one proxy has acknowledged `written`; at that moment none of the `old`
    /// sockets is open. Returns when it was seen.
    pub(super) async fn acknowledged(&self, written: &Written, old: &Sockets) -> Result<Instant> {
        let ready = |proxies: &[ProxyInfo]| {
            proxies.iter().all(|proxy| proxy.generation == written.generation)
        };
        self.sentinel.proxies_until(STEP_MAX, ready).await?;
        assert_eq!(old.open(), 0, "acknowledged with connections to the old leader");
        Ok(Instant::now())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        scene::keep_log(&self.everline);
    }
}

/// A cluster, and its data in Consul.
pub(super) async fn cluster_and_sentinel(
    agent: &Agent,
    options: ClusterOptions,
) -> Result<(Cluster, Sentinel)> {
    let cluster = Cluster::start(options).await?;
    let nodes: Vec<SocketAddr> = cluster.nodes().iter().map(Node::address).collect();
    let pace = Pace { sleep: Duration::from_millis(500), ..Pace::default() };
    let sentinel = Sentinel::start(agent.api(), NAME, &nodes, pace).await?;
    Ok((cluster, sentinel))
}

/// Everline for the cluster `name` in the Consul at `consul`, not started yet.
pub(super) fn launch(consul: SocketAddr, name: &str) -> Launch {
    scene::launch(&format!(
        "stolon+consul+http://{consul}/{name}\
         ?pguser={APP_USER}&pgpassword={APP_PASSWORD}&pgdatabase={APP_DATABASE}"
    ))
}

/// The sockets of a process that were connected to one address when it was looked at.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    process: u32,
    inodes: Vec<String>,
}

impl Sockets {
    /// Those connected to `to` at this moment, as the kernel sees it.
    pub(super) fn to(process: u32, to: SocketAddr) -> Self {
        let IpAddr::V4(ip) = to.ip() else { panic!("the lab's nodes have IPv4 addresses") };
        let remote = format!(" {:08X}:{:04X} ", u32::from_ne_bytes(ip.octets()), to.port());
        let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap_or_default();
        let lines = table.lines().filter(|line| line.contains(&remote));
        let inodes = lines.filter_map(|line| {
            line.split_ascii_whitespace().nth(9).map(|inode| format!("socket:[{inode}]"))
        });
        let mut sockets = Self { process, inodes: inodes.collect() };
        sockets.inodes = sockets.still();
        sockets
    }

    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.inodes.len()
    }

    /// How many of them the process still holds. Quick, since it asks for nothing but the
    /// process's files.
    pub(super) fn open(&self) -> usize {
        self.still().len()
    }

    fn still(&self) -> Vec<String> {
        let links = fs::read_dir(format!("/proc/{}/fd", self.process)).into_iter().flatten();
        let links = links.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let links = links.map(|link| link.to_string_lossy().into_owned());
        links.filter(|link| self.inodes.contains(link)).collect()
    }

    /// Looks every millisecond from here on and tells when none is open any more.
    pub(super) fn closed(&self) -> JoinHandle<Instant> {
        let sockets = self.clone();
        tokio::task::spawn_blocking(move || {
            let until = Instant::now() + STEP_MAX;
            while sockets.open() > 0 {
                assert!(Instant::now() < until, "open after {STEP_MAX:?}: {sockets:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
            Instant::now()
        })
    }
}
