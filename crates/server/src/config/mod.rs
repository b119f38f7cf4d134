//! What the operator asked for, as types that cannot hold nonsense.

pub mod cidr;
pub mod dsn;
mod failover;
pub mod file;
mod given;
pub mod hba;
pub mod ident;
pub mod import;
mod load;
mod load_auth;
mod load_pool;
pub mod settings;
pub mod sharing;
mod shown;
mod tables;
mod userlist;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use everline_wire::auth::secret::{Secret, Verifier};
use everline_wire::sqlstate::SqlState;

use cidr::Cidr;
use dsn::Dsn;
use dsn::stolon::Stolon;
pub use given::{ConfigError, Given, Origin};
use ident::Maps;
use sharing::Sharing;
pub use shown::Shown;

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where PostgreSQL is, and how its health is judged.
    pub backend: BackendConfig,
    /// How clients get in.
    pub frontend: FrontendConfig,
    /// How backend connections are shared.
    pub pool: PoolConfig,
    /// What clients are told when the leader goes.
    pub failover: FailoverConfig,
    /// How Gel's clients get in; `None` is `off`.
    pub gel: Option<GelConfig>,
    /// Where the status page and the metrics are served; `None` is `off`.
    pub http_listen: Option<SocketAddr>,
    /// Worker threads; 0 means as many as there are cores.
    pub workers: usize,
    /// `drain_timeout`.
    pub drain: Duration,
    /// `takeover`.
    pub takeover: Option<PathBuf>,
    /// `takeover_linger`.
    pub linger: Duration,
    /// How the log looks.
    pub log: LogConfig,
    /// Everything as it was given, defaults included.
    pub given: Given,
}

/// Where PostgreSQL is, and how its health is judged.
#[derive(Clone, Debug)]
pub struct BackendConfig {
    /// `backend_dsn`: how to log in, and where, unless a source says that.
    pub dsn: Dsn,
    /// Who says where the leader is.
    pub source: Source,
    /// How backend connections are watched: `enable_backend_adaptive_ha`.
    pub ha: HaMode,
    /// `resolver`.
    pub resolver: ResolverChoice,
    /// `dial_timeout`, or the DSN's `connect_timeout` where it is not given: one deadline over
    /// connect, TLS, login and the first questions.
    pub dial_timeout: Duration,
    /// `resolve_interval`: how often the name is asked again while all is well.
    pub resolve_interval: Duration,
    /// `heartbeat_interval`.
    pub heartbeat_interval: Duration,
    /// `heartbeat_timeout`: how long an answer may take before the system connection is broken.
    pub heartbeat_timeout: Duration,
    /// `accept_new_cluster`: whether another system identifier behind the name is accepted.
    pub accept_new_cluster: bool,
}

/// Who says where the leader is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// The hosts of the DSN.
    Dsn,
    /// Stolon's sentinel, by way of Consul.
    Stolon(Box<Stolon>),
}

/// How the leader is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HaMode {
    /// One fixed leader, dialled again when it breaks.
    Fixed,
    /// Adaptive HA.
    Adaptive {
        /// `backend_adaptive_ha_disconnect_percent`.
        disconnect_percent: Percent,
        /// `backend_adaptive_ha_unhealthy_min_time`.
        unhealthy_min: Duration,
    },
}

/// A whole percentage from 1 to 100.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Percent(u8);

impl Percent {
    /// A percentage; `None` outside 1 to 100.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        if matches!(percent, 1..=100) { Some(Self(percent)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Who turns names into addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResolverChoice {
    /// The operating system.
    System,
    /// One name server, asked directly.
    Server(SocketAddr),
}

/// How clients get in.
#[derive(Clone, Debug)]
pub struct FrontendConfig {
    /// `listen`: never empty.
    pub listen: Vec<Listen>,
    /// `tls_cert` and `tls_key`.
    pub tls: Option<TlsFiles>,
    /// How clients prove who they are.
    pub auth: AuthConfig,
    /// `clients_max`.
    pub clients_max: usize,
    /// `login_timeout`.
    pub login: Duration,
    /// `message_bytes_max`.
    pub message_bytes_max: usize,
    /// `admin_users`: the DSN's own user where nobody is named.
    pub admins: Vec<String>,
    /// `stats_users`.
    pub watchers: Vec<String>,
    /// `unix_socket_mode`.
    pub socket_mode: Option<u32>,
    /// `reuse_port`.
    pub reuse_port: bool,
    /// `proxy_protocol_from`.
    pub proxies: Vec<Cidr>,
    /// `peer_id` and `peers`.
    pub peers: PeersConfig,
}

/// How clients prove who they are.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// `auth`, and the rules of `auth_hba_file`.
    pub door: Door,
    /// `auth_ident_file`.
    pub maps: Maps,
    /// `auth_map`.
    pub map: Option<String>,
    /// `users` and `auth_file`: who gets in besides the DSN's own user.
    pub users: Vec<User>,
    /// `auth_query`.
    pub query: Option<AuthQuery>,
    /// `backend_login`: whether backends are logged in to as the DSN's user, with a role.
    pub by_role: bool,
}

/// What is asked of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Door {
    /// The same of everyone.
    One(hba::Method),
    /// What the first rule says that fits.
    Rules(Vec<hba::Rule>),
}

/// What PostgreSQL is asked about users that no file names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthQuery {
    /// The query, with the name as `$1`. Its first row: the name, and what is stored of it.
    pub sql: String,
    /// The database in which it is asked.
    pub database: String,
    /// How long an answer holds.
    pub life: Duration,
}

