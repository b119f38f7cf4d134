//! Two thousand clients over twenty backend connections, each with settings and statements of its
//! own: no error, nobody sees what is another's.

use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::client::Client;
use everline_lab::postgres::{APP_DATABASE, APP_USER, ClusterOptions};
use everline_lab::{Error, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::scene::{Fault, Scene, number, run_within, status};
use crate::seat::Seat;

const CLIENTS: usize = 2_000;
/// Backend connections that are lent.
const LENT: usize = 20;
/// What each client does so many times.
const ROUNDS: usize = 5;
/// Files that this process needs open.
const FILES: u64 = 4_000;

/// A bound on a hang, not on speed.
const TEST_MAX: Duration = Duration::from_mins(6);

/// Logs in without a password: that costs no time of either side.
async fn enter(at: usize, address: SocketAddr) -> Result<Seat> {
    let mut client = Client::connect(address).await?;
    client.set_patience(Duration::from_mins(2));
    let name = format!("client {at}");
    let parameters = [("application_name", name.as_str())];
    let answers = client.login(APP_USER, "", APP_DATABASE, &parameters).await?;
    assert!(answers.last().is_some_and(|last| last.tag == b'Z'), "{answers:?}");
    Ok(Seat { who: name, client })
}

/// A client's rounds; how long each answer took.
async fn work(mut seat: Seat, at: usize) -> (Seat, Vec<Duration>) {
    let mut waits = Vec::new();
    let memory = 64 + at;
    seat.ask(&format!("Q:SET work_mem = '{memory}kB'"), "C[SET] / Z[I]").await;
    // A text of one's own, and one that a hundred clients share under different names.
    let own = format!("P:own:SELECT {at} + $1::int, current_setting('work_mem') / S");
    seat.ask(&own, "1 / Z[I]").await;
    let shared = format!("P:s{at}:SELECT {} * $1::int / S", at % 20);
    seat.ask(&shared, "1 / Z[I]").await;
    let shown = |kb: usize| {
        let is_whole = kb.is_multiple_of(1024);
        if is_whole { format!("{}MB", kb / 1024) } else { format!("{kb}kB") }
    };
    for round in 0..ROUNDS {
        let memory = memory + round;
        let own = format!("2 / D[{},{}] / C[SELECT 1] / Z[I]", at + round, shown(memory));
        let shared = format!("2 / D[{}] / C[SELECT 1] / Z[I]", at % 20 * round);
        let in_transaction = own.replace("Z[I]", "Z[T]");
        for (said, expected) in [
            (format!("Q:SET work_mem = '{memory}kB'"), "C[SET] / Z[I]"),
            (format!("B::own:{round} / E: / S"), own.as_str()),
            (format!("B::s{at}:{round} / E: / S"), shared.as_str()),
            ("Q:BEGIN".to_owned(), "C[BEGIN] / Z[T]"),
            (format!("B::own:{round} / E: / S"), in_transaction.as_str()),
            ("Q:COMMIT".to_owned(), "C[COMMIT] / Z[I]"),
        ] {
            let asked = Instant::now();
            seat.ask(&said, expected).await;
            waits.push(asked.elapsed());
        }
        assert_eq!(seat.client.parameter("application_name"), Some(seat.who.as_str()));
    }
    (seat, waits)
}

/// Raises the soft limit on open files; how many may be open.
fn raise() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(u64::MAX);
    let wanted = Rlimit { current: Some(most.min(FILES)), maximum: now.maximum };
    if now.current.is_some_and(|current| current < FILES) {
        let _ = setrlimit(Resource::Nofile, wanted); // what it is now is looked at below
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[test]
fn two_thousand_clients_share_twenty_connections() {
    run_within(TEST_MAX, async {
        if raise() < FILES {
            return Err(Error::Skip(format!("{FILES} files may not be open (ulimit -n)")));
        }
        let budget = (LENT + 1).to_string();
        let arguments = ["--auth", "trust", "--max-backend-connections", &budget];
        let scene = Scene::with(ClusterOptions::single(), Fault::Kill, &arguments).await?;
        let address = scene.address();
        let mut seats = Vec::new();
        for at in 0..CLIENTS {
            seats.push(enter(at, address).await?);
        }
        assert_eq!(number(&status(&scene.everline).await, "clients"), 2_000);
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for (at, seat) in seats.into_iter().enumerate() {
            clients.spawn(work(seat, at));
        }
        let mut waits = Vec::new();
        let mut stay = Vec::new();
        let mut most = 0;
        loop {
            tokio::select! {
                done = clients.join_next() => match done {
                    Some(done) => {
                        let (seat, own) = done.expect("a client");
                        stay.push(seat);
                        waits.extend(own);
                    }
                    None => break,
                },
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
                    let open = scene.cluster.primary().value(open).await?;
                    most = most.max(open.parse().unwrap_or(0));
                }
            }
        }
        let took = began.elapsed();
        waits.sort();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        println!(
            "{} answers to {CLIENTS} clients over {LENT} connections in {took:.1?}: \
             p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
            waits.len(),
            at(50),
            at(99),
            at(100),
        );
        assert_eq!(waits.len(), CLIENTS * ROUNDS * 6);
        assert!((2..=LENT + 1).contains(&most), "{most} backend connections");
        for seat in &mut stay {
            assert_eq!(seat.client.end(), None, "{}", seat.who);
        }
        let status = status(&scene.everline).await;
        assert_eq!((number(&status, "clients"), number(&status, "retryable_total")), (2_000, 0));
        Ok(())
    });
}
