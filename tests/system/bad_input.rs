//! Bad input: one clear error each, and everybody else is served.

use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::client::Client;
use everline_lab::everline::{Everline, Launch};
use everline_lab::ports;
use everline_lab::postgres::{APP_DATABASE, APP_USER, Cluster, ClusterOptions};
use everline_lab::process::run_directory;
use everline_lab::{Error, Result};
use everline_wire::startup;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::scene::{Fault, Scene, dsn, is_available, launch, number, program, run, until};
use crate::seat::{Seat, bytes};

/// Longest time until a connection that says nonsense is answered and closed.
const ANSWERED: Duration = Duration::from_secs(20);

/// Sends bytes, then the end; everything that comes back.
async fn answer(address: SocketAddr, sent: &[u8], then_ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let mut heard = Vec::new();
    // It may be closed before all is sent.
    let _ = stream.write_all(sent).await;
    if then_ends {
        let _ = stream.shutdown().await;
    }
    let reading = stream.read_to_end(&mut heard);
    let ended = timeout(ANSWERED, reading).await;
    assert!(ended.is_ok(), "still open after {:?}, heard {heard:?}", sent.escape_ascii());
    heard
}

/// Nothing, refusals to negotiate, and at most one error that ends the connection.
fn is_orderly(heard: &[u8]) -> bool {
    let heard = &heard[heard.iter().take_while(|byte| **byte == b'N').count()..];
    let Some((tag, rest)) = heard.split_first() else { return true };
    let Some((length, body)) = rest.split_first_chunk::<4>() else { return false };
    let whole = usize::try_from(u32::from_be_bytes(*length)).unwrap() == body.len() + 4;
    // The beginning of a login: what was sent happened to be one.
    let begins_login = matches!(tag, b'R' | b'v');
    begins_login || *tag == b'E' && whole && body.starts_with(b"SFATAL\0VFATAL\0C")
}

fn startup_packet() -> Vec<u8> {
    let mut out = bytes("S");
    out.clear();
    startup::startup(&mut out, APP_USER, APP_DATABASE, [("application_name", "x")]);
    out.to_vec()
}

async fn single() -> Result<(Cluster, Everline)> {
    let cluster = Cluster::start(ClusterOptions::single()).await?;
    let everline = launch(&dsn("127.0.0.2", cluster.port())).start().await?;
    until(&everline, "leader", is_available).await;
    Ok((cluster, everline))
}

#[test]
fn startup_packets_cut_short_are_nothing() {
    run(async {
        let (_cluster, everline) = single().await?;
        let mut witness = Seat::app("witness", everline.address()).await;
        let packet = startup_packet();
        for length in 0..packet.len() {
            let heard = answer(everline.address(), &packet[..length], true).await;
            assert_eq!(heard, b"", "after {length} bytes");
        }
        witness.is_served().await;
        until(&everline, "one client", |status| number(status, "clients") == 1).await;
        Ok(())
    });
}

