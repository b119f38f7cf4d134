//! `cargo demo`: a cluster, a workload, a fault, and a verdict that was checked.

mod args;
mod board;
mod frame;
mod paint;
mod run;
mod screen;
mod stage;
mod verdict;
mod watch;
mod world;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next();
    // The demo is its own Everline: nothing else has to be built for it.
    if std::env::args_os().nth(1).is_some_and(|word| word == stage::SERVER) {
        return everline::main_from(program.into_iter().chain(words.skip(1)));
    }
    let args = Args::parse();
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(Box::pin(run::show_all(&args))),
        Err(error) => screen::complain(&format!("no runtime: {error}")),
    }
}
