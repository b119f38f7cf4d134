//! One leader after the other: two nodes, the name that leads to the one that leads, and what
//! befalls it. The one that was struck is made a synchronous standby again, so that this can go on
//! for ever.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::dns::Dns;
use crate::faults::{Mode, Relay};
use crate::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Stop};
use crate::{Error, Result};

/// The name that leads to the leader.
const NAME: &str = "db.example.test";
/// Where the network in front of the first node is when it shall fail; that of the second one has
/// the next higher address.
const IN_FRONT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);

/// How often an address is tried that is in use, and the pause before each further try: 2 s in all.
const BIND_TRIES: u32 = 100;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// What befalls the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL to all of PostgreSQL: the kernel closes the sockets.
    Kill,
    /// SIGSTOP to all of PostgreSQL: sockets stay open and nothing is answered.
    Freeze,
    /// The network swallows everything, in both directions.
    BlackHole,
    /// A fast shutdown, as before a planned change.
    Switchover,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Kill, Self::Freeze, Self::BlackHole, Self::Switchover];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::BlackHole => "black hole",
            Self::Switchover => "switchover",
        })
    }
}

/// A cluster of two nodes and the name that leads to its leader. It ends when dropped.
#[derive(Debug)]
pub struct Succession {
    cluster: Cluster,
    dns: Dns,
    relay: Option<Relay>,
}

impl Succession {
    /// A primary with a synchronous standby. What befalls it `first` must be known: the way to the
    /// leader leads over a network of our own where that network shall fail.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub async fn start(max_connections: u16, first: Fault) -> Result<Self> {
        let options = ClusterOptions { max_connections, ..ClusterOptions::default() };
        let cluster = Cluster::start(options).await?;
        let dns = Dns::start().await?;
        let mut succession = Self { cluster, dns, relay: None };
        succession.lead_to_the_leader(first).await?;
        Ok(succession)
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The cluster's DSN, for the application's user, by its name.
    #[must_use]
    pub fn dsn(&self) -> String {
        let port = self.cluster.port();
        format!("postgres://{APP_USER}:{APP_PASSWORD}@{NAME}:{port}/{APP_DATABASE}")
    }

    /// The name server that knows the name.
    #[must_use]
    pub fn resolver(&self) -> SocketAddr {
        self.dns.address()
    }

    /// Strikes the leader. A shutdown has ended when this returns.
    ///
    /// # Errors
    /// [`Error::Late`] when a shutdown does not end; [`Error::Failed`] for a black hole that was
    /// not foretold.
    pub async fn strike(&mut self, fault: Fault) -> Result<()> {
        let leader = self.cluster.primary_mut();
        match fault {
            Fault::Kill => leader.kill9(),
            Fault::Freeze => leader.freeze(),
            Fault::Switchover => drop(leader.stop(Stop::Fast).await?),
            Fault::BlackHole => match &self.relay {
                Some(relay) => relay.set_mode(Mode::BlackHole),
                None => {
                    return Err(Error::Failed {
                        what: "a black hole".to_owned(),
                        detail: "the way to the leader does not lead over a relay".to_owned(),
                    });
                }
            },
        }
        Ok(())
    }

    /// The other node becomes the leader, accepts writes, and the name leads there. `next` is what
    /// will befall it.
    ///
    /// # Errors
    /// See [`Cluster::promote`].
    pub async fn succeed(&mut self, next: Fault) -> Result<()> {
        let successor = self.other();
        self.cluster.promote(successor).await?;
        self.lead_to_the_leader(next).await
    }

    /// Lets the leader of before come back for a while as what it takes itself for: a frozen one
    /// thaws, a killed one is started, one out of reach can be reached: each a writable primary of
    /// the old timeline.
    ///
    /// # Errors
    /// See [`Cluster::start_as_old_primary`].
    pub async fn haunt(&mut self, fault: Fault) -> Result<()> {
        let old = self.other();
        match fault {
            Fault::Kill => self.cluster.start_as_old_primary(old).await,
            Fault::Freeze => {
                self.cluster.node_mut(old).thaw();
                Ok(())
            }
            Fault::BlackHole => {
                if let Some(relay) = &self.relay {
                    relay.set_mode(Mode::Forward);
                }
                Ok(())
            }
            Fault::Switchover => Ok(()), // it ended in order
        }
    }

    /// Makes the leader of before a synchronous standby again, from a copy of the present one.
    ///
    /// # Errors
    /// See [`Cluster::rejoin`].
    pub async fn rebuild(&mut self) -> Result<()> {
        let old = self.other();
        self.cluster.rejoin(old).await
    }

    /// The node that does not lead.
    fn other(&self) -> usize {
        1 - self.cluster.primary_index()
    }

    async fn lead_to_the_leader(&mut self, next: Fault) -> Result<()> {
        let leader = self.cluster.primary().address();
        let at = u32::try_from(self.cluster.primary_index()).unwrap_or(0);
        let mut seen_at = leader.ip();
        // The network of before may still hold connections that hang: it lasts until it is
        // replaced.
        if next == Fault::BlackHole {
            seen_at = IpAddr::V4(Ipv4Addr::from_bits(IN_FRONT.to_bits().saturating_add(at)));
            let front = SocketAddr::new(seen_at, leader.port());
            self.relay = None;
            self.relay = Some(in_front(front, leader).await?);
        }
        self.dns.set(NAME, &[seen_at]);
        Ok(())
    }
}

/// A network of our own in front of a leader. The one of before, at the same address, may not have
/// ended quite yet.
async fn in_front(address: SocketAddr, leader: SocketAddr) -> Result<Relay> {
    for _ in 0..BIND_TRIES {
        if let Ok(relay) = Relay::start(address, leader).await {
            return Ok(relay);
        }
        tokio::time::sleep(BIND_PAUSE).await;
    }
    Relay::start(address, leader).await
}
