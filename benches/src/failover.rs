//! How long nobody is served, and whom it costs the connection: kill, freeze, blackhole,
//! switchover.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use everline_lab::Result;
use everline_lab::client::Client;
use everline_lab::faults::{Mode, Relay};
use everline_lab::postgres::{APP_USER, Cluster, ClusterOptions, Installation, Stop};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::args::{Args, Part};
use crate::peers::{self, Kind, Login, Peer, Setup};
use crate::record::Record;
use crate::speed::CONNECTIONS;
use crate::tls::Tls;
use crate::{failed, tell};

/// Clients that insert one row after the other.
const CLIENTS: usize = 20;
/// Undisturbed work before the fault, and after everybody is served again.
const CALM: Duration = Duration::from_secs(3);
/// What the HA manager takes from the fault to the promotion. A switchover does not wait.
const PROMOTE_AFTER: Duration = Duration::from_secs(1);
/// How long after the promotion clients may still wait to be served.
const SERVED_MAX: Duration = Duration::from_secs(30);
/// The pause before a client that was turned away tries again.
const AGAIN: Duration = Duration::from_millis(50);
/// Where the network in front of the first leader is, when it shall fail.
const IN_FRONT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

const INSERT: &str = "INSERT INTO ledger VALUES (1)";

const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Freeze, Fault::Blackhole, Fault::Switchover];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
    Blackhole,
    Switchover,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Blackhole => "blackhole",
            Self::Switchover => "switchover",
        }
    }
}

/// Shows each fault to each peer that has a way to follow the leader.
///
/// # Errors
/// When PostgreSQL fails; a peer that does not start stays out.
pub(crate) async fn run(args: &Args, peers: &[Peer], record: &mut Record) -> Result<()> {
    let follows = |peer: &&Peer| match peer.kind {
        Kind::Everline(workers) => workers == 1,
        Kind::PgBouncer | Kind::HaProxy => true,
        Kind::Odyssey | Kind::PgCat | Kind::PgDog => false,
    };
    for fault in FAULTS.into_iter().filter(|fault| args.takes(fault.name())) {
        for peer in peers.iter().filter(follows) {
            let told = match show(fault, peer).await {
                Ok(told) => told,
                Err(error) => {
                    tell(&format!("failover: {}, {}: {error}", fault.name(), peer.name));
                    continue;
                }
            };
            let place = (fault.name(), peer.name.as_str(), 1);
            record.add(Part::Failover, place, "s without service", told.outage);
            record.add(Part::Failover, place, "s after promotion", told.after_promotion);
            record.add(Part::Failover, place, "s until all are served", told.all_served);
            record.add(Part::Failover, place, "connections closed", told.closed);
            record.add(Part::Failover, place, "errors", told.errors);
            record.add(Part::Failover, place, "clients never served", told.hung);
            tell(&format!("failover: {}, {}: {told:?}", fault.name(), peer.name));
        }
        record.save()?;
    }
    Ok(())
}

/// What became of the clients, in seconds and in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    /// The longest time in which no statement of anybody succeeded; not a number when none did any
    /// more.
    outage: f64,
    /// From the promotion's end to the first statement that succeeds.
    after_promotion: f64,
    /// From the fault until each of those that were served at all was served by the new leader.
    all_served: f64,
    closed: f64,
    errors: f64,
    /// Those whom nobody had answered when the run ended, 30 s after the promotion.
    hung: f64,
}

