//! From arguments to an exit code.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::cli::{self, Command, ExitKind};
use crate::config::dsn::Surroundings;
use crate::{check, log, run};

/// Runs the program with these arguments, the program's name first, and returns when it is over.
///
/// Exit codes: 0 it did what it was asked; 1 it could not; 2 a mistake in flags, environment or
/// file, said in one sentence on standard error.
pub fn main_from(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match cli::parse(arguments, &Surroundings::process()) {
        Ok(Command::Run(config)) => {
            log::start(&config.log);
            match run::run(*config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(&error.to_string(), error.exit_code()),
            }
        }
        Ok(Command::Check(config)) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let checked = match runtime {
                Ok(runtime) => runtime.block_on(check::check(&config.backend)),
                Err(error) => return complain(&format!("no runtime: {error}"), 1),
            };
            match checked {
                Ok(report) => {
                    say(&report.to_string());
                    ExitCode::from(report.exit_code())
                }
                Err(error) => complain(&error.to_string(), 2),
            }
        }
        Err(exit) => match exit.kind {
            ExitKind::Help => {
                say(&exit.text);
                ExitCode::from(exit.kind.code())
            }
            ExitKind::Mistake => complain(&exit.text, exit.kind.code()),
        },
    }
}

fn say(text: &str) {
    // A reader that has gone away (`| head`) is no mistake of ours.
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn complain(text: &str, code: u8) -> ExitCode {
    drop(writeln!(std::io::stderr(), "everline: {text}"));
    ExitCode::from(code)
}
