//! The file's tables: `[[users]]`, and `[databases.NAME]`.

use std::path::Path;

use everline_wire::auth::secret::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{Source, bounded, text, unknown};
use super::given::{ConfigError, GivenDatabase, GivenUser, Origin, Owned, Value};
use super::settings::Shape;

/// Most users, and most databases, that one file may name.
const NAMES_MAX: usize = 10_000;

/// What a database and a user may have of their own.
const OWN: [&str; 9] = [
    "pool_mode",
    "pool_size_min",
    "pool_size_max",
    "connections_max",
    "clients_max",
    "query_wait_timeout",
    "query_timeout",
    "idle_in_transaction_timeout",
    "client_idle_timeout",
];

const USER: [&str; 3] = ["name", "password", "password_file"];

const DATABASE: [&str; 3] = ["backend_database", "backend_user", "backend_password"];

/// Reads `[[users]]`.
pub(super) fn users(
    source: &Source<'_>,
    origin: &Origin,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<GivenUser>, ConfigError> {
    let wrong = || ConfigError::at(origin, "users are written as [[users]] tables");
    let array = value.get_ref().as_array().ok_or_else(wrong)?;
    if array.iter().count() > NAMES_MAX {
        return Err(ConfigError::at(origin, format!("names more than {NAMES_MAX} users")));
    }
    let mut users: Vec<GivenUser> = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for entry in array {
        let table = entry.get_ref().as_table().ok_or_else(wrong)?;
        let at = Origin::File {
            path: source.path.to_owned(),
            line: source.line(&entry.span()),
            key: "users".to_owned(),
        };
        let user = user(source, at, table)?;
        if !names.insert(user.name.clone()) {
            return Err(ConfigError::at(&user.origin, "this user is named twice"));
        }
        users.push(user);
    }
    Ok(users)
}

fn user(source: &Source<'_>, at: Origin, table: &DeTable<'_>) -> Result<GivenUser, ConfigError> {
    let mut own = owned(source, table, &USER, "user")?;
    let mut take = |key| {
        let value = own.remove(key);
        match value.as_ref().and_then(|value| Some((value, value.texts.first()?))) {
            Some((value, text)) if text.is_empty() => {
                Err(ConfigError::at(&value.origin, "wants text in quotes"))
            }
            Some((_, text)) => Ok(Some(text.clone())),
            None => Ok(None),
        }
    };
    let (name, password, file) = (take("name")?, take("password")?, take("password_file")?);
    let name = name.ok_or_else(|| ConfigError::at(&at, "a user has no name"))?;
    let secret = match (password, file) {
        (Some(password), None) => Some(password),
        (None, Some(file)) => {
            let path = source.path.parent().unwrap_or(Path::new("")).join(file);
            let text = bounded(&path, 4096).map_err(|problem| {
                ConfigError::at(&at, format!("password_file {}: {problem}", path.display()))
            })?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
        (Some(_), Some(_)) => {
            let problem = "a user wants either password or password_file";
            return Err(ConfigError::at(&at, problem));
        }
        (None, None) if own.is_empty() => {
            let problem = "a user wants password or password_file, or settings of its own";
            return Err(ConfigError::at(&at, problem));
        }
        (None, None) => None,
    };
    if secret.as_ref().is_some_and(String::is_empty) {
        return Err(ConfigError::at(&at, "the password of a user is empty"));
    }
    Ok(GivenUser { origin: at, name, secret: secret.map(Secret::plain), own })
}

/// Reads `[databases.NAME]`.
pub(super) fn databases(
    source: &Source<'_>,
    origin: &Origin,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<GivenDatabase>, ConfigError> {
    let wrong = || ConfigError::at(origin, "a database is written as [databases.NAME] table");
    let table = value.get_ref().as_table().ok_or_else(wrong)?;
    if table.len() > NAMES_MAX {
        return Err(ConfigError::at(origin, format!("names more than {NAMES_MAX} databases")));
    }
    let mut databases = Vec::new();
    for (name, value) in table {
        let at = source.origin(name);
        let table = value.get_ref().as_table();
        let table = table.ok_or_else(|| {
            ConfigError::at(&at, "a database is written as [databases.NAME] table")
        })?;
        let own = owned(source, table, &DATABASE, "database")?;
        databases.push(GivenDatabase { name: name.get_ref().to_string(), own });
    }
    Ok(databases)
}

/// The keys of one table: those of its kind, and those that users and databases share.
fn owned(
    source: &Source<'_>,
    table: &DeTable<'_>,
    kind: &'static [&'static str],
    what: &str,
) -> Result<Owned, ConfigError> {
    let mut owned = Owned::new();
    for (key, value) in table {
        let origin = source.origin(key);
        let known = || kind.iter().chain(&OWN).copied();
        let Some(name) = known().find(|name| *name == key.get_ref()) else {
            return Err(unknown(&origin, key.get_ref(), &format!("key of a {what}"), known()));
        };
        let text = if kind.contains(&name) {
            let text = value.get_ref().as_str();
            text.ok_or("wants text in quotes".to_owned()).map(str::to_owned)
        } else {
            text(value.get_ref(), Shape::Text)
        };
        let text = text.map_err(|problem| ConfigError::at(&origin, problem))?;
        owned.insert(name, Value { origin, texts: vec![text] });
    }
    Ok(owned)
}
