//! Every setting there is: one table from which flags, environment names, file keys, the help and
//! the manual's page come.

mod clients;

use clients::CLIENTS;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key in the file. The flag is the same with dashes, the environment variable the same
    /// in capitals after `EVERLINE_`.
    pub key: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// What holds when nothing is said; empty: nothing.
    pub default: &'static str,
    /// Under which heading it stands in the help.
    pub heading: &'static str,
    /// Further environment variables that mean the same; the first that is set counts.
    pub variables: &'static [&'static str],
    /// What it does: one sentence or two.
    pub doc: &'static str,
}

/// How a setting is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// Given or not, or `true` and `false`.
    Switch,
    /// One value.
    Text,
    /// Several: the flag repeated, an array in the file, commas in the environment.
    List,
}

impl Setting {
    /// The flag, without its two dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("EVERLINE_{}", self.key.to_ascii_uppercase())
    }
}

const BACKEND: &str = "Backend";
const HA: &str = "High availability";
const GEL: &str = "Gel's clients";
const POOL: &str = "Pool";
const FAILOVER: &str = "Failover, as clients see it";
const PROCESS: &str = "Process";

const fn text(
    heading: &'static str,
    key: &'static str,
    value: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { key, shape: Shape::Text, value, default, heading, variables: &[], doc }
}

const fn list(
    heading: &'static str,
    key: &'static str,
    value: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { key, shape: Shape::List, value, default: "", heading, variables: &[], doc }
}

const fn switch(heading: &'static str, key: &'static str, doc: &'static str) -> Setting {
    let default = "false";
    Setting { key, shape: Shape::Switch, value: "BOOL", default, heading, variables: &[], doc }
}

const fn on(heading: &'static str, key: &'static str, doc: &'static str) -> Setting {
    let default = "on";
    Setting { key, shape: Shape::Text, value: "on|off", default, heading, variables: &[], doc }
}

impl Setting {
    const fn or(self, variables: &'static [&'static str]) -> Self {
        Self { variables, ..self }
    }
}

/// All settings, in the order of the help.
pub const SETTINGS: &[Setting] = &ALL;

/// How many there are.
const COUNT: usize = BEFORE.len() + CLIENTS.len() + AFTER.len();

#[expect(clippy::indexing_slicing, reason = "it is done by the compiler, which would complain")]
const ALL: [Setting; COUNT] = {
    let mut all = [BEFORE[0]; COUNT];
    let mut at = 0;
    while at < COUNT {
        all[at] = if at < BEFORE.len() {
            BEFORE[at]
        } else if at < BEFORE.len() + CLIENTS.len() {
            CLIENTS[at - BEFORE.len()]
        } else {
            AFTER[at - BEFORE.len() - CLIENTS.len()]
        };
        at += 1;
    }
    all
};

const BEFORE: &[Setting] = &[
    text(
        BACKEND,
        "backend_dsn",
        "DSN",
        "",
        "Where PostgreSQL is and how to log in there: postgres://user:password@host/database, with \
         libpq's parameters, or where Stolon says who leads: \
         stolon+consul+http(s)://agent:8500/cluster?pguser=... Arguments can be seen by every user \
         of the machine, the environment and the file cannot.",
    )
    .or(&["GEL_SERVER_BACKEND_DSN", "EDGEDB_SERVER_BACKEND_DSN"]),
    text(
        BACKEND,
        "resolver",
        "WHO",
        "system",
        "Who turns host names into addresses: system, or the ADDRESS:PORT of one name server.",
    ),
    text(
        BACKEND,
        "dial_timeout",
        "DURATION",
        "5s",
        "The longest that connect, TLS and login at one address may take together; connect_timeout \
         in the DSN stands in for it where it is not given.",
    ),
    text(
        BACKEND,
        "max_backend_connections",
        "NUMBER",
        "50",
        "The most connections to PostgreSQL, over all databases and users. The default leaves half \
         of PostgreSQL's own max_connections to others.",
    )
    .or(&["GEL_SERVER_MAX_BACKEND_CONNECTIONS", "EDGEDB_SERVER_MAX_BACKEND_CONNECTIONS"]),
    switch(
        HA,
        "enable_backend_adaptive_ha",
        "Judge by the connections themselves whether the leader is lost, and follow the name of \
         the DSN to the next one.",
    ),
    text(
        HA,
        "backend_adaptive_ha_disconnect_percent",
        "PERCENT",
        "60",
        "The share of backend connections that have to break, among other signs, before the leader \
         is given up.",
    )
    .or(&[
        "GEL_SERVER_BACKEND_ADAPTIVE_HA_DISCONNECT_PERCENT",
        "EDGEDB_SERVER_BACKEND_ADAPTIVE_HA_DISCONNECT_PERCENT",
    ]),
    text(
        HA,
        "backend_adaptive_ha_unhealthy_min_time",
        "DURATION",
        "30s",
        "How long it has to look bad, among other signs, before the leader is given up. A number \
         without a unit counts seconds.",
    )
    .or(&[
        "GEL_SERVER_BACKEND_ADAPTIVE_HA_UNHEALTHY_MIN_TIME",
        "EDGEDB_SERVER_BACKEND_ADAPTIVE_HA_UNHEALTHY_MIN_TIME",
    ]),
    text(
        HA,
        "heartbeat_interval",
        "DURATION",
        "1s",
        "How often the leader is asked whether it is there.",
    ),
    text(
        HA,
        "heartbeat_timeout",
        "DURATION",
        "3s",
        "How long the leader may take to answer before its connection counts as broken.",
    ),
    text(
        HA,
        "resolve_interval",
        "DURATION",
        "5s",
        "How often the name in the DSN is looked up while all is well, to notice early that it has \
         moved.",
    ),
    text(
        HA,
        "consul_token_file",
        "FILE",
        "",
        "A file with Consul's ACL token, for a stolon DSN without token=. Where neither is given \
         CONSUL_HTTP_TOKEN counts.",
    )
    .or(&["CONSUL_HTTP_TOKEN_FILE"]),
    switch(
        HA,
        "accept_new_cluster",
        "Follow the name even to another cluster, one with another system identifier: after a \
         restore into a new cluster, for example.",
    ),
];

