//! Gel's own client libraries, as their registries have them, before Everline.
//!
//! The programs in `tests/gel` say one line of JSON for each finding; what they do under load they
//! do with `client.transaction()` and no retry of their own.

mod hostile;
mod raw;
mod setup;
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use everline_lab::postgres::{APP_PASSWORD, APP_USER, ClusterOptions};
use everline_lab::process::{Process, run_directory};
use everline_lab::{Error, Result, ports};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::scene::{Fault, Scene, number, run_within};
use setup::Language;

/// Longest time for one test, once its library is set up; that may take its own time.
const TEST_MAX: Duration = Duration::from_mins(15);
/// Longest time for a program that tries what there is.
const BASICS_MAX: Duration = Duration::from_mins(3);
/// How long the leader is away before its successor is promoted: as long as the hold.
const AWAY: Duration = Duration::from_secs(5);
/// Workers of each language under load.
const WORKERS: u64 = 4;

/// A program with its findings.
struct Speaker {
    name: String,
    process: Process,
    said: PathBuf,
    input: Option<std::process::ChildStdin>,
}

impl Speaker {
    fn start(
        language: Language,
        what: &str,
        address: SocketAddr,
        more: &[(&str, String)],
    ) -> Result<Self> {
        let mut command: Command = language.command()?;
        let name = format!("{language:?} {what}");
        let said = run_directory()?.join(format!("gel-{language:?}-{what}-{}", address.port()));
        let wrong = |source| Error::Io { what: name.clone(), source };
        let out = fs::File::create(&said).map_err(wrong)?;
        let errors = fs::File::options().append(true).open(&said).map_err(wrong)?;
        command
            .arg(what)
            .env("LAB_HOST", address.ip().to_string())
            .env("LAB_PORT", address.port().to_string())
            .env("LAB_USER", APP_USER)
            .env("LAB_PASSWORD", APP_PASSWORD)
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(errors);
        let mut process = Process::spawn(&mut command)?;
        let (input, _) = process.pipes();
        Ok(Self { name, process, said, input })
    }

    fn lines(&self) -> Vec<Value> {
        let Ok(file) = fs::File::open(&self.said) else { return Vec::new() };
        let lines = BufReader::new(file).lines().map_while(std::result::Result::ok);
        lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
    }

    fn events(&self, event: &str) -> Vec<Value> {
        let lines = self.lines().into_iter();
        lines.filter(|line| line.get("event").is_some_and(|found| found == event)).collect()
    }