#[test]
fn startup_packets_of_the_wrong_kind_get_one_error() {
    run(async {
        let (_cluster, everline) = single().await?;
        let mut witness = Seat::app("witness", everline.address()).await;
        let version = |version: u32| {
            let mut packet = 8_u32.to_be_bytes().to_vec();
            packet.extend_from_slice(&version.to_be_bytes());
            packet
        };
        let with = |body: &[u8]| {
            let mut packet = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
            packet.extend_from_slice(&196_608_u32.to_be_bytes());
            packet.extend_from_slice(body);
            packet
        };
        for (what, packet) in [
            ("a length of 0", vec![0; 8]),
            ("a length of 7", vec![0, 0, 0, 7, 0, 3, 0]),
            ("a length of 10001", 10_001_u32.to_be_bytes().to_vec()),
            ("a length of 4 GiB", vec![0xff; 8]),
            ("protocol 1.0", version(65_536)),
            ("protocol 2.0", version(131_072)),
            ("protocol 4.0", version(262_144)),
            ("no user", with(b"database\0app\0\0")),
            ("nothing at all", with(b"\0")),
            ("no end", with(b"user\0app\0")),
            ("a name without a value", with(b"user\0")),
            ("text that is no UTF-8", with(b"user\0\xff\xfe\0\0")),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
            ("TLS at once", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ] {
            let heard = answer(everline.address(), &packet, false).await;
            assert!(!heard.is_empty() && is_orderly(&heard), "{what}: {}", heard.escape_ascii());
            witness.is_served().await;
        }
        let long = with(&[b"user\0app\0x\0".as_slice(), &vec![b'y'; 20_000], b"\0\0"].concat());
        let heard = answer(everline.address(), &long, false).await;
        assert!(is_orderly(&heard) && !heard.is_empty(), "{}", heard.escape_ascii());
        witness.is_served().await;
        Ok(())
    });
}

#[test]
fn random_startup_packets_harm_nobody() {
    run(async {
        let (_cluster, everline) = single().await?;
        let mut witness = Seat::app("witness", everline.address()).await;
        let packet = startup_packet();
        for seed in 0..400_u64 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut sent = vec![0; rng.random_range(0..200)];
            rng.fill_bytes(&mut sent);
            match seed % 4 {
                // An honest length, an honest version too, a real packet with some bytes changed.
                1 | 2 if sent.len() >= 8 => {
                    let length = u32::try_from(sent.len()).unwrap();
                    sent[..4].copy_from_slice(&length.to_be_bytes());
                    if seed % 4 == 2 {
                        sent[4..8].copy_from_slice(&[0, 3, 0, 0]);
                    }
                }
                3 => {
                    sent.clone_from(&packet);
                    for _ in 0..rng.random_range(1..5) {
                        let at = rng.random_range(0..sent.len());
                        sent[at] = rng.random();
                    }
                }
                _ => {}
            }
            let heard = answer(everline.address(), &sent, true).await;
            assert!(is_orderly(&heard), "seed {seed}: {}", heard.escape_ascii());
            if seed % 20 == 0 {
                witness.is_served().await;
            }
        }
        witness.is_served().await;
        Seat::app("newcomer", everline.address()).await.is_served().await;
        until(&everline, "one client", |status| number(status, "clients") == 1).await;
        Ok(())
    });
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    run(async {
        let (_cluster, everline) = single().await?;
        let mut silent = Vec::new();
        for at in 0..300 {
            let mut stream = TcpStream::connect(everline.address()).await.expect("a connection");
            if at % 2 == 0 {
                let _ = stream.write_all(&startup_packet()[..20]).await;
            }
            silent.push(stream);
        }
        Seat::app("honest", everline.address()).await.is_served().await;
        drop(silent);
        until(&everline, "no client", |status| number(status, "clients") == 0).await;
        Ok(())
    });
}

#[test]
fn garbage_after_the_login_ends_that_session_alone() {
    run(async {
        let (_cluster, everline) = single().await?;
        let mut witness = Seat::app("witness", everline.address()).await;
        let broken = |words: &str| format!("E[FATAL 08P01 \"{words}\"] closed");
        for (what, sent, words) in [
            ("an unknown type", &b"z\0\0\0\x04"[..], "invalid frontend message type 122"),
            ("a type of zero", b"\0\0\0\0\x04", "invalid frontend message type 0"),
            ("a length of 3", b"Q\0\0\0\x03", "invalid message length"),
            ("a length of 2 GiB", b"Q\x7f\xff\xff\xff", "invalid message length"),
            ("a long Sync", b"S\0\x01\0\0", "invalid message length"),
            ("a Bind that is none", b"B\0\0\0\x08aaaa", "invalid message format"),
            ("a Parse that is none", b"P\0\0\0\x08aaaa", "invalid message format"),
            ("a Describe of nothing", b"D\0\0\0\x06X\0", "invalid message format"),
        ] {
            let mut seat = Seat::app(what, everline.address()).await;
            seat.is_served().await;
            seat.client.send(sent).await?;
            let heard = seat.client.hears(ANSWERED).await?;
            let expected = broken(words);
            let begins = expected.trim_end_matches("\"] closed");
            assert!(heard.starts_with(begins) && heard.ends_with("closed"), "{what}: {heard}");
            witness.is_served().await;
        }
        // PostgreSQL's own answer, after which it goes on.
        let mut seat = Seat::app("a query without an end", everline.address()).await;
        seat.client.send(b"Q\0\0\0\x0cSELECT 1").await?;
        seat.hears("E[08P01 \"invalid string in message\"] / Z[I]").await;
        seat.is_served().await;
        Ok(())
    });
}

