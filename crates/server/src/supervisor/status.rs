//! What console, page and metrics read about the failover machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use everline_core::ha::{Availability, Cause, History, Phase, State, Transition, Unavailable};

use super::Leader;
use crate::metrics::histogram::{Histogram, OUTAGES};

/// A snapshot. Instants are those of the monotonic clock.
#[derive(Clone, Debug)]
pub struct HaStatus {
    /// What the machine believes.
    pub state: State,
    /// The current epoch.
    pub epoch: u64,
    /// Whether sessions may dispatch.
    pub availability: Availability,
    /// The leader of the epoch, once found. While unavailable: where it was.
    pub leader: Option<Arc<Leader>>,
    /// Where the last leader was that was found.
    pub last_leader: Option<String>,
    /// Since when the phase lasts.
    pub since: Instant,
    /// Since when nothing may be dispatched, if a leader had been found before.
    pub outage_since: Option<Instant>,
    /// Whether the system connection stands.
    pub system_up: bool,
    /// Open pool connections of the epoch.
    pub pooled: u32,
    /// When the leader last answered on the system connection that it is a primary.
    pub last_answer: Option<Instant>,
    /// How long that answer took.
    pub round_trip: Option<Duration>,
    /// The addresses to which the names led when they were last asked.
    pub addresses: Vec<String>,
    /// Why the last attempt to find the leader failed; `None` once it has been found.
    pub last_error: Option<String>,
    /// The last transitions.
    pub history: History,
    /// What has happened since the start.
    pub counters: Counters,
    /// How long the outages lasted that are over.
    pub outages: Arc<Histogram>,
}

/// Counts since the start of the process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Transitions into healthy.
    pub healthy: u64,
    /// Transitions into unhealthy.
    pub unhealthy: u64,
    /// Transitions into failover, by the cause's label.
    pub failovers: BTreeMap<&'static str, u64>,
    /// Epochs retired.
    pub retired: u64,
    /// Times that sessions were told to stop dispatching.
    pub outages: u64,
    /// How long the last outage that is over had lasted.
    pub last_outage: Option<Duration>,
    /// All outages that are over together; the time before the first leader is not one.
    pub outages_total: Duration,
    /// Names asked.
    pub resolves: u64,
    /// Names that had no answer.
    pub resolves_failed: u64,
    /// Dials of the system connection and of addresses that might be the leader.
    pub dials: u64,
    /// Dials that led to no primary.
    pub dials_failed: u64,
    /// Primaries that were refused: an older timeline, another cluster.
    pub refused: u64,
    /// Answers to the heartbeat.
    pub heartbeats: u64,
    /// Times that a session or the pool suspected the leader.
    pub suspicions: u64,
}

impl HaStatus {
    pub(super) fn new(state: State, availability: Availability, now: Instant) -> Self {
        Self {
            state,
            epoch: 1,
            availability,
            leader: None,
            last_leader: None,
            since: now,
            outage_since: None,
            system_up: false,
            pooled: 0,
            last_answer: None,
            round_trip: None,
            addresses: Vec::new(),
            last_error: None,
            history: History::new(now),
            counters: Counters::default(),
            outages: Arc::new(Histogram::new(OUTAGES)),
        }
    }

    pub(super) fn record(&mut self, transition: Transition, detail: String, now: Instant) {
        if transition.from != transition.to {
            self.since = now;
            self.count_phase(&transition);
        }
        match transition.availability {
            Availability::Available => {
                if let Some(since) = self.outage_since.take() {
                    let lasted = now.saturating_duration_since(since);
                    self.outages.observe(lasted);
                    self.counters.last_outage = Some(lasted);
                    let total = &mut self.counters.outages_total;
                    *total = total.saturating_add(lasted);
                }
            }
            Availability::Unavailable(Unavailable::Starting) => {}
            Availability::Unavailable(_) => {
                if self.outage_since.is_none() {
                    self.outage_since = Some(now);
                    self.counters.outages += 1;
                }
            }
        }
        if let Cause::LeaderFound(_) = transition.cause {
            self.last_leader = Some(detail.clone());
        }
        self.history.record(transition, detail, now);
    }

    fn count_phase(&mut self, transition: &Transition) {
        match transition.to {
            Phase::Healthy => self.counters.healthy += 1,
            Phase::Unhealthy => self.counters.unhealthy += 1,
            Phase::Failover => {
                *self.counters.failovers.entry(transition.cause.label()).or_default() += 1;
            }
            Phase::Starting => {}
        }
    }

    /// The state in one word.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.state.phase()
    }
}

/// Shares the status. Cheap to clone; the lock is held for a copy and never across a wait.
#[derive(Clone, Debug)]
pub struct StatusHandle(Arc<Mutex<HaStatus>>);

impl StatusHandle {
    pub(super) fn new(status: HaStatus) -> Self {
        Self(Arc::new(Mutex::new(status)))
    }

    /// A copy of what is so.
    #[must_use]
    pub fn snapshot(&self) -> HaStatus {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HaStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
