//! From arguments to an exit code.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{self, Command, ExitKind, Launch};
use crate::config::dsn::Surroundings;
use crate::config::import::{self, Imported};
use crate::config::{BackendConfig, Config, Given};
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
        Ok(Command::Import { from, to }) => import(&from, to.as_deref()),
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

/// Writes our file from PgBouncer's, readable by its owner alone, and says what is not in it.
fn import(from: &Path, to: Option<&Path>) -> ExitCode {
    let base = match std::env::current_dir() {
        Ok(base) => base,
        Err(error) => return complain(&format!("no current directory: {error}"), 1),
    };
    let Imported { toml, remarks } = match import::import(from, &base) {
        Ok(imported) => imported,
        Err(error) => return complain(&error.to_string(), 2),
    };
    let Some(to) = to else {
        say(toml.trim_end());
        for remark in remarks {
            drop(writeln!(std::io::stderr(), "{remark}"));
        }
        return ExitCode::SUCCESS;
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    if let Err(error) = file.and_then(|mut file| file.write_all(toml.as_bytes())) {
        return complain(&format!("{}: {error}", to.display()), 1);
    }
    say(&format!("{} is written. Not in it, or not in the same way:", to.display()));
    for remark in remarks {
        say(&format!("  {remark}"));
    }
    match Config::load(Given::default(), Some(to), &Surroundings::process()) {
        Ok(_) => say("everline check --config with it connects, and says what it finds."),
        Err(error) => say(&format!("It cannot be started with yet: {error}")),
    }
    ExitCode::SUCCESS
}

fn say(text: &str) {
    // A reader that has gone away (`| head`) is no mistake of ours.
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn complain(text: &str, code: u8) -> ExitCode {
    drop(writeln!(std::io::stderr(), "everline: {text}"));
    ExitCode::from(code)
}
