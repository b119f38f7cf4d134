//! What databases and users may have of the whole: for all, for some, for one.

use std::collections::BTreeMap;
use std::time::Duration;

use everline_wire::auth::secret::Secret;

use super::PoolMode;

/// What one database or one user has of its own; what is `None` is as for all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Own {
    /// `pool_mode`.
    pub mode: Option<PoolMode>,
    /// `pool_size_min`.
    pub size_min: Option<usize>,
    /// `pool_size_max`.
    pub size_max: Option<usize>,
    /// `connections_max`: backend connections of all its pools together.
    pub connections_max: Option<usize>,
    /// `clients_max`: its clients at the same time.
    pub clients_max: Option<usize>,
    /// `query_wait_timeout`.
    pub query_wait: Option<Duration>,
    /// `query_timeout`.
    pub query: Option<Duration>,
    /// `idle_in_transaction_timeout`.
    pub idle_in_transaction: Option<Duration>,
    /// `client_idle_timeout`.
    pub client_idle: Option<Duration>,
}

/// A database with settings of its own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Database {
    /// `backend_database`: what it is called at PostgreSQL, if not as clients call it.
    pub backend_name: Option<String>,
    /// `backend_user`, and `backend_password`: whoever comes, statements run as this user.
    pub backend_user: Option<(String, Option<Secret>)>,
    /// The rest.
    pub own: Own,
}

/// What the sessions of one user in one database may have. Zero durations are no bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// How long a backend connection is lent.
    pub mode: PoolMode,
    /// Backend connections kept ready while a client is connected.
    pub size_min: usize,
    /// Backend connections at most.
    pub size_max: Option<usize>,
    /// Backend connections of all pools of the database.
    pub database_connections_max: Option<usize>,
    /// Backend connections of all pools of the user.
    pub user_connections_max: Option<usize>,
    /// Clients of the database.
    pub database_clients_max: Option<usize>,
    /// Clients of the user.
    pub user_clients_max: Option<usize>,
    /// How long a statement waits for a backend connection.
    pub query_wait: Duration,
    /// How long a statement may run before it is cancelled.
    pub query: Duration,
    /// How long a client may leave a transaction open and say nothing.
    pub idle_in_transaction: Duration,
    /// How long a client may say nothing outside a transaction.
    pub client_idle: Duration,
}

/// How everything is shared.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sharing {
    /// What holds where nothing else is said.
    pub all: Bounds,
    /// `[databases]`; the name `*` is every database that is not named.
    pub databases: BTreeMap<String, Database>,
    /// `only_listed_databases`: others are refused.
    pub only_listed: bool,
    /// What users have of their own.
    pub users: BTreeMap<String, Own>,
}

/// The entry for every database that is not named.
const EVERY: &str = "*";

impl Sharing {
    /// The database's entry, its own or that for all others.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.get(name).or_else(|| self.databases.get(EVERY))
    }

    /// Whether clients may ask for this database.
    #[must_use]
    pub fn serves(&self, database: &str) -> bool {
        !self.only_listed || self.database(database).is_some()
    }

    /// What the database is called at PostgreSQL.
    #[must_use]
    pub fn backend_name<'a>(&'a self, database: &'a str) -> &'a str {
        let entry = self.database(database);
        entry.and_then(|entry| entry.backend_name.as_deref()).unwrap_or(database)
    }

    /// As whom statements of every client of this database run, and that user's password.
    #[must_use]
    pub fn backend_user(&self, database: &str) -> Option<&(String, Option<Secret>)> {
        self.database(database)?.backend_user.as_ref()
    }

    /// What sessions of `user` in `database` may have: the user's own word first, then the
    /// database's, then that for all.
    #[must_use]
    pub fn bounds(&self, database: &str, user: &str) -> Bounds {
        let of_database = self.database(database).map(|entry| entry.own).unwrap_or_default();
        let of_user = self.users.get(user).copied().unwrap_or_default();
        let all = self.all;
        Bounds {
            mode: of_user.mode.or(of_database.mode).unwrap_or(all.mode),
            size_min: of_user.size_min.or(of_database.size_min).unwrap_or(all.size_min),
            size_max: of_user.size_max.or(of_database.size_max).or(all.size_max),
            database_connections_max: of_database.connections_max,
            user_connections_max: of_user.connections_max,
            database_clients_max: of_database.clients_max.or(all.database_clients_max),
            user_clients_max: of_user.clients_max.or(all.user_clients_max),
            query_wait: of_user.query_wait.or(of_database.query_wait).unwrap_or(all.query_wait),
            query: of_user.query.or(of_database.query).unwrap_or(all.query),
            idle_in_transaction: of_user
                .idle_in_transaction
                .or(of_database.idle_in_transaction)
                .unwrap_or(all.idle_in_transaction),
            client_idle: of_user.client_idle.or(of_database.client_idle).unwrap_or(all.client_idle),
        }
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
