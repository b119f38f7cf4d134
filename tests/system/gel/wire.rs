//! Gel's protocol byte by byte: what clients are told, what is refused, and what the contract says
//! in its terms. No client library is needed.

use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::everline::Everline;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions};
use everline_lab::{Result, ports};
use rustls::RootCertStore;
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep, timeout};

use super::raw::{self, ALPN, Anyone, Raw, execute, message, sync};
use super::scene;
use crate::scene::{Fault, dsn, is_available, launch, number, run, until};

/// Longest wait until something shows at PostgreSQL.
const SEEN_MAX: Duration = Duration::from_secs(20);

/// One PostgreSQL, and an Everline that serves Gel's clients at the address that is returned.
pub(crate) async fn single(arguments: &[&str]) -> Result<(Cluster, Everline, SocketAddr)> {
    let cluster = Cluster::start(ClusterOptions::single()).await?;
    let (everline, gel) = before(&cluster, arguments).await?;
    Ok((cluster, everline, gel))
}

async fn before(cluster: &Cluster, arguments: &[&str]) -> Result<(Everline, SocketAddr)> {
    let gel = ports::free_address()?;
    let launch = launch(&dsn("127.0.0.2", cluster.port()));
    let launch = launch.arguments(["--gel-listen", &gel.to_string()]).arguments(arguments);
    let everline = launch.start().await?;
    until(&everline, "leader", is_available).await;
    Ok((everline, gel))
}

#[test]
fn clients_are_told_what_they_need_at_connect() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let mut known = None;
        for (room, pool) in [("23", "23"), ("5", "10"), ("300", "100")] {
            let (_everline, gel) = before(&cluster, &["--max-backend-connections", room]).await?;
            let raw = Raw::app(gel).await;
            assert_eq!(raw.parameter("suggested_pool_concurrency"), pool.as_bytes());
            let config = String::from_utf8_lossy(raw.parameter("system_config")).into_owned();
            assert!(config.contains("session_idle_timeout"), "{config:?}");
            let state = String::from_utf8_lossy(&raw.state.1).into_owned();
            for element in ["module", "aliases", "config", "globals"] {
                assert!(state.contains(element), "{state:?}");
            }
            // Clients keep descriptors by their identifiers, from one server to the next.
            let first = known.get_or_insert_with(|| raw.state.clone());
            assert_eq!(*first, raw.state);
        }
        Ok(())
    });
}

#[test]
fn a_certificate_is_made_where_none_is_given() {
    run(async {
        let (_cluster, _everline, gel) = single(&[]).await?;
        let anyone = Anyone::new();
        for (asked, chosen) in [
            (&[&b"edgedb-binary"[..]][..], &b"edgedb-binary"[..]),
            (&[b"gel-binary"], b"gel-binary"),
            (&[b"edgedb-binary", b"gel-binary"], b"edgedb-binary"),
        ] {
            let name = "127.0.0.1.host-for-ip.edgedb.net"; // as gel-tokio asks for an address
            let stream = raw::tls(gel, anyone.config(asked), name).await.expect("TLS");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen));
        }
        // It is a leaf: a client that trusts it and checks everything is served.
        let mut roots = RootCertStore::empty();
        roots.add(anyone.shown()).expect("a certificate");
        let mut config =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        for name in ["localhost", "127.0.0.1"] {
            let stream = raw::tls(gel, config.clone(), name).await.expect("TLS");
            let told = Raw::over(stream).login((3, 0), &[("user", APP_USER)], "").await;
            assert_eq!(told, "E[0x03010000 no branch was named]", "{name}");
        }
        Ok(())
    });
}