const AFTER: &[Setting] = &[
    text(
        GEL,
        "gel_listen",
        "WHERE",
        "off",
        "Where clients of Gel's binary protocol connect: ADDRESS:PORT (Gel's own port is 5656), or \
         off. They need TLS: with tls_cert, or with a certificate of its own that is made at the \
         start and kept in memory.",
    ),
    text(
        GEL,
        "gel_isolation",
        "LEVEL",
        "serializable",
        "How their transactions and statements see others where they do not say it: serializable, \
         as in Gel, repeatable-read, read-committed, or server for what PostgreSQL has configured.",
    ),
    switch(
        GEL,
        "gel_edgeql_as_sql",
        "Run as SQL what a client marks as EdgeQL: for gel-tokio, whose transactions have no other \
         way to send SQL.",
    ),
    text(
        GEL,
        "gel_unavailable_error",
        "WHAT",
        "backend-unavailable",
        "What they are told of a statement that was never sent: backend-unavailable, or \
         transaction-conflict, the only one that gel-go repeats.",
    ),
    text(
        POOL,
        "pool_mode",
        "MODE",
        "transaction",
        "How long a backend connection is lent to a client: for a transaction, for its session, or \
         for a statement, where transactions over several statements are refused.",
    ),
    text(
        POOL,
        "pool_size_max",
        "NUMBER",
        "0",
        "The most backend connections of one pool, that is, of one user in one database; 0 is no \
         bound but max_backend_connections.",
    ),
    text(
        POOL,
        "pool_size_min",
        "NUMBER",
        "0",
        "Backend connections that a pool keeps ready while a client is connected, as far as there \
         is room.",
    ),
    text(
        POOL,
        "pool_idle_timeout",
        "DURATION",
        "10m",
        "After how long without use a backend connection is closed.",
    ),
    text(
        POOL,
        "pool_lifetime",
        "DURATION",
        "1h",
        "After how long a backend connection is closed when nobody uses it; up to a fifth sooner, \
         so that not all go at once. 0s is never.",
    ),
    text(
        POOL,
        "waiters_max",
        "NUMBER",
        "100000",
        "The most statements that may wait for a backend connection; further ones are refused at \
         once.",
    ),
    switch(
        POOL,
        "only_listed_databases",
        "Refuse databases that the file does not name under [databases].",
    ),
    text(
        POOL,
        "query_wait_timeout",
        "DURATION",
        "2m",
        "How long a statement waits for a free backend connection.",
    ),
    text(
        FAILOVER,
        "failover_hold",
        "DURATION",
        "5s",
        "How long a statement that was not sent yet waits for a new leader before it fails with a \
         retryable error; 0s fails at once.",
    ),
    text(
        FAILOVER,
        "shutdown_hold",
        "DURATION",
        "20s",
        "How long such a statement waits when the leader has announced its shutdown: the work is planned \
         then, and a successor, or the leader itself, to be expected. Not shorter than failover_hold.",
    ),
    text(
        FAILOVER,
        "pause_hold_max",
        "DURATION",
        "10m",
        "How long a statement waits for the end of a pause (PAUSE, SIGUSR1) before it fails with a \
         retryable error.",
    ),
    text(
        FAILOVER,
        "held_statements_max",
        "NUMBER",
        "100000",
        "The most statements that wait for a leader, or for the end of a pause, at the same time; a \
         further one fails at once with a retryable error.",
    ),
    text(
        FAILOVER,
        "held_bytes_max",
        "BYTES",
        "268435456",
        "What those statements may hold in memory together.",
    ),
    text(
        FAILOVER,
        "in_flight_select",
        "WHAT",
        "unknown",
        "What a plain SELECT outside a transaction is told when its answer is lost: unknown, since \
         a function may have written, or retryable.",
    ),
    text(
        FAILOVER,
        "unreplayable_state",
        "WHAT",
        "close",
        "What becomes of a session with temporary tables, session locks or WITH HOLD cursors when \
         its backend is lost: close it, answer one error, or ignore the loss.",
    ),
    text(
        FAILOVER,
        "sqlstate_preset",
        "PRESET",
        "default",
        "Which codes go together, where they are not given one by one: default; rails, on which Rails \
         repeats by itself (40P01); cockroach (40003 for an unknown outcome); disconnect, for clients \
         that know nothing but a lost connection (08006).",
    ),
    text(
        FAILOVER,
        "retryable_message",
        "TEXT",
        "could not serialize access due to backend failover; restart transaction",
        "What such an error says; some helpers look for words in it.",
    ),
    text(
        FAILOVER,
        "commit_in_lost_transaction",
        "WHAT",
        "error",
        "What COMMIT in a lost transaction is told: error, or rollback for the tag ROLLBACK without an \
         error, as PostgreSQL has it (psycopg and asyncpg take that for success).",
    ),
    on(
        FAILOVER,
        "restart_savepoint",
        "Whether ROLLBACK TO a savepoint that was set before any real statement begins a lost \
         transaction anew, as loops in CockroachDB's style need it.",
    ),
    on(
        FAILOVER,
        "local_probes",
        "Whether empty queries, by which pools test connections, are answered without PostgreSQL.",
    ),
    on(
        FAILOVER,
        "local_resets",
        "Whether RESET ALL, DISCARD ALL, UNLISTEN *, DEALLOCATE ALL and CLOSE ALL, by which pools \
         reset connections, are answered without PostgreSQL where nothing of the session is there.",
    ),
    switch(
        FAILOVER,
        "answer_select_1",
        "Answer SELECT 1 outside of real transactions without PostgreSQL: for pools that can test \
         connections by nothing else. It then says nothing about the database.",
    ),
    text(
        FAILOVER,
        "listen_gap",
        "WHAT",
        "silent",
        "What a session that listens is told when it listens again after its backend was lost: notify \
         sends one notification to each channel, with the payload everline:gap; silent sends none.",
    ),
    text(
        FAILOVER,
        "retryable_sqlstate",
        "SQLSTATE",
        "40001",
        "The code for a statement outside a transaction that was never sent.",
    ),
    text(
        FAILOVER,
        "in_transaction_sqlstate",
        "SQLSTATE",
        "40001",
        "The code for a statement in a transaction that is lost.",
    ),
    text(
        FAILOVER,
        "unknown_sqlstate",
        "SQLSTATE",
        "08007",
        "The code for a COMMIT or a statement outside a transaction that was sent and whose answer \
         is lost.",
    ),
    text(
        FAILOVER,
        "startup_sqlstate",
        "SQLSTATE",
        "57P03",
        "The code for a login that cannot be checked while there is no leader.",
    ),
    text(
        PROCESS,
        "http_listen",
        "WHERE",
        "127.0.0.1:6433",
        "Where the status page and the metrics are served: ADDRESS:PORT, or off.",
    ),
    text(
        PROCESS,
        "drain_timeout",
        "DURATION",
        "30s",
        "How long open transactions may go on after SIGTERM; 0s ends them at once.",
    ),
    text(
        PROCESS,
        "takeover",
        "SOCKET",
        "",
        "A Unix socket by which a new process takes the listening sockets over from the one that \
         runs: start the new one with the same setting.",
    ),
    text(
        PROCESS,
        "takeover_linger",
        "DURATION",
        "1h",
        "How long clients may stay with the old process after a new one has taken over.",
    ),
    text(PROCESS, "workers", "NUMBER", "0", "Threads that do the work; 0 takes one for each core."),
    text(
        PROCESS,
        "log",
        "LEVEL",
        "info",
        "What is logged: error, warn, info, debug or trace, or such levels by module as in \
         info,everline::backend=debug.",
    ),
    text(PROCESS, "log_format", "FORMAT", "human", "How a log line looks: human or json."),
];

/// The settings that a reload does not change.
const RESTART: &[&str] = &[
    "listen",
    "unix_socket_mode",
    "reuse_port",
    "peer_id",
    "peers",
    "gel_listen",
    "gel_isolation",
    "gel_edgeql_as_sql",
    "gel_unavailable_error",
    "http_listen",
    "takeover",
    "workers",
    "log_format",
];

/// Whether a setting needs a restart to change.
#[must_use]
pub fn needs_restart(key: &str) -> bool {
    RESTART.contains(&key)
}

/// The setting with this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
