//! Those who watch are served whatever the leader does, and learn no secret.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use everline_lab::everline::get;
use everline_lab::postgres::APP_PASSWORD;
use everline_lab::{Error, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::driver::connect;
use crate::scene::{Fault, Scene, is_available, number, run};
use crate::tools::said;

/// The body of `path`, asked for with this `Accept` header.
async fn accepting(address: SocketAddr, path: &str, accept: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the HTTP listener");
    let request = format!("GET {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

/// The value of the sample that begins with `name`.
fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

/// The directory of what stands beside the program.
fn contrib() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib")
}

/// What `promtool`, run there, says of what it is given.
fn promtool(arguments: &[&str], input: &str) -> Result<std::process::Output> {
    let started = Command::new("promtool")
        .args(arguments)
        .current_dir(contrib())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Skip("there is no promtool on this machine".to_owned()));
        }
        Err(source) => return Err(Error::Io { what: "promtool".to_owned(), source }),
    };
    let mut pipe = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut pipe, input.as_bytes()).expect("it reads");
    drop(pipe);
    Ok(child.wait_with_output().expect("it ends"))
}

#[test]
fn metrics_count_what_happens() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "20s"]).await?;
        let http = scene.everline.http_address();
        let client = connect(scene.address()).await;
        client.simple_query("SELECT 1").await.expect("a leader");
        let before = accepting(http, "/metrics", "text/plain").await;
        assert!(sample(&before, "everline_statements_total{database=\"app\"}") >= 1.0, "{before}");
        assert!(sample(&before, "everline_received_bytes_total{database=\"app\"}") >= 14.0);
        assert!((sample(&before, "everline_state{state=\"healthy\"}") - 1.0).abs() < 0.1);
        scene.strike(Fault::Kill).await?;
        scene.until("the loss", |status| !is_available(status)).await;
        let held = tokio::spawn(async move { client.simple_query("SELECT 2").await.map(drop) });
        scene.until("a statement held", |status| number(status, "held") == 1).await;
        let during = accepting(http, "/metrics", "text/plain").await;
        assert!((sample(&during, "everline_held_statements") - 1.0).abs() < 0.1);
        assert!((sample(&during, "everline_clients{state=\"waiting\"}") - 1.0).abs() < 0.1);
        assert!(sample(&during, "everline_outage_seconds") > 0.0);
        scene.succeed().await?;
        held.await.expect("a task").expect("the next leader");
        let after = accepting(http, "/metrics", "text/plain").await;
        assert!((sample(&after, "everline_hold_seconds_count") - 1.0).abs() < 0.1);
        assert!((sample(&after, "everline_outage_duration_seconds_count") - 1.0).abs() < 0.1);
        assert!(sample(&after, "everline_hold_seconds_sum") > 0.0);
        Ok(())
    });
}

#[test]
fn metrics_are_as_prometheus_reads_them() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        connect(scene.address()).await.simple_query("SELECT 1").await.expect("a leader");
        let http = scene.everline.http_address();
        let text = accepting(http, "/metrics", "text/plain").await;
        let said = promtool(&["check", "metrics"], &text)?;
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.success() && words.is_empty(), "{words}");
        let wrong = promtool(&["check", "metrics"], &text.replace("_total", "_sum"))?;
        assert!(!wrong.status.success(), "promtool finds nothing wrong in what is wrong");
        let open = accepting(http, "/metrics", "application/openmetrics-text; version=1.0.0").await;
        assert!(open.ends_with("\n# EOF\n"), "{open}");
        assert!(open.contains("# TYPE everline_statements counter\n"), "{open}");
        assert!(open.contains("# UNIT everline_hold_seconds seconds\n"), "{open}");
        Ok(())
    });
}

#[test]
fn the_alerts_fire_when_they_should() {
    run(async {
        let contrib = contrib();
        for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
            let said = promtool(&arguments, "")?;
            let words = [said.stdout, said.stderr].concat();
            let words = String::from_utf8_lossy(&words).into_owned();
            assert!(said.status.success(), "promtool {arguments:?}: {words}");
        }
        // What rules and dashboard ask for is there, and what is there is in the manual.
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        connect(scene.address()).await.simple_query("SELECT 1").await.expect("a leader");
        let text = accepting(scene.everline.http_address(), "/metrics", "text/plain").await;
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<&str> = families.filter_map(|line| line.split(' ').next()).collect();
        assert!(names.len() > 40, "{names:?}");
        for file in ["alerts.yml", "grafana.json"] {
            let asks = std::fs::read_to_string(contrib.join(file)).expect("it can be read");
            for word in asks.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                let name = word.strip_suffix("_bucket").unwrap_or(word);
                let is_metric = name.starts_with("everline_");
                assert!(!is_metric || names.contains(&name), "{file} asks for {name}");
            }
        }
        let manual = contrib.join("../docs/manual/metrics.md");
        let manual = std::fs::read_to_string(manual).expect("it can be read");
        for name in names {
            assert!(
                ["`", "{"].iter().any(|end| manual.contains(&format!("`{name}{end}"))),
                "the manual does not speak of {name}"
            );
        }
        Ok(())
    });
}

