//! Limits under attack: whoever means harm, client, backend or Consul, gets so much memory and no
//! more, and harms nobody else.
//!
//! `EVERLINE_ATTACK=20000` for so many half-open logins; it needs as many file descriptors.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use everline_lab::client::Client;
use everline_lab::everline::Everline;
use everline_lab::postgres::{Cluster, ClusterOptions};
use everline_lab::{Error, Result};
use everline_wire::{backend, frontend, startup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::scene::{
    Fault, Scene, dsn, is_available, keep_log, launch, number, run, run_within, status, until,
};
use crate::seat::{Seat, bytes};

/// Half-open logins in the ordinary tests.
const HALF_OPEN: usize = 2_000;
/// How many of them are begun from one address: fewer than it has ports.
const PER_ADDRESS: usize = 10_000;
/// File descriptors that the test itself needs beside.
const OWN_FILES: u64 = 200;
/// What each of them may cost, in bytes: a task with its first buffer.
const HALF_OPEN_BYTES_MAX: u64 = 16 * 1024;
/// What varies in any case, in bytes: arenas of the allocator, threads that come to life.
const NOISE_BYTES: u64 = 24 * 1024 * 1024;
/// What a session that relays may hold, in bytes: both directions and what is being read.
const RELAY_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// The largest message of the attack, in bytes.
const LARGE_BYTES: usize = 64 * 1024 * 1024;
/// How long somebody who never ends is looked at.
const FOR_A_WHILE: Duration = Duration::from_secs(3);

/// The most memory that a process has had, in bytes.
fn peak(everline: &Everline) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", everline.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// Asserts that memory has not gone up by more than this since it was `before`.
fn assert_bounded(what: &str, everline: &Everline, before: u64, more: u64) {
    let now = peak(everline);
    println!("  {what}: memory at most {} KiB, before {} KiB", now / 1024, before / 1024);
    assert!(now > 0, "{what}: no memory is told");
    assert!(now <= before + more + NOISE_BYTES, "{what}: {before} bytes became {now}");
}

/// Whether there is a /proc that tells.
fn proc_or_skip(everline: &Everline) -> Result<()> {
    match peak(everline) {
        0 => Err(Error::Skip("no /proc that tells a process's memory".to_owned())),
        _ => Ok(()),
    }
}

fn how_many() -> Result<usize> {
    let asked = std::env::var("EVERLINE_ATTACK").ok();
    let count = asked.map_or(HALF_OPEN, |text| text.parse().expect("EVERLINE_ATTACK is a number"));
    let files = u64::try_from(count).unwrap() + OWN_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < files) {
        return Err(Error::Skip(format!("{count} logins need {files} files")));
    }
    let wanted = Rlimit { current: limit.current.map(|now| now.max(files)), ..limit };
    setrlimit(Resource::Nofile, wanted).expect("below the hard limit");
    Ok(count)
}

/// A connection from one of several addresses, as many clients have.
async fn connect(to: SocketAddr, at: usize) -> std::io::Result<TcpStream> {
    let from = u8::try_from(100 + at / PER_ADDRESS).expect("few addresses");
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)))?;
    socket.connect(to).await
}

#[test]
fn half_open_logins_cost_little_and_keep_nobody_out_who_is_in() {
    run_within(Duration::from_mins(4), async {
        let count = how_many()?;
        let clients_max = (count + 100).to_string();
        let scene = Scene::adaptive(Fault::Kill, &["--clients-max", &clients_max]).await?;
        proc_or_skip(&scene.everline)?;
        let mut witness = Seat::app("witness", scene.address()).await;
        let before = peak(&scene.everline);
        let mut packet = BytesMut::new();
        startup::startup(&mut packet, "app", "app", [("application_name", "x")]);
        let mut open = Vec::new();
        for at in 0..count {
            let mut stream = connect(scene.address(), at).await.expect("a connection");
            // Not a word; half a packet; all of it, and no password.
            let length = [0, 20, packet.len()][at % 3];
            stream.write_all(&packet[..length]).await.expect("it is open");
            open.push(stream);
            if at % 500 == 0 {
                witness.is_served().await;
            }
        }
        witness.is_served().await;
        Seat::app("newcomer", scene.address()).await.is_served().await;
        let cost = HALF_OPEN_BYTES_MAX * u64::try_from(count).unwrap();
        assert_bounded(&format!("{count} half-open logins"), &scene.everline, before, cost);
        drop(open);
        scene.until("one client", |status| number(status, "clients") == 1).await;
        witness.is_served().await;
        Ok(())
    });
}

