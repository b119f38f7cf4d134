//! What every test stands on: a cluster, the name that leads to it, and Everline in front.

use std::any::type_name;
use std::cell::RefCell;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use everline_lab::dns::Dns;
use everline_lab::everline::{Everline, Launch};
use everline_lab::faults::{Mode, Relay};
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions, Stop};
use everline_lab::{Error, Result};
use tokio::time::Instant;

/// Longest time for one test; past it something hangs.
const TEST_MAX: Duration = Duration::from_secs(100);
/// Longest time until something shows in the status.
pub(crate) const STATUS_MAX: Duration = Duration::from_secs(20);
/// How often the status is asked.
const POLL: Duration = Duration::from_millis(20);
/// How many lines of Everline's log are shown when a test fails.
const LOG_LINES: usize = 80;
/// The name that leads to the cluster.
pub(crate) const NAME: &str = "db.example.test";

thread_local! {
    static LOGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Shows the logs of what ran in this test when it fails.
struct Tell;

impl Drop for Tell {
    fn drop(&mut self) {
        let logs = LOGS.with_borrow_mut(std::mem::take);
        if std::thread::panicking() {
            for log in logs {
                println!("--- the end of Everline's log ---\n{log}");
            }
        }
    }
}

/// Runs one test under its deadline; a test that this machine cannot run is reported as skipped.
pub(crate) fn run<F: Future<Output = Result<()>>>(test: F) {
    run_within(TEST_MAX, test);
}

/// As [`run`], with a deadline of its own.
pub(crate) fn run_within<F: Future<Output = Result<()>>>(test_max: Duration, test: F) {
    let name = type_name::<F>().trim_end_matches("::{{closure}}");
    let name = name.split_once("::").map_or(name, |(_, name)| name);
    let _tell = Tell;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut test = Box::pin(test);
        let outcome = tokio::time::timeout(test_max, test.as_mut()).await;
        // The test is still there when this panics, so that its end is seen to be that of a panic.
        match outcome.unwrap_or_else(|_| panic!("{name}: not done after {test_max:?}")) {
            Ok(()) => {}
            Err(Error::Skip(why)) => skip(name, &why),
            Err(error) => panic!("{name}: {error}"),
        }
    });
}

fn skip(name: &str, why: &str) {
    let line = format!("skipped: {name}: {why}");
    println!("{line}");
    let Some(path) = std::env::var_os("EVERLINE_SKIPPED_FILE") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let told = file.and_then(|mut file| writeln!(file, "{line}"));
    told.expect("the file for what was skipped can be written");
}

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL to all of PostgreSQL: sockets are closed by the kernel.
    Kill,
    /// SIGSTOP to all of PostgreSQL: sockets stay open and nothing is answered.
    Freeze,
    /// The network swallows everything, in both directions.
    BlackHole,
    /// A fast shutdown, as before a planned change.
    Switchover,
}

impl Fault {
    /// Whether the end of the leader's connections is seen at once.
    pub(crate) fn is_loud(self) -> bool {
        matches!(self, Self::Kill | Self::Switchover)
    }
}

/// Everline in front of a cluster that is found by [`NAME`].
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) dns: Dns,
    pub(crate) everline: Everline,
    relay: Option<Relay>,
}

impl Scene {
    /// A primary with a synchronous standby, and Everline with adaptive HA and a quick heartbeat.
    pub(crate) async fn adaptive(fault: Fault, arguments: &[&str]) -> Result<Self> {
        let quick = ["--heartbeat-interval", "300ms", "--heartbeat-timeout", "1s"];
        let arguments = [&quick[..], arguments].concat();
        Self::with(ClusterOptions::default(), fault, &arguments).await
    }

