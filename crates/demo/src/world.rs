//! The world of a run: nodes, and somebody who decides which of them leads.

mod named;
mod played;
mod real;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use everline_lab::ledger::Door;
use everline_lab::stolon::real::Programs;
use everline_lab::{Result, consul};

use crate::args::{Args, Fault};
use crate::board::Board;

/// Where the network in front of the first leader is, when it shall fail.
const IN_FRONT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
/// Connections that PostgreSQL keeps free for the superuser and for replication.
const RESERVED: u16 = 20;
/// The name of the cluster in Consul.
const CLUSTER: &str = "demo";

/// Nodes and their manager. Everything ends when it is dropped.
#[derive(Debug)]
pub(crate) enum World {
    /// A name that moves with the leader; the demo promotes and moves it.
    Named(Box<named::Named>),
    /// A real Consul; the demo plays Stolon's sentinel and keepers.
    Played(Box<played::Played>),
    /// A real Consul, and Stolon's own sentinel and keepers.
    Real(Box<real::Real>),
}

/// What the timeline says about each step.
#[derive(Debug, Clone, Copy)]
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

impl World {
    /// A cluster whose leader is found by a name.
    ///
    /// # Errors
    /// What could not be had, or did not start.
    pub(crate) async fn named(args: &Args, fault: Fault, say: &impl Fn(&str)) -> Result<Self> {
        let named = named::Named::set_up(connections(args), fault, say).await?;
        Ok(Self::Named(Box::new(named)))
    }

    /// A cluster in Stolon's care: by its own programs where there are any, else by the demo.
    ///
    /// # Errors
    /// What could not be had, or did not start.
    pub(crate) async fn stolon(args: &Args, fault: Fault, say: &impl Fn(&str)) -> Result<Self> {
        say("looking for Consul");
        consul::find_saying(say).await?;
        if Programs::find().is_ok() {
            let real = Box::pin(real::Real::set_up(connections(args), fault, say)).await?;
            return Ok(Self::Real(Box::new(real)));
        }
        let played = Box::pin(played::Played::set_up(connections(args), fault, say)).await?;
        Ok(Self::Played(Box::new(played)))
    }

    /// Who manages the cluster, for the title.
    pub(crate) const fn title(&self) -> &'static str {
        match self {
            Self::Named(_) => "a name that moves",
            Self::Played(_) => "Stolon, its sentinel played by the demo",
            Self::Real(_) => "Stolon",
        }
    }

    /// Who decides which node leads, for the verdict.
    pub(crate) const fn manager(&self) -> &'static str {
        match self {
            Self::Named(_) | Self::Played(_) => "demo",
            Self::Real(_) => "stolon",
        }
    }

    /// How Everline finds the leader.
    pub(crate) fn everline_arguments(&self) -> Vec<String> {
        match self {
            Self::Named(named) => named.everline_arguments(),
            Self::Played(played) => stolon_arguments(played.consul()),
            Self::Real(real) => stolon_arguments(real.consul()),
        }
    }

    /// Where clients connect who go without Everline: there is a name to go by.
    ///
    /// # Panics
    /// Behind Stolon, where the arguments have been refused.
    pub(crate) fn door(&self) -> Door {
        match self {
            Self::Named(named) => named.door(),
            Self::Played(_) | Self::Real(_) => unreachable!("refused with the arguments"),
        }
    }

    /// Name and address of each node.
    pub(crate) fn nodes(&self) -> Vec<(String, SocketAddr)> {
        match self {
            Self::Named(named) => named.nodes(),
            Self::Played(played) => played.nodes(),
            Self::Real(real) => real.nodes(),
        }
    }

    /// Who points at the leader, and what it says at the beginning.
    pub(crate) fn guide(&self) -> (String, String) {
        match self {
            Self::Named(named) => (named::NAME.to_owned(), format!("→ {}", named.leader_name())),
            Self::Played(_) | Self::Real(_) => {
                let first = self.nodes().into_iter().next();
                let first = first.map(|(name, address)| announces(&name, address.ip()));
                ("Stolon".to_owned(), first.unwrap_or_default())
            }
        }
    }

    /// The leader fails; in a planned change nothing has happened to it yet where the manager
    /// does everything.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn fail(&mut self) -> Result<()> {
        match self {
            Self::Named(named) => named.fail().await,
            Self::Played(played) => {
                played.fail();
                Ok(())
            }
            Self::Real(real) => real.fail().await,
        }
    }

    /// The manager sees to it that the standby leads, and tells: notes each step, and on the board
    /// when the new leader accepts writes and is named.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn hand_over(&mut self, after: Duration, board: &Board) -> Result<()> {
        match self {
            Self::Named(named) => named.hand_over(after, board).await,
            Self::Played(played) => played.hand_over(after, board).await,
            Self::Real(real) => real.hand_over(board).await,
        }
    }

    /// The old leader comes back.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn old_leader_returns(&mut self) -> Result<()> {
        match self {
            Self::Named(named) => named.old_leader_returns().await,
            Self::Played(played) => played.old_leader_returns().await,
            Self::Real(real) => real.old_leader_returns(),
        }
    }

    /// What the timeline says.
    pub(crate) fn words(&self) -> Words {
        match self {
            Self::Named(named) => words(named.fault()),
            Self::Played(played) => played.words(),
            Self::Real(real) => real.words(),
        }
    }

    /// How often each id is in the ledger of the leader.
    ///
    /// # Errors
    /// What the leader says.
    pub(crate) async fn ledger(&self) -> Result<Vec<(u64, u64)>> {
        match self {
            Self::Named(named) => named.ledger().await,
            Self::Played(played) => played.ledger().await,
            Self::Real(real) => real.ledger().await,
        }
    }
}

/// What asks for the ledger, one word for each id.
const LEDGER: &str = "SELECT id || ' ' || count(*) FROM ledger GROUP BY id";

/// An id and how often it is there, from a row of [`LEDGER`].
fn entry(row: &str) -> Option<(u64, u64)> {
    let (id, count) = row.split_once(' ')?;
    Some((id.parse().ok()?, count.parse().ok()?))
}

fn connections(args: &Args) -> u16 {
    args.clients.saturating_add(RESERVED).max(100)
}

fn announces(name: &str, address: IpAddr) -> String {
    format!("announces {name} {address}")
}

/// Has the guide say this from here on.
fn guide_says(board: &Board, words: &str) {
    words.clone_into(&mut board.state().participants.guide.1);
}

fn stolon_arguments(consul: SocketAddr) -> Vec<String> {
    use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};
    let dsn = format!(
        "stolon+consul+http://{consul}/{CLUSTER}\
         ?pguser={APP_USER}&pgpassword={APP_PASSWORD}&pgdatabase={APP_DATABASE}"
    );
    vec!["--backend-dsn".to_owned(), dsn]
}

/// Says how a node is doing from here on.
pub(crate) fn set_state(board: &Board, node: usize, words: &str) {
    if let Some((_, condition)) = board.state().participants.nodes.get_mut(node) {
        words.clone_into(condition);
    }
}

/// The words for a fault that befalls a node by itself.
const fn words(fault: Fault) -> Words {
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

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
