//! The rules of a Stolon proxy: whom to follow, when to close, what to acknowledge.
//!
//! Stolon's sentinel elects a leader, withdraws the old one from its proxies
//! (`proxy.spec.masterDbUid`), and announces the new one only after every registered proxy has
//! written back the generation of the withdrawal. That barrier is what keeps two writable nodes
//! apart, so a generation is written back only when it is true:
//!
//! 1. Only `masterDbUid` is followed, and only while this proxy is among `enabledProxies` in data
//!    that was asked for after its registration.
//! 2. The leader is lost, or another one: everything is closed, and only when the last socket is,
//!    the generation is acknowledged.
//! 3. A leader is gained: the generation is acknowledged first, and only then it is followed.
//! 4. Both reads and writes have to succeed within the proxy timeout, counted from their sending;
//!    else everything is closed, whatever the reason.
//! 5. A lost session closes everything: the sentinel does not wait for us any more.
//! 6. What may not register follows without: withdrawals and the timeout hold all the same.
//! 7. Between the acknowledgement and the announcement connections to the elected node may be made,
//!    and nothing is dispatched on them; another election closes them first.
//! 8. A generation says nothing by itself: it grows without a change and may go back.
//!
//! Source: Stolon `cmd/proxy/cmd/proxy.go` and `cmd/sentinel/cmd/sentinel.go` (`updateCluster`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::fence::{BootTime, Vouched};

/// A node as a source names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announced {
    /// Stolon's name for this reign of this node (`DBUID`): the same address may get another.
    pub uid: Arc<str>,
    /// `listenAddress`.
    pub host: Arc<str>,
    /// `port`.
    pub port: u16,
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, host, port } = self;
        if host.contains(':') {
            write!(f, "{uid} at [{host}]:{port}")
        } else {
            write!(f, "{uid} at {host}:{port}")
        }
    }
}

/// What matters of the cluster's data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observation {
    /// `cluster.uid`: another one is a cluster that was initialised anew.
    pub cluster: Arc<str>,
    /// `proxy.generation`.
    pub generation: u64,
    /// `proxy.spec.masterDbUid`, where it is set and known.
    pub leader: Option<Announced>,
    /// `cluster.status.master`: whom the sentinel has elected. Not to be routed to.
    pub elected: Option<Announced>,
    /// `proxy.spec.enabledProxies`.
    pub enabled: Vec<String>,
    /// `cluster.spec.proxyCheckInterval`.
    pub check_interval: Duration,
    /// `cluster.spec.proxyTimeout`: longer than the interval.
    pub timeout: Duration,
}

/// What the machine hears.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// The answer to a consistent read.
    Read {
        /// When the question was sent.
        sent: BootTime,
        /// What it says.
        observation: Observation,
    },
    /// Our registration was written.
    Written(Written),
    /// The store does not let us write.
    Denied,
    /// The session that holds our registration is gone.
    SessionLost,
    /// Everything that was to be closed is closed.
    Closed,
    /// Time has passed.
    Tick,
}

/// A write of our registration that succeeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    /// When it was sent.
    pub sent: BootTime,
    /// The generation that it acknowledged.
    pub generation: u64,
    /// How long the sentinel waits for us after it.
    pub timeout: Duration,
    /// Whether it was the first of its session.
    pub first: bool,
}

/// What is to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Publish {
    /// The generation to acknowledge.
    pub generation: u64,
    /// The timeout to publish.
    pub timeout: Duration,
}

/// What must be done, in the order given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// Nothing may be dispatched from this instant on.
    Fence(BootTime),
    /// Close everything and say [`News::Closed`] afterwards.
    Retire(Why),
    /// Make connections to this node, which is elected and not announced: nothing may be dispatched
    /// on them before [`Act::Follow`] names the same node.
    Prepare(Announced),
    /// Connect to this node.
    Follow {
        /// The leader.
        leader: Announced,
        /// Whether the cluster was initialised anew since the last leader: what was known of it
        /// says nothing about this one.
        forget: bool,
    },
    /// Read again at once: an answer to a question asked before does not count.
    LookAgain,
    /// We are on our own: the store does not let us register. Said once.
    Unregistered,
}

