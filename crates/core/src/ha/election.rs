//! Which of the servers that say "I am a primary" is the leader.

use super::identity::{Identity, Node};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many candidates one election holds. Each is one address of the cluster.
pub const CANDIDATES_MAX: usize = 32;

/// How many different refusals are remembered, so that each is reported once.
const REFUSALS_MAX: usize = 64;

/// Elects the leader among the primaries that answered; `T` is what comes with a candidate (its
/// connection).
///
/// * The highest timeline of the same system identifier wins, then the highest position.
/// * A timeline lower than that of the last leader never wins: an old primary that returns writable
///   would take writes that are lost when it is rewound.
/// * Another system identifier is another cluster: refused, unless the setting accepts it; and even
///   then a candidate of the known cluster goes first.
/// * Who is clearly right is elected at once: the last leader itself, or a higher timeline than
///   its. Anyone else waits [`Election::grace`] for the answers that are still out.
/// * While a leader works, only a strictly higher timeline takes its place; an equal one does if no
///   name leads to the leader any more.
#[derive(Debug)]
pub struct Election<T> {
    grace: Duration,
    accept_new_cluster: bool,
    last: Option<Node>,
    candidates: Vec<Candidate<T>>,
    /// When the first of the candidates came.
    opened_at: Option<Instant>,
    reported: BTreeSet<(Arc<str>, Refused)>,
}

/// One that answered as a primary, and what came with it.
#[derive(Debug)]
pub struct Candidate<T> {
    /// Where it stands and who it says it is.
    pub node: Node,
    /// What came with it.
    pub with: T,
}

/// Why a candidate cannot be the leader.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Refused {
    /// It writes on a timeline that the cluster has left.
    OlderTimeline {
        /// The candidate's.
        timeline: u32,
        /// That of the last leader.
        last: u32,
    },
    /// It belongs to another cluster.
    OtherCluster {
        /// The candidate's system identifier.
        system_identifier: u64,
        /// That of the last leader.
        last: u64,
    },
    /// More candidates than there is room for.
    TooMany,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OlderTimeline { timeline, last } => write!(
                f,
                "refused: older timeline ({timeline}, the last leader was on {last}): \
                 an old primary has returned writable"
            ),
            Self::OtherCluster { system_identifier, last } => write!(
                f,
                "refused: another cluster (system identifier {system_identifier}, \
                 the last leader's was {last})"
            ),
            Self::TooMany => write!(f, "refused: more than {CANDIDATES_MAX} candidates"),
        }
    }
}

/// What became of a candidate that was offered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offer {
    /// It stands for election.
    Stands,
    /// It does not.
    Refused {
        /// Why.
        reason: Refused,
        /// Whether this address is refused so for the first time since the last election.
        first: bool,
    },
}

impl<T> Election<T> {
    /// An election that knows of no last leader.
    #[must_use]
    pub const fn new(grace: Duration, accept_new_cluster: bool) -> Self {
        Self {
            grace,
            accept_new_cluster,
            last: None,
            candidates: Vec::new(),
            opened_at: None,
            reported: BTreeSet::new(),
        }
    }

    /// Elects on other terms from the next offer on; who led last stays known.
    pub const fn set_terms(&mut self, grace: Duration, accept_new_cluster: bool) {
        self.grace = grace;
        self.accept_new_cluster = accept_new_cluster;
    }

    /// The leader last elected.
    #[must_use]
    pub const fn last(&self) -> Option<&Node> {
        self.last.as_ref()
    }

    /// How long a candidate that is not clearly right waits for others.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// Forgets the last leader and with it what is refused on its account: the operator's word.
    pub fn forget(&mut self) {
        self.last = None;
        self.reported.clear();
    }

    /// Takes a candidate; the later answer of one address replaces its earlier one.
    pub fn offer(&mut self, node: Node, with: T, now: Instant) -> Offer {
        self.candidates.retain(|candidate| candidate.node.address != node.address);
        let refused = self
            .refuses(&node.identity)
            .or_else(|| (self.candidates.len() >= CANDIDATES_MAX).then_some(Refused::TooMany));
        if let Some(reason) = refused {
            if self.candidates.is_empty() {
                self.opened_at = None;
            }
            return Offer::Refused { reason, first: self.is_first(&node.address, reason) };
        }
        self.candidates.push(Candidate { node, with });
        self.opened_at.get_or_insert(now);
        Offer::Stands
    }

