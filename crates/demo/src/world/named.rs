//! A primary, a synchronous standby, and a name that moves: the demo is the HA manager.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use everline_lab::Result;
use everline_lab::dns::Dns;
use everline_lab::faults::{Mode, Relay};
use everline_lab::ledger::{Door, TABLE};
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Stop};
use tokio::time::{Instant, sleep};

use super::{IN_FRONT, LEDGER, entry, set_state};
use crate::args::Fault;
use crate::board::Board;

/// The name that moves.
pub(super) const NAME: &str = "db.demo";

/// See the module.
#[derive(Debug)]
pub(crate) struct Named {
    relay: Option<Relay>,
    dns: Dns,
    cluster: Cluster,
    fault: Fault,
}

impl Named {
    pub(super) async fn set_up(
        max_connections: u16,
        fault: Fault,
        say: &impl Fn(&str),
    ) -> Result<Self> {
        let (cluster, relay) = cluster(max_connections, fault, say).await?;
        let dns = Dns::start().await?;
        let named = Self { relay, dns, cluster, fault };
        named.dns.set(NAME, &[named.leader_name()]);
        Ok(named)
    }

    pub(super) const fn fault(&self) -> Fault {
        self.fault
    }

    pub(super) fn everline_arguments(&self) -> Vec<String> {
        let port = self.cluster.port();
        let dsn = format!("postgres://{APP_USER}:{APP_PASSWORD}@{NAME}:{port}/{APP_DATABASE}");
        let resolver = self.dns.address().to_string();
        let words =
            ["--backend-dsn", &dsn, "--enable-backend-adaptive-ha", "--resolver", &resolver];
        words.map(str::to_owned).to_vec()
    }

    pub(super) fn door(&self) -> Door {
        let (server, port) = (self.dns.address(), self.cluster.port());
        Door::Name { server, name: NAME.to_owned(), port }
    }

    /// Where the name points at first.
    pub(super) fn leader_name(&self) -> IpAddr {
        let leader = self.cluster.primary().address();
        self.relay.as_ref().map_or(leader, Relay::address).ip()
    }

    pub(super) fn nodes(&self) -> Vec<(String, SocketAddr)> {
        nodes(&self.cluster)
    }

    /// A shutdown has ended when this returns.
    pub(super) async fn fail(&mut self) -> Result<()> {
        match self.fault {
            Fault::Kill | Fault::Freeze | Fault::Blackhole => {
                strike(self.fault, &mut self.cluster, self.relay.as_ref());
            }
            Fault::Switchover => drop(self.cluster.primary_mut().stop(Stop::Fast).await?),
        }
        Ok(())
    }

    pub(super) async fn hand_over(&mut self, after: Duration, board: &Board) -> Result<()> {
        sleep(after).await;
        self.cluster.promote(1).await?;
        board.event('▲', "the standby is promoted and accepts writes");
        set_state(board, 1, "primary: the leader");
        let address = self.cluster.primary().address().ip();
        self.dns.set(NAME, &[address]);
        board.state().ready = Some(Instant::now());
        board.event('→', format!("{NAME} moves to {address}"));
        board.state().participants.guide.1 = format!("→ {address}");
        Ok(())
    }

    /// As the writable primary that it was after an accident, as a standby after a switchover.
    pub(super) async fn old_leader_returns(&mut self) -> Result<()> {
        returns(self.fault, &mut self.cluster, self.relay.as_ref()).await
    }

    pub(super) async fn ledger(&self) -> Result<Vec<(u64, u64)>> {
        ledger(&self.cluster).await
    }
}

/// A cluster of two with the ledger's table, and the network in front of its leader where that
/// shall fail.
pub(super) async fn cluster(
    max_connections: u16,
    fault: Fault,
    say: &impl Fn(&str),
) -> Result<(Cluster, Option<Relay>)> {
    let options = ClusterOptions { max_connections, ..ClusterOptions::default() };
    let cluster = Cluster::start_saying(options, say).await?;
    cluster.primary().sql(TABLE).await?;
    let relay = match fault {
        Fault::Blackhole => {
            say("putting a network in front of the leader");
            let in_front = SocketAddr::new(IN_FRONT, cluster.port());
            Some(Relay::start(in_front, cluster.primary().address()).await?)
        }
        Fault::Kill | Fault::Freeze | Fault::Switchover => None,
    };
    Ok((cluster, relay))
}

pub(super) fn nodes(cluster: &Cluster) -> Vec<(String, SocketAddr)> {
    cluster.nodes().iter().map(|node| (node.name().to_owned(), node.address())).collect()
}

/// What befalls the leader without anybody's plan.
pub(super) fn strike(fault: Fault, cluster: &mut Cluster, relay: Option<&Relay>) {
    match (fault, relay) {
        (Fault::Kill, _) => cluster.primary_mut().kill9(),
        (Fault::Freeze, _) => cluster.primary_mut().freeze(),
        (Fault::Blackhole, Some(relay)) => relay.set_mode(Mode::BlackHole),
        (Fault::Blackhole, None) | (Fault::Switchover, _) => {}
    }
}

/// The first node comes back from what befell it.
pub(super) async fn returns(
    fault: Fault,
    cluster: &mut Cluster,
    relay: Option<&Relay>,
) -> Result<()> {
    match (fault, relay) {
        (Fault::Kill, _) => cluster.start_as_old_primary(0).await?,
        (Fault::Freeze, _) => cluster.node_mut(0).thaw(),
        (Fault::Blackhole, Some(relay)) => relay.set_mode(Mode::Forward),
        (Fault::Blackhole, None) => {}
        (Fault::Switchover, _) => cluster.rejoin(0).await?,
    }
    Ok(())
}

/// The ledger on the cluster's primary.
pub(super) async fn ledger(cluster: &Cluster) -> Result<Vec<(u64, u64)>> {
    let rows = cluster.primary().sql(LEDGER).await?;
    Ok(rows.into_iter().flatten().flatten().filter_map(|row| entry(&row)).collect())
}
