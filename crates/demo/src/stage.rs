//! What a run happens on: the cluster, the name, Everline, and the hand that fails and promotes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use everline_lab::dns::Dns;
use everline_lab::everline::{Everline, Launch};
use everline_lab::faults::{Mode, Relay};
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Stop};
use everline_lab::{Error, Result};

use crate::args::{Args, Fault};
use crate::ledger::{self, Door};

/// The name that moves.
pub(crate) const NAME: &str = "db.demo";
/// First argument with which this program is Everline.
pub(crate) const SERVER: &str = "everline-server";
/// Where the network in front of the first leader is, when it shall fail.
const IN_FRONT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
/// Connections that PostgreSQL keeps free for the superuser and for replication.
const RESERVED: u16 = 20;

/// Everything that runs. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    /// `None` in the comparison without Everline. First, so that it ends first.
    pub(crate) everline: Option<Everline>,
    relay: Option<Relay>,
    pub(crate) dns: Dns,
    pub(crate) cluster: Cluster,
    fault: Fault,
}

impl Stage {
    /// Sets everything up; `say` hears what is being done.
    ///
    /// # Errors
    /// What could not be had, or did not start.
    pub(crate) async fn set_up(args: &Args, fault: Fault, say: impl Fn(&str)) -> Result<Self> {
        say("looking for PostgreSQL");
        let connections = args.clients.saturating_add(RESERVED).max(100);
        let options = ClusterOptions { max_connections: connections, ..ClusterOptions::default() };
        let cluster = Cluster::start_saying(options, &say).await?;
        cluster.primary().sql(ledger::TABLE).await?;
        let leader = cluster.primary().address();
        let relay = match fault {
            Fault::Blackhole => {
                say("putting a network in front of the leader");
                Some(Relay::start(SocketAddr::new(IN_FRONT, cluster.port()), leader).await?)
            }
            Fault::Kill | Fault::Freeze | Fault::Switchover => None,
        };
        let dns = Dns::start().await?;
        let address = relay.as_ref().map_or(leader, Relay::address);
        dns.set(NAME, &[address.ip()]);
        let mut stage = Self { everline: None, relay, dns, cluster, fault };
        if !args.without {
            say("starting Everline");
            stage.everline = Some(stage.launch(args)?.start().await?);
        }
        Ok(stage)
    }

    fn launch(&self, args: &Args) -> Result<Launch> {
        let program = std::env::current_exe()
            .map_err(|source| Error::Io { what: "finding this program".to_owned(), source })?;
        let port = self.cluster.port();
        let dsn = format!("postgres://{APP_USER}:{APP_PASSWORD}@{NAME}:{port}/{APP_DATABASE}");
        Ok(Launch::new(Path::new(&program))
            .argument(SERVER)
            .arguments(["--backend-dsn", &dsn])
            .argument("--enable-backend-adaptive-ha")
            .arguments(["--resolver", &self.dns.address().to_string()])
            .arguments(["--failover-hold", &humantime::format_duration(args.hold).to_string()]))
    }

    /// Where clients connect.
    pub(crate) fn door(&self) -> Door {
        match &self.everline {
            Some(everline) => Door::Everline(everline.address()),
            None => Door::Name {
                server: self.dns.address(),
                name: NAME.to_owned(),
                port: self.cluster.port(),
            },
        }
    }

    /// Where the name points at first.
    pub(crate) fn leader_name(&self) -> IpAddr {
        let leader = self.cluster.primary().address();
        self.relay.as_ref().map_or(leader, Relay::address).ip()
    }

    /// Name and address of each node.
    pub(crate) fn nodes(&self) -> Vec<(String, SocketAddr)> {
        let nodes = self.cluster.nodes().iter();
        nodes.map(|node| (node.name().to_owned(), node.address())).collect()
    }

    /// The leader fails. A shutdown has ended when this returns.
    ///
    /// # Errors
    /// [`Error::Late`] when a shutdown does not end.
    pub(crate) async fn fail(&mut self) -> Result<()> {
        let leader = self.cluster.primary_mut();
        match (self.fault, &self.relay) {
            (Fault::Kill, _) => leader.kill9(),
            (Fault::Freeze, _) => leader.freeze(),
            (Fault::Blackhole, Some(relay)) => relay.set_mode(Mode::BlackHole),
            (Fault::Blackhole, None) => {}
            (Fault::Switchover, _) => drop(leader.stop(Stop::Fast).await?),
        }
        Ok(())
    }

    /// The standby becomes primary and accepts writes.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn promote(&mut self) -> Result<()> {
        self.cluster.promote(1).await
    }

    /// The name moves to the new primary.
    pub(crate) fn move_name(&self) -> IpAddr {
        let address = self.cluster.primary().address().ip();
        self.dns.set(NAME, &[address]);
        address
    }

    /// The old leader comes back: as the writable primary that it was after an accident, as a
    /// standby after a switchover.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn old_leader_returns(&mut self) -> Result<()> {
        match (self.fault, &self.relay) {
            (Fault::Kill, _) => self.cluster.start_as_old_primary(0).await?,
            (Fault::Freeze, _) => self.cluster.node_mut(0).thaw(),
            (Fault::Blackhole, Some(relay)) => relay.set_mode(Mode::Forward),
            (Fault::Blackhole, None) => {}
            (Fault::Switchover, _) => self.cluster.rejoin(0).await?,
        }
        Ok(())
    }

    /// How often each id is in the ledger of the leader.
    ///
    /// # Errors
    /// What the leader says.
    pub(crate) async fn ledger(&self) -> Result<Vec<(u64, u64)>> {
        let rows =
            self.cluster.primary().sql("SELECT id, count(*) FROM ledger GROUP BY id").await?;
        let number = |value: Option<&Option<String>>| value?.as_ref()?.parse().ok();
        let pair = |row: &Vec<Option<String>>| Some((number(row.first())?, number(row.get(1))?));
        Ok(rows.iter().filter_map(pair).collect())
    }
}

/// What the timeline says about each step.
pub(crate) struct Words {
    /// The fault.
    pub(crate) fault: &'static str,
    /// State of the old leader from then on.
    pub(crate) state: &'static str,
    /// Its return.
    pub(crate) back: &'static str,
    /// Its state from then on.
    pub(crate) back_state: &'static str,
}

/// The words for a fault.
pub(crate) fn words(fault: Fault) -> Words {
    match fault {
        Fault::Kill => Words {
            fault: "kill -9 of the leader, all its processes at one stroke",
            state: "dead",
            back: "the old leader is started again, writable on its timeline",
            back_state: "writable, but not the leader",
        },
        Fault::Freeze => Words {
            fault: "SIGSTOP: the leader keeps its connections, answers nothing",
            state: "frozen",
            back: "the old leader thaws, writable on its timeline",
            back_state: "writable, but not the leader",
        },
        Fault::Blackhole => Words {
            fault: "the network to the leader swallows everything",
            state: "out of reach",
            back: "the network to the old leader works again",
            back_state: "writable, but not the leader",
        },
        Fault::Switchover => Words {
            fault: "planned switchover: the leader shuts down (fast)",
            state: "shut down",
            back: "the old leader has come back as a standby",
            back_state: "standby",
        },
    }
}
