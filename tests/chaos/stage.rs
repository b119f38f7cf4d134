//! The hosts and what runs on them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use everline_lab::consul::{Agent, Kind};
use everline_lab::dns::Dns;
use everline_lab::everline::{Everline, Launch};
use everline_lab::network::{Host, Network};
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Node};
use everline_lab::stolon::{Pace, Sentinel};
use everline_lab::{Error, Result};

/// Most backend connections of Everline, fewer than there are clients.
const BACKENDS_MAX: u16 = 12;
/// `max_connections` of the nodes.
const CONNECTIONS_MAX: u16 = 100;
/// Size of a node's disk: a data directory, and some room.
const DISK_MEBIBYTES: u32 = 192;
/// The name that leads to the leader.
const NAME: &str = "db.example.test";
/// The name of the cluster in Consul.
const CLUSTER: &str = "lab";
/// Longest time until a sentinel announces whom it has elected: more than twice the time after
/// which it counts a proxy that it does not hear as gone.
const ANNOUNCED_MAX: Duration = Duration::from_secs(30);

/// Who says which node leads.
#[derive(Debug)]
pub(crate) enum Guide {
    /// A name in the DNS of the lab.
    Name(Dns),
    /// A sentinel by way of a Consul on a host of its own.
    Consul { agent: Agent, host: Host, sentinel: Sentinel },
}

/// Everything. What runs on the hosts ends before they do.
#[derive(Debug)]
pub(crate) struct Stage {
    everline: Option<Everline>,
    logs: String,
    pub(crate) guide: Guide,
    pub(crate) cluster: Cluster,
    /// The hosts of the nodes, in their order.
    nodes: Vec<Host>,
    pub(crate) everline_host: Host,
    pub(crate) network: Network,
}

impl Stage {
    /// Everline finds the leader by its name.
    pub(crate) async fn named() -> Result<Self> {
        let mut network = Network::start().await?;
        let dns = Dns::start_at(network.address()).await?;
        let (cluster, nodes) = cluster(&mut network).await?;
        let everline_host = network.host("everline").await?;
        dns.set(NAME, &[cluster.primary().address().ip()]);
        Self::of(Guide::Name(dns), cluster, nodes, everline_host, network).await
    }

    /// Consul tells Everline who leads.
    pub(crate) async fn elected() -> Result<Self> {
        let mut network = Network::start().await?;
        let host = network.host("consul").await?;
        let agent = Agent::start_on(Kind::Forgetful, &host).await?;
        let (cluster, nodes) = cluster(&mut network).await?;
        let everline_host = network.host("everline").await?;
        let addresses: Vec<SocketAddr> = cluster.nodes().iter().map(Node::address).collect();
        let pace = Pace { sleep: Duration::from_millis(500), ..Pace::default() };
        let sentinel = Sentinel::start(agent.api(), CLUSTER, &addresses, pace).await?;
        let guide = Guide::Consul { agent, host, sentinel };
        Self::of(guide, cluster, nodes, everline_host, network).await
    }

    async fn of(
        guide: Guide,
        cluster: Cluster,
        nodes: Vec<Host>,
        everline_host: Host,
        network: Network,
    ) -> Result<Self> {
        let logs = String::new();
        let mut stage =
            Self { everline: None, logs, guide, cluster, nodes, everline_host, network };
        stage.start_everline().await?;
        Ok(stage)
    }

