//! What changes while clients are connected: the configuration, and the process itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use everline_lab::Result;
use everline_lab::postgres::{APP_PASSWORD, Cluster, ClusterOptions};
use everline_lab::process::run_directory;
use rustix::process::Signal;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::console::console;
use crate::driver::connect;
use crate::scene::{
    Fault, NAME, Scene, dsn, is_available, keep_log, launch, number, program, run, run_within,
    status, until,
};

/// A configuration file of this test.
fn file(name: &str, text: &str) -> Result<PathBuf> {
    let directory = run_directory()?.join(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join("everline.toml");
    write(&path, text);
    Ok(path)
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
}

/// Value and changeability of a setting in `SHOW CONFIG`.
async fn setting(admin: &Client, key: &str) -> (String, String) {
    for message in admin.simple_query("SHOW CONFIG").await.expect("a console") {
        if let SimpleQueryMessage::Row(row) = message
            && row.get(0) == Some(key)
        {
            let text = |at| row.get(at).unwrap_or_default().to_owned();
            return (text(1), text(3));
        }
    }
    panic!("no {key}");
}

#[test]
fn a_reload_changes_everything_or_nothing() {
    run(async {
        let first = "failover_hold = \"7s\"\nheartbeat_interval = \"400ms\"\npeer_id = 1\n";
        let path = file("reload", first)?;
        let arguments = ["--config", path.to_str().expect("a path")];
        let options = ClusterOptions::default();
        let mut scene = Scene::with(options, Fault::Kill, &arguments).await?;
        let (client, admin) = (connect(scene.address()).await, console(scene.address()).await);
        client.simple_query("BEGIN; SELECT 1").await.expect("a leader");
        assert_eq!(setting(&admin, "failover_hold").await, ("7s".into(), "yes".into()));
        let place = setting(&admin, "backend_dsn").await;
        let shown = format!("postgres://app@{NAME}:{}/app", scene.cluster.port());
        assert_eq!(place, (shown, "yes".into()));

        // Good: in force at once, whoever asks for it.
        let user = "[[users]]\nname = \"new\"\npassword = \"x\"\n";
        let text = "failover_hold = \"9s\"\nheartbeat_interval = \"500ms\"\npeer_id = 2\n";
        let text = format!("{text}{user}");
        write(&path, &text);
        admin.simple_query("RELOAD").await.expect("a reload");
        let told = "reloaded: changed: heartbeat_interval, failover_hold; \
                    needs a restart: peer_id";
        scene.everline.logged(told, Duration::from_secs(5)).await?;
        assert_eq!(setting(&admin, "failover_hold").await.0, "9s");
        assert_eq!(setting(&admin, "heartbeat_interval").await.0, "500ms");
        assert_eq!(setting(&admin, "peer_id").await, ("1".into(), "no".into()));
        assert_eq!(number(&scene.status().await, "epoch"), 1, "the connections stay");
        scene.until("the new hold", |status| status["hold_s"].as_f64() == Some(9.0)).await;
        let users = admin.simple_query("SHOW USERS").await.expect("a console");
        assert_eq!(users.len(), 4, "columns, app, new, the end: {users:?}");

        // Bad: nothing changes, and the client of the console hears why.
        write(&path, "failover_hold = \"11s\"\nclients_max = \"many\"\n");
        let error = admin.simple_query("RELOAD").await.expect_err("a bad file");
        let words = error.as_db_error().expect("an answer").message().to_owned();
        assert!(words.contains("line 2: clients_max"), "{words}");
        scene.everline.signal(Signal::HUP);
        scene.everline.logged("not reloaded, nothing has changed", Duration::from_secs(5)).await?;
        assert_eq!(setting(&admin, "failover_hold").await.0, "9s");
        assert_eq!(setting(&admin, "clients_max").await.0, "10000");

        // By signal; and the log's level with it.
        write(&path, "failover_hold = \"0s\"\nmax_backend_connections = 4\n");
        scene.everline.signal(Signal::HUP);
        scene.until("the new budget", |status| number(status, "budget") == 3).await;
        client.simple_query("COMMIT").await.expect("a transaction that went on");
        Ok(())
    });
}

/// What one statement returns, as text.
async fn one(client: &Client, statement: &str) -> String {
    let answer = client.simple_query(statement).await;
    let answer = answer.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    for message in &answer {
        if let SimpleQueryMessage::Row(row) = message {
            return row.get(0).unwrap_or_default().to_owned();
        }
    }
    String::new()
}

/// Why the console did not obey.
async fn refusal(admin: &Client, order: &str) -> String {
    let error = admin.simple_query(order).await.expect_err(order);
    error.as_db_error().expect("an answer").message().to_owned()
}

#[test]
fn a_reload_moves_to_another_cluster_under_its_clients() {
    run(async {
        let (here, there) =
            (Cluster::start(ClusterOptions::single()), Cluster::start(ClusterOptions::single()));
        let (here, there) = (here.await?, there.await?);
        for (cluster, name) in [(&here, "here"), (&there, "there")] {
            let table = format!("SET ROLE app; CREATE TABLE t AS SELECT '{name}' AS place");
            cluster.primary().sql(&table).await?;
        }
        let to = |cluster: &Cluster| {
            let address = cluster.primary().address();
            format!("backend_dsn = {:?}\n", dsn(&address.ip().to_string(), address.port()))
        };
        let path = file("move", &to(&here))?;
        let everline = program().arguments(["--config", path.to_str().expect("a path")]);
        let everline = everline.start().await?;
        until(&everline, "a leader", is_available).await;
        let (idle, busy) = (connect(everline.address()).await, connect(everline.address()).await);
        let admin = console(everline.address()).await;
        idle.simple_query("SET application_name = 'mine'").await.expect("a leader");
        assert_eq!(one(&idle, "SELECT place FROM t").await, "here");

        // What leads nowhere, or cannot log in, changes nothing.
        let wrong = [("127.0.0.1:1/", "no leader"), ("127.0.0.1:1,127.0.0.1:2/", "no leader")];
        for (place, expected) in wrong {
            write(&path, &format!("backend_dsn = \"postgres://app:x@{place}app\"\n"));
            let words = refusal(&admin, "RELOAD").await;
            assert!(words.contains(expected) && !words.contains(APP_PASSWORD), "{words}");
        }
        write(&path, &to(&there).replace(APP_PASSWORD, "wrong"));
        assert!(refusal(&admin, "RELOAD").await.contains("28P01"));
        assert_eq!(one(&idle, "SELECT place FROM t").await, "here");
        assert_eq!(number(&status(&everline).await, "epoch"), 1);

        // An open transaction ends where it began; whoever comes meanwhile waits.
        busy.simple_query("BEGIN; INSERT INTO t VALUES ('late')").await.expect("a transaction");
        write(&path, &to(&there));
        let reload = tokio::spawn(async move { admin.simple_query("RELOAD").await.map(drop) });
        until(&everline, "the pause", |status| status["paused"][0].is_string()).await;
        let held = tokio::spawn(async move { (one(&idle, "SELECT place FROM t").await, idle) });
        until(&everline, "a statement that waits", |status| number(status, "held") == 1).await;
        busy.simple_query("COMMIT").await.expect("a transaction that may end");
        reload.await.expect("a task").expect("a reload");
        let (place, idle) = held.await.expect("a task");
        assert_eq!(place, "there");
        assert_eq!(one(&idle, "SHOW application_name").await, "mine");
        assert_eq!(one(&busy, "SELECT place FROM t").await, "there");
        assert_eq!(here.primary().value("SELECT count(*) FROM t").await?, "2");
        let after = status(&everline).await;
        assert_eq!(after["paused"].as_array().map(Vec::len), Some(0));
        assert_eq!(number(&after, "retryable_total") + number(&after, "unknown_total"), 0);
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_reload_brings_a_new_password_to_those_who_are_connected() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let address = cluster.primary().address();
        let text = format!("backend_dsn = {:?}\n", dsn(&address.ip().to_string(), address.port()));
        let path = file("password", &text)?;
        let everline = program().arguments(["--config", path.to_str().expect("a path")]);
        let everline = everline.start().await?;
        until(&everline, "a leader", is_available).await;
        let (client, admin) =
            (connect(everline.address()).await, console(everline.address()).await);
        one(&client, "SELECT 1").await;
        cluster.primary().sql("ALTER ROLE app PASSWORD 'another'").await?;
        write(&path, &text.replace(APP_PASSWORD, "another"));
        admin.simple_query("RELOAD").await.expect("a reload");
        // Every connection to PostgreSQL is replaced by one that logs in anew.
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE usename = 'app'";
        assert_eq!(cluster.primary().value(kill).await?, "2");
        until(&everline, "another system connection", |status| {
            status["outages_total"] == 1 && is_available(status)
        })
        .await;
        one(&client, "SELECT 1").await;
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn a_certificate_is_replaced_while_clients_are_connected() {
    run(async {
        let path = file("certificates", "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n")?;
        let renew = |name: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a pair");
            let (cert, key) = (path.with_file_name("cert.pem"), path.with_file_name("key.pem"));
            write(&cert, &made.cert.pem());
            write(&key, &made.signing_key.serialize_pem());
            let mine = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&key, mine).expect("a key of our own");
            made.cert.der().clone()
        };
        let first = renew("front.example");
        let arguments = ["--config", path.to_str().expect("a path")];
        let mut scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        assert!(shows(scene.address(), &first, "front.example").await);
        write(&path.with_file_name("key.pem"), "nonsense");
        scene.everline.signal(Signal::HUP);
        scene.everline.logged("not reloaded", Duration::from_secs(5)).await?;
        assert!(shows(scene.address(), &first, "front.example").await);
        let second = renew("front.example");
        scene.everline.signal(Signal::HUP);
        scene.everline.logged("reloaded: users, passwords", Duration::from_secs(5)).await?;
        assert!(shows(scene.address(), &second, "front.example").await);
        assert!(!shows(scene.address(), &first, "front.example").await);
        Ok(())
    });
}

/// Whether a client that trusts nothing but this certificate finds it.
async fn shows(address: SocketAddr, certificate: &CertificateDer<'static>, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.expect("a request for TLS");
    let mut answer = [0];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"S");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    connector.connect(name, stream).await.is_ok()
}

/// Transactions of one client, until told to stop. Returns how many there were; none may fail.
async fn work(client: Client, done: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    while !done.load(Ordering::Relaxed) {
        client.simple_query("BEGIN").await.expect("BEGIN");
        client.simple_query("INSERT INTO t SELECT count(*) FROM t").await.expect("INSERT");
        client.simple_query("COMMIT").await.expect("COMMIT");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_new_process_takes_over_and_no_client_notices() {
    run_within(Duration::from_secs(150), async {
        let socket = run_directory()?.join("takeover.sock");
        let budget = ["--max-backend-connections", "8"];
        let takeover = ["--takeover", socket.to_str().expect("a path")];
        let takeover = [budget, takeover].concat();
        let scene = Scene::adaptive(Fault::Kill, &takeover).await?;
        scene.prepare("CREATE TABLE t (n bigint)").await?;
        let mut idle = Vec::new();
        for _ in 0..200 {
            idle.push(connect(scene.address()).await);
        }
        let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut busy = JoinSet::new();
        for _ in 0..8 {
            let client = connect(scene.address()).await;
            busy.spawn(work(client, Arc::clone(&done), Arc::clone(&count)));
        }
        // And some who come and go all the time.
        for _ in 0..2 {
            let (address, done) = (scene.address(), Arc::clone(&done));
            busy.spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let client = connect(address).await;
                    client.simple_query("SELECT 1").await.expect("an answer");
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (address, http) = (scene.address(), scene.everline.http_address());
        let old = scene.everline.id();
        let new = launch(&dsn(NAME, scene.cluster.port()))
            .argument("--enable-backend-adaptive-ha")
            .arguments(["--resolver", &scene.dns.address().to_string()])
            .arguments(&takeover)
            .at(address, http)
            .spawn()?;
        until(&new, "the new process", |status| {
            is_available(status) && number(status, "process_id") != u64::from(old)
        })
        .await;
        scene.everline.logged("another process has taken over", Duration::from_secs(20)).await?;
        let before = count.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(count.load(Ordering::Relaxed) > before, "work goes on");
        for client in &idle {
            client.simple_query("SELECT 1").await.expect("the old process serves who is with it");
        }
        let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
        let budget = 8 + 1; // of both together, and the system connection of the other one
        let most: u64 = scene.cluster.primary().value(open).await?.parse().expect("a number");
        assert!(most <= budget, "{most} connections");
        assert_eq!(number(&status(&new).await, "budget"), 3, "half");
        done.store(true, Ordering::Relaxed);
        while let Some(client) = busy.join_next().await {
            client.expect("no transaction failed");
        }
        println!("{} transactions, none failed", count.load(Ordering::Relaxed));
        let rows = scene.cluster.primary().sql("SELECT count(*) FROM t").await?;
        assert_eq!(rows[0][0], Some(count.load(Ordering::Relaxed).to_string()));
        drop(idle);
        scene.everline.logged("all clients have left", Duration::from_secs(20)).await?;
        scene.everline.logged("stopped", Duration::from_secs(20)).await?;
        connect(address).await.simple_query("SELECT 1").await.expect("the new process serves");
        until(&new, "the whole budget", |status| number(status, "budget") == 7).await;
        Ok(())
    });
}

#[test]
fn a_drain_lets_transactions_end_and_says_what_it_waits_for() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--drain-timeout", "8s"]).await?;
        let (quick, slow) = (connect(scene.address()).await, connect(scene.address()).await);
        for client in [&quick, &slow] {
            client.simple_query("BEGIN; SELECT 1").await.expect("a leader");
        }
        scene.everline.signal(Signal::TERM);
        scene.everline.logged("draining", Duration::from_secs(5)).await?;
        quick.simple_query("SELECT 2").await.expect("its transaction goes on");
        quick.simple_query("COMMIT").await.expect("and ends");
        let gone = quick.simple_query("SELECT 3").await;
        assert!(gone.is_err(), "then it is sent away");
        scene.everline.logged("with_a_connection=1", Duration::from_secs(10)).await?;
        scene.everline.logged("ended with transactions open", Duration::from_secs(10)).await?;
        assert!(slow.simple_query("COMMIT").await.is_err());
        Ok(())
    });
}
