//! One snapshot of everything, read by console, page, metrics and programs alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use everline_core::ha::{Availability, Entry, History, Unavailable};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::words::{Situation, Words};
use crate::backend::pool::{PoolReport, Pools, PoolsStatus};
use crate::frontend::Context;
use crate::metrics::Metrics;
use crate::metrics::traffic::Counted;
use crate::sources::status::{CurrentSource, SourceStatus};
use crate::supervisor::{Leader, StatusHandle, Target};

/// The state of the server at one moment. Holds no secret: no password, no statement.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The version of this program.
    pub version: &'static str,
    /// The process.
    pub process_id: u32,
    /// When this was so, in milliseconds of Unix time.
    pub now_ms: u64,
    /// How long it has been running, in seconds.
    pub uptime_s: f64,
    /// `starting`, `healthy`, `unhealthy` or `failover`.
    pub state: String,
    /// Since when it is in that state, in seconds.
    pub state_for_s: f64,
    /// Whether statements are dispatched.
    pub available: bool,
    /// Why they are not.
    pub reason: Option<String>,
    /// What is being done, in a sentence.
    pub doing: String,
    /// What to do about it, in a sentence.
    pub advice: String,
    /// Whether the server is on its way out.
    pub draining: bool,
    /// The number of this reign.
    pub epoch: u64,
    /// Who says where the leader is, where the DSN does not.
    pub source: Option<SourceStatus>,
    /// Where the leader is.
    pub leader: Option<LeaderStatus>,
    /// Where the last leader was that was found.
    pub last_leader: Option<String>,
    /// How long the last answer of the leader is ago, in seconds.
    pub last_answer_ago_s: Option<f64>,
    /// How long the leader took for it, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// What last went wrong on the way to a leader.
    pub last_error: Option<String>,
    /// The addresses to which the names led when they were last asked.
    pub addresses: Vec<String>,
    /// Client connections.
    pub clients: usize,
    /// Of those: nothing is asked of a backend.
    pub clients_idle: usize,
    /// Of those: a backend connection is leased.
    pub clients_active: usize,
    /// Of those: a statement waits, for a connection or a leader.
    pub clients_waiting: usize,
    /// The most clients at a time.
    pub clients_max: usize,
    /// Client connections accepted since the start.
    pub accepted_total: u64,
    /// How long a statement is held, in seconds.
    pub hold_s: f64,
    /// Statements held at this moment.
    pub held: usize,
    /// Statements that have been held since the start.
    pub held_total: usize,
    /// Bytes of the statements held at this moment.
    pub held_bytes: usize,
    /// What is paused, in words.
    pub paused: Vec<String>,
    /// Statements refused with a code that invites a retry.
    pub retryable_total: u64,
    /// Statements whose outcome is unknown.
    pub unknown_total: u64,
    /// Statements answered by a backend.
    pub statements_total: u64,
    /// Transactions that came to an end at a backend.
    pub transactions_total: u64,
    /// Times at which dispatching stopped.
    pub outages_total: u64,
    /// How long the last of them lasted, in milliseconds.
    pub last_outage_ms: Option<f64>,
    /// How long the present one has lasted, in seconds.
    pub outage_for_s: Option<f64>,
    /// Those that the history remembers, newest first.
    pub outages: Vec<Outage>,
    /// Errors that were ours, not PostgreSQL's, by SQLSTATE.
    pub refusals: BTreeMap<String, u64>,
    /// The most backend connections that may be lent.
    pub budget: usize,
    /// Backend connections that there are, or that are being dialled.
    pub budget_used: usize,
    /// Each pool.
    pub pools: Vec<PoolStatus>,
    /// The last transitions, newest first.
    pub history: Vec<HistoryEntry>,
}

/// The leader as it presents itself.
#[derive(Debug, Serialize)]
pub struct LeaderStatus {
    /// Host and address.
    pub endpoint: String,
    /// Its timeline.
    pub timeline: Option<u32>,
    /// Its version.
    pub server_version: Option<String>,
}

/// One pool's counts.
#[derive(Debug, Serialize)]
pub struct PoolStatus {
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// Connections that nobody uses.
    pub idle: usize,
    /// Connections lent to sessions.
    pub lent: usize,
    /// Connections being dialled.
    pub dialling: usize,
    /// Sessions that wait.
    pub waiting: usize,
    /// Sessions that it serves.
    pub sessions: usize,
    /// How long the first of those that wait has waited, in seconds.
    pub longest_wait_s: f64,
}

