//! Whoever means harm at the port of Gel's clients: one clear error each, bounded memory, and
//! everybody else is served.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use everline_lab::everline::Everline;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::raw::{ALPN, Anyone, Raw, execute, handshake, message, sync, tls};
use super::wire::single;
use crate::scene::{is_available, number, run, until};

/// Longest time until a connection that says nonsense is ended.
const ENDED_MAX: Duration = Duration::from_secs(20);
/// How much more memory the process may have than before it was harassed, in KiB.
const ROOM_KIB: u64 = 64 * 1024;
/// The answer to [`is_served`]'s question.
const HERE: &str = "T D[here] C[SELECT 1] Z[I]";

async fn is_served(raw: &mut Raw) {
    assert_eq!(raw.sql("SELECT 'here'").await, HERE);
}

/// Reads to the end, which has to come.
async fn ends(stream: &mut (impl AsyncRead + Unpin), what: &str) -> Vec<u8> {
    let mut heard = Vec::new();
    let reading = stream.read_to_end(&mut heard);
    assert!(timeout(ENDED_MAX, reading).await.is_ok(), "{what}: still open, heard {heard:?}");
    heard
}

/// Memory of the process in KiB.
fn resident(everline: &Everline) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", everline.id())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn nobody_is_left(everline: &Everline, witnesses: u64) {
    until(everline, "only the witness", |status| number(status, "clients") == witnesses).await;
    until(everline, "nothing lent", |status| {
        let pools = status["pools"].as_array().cloned().unwrap_or_default();
        pools.iter().all(|pool| pool["lent"] == 0)
    })
    .await;
}

#[test]
fn random_bytes_harm_nobody() {
    run(async {
        let (_cluster, everline, gel) = single(&[]).await?;
        let mut witness = Raw::app(gel).await;
        let mut rng = StdRng::seed_from_u64(9);
        for round in 0..60 {
            let mut noise = vec![0; rng.random_range(1..300)];
            rng.fill_bytes(&mut noise);
            match round % 3 {
                0 => {
                    // In the clear; also with the first byte of TLS.
                    if round % 2 == 0 {
                        noise[0] = 0x16;
                    }
                    let mut stream = TcpStream::connect(gel).await.expect("a connection");
                    let _: std::io::Result<()> = stream.write_all(&noise).await;
                    let _: std::io::Result<()> = stream.shutdown().await;
                    ends(&mut stream, "noise in the clear").await;
                }
                1 => {
                    let mut raw = Raw::connect(gel, &[ALPN]).await;
                    raw.send(&noise).await;
                    let _: std::io::Result<()> = raw.stream.shutdown().await;
                    ends(&mut raw.stream, "noise in place of a handshake").await;
                }
                _ => {
                    let mut raw = Raw::app(gel).await;
                    let kind = *b"POS>X".get(rng.random_range(0..5)).expect("one of five");
                    let noise = if round % 2 == 0 { message(kind, &noise).to_vec() } else { noise };
                    raw.send(&noise).await;
                    let _: std::io::Result<()> = raw.stream.shutdown().await;
                    ends(&mut raw.stream, "noise after the login").await;
                }
            }
        }
        is_served(&mut witness).await;
        nobody_is_left(&everline, 1).await;
        Ok(())
    });
}

#[test]
fn lengths_that_are_none_are_told_so_at_once() {
    run(async {
        let (_cluster, everline, gel) = single(&[]).await?;
        let mut witness = Raw::app(gel).await;
        let before = resident(&everline);
        let header = |tag: u8, length: u32| {
            let mut out = BytesMut::new();
            out.put_u8(tag);
            out.put_u32(length);
            out
        };
        let long = "is longer than the";
        for (tag, length, words) in [
            (b'O', u32::MAX, long),
            (b'P', 64 * 1024 * 1024 + 5, long),
            (b'S', 5, long),
            (b'>', 1_000_000, long),
            (b'O', 3, "invalid message length 3"),
            (b'P', 0, "invalid message length 0"),
            (b'?', 4, "unexpected message type 0x3f"),
            (b'V', 4, "unexpected message type 0x56"),
        ] {
            let mut raw = Raw::app(gel).await;
            raw.send(&header(tag, length)).await;
            let told = raw.answers().await;
            let expected = told.starts_with("E[0x03010000 ") && told.ends_with("] closed");
            assert!(expected && told.contains(words), "{told}");
        }
        for (tag, length) in [(b'V', u32::MAX), (b'O', 4), (b'V', 1)] {
            let mut raw = Raw::connect(gel, &[ALPN]).await;
            raw.send(&header(tag, length)).await;
            let told = raw.answers().await;
            assert!(told.starts_with("E[0x03010000 ") && told.ends_with("] closed"), "{told}");
        }
        // What is allowed in length and never comes takes no room.
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let mut raw = Raw::app(gel).await;
            raw.send(&header(b'O', 64 * 1024 * 1024)).await;
            waiting.push(raw);
        }
        is_served(&mut witness).await;
        let grown = resident(&everline).saturating_sub(before);
        assert!(grown < ROOM_KIB, "{grown} KiB more for messages that have not come");
        drop(waiting);
        nobody_is_left(&everline, 1).await;
        Ok(())
    });
}