    /// As [`Scene::adaptive`] with a cluster of its own kind, and no further arguments but these.
    pub(crate) async fn with(
        options: ClusterOptions,
        fault: Fault,
        arguments: &[&str],
    ) -> Result<Self> {
        let cluster = Cluster::start(options).await?;
        let dns = Dns::start().await?;
        let primary = cluster.primary().address();
        let relay = if fault == Fault::BlackHole {
            let address = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 9).into(), cluster.port());
            Some(Relay::start(address, primary).await?)
        } else {
            None
        };
        let seen_at = relay.as_ref().map_or(primary, Relay::address);
        dns.set(NAME, &[seen_at.ip()]);
        let everline = launch(&dsn(NAME, cluster.port()))
            .argument("--enable-backend-adaptive-ha")
            .arguments(["--resolver", &dns.address().to_string()])
            .arguments(arguments)
            .start()
            .await?;
        let scene = Self { cluster, dns, everline, relay };
        scene.until("the first leader", is_available).await;
        Ok(scene)
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.everline.address()
    }

    /// Runs statements on the primary as [`APP_USER`].
    pub(crate) async fn prepare(&self, sql: &str) -> Result<()> {
        let sql = format!("SET ROLE {APP_USER}; {sql}");
        self.cluster.primary().sql(&sql).await.map(drop)
    }

    /// Lets it happen.
    pub(crate) async fn strike(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => self.cluster.primary_mut().kill9(),
            Fault::Freeze => self.cluster.primary_mut().freeze(),
            Fault::BlackHole => {
                self.relay.as_ref().expect("the way leads over a relay").set_mode(Mode::BlackHole);
            }
            Fault::Switchover => {
                self.cluster.primary_mut().stop(Stop::Fast).await?;
            }
        }
        Ok(())
    }

    /// Promotes the standby and moves the name.
    pub(crate) async fn succeed(&mut self) -> Result<()> {
        self.cluster.promote(1).await?;
        self.move_name(1);
        Ok(())
    }

    /// Has the name lead to node `at`.
    pub(crate) fn move_name(&self, at: usize) {
        self.dns.set(NAME, &[self.ip(at)]);
    }

    /// The address of node `at`.
    pub(crate) fn ip(&self, at: usize) -> IpAddr {
        self.cluster.node(at).address().ip()
    }

    /// What Everline says of itself.
    pub(crate) async fn status(&self) -> serde_json::Value {
        status(&self.everline).await
    }

    /// Waits until what Everline says of itself is as wished.
    pub(crate) async fn until(&self, what: &str, wish: impl Fn(&serde_json::Value) -> bool) {
        until(&self.everline, what, wish).await;
    }

    /// Waits until statements go to node `at`.
    pub(crate) async fn until_led_by(&self, at: usize) {
        let address = self.cluster.node(at).address().to_string();
        self.until(&format!("a leader at {address}"), |status| {
            is_available(status) && leader(status).contains(&address)
        })
        .await;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        keep_log(&self.everline);
    }
}

/// Keeps the end of the log for the case that the test fails.
pub(crate) fn keep_log(everline: &Everline) {
    let log = everline.log();
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    LOGS.with_borrow_mut(|logs| logs.push(lines[from..].join("\n")));
}

/// A DSN for the application's user at `host`, which may be several in libpq's way.
pub(crate) fn dsn(host: &str, port: u16) -> String {
    let hosts: Vec<String> = host.split(',').map(|host| format!("{host}:{port}")).collect();
    format!("postgres://{APP_USER}:{APP_PASSWORD}@{}/{APP_DATABASE}", hosts.join(","))
}

/// Everline for this DSN, not started yet.
pub(crate) fn launch(dsn: &str) -> Launch {
    program().arguments(["--backend-dsn", dsn, "--log", "info,everline=debug"])
}

/// Everline without any argument.
pub(crate) fn program() -> Launch {
    Launch::new(Path::new(env!("CARGO_BIN_EXE_everline")))
}

/// What `everline` says of itself.
pub(crate) async fn status(everline: &Everline) -> serde_json::Value {
    let (code, body) = everline.get("/status.json").await.expect("the status page answers");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).expect("the status is JSON")
}

/// Waits until what `everline` says of itself is as wished.
pub(crate) async fn until(
    everline: &Everline,
    what: &str,
    wish: impl Fn(&serde_json::Value) -> bool,
) {
    let deadline = Instant::now() + STATUS_MAX;
    loop {
        let status = status(everline).await;
        if wish(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "no {what} within {STATUS_MAX:?}: {status:#}");
        tokio::time::sleep(POLL).await;
    }
}

/// Whether statements are dispatched.
pub(crate) fn is_available(status: &serde_json::Value) -> bool {
    status["available"] == true
}

/// Where the leader is, or nothing.
pub(crate) fn leader(status: &serde_json::Value) -> &str {
    status["leader"]["endpoint"].as_str().unwrap_or_default()
}

/// A number of the status.
pub(crate) fn number(status: &serde_json::Value, name: &str) -> u64 {
    status[name].as_u64().unwrap_or_else(|| panic!("no {name} in {status:#}"))
}
