//! What came of it, checked against the new leader's rows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::args::{Args, Fault};
use crate::board::State;
use crate::ledger::{Entry, Promise};

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
            lost: audit.lost,
            doubled: audit.doubled,
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

/// What the rows say about the promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Audit {
    lost: u64,
    doubled: u64,
}

fn audit(entries: &[Entry], rows: &[(u64, u64)]) -> Audit {
    let present: BTreeMap<u64, u64> = rows.iter().copied().collect();
    let mut audit = Audit { lost: 0, doubled: 0 };
    for entry in entries {
        let ids = entry.first..entry.first + entry.count;
        let counts = ids.map(|id| present.get(&id).copied().unwrap_or(0));
        let (mut missing, mut there, mut repeated) = (0, 0, 0);
        for count in counts {
            match count {
                0 => missing += 1,
                1 => there += 1,
                2.. => repeated += 1,
            }
        }
        audit.doubled += repeated;
        match entry.promise {
            Promise::Acknowledged => audit.lost += missing,
            // All or nothing: a half is a loss whatever was told.
            Promise::Unknown if missing < entry.count => audit.lost += missing,
            Promise::Unknown => {}
            // It would be there twice had the client believed the error and repeated it.
            Promise::Refused => audit.doubled += there,
        }
    }
    audit
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