#[test]
fn who_reads_slowly_or_never_is_waited_for_and_nobody_else() {
    run(async {
        let arguments = ["--max-backend-connections", "40"];
        let scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        proc_or_skip(&scene.everline)?;
        let mut witness = Seat::app("witness", scene.address()).await;
        witness.is_served().await;
        let before = peak(&scene.everline);
        let huge = bytes("Q:SELECT repeat('x', 10000) FROM generate_series(1, 20000)");
        let mut deaf = Vec::new();
        let mut slow = JoinSet::new();
        for at in 0..30 {
            let mut seat = Seat::app("reader", scene.address()).await;
            seat.client.send(&huge).await?;
            if at % 2 == 0 {
                deaf.push(seat);
                continue;
            }
            slow.spawn(async move {
                loop {
                    let message = seat.client.next().await;
                    assert!(message.is_ok_and(|one| one.is_some()), "a slow reader is let down");
                    sleep(Duration::from_millis(50)).await;
                }
            });
        }
        let until = Instant::now() + FOR_A_WHILE;
        while Instant::now() < until {
            witness.is_served().await;
            sleep(Duration::from_millis(20)).await;
        }
        assert!(slow.try_join_next().is_none());
        assert_bounded("30 readers of 200 MB", &scene.everline, before, 30 * RELAY_BYTES_MAX);
        slow.abort_all();
        drop((slow, deaf));
        scene.until("one client", |status| number(status, "clients") == 1).await;
        // What they had is given back or closed: there is room for others.
        for _ in 0..40 {
            Seat::app("later", scene.address()).await.is_served().await;
        }
        witness.is_served().await;
        Ok(())
    });
}

#[test]
fn messages_of_64_mib_pass_in_pieces() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &["--max-backend-connections", "8"]).await?;
        proc_or_skip(&scene.everline)?;
        scene.prepare("CREATE TABLE t (data text)").await?;
        let mut witness = Seat::app("witness", scene.address()).await;
        witness.is_served().await;
        let before = peak(&scene.everline);
        let data: Arc<str> = "y".repeat(LARGE_BYTES).into();
        let mut seats = JoinSet::new();
        for way in 0..4 {
            let (data, address) = (data.clone(), scene.address());
            seats.spawn(async move {
                let mut seat = Seat::app(&format!("large {way}"), address).await;
                let length = "T[length] / D[67108864] / C[SELECT 1] / Z[I]";
                match way {
                    0 => seat.ask(&format!("Q:SELECT length('{data}')"), length).await,
                    1 => {
                        let script = format!("P::SELECT length($1) / B:::{data} / E: / S");
                        let answer = "1 / 2 / D[67108864] / C[SELECT 1] / Z[I]";
                        seat.ask(&script, answer).await;
                    }
                    2 => {
                        seat.ask("Q:COPY t FROM STDIN", "G").await;
                        seat.say(&format!("d:{data} / c")).await;
                        seat.hears("C[COPY 1] / Z[I]").await;
                    }
                    // A named statement is kept, so it may not be as long.
                    _ => {
                        let _ = seat.client.send(&bytes(&format!("P:s:SELECT '{data}' / S"))).await;
                        let heard = seat.client.hears(Duration::from_secs(10)).await;
                        let heard = heard.expect("messages");
                        assert!(heard.contains("54000"), "{heard}");
                    }
                }
            });
        }
        loop {
            tokio::select! {
                biased; // news first
                done = seats.join_next() => match done {
                    Some(done) => done.expect("a large message"),
                    None => break,
                },
                () = sleep(Duration::from_millis(50)) => witness.is_served().await,
            }
        }
        // A statement that shall be kept is read up to its bound.
        let kept = 2 * 16 * 1024 * 1024;
        let relayed = 4 * RELAY_BYTES_MAX;
        assert_bounded("four messages of 64 MiB", &scene.everline, before, kept + relayed);
        witness.is_served().await;
        Ok(())
    });
}

