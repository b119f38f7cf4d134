//! One snapshot of everything, read by page, probes and programs alike.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use everline_core::ha::{Availability, Entry, History};
use serde::Serialize;
use tokio::time::Instant;

use crate::backend::pool::Pools;
use crate::metrics::Metrics;
use crate::sources::status::{SourceHandle, SourceStatus};
use crate::supervisor::StatusHandle;

/// The state of the server at one moment. Holds no secret: no password, no statement.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The version of this program.
    pub version: &'static str,
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
    /// The number of this reign.
    pub epoch: u64,
    /// Who says where the leader is, where the DSN does not.
    pub source: Option<SourceStatus>,
    /// Where the leader is.
    pub leader: Option<LeaderStatus>,
    /// How long the last answer of the leader is ago, in seconds.
    pub last_answer_ago_s: Option<f64>,
    /// How long the leader took for it, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// What last went wrong on the way to a leader.
    pub last_error: Option<String>,
    /// Client connections.
    pub clients: usize,
    /// Statements held at this moment.
    pub held: usize,
    /// Statements that have been held since the start.
    pub held_total: usize,
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
}

/// One transition.
#[derive(Debug, Serialize)]
pub struct HistoryEntry {
    /// How long it is ago, in seconds.
    pub ago_s: f64,
    /// The epoch it happened in.
    pub epoch: u64,
    /// What happened, and why.
    pub what: String,
}

/// What the snapshot is made from.
#[derive(Debug)]
pub struct Observer {
    /// The failover machine's side.
    pub ha: StatusHandle,
    /// The pools' side.
    pub pools: Arc<Pools>,
    /// The sessions' side.
    pub metrics: Arc<Metrics>,
    /// The source's side, where there is one.
    pub source: Option<SourceHandle>,
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
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.started.elapsed().as_secs_f64(),
            state: ha.phase().to_string(),
            state_for_s: ha.since.elapsed().as_secs_f64(),
            available: reason.is_none(),
            reason,
            epoch: ha.epoch,
            source: self.source.as_ref().map(SourceHandle::snapshot),
            leader: ha.leader.as_deref().map(|leader| LeaderStatus {
                endpoint: leader.endpoint.to_string(),
                timeline: leader.identity.timeline,
                server_version: leader.parameters.get("server_version").cloned(),
            }),
            last_answer_ago_s: ha.last_answer.map(|at| at.elapsed().as_secs_f64()),
            round_trip_ms: ha.round_trip.map(milliseconds),
            last_error: ha.last_error.clone(),
            clients: self.metrics.clients.load(Ordering::Relaxed),
            held: pools.held,
            held_total: pools.held_total,
            paused: pools.pauses.scopes().map(ToString::to_string).collect(),
            retryable_total: total(&self.metrics.retryable),
            unknown_total: total(&self.metrics.unknown),
            statements_total: total(&self.metrics.statements),
            transactions_total: total(&self.metrics.transactions),
            outages_total: ha.counters.outages,
            last_outage_ms: ha.counters.last_outage.map(milliseconds),
            pools: pools
                .pools
                .into_iter()
                .map(|(key, counts)| PoolStatus {
                    database: key.database,
                    user: key.user,
                    idle: counts.idle,
                    lent: counts.lent,
                    dialling: counts.dialling,
                    waiting: counts.waiting,
                })
                .collect(),
            history: history(&ha.history),
        }
    }
}

fn history(history: &History) -> Vec<HistoryEntry> {
    let now = Instant::now().into_std();
    let entry = |entry: &Entry| HistoryEntry {
        ago_s: now.saturating_duration_since(entry.at).as_secs_f64(),
        epoch: entry.transition.epoch,
        what: match entry.detail.as_str() {
            "" => entry.transition.to_string(),
            detail => format!("{} ({detail})", entry.transition),
        },
    };
    history.entries().rev().map(entry).collect()
}
