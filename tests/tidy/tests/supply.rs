//! What the dependencies may be: the lists of `deny.toml`, held to in each run without cargo-deny,
//! which takes minutes to install.

use std::collections::BTreeSet;
use std::process::Command;

use everline_tidy::Offences;
use everline_tidy::tree::root;
use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};
use toml::Table;

/// The one place that crates come from, as `Cargo.lock` spells it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_licence_is_allowed() {
    let deny = document("deny.toml");
    let allowed: Vec<Licensee> = strings(&deny, "licenses", "allow")
        .iter()
        .map(|name| Licensee::parse(name).expect("a licence of SPDX"))
        .collect();
    let mut offences = Offences::default();
    let mut used = BTreeSet::new();
    for package in packages() {
        let name = text(&package, "name");
        let licence = text(&package, "license");
        // Old manifests write `MIT/Apache-2.0`.
        let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
            offences.of(name, format_args!("has no licence that can be read: {licence:?}"));
            continue;
        };
        let fits = |asked: &spdx::LicenseReq| {
            let position = allowed.iter().position(|licensee| licensee.satisfies(asked));
            used.extend(position);
            position.is_some()
        };
        if !expression.evaluate(fits) {
            offences.of(name, format_args!("is under {licence}"));
        }
    }
    for (at, licensee) in allowed.iter().enumerate().filter(|(at, _)| !used.contains(at)) {
        offences.of("deny.toml", format_args!("allows {licensee} (number {at}), which none uses"));
    }
    offences.none("deny.toml says which licences a dependency may have");
}

#[test]
fn every_crate_is_from_the_registry_and_has_a_checksum() {
    let lock = document("Cargo.lock");
    let mut offences = Offences::default();
    let packages = lock.get("package").and_then(toml::Value::as_array).expect("a lock file");
    assert!(packages.len() > 100, "{} packages", packages.len());
    for package in packages {
        let field = |key| package.get(key).and_then(toml::Value::as_str);
        let name = field("name").unwrap_or_default();
        match field("source") {
            None if name.starts_with("everline") => {}
            Some(REGISTRY) if field("checksum").is_some_and(|sum| sum.len() == 64) => {}
            source => offences.of(name, format_args!("comes from {source:?}")),
        }
    }
    offences.none("crates come from crates.io, each with its checksum");
}

#[test]
fn there_is_one_tls_stack() {
    let deny = document("deny.toml");
    let banned = strings(&deny, "bans", "deny");
    assert!(banned.len() > 3, "{banned:?}");
    let mut offences = Offences::default();
    // What is compiled on this machine's target, tests included; the lock file also names what
    // other targets and features would need.
    let said = cargo(&["tree", "--workspace", "--locked", "--prefix=none", "--edges=all"]);
    let compiled: BTreeSet<_> =
        said.lines().filter_map(|line| line.split_once(' ')).map(|(name, _)| name).collect();
    assert!(compiled.contains("rustls"), "{compiled:?}");
    for name in banned.iter().filter(|name| compiled.contains(name.as_str())) {
        offences.of(name, "is compiled");
    }
    offences.none("TLS is rustls over aws-lc-rs and nothing else");
}

fn document(path: &str) -> Table {
    let text = std::fs::read_to_string(root().join(path)).expect("the file is there");
    text.parse().expect("TOML")
}

fn strings(document: &Table, section: &str, key: &str) -> Vec<String> {
    let list = document.get(section).and_then(|section| section.get(key));
    let list = list.and_then(toml::Value::as_array).expect("a list");
    list.iter().filter_map(toml::Value::as_str).map(str::to_owned).collect()
}

/// What the whole workspace needs on the target that packages are made for, tests and benches
/// included.
fn packages() -> Vec<Value> {
    let target = "--filter-platform=x86_64-unknown-linux-gnu";
    let said = cargo(&["metadata", "--format-version=1", "--locked", target]);
    let mut metadata: Value = serde_json::from_str(&said).expect("cargo writes JSON");
    let nodes = metadata.pointer("/resolve/nodes").and_then(Value::as_array);
    let needed: BTreeSet<_> =
        nodes.into_iter().flatten().map(|node| text(node, "id").to_owned()).collect();
    match metadata.get_mut("packages").map(Value::take) {
        Some(Value::Array(mut packages)) => {
            packages.retain(|package| needed.contains(text(package, "id")));
            assert!(packages.len() > 100, "{} packages", packages.len());
            packages
        }
        other => panic!("{other:?}"),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output();
    let output = output.expect("cargo can be run: it runs this test");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {complaint}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