/// One transition.
#[derive(Debug, Serialize)]
pub struct HistoryEntry {
    /// How long it is ago, in seconds.
    pub ago_s: f64,
    /// When it was, in milliseconds of Unix time.
    pub at_ms: u64,
    /// How long the phase before had lasted, in seconds.
    pub lasted_s: f64,
    /// The epoch it happened in.
    pub epoch: u64,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Whether statements are dispatched after it.
    pub available: bool,
    /// The cause, in one word.
    pub cause: &'static str,
    /// The cause, in words.
    pub why: String,
    /// What happened, and why.
    pub what: String,
}

/// A time in which nothing was dispatched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outage {
    /// How long ago it began, in seconds.
    pub ago_s: f64,
    /// When it began, in milliseconds of Unix time.
    pub at_ms: u64,
    /// How long it lasted, or has lasted so far, in milliseconds.
    pub lasted_ms: f64,
    /// Whether it is over.
    pub over: bool,
    /// What it began with.
    pub why: String,
}

/// What the snapshot is made from.
#[derive(Debug)]
pub struct Observer {
    /// The failover machine's side.
    pub ha: StatusHandle,
    /// The pools' side.
    pub pools: Arc<Pools>,
    /// The sessions' side.
    pub context: Arc<Context>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where statements go.
    pub targets: watch::Receiver<Arc<Target>>,
    /// Cancelled when the server is on its way out.
    pub drain: CancellationToken,
    /// The source's side, where there is one.
    pub source: CurrentSource,
    /// When the process started.
    pub started: Instant,
}

/// Why nothing is dispatched although the leader answers.
const FENCED: &str = "the source has not vouched for the leader for too long";

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl Observer {
    /// Why statements are not dispatched; `None`: they are.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<String> {
        match self.ha.snapshot().availability {
            Availability::Available if self.pools.target().fence.holds() => None,
            Availability::Available => Some(FENCED.to_owned()),
            Availability::Unavailable(why) => Some(why.to_string()),
        }
    }

    /// The state at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let ha = self.ha.snapshot();
        let pools = self.pools.status();
        let total = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let reason = self.why_not_ready();
        let databases = self.metrics.databases.counted();
        let traffic = databases.values().fold(Counted::default(), |sum, one| sum.plus(one));
        let clients = self.metrics.clients.load(Ordering::Relaxed);
        let sum = Sum::of(&pools);
        let live = self.context.live();
        let leader = ha.leader.as_deref();
        let place = leader.map(|leader| leader.endpoint.to_string()).or(ha.last_leader.clone());
        let paused: Vec<String> = pools.pauses.scopes().map(ToString::to_string).collect();
        let source = self.source.get().map(|source| source.snapshot());
        let words = Situation {
            phase: ha.phase(),
            reason: reason.as_deref(),
            paused: &paused,
            draining: self.drain.is_cancelled(),
            leader: place.as_deref(),
            held: pools.held,
            hold: live.hold,
            announced: source.is_some(),
            exhausted: sum.waiting > 0 && sum.lent >= pools.budget,
        };
        let Words { doing, advice } = words.words();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            process_id: std::process::id(),
            now_ms: unix_ms(Duration::ZERO),
            uptime_s: self.started.elapsed().as_secs_f64(),
            state: ha.phase().to_string(),
            state_for_s: ha.since.elapsed().as_secs_f64(),
            available: reason.is_none(),
            doing,
            advice,
            draining: self.drain.is_cancelled(),
            reason,
            epoch: ha.epoch,
            source,
            leader: leader.map(LeaderStatus::from),
            last_leader: ha.last_leader.clone(),
            last_answer_ago_s: ha.last_answer.map(|at| at.elapsed().as_secs_f64()),
            round_trip_ms: ha.round_trip.map(milliseconds),
            last_error: ha.last_error.clone(),
            addresses: ha.addresses.clone(),
            clients,
            clients_idle: clients.saturating_sub(sum.lent.saturating_add(sum.waiting)),
            clients_active: sum.lent,
            clients_waiting: sum.waiting,
            clients_max: live.clients_max,
            accepted_total: total(&self.metrics.accepted),
            hold_s: live.hold.as_secs_f64(),
            held: pools.held,
            held_total: pools.held_total,
            held_bytes: pools.held_bytes,
            paused,
            retryable_total: total(&self.metrics.retryable),
            unknown_total: total(&self.metrics.unknown),
            statements_total: traffic.statements,
            transactions_total: traffic.transactions,
            outages_total: ha.counters.outages,
            last_outage_ms: ha.counters.last_outage.map(milliseconds),
            outage_for_s: ha.outage_since.map(|since| since.elapsed().as_secs_f64()),
            outages: outages(&ha.history, Instant::now().into_std()),
            refusals: self.refusals(),
            budget: pools.budget,
            budget_used: sum.connections,
            pools: pools.pools.into_iter().map(PoolStatus::from).collect(),
            history: history(&ha.history),
        }
    }

    fn refusals(&self) -> BTreeMap<String, u64> {
        let all = self.metrics.refusals().into_iter();
        all.map(|(code, times)| (code.to_string(), times)).collect()
    }
}

