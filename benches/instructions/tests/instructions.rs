//! What the codec and the session machine take, in instructions, against what was recorded.
//!
//! Instructions are the same on a busy machine and on an idle one, and from one run to the next but
//! for a few in a thousand. They are those of the release build that the toolchain named in
//! `rust-toolchain.toml` makes; with another, or on another processor, nothing is compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// How often each case runs in the one run and in the other; what is done once falls out.
const FEW: u32 = 10;
const MANY: u32 = 60;
/// By how many percent a figure may grow. Two libraries of C copy memory in their own ways, which
/// makes about one.
const TOLERANCE_PERCENT: u64 = 3;

const RECORD: &str = "UPDATE=1 cargo test -p everline-instructions";
const HEADING: &str = "\
# Instructions that each case takes once, as `valgrind --tool=callgrind` counts them in the release
# build on x86-64. Written by: UPDATE=1 cargo test -p everline-instructions
";

#[derive(Deserialize)]
struct Recorded {
    rustc: String,
    instructions: BTreeMap<String, u64>,
}

#[test]
fn nothing_takes_more_instructions_than_recorded() {
    if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) {
        return println!("skipped: the figures are those of x86-64 Linux");
    }
    if said(Command::new("valgrind").arg("--version")).is_none() {
        return println!("skipped: there is no valgrind");
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = said(Command::new(rustc).arg("--version")).expect("rustc says its version");
    let rustc = rustc.split(' ').nth(1).unwrap_or_default().to_owned();
    let program = build();
    if std::env::var_os("UPDATE").is_some() {
        let mut text = format!("{HEADING}rustc = \"{rustc}\"\n\n[instructions]\n");
        for (name, what) in cases(&program) {
            let counted = instructions(&program, &name);
            writeln!(text, "{name} = {counted} # {what}").unwrap();
        }
        fs::write(file(), text).expect("the file of figures can be written");
        return;
    }
    let text = fs::read_to_string(file()).expect("the file of figures can be read");
    let recorded: Recorded = toml::from_str(&text).expect("the file of figures is TOML");
    if recorded.rustc != rustc {
        return println!("skipped: recorded with Rust {}, this is {rustc}", recorded.rustc);
    }
    let cases = cases(&program);
    let known = |name: &String| cases.iter().any(|(case, _)| case == name);
    let gone: Vec<_> = recorded.instructions.keys().filter(|name| !known(name)).collect();
    assert!(gone.is_empty(), "recorded, and no case any more: {gone:?}; {RECORD} records anew");
    let mut report = String::new();
    let mut grown = false;
    for (name, _) in &cases {
        let counted = instructions(&program, name);
        let verdict = match recorded.instructions.get(name) {
            None => Verdict::Grown,
            Some(recorded) => judge(*recorded, counted),
        };
        grown |= verdict == Verdict::Grown;
        let recorded = recorded.instructions.get(name).map_or(0, |recorded| *recorded);
        writeln!(report, "{name:<20} recorded {recorded:>9}, counted {counted:>9} {verdict:?}")
            .unwrap();
    }
    println!("{report}");
    assert!(
        !grown,
        "more instructions than recorded, by more than {TOLERANCE_PERCENT} %. If what was gained is \
         worth them, {RECORD} records them.\n{report}"
    );
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    /// Worth recording, lest the gain be lost again unseen.
    Fewer,
    Grown,
}

fn judge(recorded: u64, counted: u64) -> Verdict {
    let (low, high) = (100 - TOLERANCE_PERCENT, 100 + TOLERANCE_PERCENT);
    if counted * 100 > recorded * high {
        Verdict::Grown
    } else if counted * 100 < recorded * low {
        Verdict::Fewer
    } else {
        Verdict::Same
    }
}

#[test]
fn three_percent_more_is_too_much() {
    assert_eq!(judge(1000, 1030), Verdict::Same);
    assert_eq!(judge(1000, 1031), Verdict::Grown);
    assert_eq!(judge(1000, 970), Verdict::Same);
    assert_eq!(judge(1000, 969), Verdict::Fewer);
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../instructions.toml")
}

/// The release build of the program: tests are not built as what is shipped.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "--package", env!("CARGO_PKG_NAME")]);
    command.args(["--message-format", "json"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.stdin(Stdio::null()).output().expect("cargo can be run");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the release build: {complaint}");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = told.split("\"executable\":\"").nth(1).and_then(|rest| rest.split('"').next());
    path.expect("cargo names what it has built").into()
}

/// Name and explanation of each case.
fn cases(program: &Path) -> Vec<(String, String)> {
    let listed = said(&mut Command::new(program)).expect("the program lists its cases");
    let split = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let cases: Vec<_> = listed.lines().filter_map(split).collect();
    assert!(!cases.is_empty(), "the program lists its cases");
    cases
}

/// What one time of a case takes.
fn instructions(program: &Path, case: &str) -> u64 {
    let few = counted(program, case, FEW);
    let many = counted(program, case, MANY);
    many.checked_sub(few).expect("more times, more instructions") / u64::from(MANY - FEW)
}

fn counted(program: &Path, case: &str, times: u32) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.arg(case).arg(times.to_string()).output().expect("valgrind runs");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {report}");
    let total = report.split("Collected : ").nth(1).and_then(|rest| rest.lines().next());
    let total = total.and_then(|total| total.trim().parse().ok());
    total.unwrap_or_else(|| panic!("{case}: callgrind says no total: {report}"))
}

/// What a program prints, if there is one and it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
