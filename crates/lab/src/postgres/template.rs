//! One data directory per run, made by `initdb` and copied for every node.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};

use super::install::run;
use super::node::give_back_shared_memory;
use super::{
    APP_DATABASE, APP_PASSWORD, APP_USER, CLEARTEXT_USER, Installation, MD5_USER, SUPERUSER,
    TRUSTED_USER,
};
use crate::process::{Process, run_directory};
use crate::{Error, Result, during};

static TEMPLATE: OnceCell<PathBuf> = OnceCell::const_new();
static COUNT: Mutex<u32> = Mutex::const_new(0);

/// Longest time for `initdb`, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(2);

/// Who may log in from where, and how. The lab itself is the superuser.
const HBA: &str = "\
local all all trust
host all,replication postgres 127.0.0.0/8 trust
host all trusted 127.0.0.0/8 trust
host all legacy 127.0.0.0/8 md5
host all clear 127.0.0.0/8 password
host all all 127.0.0.0/8 scram-sha-256
";

/// The data directory that all clusters of this run start from; they share its system identifier.
pub(super) async fn shared(installation: &Installation) -> Result<&'static Path> {
    let make = || make(installation);
    TEMPLATE.get_or_try_init(make).await.map(PathBuf::as_path)
}

/// A data directory of its own, with a system identifier of its own.
pub(super) async fn make(installation: &Installation) -> Result<PathBuf> {
    let data = new_directory(installation, "template").await?.join("data");
    let mut initdb = installation.program("initdb").into_std();
    initdb
        .args(["--no-sync", "--locale=C", "--encoding=UTF8", "--auth=trust"])
        .args(["--username", SUPERUSER, "--wal-segsize=1", "--pgdata"])
        .arg(&data)
        .stdin(Stdio::null());
    finish("initdb", initdb, &data).await?;
    installation.write(&data.join("pg_hba.conf"), HBA)?;
    populate(installation, &data).await?;
    Ok(data)
}

/// A new directory under that of the run, named after `word`.
pub(super) async fn new_directory(installation: &Installation, word: &str) -> Result<PathBuf> {
    installation.make_directory(run_directory()?)?;
    let mut count = COUNT.lock().await;
    *count += 1;
    let directory = run_directory()?.join(format!("{word}{count}"));
    installation.make_directory(&directory)?;
    Ok(directory)
}

/// Copies a stopped data directory.
pub(super) async fn copy(installation: &Installation, from: &Path, to: &Path) -> Result<()> {
    let mut cp = installation.as_owner("cp");
    cp.args(["-R", "-p"]).arg(from).arg(to);
    run("copying a data directory", &mut cp).await.map(drop)
}

/// Makes roles and the database without starting a postmaster: one statement a line.
async fn populate(installation: &Installation, data: &Path) -> Result<()> {
    let script = format!(
        "CREATE ROLE {APP_USER} LOGIN PASSWORD '{APP_PASSWORD}'\n\
         CREATE ROLE {CLEARTEXT_USER} LOGIN PASSWORD '{APP_PASSWORD}'\n\
         CREATE ROLE {TRUSTED_USER} LOGIN\n\
         CREATE DATABASE {APP_DATABASE} OWNER {APP_USER}\n\
         SET password_encryption = 'md5'\n\
         CREATE ROLE {MD5_USER} LOGIN PASSWORD '{APP_PASSWORD}'\n"
    );
    let path = data.with_file_name("roles.sql");
    installation.write(&path, &script)?;
    let script = during(|| path.display().to_string(), File::open(&path))?;
    let mut postgres = installation.program("postgres").into_std();
    postgres.args(["--single", "-c", "fsync=off", "-c", "exit_on_error=on", "-D"]);
    postgres.arg(data).arg("postgres").stdin(script);
    finish("postgres --single", postgres, data).await
}

/// Runs a program that works on `data` to its end. Interrupted, it ends with all its children and
/// gives back what it had of the kernel.
async fn finish(what: &str, mut command: Command, data: &Path) -> Result<()> {
    let path = data.with_file_name("log");
    let log = during(|| path.display().to_string(), File::create(&path))?;
    let errors = during(|| path.display().to_string(), log.try_clone())?;
    command.stdout(log).stderr(errors);
    let mut working = Working { process: Process::spawn(&mut command)?, data };
    let status = working.process.ended(PATIENCE).await?;
    if status.success() {
        return Ok(());
    }
    let said = std::fs::read(&path).unwrap_or_default();
    let detail = format!("{status}: {}", String::from_utf8_lossy(&said).trim());
    Err(Error::Failed { what: what.to_owned(), detail })
}

/// A program at work on a data directory.
struct Working<'a> {
    process: Process,
    data: &'a Path,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.process.kill_all();
        give_back_shared_memory(self.data);
    }
}
