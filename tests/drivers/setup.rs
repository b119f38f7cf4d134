//! Sets the programs up: their drivers come from the registries of their languages into a cache
//! below `target/`, pinned by the lock files that stand beside the programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::roster::{Driver, Language};

/// Longest time for one step: everything is fetched and compiled for the first time.
const STEP_MAX: Duration = Duration::from_mins(15);
/// How much of what a step says goes into a failure.
const SAID_BYTES: usize = 2000;
/// With these words a step says that it could not reach its registry.
const NO_NETWORK: [&str; 8] = [
    "could not resolve",
    "name resolution",
    "dial tcp",
    "enotfound",
    "eai_again",
    "network is unreachable",
    "connection refused",
    "timed out",
];

/// Why a language's programs cannot run.
#[derive(Debug, Clone)]
pub(crate) enum Cannot {
    /// The machine lacks something.
    Skip(String),
    /// Something is wrong here.
    Fail(String),
}

type Result<T> = std::result::Result<T, Cannot>;

/// How a language's programs are started.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    program: PathBuf,
    arguments: Vec<String>,
    /// Where the programs are; for Java they are named, not found.
    directory: Option<PathBuf>,
}

impl Tools {
    /// The command that runs this driver's program.
    pub(crate) fn command(&self, driver: &Driver) -> Command {
        let program = match &self.directory {
            Some(directory) => directory.join(driver.program),
            None => PathBuf::from(driver.program),
        };
        if self.program.as_os_str().is_empty() {
            return Command::new(program);
        }
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(program);
        command
    }

    fn binaries(directory: PathBuf) -> Self {
        Self { program: PathBuf::new(), arguments: Vec::new(), directory: Some(directory) }
    }
}

/// Sets a language up, or finds that it is.
pub(crate) async fn set_up(language: Language) -> Result<Tools> {
    let place = Place::of(language)?;
    match language {
        Language::Python => python(&place).await,
        Language::Node => node(&place).await,
        Language::Go => go(&place).await,
        Language::Java => java(&place).await,
        Language::Rust => rust(&place).await,
    }
}

/// Where a language's programs are written, and where they are set up.
struct Place {
    sources: PathBuf,
    cache: PathBuf,
}

impl Place {
    fn of(language: Language) -> Result<Self> {
        let name = match language {
            Language::Python => "python",
            Language::Node => "node",
            Language::Go => "go",
            Language::Java => "java",
            Language::Rust => "rust",
        };
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/drivers");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drivers").join(name);
        io(fs::create_dir_all(&cache))?;
        Ok(Self { sources: here.join(name), cache })
    }

    /// What is made of these files: it stands as long as they do not change.
    fn made_of(&self, version: &str, files: &[&str]) -> Result<Stamp> {
        let mut text = version.to_owned();
        for file in files {
            text.push_str(&io(fs::read_to_string(self.sources.join(file)))?);
        }
        Ok(Stamp { path: self.cache.join("made-of"), text })
    }
}

struct Stamp {
    path: PathBuf,
    text: String,
}

impl Stamp {
    fn stands(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|text| text == self.text)
    }

    fn put(&self) -> Result<()> {
        io(fs::write(&self.path, &self.text))
    }
}

async fn python(place: &Place) -> Result<Tools> {
    let version = version("python3", "--version")?;
    let venv = place.cache.join("venv");
    let program = venv.join("bin/python");
    let stamp = place.made_of(&version, &["requirements.txt"])?;
    if !stamp.stands() {
        let mut make = Command::new("python3");
        run("python3 -m venv", make.args(["-m", "venv", "--clear"]).arg(&venv)).await?;
        let mut pip = Command::new(&program);
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]);
        run("pip install", pip.arg(place.sources.join("requirements.txt"))).await?;
        stamp.put()?;
    }
    let arguments = vec!["-u".to_owned(), "-B".to_owned()];
    Ok(Tools { program, arguments, directory: Some(place.sources.clone()) })
}

async fn node(place: &Place) -> Result<Tools> {
    let files = ["package.json", "package-lock.json"];
    let stamp = place.made_of(&version("node", "--version")?, &files)?;
    if !stamp.stands() {
        version("npm", "--version")?;
        copy(place, &files)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&place.cache);
        run("npm ci", &mut npm).await?;
        stamp.put()?;
    }
    // Node looks for packages beside the program.
    copy(place, &["speak.js", "with_pg.js", "with_postgres.js"])?;
    Ok(Tools {
        program: PathBuf::from("node"),
        arguments: Vec::new(),
        directory: Some(place.cache.clone()),
    })
}

