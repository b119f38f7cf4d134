//! Where the leader is looked for, and when: bookkeeping without I/O.
//!
//! Rounds begin at the pace of the backoff while there is no system connection, and every few
//! seconds while there is one. Each round asks every name anew; each answer leads to dials of the
//! addresses to which none is under way. So a dial that hangs holds up nothing but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use everline_core::retry::{Backoff, Pace};
use rand::Rng;
use tokio::time::Instant;

use crate::backend::{Address, Endpoint};
use crate::config::dsn::HostPort;

/// Dials of the search that are under way at the same time, over all names.
const DIALS_MAX: usize = 64;

/// The shortest time between two rounds while the system connection stands.
const LOOK_GAP_MIN: Duration = Duration::from_millis(250);

/// The time between two rounds while the leader is late with an answer: its name may lead to the
/// next one long before it is given up.
const DOUBT_GAP: Duration = Duration::from_millis(100);

/// How long one doubt lasts unless it is renewed.
const DOUBT: Duration = Duration::from_secs(1);

/// How often is looked while no name leads to the leader any more, at the slowest.
const ASTRAY_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// How long an address counts as named after the last answer that held it. A name server that gives
/// out one address of several in turn must not make each of them doubtful in the next instant.
const NAMED_FOR: Duration = Duration::from_secs(1);

/// A system connection that stood for less is no success: the backoff goes on.
const STOOD_MIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Search {
    hosts: Vec<Known>,
    /// Counts changes of the list of hosts, so that answers about an older list are recognised.
    edition: u64,
    /// Addresses to which a dial is under way.
    dialling: BTreeSet<Address>,
    aim: Aim,
    next_at: Instant,
    backoff: Backoff,
    look_interval: Duration,
}

#[derive(Debug)]
struct Known {
    host: HostPort,
    /// A question to the resolver is under way.
    asking: bool,
    /// What the last answer said.
    endpoints: Vec<Endpoint>,
    /// When each address was last in an answer, as far as that counts.
    named: BTreeMap<Address, Instant>,
    /// Whether the last question was answered.
    fresh: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Aim {
    /// There is no system connection.
    Seek { since: Instant },
    /// There is one, to this address.
    Watch { leader: Address, since: Instant, looked_at: Instant, doubt_until: Instant },
}

/// A question to the resolver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Question {
    pub edition: u64,
    pub index: usize,
    pub host: HostPort,
}

impl Search {
    pub(super) fn new(
        hosts: Vec<HostPort>,
        look_interval: Duration,
        pace: Pace,
        now: Instant,
    ) -> Self {
        let backoff = Backoff::new(pace);
        let aim = Aim::Seek { since: now };
        let dialling = BTreeSet::new();
        let hosts = hosts.into_iter().map(Known::new).collect();
        let look_interval = look_interval.max(LOOK_GAP_MIN);
        Self { hosts, edition: 0, dialling, aim, next_at: now, backoff, look_interval }
    }

    /// When the next round is due.
    pub(super) const fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Whether there is no system connection.
    pub(super) const fn is_seeking(&self) -> bool {
        matches!(self.aim, Aim::Seek { .. })
    }

    /// Begins a round if one is due: the questions to ask. A name whose question is still under way
    /// is not asked again.
    pub(super) fn round(&mut self, now: Instant, rng: &mut impl Rng) -> Vec<Question> {
        if now < self.next_at {
            return Vec::new();
        }
        let wait = match &mut self.aim {
            Aim::Seek { since } => self.backoff.wait(now.saturating_duration_since(*since), rng),
            Aim::Watch { looked_at, doubt_until, .. } => {
                *looked_at = now;
                if now < *doubt_until { DOUBT_GAP } else { self.look_interval }
            }
        };
        self.next_at = now + wait;
        let edition = self.edition;
        let hosts = self.hosts.iter_mut().enumerate().filter(|(_, known)| !known.asking);
        hosts
            .map(|(index, known)| {
                known.asking = true;
                Question { edition, index, host: known.host.clone() }
            })
            .collect()
    }

