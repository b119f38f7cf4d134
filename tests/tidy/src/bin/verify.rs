//! `cargo verify`: every check there is, one after the other, and one closing line
//! `N passed, N failed, N skipped`. The exit code is 0 when something passed and nothing failed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]
#![expect(clippy::disallowed_methods, reason = "times are said to whoever waits for them")]

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use everline_tidy::tally::{Reader, Show, Tally};

const USAGE: &str = "usage: cargo verify [--quick]

Checks the format, the lints, the documentation and all tests, and ends with one line
\"N passed, N failed, N skipped\".

--quick  without the system tests and what else tests the server as a whole";

/// One call of cargo.
#[derive(Clone, Copy)]
struct Step {
    title: &'static str,
    arguments: &'static [&'static str],
    /// Warnings fail it.
    rustdoc: bool,
    counts: Counts,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Counts {
    /// The step itself is one check; without this component of Rust it is skipped.
    Once { needs: Option<&'static str> },
    /// Each test counts.
    Tests,
}

const STATIC: [Step; 3] = [
    Step {
        title: "format",
        arguments: &["fmt", "--all", "--check"],
        rustdoc: false,
        counts: Counts::Once { needs: Some("fmt") },
    },
    Step {
        title: "lints",
        arguments: &["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny=warnings"],
        rustdoc: false,
        counts: Counts::Once { needs: Some("clippy") },
    },
    Step {
        title: "documentation",
        arguments: &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"],
        rustdoc: true,
        counts: Counts::Once { needs: None },
    },
];

const ALL_TESTS: &[Step] = &[tests(
    "tests",
    &["test", "--workspace", "--locked", "--no-fail-fast", "--", "--show-output"],
)];

const QUICK_TESTS: &[Step] = &[
    tests(
        "tests of all packages but the server",
        &[
            "test",
            "--workspace",
            "--exclude=everline",
            "--locked",
            "--no-fail-fast",
            "--",
            "--show-output",
        ],
    ),
    tests(
        "tests of the server, without the system tests",
        &[
            "test",
            "--package=everline",
            "--lib",
            "--locked",
            "--no-fail-fast",
            "--",
            "--show-output",
        ],
    ),
];

const fn tests(title: &'static str, arguments: &'static [&'static str]) -> Step {
    Step { title, arguments, rustdoc: false, counts: Counts::Tests }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let tests = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => ALL_TESTS,
        ["--quick"] => QUICK_TESTS,
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut tally = Tally::default();
    for step in STATIC.iter().chain(tests) {
        println!("\n=== {}: cargo {}", step.title, step.arguments.join(" "));
        let began = Instant::now();
        let found = run(step);
        println!("=== {}: {found} ({:.1} s)", step.title, began.elapsed().as_secs_f64());
        tally.add(found);
    }
    println!();
    for skipped in &tally.skipped {
        println!("skipped: {skipped}");
    }
    for failed in &tally.failed {
        println!("failed: {failed}");
    }
    println!("{tally}");
    if tally.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(step: &Step) -> Tally {
    match step.counts {
        Counts::Once { needs } => once(step, needs),
        Counts::Tests => all(step),
    }
}

/// A step that is one check.
fn once(step: &Step, needs: Option<&str>) -> Tally {
    let mut tally = Tally::default();
    let title = step.title.to_owned();
    if let Some(component) = needs.filter(|component| !is_installed(component)) {
        tally.skipped.push(format!("{title}: there is no cargo {component} on this machine"));
        return tally;
    }
    match command(step).status() {
        Ok(status) if status.success() => tally.passed = 1,
        Ok(_) => tally.failed.push(title),
        Err(error) => tally.failed.push(format!("{title}: {error}")),
    }
    tally
}

fn is_installed(component: &str) -> bool {
    let mut command = cargo();
    command.args([component, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A step whose tests count.
fn all(step: &Step) -> Tally {
    let mut reader = Reader::default();
    let child = command(step).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("{error}");
            return reader.end(false);
        }
    };
    if let Some(output) = child.stdout.take() {
        // Bytes, not text: what a test prints need not be UTF-8.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if reader.line(&line) == Show::Yes {
                println!("{line}");
            }
        }
    }
    reader.end(child.wait().is_ok_and(|status| status.success()))
}

fn command(step: &Step) -> Command {
    let mut command = cargo();
    command.args(step.arguments);
    if step.rustdoc {
        let mut flags = env::var_os("RUSTDOCFLAGS").unwrap_or_default();
        flags.push(" --deny=warnings");
        command.env("RUSTDOCFLAGS", flags);
    }
    command
}

/// The cargo that runs this program, in the repository's root.
fn cargo() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(everline_tidy::tree::root());
    command
}
