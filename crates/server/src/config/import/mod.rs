//! From PgBouncer's configuration to ours: what means the same, and a list of what does not.
//!
//! Nothing here touches a file: whoever asks brings a way to read them.

mod databases;
mod draft;
mod ini;
mod keys;
mod settings;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use self::databases::Databases;
use self::draft::{Remarks, Table, quoted};
use self::ini::{Entry, pairs};
use self::keys::{Fate, OF_USER, SETTINGS, fate};
use self::settings::Settings;
use super::{ConfigError, file, userlist};

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What came of it.
#[derive(Debug)]
pub struct Imported {
    /// Our file. It may hold passwords.
    pub toml: String,
    /// What is not in it, or not in the same way: a sentence each, most with its place.
    pub remarks: Vec<String>,
}

/// Reads PgBouncer's file at `path`. Paths in it count from `base`, the directory in which
/// PgBouncer runs, as do those of files that it includes.
///
/// # Errors
/// One sentence with the line: what PgBouncer itself would not start with.
pub fn import(path: &Path, base: &Path) -> Result<Imported, ConfigError> {
    let mut read = |path: &Path| file::bounded(path, FILE_BYTES_MAX);
    from(path, base, &mut read)
}

fn from(
    path: &Path,
    base: &Path,
    read: &mut dyn FnMut(&Path) -> Result<String, String>,
) -> Result<Imported, ConfigError> {
    let entries = ini::parse(path, read)?;
    let mut remarks = Remarks::default();
    let mut parts = Parts::default();
    for entry in &entries {
        match entry.section.as_str() {
            "pgbouncer" => {
                // PgBouncer takes what is said last.
                let _ = parts.settings.insert(entry.key.as_str(), entry);
            }
            "databases" => parts.databases.push(entry),
            "users" => parts.users.push(entry),
            "peers" => parts.peers.push(entry),
            other => remarks.at(entry, &format!("there is no section [{other}]")),
        }
    }
    for (key, entry) in &parts.settings {
        match fate(SETTINGS, key) {
            Some(Fate::Carried) => {}
            Some(Fate::Left(why)) => remarks.at(entry, why),
            Some(Fate::Needless(why)) => remarks.at(entry, &format!("not needed: {why}")),
            None => remarks.at(entry, "not known"),
        }
    }
    let settings = Settings { parts: &parts.settings, base };
    let known = known_users(&settings, read, &mut remarks)?;
    let databases = Databases::read(&settings, &parts.databases, &mut remarks)?;
    let mut top = Table::default();
    top.text("backend_dsn", &databases.dsn(&settings, &known, &mut remarks)?);
    settings.write(&databases, &parts.peers, &mut top, &mut remarks)?;
    let mut toml = format!("# Made from {} by everline import-pgbouncer.\n\n", path.display());
    top.write(&mut toml);
    databases.write(&mut toml);
    users(&parts.users, &mut toml, &mut remarks)?;
    Ok(Imported { toml, remarks: remarks.0 })
}

#[derive(Default)]
struct Parts<'a> {
    settings: BTreeMap<&'a str, &'a Entry>,
    databases: Vec<&'a Entry>,
    users: Vec<&'a Entry>,
    peers: Vec<&'a Entry>,
}

/// The users of `auth_file` whose password stands there as it is.
fn known_users(
    settings: &Settings<'_>,
    read: &mut dyn FnMut(&Path) -> Result<String, String>,
    remarks: &mut Remarks,
) -> Result<Vec<(String, String)>, ConfigError> {
    let Some(entry) = settings.entry("auth_file") else { return Ok(Vec::new()) };
    let path = settings.path(&entry.value);
    let text = match read(&path) {
        Ok(text) => text,
        Err(problem) => {
            remarks.at(entry, &format!("{}: {problem}", path.display()));
            return Ok(Vec::new());
        }
    };
    let users = userlist::parse(&text).map_err(|problem| entry.wrong(&problem))?;
    let hashed = |secret: &str| {
        secret.starts_with("SCRAM-SHA-256$") || secret.starts_with("md5") && secret.len() == 35
    };
    let plain = users.into_iter().map(|(name, secret)| (name, secret.reveal().to_owned()));
    Ok(plain.filter(|(_, secret)| !hashed(secret)).collect())
}

/// `[users]`.
fn users(entries: &[&Entry], toml: &mut String, remarks: &mut Remarks) -> Result<(), ConfigError> {
    for entry in entries {
        let mut table = Table::default();
        let mut size = None;
        for (key, value) in pairs(entry)? {
            match fate(OF_USER, &key) {
                Some(Fate::Carried) => {}
                Some(Fate::Left(why) | Fate::Needless(why)) => {
                    remarks.of(entry, &key, why);
                    continue;
                }
                None => {
                    remarks.of(entry, &key, "not known");
                    continue;
                }
            }
            match key.as_str() {
                "pool_mode" => table.text("pool_mode", draft::mode(entry, &value)?),
                "pool_size" | "reserve_pool_size" => {
                    size = Some(size.unwrap_or(0) + draft::number(entry, &value)?);
                }
                "max_user_connections" => bound(&mut table, "connections_max", entry, &value)?,
                "max_user_client_connections" => bound(&mut table, "clients_max", entry, &value)?,
                "query_timeout" => {
                    let time = remarks.time(entry, &value, draft::Zero::Same)?;
                    table.text("query_timeout", &time);
                }
                "idle_transaction_timeout" => {
                    let time = remarks.time(entry, &value, draft::Zero::Same)?;
                    table.text("idle_in_transaction_timeout", &time);
                }
                "client_idle_timeout" => {
                    let time = remarks.time(entry, &value, draft::Zero::Same)?;
                    table.text("client_idle_timeout", &time);
                }
                other => remarks.of(entry, other, "not known"),
            }
        }
        if let Some(size) = size.filter(|size| *size > 0) {
            table.put("pool_size_max", size.to_string());
        }
        if !table.is_empty() {
            let _ = write!(toml, "\n[[users]]\nname = {}\n", quoted(&entry.key)); // a String
            table.write(toml);
        }
    }
    Ok(())
}

/// A number of which 0 is no bound: then nothing is written.
fn bound(
    table: &mut Table,
    ours: &'static str,
    entry: &Entry,
    text: &str,
) -> Result<(), ConfigError> {
    let number = draft::number(entry, text)?;
    if number > 0 {
        table.put(ours, number.to_string());
    }
    Ok(())
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
