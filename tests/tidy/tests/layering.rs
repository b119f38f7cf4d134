//! Who may use whom: between packages as `cargo metadata` says it, between the server's modules as
//! their `use` lines say it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use everline_tidy::Offences;
use everline_tidy::mask::{code, without_tests};
use everline_tidy::tree::{files, root, sources};
use serde_json::Value;

/// What must not come with the pure crates, not even by detours.
const WAITING: [&str; 8] =
    ["tokio", "mio", "socket2", "hyper", "rustls", "tokio-rustls", "tracing", "futures-util"];

/// Most crates that the release build of the server compiles.
const CRATES_MAX: usize = 146;

/// Crates of which two versions are compiled, and why.
const TWICE: [(&str, &str); 1] = [("syn", "clap's and tokio's macros have not met yet")];

/// Which packages of the workspace a package may use, tests aside.
const PACKAGES: [(&str, &[&str]); 11] = [
    ("everline-wire", &[]),
    ("everline-wire-gel", &["everline-wire"]),
    ("everline-core", &["everline-wire", "everline-wire-gel"]),
    ("everline", &["everline-core", "everline-wire", "everline-wire-gel"]),
    ("everline-lab", &["everline-wire"]),
    ("everline-fuzz", &["everline", "everline-core", "everline-wire", "everline-wire-gel"]),
    ("everline-demo", &["everline", "everline-lab", "everline-wire"]),
    ("everline-bench", &["everline", "everline-lab", "everline-wire"]),
    ("everline-instructions", &["everline-core", "everline-wire"]),
    ("everline-sim", &["everline-core", "everline-wire"]),
    ("everline-tidy", &[]),
];

/// A module, and what of it is used; all of it where nothing is named.
type Used = (&'static str, &'static [&'static str]);

/// Which modules of the server a module may use, and if not all of it: what.
///
/// * `run` is where everything meets, and nobody uses it but the program's entry.
/// * `backend` and the supervisor meet in the ends of their channels: the supervisor dials through
///   `backend`, and `backend` reads the target and reports.
/// * A source commands by the supervisor's `Control` and moves the fence; of `backend` it knows the
///   resolver alone, for its own agents.
/// * The fence is looked at wherever bytes can go to a backend.
/// * Nobody but `run` knows the admin pages.
const MAY_USE: &[(&str, &[Used])] = &[
    (
        "admin",
        &[
            ("backend", &[]),
            ("config", &["PoolMode", "Shown"]),
            ("frontend", &[]),
            ("metrics", &[]),
            ("net", &["stream"]),
            ("sources", &["status"]),
            ("supervisor", &[]),
        ],
    ),
    (
        "backend",
        &[
            ("config", &[]),
            ("metrics", &["Histogram", "WAITS", "histogram"]),
            ("net", &[]),
            ("supervisor", &["Fence", "Leader", "Registration", "Reporter", "Target"]),
        ],
    ),
    (
        "check",
        &[("backend", &[]), ("config", &[]), ("net", &[]), ("sources", &["consul", "stolon"])],
    ),
    ("cli", &[("config", &[])]),
    ("config", &[("log", &["check"])]),
    (
        "frontend",
        &[
            ("backend", &[]),
            ("config", &[]),
            ("metrics", &[]),
            ("net", &[]),
            ("supervisor", &["Fence"]),
        ],
    ),
    ("lib", &[]),
    ("log", &[("config", &[])]),
    ("main", &[]),
    (
        "main_from",
        &[
            ("check", &[]),
            ("cli", &[]),
            ("config", &[]),
            ("log", &[]),
            ("run", &[]),
            ("status", &[]),
        ],
    ),
    ("metrics", &[]),
    ("net", &[("config", &[])]),
    (
        "run",
        &[
            ("admin", &[]),
            ("backend", &[]),
            ("check", &[]),
            ("config", &[]),
            ("frontend", &[]),
            ("log", &[]),
            ("metrics", &[]),
            ("net", &[]),
            ("signals", &[]),
            ("sources", &[]),
            ("supervisor", &[]),
        ],
    ),
    ("signals", &[]),
    (
        "sources",
        &[
            ("backend", &["Address", "resolve"]),
            ("config", &[]),
            ("net", &[]),
            ("supervisor", &["Control", "Fence", "Word", "boot_time"]),
        ],
    ),
    ("status", &[]),
    (
        "supervisor",
        &[("backend", &[]), ("config", &[]), ("metrics", &["Histogram", "OUTAGES", "histogram"])],
    ),
];

#[test]
fn the_servers_modules_use_one_another_one_way() {
    let mut offences = Offences::default();
    let ours = sources().into_iter().filter(|file| file.is_in(&["server"]));
    let mut seen = BTreeSet::new();
    for file in ours {
        let path = file.path.trim_start_matches("crates/server/src/").trim_end_matches(".rs");
        let module = path.split('/').next().unwrap_or(path).to_owned();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            offences.of(&file.path, "this module has no place in the table of directions");
            continue;
        };
        let code = code(&file.text);
        for (line, used, what) in uses(without_tests(&code)) {
            if used == module {
                continue;
            }
            let fits = allowed.iter().any(|(name, parts)| {
                *name == used && (parts.is_empty() || what.iter().all(|w| parts.contains(&&**w)))
            });
            if !fits {
                let what = what.join(", ");
                offences.at(&file, line, format_args!("{module} uses {used} ({what})"));
            }
        }
        seen.insert(module);
    }
    for (module, _) in MAY_USE.iter().filter(|(module, _)| !seen.contains(*module)) {
        offences.of(module, "is in the table of directions, and nowhere else");
    }
    offences.none("ARCHITECTURE.md says who may use whom");
}

#[test]
fn the_pure_crates_bring_nothing_that_waits() {
    let mut offences = Offences::default();
    for package in ["everline-core", "everline-wire", "everline-wire-gel"] {
        let brought = closure(package, "normal");
        assert!(brought.len() > 5, "{brought:?}");
        for (name, version) in brought {
            if WAITING.contains(&name.as_str()) {
                offences.of(package, format_args!("brings {name} {version}"));
            }
        }
    }
    offences.none("the pure crates have no runtime, no sockets and no log");
}

#[test]
fn packages_use_one_another_one_way() {
    let mut offences = Offences::default();
    let members = members();
    for (package, uses) in &members {
        let Some((_, allowed)) = PACKAGES.iter().find(|(name, _)| name == package) else {
            offences.of(package, "this package has no place in the table of directions");
            continue;
        };
        for used in uses.iter().filter(|used| members.contains_key(*used)) {
            if !allowed.contains(&used.as_str()) {
                offences.of(package, format_args!("uses {used}"));
            }
        }
    }
    offences.none("ARCHITECTURE.md says which package may use which");
}

#[test]
fn the_release_build_is_small() {
    let crates = closure("everline", "normal,build");
    let count = crates.len();
    assert!(count <= CRATES_MAX, "{count} crates, at most {CRATES_MAX}: {crates:?}");
}

#[test]
fn no_crate_comes_twice_without_a_reason() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, version) in closure("everline", "normal,build") {
        versions.entry(name).or_default().push(version);
    }
    let mut offences = Offences::default();
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !TWICE.iter().any(|(twice, _)| twice == name) {
            offences.of(name, versions.join(", "));
        }
    }
    for (name, reason) in TWICE {
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            offences.of(name, format_args!("comes once: the reason ({reason}) is gone"));
        }
    }
    offences.none("one version of each crate");
}

