//! The supervisor against real PostgreSQL clusters, with a name that moves.

use std::path::PathBuf;
use std::time::Duration;

use everline_core::ha::{Mode, Phase};
use everline_lab::Error;
use everline_lab::dns::Dns;
use everline_lab::postgres::{Cluster, ClusterOptions, Stop};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{ELECTION_GRACE, Handle, Settings, Supervisor};
use crate::backend::dial::{Dialer, Login};
use crate::backend::resolve::Resolver;
use crate::backend::system::{Beat, SystemScout};
use crate::config::dsn::{Dsn, Surroundings, TargetSessionAttrs};

const NAME: &str = "leader.test";

/// A cluster of two, the name of its leader, and a supervisor that follows it.
struct Scene {
    cluster: Cluster,
    dns: Dns,
    handle: Handle,
    shutdown: CancellationToken,
}

impl Scene {
    /// `hosts`: of the DSN, with `{}` for the port. `None`: this machine has no PostgreSQL.
    async fn start(options: ClusterOptions, hosts: &str) -> Option<Self> {
        let cluster = match Cluster::start(options).await {
            Ok(cluster) => cluster,
            Err(Error::Skip(why)) => {
                println!("skipped: {why}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let dns = Dns::start().await.unwrap();
        dns.set(NAME, &[cluster.primary().address().ip()]);
        let port = cluster.port().to_string();
        let dsn = format!("postgres://app:app-secret@{}/app", hosts.replace("{}", &port));
        let surroundings = Surroundings {
            variable: &|_| None,
            home: None,
            user: None,
            socket_directory: PathBuf::from("/tmp"),
        };
        let dsn = Dsn::parse(&dsn, &surroundings).unwrap();
        let scout = SystemScout::new(
            Resolver::server(dns.address()),
            Dialer::new(&dsn).unwrap(),
            Login::from_dsn(&dsn),
            TargetSessionAttrs::ReadWrite,
        );
        let settings = Settings { hosts: dsn.hosts.clone(), ..settings() };
        let (supervisor, handle) = Supervisor::new(settings, scout);
        let shutdown = CancellationToken::new();
        tokio::spawn(supervisor.run(shutdown.clone()));
        let scene = Self { cluster, dns, handle, shutdown };
        scene.stands_at(0, 1, Duration::from_secs(5)).await;
        Some(scene)
    }

    /// Waits until the leader is node `at` in `epoch` and sessions may dispatch; how long it took.
    async fn stands_at(&self, at: usize, epoch: u64, within: Duration) -> Duration {
        let began = Instant::now();
        let address = self.cluster.node(at).address().to_string();
        let mut target = self.handle.target.clone();
        let there = timeout(
            within,
            target.wait_for(|target| {
                let leader = target.leader.as_ref();
                let here =
                    leader.is_some_and(|leader| leader.endpoint.address.to_string() == address);
                here && target.epoch == epoch && target.is_available()
            }),
        )
        .await;
        assert!(there.is_ok(), "not at {address}: {:#?}", self.handle.status.snapshot());
        began.elapsed()
    }

    async fn unavailable(&self, within: Duration) -> Duration {
        let began = Instant::now();
        let mut target = self.handle.target.clone();
        let gone = timeout(within, target.wait_for(|target| !target.is_available())).await;
        assert!(gone.is_ok(), "still available: {:#?}", self.handle.status.snapshot());
        began.elapsed()
    }

    fn move_name(&self, at: usize) {
        self.dns.set(NAME, &[self.cluster.node(at).address().ip()]);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn settings() -> Settings {
    Settings {
        mode: Mode::ADAPTIVE,
        hosts: Vec::new(),
        dial_timeout: Duration::from_secs(5),
        beat: Beat { interval: Duration::from_millis(500), timeout: Duration::from_secs(1) },
        resolve_interval: Duration::from_secs(1),
        election_grace: ELECTION_GRACE,
        accept_new_cluster: false,
        connections_max: 10,
        pace: everline_core::retry::Pace::SYSTEM_DIAL,
        fence: crate::supervisor::Fence::none(),
    }
}

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_killed_leader_is_followed_through_its_name() {
    let Some(mut scene) = Scene::start(ClusterOptions::default(), "leader.test:{}").await else {
        return;
    };
    let before = scene.handle.target.borrow().leader.clone().unwrap();
    assert_eq!(before.identity.timeline, Some(1));
    assert!(before.identity.system_identifier.is_some(), "an ordinary role may ask");
    assert!(before.identity.lsn.is_some() && before.identity.postmaster_start.is_some());
    assert!(before.parameters.contains_key("server_version"));
    let ended = scene.handle.target.borrow().ended.clone();
    scene.cluster.node_mut(0).kill9();
    let noticed = scene.unavailable(SOON).await;
    assert!(noticed < Duration::from_millis(500), "{noticed:?}");
    scene.cluster.promote(1).await.unwrap();
    scene.move_name(1);
    let found = scene.stands_at(1, 2, SOON).await;
    assert!(found < Duration::from_millis(500), "{found:?}");
    assert!(ended.is_cancelled());
    let after = scene.handle.target.borrow().leader.clone().unwrap();
    assert_eq!(after.identity.timeline, Some(2));
    assert_eq!(after.identity.system_identifier, before.identity.system_identifier);
    let history = scene.handle.status.snapshot().history;
    let causes: Vec<&str> = history.entries().map(|entry| entry.transition.cause.label()).collect();
    assert_eq!(causes.first(), Some(&"leader_found"));
    assert_eq!(causes.last(), Some(&"leader_found"));
}

#[tokio::test]
async fn a_frozen_leader_is_noticed_and_left() {
    let Some(mut scene) = Scene::start(ClusterOptions::default(), "leader.test:{}").await else {
        return;
    };
    scene.cluster.node_mut(0).freeze();
    let noticed = scene.unavailable(SOON).await;
    assert!((1000..1700).contains(&noticed.as_millis()), "{noticed:?}");
    sleep(Duration::from_millis(500)).await; // a dial hangs by now
    scene.cluster.promote(1).await.unwrap();
    scene.move_name(1);
    let found = scene.stands_at(1, 2, SOON).await;
    assert!(found < Duration::from_millis(500), "{found:?}");
    // The old leader thaws, is writable, and gets nothing although the name leads back to it.
    scene.cluster.node_mut(0).thaw();
    scene.move_name(0);
    sleep(Duration::from_secs(3)).await;
    scene.stands_at(1, 2, Duration::ZERO).await;
    assert!(scene.handle.status.snapshot().counters.refused > 0);
}

#[tokio::test]
async fn a_switchover_retires_the_epoch_at_the_leaders_word() {
    let Some(mut scene) = Scene::start(ClusterOptions::default(), "leader.test:{}").await else {
        return;
    };
    for how in [Stop::Fast, Stop::Immediate] {
        let epoch = scene.handle.target.borrow().epoch;
        scene.cluster.node_mut(0).stop(how).await.unwrap();
        let status = scene.handle.status.snapshot();
        if matches!(how, Stop::Immediate) && status.phase() != Phase::Failover {
            // A reset can overtake the notice: then it is a plain loss, and nothing is claimed.
            scene.cluster.node_mut(0).start().await.unwrap();
            return;
        }
        assert_eq!((status.phase(), status.epoch), (Phase::Failover, epoch + 1), "{how:?}");
        let last = status.history.entries().last().unwrap().clone();
        assert_eq!(last.transition.cause.label(), "shutting_down", "{how:?}");
        assert!(last.detail.contains("57P01"), "{}", last.detail);
        scene.cluster.node_mut(0).start().await.unwrap();
        scene.stands_at(0, epoch + 1, SOON).await;
    }
}

#[tokio::test]
async fn with_two_hosts_an_old_primary_that_returns_gets_nothing() {
    let hosts = "127.0.0.2:{},127.0.0.3:{}";
    let Some(mut scene) = Scene::start(ClusterOptions::default(), hosts).await else { return };
    scene.cluster.node_mut(0).kill9();
    scene.unavailable(SOON).await;
    scene.cluster.promote(1).await.unwrap();
    let found = scene.stands_at(1, 2, SOON).await;
    assert!(found < Duration::from_millis(500), "{found:?}");
    scene.cluster.start_as_old_primary(0).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    scene.stands_at(1, 2, Duration::ZERO).await;
    assert!(scene.handle.status.snapshot().counters.refused > 0);
    // Not even while the new leader is away.
    scene.cluster.node_mut(1).kill9();
    sleep(Duration::from_secs(2)).await;
    assert!(!scene.handle.target.borrow().is_available());
    scene.cluster.node_mut(1).start().await.unwrap();
    scene.stands_at(1, 3, SOON).await;
}

#[tokio::test]
async fn a_promotion_is_seen_although_the_old_leader_still_answers() {
    let hosts = "127.0.0.2:{},127.0.0.3:{}";
    let Some(mut scene) = Scene::start(ClusterOptions::default(), hosts).await else { return };
    scene.cluster.promote(1).await.unwrap();
    let found = scene.stands_at(1, 2, SOON).await;
    assert!(found < Duration::from_secs(2), "{found:?}");
}

#[tokio::test]
async fn a_full_leader_is_no_outage() {
    let Some(scene) = Scene::start(ClusterOptions::single(), "leader.test:{}").await else {
        return;
    };
    let node = scene.cluster.node(0);
    // A session that says nothing for 300 ms is ended, and not by a shutdown.
    node.sql("ALTER ROLE app SET idle_session_timeout = '300ms'").await.unwrap();
    scene.handle.control.reconnect().await;
    scene.stands_at(0, 2, SOON).await;
    let pool: Vec<_> = (0..3).map(|_| scene.handle.reporter.opened(2)).collect();
    node.sql("ALTER ROLE app CONNECTION LIMIT 0").await.unwrap();
    scene.unavailable(SOON).await;
    scene.stands_at(0, 2, SOON).await;
    let status = scene.handle.status.snapshot();
    assert_eq!((status.phase(), status.system_up), (Phase::Unhealthy, false));
    sleep(Duration::from_secs(4)).await;
    scene.stands_at(0, 2, Duration::ZERO).await;
    assert!(scene.handle.status.snapshot().last_error.unwrap().contains("53300"));
    let outages = scene.handle.status.snapshot().counters.outages;
    node.sql("ALTER ROLE app RESET idle_session_timeout").await.unwrap();
    node.sql("ALTER ROLE app CONNECTION LIMIT -1").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    scene.stands_at(0, 2, Duration::ZERO).await;
    let status = scene.handle.status.snapshot();
    assert_eq!((status.phase(), status.counters.outages), (Phase::Healthy, outages));
    drop(pool);
}