#[test]
fn versions_and_names() {
    run(async {
        let (_cluster, _everline, gel) = single(&[]).await?;
        let app = ("user", APP_USER);
        let ok = "R[10] R[11] R[12] R[0] K s S S Z[I]";
        let denied = "R[10] R[11] E[0x07010000 authentication failed]";
        let old = "E[0x03010001 protocol version 2.0 is not supported, 3.0 is: use a client of \
                   Gel 6 or newer]";
        for (version, names, password, expected) in [
            ((2, 0), &[app, ("database", "edgedb")][..], APP_PASSWORD, old),
            ((3, 0), &[app, ("database", "edgedb")], APP_PASSWORD, ok),
            ((3, 0), &[app, ("branch", "__default__"), ("database", "x")], APP_PASSWORD, ok),
            ((3, 0), &[app, ("branch", APP_DATABASE), ("secret_key", "")], APP_PASSWORD, ok),
            ((3, 0), &[("user", "edgedb"), ("branch", "__default__")], APP_PASSWORD, ok),
            ((3, 0), &[("user", "admin"), ("branch", "__default__")], APP_PASSWORD, ok),
            ((3, 0), &[app, ("branch", "__default__")], "wrong", denied),
            ((3, 0), &[("user", "nobody"), ("branch", "__default__")], "x", denied),
            ((3, 0), &[("branch", "x")], "", "E[0x03010000 no user was named]"),
            ((3, 0), &[app, ("branch", "a\0b")], "", "E[0x03010000 names cannot hold a NUL]"),
        ] {
            let mut raw = Raw::connect(gel, &[ALPN]).await;
            assert_eq!(raw.login(version, names, password).await, expected, "{names:?}");
        }
        for version in [(3, 1), (4, 0)] {
            let mut raw = Raw::connect(gel, &[ALPN]).await;
            let told = raw.login(version, &[app, ("branch", "__default__")], APP_PASSWORD).await;
            assert_eq!(told, format!("v[3.0] {ok}"));
        }
        Ok(())
    });
}

#[test]
fn another_protocol_under_tls_is_told_so() {
    run(async {
        let (_cluster, _everline, gel) = single(&[]).await?;
        for protocols in [&[][..], &[&b"http/1.1"[..]]] {
            let config = Anyone::new().config(protocols);
            let mut stream = raw::tls(gel, config, "localhost").await.expect("TLS");
            let mut heard = Vec::new();
            let reading = stream.read_to_end(&mut heard);
            timeout(SEEN_MAX, reading).await.expect("an end").expect("a clean end");
            let heard = String::from_utf8_lossy(&heard).into_owned();
            assert!(heard.contains("There is nothing here by HTTP."), "{heard}");
        }
        let config = Anyone::new().config(&[b"postgresql"]);
        let refused = raw::tls(gel, config, "localhost").await.expect_err("no common protocol");
        assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
        drop(Raw::app(gel).await);
        Ok(())
    });
}

#[test]
fn what_is_not_served_is_refused_and_the_connection_goes_on() {
    run(async {
        let (_cluster, _everline, gel) = single(&[]).await?;
        let mut raw = Raw::app(gel).await;
        let dump = "E[0x02000000 dump and restore are not supported by this server: use pg_dump] \
                    Z[I]";
        for tag in [b'>', b'<', b'=', b'.'] {
            assert_eq!(raw.says(&message(tag, &[0; 4])).await, dump);
        }
        let nothing = (&[0; 16], &[][..]);
        for (bytes, text, code) in [
            (*b"Ebm", "select 1", "0x02000000"),
            (*b"Gbm", "{ x }", "0x02000000"),
            (*b"Sjm", "SELECT 1", "0x02000000"),
            (*b"SJm", "SELECT 1", "0x02000000"),
            (*b"SbA", "SELECT 1", "0x02000000"),
            (*b"Sbm", "COPY t TO STDOUT", "0x02000000"),
            (*b"Sbm", "SELECT 1; SELECT 2", "0x04010100"),
            (*b"Sbm", "SELECT \0", "0x04010100"),
        ] {
            let told = raw.says(&execute(bytes, text, nothing)).await;
            let expected = told.starts_with(&format!("E[{code} ")) && told.ends_with("] Z[I]");
            assert!(expected, "{text:?}: {told}");
        }
        // A state of somebody else's descriptor: the right one is shown, and asked for.
        let told = raw.says(&execute(*b"Sbm", "SELECT 1", (&[7; 16], &[]))).await;
        assert_eq!(told, "s E[0x03020200 the state is written by another descriptor] Z[I]");
        let own = raw.state.0;
        for state in [&b"\0"[..], &[0xff; 4], &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4, 1, 1, 1, 1]] {
            let told = raw.says(&execute(*b"Sbm", "SELECT 1", (&own, state))).await;
            assert!(told.starts_with("E[0x03020000 invalid session state: "), "{told}");
        }
        assert_eq!(raw.sql("SELECT 'here'").await, "T D[here] C[SELECT 1] Z[I]");
        Ok(())
    });
}