#[test]
fn events_come_by_themselves() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let mut stream = TcpStream::connect(scene.everline.http_address()).await.expect("HTTP");
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a request");
        let mut seen = String::new();
        until_seen(&mut stream, &mut seen, "\"available\":true").await;
        assert!(seen.contains("content-type: text/event-stream"), "{seen}");
        scene.strike(Fault::Kill).await?;
        until_seen(&mut stream, &mut seen, "\"available\":false").await;
        scene.succeed().await?;
        seen.clear();
        until_seen(&mut stream, &mut seen, "\"available\":true").await;
        assert!(!seen.contains(APP_PASSWORD), "{seen}");
        Ok(())
    });
}

async fn until_seen(stream: &mut TcpStream, seen: &mut String, what: &str) {
    let mut piece = vec![0; 65_536];
    let reading = async {
        while !seen.contains(what) {
            let read = stream.read(&mut piece).await.expect("an event");
            assert!(read > 0, "the events ended");
            seen.push_str(&String::from_utf8_lossy(piece.get(..read).unwrap_or_default()));
        }
    };
    timeout(Duration::from_secs(20), reading).await.unwrap_or_else(|_| panic!("no {what}"));
}

#[test]
fn a_probe_gets_through_a_crowd_that_says_nothing() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Freeze, &[]).await?;
        let http = scene.everline.http_address();
        let mut reader = TcpStream::connect(http).await.expect("HTTP");
        reader.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a request");
        let mut seen = String::new();
        until_seen(&mut reader, &mut seen, "\"available\":true").await;
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(http).await.expect("a connection"));
        }
        scene.until("a status", is_available).await;
        seen.clear();
        until_seen(&mut reader, &mut seen, "\"available\":true").await;
        drop(silent);
        let mut crowd = Vec::new();
        for number in 0..200 {
            let mut stream = TcpStream::connect(http).await.expect("a connection");
            if number % 2 == 0 {
                // Asks for events, and never reads them.
                drop(stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await);
            }
            crowd.push(stream);
        }
        scene.strike(Fault::Freeze).await?;
        for path in ["/server/status/alive", "/server/status/ready", "/status.json", "/metrics"] {
            let began = Instant::now();
            let (code, _) = get(http, path).await?;
            assert!(code == 200 || (code == 503 && path.ends_with("ready")), "{path}: {code}");
            // A machine under load may take its time; a probe that waits for the crowd never ends.
            assert!(began.elapsed() < Duration::from_secs(4), "{path}: {:?}", began.elapsed());
        }
        drop(crowd);
        Ok(())
    });
}

#[test]
fn nothing_that_is_shown_or_logged_holds_a_password() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--log-format", "json"]).await?;
        let client = connect(scene.address()).await;
        client.simple_query("SELECT 'a secret in a statement'").await.expect("a leader");
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        scene.until_led_by(1).await;
        client.simple_query("SELECT 1").await.expect("the next leader");
        let http = scene.everline.http_address();
        for path in ["/", "/status.json", "/metrics", "/server/status/ready"] {
            let (_, body) = get(http, path).await?;
            for secret in [APP_PASSWORD, "a secret in a statement"] {
                assert!(!body.contains(secret), "{path}: {body}");
            }
        }
        scene.everline.stop().await?;
        let log = scene.everline.log();
        assert!(log.contains("stopped"), "{log}");
        for secret in [APP_PASSWORD, "a secret in a statement"] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None);
        }
        Ok(())
    });
}

/// Whether `everline` succeeds with these arguments, and what it says.
async fn everline(arguments: &[&str]) -> (bool, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_everline"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    said(&mut command).await.expect("a program that ends")
}

#[test]
fn people_at_a_terminal_are_told_in_short() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let http = scene.everline.http_address().to_string();
        let status = ["status", "--http-listen", &http];
        let (serves, text) = everline(&status).await;
        assert!(serves && text.contains("  Statements go to ") && text.contains("Nothing to do."));
        scene.strike(Fault::Kill).await?;
        scene.until("the loss", |status| !is_available(status)).await;
        let (serves, text) = everline(&status).await;
        assert!(!serves && text.contains("retryable error"), "{text}");
        scene.everline.stop().await?;
        let (serves, text) = everline(&status).await;
        assert!(!serves && text.starts_with("everline: no answer from "), "{text}");

        let (success, page) = everline(&["man"]).await;
        assert!(success && page.contains(".TH everline 1"), "{page}");
        assert!(page.contains("failover\\-hold"), "{page}");
        for shell in ["bash", "zsh", "fish"] {
            let (success, script) = everline(&["completions", shell]).await;
            assert!(success && script.contains("failover-hold"), "{shell}: {script}");
        }
        let (success, text) = everline(&["completions", "dos"]).await;
        assert!(!success && text.lines().count() == 1, "{text}");
        Ok(())
    });
}