    /// Starts Everline, where it was.
    pub(crate) async fn start_everline(&mut self) -> Result<()> {
        let port = self.cluster.port();
        let launch = Launch::new(Path::new(env!("CARGO_BIN_EXE_everline")));
        let launch = launch
            .on(&self.everline_host)
            .arguments(["--heartbeat-interval", "300ms", "--heartbeat-timeout", "1s"])
            .arguments(["--max-backend-connections", &BACKENDS_MAX.to_string()])
            .arguments(["--log", "info,everline=debug"]);
        let launch = match &self.guide {
            Guide::Name(dns) => launch
                .arguments(["--enable-backend-adaptive-ha", "--backend-dsn"])
                .argument(format!(
                    "postgres://{APP_USER}:{APP_PASSWORD}@{NAME}:{port}/{APP_DATABASE}"
                ))
                .arguments(["--resolver", &dns.address().to_string()]),
            Guide::Consul { agent, .. } => launch.argument("--backend-dsn").argument(format!(
                "stolon+consul+http://{}/{CLUSTER}\
                 ?pguser={APP_USER}&pgpassword={APP_PASSWORD}&pgdatabase={APP_DATABASE}",
                agent.address()
            )),
        };
        self.everline = Some(launch.start().await?);
        Ok(())
    }

    /// Kills Everline where it stands.
    pub(crate) fn kill_everline(&mut self) {
        if let Some(everline) = self.everline.take() {
            self.logs.push_str(&everline.log());
        }
    }

    /// Everline, between two deaths.
    pub(crate) fn everline(&self) -> &Everline {
        self.everline.as_ref().expect("it runs between two faults")
    }

    /// What every Everline has logged so far.
    pub(crate) fn log(&self) -> String {
        let present = self.everline.as_ref().map(Everline::log).unwrap_or_default();
        format!("{}{present}", self.logs)
    }

    /// The host of node `at`.
    pub(crate) fn host(&self, at: usize) -> &Host {
        &self.nodes[at]
    }

    /// The node that does not lead.
    pub(crate) fn other(&self) -> usize {
        1 - self.cluster.primary_index()
    }

    /// An address at which there is no host.
    pub(crate) fn nobody(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(self.network.address().to_bits() + 249))
    }

    /// Has the name lead to these places, where there is a name.
    pub(crate) fn lead_to(&self, places: &[IpAddr]) {
        match &self.guide {
            Guide::Name(dns) => dns.set(NAME, places),
            Guide::Consul { .. } => {}
        }
    }

    /// Where node `at` is.
    pub(crate) fn ip(&self, at: usize) -> IpAddr {
        IpAddr::V4(self.host(at).address())
    }

    /// The other node becomes the leader, and everybody may know.
    pub(crate) async fn succeed(&mut self) -> Result<()> {
        let successor = self.other();
        if let Guide::Consul { sentinel, .. } = &self.guide {
            sentinel.elect(successor).await?;
        }
        self.cluster.promote(successor).await?;
        if let Guide::Consul { sentinel, .. } = &self.guide {
            sentinel.announced(ANNOUNCED_MAX).await?;
        }
        Ok(())
    }

    /// Makes the leader of before a synchronous standby again.
    pub(crate) async fn rebuild(&mut self) -> Result<()> {
        let old = self.other();
        self.cluster.node(old).free_disk();
        self.cluster.rejoin(old).await?;
        if let Guide::Consul { sentinel, .. } = &self.guide {
            sentinel.resync().await?;
        }
        Ok(())
    }

    /// The host and the agent of Consul.
    pub(crate) fn consul(&mut self) -> Result<(&Host, &mut Agent)> {
        match &mut self.guide {
            Guide::Consul { agent, host, .. } => Ok((host, agent)),
            Guide::Name(_) => Err(Error::Failed {
                what: "a fault of Consul".to_owned(),
                detail: "there is none in this run".to_owned(),
            }),
        }
    }
}

async fn cluster(network: &mut Network) -> Result<(Cluster, Vec<Host>)> {
    let hosts = vec![network.host("node1").await?, network.host("node2").await?];
    let settings = [("wal_keep_size", "16MB"), ("max_wal_size", "32MB"), ("min_wal_size", "4MB")];
    let options = ClusterOptions {
        max_connections: CONNECTIONS_MAX,
        hosts: hosts.clone(),
        disk_mebibytes: Some(DISK_MEBIBYTES),
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..ClusterOptions::default()
    };
    Ok((Cluster::start(options).await?, hosts))
}
