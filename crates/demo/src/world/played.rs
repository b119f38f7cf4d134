//! A real Consul with Stolon's data; the demo plays the sentinel and the keepers.

use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::Result;
use everline_lab::consul::{Agent, Kind};
use everline_lab::faults::Relay;
use everline_lab::postgres::{Cluster, Node, Stop};
use everline_lab::stolon::{Pace, Sentinel};
use tokio::time::{Instant, sleep};

use super::{CLUSTER, Words, announces, guide_says, named, set_state, words};
use crate::args::Fault;
use crate::board::Board;

/// Longest wait for the announcement: a proxy that does not acknowledge is given up after twice its
/// timeout.
const ANNOUNCED_MAX: Duration = Duration::from_secs(30);

/// See the module. The sentinel first, so that it ends first.
#[derive(Debug)]
pub(crate) struct Played {
    sentinel: Sentinel,
    relay: Option<Relay>,
    cluster: Cluster,
    agent: Agent,
    fault: Fault,
}

impl Played {
    pub(super) async fn set_up(
        max_connections: u16,
        fault: Fault,
        say: &impl Fn(&str),
    ) -> Result<Self> {
        let (cluster, relay) = named::cluster(max_connections, fault, say).await?;
        say("starting Consul");
        let agent = Agent::start(Kind::Forgetful).await?;
        say("no Stolon here: the demo writes the cluster's data as its sentinel does");
        let mut nodes: Vec<SocketAddr> = cluster.nodes().iter().map(Node::address).collect();
        if let (Some(leader), Some(relay)) = (nodes.first_mut(), &relay) {
            *leader = relay.address();
        }
        let sentinel = Sentinel::start(agent.api(), CLUSTER, &nodes, Pace::default()).await?;
        Ok(Self { sentinel, relay, cluster, agent, fault })
    }

    pub(super) fn consul(&self) -> SocketAddr {
        self.agent.address()
    }

    pub(super) fn nodes(&self) -> Vec<(String, SocketAddr)> {
        named::nodes(&self.cluster)
    }

    pub(super) fn fail(&mut self) {
        named::strike(self.fault, &mut self.cluster, self.relay.as_ref());
    }

    pub(super) async fn hand_over(&mut self, after: Duration, board: &Board) -> Result<()> {
        sleep(after).await;
        let elected = self.sentinel.elect(1).await?;
        board.event('◇', "the sentinel elects node2: no leader for the proxies until all agree");
        guide_says(board, "elected node2, waits for its proxies");
        let acknowledged = async {
            self.sentinel
                .proxies_until(ANNOUNCED_MAX, |proxies| {
                    proxies.iter().all(|proxy| proxy.generation == elected.generation)
                })
                .await?;
            board.event('✓', "Everline has closed everything to the old leader and said so");
            Ok(())
        };
        let promoted = async {
            self.cluster.promote(1).await?;
            board.event('▲', "node2 is promoted and accepts writes");
            set_state(board, 1, "primary: elected, not announced");
            Ok(Instant::now())
        };
        let announced = async { self.sentinel.announced(ANNOUNCED_MAX).await };
        let ((), promoted, announced) = tokio::try_join!(acknowledged, promoted, announced)?;
        board.state().ready = Some(announced.at.max(promoted));
        let node = self.cluster.primary();
        let announcement = announces(node.name(), node.address().ip());
        board.event('→', format!("the sentinel {announcement}"));
        guide_says(board, &announcement);
        set_state(board, 1, "primary: the leader");
        if self.fault == Fault::Switchover {
            // What its keeper does when the new leader has converged.
            self.cluster.node_mut(0).stop(Stop::Fast).await?;
            set_state(board, 0, "shut down by its keeper");
        }
        Ok(())
    }

    pub(super) async fn old_leader_returns(&mut self) -> Result<()> {
        named::returns(self.fault, &mut self.cluster, self.relay.as_ref()).await?;
        if self.fault == Fault::Switchover {
            self.sentinel.resync().await?;
        }
        Ok(())
    }

    pub(super) const fn words(&self) -> Words {
        match self.fault {
            Fault::Kill | Fault::Freeze | Fault::Blackhole => words(self.fault),
            Fault::Switchover => Words {
                fault: "stolonctl failkeeper: planned, the old leader still accepts writes",
                state: "writable, to be replaced",
                ..words(Fault::Switchover)
            },
        }
    }

    pub(super) async fn ledger(&self) -> Result<Vec<(u64, u64)>> {
        named::ledger(&self.cluster).await
    }
}