    fn all(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    async fn has_said(&mut self, event: &str, within: Duration) {
        let waiting = async {
            while self.events(event).is_empty() {
                if let Some(status) = self.process.status() {
                    assert!(
                        !self.events(event).is_empty(),
                        "{}: {status}: {}",
                        self.name,
                        self.all()
                    );
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let said = timeout(within, waiting).await;
        assert!(said.is_ok(), "{}: no {event} within {within:?}: {}", self.name, self.all());
    }
}

/// A cluster and an Everline that serves Gel's clients at the address that is returned.
async fn scene(fault: Fault, arguments: &[&str]) -> Result<(Scene, SocketAddr)> {
    let gel = ports::free_address()?;
    let place = gel.to_string();
    let own =
        ["--gel-listen", &place, "--heartbeat-interval", "300ms", "--heartbeat-timeout", "1s"];
    let scene =
        Scene::with(ClusterOptions::default(), fault, &[&own[..], arguments].concat()).await?;
    Ok((scene, gel))
}

/// A certificate for 127.0.0.1 that is its own authority, and its key.
fn certificate() -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let place = tempfile::Builder::new().prefix("gel-").tempdir_in(run_directory().unwrap());
    let place = place.unwrap().keep();
    let (cert, secret) = (place.join("cert.pem"), place.join("key.pem"));
    fs::write(&cert, certificate.pem()).unwrap();
    let mut file =
        fs::File::options().write(true).create_new(true).mode(0o600).open(&secret).unwrap();
    file.write_all(key.serialize_pem().as_bytes()).unwrap();
    (cert.display().to_string(), secret.display().to_string())
}

async fn basics(language: Language, whats: &[&str], least: usize) -> Result<()> {
    language.command()?; // skipped before anything is started
    let (cert, key) = certificate();
    let mut arguments = vec!["--tls-cert", &cert, "--tls-key", &key];
    if language == Language::Rust {
        arguments.push("--gel-edgeql-as-sql");
    }
    let (_scene, gel) = scene(Fault::Kill, &arguments).await?;
    let mut found = 0;
    for what in whats {
        let mut speaker = Speaker::start(language, what, gel, &[("LAB_CA", cert.clone())])?;
        speaker.has_said("done", BASICS_MAX).await;
        let wrong = speaker.events("wrong");
        assert!(wrong.is_empty(), "{}: {wrong:#?}", speaker.name);
        found += speaker.events("ok").len();
    }
    assert!(found >= least, "{language:?}: {found} findings, at least {least}");
    Ok(())
}

#[test]
fn python_finds_what_it_expects() {
    run_within(TEST_MAX, basics(Language::Python, &["basics", "types"], 190));
}

#[test]
fn javascript_finds_what_it_expects() {
    run_within(TEST_MAX, basics(Language::Node, &["basics"], 45));
}

#[test]
fn go_finds_what_it_expects() {
    run_within(TEST_MAX, basics(Language::Go, &["basics"], 24));
}

#[test]
fn rust_finds_what_it_expects() {
    run_within(TEST_MAX, basics(Language::Rust, &["basics"], 6));
}

#[test]
fn transactions_carry_on_when_the_leader_is_killed() {
    run_within(TEST_MAX, carry_on(Fault::Kill, AWAY, &KEEPERS, &[]));
}

#[test]
fn transactions_carry_on_when_the_leader_freezes() {
    run_within(TEST_MAX, carry_on(Fault::Freeze, AWAY, &KEEPERS, &[]));
}

/// gel-go never repeats what was refused for want of a leader: the outage ends within the hold.
#[test]
fn transactions_of_go_carry_on_when_the_leader_freezes() {
    let away = Duration::from_secs(1);
    run_within(TEST_MAX, carry_on(Fault::Freeze, away, &[Language::Go], &[]));
}

#[test]
fn transactions_of_go_carry_on_for_longer_than_the_hold_by_a_setting() {
    let setting = ["--gel-unavailable-error", "transaction-conflict"];
    run_within(TEST_MAX, carry_on(Fault::Kill, AWAY, &[Language::Go], &setting));
}

/// Clients whose pools keep their connections. gel-go's has room for one that is idle and closes
/// all others whenever nobody waits for them, in good times too.
const KEEPERS: [Language; 3] = [Language::Python, Language::Node, Language::Rust];

/// How many clients have gone. Pools may grow meanwhile: in an outage everybody waits at once.
fn ended(status: &Value) -> u64 {
    number(status, "accepted_total").saturating_sub(number(status, "clients"))
}

/// These languages at once, through one real failover, with the hold that is there by default.
async fn carry_on(
    fault: Fault,
    away: Duration,
    languages: &[Language],
    settings: &[&str],
) -> Result<()> {
    let present: Vec<_> =
        languages.iter().copied().filter(|language| language.command().is_ok()).collect();
    if present.is_empty() {
        return Err(Error::Skip("none of Gel's clients can be set up".to_owned()));
    }
    let (mut scene, gel) = scene(fault, &[&["--gel-edgeql-as-sql"], settings].concat()).await?;
    scene.prepare("CREATE TABLE ledger (key int8)").await?;
    let mut speakers = Vec::new();
    for (index, language) in present.iter().enumerate() {
        let keys = 1 + 1_000_000 * u64::try_from(index).expect("four languages");
        for table in keys..keys + WORKERS {
            let own = format!("CREATE TABLE ledger_{table} (PRIMARY KEY (key)) INHERITS (ledger)");
            scene.prepare(&own).await?;
        }
        let more = [("LAB_KEYS", keys.to_string()), ("LAB_WORKERS", WORKERS.to_string())];
        speakers.push(Speaker::start(*language, "load", gel, &more)?);
    }
    for speaker in &mut speakers {
        speaker.has_said("running", BASICS_MAX).await;
    }
    sleep(Duration::from_secs(2)).await;
    let before = ended(&scene.status().await);
    scene.strike(fault).await?;
    sleep(away).await;
    scene.succeed().await?;
    scene.until_led_by(1).await;
    sleep(Duration::from_secs(2)).await;
    let after = scene.status().await;
    if present.iter().all(|language| KEEPERS.contains(language)) {
        assert_eq!(ended(&after), before, "a client's connection has ended");
    }
    let rows = scene.cluster.node(1).sql("SELECT key FROM ledger").await?;
    let at_least = rows.len();
    let mut acknowledged = BTreeSet::new();
    let mut maybe = BTreeSet::new();
    for (speaker, language) in speakers.iter_mut().zip(&present) {
        drop(speaker.input.take());
        speaker.has_said("done", BASICS_MAX).await;
        judge(speaker, *language, &mut acknowledged, &mut maybe);
    }
    let rows = scene.cluster.node(1).sql("SELECT key FROM ledger").await?;
    let keys: Vec<u64> =
        rows.iter().flatten().flatten().filter_map(|key| key.parse().ok()).collect();
    let there: BTreeSet<u64> = keys.iter().copied().collect();
    assert!(at_least <= keys.len() && !acknowledged.is_empty());
    assert_eq!(keys.len(), there.len(), "rows doubled");
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let stray: Vec<_> =
        there.iter().filter(|key| !acknowledged.contains(key) && !maybe.contains(key)).collect();
    assert!(stray.is_empty(), "there and not acknowledged: {stray:?}");
    Ok(())
}

/// Takes a program's books. No error has reached it, but for one that gel-tokio's own loop never
/// takes for a reason to begin again, since it comes at COMMIT: a transaction that was lost before
/// that was sent.
fn judge(
    speaker: &Speaker,
    language: Language,
    acknowledged: &mut BTreeSet<u64>,
    maybe: &mut BTreeSet<u64>,
) {
    let ledger = speaker.events("ledger").pop().unwrap_or_else(|| panic!("{}", speaker.all()));
    let numbers = |name: &str| {
        let list = ledger.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(Value::as_u64).collect::<Vec<_>>()
    };
    let errors = ledger.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
    let known = |error: &Value| {
        language == Language::Rust
            && error.as_str().is_some_and(|text| text.contains("rolled back with its backend"))
    };
    let unexpected: Vec<_> = errors.iter().filter(|error| !known(error)).collect();
    assert!(unexpected.is_empty(), "{}: {unexpected:#?}", speaker.name);
    let committed = numbers("committed");
    assert!(!committed.is_empty(), "{}: nothing was committed", speaker.name);
    acknowledged.extend(committed);
    maybe.extend(numbers("unknown"));
}

/// What is heard by somebody who says this, until the end.
async fn heard(address: SocketAddr, words: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is not closed after {words:?}");
    answer
}

#[test]
fn whoever_speaks_something_else_is_told_so() {
    run_within(TEST_MAX, async {
        let (scene, gel) = scene(Fault::Kill, &[]).await?;
        for (words, expected) in [
            (&b"V\0\0\0\x0c\0\x03\0\0\0\0\0\0"[..], "TLS Required"),
            (b"GET / HTTP/1.1\r\n\r\n", "There is nothing here by HTTP."),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", "this port serves Gel's clients"),
            (b"nonsense", "There is nothing here by HTTP."),
        ] {
            let answer = heard(gel, words).await;
            let text = String::from_utf8_lossy(&answer).into_owned();
            assert!(text.contains(expected), "{words:?}: {text:?}");
        }
        // A handshake that is none ends that connection alone.
        drop(heard(gel, b"\x16\x03\x01\0\x05hello").await);
        assert!(scene.status().await.get("available").is_some_and(|yes| *yes == true));
        Ok(())
    });
}
