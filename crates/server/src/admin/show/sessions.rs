//! Clients and the connections that are lent to them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::console::Desk;
use super::super::table::{Row, Value};
use super::{ago, calendar, mode, place, yes_no};
use crate::backend::Endpoint;
use crate::frontend::roster::Client;

fn micros(time: Duration) -> Value {
    Value::Int(i64::from(time.subsec_micros()))
}

pub(super) fn pools(desk: &Desk) -> Vec<Row> {
    let pools = desk.observer.pools.status().pools.into_iter();
    pools
        .map(|pool| {
            let mode = mode(desk, &pool.key.database, &pool.key.user);
            let none = || Value::Int(0);
            vec![
                pool.key.database.into(),
                pool.key.user.into(),
                pool.sessions.saturating_sub(pool.counts.waiting).into(),
                pool.counts.waiting.into(),
                none(),
                none(),
                pool.counts.lent.into(),
                none(),
                none(),
                pool.counts.idle.into(),
                none(),
                none(),
                pool.counts.dialling.into(),
                pool.longest_wait.as_secs().into(),
                micros(pool.longest_wait),
                mode.into(),
            ]
        })
        .collect()
}

pub(super) fn tls(yes: bool) -> Value {
    if yes { "TLS" } else { "" }.into()
}

pub(super) fn pointer(number: u64) -> Value {
    format!("{number:#x}").into()
}

pub(super) fn clients(desk: &Desk) -> Vec<Row> {
    desk.observer.context.roster.clients().iter().map(client).collect()
}

/// One client as a row of `SHOW CLIENTS`.
pub(super) fn client(client: &Arc<Client>) -> Row {
    let leased = client.slot.leased();
    let waited = client.waits();
    let unix = || Value::from("unix");
    vec![
        "C".into(),
        client.user.clone().into(),
        client.database.clone().into(),
        state(client).into(),
        client.peer.map_or_else(unix, |peer| peer.ip().to_string().into()),
        client.peer.map_or(0, |peer| peer.port()).into(),
        client.local.map_or_else(unix, |local| local.ip().to_string().into()),
        client.local.map_or(0, |local| local.port()).into(),
        calendar(client.since_wall),
        leased.as_ref().map(|leased| ago(leased.since)).map_or(Value::Null, |time| time),
        waited.map_or(0, |waited| waited.as_secs()).into(),
        waited.map_or(Value::Int(0), micros),
        Value::Int(0),
        pointer(client.number),
        leased.as_ref().map_or_else(|| Value::from(""), |leased| pointer(leased.process_id.into())),
        Value::Int(0),
        tls(client.tls),
        client.application.clone().into(),
        client.number.into(),
    ]
}

/// What a client is doing, in a word.
pub(super) fn state(client: &Client) -> &'static str {
    if client.waits().is_some() {
        "waiting"
    } else if client.slot.leased().is_some() {
        "active"
    } else {
        "idle"
    }
}

pub(super) fn servers(desk: &Desk) -> Vec<Row> {
    struct Server<'a> {
        user: &'a str,
        database: &'a str,
        state: &'static str,
        endpoint: &'a Endpoint,
        opened: Instant,
        since: Instant,
        link: Option<u64>,
        process_id: u32,
        tls: bool,
    }
    let row = |server: Server<'_>| -> Row {
        let [address, port] = place(server.endpoint);
        let rest = [
            Value::from(""),
            Value::Int(0),
            ago(server.opened),
            ago(server.since),
            Value::Int(0),
            Value::Int(0),
            Value::Int(0),
            pointer(server.process_id.into()),
            server.link.map_or_else(|| Value::from(""), pointer),
            server.process_id.into(),
            tls(server.tls),
            Value::from(""),
            server.process_id.into(),
        ];
        let first = ["S", server.user, server.database, server.state].map(Value::from);
        first.into_iter().chain([address, port]).chain(rest).collect()
    };
    let mut rows = Vec::new();
    for client in desk.observer.context.roster.clients() {
        let Some(leased) = client.slot.leased() else { continue };
        rows.push(row(Server {
            user: &client.user,
            database: &client.database,
            state: "active",
            endpoint: &leased.endpoint,
            opened: leased.opened,
            since: leased.since,
            link: Some(client.number),
            process_id: leased.process_id,
            tls: leased.tls,
        }));
    }
    for idle in desk.observer.pools.idle() {
        rows.push(row(Server {
            user: &idle.key.user,
            database: &idle.key.database,
            state: "idle",
            endpoint: &idle.endpoint,
            opened: idle.opened,
            since: idle.idle_since,
            link: None,
            process_id: idle.process_id,
            tls: idle.tls,
        }));
    }
    rows
}

/// Name and value of everything that is known of one client.
pub fn state_of(client: &Arc<Client>, desk: &Desk) -> Vec<Row> {
    let leased = client.slot.leased();
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    let peer = client.peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
    let tied = client.ties().words().join(", ");
    let tied = if tied.is_empty() { "nothing".to_owned() } else { tied };
    let lost = client.ties().unreplayable();
    let rows: Vec<(&str, Value)> = vec![
        ("id", client.number.to_string().into()),
        ("user", client.user.clone().into()),
        ("database", client.database.clone().into()),
        ("application_name", client.application.clone().into()),
        ("address", peer.into()),
        ("tls", yes_no(client.tls)),
        ("connected", calendar(client.since_wall)),
        ("state", state(client).into()),
        ("waits_for", waits_for(client, desk).into()),
        ("waited", client.waits().map(seconds).into()),
        ("leased_since", leased.as_ref().map(|leased| seconds(leased.since.elapsed())).into()),
        ("backend", leased.as_ref().map(|leased| leased.endpoint.to_string()).into()),
        ("backend_pid", leased.as_ref().map(|leased| leased.process_id.to_string()).into()),
        ("tied_to_it_by", tied.into()),
        (
            "at_a_failover",
            lost.map_or("it stays connected".to_owned(), |what| format!("it loses its {what}"))
                .into(),
        ),
    ];
    rows.into_iter().map(|(name, value)| vec![name.into(), value]).collect()
}

pub(super) fn waits_for(client: &Client, desk: &Desk) -> &'static str {
    match client.waits() {
        None => "nothing",
        Some(_) if desk.is_paused(&client.database) => "RESUME",
        Some(_) if desk.observer.pools.target().is_available() => "a backend connection",
        Some(_) => "a leader",
    }
}