#[test]
fn half_a_message_and_the_end_leaves_nothing_behind() {
    run(async {
        let arguments = ["--max-backend-connections", "3"];
        let scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene.prepare("CREATE TABLE t (n int)").await?;
        let mut witness = Seat::app("witness", scene.address()).await;
        let statement = bytes("Q:INSERT INTO t VALUES (1)");
        let long = bytes(&format!("Q:INSERT INTO t VALUES (1) -- {}", "x".repeat(200_000)));
        for round in 0..5 {
            for (message, length) in [(&statement, 12), (&long, 100), (&long, 150_000)] {
                let mut seat = Seat::app("leaves", scene.address()).await;
                if round % 2 == 0 {
                    seat.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
                    seat.ask("Q:LOCK TABLE t", "C[LOCK TABLE] / Z[T]").await;
                }
                seat.client.send(&message[..length]).await?;
                drop(seat);
                // Its lock is gone, and the connection is not stuck in its transaction.
                witness
                    .ask(
                        "Q:BEGIN / Q:LOCK TABLE t / Q:COMMIT",
                        "C[BEGIN] / Z[T] / C[LOCK TABLE] / Z[T] / C[COMMIT] / Z[I]",
                    )
                    .await;
            }
        }
        assert_eq!(scene.cluster.primary().value("SELECT count(*) FROM t").await?, "0");
        scene.until("one client", |status| number(status, "clients") == 1).await;
        assert_eq!(number(&scene.status().await, "epoch"), 1);
        Ok(())
    });
}

#[test]
fn random_bytes_after_the_login_harm_nobody() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &["--max-backend-connections", "4"]).await?;
        scene.prepare("CREATE TABLE t (n int); INSERT INTO t VALUES (7)").await?;
        let mut witness = Seat::app("witness", scene.address()).await;
        for seed in 0..150 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut sent =
                bytes("P:a:SELECT n FROM t / B::a / D:P: / E: / S / Q:SELECT 1").to_vec();
            if seed % 3 == 0 {
                sent = vec![0; rng.random_range(1..300)];
                rng.fill_bytes(&mut sent);
            }
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(0..sent.len());
                sent[at] = rng.random();
            }
            let mut client = Seat::app(&format!("seed {seed}"), scene.address()).await;
            // The end may come before all is sent.
            let _ = client.client.send(&sent).await;
            let heard = client.client.hears(Duration::from_millis(30)).await;
            assert!(heard.is_ok(), "seed {seed}: {heard:?}");
            drop(client);
            let row = "T[n] / D[7] / C[SELECT 1] / Z[I]";
            witness
                .ask(
                    "P:a:SELECT n FROM t / B::a / D:P: / E: / C:S:a / S",
                    &format!("1 / 2 / {}", row.replace(" / Z[I]", " / 3 / Z[I]")),
                )
                .await;
        }
        assert_eq!(number(&scene.status().await, "epoch"), 1);
        scene.until("one client", |status| number(status, "clients") == 1).await;
        Ok(())
    });
}