#[test]
fn every_package_has_the_workspaces_lints() {
    let mut offences = Offences::default();
    for file in files("Cargo.toml") {
        let package = file.text.contains("[package]") && file.path != "Cargo.toml";
        if package && !file.text.contains("[lints]\nworkspace = true") {
            offences.of(&file.path, "has no [lints] workspace = true");
        }
    }
    offences.none("one lint table");
}

/// What a text uses of this crate: line, module, and the names that follow the module.
fn uses(code: &str) -> Vec<(usize, String, Vec<String>)> {
    let mut found = Vec::new();
    for (at, found_here) in code.match_indices("crate::") {
        let (before, rest) = code.split_at(at);
        if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue; // the end of another name
        }
        let line = before.matches('\n').count() + 1;
        let rest = rest.strip_prefix(found_here).unwrap_or_default();
        for path in branches(rest) {
            let (module, rest) = path.split_once("::").unwrap_or((&path, ""));
            let what = branches(rest).iter().map(|name| identifier(name)).collect();
            found.push((line, identifier(module), what));
        }
    }
    found
}

/// The paths of `a::b`, or of `{a::b, c::{d, e}}`.
fn branches(rest: &str) -> Vec<String> {
    if !rest.starts_with('{') {
        // One path; a group may follow further on.
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
        let (path, rest) = rest.split_at(end.unwrap_or(rest.len()));
        return vec![format!("{path}{}", matching(rest))];
    }
    let group = matching(rest);
    let inside = group.strip_prefix('{').and_then(|group| group.strip_suffix('}'));
    let mut depth = 0;
    let mut paths = vec![String::new()];
    for c in inside.unwrap_or_default().chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => paths.push(String::new()),
            _ => {}
        }
        if !(c == ',' && depth == 0 || c.is_whitespace())
            && let Some(path) = paths.last_mut()
        {
            path.push(c);
        }
    }
    paths.into_iter().filter(|path| !path.is_empty()).collect()
}

/// The group in braces with which a text begins, if it does.
fn matching(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let end = if c == '}' { at + 1 } else { at };
            return text.get(..end).unwrap_or_default();
        }
    }
    text
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn use_lines_are_understood() {
    let found = |text| {
        let uses = uses(text).into_iter();
        let uses = uses.map(|(line, module, what)| format!("{line} {module} {}", what.join("+")));
        uses.collect::<Vec<_>>().join("; ")
    };
    assert_eq!(found("use crate::a::b;"), "1 a b");
    assert_eq!(found("\nuse crate::a::{b, c::d};"), "2 a b+c");
    assert_eq!(found("use crate::{a, b::c,\n  d::{e, f}};"), "1 a ; 1 b c; 1 d e+f");
    assert_eq!(found("x = crate::log::check(text)"), "1 log check");
    assert_eq!(found("pub(crate) fn a() {}"), "");
}

/// Name and version of what a package brings, itself included, on this machine's target and with
/// the features it is built with. `edges` are kinds of dependencies, as `cargo tree` names them.
fn closure(package: &str, edges: &str) -> BTreeSet<(String, String)> {
    let tree = ["tree", "--locked", "--prefix=none", "--package", package, "--edges", edges];
    let said = cargo(&tree);
    let name_and_version = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned()))
    };
    said.lines().filter_map(name_and_version).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output();
    let output = output.expect("cargo can be run: it runs this test");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {complaint}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The workspace's packages, each with those of its dependencies that are not for tests alone.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let said = cargo(&["metadata", "--format-version=1", "--locked", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&said).expect("cargo writes JSON");
    let packages = list(&metadata, "packages").map(|package| {
        let used = list(package, "dependencies").filter(|used| text(used, "kind") != Some("dev"));
        let used = used.filter_map(|used| text(used, "name")).map(str::to_owned);
        (text(package, "name").unwrap_or_default().to_owned(), used.collect())
    });
    packages.collect()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