async fn go(place: &Place) -> Result<Tools> {
    version("go", "version")?;
    let mut build = Command::new("go");
    build.args(["build", "-trimpath", "-o"]).arg(place.cache.join("bin/"));
    build.args(["./with_pgx", "./with_pq"]).current_dir(&place.sources);
    io(fs::create_dir_all(place.cache.join("bin")))?;
    run("go build", &mut build).await?;
    Ok(Tools::binaries(place.cache.join("bin")))
}

async fn java(place: &Place) -> Result<Tools> {
    let version = version("javac", "-version")?;
    let stamp = place.made_of(&version, &["pom.xml", "Speak.java", "WithHikari.java"])?;
    let (jars, classes) = (place.cache.join("jars"), place.cache.join("classes"));
    if !stamp.stands() {
        self::version("mvn", "--version")?;
        let _ = fs::remove_dir_all(&jars);
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "-f"]).arg(place.sources.join("pom.xml"));
        mvn.arg("org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies");
        mvn.arg(format!("-DoutputDirectory={}", jars.display()));
        run("mvn", &mut mvn).await?;
        let mut javac = Command::new("javac");
        javac.args(["-Xlint:all", "-Werror", "-d"]).arg(&classes);
        javac.arg("-cp").arg(jars.join("*"));
        javac.args(["Speak.java", "WithHikari.java"]).current_dir(&place.sources);
        run("javac", &mut javac).await?;
        stamp.put()?;
    }
    let path = format!("{}:{}", classes.display(), jars.join("*").display());
    // A short life and a small heap.
    let arguments = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx96m", "-cp", &path];
    let arguments = arguments.map(str::to_owned).to_vec();
    Ok(Tools { program: PathBuf::from("java"), arguments, directory: None })
}

async fn rust(place: &Place) -> Result<Tools> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--manifest-path"]);
    build.arg(place.sources.join("Cargo.toml")).arg("--target-dir").arg(&place.cache);
    run("cargo build", &mut build).await?;
    Ok(Tools::binaries(place.cache.join("debug")))
}

fn copy(place: &Place, files: &[&str]) -> Result<()> {
    for file in files {
        io(fs::copy(place.sources.join(file), place.cache.join(file)).map(drop))?;
    }
    Ok(())
}

/// What a tool says of its version; a tool that cannot be started is missing.
fn version(tool: &str, flag: &str) -> Result<String> {
    let missing = |_| Cannot::Skip(format!("there is no {tool} on this machine"));
    let output = Command::new(tool).arg(flag).stdin(Stdio::null()).output().map_err(missing)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs one step to its end.
async fn run(what: &str, command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null());
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("")));
    command.kill_on_drop(true);
    let output = tokio::time::timeout(STEP_MAX, command.output()).await;
    let output = output.map_err(|_| Cannot::Fail(format!("{what}: not done in {STEP_MAX:?}")))?;
    let output = io(output)?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(judge(what, &said))
}

/// Whether what a step said is the machine's fault or ours.
fn judge(what: &str, said: &str) -> Cannot {
    let lower = said.to_lowercase();
    if NO_NETWORK.iter().any(|words| lower.contains(words)) {
        return Cannot::Skip(format!("{what} cannot reach its registry"));
    }
    if lower.contains("requires go >=") || lower.contains("ensurepip is not available") {
        let line = said.lines().next().unwrap_or_default();
        return Cannot::Skip(format!("{what}: {line}"));
    }
    let from = said.len().saturating_sub(SAID_BYTES);
    let from = (from..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
    Cannot::Fail(format!("{what}: {}", said.get(from..).unwrap_or(said)))
}

fn io<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| Cannot::Fail(error.to_string()))
}

#[test]
fn what_a_step_says_is_judged() {
    let is_skip = |said: &str| matches!(judge("step", said), Cannot::Skip(_));
    assert!(is_skip("go: go.mod requires go >= 1.25.0 (running go 1.19)"));
    assert!(is_skip("npm error code ENOTFOUND"));
    assert!(!is_skip("No matching distribution found for psycopg==99"));
    let long = "é".repeat(SAID_BYTES);
    assert!(matches!(judge("step", &long), Cannot::Fail(said) if said.len() < SAID_BYTES + 10));
}