async fn show(fault: Fault, peer: &Peer) -> Result<Told> {
    let installation = Installation::find_saying(tell).await?;
    let tls = Tls::make(installation)?;
    let mut cluster = Cluster::start(ClusterOptions::default()).await?;
    let table = format!("SET ROLE {APP_USER}; CREATE TABLE ledger (id int)");
    cluster.primary().sql(&table).await?;
    let relay = if fault == Fault::Blackhole {
        let address = SocketAddr::new(IN_FRONT, cluster.port());
        Some(Relay::start(address, cluster.primary().address()).await?)
    } else {
        None
    };
    let first = relay.as_ref().map_or(cluster.primary().address(), Relay::address);
    let second = cluster.node(1).address();
    // PgBouncer is told, the others find out.
    let databases = if peer.kind == Kind::PgBouncer { vec![first] } else { vec![first, second] };
    let setup = Setup {
        databases: &databases,
        connections: CONNECTIONS,
        login: Login::Scram,
        tls: &tls,
        installation,
    };
    let mut running = peers::start(peer, &setup).await?;
    let board = Arc::new(Board::default());
    let mut writers = JoinSet::new();
    for _ in 0..CLIENTS {
        writers.spawn(write(running.address, board.clone()));
    }
    sleep(CALM).await;
    // A relay that has not yet asked who is primary sends some to the standby at first.
    board.closed.store(0, Ordering::SeqCst);
    board.errors.store(0, Ordering::SeqCst);
    let struck = Instant::now();
    strike(fault, &mut cluster, relay.as_ref()).await?;
    if fault != Fault::Switchover {
        sleep(PROMOTE_AFTER).await;
    }
    cluster.promote(1).await?;
    let promoted = Instant::now();
    board.promoted.store(true, Ordering::SeqCst);
    if peer.kind == Kind::PgBouncer {
        peers::redirect(&mut running, &setup, second)?;
    }
    while board.served.load(Ordering::SeqCst) < CLIENTS && promoted.elapsed() < SERVED_MAX {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(CALM).await;
    board.over.store(true, Ordering::SeqCst);
    let mut stories = Vec::new();
    // Those that hang are not waited for: what they know by then is on the board.
    while let Ok(Some(story)) = timeout(CALM, writers.join_next()).await {
        stories.push(story.map_err(|error| failed("a writer", &error.to_string()))?);
    }
    Ok(judge(&board, &stories, struck, promoted))
}

async fn strike(fault: Fault, cluster: &mut Cluster, relay: Option<&Relay>) -> Result<()> {
    match (fault, relay) {
        (Fault::Kill, _) => cluster.primary_mut().kill9(),
        (Fault::Freeze, _) => cluster.primary_mut().freeze(),
        (Fault::Blackhole, Some(relay)) => relay.set_mode(Mode::BlackHole),
        (Fault::Blackhole, None) => {}
        (Fault::Switchover, _) => drop(cluster.primary_mut().stop(Stop::Fast).await?),
    }
    Ok(())
}

/// What clients and conductor tell one another.
#[derive(Debug, Default)]
struct Board {
    promoted: AtomicBool,
    over: AtomicBool,
    /// Clients that the new leader has served.
    served: AtomicUsize,
    closed: AtomicUsize,
    errors: AtomicUsize,
}

/// One client's successes.
#[derive(Debug, Default)]
struct Story {
    successes: Vec<Instant>,
    /// The first statement that was sent after the promotion and succeeded.
    served: Option<Instant>,
}

async fn write(address: SocketAddr, board: Arc<Board>) -> Story {
    let mut story = Story::default();
    let mut client = None;
    while !board.over.load(Ordering::SeqCst) {
        let Some(connected) = client.as_mut() else {
            client = Client::app(address).await.ok();
            if client.is_none() {
                sleep(AGAIN).await;
            }
            continue;
        };
        let promoted = board.promoted.load(Ordering::SeqCst);
        let answer = Client::answers(connected, INSERT).await.unwrap_or_default();
        if answer.contains("C[INSERT 0 1]") {
            let now = Instant::now();
            story.successes.push(now);
            if promoted && story.served.is_none() {
                story.served = Some(now);
                board.served.fetch_add(1, Ordering::SeqCst);
            }
        } else {
            board.errors.fetch_add(1, Ordering::SeqCst);
            sleep(AGAIN).await;
        }
        if client.as_ref().is_some_and(|client| client.end().is_some()) {
            board.closed.fetch_add(1, Ordering::SeqCst);
            client = None;
        }
    }
    story
}

fn judge(board: &Board, stories: &[Story], struck: Instant, promoted: Instant) -> Told {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let mut successes: Vec<Instant> =
        stories.iter().flat_map(|story| story.successes.iter().copied()).collect();
    successes.sort_unstable();
    let gaps = successes.windows(2).filter_map(|pair| match pair {
        [before, after] if *after > struck => Some(*after - *before),
        _ => None,
    });
    let served = || stories.iter().filter_map(|story| story.served);
    let since = |from: Instant, to: Option<Instant>| {
        to.map_or(f64::NAN, |to| to.saturating_duration_since(from).as_secs_f64())
    };
    let longest = gaps.max().filter(|_| served().next().is_some());
    Told {
        outage: longest.map_or(f64::NAN, |longest| longest.as_secs_f64()),
        after_promotion: since(promoted, served().min()),
        all_served: since(struck, served().max()),
        closed: number(board.closed.load(Ordering::SeqCst)),
        errors: number(board.errors.load(Ordering::SeqCst)),
        hung: number(CLIENTS.saturating_sub(served().count())),
    }
}

#[cfg(test)]
#[path = "failover_tests.rs"]
mod tests;
