//! `[pgbouncer]` and `[peers]`: what holds for all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::databases::{Databases, percent};
use super::draft::{self, Remarks, Table, Zero};
use super::ini::{Entry, pairs};
use crate::config::ConfigError;

/// What PgBouncer asks where an `auth_user` is given and no `auth_query`.
const AUTH_QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE \
                          rolpassword END FROM pg_authid WHERE rolname = $1 AND rolcanlogin";

/// The fewest backend connections in all that are written; our own default.
const BUDGET_MIN: usize = 50;

/// Largest message of PgBouncer's default, and of ours.
const MESSAGE_BYTES_MAX: usize = 0x3fff_ffff;

/// Highest number of a peer here.
const PEER_ID_MAX: usize = 127;

/// The section's lines by their key, and the directory from which paths count.
pub(super) struct Settings<'a> {
    pub(super) parts: &'a BTreeMap<&'a str, &'a Entry>,
    pub(super) base: &'a Path,
}

/// Times: theirs, ours, and what 0 is there.
const TIMES: &[(&str, &str, Zero)] = &[
    ("server_idle_timeout", "pool_idle_timeout", Zero::ForEver),
    ("server_lifetime", "pool_lifetime", Zero::AtOnce),
    ("server_connect_timeout", "dial_timeout", Zero::ForEver),
    ("client_login_timeout", "login_timeout", Zero::ForEver),
    ("query_wait_timeout", "query_wait_timeout", Zero::ForEver),
    ("query_timeout", "query_timeout", Zero::Same),
    ("client_idle_timeout", "client_idle_timeout", Zero::Same),
    ("idle_transaction_timeout", "idle_in_transaction_timeout", Zero::Same),
];

