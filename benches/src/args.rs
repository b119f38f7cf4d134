//! What `cargo compare` can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures Everline beside other poolers, alike and interleaved, on one PostgreSQL.
///
/// PgBouncer and HAProxy are installed by apt where this is root on Debian, else taken from PATH,
/// as are Odyssey, PgCat and PgDog; `EVERLINE_BENCH_PGBOUNCER` names another PgBouncer. Everything
/// runs on loopback and is gone afterwards; what was measured stays as samples.csv in the output
/// directory, one line a figure, and later runs replace only what they measure anew.
#[derive(Debug, Parser)]
#[command(name = "cargo compare", version)]
pub(crate) struct Args {
    /// About two minutes instead of forty: fewer cases, rounds and seconds. Not for the manual.
    #[arg(long, conflicts_with = "manual")]
    pub(crate) quick: bool,

    /// What is measured; may be repeated. Everything is the default, in a quick run the speed.
    #[arg(long = "only", value_enum, value_name = "PART")]
    pub(crate) parts: Vec<Part>,

    /// How often each case is measured, all peers one after the other in each round.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: Option<u16>,

    /// How long one measurement lasts.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) time: Option<Duration>,

    /// How much COPY moves, in MiB.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) copy_mib: Option<u32>,

    /// Only cases whose name holds this, such as "64 clients"; may be repeated.
    #[arg(long = "case", value_name = "WORDS")]
    pub(crate) cases: Vec<String>,

    /// Peers that stay out, by name, such as haproxy; may be repeated.
    #[arg(long, value_name = "PEER")]
    pub(crate) without: Vec<String>,

    /// Another build of Everline, to compare with this one: before=/tmp/everline. May be repeated.
    #[arg(long, value_name = "NAME=PROGRAM", value_parser = also)]
    pub(crate) also: Vec<(String, PathBuf)>,

    /// Where samples, figures and plot are written.
    #[arg(long, default_value = "target/compare")]
    pub(crate) out: PathBuf,

    /// Writes tables and plot into the manual too: docs/manual/speed.md.
    #[arg(long)]
    pub(crate) manual: bool,

    /// Measures nothing: shows what the output directory has.
    #[arg(long)]
    pub(crate) report: bool,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// pgbench -S: simple, extended, prepared × 1, 16, 64, 500 clients
    Speed,
    /// The same over TLS, with fewer cases
    Tls,
    /// Many statements in one go
    Pipeline,
    /// A login with SCRAM for each statement
    Connect,
    /// COPY of big data, out and in
    Copy,
    /// Idle clients, up to 10,000
    Memory,
    /// Kill, freeze, blackhole, switchover
    Failover,
}

impl Part {
    pub(crate) const ALL: [Self; 7] = [
        Self::Speed,
        Self::Tls,
        Self::Pipeline,
        Self::Connect,
        Self::Copy,
        Self::Memory,
        Self::Failover,
    ];

    /// Its name, as it stands in the samples.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Tls => "tls",
            Self::Pipeline => "pipeline",
            Self::Connect => "connect",
            Self::Copy => "copy",
            Self::Memory => "memory",
            Self::Failover => "failover",
        }
    }

    /// What stands over its table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Speed => "Statements without TLS",
            Self::Tls => "Statements over TLS",
            Self::Pipeline => "Pipelines of 50 statements",
            Self::Connect => "Logins with SCRAM",
            Self::Copy => "COPY",
            Self::Memory => "Memory of idle clients",
            Self::Failover => "Failover, 20 clients that write",
        }
    }
}

impl Args {
    /// What to measure, in order.
    pub(crate) fn parts(&self) -> Vec<Part> {
        if self.parts.is_empty() && self.quick {
            return vec![Part::Speed, Part::Connect, Part::Copy];
        }
        let asked = |part: &Part| self.parts.is_empty() || self.parts.contains(part);
        Part::ALL.into_iter().filter(asked).collect()
    }

    pub(crate) fn rounds(&self) -> u16 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    pub(crate) fn time(&self) -> Duration {
        self.time.unwrap_or(Duration::from_secs(if self.quick { 1 } else { 2 }))
    }

    pub(crate) fn copy_mib(&self) -> u32 {
        self.copy_mib.unwrap_or(if self.quick { 128 } else { 1024 })
    }

    /// Whether a case of this name is asked for.
    pub(crate) fn takes(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|words| case.contains(words.as_str()))
    }

    /// Whether the peer of this name is asked for.
    pub(crate) fn takes_peer(&self, name: &str) -> bool {
        !self.without.iter().any(|word| name.eq_ignore_ascii_case(word))
    }
}

fn also(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() => Ok((name.to_owned(), PathBuf::from(path))),
        Some(_) | None => Err("NAME=PROGRAM is wanted".to_owned()),
    }
}
