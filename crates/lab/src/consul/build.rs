//! Consul's program: where it is, or how it comes to be.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use crate::{Error, Result, during};

/// The version that is built.
const VERSION: &str = "1.15.4";
/// Its module file. Consul repeats none of its `replace` and `exclude` lines to those who require
/// it, so that this file names the `api` that fits and leaves out a codec that does not.
const MODULE: &str = include_str!("../../consul/go.mod");
/// The checksums of all its modules.
const SUMS: &str = include_str!("../../consul/go.sum");
/// Longest time for the build; on two busy cores without any cache it takes a quarter of an hour.
const PATIENCE: Duration = Duration::from_mins(40);
/// How often one hears that it still goes on.
const REPORT: Duration = Duration::from_secs(10);
/// What is missing where there is neither.
const NO_GO: &str = "no Consul here, and no Go to build it with: put `consul` on PATH, name it by \
                     EVERLINE_TEST_CONSUL_BIN, or install Go";

/// How much of a build's complaints is kept, in bytes.
const REST_BYTES_MAX: usize = 64 * 1024;

static FOUND: OnceCell<std::result::Result<PathBuf, String>> = OnceCell::const_new();

/// The program of this run, looked for once: `EVERLINE_TEST_CONSUL_BIN`, PATH, what was built
/// before, else built with Go from its module into the user's cache, by one process at a time and
/// with a line on standard error now and then. The build takes minutes and needs the network.
///
/// # Errors
/// [`Error::Skip`] when there is none and none can be built.
pub async fn find() -> Result<&'static Path> {
    find_saying(|line| {
        // Past the test harness, which keeps what is printed until a test has ended.
        let _ = writeln!(std::io::stderr(), "{line}");
    })
    .await
}

/// As [`find`]; `say` hears one line before and during each thing that takes time.
///
/// # Errors
/// See [`find`].
pub async fn find_saying(say: impl Fn(&str)) -> Result<&'static Path> {
    let found = FOUND.get_or_init(|| async {
        look(&cache_directory(), &say).await.map_err(|error| match &error {
            Error::Skip(why) => why.clone(),
            Error::Io { .. } | Error::Failed { .. } | Error::Sql { .. } | Error::Late { .. } => {
                error.to_string()
            }
        })
    });
    found.await.as_deref().map_err(|why| Error::Skip(why.clone()))
}

async fn look(cache: &Path, say: &impl Fn(&str)) -> Result<PathBuf> {
    if let Some(named) = env::var_os("EVERLINE_TEST_CONSUL_BIN") {
        let named = PathBuf::from(named);
        let program = if named.is_dir() { named.join("consul") } else { named };
        return if program.is_file() {
            Ok(program)
        } else {
            Err(Error::Skip(format!("no Consul at {}", program.display())))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).map(|place| place.join("consul"));
    if let Some(program) = places.find(|program| program.is_file()) {
        return Ok(program);
    }
    let program = cache.join(format!("consul-{VERSION}/consul"));
    if program.is_file() {
        return Ok(program);
    }
    build(cache, &program, say).await?;
    Ok(program)
}

/// Builds `program` unless another process has done so in the meantime.
async fn build(cache: &Path, program: &Path, say: &impl Fn(&str)) -> Result<()> {
    let version = Command::new("go").arg("version").output().await;
    if !version.is_ok_and(|said| said.status.success()) {
        return Err(Error::Skip(NO_GO.to_owned()));
    }
    during(|| format!("making {}", cache.display()), fs::create_dir_all(cache))?;
    let _lock = lock(&cache.join("consul.lock"), say).await?;
    if program.is_file() {
        return Ok(());
    }
    let directory = cache.join("consul-build");
    let what = || format!("writing {}", directory.display());
    during(what, fs::create_dir_all(&directory))?;
    during(what, fs::write(directory.join("go.mod"), MODULE))?;
    during(what, fs::write(directory.join("go.sum"), SUMS))?;
    say(&format!("building Consul {VERSION} from its Go module (minutes, once)"));
    let built = compile(&directory, say).await?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        let from = said.len().saturating_sub(2000);
        let end = said.get(from..).unwrap_or_default().trim();
        return Err(Error::Skip(format!("no Consul here, and building it failed: {end}")));
    }
    let what = || format!("keeping {}", program.display());
    during(what, fs::create_dir_all(program.parent().unwrap_or(cache)))?;
    during(what, fs::rename(directory.join("consul"), program))?;
    let _ = fs::remove_dir_all(&directory);
    say(&format!("Consul {VERSION} is at {}", program.display()));
    Ok(())
}

/// Runs the build, and counts aloud what it names: modules that are fetched, then packages.
async fn compile(directory: &Path, say: &impl Fn(&str)) -> Result<Output> {
    let mut go = Command::new("go");
    go.args(["build", "-v", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", "consul"]);
    go.arg("github.com/hashicorp/consul").current_dir(directory).env("GOWORK", "off");
    go.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let what = || "running go build".to_owned();
    let mut building = during(what, go.spawn())?;
    let mut lines = building.stderr.take().map(|errors| BufReader::new(errors).lines());
    let mut heard = Heard::default();
    let began = Instant::now();
    let mut report_at = began + REPORT;
    while let Some(from) = &mut lines {
        match timeout_at(report_at, from.next_line()).await {
            Ok(Ok(Some(line))) => heard.line(&line),
            Ok(Ok(None) | Err(_)) => lines = None,
            Err(_) if began.elapsed() >= PATIENCE => {
                let why = format!("no Consul here, and building it took more than {PATIENCE:?}");
                return Err(Error::Skip(why));
            }
            Err(_) => {
                report_at += REPORT;
                say(&heard.progress(began.elapsed()));
            }
        }
    }
    let status = during(what, building.wait().await)?;
    Ok(Output { status, stdout: Vec::new(), stderr: heard.rest.into_bytes() })
}

/// What a build has said so far.
#[derive(Debug, Default)]
struct Heard {
    fetched: u32,
    compiled: u32,
    /// What was no sign of progress.
    rest: String,
}

impl Heard {
    fn line(&mut self, line: &str) {
        let is_package = !line.is_empty() && !line.contains([' ', '#', ':']);
        if line.starts_with("go: downloading ") {
            self.fetched += 1;
        } else if is_package {
            self.compiled += 1;
        } else if self.rest.len() < REST_BYTES_MAX {
            self.rest.push_str(line);
            self.rest.push('\n');
        }
    }

    fn progress(&self, passed: Duration) -> String {
        let Self { fetched, compiled, rest: _ } = self;
        let seconds = passed.as_secs();
        format!("building Consul: {fetched} modules fetched, {compiled} packages, {seconds} s")
    }
}

/// Holds the lock until the file is dropped, or the process has ended.
async fn lock(path: &Path, say: &impl Fn(&str)) -> Result<fs::File> {
    let what = || format!("locking {}", path.display());
    let options = fs::OpenOptions::new().create(true).append(true).open(path);
    let file = during(what, options)?;
    let mut passed = Duration::ZERO;
    while passed < PATIENCE {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        if passed.as_secs().is_multiple_of(REPORT.as_secs()) {
            say("waiting for another process that builds Consul");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        passed += Duration::from_secs(1);
    }
    Err(Error::Skip(format!("another process builds Consul for more than {PATIENCE:?}")))
}

fn cache_directory() -> PathBuf {
    let in_home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(in_home);
    base.unwrap_or_else(env::temp_dir).join("everline")
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
