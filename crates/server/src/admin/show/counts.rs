//! How many there are of everything, and how much it has been used.

use std::sync::{Arc, PoisonError};

use super::super::console::Desk;
use super::super::status::PoolStatus;
use super::super::table::{Row, Value};
use super::{mode, place, yes_no};
use crate::config::Shown;
use crate::metrics::traffic::Counted;

/// The names of `SHOW TOTALS`.
const NAMES: [&str; 14] = [
    "total_xact_count",
    "total_query_count",
    "total_received",
    "total_sent",
    "total_xact_time",
    "total_query_time",
    "total_wait_time",
    "avg_xact_count",
    "avg_query_count",
    "avg_recv",
    "avg_sent",
    "avg_xact_time",
    "avg_query_time",
    "avg_wait_time",
];

pub(super) fn counts(database: &str, counted: &Counted) -> Row {
    let numbers = numbers(counted);
    [database.into()].into_iter().chain(numbers).collect()
}

/// In PgBouncer's order; times in microseconds.
pub(super) fn numbers(counted: &Counted) -> [Value; 7] {
    [
        counted.transactions.into(),
        counted.statements.into(),
        counted.received.into(),
        counted.sent.into(),
        counted.transaction_us.into(),
        counted.statement_us.into(),
        counted.wait_us.into(),
    ]
}

pub(super) fn stats(desk: &Desk) -> Vec<Row> {
    let averages = desk.averages.get();
    let row = |(database, counted): (Arc<str>, Counted)| {
        let average = averages.get(&database).copied().unwrap_or_default();
        let name = [Value::from(&*database)].into_iter();
        name.chain(numbers(&counted)).chain(numbers(&average)).collect()
    };
    desk.observer.metrics.databases.counted().into_iter().map(row).collect()
}

pub(super) fn totals(desk: &Desk) -> Vec<Row> {
    let all = desk.observer.metrics.databases.counted();
    let all = all.values().fold(Counted::default(), |sum, one| sum.plus(one));
    let averages = desk.averages.get();
    let average = averages.values().fold(Counted::default(), |sum, one| sum.plus(one));
    let values = numbers(&all).into_iter().chain(numbers(&average));
    NAMES.into_iter().zip(values).map(|(name, value)| vec![name.into(), value]).collect()
}

pub(super) fn databases(desk: &Desk) -> Vec<Row> {
    let target = desk.observer.pools.target();
    let leader = target.leader.as_deref();
    let pools = desk.observer.pools.status();
    let names = desk.observer.metrics.databases.counted();
    names
        .keys()
        .map(|name| {
            let of_it = pools.pools.iter().filter(|pool| *pool.key.database == **name);
            let connections: usize = of_it.map(|pool| pool.counts.held()).sum();
            let [address, port] =
                leader.map_or([Value::Null, Value::Null], |leader| place(&leader.endpoint));
            vec![
                (&**name).into(),
                address,
                port,
                (&**name).into(),
                Value::Null,
                pools.budget.into(),
                Value::Int(0),
                Value::Int(0),
                mode(desk, name, "").into(),
                pools.budget.into(),
                connections.into(),
                desk.is_paused(name).into(),
                desk.observer.context.doors.is_closed(name).into(),
            ]
        })
        .collect()
}

pub(super) fn lists(desk: &Desk) -> Vec<Row> {
    let status = desk.observer.status();
    let live = desk.observer.context.live();
    let sum = |count: fn(&PoolStatus) -> usize| -> usize { status.pools.iter().map(count).sum() };
    let databases = desk.observer.metrics.databases.counted().len();
    let rows: [(&str, usize); 12] = [
        ("databases", databases),
        ("users", live.users.len()),
        ("pools", status.pools.len()),
        ("free_clients", status.clients_max.saturating_sub(status.clients)),
        ("used_clients", status.clients),
        ("login_clients", status.clients.saturating_sub(sum(|pool| pool.sessions))),
        ("free_servers", sum(|pool| pool.idle)),
        ("used_servers", sum(|pool| pool.lent)),
        ("dns_names", status.addresses.len().min(1)),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    rows.into_iter().map(|(name, count)| vec![name.into(), count.into()]).collect()
}

pub(super) fn config(desk: &Desk) -> Vec<Row> {
    let shown = desk.settings.lock();
    let row = |setting: &Shown| {
        let default = Value::from(Some(setting.default).filter(|default| !default.is_empty()));
        vec![setting.key.into(), setting.value.clone().into(), default, yes_no(setting.changeable)]
    };
    shown.unwrap_or_else(PoisonError::into_inner).iter().map(row).collect()
}