#[test]
fn savepoints() {
    run(async {
        let (cluster, _everline, gel) = single(&[]).await?;
        let mut raw = Raw::app(gel).await;
        raw.sql("CREATE TABLE t (word text PRIMARY KEY)").await;
        let aborted = "E[0x05030000 current transaction is aborted, commands ignored until end of \
                       transaction block] Z[E]";
        for (says, expected) in [
            ("start transaction", "C[START TRANSACTION] Z[T]"),
            ("declare savepoint first", "C[DECLARE SAVEPOINT] Z[T]"),
            ("+INSERT INTO t VALUES ('a')", "T C[INSERT 0 1] Z[T]"),
            ("declare savepoint `the 2nd`", "C[DECLARE SAVEPOINT] Z[T]"),
            ("+INSERT INTO t VALUES ('b')", "T C[INSERT 0 1] Z[T]"),
            ("rollback to savepoint `the 2nd`", "C[ROLLBACK TO SAVEPOINT] Z[T]"),
            ("+INSERT INTO t VALUES ('a')", "*E[0x05020001 "),
            ("+SELECT 1", aborted),
            ("declare savepoint no", aborted),
            ("rollback to savepoint `the 2nd`", "C[ROLLBACK TO SAVEPOINT] Z[T]"),
            ("release savepoint `the 2nd`", "C[RELEASE SAVEPOINT] Z[T]"),
            ("rollback to savepoint `the 2nd`", "*E["),
            ("rollback to savepoint first", "C[ROLLBACK TO SAVEPOINT] Z[T]"),
            ("+INSERT INTO t VALUES ('c')", "T C[INSERT 0 1] Z[T]"),
            ("commit", "C[COMMIT] Z[I]"),
            ("rollback to savepoint first", "*E[0x05030000 "),
            ("commit", "*E[0x05030000 "),
            ("rollback", "C[ROLLBACK] Z[I]"),
        ] {
            let told = match says.strip_prefix('+') {
                Some(sql) => raw.sql(sql).await,
                None => raw.edgeql(says).await,
            };
            match expected.strip_prefix('*') {
                Some(within) => assert!(told.contains(within), "{says}: {told}"),
                None => assert_eq!(told, expected, "{says}"),
            }
        }
        assert_eq!(cluster.primary().value("SELECT string_agg(word, '') FROM t").await?, "c");
        Ok(())
    });
}

#[test]
fn edgeql_is_sql_where_it_is_asked_for() {
    run(async {
        let (_cluster, _everline, gel) = single(&["--gel-edgeql-as-sql"]).await?;
        let mut raw = Raw::app(gel).await;
        let edgeql = |bytes, text| execute(bytes, text, (&[0; 16], &[]));
        let told = raw.says(&edgeql(*b"Ebm", "SELECT 'x' AS x")).await;
        assert_eq!(told, "T D[x] C[SELECT 1] Z[I]");
        let told = raw.says(&edgeql(*b"Ebo", "SELECT 'x' AS x WHERE false")).await;
        assert_eq!(told, "T C[SELECT 0] Z[I]");
        let told = raw.says(&edgeql(*b"Ebo", "VALUES ('x'), ('y')")).await;
        let twice = "E[0x03030000 the statement returned more than one row] Z[I]";
        assert!(told.ends_with(twice), "{told}");
        assert_eq!(raw.edgeql("START TRANSACTION").await, "C[START TRANSACTION] Z[T]");
        assert_eq!(raw.edgeql("ROLLBACK").await, "C[ROLLBACK] Z[I]");
        Ok(())
    });
}

