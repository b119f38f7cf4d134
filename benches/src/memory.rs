//! Memory of thousands of idle clients, and what of it is left after a failover.

use std::net::SocketAddr;
use std::time::Duration;

use everline_lab::Result;
use everline_lab::client::Client;
use everline_lab::postgres::{APP_DATABASE, Cluster, ClusterOptions, Installation, TRUSTED_USER};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::args::{Args, Part};
use crate::peers::{self, Kind, Login, Peer, Running, Setup};
use crate::record::{Record, mebibytes};
use crate::speed::CONNECTIONS;
use crate::tls::Tls;
use crate::{failed, io, tell, usage};

/// How many clients there are, one step after the other.
const STEPS: [usize; 3] = [1_000, 5_000, 10_000];
/// The same in a quick run.
const QUICK_STEPS: [usize; 1] = [1_000];
/// Clients that come and go before anything is measured: what the first ones cost is no client's.
const WARM_UP: usize = 50;
/// How many log in, or ask, at the same time.
const AT_ONCE: usize = 64;
/// What passes before memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest time for one client to log in, or to be answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest time until the first statement is answered after a promotion.
const SERVED_MAX: Duration = Duration::from_mins(1);

/// Measures every pooler that does not need a backend connection for each client.
///
/// # Errors
/// When PostgreSQL or a client fails; a peer that does not start stays out.
pub(crate) async fn run(args: &Args, peers: &[Peer], record: &mut Record) -> Result<()> {
    let steps: &[usize] = if args.quick { &QUICK_STEPS } else { &STEPS };
    let stage = Stage::set_up().await?;
    let pools = |peer: &&Peer| !peer.needs_one_each() && peer.kind != Kind::Everline(2);
    for peer in peers.iter().filter(pools) {
        for tls in [false, true] {
            match idle(&stage, peer, tls, steps, record).await {
                Ok(()) => record.save()?,
                Err(error) => tell(&format!("{} stays out: {error}", peer.name)),
            }
        }
    }
    drop(stage);
    let ours = peers.iter().find(|peer| peer.kind == Kind::Everline(1));
    if let (Some(peer), Some(most)) = (ours, steps.last()) {
        failover(peer, *most, record).await?;
    }
    record.save()
}

#[derive(Debug)]
struct Stage {
    cluster: Cluster,
    tls: Tls,
    installation: &'static Installation,
}

impl Stage {
    async fn set_up() -> Result<Self> {
        let installation = Installation::find_saying(tell).await?;
        let tls = Tls::make(installation)?;
        let cluster = Cluster::start_saying(ClusterOptions::default(), tell).await?;
        Ok(Self { cluster, tls, installation })
    }

    async fn start(&self, peer: &Peer, databases: &[SocketAddr]) -> Result<Running> {
        let setup = Setup {
            databases,
            connections: CONNECTIONS,
            login: Login::Trust,
            tls: &self.tls,
            installation: self.installation,
        };
        peers::start(peer, &setup).await
    }
}

async fn idle(
    stage: &Stage,
    peer: &Peer,
    tls: bool,
    steps: &[usize],
    record: &mut Record,
) -> Result<()> {
    let running = stage.start(peer, &[stage.cluster.primary().address()]).await?;
    let tls_of = tls.then_some(&stage.tls);
    let mut warm = Vec::new();
    connect(&mut warm, running.address, tls_of, WARM_UP).await?;
    ask(&mut warm).await?;
    drop(warm);
    let before = resident(&running).await;
    let mut clients = Vec::new();
    let over = if tls { ", TLS" } else { "" };
    for step in steps {
        connect(&mut clients, running.address, tls_of, *step).await?;
        let after_login = resident(&running).await;
        ask(&mut clients).await?;
        let after_query = resident(&running).await;
        let case = format!("{step} idle clients{over}");
        let place = (case.as_str(), peer.name.as_str(), 1);
        let each = |now: u64| kibibytes_each(now, before, *step);
        record.add(Part::Memory, place, "KiB each after login", each(after_login));
        record.add(Part::Memory, place, "KiB each after a query", each(after_query));
        record.add(Part::Memory, place, "RSS MiB", mebibytes(after_query));
        tell(&format!(
            "memory: {}: {case}: {:.2} KiB each after login, {:.2} after a query",
            peer.name,
            each(after_login),
            each(after_query)
        ));
    }
    let count = clients.len();
    drop(clients);
    let case = format!("{count} clients have left{over}");
    let left = mebibytes(resident(&running).await);
    let place = (case.as_str(), peer.name.as_str(), 1);
    record.add(Part::Memory, place, "RSS MiB", left);
    record.add(Part::Memory, place, "RSS MiB before", mebibytes(before));
    Ok(())
}

