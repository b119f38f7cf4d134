//! Runs one case of the codec or the session machine some number of times, to be counted by
//! `valgrind --tool=callgrind`: the test of this package does that, and compares the instructions
//! of one time with those recorded in `benches/instructions.toml`.
//!
//! `everline-instructions` lists the cases, `everline-instructions CASE TIMES` runs one. Two runs
//! with different numbers of times differ by nothing but the times, so their difference is exact.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

mod codec;
mod session;

use std::process::ExitCode;

/// What is counted.
struct Case {
    /// Its name in the file of recorded figures.
    name: &'static str,
    /// What happens once.
    what: &'static str,
    /// Prepares, then does it this many times.
    run: fn(u32),
}

const CASES: &[Case] = &[
    Case {
        name: "scan_1000_rows",
        what: "the headers of 1,000 DataRows are read",
        run: codec::scan_1000_rows,
    },
    Case {
        name: "survey_statement",
        what: "the lexer reads an UPDATE of 300 bytes, and what it does to the session is noted",
        run: codec::survey_statement,
    },
    Case {
        name: "scram_login",
        what: "the server's three steps of a SCRAM login whose keys are known",
        run: codec::scram_login,
    },
    Case {
        name: "simple_query",
        what: "a simple query goes to the backend, its one row and its end come back",
        run: session::simple_query,
    },
    Case {
        name: "extended_query",
        what: "Parse, Bind, Describe, Execute, Sync and the answers",
        run: session::extended_query,
    },
    Case {
        name: "prepared_query",
        what: "Bind, Describe, Execute, Sync of a named statement that the backend has, and the answers",
        run: session::prepared_query,
    },
    Case {
        name: "relay_1000_rows",
        what: "a simple query whose answer has 1,000 rows",
        run: session::relay_1000_rows,
    },
    Case {
        name: "settings_difference",
        what: "what brings a connection from one client's five settings to another's",
        run: session::settings_difference,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.as_slice() {
        [] => {
            for case in CASES {
                println!("{} {}", case.name, case.what);
            }
            ExitCode::SUCCESS
        }
        [name, times] => {
            let case = CASES.iter().find(|case| case.name == name);
            let (Some(case), Ok(times)) = (case, times.parse()) else {
                eprintln!("no case {name}, or no number: {times}");
                return ExitCode::from(2);
            };
            (case.run)(times);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: everline-instructions [CASE TIMES]");
            ExitCode::from(2)
        }
    }
}