#[test]
fn malformed_bodies_are_told_so() {
    run(async {
        let (_cluster, everline, gel) = single(&[]).await?;
        let mut witness = Raw::app(gel).await;
        let whole = execute(*b"Sbm", "SELECT 'here'", (&[0; 16], &[]));
        let body = whole.get(5..).expect("a header");
        for cut in [0, 1, 2, 9, 10, 30, body.len() - 1] {
            let mut raw = Raw::app(gel).await;
            raw.send(&message(b'O', &body[..cut])).await;
            let short = "E[0x03010000 insufficient data left in message] closed";
            assert_eq!(raw.answers().await, short, "after {cut} bytes");
        }
        let more = [body, b"x"].concat();
        let mut raw = Raw::app(gel).await;
        raw.send(&message(b'O', &more)).await;
        assert_eq!(raw.answers().await, "E[0x03010000 trailing data in message] closed");
        let mut counted = handshake((3, 0), &[]).to_vec();
        counted[9..11].copy_from_slice(&[0xff, 0xff]);
        let mut raw = Raw::connect(gel, &[ALPN]).await;
        raw.send(&counted).await;
        assert_eq!(raw.answers().await, "E[0x03010000 too many parameters in message] closed");
        // Arguments for a statement that takes none, of a type that nobody has described.
        let mut told = execute(*b"Sbm", "SELECT 'here'", (&[0; 16], &[])).to_vec();
        told.truncate(told.len() - 36);
        told.extend_from_slice(&[1; 32]);
        told.extend_from_slice(&[0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]);
        let length = u32::try_from(told.len() - 1).expect("a short message");
        told[1..5].copy_from_slice(&length.to_be_bytes());
        let told = witness.says(&told).await;
        assert!(told.contains("E[0x03020100 ") && told.ends_with("Z[I]"), "{told}");
        is_served(&mut witness).await;
        nobody_is_left(&everline, 1).await;
        Ok(())
    });
}

/// The first bytes of a client's TLS, and no more.
async fn half_tls(gel: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(gel).await.expect("a connection");
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.expect("sent");
    stream
}