/// With all clients connected the leader is killed; what Everline has resident before that, when
/// each client has been served by the next one, and when all have left.
async fn failover(peer: &Peer, count: usize, record: &mut Record) -> Result<()> {
    let mut stage = Stage::set_up().await?;
    let nodes: Vec<SocketAddr> =
        stage.cluster.nodes().iter().map(everline_lab::postgres::Node::address).collect();
    let running = stage.start(peer, &nodes).await?;
    let mut clients = Vec::new();
    connect(&mut clients, running.address, None, count).await?;
    ask(&mut clients).await?;
    let before = resident(&running).await;
    stage.cluster.primary_mut().kill9();
    stage.cluster.promote(1).await?;
    served(&mut clients).await?;
    let closed = ask_each(&mut clients).await;
    let after = resident(&running).await;
    drop(clients);
    let left = resident(&running).await;
    let case = format!("failover with {count} clients");
    let place = (case.as_str(), peer.name.as_str(), 1);
    record.add(Part::Memory, place, "RSS MiB before", mebibytes(before));
    record.add(Part::Memory, place, "RSS MiB", mebibytes(after));
    record.add(Part::Memory, place, "RSS MiB after they left", mebibytes(left));
    record.add(Part::Memory, place, "clients closed", count_of(closed));
    tell(&format!(
        "memory: {case}: {:.1} MiB before, {:.1} after, {:.1} when they had left; {closed} closed",
        mebibytes(before),
        mebibytes(after),
        mebibytes(left)
    ));
    Ok(())
}

/// Waits until the first client is served by the new leader.
async fn served(clients: &mut [Client]) -> Result<()> {
    let until = Instant::now() + SERVED_MAX;
    let first = clients.first_mut().ok_or_else(|| failed("a failover", "there is no client"))?;
    while !first.answers("SELECT 1").await?.contains("C[SELECT 1]") {
        if Instant::now() >= until {
            return Err(failed("a failover", "no statement is served"));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn resident(running: &Running) -> u64 {
    sleep(SETTLE).await;
    usage::resident_bytes(running.id())
}

fn kibibytes_each(now: u64, before: u64, count: usize) -> f64 {
    mebibytes(now.saturating_sub(before)) * 1024.0 / count_of(count)
}

fn count_of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Adds clients until there are so many.
async fn connect(
    clients: &mut Vec<Client>,
    address: SocketAddr,
    tls: Option<&Tls>,
    count: usize,
) -> Result<()> {
    let connector = tls.map(Tls::connector).transpose()?;
    while clients.len() < count {
        let mut joining = JoinSet::new();
        for _ in clients.len()..count.min(clients.len() + AT_ONCE) {
            let connector = connector.clone();
            joining.spawn(async move {
                let login = login(address, connector);
                let late = |_| failed("a login", &format!("not done after {PATIENCE:?}"));
                timeout(PATIENCE, login).await.map_err(late)?
            });
        }
        while let Some(joined) = joining.join_next().await {
            clients.push(joined.map_err(|error| failed("a client", &error.to_string()))??);
        }
    }
    Ok(())
}

async fn login(
    address: SocketAddr,
    connector: Option<tokio_rustls::TlsConnector>,
) -> Result<Client> {
    let mut client = match connector {
        None => Client::connect(address).await?,
        Some(connector) => Client::over(secure(address, &connector).await?),
    };
    let answers = client.login(TRUSTED_USER, "", APP_DATABASE, &[]).await?;
    match answers.last() {
        Some(last) if last.tag == everline_wire::tag::backend::READY_FOR_QUERY => Ok(client),
        Some(_) | None => Err(failed("a login", &client.rendered(&answers))),
    }
}

async fn secure(
    address: SocketAddr,
    connector: &tokio_rustls::TlsConnector,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let wrong = |source| io("a client's TLS", source);
    let mut stream = TcpStream::connect(address).await.map_err(wrong)?;
    let mut request = bytes::BytesMut::new();
    everline_wire::startup::tls_request(&mut request);
    stream.write_all(&request).await.map_err(wrong)?;
    if stream.read_u8().await.map_err(wrong)? != b'S' {
        return Err(failed("a client's TLS", "it is refused"));
    }
    connector.connect(Tls::name(), stream).await.map_err(wrong)
}

/// Every client has one statement answered.
async fn ask(clients: &mut Vec<Client>) -> Result<()> {
    let count = clients.len();
    match ask_each(clients).await {
        0 => Ok(()),
        refused => Err(failed("a statement", &format!("{refused} of {count} were not answered"))),
    }
}

/// Has every client ask; how many were not answered.
async fn ask_each(clients: &mut Vec<Client>) -> usize {
    let mut refused = 0;
    let mut waiting = std::mem::take(clients).into_iter();
    loop {
        let mut asking = JoinSet::new();
        for mut client in waiting.by_ref().take(AT_ONCE) {
            asking.spawn(async move {
                let answer = client.answers("SELECT 1").await;
                (answer.is_ok_and(|answer| answer.contains("C[SELECT 1]")), client)
            });
        }
        if asking.is_empty() {
            return refused;
        }
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok((true, client)) => clients.push(client),
                Ok((false, client)) => {
                    refused += 1;
                    clients.push(client);
                }
                Err(_) => refused += 1,
            }
        }
    }
}
