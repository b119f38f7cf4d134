//! What a process has of the system, and whether that grows.

use std::fmt;
use std::fs;
use std::time::Duration;

use everline_lab::everline::Everline;
use everline_lab::{Error, Result};
use tokio::time::sleep;

/// How often it is looked for one sample, and the pause between two looks: clients come and go,
/// and what is there beside them is seen when the fewest are.
const LOOKS: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(100);

/// What more of it at the end of a run than at its beginning is no growth: clients that happened
/// to be there.
const FILES_NOISE: u64 = 12;
/// As [`FILES_NOISE`]; a client has two tasks at most, a failover some more for a while.
const TASKS_NOISE: u64 = 24;
/// As [`FILES_NOISE`]: the runtime starts a thread for what blocks, and lets it go when idle.
const THREADS_NOISE: u64 = 4;
/// What memory may vary: the allocator keeps what it was given, in several arenas.
const MEMORY_NOISE_BYTES: u64 = 4 * 1024 * 1024;
/// And in percent of what there was.
const MEMORY_NOISE_PERCENT: u64 = 10;

/// What a process has at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Resident memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// Open file descriptors.
    pub(crate) files: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Tasks of the runtime.
    pub(crate) tasks: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_bytes, files, threads, tasks } = self;
        let memory = memory_bytes / 1024;
        write!(f, "{memory:>7} KiB, {files:>3} files, {threads:>2} threads, {tasks:>3} tasks")
    }
}

impl Sample {
    /// The least that is seen in several looks.
    pub(crate) async fn take(everline: &Everline) -> Result<Self> {
        let mut least = look(everline).await?;
        for _ in 1..LOOKS {
            sleep(BETWEEN).await;
            least = least.with(look(everline).await?, u64::min);
        }
        Ok(least)
    }

    /// Both, field by field.
    fn with(self, other: Self, which: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            memory_bytes: which(self.memory_bytes, other.memory_bytes),
            files: which(self.files, other.files),
            threads: which(self.threads, other.threads),
            tasks: which(self.tasks, other.tasks),
        }
    }
}

async fn look(everline: &Everline) -> Result<Sample> {
    let id = everline.id();
    let unreadable = |source| Error::Io { what: format!("/proc/{id}"), source };
    let status = fs::read_to_string(format!("/proc/{id}/status")).map_err(unreadable)?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok())
    };
    let files = fs::read_dir(format!("/proc/{id}/fd")).map_err(unreadable)?.count();
    let (_, metrics) = everline.get("/metrics").await?;
    let tasks = metrics.lines().find_map(|line| line.strip_prefix("everline_tasks "));
    let missing = |what: &str| Error::Failed { what: what.to_owned(), detail: status.clone() };
    Ok(Sample {
        memory_bytes: field("VmRSS:").ok_or_else(|| missing("VmRSS"))? * 1024,
        files: u64::try_from(files).unwrap_or(u64::MAX),
        threads: field("Threads:").ok_or_else(|| missing("Threads"))?,
        tasks: tasks.and_then(|text| text.parse().ok()).ok_or_else(|| missing("everline_tasks"))?,
    })
}

/// The median of each field.
pub(crate) fn median(samples: &[Sample]) -> Sample {
    let middle = |field: fn(&Sample) -> u64| {
        let mut all: Vec<u64> = samples.iter().map(field).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Sample {
        memory_bytes: middle(|sample| sample.memory_bytes),
        files: middle(|sample| sample.files),
        threads: middle(|sample| sample.threads),
        tasks: middle(|sample| sample.tasks),
    }
}

/// What has grown from `before` to `after` beyond noise, in words.
pub(crate) fn grown(before: Sample, after: Sample) -> Vec<String> {
    let memory_noise = MEMORY_NOISE_BYTES.max(before.memory_bytes / 100 * MEMORY_NOISE_PERCENT);
    let mut grown = Vec::new();
    for (what, before, after, noise) in [
        ("memory in bytes", before.memory_bytes, after.memory_bytes, memory_noise),
        ("file descriptors", before.files, after.files, FILES_NOISE),
        ("threads", before.threads, after.threads, THREADS_NOISE),
        ("tasks", before.tasks, after.tasks, TASKS_NOISE),
    ] {
        if after > before + noise {
            grown.push(format!("{what} from {before} to {after}"));
        }
    }
    grown
}

#[test]
fn what_grows_is_named_and_what_varies_is_not() {
    let before = Sample { memory_bytes: 30_000_000, files: 60, threads: 5, tasks: 40 };
    let noise = Sample { memory_bytes: 33_000_000, files: 70, threads: 7, tasks: 60 };
    assert_eq!(grown(before, noise), Vec::<String>::new());
    assert_eq!(grown(noise, before), Vec::<String>::new());
    let leaks = Sample { memory_bytes: 35_000_000, files: 90, threads: 5, tasks: 100 };
    let words = ["memory in bytes from 30000000 to 35000000", "file descriptors from 60 to 90"];
    assert_eq!(grown(before, leaks)[..2], words);
    assert_eq!(grown(before, leaks)[2..], ["tasks from 40 to 100"]);
    assert_eq!(median(&[noise, before, leaks]).files, 70);
}
