//! PgBouncer's settings, and what becomes of each.

/// What becomes of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It is carried over, as far as its value can be.
    Carried,
    /// It is not, and the import says so.
    Left(&'static str),
    /// It is not, and nothing is missed.
    Needless(&'static str),
}

use Fate::{Carried, Left, Needless};

const RESETS: &str = "Everline sets back what a client has changed, and nothing else";
const SESSIONS: &str = "sessions are shown by the console and counted by /metrics";
const LOGS: &str = "Everline logs to standard error; see log and log_format";
const PARAMETERS: &str = "PostgreSQL is asked for every parameter of a login";
const SOCKETS: &str = "Everline chooses buffers and keepalive by itself, and always sets both";
const CIPHERS: &str = "rustls' own choice: TLS 1.2 and 1.3 with safe ciphers only";
const NAMES: &str = "a name is asked for anew at every dial; see resolver";

/// The section `[pgbouncer]`, in the order of PgBouncer's manual page.
pub(super) const SETTINGS: &[(&str, Fate)] = &[
    ("logfile", Needless(LOGS)),
    ("pidfile", Left("a service manager knows the process; see the page on installing")),
    ("listen_addr", Carried),
    ("listen_port", Carried),
    ("unix_socket_dir", Carried),
    ("unix_socket_mode", Carried),
    ("unix_socket_group", Left("give the directory of the socket to that group")),
    ("user", Left("start Everline as that user")),
    ("pool_mode", Carried),
    ("max_client_conn", Carried),
    ("default_pool_size", Carried),
    ("min_pool_size", Carried),
    ("reserve_pool_size", Carried),
    ("reserve_pool_timeout", Needless("pools share one budget; nothing is kept in reserve")),
    ("max_db_connections", Carried),
    ("max_db_client_connections", Carried),
    ("max_user_connections", Left("write connections_max for each of [[users]]")),
    ("max_user_client_connections", Carried),
    ("server_round_robin", Needless("the connection that was used last is lent first")),
    ("track_extra_parameters", Needless("every parameter is tracked")),
    ("ignore_startup_parameters", Needless(PARAMETERS)),
    ("peer_id", Carried),
    ("disable_pqexec", Left("simple queries with several statements cannot be forbidden")),
    ("application_name_add_host", Left("the console's SHOW CLIENTS has the client's address")),
    ("conffile", Needless("the file is named by --config")),
    ("service_name", Needless("there is no service of Windows")),
    ("job_name", Needless("there is no service of Windows")),
    ("stats_period", Needless("/metrics counts all the time")),
    ("max_prepared_statements", Carried),
    ("scram_iterations", Needless("verifiers of files and of auth_query bring their own")),
    ("auth_type", Carried),
    ("auth_hba_file", Carried),
    ("auth_ident_file", Carried),
    ("auth_file", Carried),
    ("auth_user", Carried),
    ("auth_query", Carried),
    ("auth_dbname", Carried),
    ("auth_ldap_options", Left("there is no LDAP")),
    ("syslog", Needless(LOGS)),
    ("syslog_ident", Needless(LOGS)),
    ("syslog_facility", Needless(LOGS)),
    ("log_connections", Needless(SESSIONS)),
    ("log_disconnections", Needless(SESSIONS)),
    ("log_pooler_errors", Needless("every refusal is counted, and logged where it matters")),
    ("log_stats", Needless("/metrics and the console have them")),
    ("verbose", Needless(LOGS)),
    ("admin_users", Carried),
    ("stats_users", Carried),
    ("server_reset_query", Needless(RESETS)),
    ("server_reset_query_always", Needless(RESETS)),
    ("server_check_delay", Needless("idle connections are watched, and a heartbeat is kept")),
    ("server_check_query", Needless("idle connections are watched, and a heartbeat is kept")),
    ("server_fast_close", Needless("RECONNECT closes a connection at the end of a transaction")),
    ("server_lifetime", Carried),
    ("server_idle_timeout", Carried),
    ("server_connect_timeout", Carried),
    ("server_login_retry", Needless("a lost leader is dialled again after 50 ms, not after 15 s")),
    ("client_login_timeout", Carried),
    ("autodb_idle_timeout", Needless("a database without clients costs nothing")),
    ("dns_max_ttl", Needless(NAMES)),
    ("dns_nxdomain_ttl", Needless(NAMES)),
    ("dns_zone_check_period", Needless(NAMES)),
    ("resolv_conf", Needless(NAMES)),
    ("client_tls_sslmode", Carried),
    ("client_tls_key_file", Carried),
    ("client_tls_cert_file", Carried),
    ("client_tls_ca_file", Carried),
    ("client_tls_protocols", Carried),
    ("client_tls_ciphers", Needless(CIPHERS)),
    ("client_tls13_ciphers", Needless(CIPHERS)),
    ("client_tls_ecdhcurve", Needless(CIPHERS)),
    ("client_tls_dheparams", Needless(CIPHERS)),
    ("server_tls_sslmode", Carried),
    ("server_tls_ca_file", Carried),
    ("server_tls_key_file", Carried),
    ("server_tls_cert_file", Carried),
    ("server_tls_protocols", Carried),
    ("server_tls_ciphers", Needless(CIPHERS)),
    ("server_tls13_ciphers", Needless(CIPHERS)),
    ("query_timeout", Carried),
    ("query_wait_timeout", Carried),
    ("query_wait_notify", Left("a client that waits is told nothing")),
    ("cancel_wait_timeout", Needless("a cancel request is carried at once")),
    ("client_idle_timeout", Carried),
    ("idle_transaction_timeout", Carried),
    ("transaction_timeout", Left("give PostgreSQL 17's transaction_timeout to the role")),
    ("suspend_timeout", Needless("a new process takes over by takeover")),
    ("pkt_buf", Needless(SOCKETS)),
    ("max_packet_size", Carried),
    ("listen_backlog", Needless(SOCKETS)),
    ("sbuf_loopcnt", Needless(SOCKETS)),
    ("so_reuseport", Carried),
    ("tcp_defer_accept", Needless(SOCKETS)),
    ("tcp_socket_buffer", Needless(SOCKETS)),
    ("tcp_keepalive", Needless(SOCKETS)),
    ("tcp_keepcnt", Needless(SOCKETS)),
    ("tcp_keepidle", Needless(SOCKETS)),
    ("tcp_keepintvl", Needless(SOCKETS)),
    ("tcp_user_timeout", Needless(SOCKETS)),
];

/// What a line of `[databases]` may say.
pub(super) const OF_DATABASE: &[(&str, Fate)] = &[
    ("dbname", Carried),
    ("host", Carried),
    ("port", Carried),
    ("user", Carried),
    ("password", Carried),
    ("auth_user", Carried),
    ("auth_query", Left("there is one auth_query for all databases")),
    ("auth_dbname", Carried),
    ("pool_size", Carried),
    ("min_pool_size", Carried),
    ("reserve_pool_size", Carried),
    ("reserve_pool", Carried),
    ("max_db_connections", Carried),
    ("max_db_client_connections", Carried),
    ("pool_mode", Carried),
    ("load_balance_hosts", Needless("of several hosts the one that leads is looked for")),
    ("server_lifetime", Left("pool_lifetime is for all databases")),
    ("connect_query", Left("ALTER DATABASE … SET, or ALTER ROLE … SET, does it at PostgreSQL")),
    ("client_encoding", Left("ALTER DATABASE … SET, or ALTER ROLE … SET, does it at PostgreSQL")),
    ("datestyle", Left("ALTER DATABASE … SET, or ALTER ROLE … SET, does it at PostgreSQL")),
    ("timezone", Left("ALTER DATABASE … SET, or ALTER ROLE … SET, does it at PostgreSQL")),
    ("application_name", Left("ALTER ROLE … SET does it at PostgreSQL")),
];

/// What a line of `[users]` may say.
pub(super) const OF_USER: &[(&str, Fate)] = &[
    ("pool_mode", Carried),
    ("pool_size", Carried),
    ("reserve_pool_size", Carried),
    ("max_user_connections", Carried),
    ("max_user_client_connections", Carried),
    ("query_timeout", Carried),
    ("idle_transaction_timeout", Carried),
    ("client_idle_timeout", Carried),
    ("transaction_timeout", Left("give PostgreSQL 17's transaction_timeout to the role")),
];

/// What becomes of a setting; `None`: PgBouncer has none of that name.
pub(super) fn fate(table: &[(&str, Fate)], key: &str) -> Option<Fate> {
    table.iter().find(|(known, _)| *known == key).map(|(_, fate)| *fate)
}