/// What a backend says that has gone mad, in answer to a statement that names it; for ever.
const MADNESS: [&str; 9] = [
    "garbage",
    "a length of 2 GiB",
    "a length of 0",
    "rows without end",
    "notices without end",
    "settings without end",
    "notifications without end",
    "an error of 1 GiB",
    "authentication anew",
];

/// The next piece of it.
fn mad(way: &str, turn: u64) -> BytesMut {
    let mut out = BytesMut::new();
    let mut put = |tag: u8, length: u32, body: &[u8]| {
        out.put_u8(tag);
        out.put_u32(length);
        out.put_slice(body);
    };
    let first = turn == 0;
    match way {
        "garbage" => put(0xfe, 0xdead_beef, &[0x5a; 4096]),
        "a length of 2 GiB" if first => put(b'D', 0x7fff_ffff, &[0; 4096]),
        "an error of 1 GiB" if first => put(b'E', 1 << 30, b"SERROR\0"),
        "a length of 2 GiB" | "an error of 1 GiB" => out.put_bytes(b'x', 64 * 1024),
        "a length of 0" => put(b'C', 0, b""),
        "rows without end" => backend::data_row(&mut out, [Some(&[b'x'; 4096][..])]),
        "notices without end" => put(b'N', 4 + 21, b"SNOTICE\0C00000\0Mhum\0\0"),
        "settings without end" => {
            let value = "x".repeat(4096);
            backend::parameter_status(&mut out, &format!("setting{turn}"), &value);
        }
        "notifications without end" => put(b'A', 4 + 8, b"\0\0\0\x07c\0p\0"),
        "authentication anew" => backend::authentication_ok(&mut out),
        other => panic!("no such madness: {other}"),
    }
    out
}

/// Stands before `target` and passes everything on, until a statement names a way of [`MADNESS`]:
/// then it goes that way.
async fn go_mad(listener: TcpListener, target: SocketAddr, times: Arc<AtomicUsize>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let times = times.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (mut client, mut server) = (client, server);
            let (mut there, mut back) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
            let way = loop {
                let (out, from) = tokio::select! {
                    read = client.read(&mut there) => match read {
                        Ok(length) if length > 0 => (&mut server, &there[..length]),
                        _ => return,
                    },
                    read = server.read(&mut back) => match read {
                        Ok(length) if length > 0 => (&mut client, &back[..length]),
                        _ => return,
                    },
                };
                let said = String::from_utf8_lossy(from);
                let way = MADNESS.iter().find(|way| said.contains(&format!("-- {way}")));
                if let Some(way) = way {
                    break way;
                }
                if out.write_all(from).await.is_err() {
                    return;
                }
            };
            times.fetch_add(1, Ordering::Relaxed);
            for turn in 0.. {
                if client.write_all(&mad(way, turn)).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[test]
fn a_backend_that_goes_mad_costs_its_own_session_only() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let listener = TcpListener::bind("127.0.0.9:0").await.expect("an address");
        let address = listener.local_addr().expect("it is bound");
        let times = Arc::new(AtomicUsize::new(0));
        let target = cluster.primary().address();
        let mad_proxy = tokio::spawn(go_mad(listener, target, times.clone()));
        let everline = launch(&dsn("127.0.0.9", address.port())).start().await?;
        until(&everline, "leader", is_available).await;
        proc_or_skip(&everline)?;
        let mut witness = Seat::app("witness", everline.address()).await;
        witness.is_served().await;
        for (at, way) in MADNESS.into_iter().enumerate() {
            let before = peak(&everline);
            let mut client = Client::app(everline.address()).await?;
            // Not a probe, which would be sent again to the next connection.
            let sql = format!("SELECT 2 -- {way}");
            client.say(|out| frontend::query(out, sql.as_bytes())).await?;
            // It reads what comes for a while, and leaves; or is let go by Everline.
            let until = Instant::now() + FOR_A_WHILE / 2;
            while let Ok(Some(_)) = client.next_until(until).await {}
            witness.is_served().await;
            drop(client);
            witness.is_served().await;
            assert_eq!(times.load(Ordering::Relaxed), at + 1, "{way}: it did not come to it");
            assert_bounded(way, &everline, before, RELAY_BYTES_MAX);
        }
        until(&everline, "one client", |status| number(status, "clients") == 1).await;
        assert_eq!(number(&status(&everline).await, "epoch"), 1, "the leader is not to blame");
        mad_proxy.abort();
        keep_log(&everline);
        Ok(())
    });
}