    /// The elected leader, if the election can be decided at `now` with `outstanding` answers still
    /// to come. The others are dropped.
    pub fn decide(&mut self, now: Instant, outstanding: usize) -> Option<Candidate<T>> {
        let best = self.best()?;
        let over = self.deadline().is_some_and(|deadline| now >= deadline);
        let clear = self.candidates.get(best).is_some_and(|best| self.is_clear(&best.node));
        if !(clear || over || outstanding == 0) {
            return None;
        }
        let winner = self.candidates.swap_remove(best);
        self.elect(winner.node.clone());
        Some(winner)
    }

    /// When the grace is over, while candidates wait.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.opened_at.map(|opened_at| opened_at + self.grace)
    }

    /// Drops all candidates: the leader has been found in another way, or the outage is over.
    pub fn clear(&mut self) {
        self.candidates.clear();
        self.opened_at = None;
    }

    /// Judges a primary met while the leader works. `named` says whether a name still leads to the
    /// leader. On `Ok(true)` it has been elected in the leader's place; `Ok(false)`: it stays as
    /// is.
    ///
    /// # Errors
    /// Why it can never be the leader, and whether that is reported for the first time.
    pub fn challenge(&mut self, rival: &Node, named: bool) -> Result<bool, (Refused, bool)> {
        if let Some(reason) = self.refuses(&rival.identity) {
            return Err((reason, self.is_first(&rival.address, reason)));
        }
        let takes_over = match &self.last {
            None => true,
            Some(last) => takes_over(&last.identity, &rival.identity, named),
        };
        if takes_over {
            self.elect(rival.clone());
        }
        Ok(takes_over)
    }

    fn elect(&mut self, leader: Node) {
        self.last = Some(leader);
        self.reported.clear();
        self.clear();
    }

    fn refuses(&self, identity: &Identity) -> Option<Refused> {
        let last = &self.last.as_ref()?.identity;
        if last.is_other_cluster(identity) {
            if self.accept_new_cluster {
                return None;
            }
            let (system_identifier, last) = (identity.system_identifier?, last.system_identifier?);
            return Some(Refused::OtherCluster { system_identifier, last });
        }
        let (timeline, last) = (identity.timeline?, last.timeline?);
        (timeline < last).then_some(Refused::OlderTimeline { timeline, last })
    }

    /// The index of the candidate that is ahead of all others.
    fn best(&self) -> Option<usize> {
        let rank = |candidate: &Candidate<T>| {
            let node = &candidate.node;
            let last = self.last.as_ref();
            let known_cluster =
                !last.is_some_and(|last| last.identity.is_other_cluster(&node.identity));
            let known_address = last.is_some_and(|last| last.address == node.address);
            (
                known_cluster,
                node.identity.timeline,
                node.identity.lsn,
                known_address,
                Reverse(Arc::clone(&node.address)), // so that a run can be repeated
            )
        };
        self.candidates
            .iter()
            .enumerate()
            .max_by_key(|(_, candidate)| rank(candidate))
            .map(|(index, _)| index)
    }

    /// Whether nobody who is still to answer is worth waiting for.
    fn is_clear(&self, node: &Node) -> bool {
        let Some(last) = &self.last else { return false };
        let same_cluster = !last.identity.is_other_cluster(&node.identity);
        last.is_same_server(node) || (same_cluster && is_higher(&node.identity, &last.identity))
    }

    fn is_first(&mut self, address: &Arc<str>, reason: Refused) -> bool {
        self.reported.len() < REFUSALS_MAX && self.reported.insert((Arc::clone(address), reason))
    }
}

/// Whether `rival`, which is not refused, takes the place of a leader that works.
fn takes_over(leader: &Identity, rival: &Identity, named: bool) -> bool {
    if leader.is_other_cluster(rival) {
        return !named;
    }
    if is_higher(rival, leader) {
        return true;
    }
    // One server with two addresses, named in turns, must not end an epoch with each turn; and
    // nothing is taken from a leader that works on the word of a server that does not say its
    // timeline.
    let equal = rival.timeline.is_some() && rival.timeline == leader.timeline;
    !named && equal && !leader.is_same_postmaster(rival)
}

/// Whether `left` is known to write on a higher timeline than `right`.
fn is_higher(left: &Identity, right: &Identity) -> bool {
    matches!((left.timeline, right.timeline), (Some(left), Some(right)) if left > right)
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
