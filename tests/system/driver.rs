//! A driver with an ordinary retry loop, through failovers: what it was told is so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};
use everline_lab::{Error, Result};
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::scene::{Fault, Scene, number, run};

const CLIENTS: usize = 8;

/// What one client has seen.
#[derive(Default)]
struct Ledger {
    acknowledged: Vec<i64>,
    unknown: Vec<i64>,
    retries: u32,
}

pub(crate) async fn connect(address: SocketAddr) -> Client {
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port());
    config.user(APP_USER).password(APP_PASSWORD).dbname(APP_DATABASE);
    let (client, connection) = config.connect(NoTls).await.expect("a login");
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// One transaction of several prepared statements.
async fn book(client: &mut Client, id: i64) -> std::result::Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO ledger (id) VALUES ($1)", &[&id]).await?;
    let row = transaction.query_one("SELECT count(*) FROM ledger WHERE id = $1", &[&id]).await?;
    assert_eq!(row.get::<_, i64>(0), 1);
    transaction.commit().await
}

async fn work(address: SocketAddr, at: usize, done: Arc<AtomicBool>) -> Ledger {
    let mut client = connect(address).await;
    let mut ledger = Ledger::default();
    let mut id = i64::try_from(at).unwrap();
    while !done.load(Ordering::Relaxed) {
        id += i64::try_from(CLIENTS).unwrap();
        loop {
            match book(&mut client, id).await {
                Ok(()) => break ledger.acknowledged.push(id),
                Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                    ledger.retries += 1;
                }
                Err(error) if error.code() == Some(&SqlState::TRANSACTION_RESOLUTION_UNKNOWN) => {
                    break ledger.unknown.push(id);
                }
                Err(error) => panic!("client {at}: {error:?}"),
            }
            assert!(!client.is_closed(), "client {at} was closed");
        }
    }
    ledger
}

/// Clients at work.
struct Office {
    clients: JoinSet<Ledger>,
    done: Arc<AtomicBool>,
}

async fn open(fault: Fault) -> Result<(Scene, Office)> {
    let arguments = ["--failover-hold", "20s", "--max-backend-connections", "6"];
    let scene = Scene::adaptive(fault, &arguments).await?;
    scene.prepare("CREATE TABLE ledger (id bigint)").await?;
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for at in 0..CLIENTS {
        clients.spawn(work(scene.address(), at, Arc::clone(&done)));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok((scene, Office { clients, done }))
}

async fn fails_over(fault: Fault) -> Result<()> {
    let (mut scene, office) = open(fault).await?;
    scene.strike(fault).await?;
    scene.succeed().await?;
    scene.until_led_by(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    close(scene, office).await
}

async fn there_and_back_again() -> Result<()> {
    let (mut scene, office) = open(Fault::Kill).await?;
    for (at, fault) in [(1, Fault::Kill), (0, Fault::Switchover), (1, Fault::Freeze)] {
        scene.strike(fault).await?;
        scene.cluster.promote(at).await?;
        scene.move_name(at);
        scene.until_led_by(at).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        scene.cluster.rejoin(1 - at).await?;
    }
    close(scene, office).await
}

async fn close(scene: Scene, office: Office) -> Result<()> {
    let Office { mut clients, done } = office;
    done.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut unknown, mut retries) = (Vec::new(), Vec::new(), 0);
    while let Some(ledger) = clients.join_next().await {
        let ledger = ledger.expect("a client");
        acknowledged.extend(ledger.acknowledged);
        unknown.extend(ledger.unknown);
        retries += ledger.retries;
    }
    println!("{} booked, {} unknown, {retries} retries", acknowledged.len(), unknown.len());
    check(&scene, &acknowledged, &unknown).await?;
    let status = scene.status().await;
    assert_eq!(number(&status, "unknown_total"), u64::try_from(unknown.len()).unwrap());
    Ok(())
}

/// Every acknowledged row is there once, and none but those and the unknown ones.
async fn check(scene: &Scene, acknowledged: &[i64], unknown: &[i64]) -> Result<()> {
    let rows = scene.cluster.primary().sql("SELECT id FROM ledger ORDER BY id").await?;
    let mut there: Vec<i64> = Vec::new();
    for row in rows {
        there.extend(row.first().and_then(Option::as_ref).and_then(|id| id.parse::<i64>().ok()));
    }
    let mut wrong = Vec::new();
    for id in acknowledged {
        if there.binary_search(id).is_err() {
            wrong.push(format!("{id} was acknowledged and is lost"));
        }
    }
    for pair in there.windows(2) {
        if pair[0] == pair[1] {
            wrong.push(format!("{} is there twice", pair[0]));
        }
    }
    for id in &there {
        if !acknowledged.contains(id) && !unknown.contains(id) {
            wrong.push(format!("{id} is there and nobody was told"));
        }
    }
    if wrong.is_empty() && !acknowledged.is_empty() {
        return Ok(());
    }
    Err(Error::Failed { what: "the ledger".to_owned(), detail: wrong.join("; ") })
}

#[test]
fn the_ledger_is_right_when_the_leader_is_killed() {
    run(fails_over(Fault::Kill));
}

#[test]
fn the_ledger_is_right_when_the_leader_freezes() {
    run(fails_over(Fault::Freeze));
}

#[test]
fn the_ledger_is_right_when_the_network_swallows_all() {
    run(fails_over(Fault::BlackHole));
}

#[test]
fn the_ledger_is_right_when_the_lead_goes_there_and_back() {
    run(there_and_back_again());
}

#[test]
fn the_ledger_is_right_at_a_switchover() {
    run(fails_over(Fault::Switchover));
}
