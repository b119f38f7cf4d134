//! Gel's client libraries, fetched from the registries of their languages into a cache below
//! `target/`, pinned by the lock files beside the programs in `tests/gel`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use everline_lab::{Error, Result};

/// Longest time for one step: everything is fetched and compiled for the first time.
const STEP_MAX: Duration = Duration::from_mins(10);

/// With these words a step says that it could not reach its registry, or that the registry is out
/// of order.
const NO_REGISTRY: [&str; 16] = [
    "could not resolve",
    "name resolution",
    "dial tcp",
    "enotfound",
    "eai_again",
    "econnrefused",
    "econnreset",
    "etimedout",
    "unreachable",
    "connection refused",
    "couldn't connect",
    "timed out",
    "403 forbidden",
    "bad gateway",
    "service unavailable",
    "too many requests",
];

/// With these that the machine's tool is too old, or not whole.
const NO_TOOL: [&str; 4] = [
    "requires go >=",
    "ensurepip is not available",
    "requires a different python",
    "no module named",
];

/// One at a time: two tests may want the same.
static SETTING_UP: Mutex<()> = Mutex::new(());

/// A language whose library is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Language {
    Python,
    Node,
    Go,
    Rust,
}

impl Language {
    const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Go => "go",
            Self::Rust => "rust",
        }
    }

    /// The command that runs its program, set up before if need be.
    pub(crate) fn command(self) -> Result<Command> {
        let _one = SETTING_UP.lock().unwrap_or_else(PoisonError::into_inner);
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gel").join(self.name());
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gel").join(self.name());
        io(fs::create_dir_all(&cache))?;
        match self {
            Self::Python => python(&here, &cache),
            Self::Node => node(&here, &cache),
            Self::Go => go(&here, &cache),
            Self::Rust => rust(&here, &cache),
        }
    }
}

fn python(here: &Path, cache: &Path) -> Result<Command> {
    let program = cache.join("venv/bin/python");
    let wanted = version("python3")? + &io(fs::read_to_string(here.join("requirements.txt")))?;
    let stamp = cache.join("made-of");
    if !fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        let mut venv = Command::new("python3");
        step(venv.args(["-m", "venv", "--clear"]).arg(cache.join("venv")))?;
        let mut pip = Command::new(&program);
        let pip = pip.args(["-m", "pip", "install", "--quiet", "--requirement"]);
        step(pip.arg(here.join("requirements.txt")))?;
        io(fs::write(&stamp, &wanted))?;
    }
    let mut command = Command::new(program);
    command.args(["-u", "-B"]).arg(here.join("speak.py"));
    Ok(command)
}

fn node(here: &Path, cache: &Path) -> Result<Command> {
    let lock = version("node")? + &io(fs::read_to_string(here.join("package-lock.json")))?;
    let made = fs::read_to_string(cache.join("made-of"));
    for file in ["package.json", "package-lock.json", "speak.js"] {
        io(fs::copy(here.join(file), cache.join(file)))?;
    }
    if !made.is_ok_and(|made| made == lock) {
        let mut npm = Command::new("npm");
        let npm = npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        step(npm.current_dir(cache))?;
        io(fs::write(cache.join("made-of"), &lock))?;
    }
    let mut command = Command::new("node");
    command.arg(cache.join("speak.js"));
    Ok(command)
}

fn go(here: &Path, cache: &Path) -> Result<Command> {
    let program = cache.join("speak");
    let mut build = Command::new("go");
    let build = build.args(["build", "-trimpath", "-o"]).arg(&program).arg(".");
    step(build.current_dir(here))?;
    Ok(Command::new(program))
}

fn rust(here: &Path, cache: &Path) -> Result<Command> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let build = build.args(["build", "--quiet", "--locked", "--manifest-path"]);
    step(build.arg(here.join("Cargo.toml")).arg("--target-dir").arg(cache))?;
    Ok(Command::new(cache.join("debug/everline-gel-rust")))
}

/// What a tool says of its version; one that cannot be started is missing.
fn version(tool: &str) -> Result<String> {
    let output = Command::new(tool).arg("--version").stdin(Stdio::null()).output();
    match output {
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => Err(Error::Skip(format!("there is no {tool} on this machine"))),
    }
}

/// Runs one step to its end.
fn step(command: &mut Command) -> Result<()> {
    let what = command.get_program().to_string_lossy().into_owned();
    let log: PathBuf = everline_lab::process::run_directory()?.join("gel-setup.log");
    let (out, errors) =
        (io(fs::File::create(&log))?, io(fs::File::options().append(true).open(&log))?);
    command.stdin(Stdio::null()).stdout(out).stderr(errors);
    let Ok(mut child) = command.spawn() else {
        return Err(Error::Skip(format!("there is no {what} on this machine")));
    };
    let pause = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    let status = loop {
        if let Some(status) = io(child.try_wait())? {
            break status;
        }
        if waited >= STEP_MAX {
            let _: std::io::Result<()> = child.kill();
            let _: std::io::Result<_> = child.wait();
            return Err(Error::Skip(format!("{what} is not done within {STEP_MAX:?}")));
        }
        std::thread::sleep(pause);
        waited += pause;
    };
    if status.success() {
        return Ok(());
    }
    Err(judge(what, &String::from_utf8_lossy(&fs::read(&log).unwrap_or_default())))
}

/// Whether what a step said is the machine's fault or ours.
fn judge(what: String, said: &str) -> Error {
    let lower = said.to_lowercase();
    if NO_REGISTRY.iter().chain(&NO_TOOL).any(|words| lower.contains(words)) {
        return Error::Skip(format!("{what}: {}", said.lines().next().unwrap_or_default()));
    }
    let from = said.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
    Error::Failed { what, detail: said.get(from..).unwrap_or_default().to_owned() }
}

fn io<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|source| Error::Io { what: "setting up Gel's clients".to_owned(), source })
}

#[test]
fn what_a_step_says_is_judged() {
    let skips = |said: &str| matches!(judge("step".to_owned(), said), Error::Skip(_));
    assert!(skips("go: go.mod requires go >= 1.25.0 (running go 1.19)"));
    assert!(skips("npm error code ENOTFOUND"));
    assert!(skips("npm error code ECONNREFUSED"));
    assert!(skips("[Errno -3] Temporary failure in name resolution"));
    assert!(skips("error: [6] Could not resolve host: index.crates.io"));
    assert!(!skips("main.go:1: undefined: gel"));
    assert!(!skips("error[E0425]: cannot find value `key`"));
}
