//! What came of it, driver by driver: counts for the manual, and what must not have happened.

use std::collections::{BTreeMap, BTreeSet};

use everline_lab::succession::Fault;
use everline_lab::turnstile::Passed;
use tokio::time::Instant;

use crate::course::{ACTS, Course, Seen};
use crate::program::Said;
use crate::roster::{Driver, GivesUp, Shape};

/// Our codes: it surely had no effect; nobody knows.
const RETRYABLE: &str = "40001";
const UNKNOWN: [&str; 2] = ["08007", "40003"];

/// Most lines that are shown as evidence for rows that are lost or doubled.
const EVIDENCE_MAX: usize = 5;

/// What was counted in one part: one fault, and the work before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Rows that were promised.
    pub(crate) acknowledged: u64,
    /// Errors 40001 that reached the application.
    pub(crate) retryable: u64,
    /// Errors 08007.
    pub(crate) unknown: u64,
    /// Times that a helper began a transaction again.
    pub(crate) retried: u64,
    /// Connections that Everline ended.
    pub(crate) closed: u64,
    /// Connections that the driver or its pool gave up.
    pub(crate) given_up: u64,
    /// Promised rows that are not there, and halves of transactions.
    pub(crate) lost: u64,
    /// Rows that are there more than once, or although an error says that they are not.
    pub(crate) doubled: u64,
}

/// One driver's result.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// For each act, for each fault.
    pub(crate) counts: Vec<Vec<(Fault, Counts)>>,
    /// What must not have happened, in words.
    pub(crate) wrong: Vec<String>,
}

/// Judges one driver.
pub(crate) fn judge(course: &Course, driver: &Driver) -> Verdict {
    let mut verdict = Verdict::default();
    let mut retried = 0;
    for seen in course.seen.iter().filter(|seen| seen.driver.name == driver.name) {
        let faults = ACTS[seen.act].faults;
        let hold = ACTS[seen.act].hold;
        verdict.wrong.extend(seen.missed.iter().map(|missed| format!("hold {hold}: {missed}")));
        let parts = parts(course, seen, &mut verdict.wrong);
        for (at, (fault, counts)) in faults.iter().zip(&parts).enumerate() {
            retried += counts.retried;
            let place = format!("hold {hold}, {fault}");
            verdict.wrong.extend(wrong(driver, seen, counts, at, &place));
        }
        complaints(seen, hold, &mut verdict.wrong);
        verdict.counts.push(faults.iter().copied().zip(parts).collect());
    }
    if retried == 0 {
        verdict.wrong.push("its helper never began a transaction again".to_owned());
    }
    verdict
}

/// The counts of each part of an act.
fn parts(course: &Course, seen: &Seen, evidence: &mut Vec<String>) -> Vec<Counts> {
    let mut parts = vec![Counts::default(); seen.began.len()];
    let promised: BTreeSet<u64> =
        said(seen, "acknowledged").flat_map(|said| &said.keys).copied().collect();
    for said in &seen.said {
        let counts = &mut parts[part(seen, said.at)];
        let before = (counts.lost, counts.doubled);
        match said.event.as_str() {
            "acknowledged" => {
                counts.acknowledged += u64::try_from(said.keys.len()).unwrap();
                book(course, &said.keys, Some(true), counts);
            }
            "error" => {
                // An error about a row that was promised before came when it was looked for.
                let written = said.keys.iter().all(|key| !promised.contains(key));
                let keys: &[u64] = if written { &said.keys } else { &[] };
                if said.sqlstate == RETRYABLE {
                    counts.retryable += 1;
                    book(course, keys, Some(false), counts);
                } else if UNKNOWN.contains(&said.sqlstate.as_str()) {
                    counts.unknown += 1;
                    book(course, keys, None, counts);
                }
            }
            "retried" => counts.retried += 1,
            // A promised row that is looked for at once and is not there has been lost meanwhile.
            "read" if said.found == 0 => counts.lost += 1,
            _ => {}
        }
        if before != (counts.lost, counts.doubled) && evidence.len() < EVIDENCE_MAX {
            let there: Vec<_> = said.keys.iter().map(|key| course.rows.get(key)).collect();
            evidence.push(format!("evidence: {said:?}, there: {there:?}"));
        }
    }
    for (at, counts) in parts.iter_mut().enumerate() {
        for (_, passed) in ends(seen, at) {
            counts.closed += passed.ended_by_server;
            counts.given_up += passed.ended_by_client;
        }
    }
    parts
}