/// Runs Everline to its end: the exit code, and what it said.
pub(crate) async fn ends(launch: Launch) -> Result<(Option<i32>, String)> {
    let mut everline = launch.spawn()?;
    let until = Instant::now() + ANSWERED;
    loop {
        if let Some(status) = everline.status() {
            return Ok((status.code(), everline.log()));
        }
        if Instant::now() >= until {
            let what = "Everline's end".to_owned();
            return Err(Error::Late { what, within: ANSWERED });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One sentence on one line that holds these words, exit code 2.
pub(crate) fn assert_mistake(what: &str, (code, said): &(Option<i32>, String), words: &str) {
    assert_eq!(*code, Some(2), "{what}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{what}: {said}");
    assert!(said.starts_with("everline: ") && said.contains(words), "{what}: {said}");
    assert!(!said.contains("panicked") && !said.contains("s3cret"), "{what}: {said}");
}

#[test]
fn a_wrong_dsn_is_one_sentence() {
    run(async {
        for (dsn, words) in [
            ("", "scheme"),
            ("nonsense", "scheme"),
            ("http://app:s3cret@h/app", "http"),
            ("postgres://app:s3cret@h:99999/app", "port (entry 1)"),
            ("postgres://app:s3cret@h:/app?sslmode=nonsense", "sslmode"),
            ("postgres://app:s3cret@h/app?nonsense=1", "nonsense"),
            ("postgres://app:s3cret@h/app?connect_timeout=soon", "connect_timeout"),
            ("postgres://app:s3cret@[::1/app", "bracket"),
            ("postgres://app:s3%cret@h/app", "%"),
            ("postgres://app:s3cret@h/app?sslrootcert=/nowhere&sslmode=verify-full", "/nowhere"),
        ] {
            let ended = ends(program().arguments(["--backend-dsn", dsn])).await?;
            assert_mistake(dsn, &ended, words);
        }
        let ended = ends(program()).await?;
        assert_mistake("no DSN at all", &ended, "backend");
        Ok(())
    });
}

#[test]
fn a_mistake_in_flags_environment_or_file_is_one_sentence() {
    run(async {
        let dsn = dsn("127.0.0.1", ports::free_address()?.port());
        let with = |arguments: &[&str]| {
            program().arguments(["--backend-dsn", dsn.as_str()]).arguments(arguments)
        };
        for (arguments, words) in [
            (&["--nonsense"][..], "--nonsense"),
            (&["--failover-hold", "soon"], "failover-hold"),
            (&["--auth", "nonsense"], "auth"),
            (&["--max-backend-connections=-1"], "max-backend-connections"),
            (&["--max-backend-connections", "0"], "max-backend-connections"),
            (&["--resolver", "nonsense"], "resolver"),
            (&["--retryable-sqlstate", "57P01"], "57P01"),
            (&["--tls-cert", "/nowhere"], "tls"),
            (&["--config", "/nowhere/everline.toml"], "/nowhere/everline.toml"),
            (&["--log-format", "nonsense"], "log-format"),
        ] {
            let ended = ends(with(arguments)).await?;
            assert_mistake(&arguments.join(" "), &ended, words);
        }
        let ended = ends(with(&[]).variable("EVERLINE_FAILOVER_HOLD", "soon")).await?;
        assert_mistake("the environment", &ended, "EVERLINE_FAILOVER_HOLD");
        for (text, words) in [
            ("listen = \"127.0.0.1:1\"\nfailover_hodl = \"5s\"\n", "line 2: failover_hodl"),
            ("failover_hold = 5 5\n", "line 1"),
            ("clients_max = \"many\"\n", "clients_max"),
            ("[[users]]\nname = \"a\"\n", "password"),
            ("[[users]]\nname = \"a\"\npassword = \"s3cret\"\nnonsense = 1\n", "nonsense"),
        ] {
            let path = run_directory()?.join(format!("wrong{}.toml", text.len()));
            std::fs::write(&path, text)
                .map_err(|source| Error::Io { what: "a file".to_owned(), source })?;
            let ended = ends(with(&[]).argument("--config").argument(&path)).await?;
            assert_mistake(text, &ended, words);
        }
        Ok(())
    });
}

#[test]
fn a_port_that_is_taken_is_said_and_nothing_served() {
    run(async {
        let (_cluster, everline) = single().await?;
        let taken = everline.address().to_string();
        let dsn = dsn("127.0.0.1", ports::free_address()?.port());
        let other = program().arguments(["--backend-dsn", &dsn, "--listen", &taken]);
        let (code, said) = ends(other).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&taken), "{said}");
        let mut client = Client::connect(everline.address()).await?;
        client.send(b"\0\0\0\x08\x04\xd2\x16\x2f").await?;
        assert_eq!(client.byte().await?, b'N');
        Ok(())
    });
}
