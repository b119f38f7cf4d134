//! The one PostgreSQL behind all peers, with pgbench's tables.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use everline_lab::Result;
use everline_lab::postgres::{
    APP_DATABASE, APP_USER, Cluster, ClusterOptions, Installation, SUPERUSER, TRUSTED_USER,
};
use everline_lab::process::Process;

use crate::tls::Tls;
use crate::{failed, io, pgbench};

/// pgbench's scale: 500,000 accounts, all in memory.
const SCALE: &str = "5";
/// Room for every peer's connections, and for a relay of 64 clients.
const CONNECTIONS_MAX: u16 = 400;
/// Longest time to fill the tables.
const FILL_MAX: Duration = Duration::from_mins(3);

/// A running PostgreSQL.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) cluster: Cluster,
    pub(crate) installation: &'static Installation,
    pub(crate) pgbench: PathBuf,
    pub(crate) tls: Tls,
}

/// Starts one and fills it; `say` hears what is being done.
///
/// # Errors
/// What could not be had, or did not start.
pub(crate) async fn start(say: &impl Fn(&str)) -> Result<Database> {
    let installation = Installation::find_saying(say).await?;
    let pgbench = pgbench::program(installation)?;
    let tls = Tls::make(installation)?;
    let settings = [
        ("shared_buffers", "256MB"),
        ("synchronous_commit", "off"),
        ("autovacuum", "off"),
        ("max_wal_size", "2GB"),
        ("log_checkpoints", "off"),
        ("ssl", "on"), // for the relay that lets TLS through
    ];
    let options = ClusterOptions {
        max_connections: CONNECTIONS_MAX,
        settings: settings.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        files: vec![
            ("server.crt".to_owned(), tls.certificate_pem.clone()),
            ("server.key".to_owned(), tls.key_pem.clone()),
        ],
        ..ClusterOptions::single()
    };
    let cluster = Cluster::start_saying(options, say).await?;
    let database = Database { cluster, installation, pgbench, tls };
    say("filling pgbench's tables");
    database.fill().await?;
    Ok(database)
}

impl Database {
    async fn fill(&self) -> Result<()> {
        let primary = self.cluster.primary();
        let grant = format!("GRANT ALL ON SCHEMA public TO {APP_USER}, {TRUSTED_USER}");
        primary.sql(&grant).await?;
        let mut command = std::process::Command::new(&self.pgbench);
        command
            .args(["--initialize", "--quiet", "--scale", SCALE])
            .args(["--host", &primary.address().ip().to_string()])
            .args(["--port", &primary.address().port().to_string()])
            .args(["--username", SUPERUSER, APP_DATABASE])
            .env("PGSSLMODE", "disable")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = Process::spawn(&mut command)?.ended(FILL_MAX).await?;
        if !status.success() {
            return Err(failed("pgbench --initialize", &status.to_string()));
        }
        let grant =
            format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {APP_USER}, {TRUSTED_USER}");
        primary.sql(&grant).await.map(drop)
    }
}

/// Writes a script for pgbench.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn script(name: &str, text: &str) -> Result<PathBuf> {
    let path = everline_lab::process::run_directory()?.join(name);
    std::fs::write(&path, text).map_err(|source| io("writing a script for pgbench", source))?;
    Ok(path)
}
