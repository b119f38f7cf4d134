//! From arguments to an exit code.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use crate::cli::{self, Command, ExitKind, Launch};
use crate::config::dsn::Surroundings;
use crate::config::{BackendConfig, Config};
use crate::{check, log, run, status};

/// Runs the program with these arguments, the program's name first, and returns when it is over.
///
/// Exit codes: 0 it did what it was asked; 1 it could not; 2 a mistake in flags, environment or
/// file, said in one sentence on standard error.
pub fn main_from(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match cli::parse(arguments, &Surroundings::process()) {
        Ok(Command::Run(launch)) => serve(*launch),
        Ok(Command::Check(config)) => look(&config.backend),
        Ok(Command::Status(address)) => ask(address),
        Ok(Command::Completions(shell)) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut cli::command(), "everline", &mut script);
            say(String::from_utf8_lossy(&script).trim_end());
            ExitCode::SUCCESS
        }
        Ok(Command::Man) => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(cli::command()).render(&mut page) {
                Ok(()) => say(String::from_utf8_lossy(&page).trim_end()),
                Err(error) => return complain(&format!("no manual page: {error}"), 1),
            }
            ExitCode::SUCCESS
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

fn serve(launch: Launch) -> ExitCode {
    let Launch { config, flags, file } = launch;
    let log = log::start(&config.log);
    let load = move || Config::load(flags.clone(), file.as_deref(), &Surroundings::process());
    match run::run(config, Box::new(load), log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string(), error.exit_code()),
    }
}

fn look(backend: &BackendConfig) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checked = match runtime {
        Ok(runtime) => runtime.block_on(check::check(backend)),
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

fn ask(address: Option<SocketAddr>) -> ExitCode {
    let Some(address) = address else {
        return complain("http_listen is off: there is nobody to ask", 1);
    };
    match status::ask(address) {
        Ok(report) => {
            say(&report.text);
            if report.available { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => complain(&format!("no answer from {address}: {error}"), 1),
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
