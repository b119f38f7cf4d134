//! What came of it, checked against the new leader's rows.

use std::time::Duration;

use everline_lab::ledger::{Entry, audit};
use serde::Serialize;

use crate::args::{Args, Fault};
use crate::board::State;

/// The verdict on one run; the JSON object of `--json`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    /// Connections of clients that ended although the client had not ended them.
    pub(crate) frontends_closed: u64,
    /// Statements that waited more than 50 ms across the outage and then succeeded.
    pub(crate) held: u64,
    /// Statements failed with 40001.
    pub(crate) retryable: u64,
    /// Statements whose outcome the client was told to be unknown, or never learnt.
    pub(crate) unknown: u64,
    /// Rows whose commit was acknowledged.
    pub(crate) acknowledged: u64,
    /// Of them, rows that the new leader does not have; and rows of half transactions.
    pub(crate) lost: u64,
    /// Rows there more than once, or there although an error said that they are not.
    pub(crate) doubled: u64,
    /// Milliseconds from the new leader accepting writes, and being named, to the first
    /// acknowledged statement; null when there was none.
    pub(crate) outage_ms: Option<u64>,
    /// How Everline found the leader: `adaptive` or `stolon`.
    pub(crate) ha: String,
    /// Who decided which node leads: `demo`, or `stolon` with its own programs.
    pub(crate) manager: &'static str,
    /// What happened to the leader.
    pub(crate) fault: String,
    /// `--hold`.
    pub(crate) hold: String,
}

impl Verdict {
    /// Judges a run from what its clients were told and what the leader has.
    pub(crate) fn new(
        args: &Args,
        fault: Fault,
        manager: &'static str,
        state: &State,
        entries: &[Entry],
        rows: &[(u64, u64)],
    ) -> Self {
        let audit = audit(entries, rows);
        let totals = state.totals;
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            frontends_closed: totals.closed,
            held: totals.held,
            retryable: totals.retryable,
            unknown: totals.unknown,
            acknowledged: totals.acknowledged,
            lost: audit.lost(),
            doubled: audit.doubled(),
            outage_ms: state.outage().map(milliseconds),
            ha: args.ha.to_string(),
            manager,
            fault: fault.to_string(),
            hold: humantime::format_duration(args.hold).to_string(),
        }
    }

    /// Whether the promise was kept: nothing closed, lost or doubled, and service came back.
    pub(crate) fn is_good(&self) -> bool {
        self.frontends_closed == 0
            && self.lost == 0
            && self.doubled == 0
            && self.outage_ms.is_some()
    }
}