impl Settings<'_> {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.parts.get(key).copied().filter(|entry| !entry.value.is_empty())
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    pub(super) fn number(&self, key: &str, usual: usize) -> Result<usize, ConfigError> {
        self.entry(key).map_or(Ok(usual), |entry| draft::number(entry, &entry.value))
    }

    pub(super) fn reserve(&self) -> Result<usize, ConfigError> {
        self.number("reserve_pool_size", 0)
    }

    /// A path that counts from where PgBouncer runs, whole.
    pub(super) fn path(&self, written: &str) -> std::path::PathBuf {
        self.base.join(written)
    }

    /// Where its sockets are, its own and PostgreSQL's; an empty word is none.
    pub(super) fn socket_directory(&self) -> String {
        self.parts.get("unix_socket_dir").map_or("/tmp", |entry| &entry.value).to_owned()
    }

    pub(super) fn write(
        &self,
        databases: &Databases<'_>,
        peers: &[&Entry],
        top: &mut Table,
        remarks: &mut Remarks,
    ) -> Result<(), ConfigError> {
        self.listen(top, remarks)?;
        self.login(top, remarks);
        self.frontend_tls(top, remarks)?;
        self.sharing(databases, top, remarks)?;
        for (theirs, ours, zero) in TIMES {
            if let Some(entry) = self.entry(theirs) {
                top.text(ours, &remarks.time(entry, &entry.value, *zero)?);
            }
        }
        for key in ["admin_users", "stats_users"] {
            if let Some(value) = self.value(key) {
                let names: Vec<&str> = value.split([',', ' ']).map(str::trim).collect();
                let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
                top.list(key, &names);
            }
        }
        if let Some(entry) = self.entry("max_packet_size") {
            let most = draft::number(entry, &entry.value)?;
            if most < MESSAGE_BYTES_MAX {
                top.put("message_bytes_max", most.max(1024).to_string());
            }
        }
        if let Some(entry) = self.entry("max_prepared_statements")
            && entry.value == "0"
        {
            remarks.at(entry, "prepared statements work in every mode, and cannot be turned off");
        }
        self.peers(peers, top, remarks)
    }

    fn listen(&self, top: &mut Table, remarks: &mut Remarks) -> Result<(), ConfigError> {
        let port = self.number("listen_port", 6432)?;
        let mut places: Vec<String> = Vec::new();
        if let Some(entry) = self.entry("listen_addr") {
            for host in entry.value.split(',').map(str::trim) {
                match host {
                    "*" => places.extend([format!("0.0.0.0:{port}"), format!("[::]:{port}")]),
                    "localhost" => places.push(format!("127.0.0.1:{port}")),
                    _ => match host.parse::<IpAddr>() {
                        Ok(IpAddr::V4(ip)) => places.push(format!("{ip}:{port}")),
                        Ok(IpAddr::V6(ip)) => places.push(format!("[{ip}]:{port}")),
                        Err(_) => remarks.at(entry, &format!("{host}: write its address")),
                    },
                }
            }
        }
        let directory = self.socket_directory();
        if directory.starts_with('@') {
            remarks.note("unix_socket_dir: there are no abstract sockets".to_owned());
        } else if !directory.is_empty() {
            places.push(format!("unix:{}/.s.PGSQL.{port}", directory.trim_end_matches('/')));
            let mode = self.entry("unix_socket_mode").map(|entry| entry.value.as_str());
            top.text("unix_socket_mode", mode.unwrap_or("0777"));
        }
        top.list("listen", &places);
        if let Some(entry) = self.entry("so_reuseport")
            && draft::boolean(entry, &entry.value)?
        {
            top.put("reuse_port", "true".to_owned());
        }
        Ok(())
    }

    fn login(&self, top: &mut Table, remarks: &mut Remarks) {
        let entry = self.entry("auth_type");
        let method = match entry.map_or("md5", |entry| entry.value.as_str()) {
            method @ ("md5" | "scram-sha-256" | "cert" | "trust" | "hba" | "peer") => method,
            "plain" => "password",
            "any" => "trust",
            other => {
                let what = format!("there is no {other}; scram-sha-256 is written");
                if let Some(entry) = entry {
                    remarks.at(entry, &what);
                }
                "scram-sha-256"
            }
        };
        top.text("auth", method);
        if let Some(entry) = entry.filter(|_| method == "trust") {
            remarks.at(entry, "here it lets in users whom no file names too");
        }
        if let Some(file) = self.value("auth_file") {
            top.text("auth_file", &self.path(file).to_string_lossy());
        }
        for key in ["auth_hba_file", "auth_ident_file"] {
            if let Some(file) = self.value(key).filter(|_| method == "hba") {
                top.text(key, &self.path(file).to_string_lossy());
            }
        }
        let asks = self.value("auth_user").is_some() || self.value("auth_query").is_some();
        if asks {
            top.text("auth_query", self.value("auth_query").unwrap_or(AUTH_QUERY));
            if self.value("auth_dbname").is_none() {
                remarks.note(
                    "auth_query: PgBouncer asks in the database that the client wants, Everline \
                     always in that of backend_dsn; see auth_query_database"
                        .to_owned(),
                );
            }
        }
    }

    fn frontend_tls(&self, top: &mut Table, remarks: &mut Remarks) -> Result<(), ConfigError> {
        let Some(entry) = self.entry("client_tls_sslmode").filter(|e| e.value != "disable") else {
            return Ok(());
        };
        let by_certificate = ["cert", "hba"].contains(&self.value("auth_type").unwrap_or_default());
        let (demand, verifies) = match entry.value.as_str() {
            "allow" | "prefer" => ("allow", by_certificate),
            "require" => ("require", by_certificate),
            "verify-ca" | "verify-full" => ("verify", true),
            _ => return Err(entry.wrong("wants a mode of TLS")),
        };
        top.text("tls_clients", demand);
        for (theirs, ours) in [
            ("client_tls_cert_file", "tls_cert"),
            ("client_tls_key_file", "tls_key"),
            ("client_tls_ca_file", "tls_client_ca"),
        ] {
            let wanted = verifies || ours != "tls_client_ca";
            if let Some(file) = self.value(theirs).filter(|_| wanted) {
                top.text(ours, &self.path(file).to_string_lossy());
            }
        }
        if let Some(version) = self.versions("client_tls_protocols", remarks) {
            top.text("tls_min_version", version);
        }
        Ok(())
    }

    /// The oldest version of TLS, where it is not the usual one.
    fn versions(&self, key: &str, remarks: &mut Remarks) -> Option<&'static str> {
        let entry = self.entry(key)?;
        let words: Vec<&str> = entry.value.split([',', ':', ' ']).collect();
        let old = ["all", "legacy", "tlsv1", "tlsv1.0", "tlsv1.1"];
        if words.iter().any(|word| old.contains(word)) {
            remarks.at(entry, "TLS 1.2 is the oldest");
        }
        let oldest = words.iter().all(|word| ["tlsv1.3", ""].contains(word));
        oldest.then_some("TLSv1.3")
    }

    /// What the DSN says of TLS.
    pub(super) fn backend_tls(
        &self,
        dsn: &mut String,
        remarks: &mut Remarks,
    ) -> Result<(), ConfigError> {
        let mut parameters = Vec::new();
        let mode = self.entry("server_tls_sslmode");
        let verifies = mode.is_some_and(|entry| entry.value.starts_with("verify-"));
        if let Some(entry) = mode {
            let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
            if !modes.contains(&entry.value.as_str()) {
                return Err(entry.wrong("wants a mode of TLS"));
            }
            parameters.push(("sslmode", entry.value.clone()));
        }
        for (theirs, ours) in [
            ("server_tls_ca_file", "sslrootcert"),
            ("server_tls_cert_file", "sslcert"),
            ("server_tls_key_file", "sslkey"),
        ] {
            // To libpq a root certificate would make verify-ca of require.
            if let Some(file) = self.value(theirs).filter(|_| verifies || ours != "sslrootcert") {
                parameters.push((ours, self.path(file).to_string_lossy().into_owned()));
            }
        }
        if let Some(version) = self.versions("server_tls_protocols", remarks) {
            parameters.push(("ssl_min_protocol_version", version.to_owned()));
        }
        for (at, (name, value)) in parameters.iter().enumerate() {
            let mark = if at == 0 { "?" } else { "&" };
            dsn.extend([mark, name, "=", &percent(value)]);
        }
        Ok(())
    }

    fn sharing(
        &self,
        databases: &Databases<'_>,
        top: &mut Table,
        remarks: &mut Remarks,
    ) -> Result<(), ConfigError> {
        let mode = match self.entry("pool_mode") {
            Some(entry) => draft::mode(entry, &entry.value)?,
            None => "session",
        };
        top.text("pool_mode", mode);
        let size = self.number("default_pool_size", 20)?;
        let together = if size == 0 { 0 } else { size + self.reserve()? };
        top.put("pool_size_max", together.to_string());
        if let Some(entry) = self.entry("reserve_pool_size").filter(|entry| entry.value != "0") {
            remarks.at(entry, "is counted to pool_size_max: there is no waiting for it");
        }
        if let Some(entry) = self.entry("min_pool_size") {
            top.put("pool_size_min", draft::number(entry, &entry.value)?.to_string());
        }
        top.put("clients_max", self.number("max_client_conn", 100)?.max(1).to_string());
        for (theirs, ours) in [
            ("max_db_client_connections", "clients_max_per_database"),
            ("max_user_client_connections", "clients_max_per_user"),
        ] {
            if let Some(entry) = self.entry(theirs) {
                top.put(ours, draft::number(entry, &entry.value)?.to_string());
            }
        }
        if databases.are_all() {
            top.put("only_listed_databases", "true".to_owned());
        }
        // One more watches the leader.
        let budget = databases.connections.saturating_add(1).max(BUDGET_MIN);
        top.put("max_backend_connections", budget.to_string());
        remarks.note(format!(
            "max_backend_connections: PgBouncer bounds each pool, Everline all together too: \
             {budget} is written; it has to fit into PostgreSQL's max_connections"
        ));
        Ok(())
    }

    fn peers(
        &self,
        entries: &[&Entry],
        top: &mut Table,
        remarks: &mut Remarks,
    ) -> Result<(), ConfigError> {
        let Some(own) = self.entry("peer_id").filter(|entry| entry.value != "0") else {
            for entry in entries {
                remarks.at(entry, "wants a peer_id");
            }
            return Ok(());
        };
        if draft::number(own, &own.value)? > PEER_ID_MAX {
            remarks.at(own, "127 is the highest here");
            return Ok(());
        }
        top.put("peer_id", own.value.clone());
        let mut peers = Vec::new();
        for entry in entries {
            let pairs: BTreeMap<String, String> = pairs(entry)?.into_iter().collect();
            let host = pairs.get("host").and_then(|host| host.parse::<IpAddr>().ok());
            let port = pairs.get("port").map_or("6432", String::as_str);
            let known = entry.key.parse().is_ok_and(|id: usize| (1..=PEER_ID_MAX).contains(&id));
            match host.filter(|_| known) {
                _ if entry.key == own.value => {}
                Some(IpAddr::V4(ip)) => peers.push(format!("{}={ip}:{port}", entry.key)),
                Some(IpAddr::V6(ip)) => peers.push(format!("{}=[{ip}]:{port}", entry.key)),
                None => remarks.at(entry, "wants a number up to 127 and an IP address"),
            }
        }
        if !peers.is_empty() {
            top.list("peers", &peers);
        }
        Ok(())
    }
}
