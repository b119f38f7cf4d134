//! One load by pgbench, and what was measured while it ran steadily: from when every client is
//! connected until before the first one leaves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use everline_lab::Result;
use everline_lab::postgres::{APP_DATABASE, Installation};
use everline_lab::process::{Process, run_directory};
use tokio::time::{Instant, sleep};

use crate::peers::{Login, Running, on_path};
use crate::sample::quantile;
use crate::{failed, io, usage};

/// Longest time until the first transactions are there: connecting hundreds of clients takes some.
const BEGIN_MAX: Duration = Duration::from_mins(1);
/// Longest time for the end after the last second that was asked for.
const END_MAX: Duration = Duration::from_secs(30);
/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(10);
/// What passes between the first transactions and the measurement.
const SETTLE: Duration = Duration::from_millis(150);
/// From so many clients on pgbench has two threads.
const TWO_THREADS_FROM: u16 = 16;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What pgbench does.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// As `--protocol` has it: simple, extended, prepared.
    pub(crate) protocol: &'static str,
    pub(crate) clients: u16,
    pub(crate) tls: bool,
    pub(crate) login: Login,
    /// Whether each transaction is a connection of its own.
    pub(crate) reconnect: bool,
    /// A script in place of `pgbench -S`.
    pub(crate) script: Option<PathBuf>,
    pub(crate) time: Duration,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// Times to the answer, in milliseconds.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// CPU seconds of the pooler for 100,000 transactions.
    pub(crate) cpu_per_100k: f64,
    /// What the pooler had resident at the end, in bytes.
    pub(crate) resident: u64,
}

/// Where pgbench is: beside PostgreSQL's programs, or on PATH.
///
/// # Errors
/// When it is in neither place.
pub(crate) fn program(installation: &Installation) -> Result<PathBuf> {
    let beside = installation.bin().join("pgbench");
    if beside.is_file() {
        return Ok(beside);
    }
    let found = on_path("pgbench");
    found.ok_or_else(|| failed("looking for pgbench", "none (Debian: postgresql)"))
}

/// Runs a load against a pooler.
///
/// # Errors
/// With what pgbench said when it fails, or when it does not begin or end in time.
pub(crate) async fn run(pgbench: &Path, load: &Load, target: &Running) -> Result<Measured> {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = run_directory()?.join(format!("pgbench{number}"));
    let made = fs::create_dir_all(&directory);
    made.map_err(|source| io("making a directory for pgbench's log", source))?;
    let measured = measure(pgbench, load, target, &directory).await;
    let _ = fs::remove_dir_all(&directory);
    measured
}

async fn measure(
    pgbench: &Path,
    load: &Load,
    target: &Running,
    directory: &Path,
) -> Result<Measured> {
    let mut process = spawn(pgbench, load, target, directory)?;
    let what = format!("pgbench against {}", target.peer.name);
    let said = || fs::read_to_string(directory.join("said")).unwrap_or_default();
    let until = Instant::now() + BEGIN_MAX;
    while !has_begun(directory) {
        if process.status().is_some() {
            return Err(failed(&what, &said()));
        }
        if Instant::now() >= until {
            return Err(failed(&what, &format!("no transaction within {BEGIN_MAX:?}: {}", said())));
        }
        sleep(POLL).await;
    }
    sleep(SETTLE).await;
    let (from, used_before) = (now(), usage::cpu(target.id()));
    sleep(load.time).await;
    let (to, used) = (now(), usage::cpu(target.id()).saturating_sub(used_before));
    let resident = usage::resident_bytes(target.id());
    if process.status().is_some() {
        return Err(failed(&what, &format!("it ended before its time: {}", said())));
    }
    if !process.ended(load.time + END_MAX).await?.success() {
        return Err(failed(&what, &said()));
    }
    let log = logs(directory).into_iter().map(|path| fs::read_to_string(path).unwrap_or_default());
    let mut times: Vec<u64> = log.flat_map(|text| times_within(&text, from, to)).collect();
    times.sort_unstable();
    result(&times, to.saturating_sub(from), used, resident)
        .ok_or_else(|| failed(&what, "no transaction ended while it was measured"))
}

fn result(sorted: &[u64], time: Duration, used: Duration, resident: u64) -> Option<Measured> {
    let transactions = f64::from(u32::try_from(sorted.len()).ok()?);
    let milliseconds = |thousandths| {
        let microseconds = u32::try_from(quantile(sorted, thousandths)?).ok()?;
        Some(f64::from(microseconds) / 1000.0)
    };
    Some(Measured {
        per_second: transactions / time.as_secs_f64(),
        p50_ms: milliseconds(500)?,
        p99_ms: milliseconds(990)?,
        cpu_per_100k: used.as_secs_f64() * 100_000.0 / transactions,
        resident,
    })
}

fn spawn(pgbench: &Path, load: &Load, target: &Running, directory: &Path) -> Result<Process> {
    let path = directory.join("said");
    let made = File::create(&path).and_then(|file| Ok((file.try_clone()?, file)));
    let (out, errors) = made.map_err(|source| io("making a file for pgbench's words", source))?;
    let mut command = std::process::Command::new(pgbench);
    let threads = if load.clients >= TWO_THREADS_FROM { "2" } else { "1" };
    // It is measured from the first lines of its log on, which come by the page: late, where each
    // transaction takes a login.
    let lead_in = if load.reconnect { 6 } else { 1 };
    let seconds = load.time.as_secs() + lead_in + u64::from(load.time.subsec_nanos() > 0);
    command
        .args(["--no-vacuum", "--log", "--protocol", load.protocol])
        .arg(format!("--log-prefix={}", directory.join("log").display()))
        .args(["--client", &load.clients.to_string(), "--jobs", threads])
        .args(["--time", &seconds.to_string()])
        .args(["--host", &target.address.ip().to_string()])
        .args(["--port", &target.address.port().to_string()])
        .args(["--username", load.login.user(), APP_DATABASE])
        .env("PGPASSWORD", load.login.password())
        .env("PGSSLMODE", if load.tls { "require" } else { "disable" })
        .env("PGGSSENCMODE", "disable")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(errors);
    match &load.script {
        Some(script) => command.arg("--file").arg(script),
        None => command.arg("--select-only"),
    };
    if load.reconnect {
        command.arg("--connect");
    }
    Process::spawn(&mut command)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn has_begun(directory: &Path) -> bool {
    logs(directory).iter().any(|path| fs::metadata(path).is_ok_and(|file| file.len() > 0))
}

/// One for each of pgbench's threads.
fn logs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_log = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log."))
    };
    entries.map(|entry| entry.path()).filter(is_log).collect()
}

/// The microseconds that each transaction took which ended between these times since 1970, from
/// pgbench's log (PostgreSQL manual, "Per-Transaction Logging"): client, number, microseconds,
/// script, and when it ended in seconds and microseconds.
fn times_within(log: &str, from: Duration, to: Duration) -> Vec<u64> {
    let time = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        let took = fields.next()?.parse().ok()?;
        let ended = Duration::from_secs(fields.nth(1)?.parse().ok()?)
            + Duration::from_micros(fields.next()?.trim_end().parse().ok()?);
        (from..=to).contains(&ended).then_some(took)
    };
    log.lines().filter_map(time).collect()
}

#[cfg(test)]
#[path = "pgbench_tests.rs"]
mod tests;