/// Over all pools.
struct Sum {
    lent: usize,
    waiting: usize,
    connections: usize,
}

impl Sum {
    fn of(pools: &PoolsStatus) -> Self {
        let sum = |count: fn(&PoolReport) -> usize| pools.pools.iter().map(count).sum();
        Self {
            lent: sum(|pool| pool.counts.lent),
            waiting: sum(|pool| pool.counts.waiting),
            connections: sum(|pool| pool.counts.held()),
        }
    }
}

impl From<&Leader> for LeaderStatus {
    fn from(leader: &Leader) -> Self {
        Self {
            endpoint: leader.endpoint.to_string(),
            timeline: leader.identity.timeline,
            server_version: leader.parameters.get("server_version").cloned(),
        }
    }
}

impl From<PoolReport> for PoolStatus {
    fn from(pool: PoolReport) -> Self {
        Self {
            database: pool.key.database,
            user: pool.key.user,
            idle: pool.counts.idle,
            lent: pool.counts.lent,
            dialling: pool.counts.dialling,
            waiting: pool.counts.waiting,
            sessions: pool.sessions,
            longest_wait_s: pool.longest_wait.as_secs_f64(),
        }
    }
}

/// The calendar's word for so long ago, in milliseconds of Unix time.
pub(super) fn unix_ms(ago: Duration) -> u64 {
    let then = SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH);
    let since = then.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn history(history: &History) -> Vec<HistoryEntry> {
    let now = Instant::now().into_std();
    let entry = |entry: &Entry| {
        let ago = now.saturating_duration_since(entry.at);
        let with_detail = |words: String| match entry.detail.as_str() {
            "" => words,
            detail if words.contains(detail) => words,
            detail => format!("{words} ({detail})"),
        };
        let transition = &entry.transition;
        HistoryEntry {
            ago_s: ago.as_secs_f64(),
            at_ms: unix_ms(ago),
            lasted_s: entry.lasted.as_secs_f64(),
            epoch: transition.epoch,
            from: transition.from.to_string(),
            to: transition.to.to_string(),
            available: transition.availability.is_available(),
            cause: transition.cause.label(),
            why: with_detail(transition.cause.to_string()),
            what: with_detail(transition.to_string()),
        }
    };
    history.entries().rev().map(entry).collect()
}

/// The times in which nothing was dispatched, newest first. The time before the first leader is
/// none.
pub(super) fn outages(history: &History, now: std::time::Instant) -> Vec<Outage> {
    let mut outages: Vec<Outage> = Vec::new();
    let mut began: Option<&Entry> = None;
    let outage = |began: &Entry, end: std::time::Instant, over| {
        let ago = now.saturating_duration_since(began.at);
        Outage {
            ago_s: ago.as_secs_f64(),
            at_ms: unix_ms(ago),
            lasted_ms: milliseconds(end.saturating_duration_since(began.at)),
            over,
            why: began.transition.cause.to_string(),
        }
    };
    for entry in history.entries() {
        match entry.transition.availability {
            Availability::Available => {
                outages.extend(began.take().map(|began| outage(began, entry.at, true)));
            }
            Availability::Unavailable(Unavailable::Starting) => {}
            Availability::Unavailable(_) => began = began.or(Some(entry)),
        }
    }
    outages.extend(began.map(|began| outage(began, now, false)));
    outages.reverse();
    outages
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