/// Why everything is closed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Why {
    /// The sentinel names no leader.
    Withdrawn {
        /// The generation that says so.
        generation: u64,
    },
    /// The sentinel names another leader.
    Replaced {
        /// The generation that says so.
        generation: u64,
    },
    /// We are not among the proxies that may route.
    NotEnabled {
        /// The generation that says so.
        generation: u64,
    },
    /// The store has not vouched for the leader for this long.
    Fenced {
        /// The proxy timeout.
        timeout: Duration,
    },
    /// Our registration has ended.
    SessionLost,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdrawn { generation } => {
                write!(f, "the sentinel names no leader (generation {generation})")
            }
            Self::Replaced { generation } => {
                write!(f, "the sentinel names another leader (generation {generation})")
            }
            Self::NotEnabled { generation } => {
                write!(f, "the sentinel has not enabled this proxy (generation {generation})")
            }
            Self::Fenced { timeout } => {
                write!(f, "the store has not vouched for the leader for {timeout:?}")
            }
            Self::SessionLost => f.write_str("the store's session of this proxy has ended"),
        }
    }
}

/// Whether the sentinel knows of us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// Not yet, or not any more.
    Unregistered,
    /// It does: it waits for our acknowledgement before it announces a leader.
    Registered {
        /// When the first write of this session was sent.
        since: BootTime,
        last: Written,
    },
    /// It does not and cannot; `last` is a write that was let through after all, which counts once
    /// the sentinel has seen it.
    Denied { tried_at: BootTime, last: Option<Written> },
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Route {
    /// Nothing is open.
    Idle,
    /// Something may be open, to nobody we follow.
    Closing,
    /// Everything that is open leads to this node.
    Following(Announced),
}

/// How often a write is tried that was denied: an operator may have mended the token.
pub const DENIED_INTERVAL: Duration = Duration::from_secs(30);

/// The machine. One task owns it.
#[derive(Clone, Debug)]
pub struct Follow {
    uid: Arc<str>,
    standing: Standing,
    seen: Option<(BootTime, Observation)>,
    route: Route,
    /// To whom connections are made ahead, while the route is idle.
    prepared: Option<Announced>,
    /// The cluster of the leader that was followed last.
    cluster: Option<Arc<str>>,
    fence: BootTime,
}

impl Follow {
    /// A machine that knows nothing yet, for the proxy `uid`.
    #[must_use]
    pub const fn new(uid: Arc<str>) -> Self {
        Self {
            uid,
            standing: Standing::Unregistered,
            seen: None,
            route: Route::Idle,
            prepared: None,
            cluster: None,
            fence: BootTime::ZERO,
        }
    }

    /// Takes one piece of news and returns what must be done about it.
    pub fn step(&mut self, news: News, now: BootTime) -> Vec<Act> {
        let mut acts = Vec::new();
        self.expire(now, &mut acts); // before anything new can stretch what is over already
        match news {
            News::Read { sent, observation } => self.seen = Some((sent, observation)),
            News::Written(written) => self.written(written, &mut acts),
            News::Denied => {
                if !matches!(self.standing, Standing::Denied { .. }) {
                    acts.push(Act::Unregistered);
                }
                self.standing = Standing::Denied { tried_at: now, last: None };
            }
            News::SessionLost => {
                self.standing = match self.standing {
                    Standing::Denied { tried_at, .. } => Standing::Denied { tried_at, last: None },
                    Standing::Unregistered | Standing::Registered { .. } => Standing::Unregistered,
                };
            }
            News::Closed => {
                if self.route == Route::Closing {
                    self.route = Route::Idle;
                }
            }
            News::Tick => {}
        }
        self.admit();
        self.judge(now, &mut acts);
        acts
    }

    /// What should be written at this moment, if anything: a generation that is not acknowledged
    /// yet and may be, or the last one again so that the sentinel sees us alive.
    #[must_use]
    pub fn publish(&self, now: BootTime) -> Option<Publish> {
        let (_, observation) = self.seen.as_ref()?;
        let last = self.last();
        let generation = match self.route {
            Route::Idle | Route::Following(_) => observation.generation,
            Route::Closing => last?.generation,
        };
        let due = self.refresh_at().is_none_or(|at| now >= at);
        let news = match self.standing {
            Standing::Denied { last: None, .. } => false,
            Standing::Denied { .. } | Standing::Unregistered | Standing::Registered { .. } => {
                last.is_none_or(|last| last.generation != generation)
            }
        };
        (due || news).then_some(Publish { generation, timeout: observation.timeout })
    }