/// Accepts, reads what comes, and says the pieces of `say` for ever.
async fn babble(listener: TcpListener, first: Vec<u8>, then: Vec<u8>, pause: Duration) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let (first, then) = (first.clone(), then.clone());
        tokio::spawn(async move {
            let mut heard = vec![0; 4096];
            let _ = stream.read(&mut heard).await;
            let mut said = stream.write_all(&first).await;
            while said.is_ok() {
                sleep(pause).await;
                said = stream.write_all(&then).await;
            }
        });
    }
}

async fn speaker(first: &[u8], then: &[u8], pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(babble(listener, first.to_vec(), then.to_vec(), pause));
    address
}

/// Everline is there, says that there is no leader, and keeps within its memory.
async fn stays_small(what: &str, everline: &Everline) {
    let before = peak(everline);
    sleep(FOR_A_WHILE).await;
    assert!(!is_available(&status(everline).await), "{what}");
    assert_bounded(what, everline, before, 16 * 1024 * 1024);
    let lines = everline.log().lines().count();
    assert!(lines < 100, "{what}: {lines} lines in the log\n{}", everline.log());
}

#[test]
fn a_consul_that_answers_for_ever_costs_little() {
    run(async {
        let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 0x1_0000], b"\r\n"].concat();
        let head = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nTransfer-Encoding: chunked\r\n\r\n";
        let header = [b"X-More: ".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
        let now = Duration::ZERO;
        for (what, first, then, pause) in [
            ("a Consul with an endless body", &head[..], &chunk[..], now),
            ("a Consul with endless headers", b"HTTP/1.1 200 OK\r\n", &header[..], now),
            ("a Consul that drips", &head[..], b"1\r\nx\r\n", Duration::from_millis(20)),
            ("a Consul that talks nonsense", b"hello", &[b'x'; 4096], now),
        ] {
            let consul = speaker(first, then, pause).await;
            let dsn =
                format!("stolon+consul+http://{consul}/lab?pguser=app&pgpassword=x&pgdatabase=app");
            let everline = launch(&dsn).start().await?;
            proc_or_skip(&everline)?;
            stays_small(what, &everline).await;
            keep_log(&everline);
        }
        Ok(())
    });
}

#[test]
fn a_node_that_goes_mad_at_the_login_costs_little() {
    run(async {
        let mut accepted = BytesMut::new();
        backend::authentication_ok(&mut accepted);
        let notice = mad("notices without end", 0);
        let setting = mad("settings without end", 1);
        let now = Duration::ZERO;
        for (what, first, then, pause) in [
            ("a login of garbage", &[0xfe; 64][..], &[0xfe; 4096][..], now),
            ("a login of notices", &[], &notice[..], now),
            ("a login of settings", &accepted[..], &setting[..], now),
            ("a login of 1 GiB", b"E\x40\0\0\0", &[b'x'; 4096], now),
            ("a login that drips", &[], &notice[..], Duration::from_millis(20)),
        ] {
            let node = speaker(first, then, pause).await;
            let everline = launch(&dsn("127.0.0.1", node.port())).start().await?;
            proc_or_skip(&everline)?;
            stays_small(what, &everline).await;
            keep_log(&everline);
        }
        Ok(())
    });
}
