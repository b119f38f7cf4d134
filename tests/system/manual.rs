//! What the manual and the README tell people to type, typed.
//!
//! Blocks of `sh`, `toml` and `yaml` are run as they stand, against a real cluster: names of hosts
//! and ports are replaced by those of the test, and what needs a machine of its own (a service
//! manager, a builder of images, a package of this repository) is looked at, not run. A command for
//! which nothing is known fails the test. The blocks of `sql` are the console's, and run in
//! `console.rs`; the Python is that of `tests/gel`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use everline_lab::Result;
use everline_lab::postgres::{APP_PASSWORD, ClusterOptions};
use everline_lab::process::run_directory;
use tokio::process::Command;

use crate::scene::{Fault, NAME, Scene, dsn, run};
use crate::tools::{command, said, tool};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A fenced block of a document.
struct Block {
    document: String,
    kind: String,
    text: String,
}

/// Every block of the README and the manual.
fn blocks() -> Vec<Block> {
    let manual = std::fs::read_dir(root().join("docs/manual")).expect("the manual");
    let mut documents: Vec<PathBuf> = manual.map(|entry| entry.expect("a page").path()).collect();
    documents.push(root().join("README.md"));
    documents.sort();
    let mut blocks = Vec::new();
    for path in documents.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(path).expect("a page");
        let document = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for fenced in text.split("\n```").skip(1).step_by(2) {
            let (kind, text) = fenced.split_once('\n').expect("a block");
            let (document, kind, text) = (document.clone(), kind.to_owned(), text.to_owned());
            blocks.push(Block { document, kind, text });
        }
    }
    blocks
}

/// One line, without its comment.
fn uncommented(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim()
}

/// Words as a shell takes them apart, single quotes included.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_of_the_manual_runs() {
    run(async {
        let scene = Scene::with(ClusterOptions::single(), Fault::Kill, &[]).await?;
        let mut ran = 0;
        for Block { document, kind, text } in blocks() {
            match kind.as_str() {
                "sh" => {
                    for line in text.lines().map(uncommented).filter(|line| !line.is_empty()) {
                        let outcome = typed(&scene, line).await?;
                        outcome.unwrap_or_else(|why| panic!("{document}: {line}: {why}"));
                        ran += 1;
                    }
                }
                "toml" => {
                    let outcome = configured(&scene, &text).await?;
                    outcome.unwrap_or_else(|why| panic!("{document}: {text}: {why}"));
                    ran += 1;
                }
                "sql" | "python" => {}
                "yaml" => scraped(&text),
                "" => {} // pictures, and what was marked by nobody
                other => panic!("{document}: what is a block of {other}?"),
            }
        }
        assert!(ran > 15, "{ran} commands");
        Ok(())
    });
}

/// Runs one line of a shell.
async fn typed(scene: &Scene, line: &str) -> Result<std::result::Result<(), String>> {
    let words = words(line);
    let (program, arguments) = words.split_first().expect("a command");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match program.trim_start_matches("./target/release/") {
        "everline" => everline(scene, &arguments).await?,
        "psql" => {
            let mut psql = command(&tool("psql").await?, scene.address());
            let place = arguments.first().copied().unwrap_or_default();
            let place = place.replace(":6432", &format!(":{}", scene.address().port()));
            let place = place.replace("port=6432", &format!("port={}", scene.address().port()));
            let place = place.replace(":secret@", &format!(":{APP_PASSWORD}@"));
            let asked = if place.contains("everline") { "SHOW HA" } else { "SELECT 1" };
            ended(said(psql.args(["-c", asked]).arg(place)).await?)
        }
        "export" => {
            let given = arguments.join("").replace('=', " ");
            ended((given.starts_with("EVERLINE_") && given.contains("postgres://"), given))
        }
        "cargo" => cargo(&arguments),
        "editor" => ended((arguments == ["/etc/everline/everline.toml"], String::new())),
        "systemctl" | "podman" | "kubectl" => {
            let unit = root().join("contrib/systemd/everline.service").exists();
            let image = root().join("contrib/Containerfile").exists();
            ended((unit && image && line.contains("everline"), "of what?".to_owned()))
        }
        script if script.starts_with("contrib/") => {
            ended((root().join(script).exists(), "there is no such script".to_owned()))
        }
        _ => Err("no rule says how to run this".to_owned()),
    })
}

fn ended((success, text): (bool, String)) -> std::result::Result<(), String> {
    if success { Ok(()) } else { Err(text) }
}

/// Runs `everline`; what would serve for ever only checks.
async fn everline(scene: &Scene, arguments: &[&str]) -> Result<std::result::Result<(), String>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everline"));
    let serves = arguments.first().is_none_or(|first| first.starts_with("--"));
    command.args(serves.then_some("check"));
    let sample = root().join("contrib/everline.toml");
    for argument in arguments.iter().filter(|argument| **argument != "...") {
        match *argument {
            "/etc/everline/everline.toml" => command.arg(&sample),
            other => command.arg(other),
        };
    }
    command.env("EVERLINE_BACKEND_DSN", dsn(NAME, scene.cluster.port()));
    command.env("EVERLINE_RESOLVER", scene.dns.address().to_string());
    command.env("EVERLINE_HTTP_LISTEN", scene.everline.http_address().to_string());
    Ok(ended(said(command.stdin(Stdio::null()).kill_on_drop(true)).await?))
}

/// Looks whether Cargo would find what it is told to run: it runs this very test.
fn cargo(arguments: &[&str]) -> std::result::Result<(), String> {
    let after = |flag: &str| {
        let found = arguments.iter().zip(arguments.iter().skip(1));
        found.filter(|(at, _)| **at == flag).map(|(_, value)| (*value).to_owned()).next()
    };
    let aliases = std::fs::read_to_string(root().join(".cargo/config.toml")).expect("aliases");
    let command = arguments.first().copied().unwrap_or_default();
    if aliases.lines().any(|line| line.starts_with(&format!("{command} = "))) {
        return Ok(());
    }
    if !["build", "test", "run"].contains(&command) {
        return Err("Cargo has no such command".to_owned());
    }
    let Some(package) = after("-p").or_else(|| after("--package")) else { return Ok(()) };
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|one| one["name"] == package.as_str());
    let package = package.ok_or_else(|| format!("there is no package {package:?}"))?;
    let targets = package["targets"].as_array().expect("targets");
    for target in [after("--test"), after("--example")].into_iter().flatten() {
        if !targets.iter().any(|one| one["name"] == target.as_str()) {
            return Err(format!("there is no target {target}"));
        }
    }
    Ok(())
}

/// Has `everline check` read a piece of a configuration.
async fn configured(scene: &Scene, text: &str) -> Result<std::result::Result<(), String>> {
    let directory = run_directory()?.join("manual");
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join("everline.toml");
    std::fs::write(&path, text).expect("a file");
    std::fs::write(directory.join("batch.password"), "secret\n").expect("a password");
    everline(scene, &["check", "--config", path.to_str().expect("a path")]).await
}

/// A piece of Prometheus' configuration names our listener as it is by default.
fn scraped(text: &str) {
    let place = everline::config::settings::find("http_listen").expect("a setting").default;
    assert!(text.contains(&format!("\"{place}\"")), "{text}");
}