#[test]
fn whoever_takes_his_time_is_let_go() {
    run(async {
        let (_cluster, everline, gel) = single(&["--login-timeout", "2s"]).await?;
        let mut witness = Raw::app(gel).await;
        let silent = TcpStream::connect(gel).await.expect("a connection");
        let half = half_tls(gel).await;
        let mut slow = Raw::connect(gel, &[ALPN]).await;
        let began = Instant::now();
        for byte in handshake((3, 0), &[("user", "app")]).iter().take(5) {
            slow.send(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let mut unproven = Raw::connect(gel, &[ALPN]).await;
        unproven.send(&handshake((3, 0), &[("user", "app"), ("branch", "app")])).await;
        for mut stream in [silent, half] {
            ends(&mut stream, "no login").await;
        }
        ends(&mut slow.stream, "a slow handshake").await;
        ends(&mut unproven.stream, "no proof").await;
        assert!(began.elapsed() >= Duration::from_millis(1500), "nobody was waited for");
        is_served(&mut witness).await;
        nobody_is_left(&everline, 1).await;
        Ok(())
    });
}

#[test]
fn a_crowd_that_never_logs_in_is_bounded_and_harms_nobody() {
    run(async {
        let (_cluster, everline, gel) = single(&["--clients-max", "20"]).await?;
        let mut witness = Raw::app(gel).await;
        let before = resident(&everline);
        let mut crowd = Vec::new();
        for _ in 0..200 {
            crowd.push(half_tls(gel).await);
        }
        is_served(&mut witness).await;
        let grown = resident(&everline).saturating_sub(before);
        assert!(grown < ROOM_KIB, "{grown} KiB more for 200 halves of a login");
        // There are too many, and whoever comes properly is told so.
        let mut late = Raw::connect(gel, &[ALPN]).await;
        let told = late.login((3, 0), &[("user", "app")], "").await;
        assert_eq!(told, "E[0x08000000 sorry, too many clients already]");
        drop(crowd);
        nobody_is_left(&everline, 1).await;
        is_served(&mut Raw::app(gel).await).await;
        Ok(())
    });
}

/// Logs in, opens a transaction, and asks for ever without reading an answer.
async fn asks_and_never_reads(gel: SocketAddr, room: usize) -> Raw {
    let mut raw = Raw::app(gel).await;
    assert_eq!(raw.edgeql("START TRANSACTION").await, "C[START TRANSACTION] Z[T]");
    raw.sql("SELECT 1").await;
    let syncs: Vec<u8> = std::iter::repeat_n(sync(), 10_000).flatten().collect();
    let mut sent = 0;
    loop {
        let asking = async {
            raw.stream.write_all(&syncs).await?;
            raw.stream.flush().await
        };
        match timeout(Duration::from_secs(1), asking).await {
            Ok(Ok(())) => sent += syncs.len(),
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => break,
        }
        assert!(sent < room, "{sent} bytes were taken of somebody who does not read");
    }
    raw
}

#[test]
fn a_client_that_never_reads_is_bounded_and_ended_by_its_limits() {
    run(async {
        let limits = ["--idle-in-transaction-timeout", "3s", "--drain-timeout", "5s"];
        let (_cluster, mut everline, gel) = single(&limits).await?;
        let mut witness = Raw::app(gel).await;
        let before = resident(&everline);
        let mut deaf = Raw::app(gel).await;
        let rows = "SELECT repeat('x', 100000) FROM generate_series(1, 10000)"; // 1 GB
        let rows = execute(*b"Sbm", rows, (&[0; 16], &[]));
        deaf.send(&[&rows[..], &sync()].concat()).await;
        let asks = asks_and_never_reads(gel, 64 * 1024 * 1024).await;
        is_served(&mut witness).await;
        let grown = resident(&everline).saturating_sub(before);
        assert!(grown < ROOM_KIB, "{grown} KiB more for two who do not read");
        // The one in a transaction is taken for silent; the other one has its rows to come.
        until(&everline, "one less", |status| number(status, "clients") == 2).await;
        drop(asks);
        let began = Instant::now();
        let stopped = timeout(ENDED_MAX, everline.stop()).await.expect("a stop in time")?;
        assert!(stopped.success(), "{stopped} after {:?}", began.elapsed());
        drop(deaf);
        Ok(())
    });
}

#[test]
fn what_is_too_large_is_refused_and_the_connection_goes_on() {
    run(async {
        let (_cluster, everline, gel) = single(&[]).await?;
        let mut raw = Raw::app(gel).await;
        let told = raw.sql("SELECT repeat('x', 70000000)").await;
        let words = "E[0x02000000 a row has more than the 64 MiB that are allowed] Z[I]";
        assert!(told.ends_with(words), "{told}");
        is_served(&mut raw).await;
        let quoted = "x".repeat(20_000_000);
        let told = raw.sql(&format!("SELECT length('{quoted}')::text")).await;
        assert_eq!(told, "T D[20000000] C[SELECT 1] Z[I]");
        until(&everline, "a leader", is_available).await;
        assert_eq!(number(&crate::scene::status(&everline).await, "outages_total"), 0);
        Ok(())
    });
}

#[test]
fn half_a_handshake_of_tls_is_nobodys_concern() {
    run(async {
        let (_cluster, everline, gel) = single(&[]).await?;
        let mut witness = Raw::app(gel).await;
        for _ in 0..20 {
            drop(half_tls(gel).await);
            drop(TcpStream::connect(gel).await.expect("a connection"));
            drop(tls(gel, Anyone::new().config(&[ALPN]), "localhost").await.expect("TLS"));
        }
        is_served(&mut witness).await;
        nobody_is_left(&everline, 1).await;
        Ok(())
    });
}