    /// When [`News::Tick`], or another look at [`Follow::publish`], is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<BootTime> {
        let fence = match (&self.route, &self.prepared) {
            (Route::Following(_), _) => Some(self.fence),
            (Route::Idle, Some(_)) => self.vouched().map(|vouched| vouched.fence()),
            (Route::Idle, None) | (Route::Closing, _) => None,
        };
        let refresh = self.seen.as_ref().and_then(|_| self.refresh_at());
        [fence, refresh].into_iter().flatten().min()
    }

    /// The leader that is followed.
    #[must_use]
    pub const fn leader(&self) -> Option<&Announced> {
        match &self.route {
            Route::Following(leader) => Some(leader),
            Route::Idle | Route::Closing => None,
        }
    }

    /// What was last observed.
    #[must_use]
    pub fn seen(&self) -> Option<&Observation> {
        self.seen.as_ref().map(|(_, observation)| observation)
    }

    /// The generation that was last acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> Option<u64> {
        self.last().map(|last| last.generation)
    }

    /// Whether the sentinel waits for us.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        matches!(self.standing, Standing::Registered { .. })
    }

    /// Whether the store does not let us register.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        matches!(self.standing, Standing::Denied { .. })
    }

    /// From when on nothing may be dispatched.
    #[must_use]
    pub const fn fence(&self) -> BootTime {
        self.fence
    }

    fn expire(&mut self, now: BootTime, acts: &mut Vec<Act>) {
        let until = match &self.route {
            Route::Following(_) => self.fence,
            Route::Idle if self.prepared.is_some() => {
                self.vouched().map_or(BootTime::ZERO, |vouched| vouched.fence())
            }
            Route::Idle | Route::Closing => return,
        };
        if now >= until {
            let timeout = self.vouched().map_or(Duration::ZERO, |vouched| vouched.timeout);
            self.retire(Why::Fenced { timeout }, acts);
        }
    }

    fn written(&mut self, written: Written, acts: &mut Vec<Act>) {
        self.standing = match self.standing {
            Standing::Registered { since, .. } if !written.first => {
                Standing::Registered { since, last: written }
            }
            Standing::Unregistered | Standing::Registered { .. } => {
                acts.push(Act::LookAgain);
                Standing::Registered { since: written.sent, last: written }
            }
            Standing::Denied { tried_at, .. } => Standing::Denied { tried_at, last: Some(written) },
        };
    }

    /// A registration that was let through after all counts from when the sentinel has seen it.
    fn admit(&mut self) {
        let Standing::Denied { last: Some(last), .. } = self.standing else { return };
        if let Some((_, observation)) = &self.seen
            && observation.enabled.iter().any(|uid| **uid == *self.uid)
        {
            self.standing = Standing::Registered { since: BootTime::ZERO, last };
        }
    }

    fn judge(&mut self, now: BootTime, acts: &mut Vec<Act>) {
        let wanted = self.wanted();
        match (&self.route, wanted) {
            (Route::Following(here), Ok(there)) if *here == there => self.stretch(acts),
            (Route::Following(_), Ok(_)) => {
                let generation = self.generation();
                self.retire(Why::Replaced { generation }, acts);
            }
            (Route::Following(_), Err(why)) => self.retire(why, acts),
            (Route::Idle, Ok(leader)) => match &self.prepared {
                Some(prepared) if *prepared != leader => {
                    let generation = self.generation();
                    self.retire(Why::Replaced { generation }, acts);
                }
                Some(_) | None => self.begin(leader, now, acts),
            },
            (Route::Idle, Err(why)) => self.prepare(why, now, acts),
            (Route::Closing, _) => {}
        }
    }

    /// Whom the last observation lets us follow, or why nobody.
    fn wanted(&self) -> Result<Announced, Why> {
        let Some((sent, observation)) = &self.seen else {
            return Err(Why::SessionLost);
        };
        let generation = observation.generation;
        let Some(leader) = &observation.leader else {
            return Err(Why::Withdrawn { generation });
        };
        let enabled = match self.standing {
            Standing::Unregistered => return Err(Why::SessionLost),
            Standing::Denied { .. } => true,
            Standing::Registered { since, .. } => {
                *sent >= since && observation.enabled.iter().any(|uid| **uid == *self.uid)
            }
        };
        if enabled { Ok(leader.clone()) } else { Err(Why::NotEnabled { generation }) }
    }

    /// Nobody may be followed: sees to the connections that are made ahead.
    fn prepare(&mut self, why: Why, now: BootTime, acts: &mut Vec<Act>) {
        let coming = self.coming().cloned();
        match (&self.prepared, coming) {
            (Some(here), Some(there)) if *here == there => {}
            (Some(_), _) => self.retire(why, acts),
            (None, Some(coming)) if self.may_begin(now).is_some() => {
                self.prepared = Some(coming.clone());
                acts.push(Act::Prepare(coming));
            }
            (None, _) => {}
        }
    }

    /// Who will be announced, as far as one can know: whoever is elected while nobody leads. Who is
    /// announced already stays, though we may not follow yet.
    fn coming(&self) -> Option<&Announced> {
        let (_, observation) = self.seen.as_ref()?;
        match (&observation.leader, self.standing) {
            (_, Standing::Unregistered) => None,
            (Some(leader), _) => self.prepared.as_ref().filter(|prepared| *prepared == leader),
            (None, _) => observation.elected.as_ref(),
        }
    }

    /// The fence, if what was observed is acknowledged and the fence is not reached.
    fn may_begin(&self, now: BootTime) -> Option<BootTime> {
        let acknowledged = match self.standing {
            Standing::Unregistered => false,
            Standing::Denied { .. } => true,
            Standing::Registered { last, .. } => last.generation == self.generation(),
        };
        let fence = self.vouched()?.fence();
        (acknowledged && now < fence).then_some(fence)
    }

    fn begin(&mut self, leader: Announced, now: BootTime, acts: &mut Vec<Act>) {
        let Some(fence) = self.may_begin(now) else { return };
        let cluster = self.seen.as_ref().map(|(_, observation)| Arc::clone(&observation.cluster));
        let forget = self.cluster.is_some() && self.cluster != cluster;
        self.cluster = cluster;
        self.route = Route::Following(leader.clone());
        self.prepared = None;
        self.fence = fence;
        acts.push(Act::Fence(fence));
        acts.push(Act::Follow { leader, forget });
    }

    fn stretch(&mut self, acts: &mut Vec<Act>) {
        let fence = self.vouched().map_or(BootTime::ZERO, |vouched| vouched.fence());
        if fence != self.fence {
            self.fence = fence;
            acts.push(Act::Fence(fence));
        }
    }

    fn retire(&mut self, why: Why, acts: &mut Vec<Act>) {
        self.route = Route::Closing;
        self.prepared = None;
        self.fence = BootTime::ZERO;
        acts.push(Act::Fence(BootTime::ZERO));
        acts.push(Act::Retire(why));
    }

    fn vouched(&self) -> Option<Vouched> {
        let (read_sent, observation) = self.seen.as_ref()?;
        let (write_sent, timeout) = match self.standing {
            Standing::Unregistered => return None,
            Standing::Denied { .. } => (None, observation.timeout),
            // A longer timeout counts once it is published, a shorter one at once.
            Standing::Registered { last, .. } => {
                (Some(last.sent), observation.timeout.min(last.timeout))
            }
        };
        Some(Vouched { read_sent: *read_sent, write_sent, timeout })
    }

    fn last(&self) -> Option<Written> {
        match self.standing {
            Standing::Unregistered => None,
            Standing::Registered { last, .. } => Some(last),
            Standing::Denied { last, .. } => last,
        }
    }

    /// When the registration is to be written again; `None`: at once.
    fn refresh_at(&self) -> Option<BootTime> {
        let interval = self.seen.as_ref().map_or(Duration::ZERO, |(_, seen)| {
            // So that a write that fails can be tried again before the fence is reached.
            seen.check_interval.min(seen.timeout / 3)
        });
        match self.standing {
            Standing::Unregistered => None,
            Standing::Registered { last, .. } | Standing::Denied { last: Some(last), .. } => {
                Some(last.sent.plus(interval))
            }
            Standing::Denied { tried_at, last: None } => Some(tried_at.plus(DENIED_INTERVAL)),
        }
    }

    fn generation(&self) -> u64 {
        self.seen.as_ref().map_or(0, |(_, observation)| observation.generation)
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