    /// Takes the resolver's answer, `None` if there was none: the endpoints to dial.
    ///
    /// Without an answer the last known addresses are dialled while there is no system connection:
    /// a resolver that fails must not keep us from a leader that has come back where it was.
    pub(super) fn resolved(
        &mut self,
        question: &Question,
        answer: Option<Vec<Endpoint>>,
        now: Instant,
    ) -> Vec<Endpoint> {
        if question.edition != self.edition {
            return Vec::new();
        }
        let Some(known) = self.hosts.get_mut(question.index) else { return Vec::new() };
        known.asking = false;
        known.fresh = answer.is_some();
        if let Some(endpoints) = answer {
            known.named.retain(|_, at| now < *at + NAMED_FOR);
            known.named.extend(endpoints.iter().map(|endpoint| (endpoint.address.clone(), now)));
            known.endpoints = endpoints;
        } else if !matches!(self.aim, Aim::Seek { .. }) {
            return Vec::new();
        }
        let mut wanted = Vec::new();
        for endpoint in &known.endpoints {
            let at_leader = self.aim.is_at(&endpoint.address);
            let room = self.dialling.len() < DIALS_MAX;
            if room && !at_leader && self.dialling.insert(endpoint.address.clone()) {
                wanted.push(endpoint.clone());
            }
        }
        if let Aim::Watch { leader, looked_at, .. } = &self.aim
            && !self.is_named(leader, now)
        {
            self.next_at = self.next_at.min(*looked_at + ASTRAY_INTERVAL_MAX);
        }
        wanted
    }

    /// A dial to this address is over.
    pub(super) fn dialled(&mut self, address: &Address) {
        self.dialling.remove(address);
    }

    /// How many answers of resolver and nodes are still to come.
    pub(super) fn outstanding(&self) -> usize {
        self.dialling.len() + self.hosts.iter().filter(|known| known.asking).count()
    }

    /// Whether a name leads to this address, or led there a moment ago; yes as long as any name has
    /// no fresh answer.
    pub(super) fn is_named(&self, address: &Address, now: Instant) -> bool {
        self.hosts.iter().any(|known| {
            let in_last = known.endpoints.iter().any(|endpoint| endpoint.address == *address);
            let recent = known.named.get(address).is_some_and(|at| now < *at + NAMED_FOR);
            !known.fresh || in_last || recent
        })
    }

    /// There is no system connection, or it shall be given up: looks for the leader at once.
    pub(super) fn seek(&mut self, now: Instant, rng: &mut impl Rng) {
        let stood = match &self.aim {
            Aim::Seek { .. } => None,
            Aim::Watch { since, .. } => Some(now.saturating_duration_since(*since)),
        };
        self.next_at = match stood {
            Some(stood) if stood < STOOD_MIN => now + self.backoff.wait(Duration::ZERO, rng),
            Some(_) => {
                self.backoff.reset();
                now
            }
            None => now,
        };
        if stood.is_some() {
            self.aim = Aim::Seek { since: now };
        }
    }

    /// The system connection stands at this address.
    pub(super) fn watch(&mut self, leader: Address, now: Instant) {
        self.aim = Aim::Watch { leader, since: now, looked_at: now, doubt_until: now };
        self.next_at = now + self.look_interval;
    }

    /// Something is suspicious: looks soon.
    pub(super) fn nudge(&mut self) {
        if let Aim::Watch { looked_at, .. } = &self.aim {
            self.next_at = self.next_at.min(*looked_at + LOOK_GAP_MIN);
        }
    }

    /// The leader is late with an answer: looks at once, and often for a while.
    pub(super) fn doubt(&mut self, now: Instant) {
        if let Aim::Watch { looked_at, doubt_until, .. } = &mut self.aim {
            *doubt_until = now + DOUBT;
            self.next_at = self.next_at.min(*looked_at + DOUBT_GAP);
        }
    }

    /// Looks at other hosts from here on, at once. Answers that are still to come are of no use.
    pub(super) fn follow(&mut self, hosts: Vec<HostPort>, now: Instant) {
        self.hosts = hosts.into_iter().map(Known::new).collect();
        self.edition += 1;
        self.dialling.clear();
        self.backoff.reset();
        self.aim = Aim::Seek { since: now };
        self.next_at = now;
    }

    /// Looks at another pace, from the next round on.
    pub(super) fn set_pace(&mut self, look_interval: Duration, pace: Pace) {
        self.look_interval = look_interval.max(LOOK_GAP_MIN);
        self.backoff = Backoff::new(pace);
    }

    /// Counts the changes of the list of hosts.
    pub(super) const fn edition(&self) -> u64 {
        self.edition
    }

    /// The addresses to which the names led when they were last asked.
    pub(super) fn addresses(&self) -> Vec<String> {
        let endpoints = self.hosts.iter().flat_map(|known| &known.endpoints);
        endpoints.map(ToString::to_string).collect()
    }
}

impl Aim {
    fn is_at(&self, address: &Address) -> bool {
        match self {
            Self::Seek { .. } => false,
            Self::Watch { leader, .. } => leader == address,
        }
    }
}

impl Known {
    const fn new(host: HostPort) -> Self {
        Self { host, asking: false, endpoints: Vec::new(), named: BTreeMap::new(), fresh: false }
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
