//! What a driver's program says to the runner, one JSON object a line, and what it hears;
//! `tests/drivers/python/speak.py` has it in words.

use std::env;
use std::fmt::Display;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::watch;

/// The time between two statements of one client.
pub const PAUSE: Duration = Duration::from_millis(40);
/// The time that an application takes between the statements of a transaction.
pub const THINK: Duration = Duration::from_millis(30);
/// How often a retry loop tries.
pub const TRIES: u32 = 10;
/// The time before each further try.
pub const BACKOFF: Duration = Duration::from_millis(100);
/// Keeps a key.
pub const INSERT: &str = "INSERT INTO kept (key) VALUES ($1)";
/// Says how often a key is kept.
pub const COUNT: &str = "SELECT count(*) FROM kept WHERE key = $1";

static NEXT: AtomicI64 = AtomicI64::new(0);

/// What escapes from a shape: the runner judges.
pub type Escape = Box<dyn std::error::Error + Send + Sync>;
/// A shape at work.
pub type Work = Pin<Box<dyn Future<Output = Result<(), Escape>> + Send>>;

/// What the runner has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// How often it was time to wake.
    pub wakes: u32,
    /// Whether it is the end.
    pub stopped: bool,
}

/// Hears the runner.
#[derive(Debug, Clone)]
pub struct Ear(watch::Receiver<Word>);

impl Ear {
    /// Whether it is the end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.borrow().stopped
    }

    /// Waits for the end.
    pub async fn stopped(&mut self) {
        let _ = self.0.wait_for(|word| word.stopped).await;
    }

    /// Waits until it is time to wake once more than `seen`; false at the end.
    pub async fn woken(&mut self, seen: &mut u32) -> bool {
        let than = *seen;
        let heard = self.0.wait_for(|word| word.wakes > than || word.stopped).await;
        let word = heard.map_or(Word { wakes: 0, stopped: true }, |word| *word);
        *seen = word.wakes;
        !word.stopped
    }
}

/// Where a shape connects.
#[must_use]
pub fn port(shape: &str) -> Option<u16> {
    env::var(format!("LAB_PORT_{}", shape.to_uppercase())).ok()?.parse().ok()
}

/// One of LAB_HOST, LAB_USER, LAB_PASSWORD, LAB_DATABASE.
#[must_use]
pub fn given(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// New keys.
#[must_use]
pub fn keys(count: i64) -> Vec<i64> {
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    (first..first + count).collect()
}

fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Something that has only a name.
pub fn event(shape: &str, event: &str) {
    say(&json!({ "shape": shape, "event": event }));
}

/// These keys are promised.
pub fn acknowledged(shape: &str, keys: &[i64]) {
    say(&json!({ "shape": shape, "event": "acknowledged", "keys": keys }));
}

/// These keys got an error; `code` is empty when it is none of PostgreSQL's.
pub fn refused(shape: &str, error: &dyn Display, code: &str, keys: &[i64]) {
    let text = error.to_string();
    say(&json!({ "shape": shape, "event": "error", "keys": keys, "sqlstate": code, "text": text }));
}

/// A retry loop begins a transaction again.
pub fn retried(shape: &str, keys: &[i64]) {
    say(&json!({ "shape": shape, "event": "retried", "keys": keys }));
}

/// How often an acknowledged key was found.
pub fn looked(shape: &str, key: i64, found: i64) {
    say(&json!({ "shape": shape, "event": "read", "keys": [key], "found": found }));
}

/// A notification came.
pub fn heard(shape: &str, text: &str) {
    say(&json!({ "shape": shape, "event": "heard", "text": text }));
}

/// A pool has made a connection.
pub fn connected(shape: &str) {
    static MADE: AtomicI64 = AtomicI64::new(1);
    let id = MADE.fetch_add(1, Ordering::Relaxed).to_string();
    say(&json!({ "shape": shape, "event": "connection", "id": id }));
}

/// Runs each shape that has a port, on one runtime; what escapes from one is reported.
pub fn run(shapes: &[(&'static str, fn(&'static str, Ear) -> Work)]) {
    NEXT.store(given("LAB_KEYS").parse().unwrap_or(0), Ordering::Relaxed);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return event("", &format!("no runtime: {error}")),
    };
    runtime.block_on(async {
        let (tell, heard) = watch::channel(Word { wakes: 0, stopped: false });
        tokio::spawn(async move {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "stop" {
                    break;
                }
                tell.send_modify(|word| word.wakes += 1);
            }
            tell.send_modify(|word| word.stopped = true);
            std::future::pending::<()>().await;
        });
        let mut working = tokio::task::JoinSet::new();
        for (shape, work) in shapes.iter().filter(|(shape, _)| port(shape).is_some()) {
            let (shape, ear) = (*shape, Ear(heard.clone()));
            let work = work(shape, ear);
            working.spawn(async move {
                if let Err(error) = work.await {
                    let text = error.to_string();
                    say(&json!({ "shape": shape, "event": "broken", "text": text }));
                }
            });
        }
        while working.join_next().await.is_some() {}
    });
    event("", "end");
    // A task that reads standard input cannot be ended otherwise.
    std::process::exit(0);
}