/// The connections that ended in one part, shape by shape.
fn ends(seen: &Seen, part: usize) -> impl Iterator<Item = (Shape, Passed)> {
    let before = part.checked_sub(1).and_then(|before| seen.passed.get(before));
    seen.passed.get(part).into_iter().flatten().map(move |(shape, now)| {
        let then = before.and_then(|before| before.get(shape)).copied().unwrap_or_default();
        let passed = Passed {
            opened: now.opened - then.opened,
            ended_by_client: now.ended_by_client - then.ended_by_client,
            ended_by_server: now.ended_by_server - then.ended_by_server,
        };
        (*shape, passed)
    })
}

/// Compares what was said of these rows, written together, with what is there.
fn book(course: &Course, keys: &[u64], promised: Option<bool>, counts: &mut Counts) {
    let there: Vec<u64> =
        keys.iter().map(|key| course.rows.get(key).copied().unwrap_or(0)).collect();
    let missing = u64::try_from(there.iter().filter(|count| **count == 0).count()).unwrap();
    let present = u64::try_from(there.len()).unwrap() - missing;
    counts.doubled += there.iter().map(|count| count.saturating_sub(1)).sum::<u64>();
    match promised {
        Some(true) => counts.lost += missing,
        Some(false) => counts.doubled += present,
        None if present > 0 => counts.lost += missing,
        None => {}
    }
}

fn part(seen: &Seen, at: Instant) -> usize {
    seen.began.iter().rposition(|began| *began <= at).unwrap_or(0)
}

fn said<'a>(seen: &'a Seen, event: &'a str) -> impl Iterator<Item = &'a Said> {
    seen.said.iter().filter(move |said| said.event == event)
}

/// What must not be in one part.
fn wrong(driver: &Driver, seen: &Seen, counts: &Counts, part: usize, place: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let ended: Vec<_> = ends(seen, part)
        .filter(|(_, passed)| passed.ended_by_client + passed.ended_by_server > 0)
        .map(|(shape, _)| shape.name())
        .collect();
    let ended = ended.join(", ");
    let mut zero = |count: u64, what: &str| {
        if count > 0 {
            let where_ =
                if what.starts_with("conn") { format!(" ({ended})") } else { String::new() };
            wrong.push(format!("{place}: {count} {what}{where_}"));
        }
    };
    zero(counts.closed, "connections closed by Everline");
    zero(counts.lost, "rows lost");
    zero(counts.doubled, "rows doubled");
    let given_up = match driver.gives_up {
        _ if driver.probes && ACTS[seen.act].hold == "0s" => 0,
        GivesUp::Nothing => counts.given_up,
        GivesUp::WhenUnknown => counts.given_up.saturating_sub(counts.unknown),
        GivesUp::InTheShortcut => counts.given_up.saturating_sub(errors_of_the_shortcut(seen)),
    };
    zero(given_up, "connections given up by the driver or its pool");
    if counts.acknowledged == 0 {
        wrong.push(format!("{place}: nothing was acknowledged"));
    }
    wrong
}

fn errors_of_the_shortcut(seen: &Seen) -> u64 {
    let errors = said(seen, "error").filter(|said| said.shape == Shape::Shortcut.name());
    u64::try_from(errors.count()).unwrap()
}

/// Errors that nobody expects, and a driver that does not agree with its doors.
fn complaints(seen: &Seen, hold: &str, wrong: &mut Vec<String>) {
    let mut texts: BTreeMap<String, u64> = BTreeMap::new();
    for said in &seen.said {
        let expected = said.sqlstate == RETRYABLE || UNKNOWN.contains(&said.sqlstate.as_str());
        if said.event == "broken" || said.event == "error" && !expected {
            let text = format!("{}: {} {}", said.shape, said.sqlstate, said.text);
            *texts.entry(text).or_default() += 1;
        }
    }
    wrong.extend(texts.iter().map(|(text, times)| format!("hold {hold}: {times} times {text}")));
    let Some(passed) = seen.passed.last() else { return };
    for (shape, passed) in passed {
        let ids: BTreeSet<&str> = said(seen, "connection")
            .filter(|said| said.shape == shape.name())
            .map(|said| said.id.as_str())
            .collect();
        let named = u64::try_from(ids.len()).unwrap();
        // Some drivers do not say who they are; none may name more than it opened.
        if named > passed.opened {
            let opened = passed.opened;
            let name = shape.name();
            wrong.push(format!("hold {hold}: {name}: {named} connections named, {opened} opened"));
        }
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
