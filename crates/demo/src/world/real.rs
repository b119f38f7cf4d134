//! A real Consul, and Stolon's own sentinel and keepers.

use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::consul::{Agent, Kind};
use everline_lab::ledger::TABLE;
use everline_lab::postgres::APP_DATABASE;
use everline_lab::stolon::real::{Stolon, StolonOptions};
use everline_lab::{Error, Result};
use tokio::time::{Instant, sleep};

use super::{CLUSTER, LEDGER, Words, announces, entry, guide_says, set_state, words};
use crate::args::Fault;
use crate::board::Board;

/// Longest wait for each step of the sentinel and the keepers.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked whether something has happened.
const POLL: Duration = Duration::from_millis(5);
/// What commits only where commits are accepted, standbys and all.
const COMMIT: &str = "SELECT pg_logical_emit_message(true, 'demo', '')";

/// See the module. Stolon first, so that it ends before its store.
#[derive(Debug)]
pub(crate) struct Real {
    stolon: Stolon,
    agent: Agent,
    fault: Fault,
}

impl Real {
    pub(super) async fn set_up(
        max_connections: u16,
        fault: Fault,
        say: &impl Fn(&str),
    ) -> Result<Self> {
        say("starting Consul");
        let agent = Agent::start(Kind::Forgetful).await?;
        let options = StolonOptions {
            max_connections,
            // Two nodes: the new leader would wait for the old one's return.
            blocks_alone: false,
            network: fault == Fault::Blackhole,
            ..StolonOptions::default()
        };
        let stolon = Stolon::start_saying(agent.api(), CLUSTER, options, say).await?;
        stolon.sql(0, APP_DATABASE, TABLE).await?;
        Ok(Self { stolon, agent, fault })
    }

    pub(super) fn consul(&self) -> SocketAddr {
        self.agent.address()
    }

    pub(super) fn nodes(&self) -> Vec<(String, SocketAddr)> {
        let nodes = self.stolon.nodes().iter().enumerate();
        nodes.map(|(at, node)| (format!("keeper{at}"), *node)).collect()
    }

    pub(super) async fn fail(&mut self) -> Result<()> {
        match self.fault {
            Fault::Kill => self.stolon.kill(0),
            Fault::Freeze => self.stolon.freeze(0),
            Fault::Blackhole => self.stolon.cut_off(),
            Fault::Switchover => self.stolon.fail_keeper(0).await?,
        }
        Ok(())
    }

    pub(super) async fn hand_over(&mut self, board: &Board) -> Result<()> {
        let elected = async {
            self.until("an election", async || Ok(self.stolon.elected().await? == Some(1))).await?;
            board.event('◇', "the sentinel elects keeper1: no leader for the proxies");
            guide_says(board, "elected keeper1, waits for its proxies");
            let announced = async || Ok(self.stolon.announced().await? == Some(1));
            self.until("an announcement", announced).await?;
            let address = self.nodes().get(1).map(|(_, address)| address.ip());
            let announcement = address.map(|address| announces("keeper1", address));
            let announcement = announcement.unwrap_or_default();
            board.event('→', format!("the sentinel {announcement}"));
            guide_says(board, &announcement);
            Ok(())
        };
        let promoted = async {
            let is_primary = async || {
                let asked = self.stolon.sql(1, "postgres", "SELECT pg_is_in_recovery()").await;
                Ok(asked.is_ok_and(|rows| rows.first().is_some_and(|answer| answer == "f")))
            };
            self.until("a promotion", is_primary).await?;
            board.event('▲', "keeper1 is promoted");
            set_state(board, 1, "primary: the leader");
            Ok(())
        };
        tokio::try_join!(elected, promoted)?;
        // It asks for the lost leader as its synchronous standby until the sentinel says otherwise.
        let commits = async || Ok(self.stolon.sql(1, "postgres", COMMIT).await.is_ok());
        self.until("a commit", commits).await?;
        board.state().ready = Some(Instant::now());
        board.event('▲', "keeper1 accepts writes: Stolon has it wait for no lost standby");
        Ok(())
    }

    async fn until(&self, what: &str, come: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !come().await? {
            if Instant::now() >= until {
                return Err(Error::Late { what: what.to_owned(), within: PATIENCE });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    pub(super) fn old_leader_returns(&mut self) -> Result<()> {
        match self.fault {
            Fault::Kill => self.stolon.start_keeper(0)?,
            Fault::Freeze => self.stolon.thaw(0),
            Fault::Blackhole => self.stolon.reconnect(),
            Fault::Switchover => {} // its keeper has seen to it
        }
        Ok(())
    }

    pub(super) const fn words(&self) -> Words {
        let back_state = "Stolon makes it a standby";
        match self.fault {
            Fault::Kill => Words {
                fault: "kill -9 of keeper0 and its PostgreSQL at one stroke",
                back: "keeper0 is started again",
                back_state,
                ..words(Fault::Kill)
            },
            Fault::Freeze => Words {
                fault: "SIGSTOP: keeper0 and its PostgreSQL answer nothing",
                back: "keeper0 and its PostgreSQL thaw",
                back_state,
                ..words(Fault::Freeze)
            },
            Fault::Blackhole => Words {
                fault: "the network to keeper0 and from it swallows everything",
                back: "the network of keeper0 works again",
                back_state,
                ..words(Fault::Blackhole)
            },
            Fault::Switchover => Words {
                fault: "stolonctl failkeeper keeper0: planned, it still accepts writes",
                state: "writable, to be replaced",
                back: "keeper0 has made its PostgreSQL a standby",
                back_state: "standby",
            },
        }
    }

    pub(super) async fn ledger(&self) -> Result<Vec<(u64, u64)>> {
        let leader = self.stolon.announced().await?.unwrap_or(1);
        let rows = self.stolon.sql(leader, APP_DATABASE, LEDGER).await?;
        Ok(rows.iter().filter_map(|row| entry(row)).collect())
    }
}
