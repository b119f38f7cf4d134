//! What is known of the leader, and what has become of those before.

use std::time::{Duration, SystemTime};

use super::super::console::Desk;
use super::super::status::Status;
use super::super::table::{Row, Value};
use super::{calendar, whole, yes_no};

/// Name and value of everything that is known of the leadership.
pub(super) fn ha(status: &Status) -> Vec<Row> {
    let seconds = |value: f64| format!("{value:.1} s");
    let leader = status.leader.as_ref();
    let mut rows: Vec<(&str, Value)> = vec![
        ("state", status.state.clone().into()),
        ("doing", status.doing.clone().into()),
        ("advice", status.advice.clone().into()),
        ("state_for", seconds(status.state_for_s).into()),
        ("available", yes_no(status.available)),
        ("reason", status.reason.clone().into()),
        ("paused", status.paused.join("; ").into()),
        ("draining", yes_no(status.draining)),
        ("epoch", status.epoch.to_string().into()),
        ("leader", leader.map(|leader| leader.endpoint.clone()).into()),
        ("timeline", leader.and_then(|leader| leader.timeline).map(|at| at.to_string()).into()),
        ("server_version", leader.and_then(|leader| leader.server_version.clone()).into()),
        ("last_answer_ago", status.last_answer_ago_s.map(seconds).into()),
        ("round_trip", status.round_trip_ms.map(|ms| format!("{ms:.1} ms")).into()),
        ("addresses", status.addresses.join(", ").into()),
        ("last_error", status.last_error.clone().into()),
        ("held", status.held.to_string().into()),
        ("hold", seconds(status.hold_s).into()),
        ("outages", status.outages_total.to_string().into()),
        ("outage_for", status.outage_for_s.map(seconds).into()),
        ("last_outage", status.last_outage_ms.map(|ms| format!("{ms:.0} ms")).into()),
    ];
    if let Some(source) = &status.source {
        rows.push(("source", source.kind.into()));
        rows.push(("source_cluster", source.cluster.clone().into()));
        rows.push(("source_agent", source.agent.clone().into()));
        rows.push(("source_error", source.last_error.clone().into()));
    }
    rows.into_iter().map(|(name, value)| vec![name.into(), value]).collect()
}

pub(super) fn history(desk: &Desk) -> Vec<Row> {
    let entries = desk.observer.status().history.into_iter();
    entries
        .map(|entry| {
            vec![
                calendar(SystemTime::UNIX_EPOCH + Duration::from_millis(entry.at_ms)),
                whole(entry.ago_s),
                whole(entry.lasted_s),
                entry.epoch.into(),
                entry.from.into(),
                entry.to.into(),
                yes_no(entry.available),
                entry.cause.into(),
                entry.why.into(),
            ]
        })
        .collect()
}

pub(super) fn outages(desk: &Desk) -> Vec<Row> {
    let outages = desk.observer.status().outages.into_iter();
    outages
        .map(|outage| {
            vec![
                calendar(SystemTime::UNIX_EPOCH + Duration::from_millis(outage.at_ms)),
                whole(outage.lasted_ms),
                yes_no(outage.over),
                outage.why.into(),
            ]
        })
        .collect()
}
