//! A driver's program at work: what it says, line by line, and when.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};
use everline_lab::process::{Process, run_directory};
use everline_lab::turnstile::{Passed, Turnstile};
use everline_lab::{Error, Result};
use serde::Deserialize;

use crate::roster::{Driver, Shape};

/// Longest time until a program has ended what it had begun.
const END_MAX: Duration = Duration::from_secs(30);
/// Most lines of a program that are kept: one that says more is in a loop.
const LINES_MAX: usize = 200_000;
/// How many bytes of what a program says to standard error are shown.
const TAIL_BYTES: usize = 1500;

/// One line of a program.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Said {
    pub(crate) shape: String,
    pub(crate) event: String,
    #[serde(default)]
    pub(crate) keys: Vec<u64>,
    #[serde(default)]
    pub(crate) sqlstate: String,
    #[serde(default)]
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) found: u64,
    #[serde(skip, default = "Instant::now")]
    pub(crate) at: Instant,
}

/// A running program and the doors it goes through.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) driver: &'static Driver,
    doors: BTreeMap<Shape, Turnstile>,
    process: Process,
    input: Option<ChildStdin>,
    said: Arc<Mutex<Vec<Said>>>,
    errors: PathBuf,
}

impl Program {
    /// Starts a driver's program in front of `server`; its keys begin at `first_key`.
    pub(crate) async fn start(
        driver: &'static Driver,
        mut command: Command,
        server: SocketAddr,
        first_key: u64,
    ) -> Result<Self> {
        let wrong = |what: &str| {
            let what = format!("{}: {what}", driver.name);
            move |source| Error::Io { what, source }
        };
        let mut doors = BTreeMap::new();
        for shape in driver.shapes {
            doors.insert(*shape, Turnstile::start(server).await?);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
            .env("LAB_HOST", server.ip().to_string())
            .env("LAB_USER", APP_USER)
            .env("LAB_PASSWORD", APP_PASSWORD)
            .env("LAB_DATABASE", APP_DATABASE)
            .env("LAB_KEYS", first_key.to_string());
        for (shape, door) in &doors {
            let name = format!("LAB_PORT_{}", shape.name().to_uppercase());
            command.env(name, door.address().port().to_string());
        }
        let errors = run_directory()?.join(format!("{}-{first_key}.log", driver.name));
        let log = fs::File::create(&errors).map_err(wrong("its log"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut process = Process::spawn(&mut command)?;
        let (input, output) = process.pipes();
        let said = Arc::new(Mutex::new(Vec::new()));
        let book = said.clone();
        let output = output.ok_or_else(|| Error::Failed {
            what: driver.name.to_owned(),
            detail: "no standard output".to_owned(),
        })?;
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                let line = understood(&line);
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                if book.len() < LINES_MAX {
                    book.push(line);
                }
            }
        });
        Ok(Self { driver, doors, process, input, said, errors })
    }

    /// All that it has said.
    pub(crate) fn said(&self) -> MutexGuard<'_, Vec<Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shapes that have not said this since then.
    pub(crate) fn silent(
        &self,
        since: Instant,
        wanted: impl Fn(Shape) -> bool,
        enough: impl Fn(&Said) -> bool,
    ) -> Vec<Shape> {
        let said = self.said();
        let mut shapes = self.driver.shapes.to_vec();
        shapes.retain(|shape| {
            let says = |one: &Said| one.at >= since && one.shape == shape.name() && enough(one);
            wanted(*shape) && !said.iter().rev().take_while(|one| one.at >= since).any(says)
        });
        shapes
    }

    /// What has passed through its doors.
    pub(crate) fn passed(&self) -> BTreeMap<Shape, Passed> {
        self.doors.iter().map(|(shape, door)| (*shape, door.passed())).collect()
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, word: &str) {
        if let Some(input) = &mut self.input {
            // One that has ended is found by what it does not say.
            let _ = writeln!(input, "{word}").and_then(|()| input.flush());
        }
    }

    /// How it ended, if it has: before it was told to, that is wrong.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.process.status()?;
        Some(format!("its program ended: {status}: {}", self.complaints()))
    }

    /// Tells it to end, and waits until it has; what is wrong with that, in words.
    pub(crate) async fn stop(&mut self) -> Option<String> {
        self.tell("stop");
        let ended = self.process.ended(END_MAX).await;
        match ended {
            Ok(status) if status.success() => {
                let last_word = |program: &Self| {
                    program.said().iter().any(|one| one.event == "end" && one.shape.is_empty())
                };
                let until = Instant::now() + Duration::from_secs(5);
                while !last_word(self) && Instant::now() < until {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                (!last_word(self)).then(|| "its program ended without a last word".to_owned())
            }
            Ok(status) => Some(format!("its program ended: {status}: {}", self.complaints())),
            Err(error) => Some(format!("{error}: {}", self.complaints())),
        }
    }

    fn complaints(&self) -> String {
        let text =
            String::from_utf8_lossy(&fs::read(&self.errors).unwrap_or_default()).into_owned();
        let from = text.char_indices().rev().take(TAIL_BYTES).last().map_or(0, |(at, _)| at);
        text.get(from..).unwrap_or_default().to_owned()
    }
}

/// A line; one that is none of ours is a complaint too.
fn understood(line: &str) -> Said {
    serde_json::from_str(line).unwrap_or_else(|_| Said {
        shape: String::new(),
        event: "broken".to_owned(),
        keys: Vec::new(),
        sqlstate: String::new(),
        text: line.to_owned(),
        id: String::new(),
        found: 0,
        at: Instant::now(),
    })
}