/// This process among several behind one address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PeersConfig {
    /// Its number; 0 is none.
    pub own: u8,
    /// The others.
    pub others: BTreeMap<u8, SocketAddr>,
}

/// How Gel's clients get in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GelConfig {
    /// `gel_listen`.
    pub listen: SocketAddr,
    /// `gel_edgeql_as_sql`.
    pub edgeql_as_sql: bool,
    /// `gel_unavailable_error`.
    pub unavailable: GelUnavailable,
    /// `gel_isolation`.
    pub isolation: GelIsolation,
}

/// What Gel's clients are told of a statement that was never sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GelUnavailable {
    /// `BackendUnavailableError`.
    BackendUnavailable,
    /// `TransactionConflictError`.
    TransactionConflict,
}

/// How transactions of Gel's clients see others, where they do not say it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GelIsolation {
    /// As in Gel.
    Serializable,
    /// What was seen stays.
    RepeatableRead,
    /// As in PostgreSQL.
    ReadCommitted,
    /// As the server has it.
    Server,
}

/// A place to listen at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket, by its full path (`…/.s.PGSQL.6432`).
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// The chain, our own certificate first.
    pub cert: PathBuf,
    /// The key of our own certificate.
    pub key: PathBuf,
    /// `tls_client_ca`: who vouches for clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// `tls_clients`.
    pub demand: TlsDemand,
    /// `tls_min_version`.
    pub min_version: dsn::TlsVersion,
}

/// What is demanded of clients that come over TCP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsDemand {
    /// Nothing.
    Allow,
    /// TLS.
    Require,
    /// TLS, and a certificate that is vouched for.
    Verify,
}

/// A user who may log in.
#[derive(Clone, Debug)]
pub struct User {
    /// The role's name.
    pub name: String,
    /// How it is known.
    pub credential: Credential,
}

/// What is known about a user.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The password: checked at clients, given to backends.
    Password(Secret),
    /// What PostgreSQL stores in its place: checks clients, but cannot log in anywhere.
    Verifier(Verifier),
}

/// How backend connections are shared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolConfig {
    /// `max_backend_connections`: all databases and users together, the system connection
    /// included.
    pub connections_max: usize,
    /// `pool_idle_timeout`.
    pub idle_max: Duration,
    /// `pool_lifetime`; zero is never.
    pub lifetime_max: Duration,
    /// `waiters_max`.
    pub waiters_max: usize,
    /// What databases and users have of the whole.
    pub sharing: Sharing,
}

/// How long a backend connection is lent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PoolMode {
    /// For one transaction.
    Transaction,
    /// For the whole session.
    Session,
    /// For one statement: transactions over several are refused.
    Statement,
}

/// What clients are told when the leader goes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "settings, each for itself")]
pub struct FailoverConfig {
    /// `failover_hold`: how long a statement that was never sent waits for a leader; zero refuses
    /// it at once.
    pub hold: Duration,
    /// `shutdown_hold`, where it is longer than `failover_hold`: how long a statement waits for a
    /// leader when the last one has announced its shutdown.
    pub shutdown_hold: Duration,
    /// `pause_hold_max`: how long a statement waits for the end of a pause.
    pub pause_hold: Duration,
    /// `held_statements_max`: statements held at the same time.
    pub held_max: usize,
    /// `held_bytes_max`: what they may hold in memory together, in bytes.
    pub held_bytes_max: usize,
    /// `in_flight_select`.
    pub in_flight_select: InFlightSelect,
    /// `unreplayable_state`.
    pub unreplayable_state: UnreplayableState,
    /// `retryable_sqlstate`: outside a transaction, never sent.
    pub retryable: SqlState,
    /// `in_transaction_sqlstate`: the transaction is lost, nothing of it was committed.
    pub in_transaction: SqlState,
    /// `unknown_sqlstate`: sent, no answer.
    pub unknown: SqlState,
    /// `startup_sqlstate`: no leader to log in at.
    pub startup: SqlState,
    /// `retryable_message`.
    pub message: Arc<str>,
    /// `commit_in_lost_transaction`.
    pub lost_commit: LostCommit,
    /// `restart_savepoint`.
    pub restart_savepoint: bool,
    /// `local_probes`.
    pub local_probes: bool,
    /// `local_resets`.
    pub local_resets: bool,
    /// `answer_select_1`.
    pub answer_select_1: bool,
    /// `listen_gap`: whether a listener is told that it may have missed something.
    pub tells_of_gaps: bool,
}

/// What a COMMIT in a lost transaction is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LostCommit {
    /// The retryable error.
    Error,
    /// Success with the tag ROLLBACK, as in PostgreSQL's own failed transactions.
    Rollback,
}

/// What a `SELECT` outside a transaction is told when it was sent and its answer is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InFlightSelect {
    /// Its outcome is unknown: a function it calls may have written.
    Unknown,
    /// It may be repeated.
    Retryable,
}

/// What becomes of a session whose state cannot be brought over to a new backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnreplayableState {
    /// It ends with FATAL 57P01 at its next message.
    Close,
    /// Its next statement gets an error, once.
    Error,
    /// It goes on without the state.
    Ignore,
}

/// How the log looks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogConfig {
    /// `log_format`.
    pub format: LogFormat,
    /// `log`: a level, or directives as tracing's `EnvFilter` reads them.
    pub filter: String,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// One JSON object per line.
    Json,
}
