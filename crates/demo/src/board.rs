//! What has happened so far, written by the clients and read by the screen and the verdict.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everline_lab::ledger::{Observer, Outcome};
use tokio::time::Instant;

/// Width of one column of the timeline.
pub(crate) const COLUMN: Duration = Duration::from_millis(100);
/// From this long on a statement counts as one that waited.
const WAITED: Duration = Duration::from_millis(50);

/// One column of the timeline.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Column {
    /// Statements that promised rows.
    pub(crate) acknowledged: u64,
    /// Clients that have waited for an answer for more than 50 ms, at the column's end.
    pub(crate) waiting: u64,
    /// Statements failed retryably.
    pub(crate) retryable: u64,
    /// Statements of unknown outcome.
    pub(crate) unknown: u64,
}

/// Sums over the whole run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Rows promised.
    pub(crate) acknowledged: u64,
    /// Statements that waited across the outage and then succeeded.
    pub(crate) held: u64,
    /// Statements failed retryably.
    pub(crate) retryable: u64,
    /// Statements of unknown outcome.
    pub(crate) unknown: u64,
    /// Connections that ended although their client had not ended them.
    pub(crate) closed: u64,
}

/// A moment worth a line.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Since the beginning of the workload.
    pub(crate) at: Duration,
    /// What the timeline marks it with.
    pub(crate) mark: char,
    /// What happened.
    pub(crate) text: String,
}

/// How the participants are doing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Participants {
    /// Name, address and state of each node.
    pub(crate) nodes: Vec<(String, String)>,
    /// Who points at the leader, and what it says.
    pub(crate) guide: (String, String),
    /// What Everline says about itself.
    pub(crate) everline: String,
}

/// Everything the board holds.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) columns: Vec<Column>,
    pub(crate) totals: Totals,
    /// In the order in which they became known.
    pub(crate) events: Vec<Event>,
    pub(crate) participants: Participants,
    /// Errors that no client expects, by code, with the first text.
    pub(crate) surprises: BTreeMap<String, (u64, String)>,
    /// When the fault struck.
    pub(crate) fault: Option<Instant>,
    /// When the new leader accepted writes and was named.
    pub(crate) ready: Option<Instant>,
    /// When the first statement after that was acknowledged.
    pub(crate) served: Option<Instant>,
    current: Column,
    /// Milliseconds to the answer, of the statements of the last columns.
    latencies: Vec<(Instant, Duration)>,
}

/// The board: one per run, shared by all.
#[derive(Debug)]
pub(crate) struct Board {
    began: Instant,
    /// Per client, since when it has waited for an answer.
    waits: Vec<Mutex<Option<Instant>>>,
    state: Mutex<State>,
}

impl Board {
    /// A board for this many clients, from now on.
    pub(crate) fn new(clients: u16) -> Self {
        Self {
            began: Instant::now(),
            waits: (0..clients).map(|_| Mutex::new(None)).collect(),
            state: Mutex::new(State::default()),
        }
    }

    /// Reads or changes what is on it. Short: the clients wait meanwhile.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the run has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> u64 {
        u64::try_from(self.waits.len()).unwrap_or(u64::MAX)
    }

    /// Notes a moment.
    pub(crate) fn event(&self, mark: char, text: impl Into<String>) {
        self.event_at(self.elapsed(), mark, text);
    }

    /// Notes a moment that is known late.
    pub(crate) fn event_at(&self, at: Duration, mark: char, text: impl Into<String>) {
        self.state().events.push(Event { at, mark, text: text.into() });
    }

    /// Ends the columns of the timeline that are over.
    pub(crate) fn end_columns(&self) {
        let now = Instant::now();
        let waiting = self.waits.iter().filter(|wait| {
            let since = *wait.lock().unwrap_or_else(PoisonError::into_inner);
            since.is_some_and(|since| now - since >= WAITED)
        });
        let waiting = u64::try_from(waiting.count()).unwrap_or(u64::MAX);
        let due = self.elapsed().as_millis() / COLUMN.as_millis();
        let due = usize::try_from(due).unwrap_or(usize::MAX);
        let mut state = self.state();
        while state.columns.len() < due {
            let column = Column { waiting, ..std::mem::take(&mut state.current) };
            state.columns.push(column);
        }
        state.latencies.retain(|(at, _)| now - *at <= Duration::from_secs(1));
    }

    /// Notes since when this client waits; since when it did before.
    fn set_wait(&self, client: u16, since: Option<Instant>) -> Option<Instant> {
        let wait = self.waits.get(usize::from(client))?;
        std::mem::replace(&mut *wait.lock().unwrap_or_else(PoisonError::into_inner), since)
    }
}

impl Observer for Board {
    fn asks(&self, client: u16) {
        self.set_wait(client, Some(Instant::now()));
    }

    fn answered(&self, client: u16, outcome: Outcome) {
        let now = Instant::now();
        let asked = self.set_wait(client, None).unwrap_or(now);
        let mut state = self.state();
        let state = &mut *state;
        let succeeded = matches!(outcome, Outcome::Done | Outcome::Acknowledged(_));
        if succeeded {
            let across = state.fault.is_some() && state.served.is_none_or(|served| asked < served);
            if across && now - asked >= WAITED {
                state.totals.held += 1;
            }
            state.latencies.push((now, now - asked));
        }
        match outcome {
            Outcome::Done | Outcome::Refused => {}
            Outcome::Acknowledged(rows) => {
                state.totals.acknowledged += rows;
                state.current.acknowledged += 1;
                // What was asked before the new leader was ready may have been answered by the
                // old one; in an outage it was not, and the wait is part of the outage.
                if state.ready.is_some() && state.served.is_none() {
                    state.served = Some(now);
                }
            }
            Outcome::Retryable => {
                state.totals.retryable += 1;
                state.current.retryable += 1;
            }
            Outcome::Unknown => {
                state.totals.unknown += 1;
                state.current.unknown += 1;
            }
        }
    }

    fn closed(&self) {
        self.state().totals.closed += 1;
    }

    fn surprise(&self, code: &str, text: &str) {
        let mut state = self.state();
        let seen = state.surprises.entry(code.to_owned()).or_insert((0, text.to_owned()));
        seen.0 += 1;
    }
}

impl State {
    /// The answer time that 99 of 100 statements of the last second kept.
    pub(crate) fn p99(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.latencies.iter().map(|(_, took)| *took).collect();
        sorted.sort_unstable();
        let at = sorted.len().saturating_mul(99) / 100;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied()
    }

    /// Statements that promised rows in the last second.
    pub(crate) fn per_second(&self) -> u64 {
        self.columns.iter().rev().take(10).map(|column| column.acknowledged).sum()
    }

    /// From the new leader's readiness to the first acknowledged statement.
    pub(crate) fn outage(&self) -> Option<Duration> {
        Some(self.served?.saturating_duration_since(self.ready?))
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
