//! The tables of `SHOW`: PgBouncer's names, columns and order where the meaning is the same, and
//! our own columns behind them.

mod counts;
mod leadership;
mod sessions;

use std::time::SystemTime;

use tokio::time::Instant;

use super::console::Desk;
use super::table::{Column, Row, Value, int, text};
use crate::backend::{Address, Endpoint};
use crate::config::PoolMode;
pub use sessions::state_of;

/// One table.
pub struct Show {
    /// Its name, in capitals.
    pub name: &'static str,
    /// What it shows, for `SHOW HELP` and the manual.
    pub about: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
    rows: fn(&Desk) -> Vec<Row>,
}

impl Show {
    /// The rows at this moment.
    #[must_use]
    pub fn rows(&self, desk: &Desk) -> Vec<Row> {
        (self.rows)(desk)
    }
}

impl std::fmt::Debug for Show {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Show {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Show {}

/// The table of this name, in capitals.
#[must_use]
pub fn find(name: &str) -> Option<&'static Show> {
    TABLES.iter().find(|table| table.name == name)
}

const NAME_VALUE: &[Column] = &[text("name"), text("value")];

const SOCKET: &[Column] = &[
    text("type"),
    text("user"),
    text("database"),
    text("state"),
    text("addr"),
    int("port"),
    text("local_addr"),
    int("local_port"),
    text("connect_time"),
    text("request_time"),
    int("wait"),
    int("wait_us"),
    int("close_needed"),
    text("ptr"),
    text("link"),
    int("remote_pid"),
    text("tls"),
    text("application_name"),
    int("id"),
];

const TOTALS: &[Column] = &[
    text("database"),
    int("xact_count"),
    int("query_count"),
    int("bytes_received"),
    int("bytes_sent"),
    int("xact_time"),
    int("query_time"),
    int("wait_time"),
];

/// All tables, in the order of the help.
pub const TABLES: &[Show] = &[
    Show {
        name: "HA",
        about: "state, leader, and what is being done",
        columns: NAME_VALUE,
        rows: |desk| leadership::ha(&desk.observer.status()),
    },
    Show {
        name: "HISTORY",
        about: "the last transitions, newest first",
        columns: &[
            text("at"),
            int("ago_s"),
            int("lasted_s"),
            int("epoch"),
            text("from"),
            text("to"),
            text("available"),
            text("cause"),
            text("why"),
        ],
        rows: leadership::history,
    },
    Show {
        name: "OUTAGES",
        about: "the last times in which nothing was dispatched, newest first",
        columns: &[text("began"), int("lasted_ms"), text("over"), text("why")],
        rows: leadership::outages,
    },
    Show {
        name: "REFUSALS",
        about: "errors that were ours and not PostgreSQL's, by SQLSTATE",
        columns: &[text("sqlstate"), text("name"), int("count")],
        rows: |desk| {
            let all = desk.observer.metrics.refusals().into_iter();
            all.map(|(code, times)| vec![code.to_string().into(), code.name().into(), times.into()])
                .collect()
        },
    },
    Show {
        name: "POOLS",
        about: "backend connections and clients, by database and user",
        columns: &[
            text("database"),
            text("user"),
            int("cl_active"),
            int("cl_waiting"),
            int("cl_active_cancel_req"),
            int("cl_waiting_cancel_req"),
            int("sv_active"),
            int("sv_active_cancel"),
            int("sv_being_canceled"),
            int("sv_idle"),
            int("sv_used"),
            int("sv_tested"),
            int("sv_login"),
            int("maxwait"),
            int("maxwait_us"),
            text("pool_mode"),
        ],
        rows: sessions::pools,
    },
    Show { name: "CLIENTS", about: "every client", columns: SOCKET, rows: sessions::clients },
    Show {
        name: "SERVERS",
        about: "every backend connection",
        columns: SOCKET,
        rows: sessions::servers,
    },
    Show {
        name: "STATS",
        about: "totals and averages of a minute, by database",
        columns: &[
            text("database"),
            int("total_xact_count"),
            int("total_query_count"),
            int("total_received"),
            int("total_sent"),
            int("total_xact_time"),
            int("total_query_time"),
            int("total_wait_time"),
            int("avg_xact_count"),
            int("avg_query_count"),
            int("avg_recv"),
            int("avg_sent"),
            int("avg_xact_time"),
            int("avg_query_time"),
            int("avg_wait_time"),
        ],
        rows: counts::stats,
    },
    Show {
        name: "STATS_TOTALS",
        about: "totals, by database",
        columns: TOTALS,
        rows: |desk| {
            let all = desk.observer.metrics.databases.counted().into_iter();
            all.map(|(database, counted)| counts::counts(&database, &counted)).collect()
        },
    },
    Show {
        name: "STATS_AVERAGES",
        about: "averages of the last minute, by database",
        columns: TOTALS,
        rows: |desk| {
            let all = desk.averages.get().into_iter();
            all.map(|(database, counted)| counts::counts(&database, &counted)).collect()
        },
    },
    Show {
        name: "TOTALS",
        about: "totals over all databases",
        columns: &[text("name"), int("value")],
        rows: counts::totals,
    },
    Show {
        name: "DATABASES",
        about: "the databases that have been used",
        columns: &[
            text("name"),
            text("host"),
            int("port"),
            text("database"),
            text("force_user"),
            int("pool_size"),
            int("min_pool_size"),
            int("reserve_pool"),
            text("pool_mode"),
            int("max_connections"),
            int("current_connections"),
            int("paused"),
            int("disabled"),
        ],
        rows: counts::databases,
    },
    Show {
        name: "USERS",
        about: "the users who are known here",
        columns: &[text("name"), text("pool_mode")],
        rows: |desk| {
            let live = desk.observer.context.live();
            live.users.keys().map(|name| vec![name.clone().into(), Value::Null]).collect()
        },
    },
    Show {
        name: "LISTS",
        about: "how many there are of everything",
        columns: &[text("list"), int("items")],
        rows: counts::lists,
    },
    Show {
        name: "CONFIG",
        about: "every setting; changeable: without a restart",
        columns: &[text("key"), text("value"), text("default"), text("changeable")],
        rows: counts::config,
    },
    Show {
        name: "VERSION",
        about: "the version of this program",
        columns: &[text("version")],
        rows: |_| vec![vec![concat!("Everline ", env!("CARGO_PKG_VERSION")).into()]],
    },
];

/// As PgBouncer writes it: `2026-11-25 03:07:51 UTC`.
fn calendar(time: SystemTime) -> Value {
    humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace('T', " ")
        .replace('Z', " UTC")
        .into()
}

fn ago(since: Instant) -> Value {
    calendar(SystemTime::now().checked_sub(since.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH))
}

fn whole(number: f64) -> Value {
    // What is shown here is never negative and never near the limits.
    Value::Int(format!("{number:.0}").parse().unwrap_or_default())
}

fn yes_no(yes: bool) -> Value {
    if yes { "yes" } else { "no" }.into()
}

/// How connections are lent to a user in a database.
fn mode(desk: &Desk, database: &str, user: &str) -> &'static str {
    match desk.observer.context.live().sharing.bounds(database, user).mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
        PoolMode::Statement => "statement",
    }
}

/// Address and port as columns.
fn place(endpoint: &Endpoint) -> [Value; 2] {
    let address = match &endpoint.address {
        Address::Tcp(address) => address.ip().to_string(),
        Address::Unix(_) => "unix".to_owned(),
    };
    [address.into(), endpoint.port().into()]
}
