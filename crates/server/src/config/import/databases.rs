//! `[databases]`: where PostgreSQL is, and what each database has of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::draft::{self, Remarks, Table, quoted};
use super::ini::{Entry, pairs};
use super::keys::{Fate, OF_DATABASE, fate};
use super::settings::Settings;
use crate::config::ConfigError;

/// The entry for every database that is not named.
const EVERY: &str = "*";

/// Where PostgreSQL's own databases are that have no other name.
const DEFAULT_PORT: &str = "5432";

/// One line.
struct Database<'a> {
    entry: &'a Entry,
    /// Hosts, separated by commas, or the directory of a socket; and the port.
    cluster: (String, String),
    said: BTreeMap<String, String>,
    table: Table,
}

/// All lines that lead to the one cluster that Everline follows.
pub(super) struct Databases<'a> {
    lines: Vec<Database<'a>>,
    cluster: (String, String),
    /// What all of them may open together.
    pub(super) connections: usize,
}

impl<'a> Databases<'a> {
    pub(super) fn read(
        settings: &Settings<'_>,
        entries: &[&'a Entry],
        remarks: &mut Remarks,
    ) -> Result<Self, ConfigError> {
        let mut lines: Vec<Database<'a>> = Vec::new();
        for entry in entries {
            if entry.key == "pgbouncer" {
                return Err(entry.wrong("this is the name of PgBouncer's console"));
            }
            let said = said(entry, remarks)?;
            let cluster = (
                said.get("host").cloned().unwrap_or_else(|| settings.socket_directory()),
                said.get("port").cloned().unwrap_or_else(|| DEFAULT_PORT.to_owned()),
            );
            lines.retain(|line| line.entry.key != entry.key); // the last line counts
            lines.push(Database { entry, cluster, said, table: Table::default() });
        }
        let cluster = usual_cluster(&lines)
            .ok_or_else(|| ConfigError("[databases] names no database".to_owned()))?;
        lines.retain(|line| {
            let ours = line.cluster == cluster;
            if !ours {
                let (host, port) = &line.cluster;
                let elsewhere = format!(
                    "is at {host} port {port}, others at {} port {}: one Everline follows one \
                     cluster, so give this database another",
                    cluster.0, cluster.1
                );
                remarks.at(line.entry, &elsewhere);
            }
            ours
        });
        let mut connections = 0;
        for line in &mut lines {
            connections += line.fill(settings, remarks)?;
        }
        Ok(Self { lines, cluster, connections })
    }

    /// Whether only the named databases are served.
    pub(super) fn are_all(&self) -> bool {
        self.lines.iter().all(|line| line.entry.key != EVERY)
    }

    /// Of the DSN: as whom the leader is watched, and who asks `auth_query`.
    pub(super) fn dsn(
        &self,
        settings: &Settings<'_>,
        known: &[(String, String)],
        remarks: &mut Remarks,
    ) -> Result<String, ConfigError> {
        let said = |key: &str| self.lines.iter().find_map(|line| line.said.get(key).cloned());
        let auth_user =
            settings.value("auth_user").map(str::to_owned).or_else(|| said("auth_user"));
        let forced = self.lines.iter().find_map(|line| {
            Some((line.said.get("user")?.clone(), line.said.get("password").cloned()))
        });
        let of_file = |user: &str| {
            known.iter().find(|(name, _)| name == user).map(|(_, password)| password.clone())
        };
        let (user, password) = match (auth_user, forced) {
            (Some(user), forced) => {
                let same = forced.filter(|(forced, _)| *forced == user);
                let password = same.and_then(|(_, password)| password).or_else(|| of_file(&user));
                (Some(user), password)
            }
            (None, Some((user, password))) => {
                let password = password.or_else(|| of_file(&user));
                (Some(user), password)
            }
            (None, None) => match known.first() {
                Some((user, password)) => {
                    remarks.note(format!(
                        "backend_dsn: PgBouncer needs no user of its own; Everline watches the \
                         leader as {user}, the first of auth_file: any role will do"
                    ));
                    (Some(user.clone()), Some(password.clone()))
                }
                None => (None, None),
            },
        };
        match (&user, &password) {
            (None, _) => remarks.note(
                "backend_dsn: write a user and password: Everline watches the leader, as any role"
                    .to_owned(),
            ),
            (Some(user), None) => remarks.note(format!(
                "backend_dsn: the password of {user} is not known: write it into the DSN or \
                 .pgpass, unless PostgreSQL trusts us"
            )),
            (Some(_), Some(_)) => {}
        }
        let mut dsn = "postgres://".to_owned();
        if let Some(user) = &user {
            dsn.push_str(&percent(user));
            if let Some(password) = &password {
                dsn.extend([":", &percent(password)]);
            }
            dsn.push('@');
        }
        let (hosts, port) = &self.cluster;
        let hosts: Vec<String> = hosts.split(',').map(|host| place(host.trim(), port)).collect();
        let _ = write!(dsn, "{}/{}", hosts.join(","), percent(&self.database(settings)));
        settings.backend_tls(&mut dsn, remarks)?;
        Ok(dsn)
    }

    /// The database of the DSN: the leader is watched there.
    fn database(&self, settings: &Settings<'_>) -> String {
        let said = self.lines.iter().find_map(|line| line.said.get("auth_dbname"));
        if let Some(name) = settings.value("auth_dbname").or(said.map(String::as_str)) {
            return name.to_owned();
        }
        let named = self.lines.iter().find(|line| line.entry.key != EVERY);
        let named = named.map(|line| line.said.get("dbname").unwrap_or(&line.entry.key));
        named.map_or_else(|| "postgres".to_owned(), String::clone)
    }

    pub(super) fn write(&self, toml: &mut String) {
        for line in &self.lines {
            let _ = write!(toml, "\n[databases.{}]\n", quoted(&line.entry.key)); // a String
            line.table.write(toml);
        }
    }
}

impl Database<'_> {
    /// Its table; how many connections its pool may have.
    fn fill(
        &mut self,
        settings: &Settings<'_>,
        remarks: &mut Remarks,
    ) -> Result<usize, ConfigError> {
        let Self { entry, said, table, .. } = self;
        let number = |key: &str| said.get(key).map(|text| draft::number(entry, text)).transpose();
        let name = said.get("dbname").filter(|name| **name != entry.key);
        if let Some(name) = name {
            table.text("backend_database", name);
        }
        if let Some(user) = said.get("user") {
            table.text("backend_user", user);
            if let Some(password) = said.get("password") {
                table.text("backend_password", password);
            }
        } else if said.contains_key("password") {
            remarks.of(entry, "password", "stands without a user: users log in by their own");
        }
        if let Some(mode) = said.get("pool_mode") {
            table.text("pool_mode", draft::mode(entry, mode)?);
        }
        if let Some(min) = number("min_pool_size")? {
            table.put("pool_size_min", min.to_string());
        }
        let size = number("pool_size")?;
        let reserve = number("reserve_pool_size")?.or(number("reserve_pool")?);
        let usual = (settings.number("default_pool_size", 20)?, settings.reserve()?);
        let together = size.unwrap_or(usual.0) + reserve.unwrap_or(usual.1);
        if size == Some(0) {
            remarks.of(entry, "pool_size", "0 is no bound there; that for all holds here");
        } else if size.is_some() || reserve.is_some() {
            table.put("pool_size_max", together.to_string());
        }
        let most = match number("max_db_connections")? {
            Some(most) => most,
            None => settings.number("max_db_connections", 0)?,
        };
        if most > 0 {
            table.put("connections_max", most.to_string());
        }
        if let Some(clients) = number("max_db_client_connections")?.filter(|most| *most > 0) {
            table.put("clients_max", clients.to_string());
        }
        let others = ["auth_user", "auth_dbname"];
        for key in others.into_iter().filter(|key| said.contains_key(*key)) {
            if settings.value(key).is_some_and(|usual| said.get(key).is_none_or(|s| s != usual)) {
                remarks.of(entry, key, "there is one auth_query, and one who asks it, for all");
            }
        }
        Ok(if most > 0 { most } else { together })
    }
}

fn said(entry: &Entry, remarks: &mut Remarks) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut said = BTreeMap::new();
    for (key, value) in pairs(entry)? {
        match fate(OF_DATABASE, &key) {
            Some(Fate::Carried) => drop(said.insert(key, value)),
            Some(Fate::Left(why)) => remarks.of(entry, &key, why),
            Some(Fate::Needless(why)) => remarks.of(entry, &key, &format!("not needed: {why}")),
            None => remarks.of(entry, &key, "not known"),
        }
    }
    Ok(said)
}

/// Where most databases are; of several such places that of the first line.
fn usual_cluster(lines: &[Database<'_>]) -> Option<(String, String)> {
    let count =
        |place: &(String, String)| lines.iter().filter(|line| line.cluster == *place).count();
    let mut usual: Option<&(String, String)> = None;
    for line in lines {
        if usual.is_none_or(|usual| count(&line.cluster) > count(usual)) {
            usual = Some(&line.cluster);
        }
    }
    usual.cloned()
}

/// A host with its port, as a URI has it.
fn place(host: &str, port: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        return format!("[{host}]:{port}");
    }
    format!("{}:{port}", percent(host))
}

/// Percent-encoded for a part of a URI.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // a String takes everything
        }
    }
    out
}