#[test]
fn a_client_that_leaves_has_its_statement_cancelled() {
    run(async {
        let (cluster, everline, gel) = single(&[]).await?;
        for goodbye in [false, true] {
            let mut raw = Raw::app(gel).await;
            let sleeps = execute(*b"Sbm", "SELECT pg_sleep(1000)", (&[0; 16], &[]));
            raw.send(&[&sleeps[..], &sync()].concat()).await;
            let running = "SELECT count(*) FROM pg_stat_activity \
                           WHERE state = 'active' AND query = 'SELECT pg_sleep(1000)'";
            let seen = async |count: &str| {
                let reached = async {
                    while cluster.primary().value(running).await? != count {
                        sleep(Duration::from_millis(20)).await;
                    }
                    Ok(())
                };
                timeout(SEEN_MAX, reached).await.expect("it is seen in time")
            };
            seen("1").await?;
            if goodbye {
                raw.send(&message(b'X', &[])).await;
            }
            drop(raw);
            seen("0").await?;
        }
        until(&everline, "no client", |status| number(status, "clients") == 0).await;
        Ok(())
    });
}

#[test]
fn an_outage_in_gels_terms() {
    run(async {
        let (mut scene, gel) = scene(Fault::Kill, &["--failover-hold", "0s"]).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let insert = "INSERT INTO t VALUES (1)";
        let mut open = Raw::app(gel).await;
        let mut commits = Raw::app(gel).await;
        for raw in [&mut open, &mut commits] {
            assert_eq!(raw.edgeql("START TRANSACTION").await, "C[START TRANSACTION] Z[T]");
            assert_eq!(raw.sql(insert).await, "T C[INSERT 0 1] Z[T]");
        }
        let mut flight = Raw::app(gel).await;
        let writes = execute(*b"Sbm", "INSERT INTO t SELECT 1 FROM pg_sleep(100)", (&[0; 16], &[]));
        flight.send(&[&writes[..], &sync()].concat()).await;
        sleep(Duration::from_millis(500)).await;
        scene.strike(Fault::Kill).await?;
        scene.until("an outage", |status| !is_available(status)).await;
        let unknown = flight.answers().await;
        assert!(unknown.contains("E[0x08000000 ") && unknown.ends_with("Z[I]"), "{unknown}");
        let lost = "E[0x05030101 could not serialize access due to backend failover; restart \
                    transaction]";
        assert_eq!(open.sql("SELECT 1").await, format!("{lost} Z[E]"));
        assert_eq!(open.says(&[]).await, "Z[E]");
        assert_eq!(open.edgeql("ROLLBACK").await, "C[ROLLBACK] Z[I]");
        assert_eq!(commits.edgeql("COMMIT").await, format!("{lost} Z[I]"));
        // Nobody is refused at the door, and a transaction begins.
        let mut new = Raw::app(gel).await;
        assert_eq!(new.says(&[]).await, "Z[I]");
        assert_eq!(new.edgeql("START TRANSACTION").await, "C[START TRANSACTION] Z[T]");
        let told = new.sql(insert).await;
        assert!(told.starts_with("T E[0x08000001 ") && told.ends_with("Z[E]"), "{told}");
        assert_eq!(new.edgeql("ROLLBACK").await, "C[ROLLBACK] Z[I]");
        let told = new.sql(insert).await;
        assert!(told.starts_with("T E[0x08000001 ") && told.ends_with("Z[I]"), "{told}");
        scene.succeed().await?;
        scene.until_led_by(1).await;
        for raw in [&mut open, &mut commits, &mut flight, &mut new] {
            assert_eq!(raw.sql("SELECT 'here'").await, "T D[here] C[SELECT 1] Z[I]");
        }
        assert_eq!(scene.cluster.node(1).value("SELECT count(*) FROM t").await?, "0");
        Ok(())
    });
}
