//! `cargo compare`: Everline beside other poolers, measured alike.

mod args;
mod copy;
mod database;
mod failover;
mod install;
mod memory;
mod peers;
mod pgbench;
mod plot;
mod raw;
mod record;
mod report;
mod sample;
mod speed;
mod tls;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use everline_lab::{Error, Result, process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::args::{Args, Part};
use crate::record::Record;

/// Exit code of a program that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;
/// A full run takes about forty minutes; what hangs must not hang for ever.
const RUN_MAX: Duration = Duration::from_hours(2);

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next();
    // It is its own Everline: one build, and what is measured is what was just compiled.
    if std::env::args_os().nth(1).is_some_and(|word| word == peers::SERVER) {
        return everline::main_from(program.into_iter().chain(words.skip(1)));
    }
    let args = Args::parse();
    raise_open_files();
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(Box::pin(run(&args))),
        Err(error) => complain(&format!("no runtime: {error}")),
    }
}

async fn run(args: &Args) -> ExitCode {
    let outcome = tokio::select! {
        biased;
        () = interrupted() => None,
        outcome = tokio::time::timeout(RUN_MAX, Box::pin(measure(args))) => Some(outcome),
    };
    process::clean_up();
    match outcome {
        Some(Ok(Ok(()))) => ExitCode::SUCCESS,
        Some(Ok(Err(error))) => complain(&error.to_string()),
        Some(Err(_)) => complain(&format!("not done after {RUN_MAX:?}")),
        None => {
            complain("interrupted; everything it had started has ended");
            ExitCode::from(INTERRUPTED)
        }
    }
}

async fn measure(args: &Args) -> Result<()> {
    let mut record = Record::open(&args.out)?;
    if !args.report {
        install::peers(&tell).await;
        let peers = peers::find(args, &tell)?;
        let parts = args.parts();
        if parts.iter().any(|part| *part < Part::Memory) {
            let database = database::start(&tell).await?;
            for part in parts.iter().copied().filter(|part| *part < Part::Memory) {
                match part {
                    Part::Speed | Part::Tls | Part::Pipeline | Part::Connect => {
                        speed::run(part, args, &peers, &database, &mut record).await?;
                    }
                    Part::Copy => copy::run(args, &peers, &database, &mut record).await?,
                    Part::Memory | Part::Failover => {}
                }
            }
        }
        if parts.contains(&Part::Memory) {
            memory::run(args, &peers, &mut record).await?;
        }
        if parts.contains(&Part::Failover) {
            failover::run(args, &peers, &mut record).await?;
        }
    }
    record.show(args.manual)
}

/// Lets each of thousands of clients have a socket, here and in what is started from here.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
}

/// Until somebody wants this to end.
async fn interrupted() {
    let mut signals = JoinSet::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        if let Ok(mut heard) = signal(kind) {
            signals.spawn(async move { heard.recv().await });
        }
    }
    signals.join_next().await;
}

/// Says how it goes.
#[expect(clippy::print_stderr, reason = "a program for the command line")]
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}

/// Prints what was asked for.
#[expect(clippy::print_stdout, reason = "a program for the command line")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}

fn complain(text: &str) -> ExitCode {
    tell(&format!("cargo compare: {text}"));
    ExitCode::FAILURE
}

/// Something that went wrong, and how.
pub(crate) fn failed(what: &str, detail: &str) -> Error {
    Error::Failed { what: what.to_owned(), detail: detail.to_owned() }
}

/// The system's word against it.
pub(crate) fn io(what: &str, source: std::io::Error) -> Error {
    Error::Io { what: what.to_owned(), source }
}
