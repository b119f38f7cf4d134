//! How backend connections are shared, from the settings as written.

use std::collections::BTreeMap;

use everline_wire::auth::secret::Secret;

use super::given::{ConfigError, Owned, Value};
use super::load::{Layers, wrong};
use super::sharing::{Bounds, Database, Own, Sharing};
use super::value::{self, Zero};
use super::{PoolConfig, PoolMode};

/// Most backend connections that any bound may name.
const CONNECTIONS_MAX: usize = 100_000;

/// Most clients that any bound may name.
const CLIENTS_MAX: usize = 1_000_000;

impl Layers<'_> {
    pub(super) fn pool(&self) -> Result<PoolConfig, ConfigError> {
        let all = Bounds {
            mode: self.read("pool_mode", mode)?,
            size_min: self.number("pool_size_min", 0, CONNECTIONS_MAX)?,
            size_max: self.bound("pool_size_max", CONNECTIONS_MAX)?,
            database_connections_max: None,
            user_connections_max: None,
            database_clients_max: self.bound("clients_max_per_database", CLIENTS_MAX)?,
            user_clients_max: self.bound("clients_max_per_user", CLIENTS_MAX)?,
            query_wait: self.duration("query_wait_timeout", Zero::Refused)?,
            query: self.duration("query_timeout", Zero::Allowed)?,
            idle_in_transaction: self.duration("idle_in_transaction_timeout", Zero::Allowed)?,
            client_idle: self.duration("client_idle_timeout", Zero::Allowed)?,
        };
        let mut users = BTreeMap::new();
        for user in self.given.users.iter().filter(|user| !user.own.is_empty()) {
            users.insert(user.name.clone(), own(&user.own)?);
        }
        let mut databases = BTreeMap::new();
        for database in &self.given.databases {
            let backend_name = read(&database.own, "backend_database", name)?;
            let backend_user = backend_user(&database.own)?;
            let own = own(&database.own)?;
            let database_entry = Database { backend_name, backend_user, own };
            databases.insert(database.name.clone(), database_entry);
        }
        Ok(PoolConfig {
            // One is the system connection; what is lent has to be one at least.
            connections_max: self.number("max_backend_connections", 2, CONNECTIONS_MAX)?,
            idle_max: self.duration("pool_idle_timeout", Zero::Refused)?,
            lifetime_max: self.duration("pool_lifetime", Zero::Allowed)?,
            waiters_max: self.number("waiters_max", 1, CLIENTS_MAX)?,
            sharing: Sharing {
                all,
                databases,
                only_listed: self.read("only_listed_databases", value::boolean)?,
                users,
            },
        })
    }

    /// A number, of which 0 is no bound.
    fn bound(&self, key: &str, max: usize) -> Result<Option<usize>, ConfigError> {
        self.number(key, 0, max).map(|number| (number > 0).then_some(number))
    }
}

fn name(text: &str) -> Result<String, String> {
    let named = !text.is_empty() && !text.contains('\0');
    named.then(|| text.to_owned()).ok_or_else(|| "is no name".to_owned())
}

fn backend_user(owned: &Owned) -> Result<Option<(String, Option<Secret>)>, ConfigError> {
    let user = read(owned, "backend_user", name)?;
    let given = owned.get("backend_password");
    let password = given.and_then(|given| given.texts.first()).cloned().map(Secret::plain);
    match (user, given) {
        (Some(user), _) => Ok(Some((user, password))),
        (None, Some(given)) => Err(ConfigError::at(&given.origin, "wants backend_user beside it")),
        (None, None) => Ok(None),
    }
}

fn mode(text: &str) -> Result<PoolMode, String> {
    let modes = [
        ("transaction", PoolMode::Transaction),
        ("session", PoolMode::Session),
        ("statement", PoolMode::Statement),
    ];
    value::word(text, &modes)
}

fn own(owned: &Owned) -> Result<Own, ConfigError> {
    let number = |key, max| read(owned, key, |text| value::number(text, 1..=max));
    let duration = |key| read(owned, key, |text| value::duration(text, Zero::Allowed));
    Ok(Own {
        mode: read(owned, "pool_mode", mode)?,
        size_min: read(owned, "pool_size_min", |text| value::number(text, 0..=CONNECTIONS_MAX))?,
        size_max: number("pool_size_max", CONNECTIONS_MAX)?,
        connections_max: number("connections_max", CONNECTIONS_MAX)?,
        clients_max: number("clients_max", CLIENTS_MAX)?,
        query_wait: read(owned, "query_wait_timeout", |text| value::duration(text, Zero::Refused))?,
        query: duration("query_timeout")?,
        idle_in_transaction: duration("idle_in_transaction_timeout")?,
        client_idle: duration("client_idle_timeout")?,
    })
}

fn read<T>(
    owned: &Owned,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let Some(given @ Value { texts, .. }) = owned.get(key) else { return Ok(None) };
    let text = texts.first().map_or("", String::as_str);
    parse(text).map(Some).map_err(|problem| wrong(given, text, &problem))
}
