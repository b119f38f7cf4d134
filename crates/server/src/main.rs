//! The server's program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    everline::main_from(std::env::args_os())
}
