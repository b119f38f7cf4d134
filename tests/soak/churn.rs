//! Clients that come, do one thing and leave, each in its own way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use everline_lab::client::Client;
use everline_lab::{Error, Result};
use everline_wire::frontend;
use tokio::time::sleep;

/// Pause of one of them between two visits.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for an answer: longer than any failover here lasts.
const PATIENCE: Duration = Duration::from_secs(40);

/// The ways to leave.
const WAYS: u64 = 6;

/// Visits for ever; ends when dropped. Counts visits in `visits`.
pub(crate) async fn come_and_go(address: SocketAddr, visits: Arc<AtomicU64>) {
    loop {
        let number = visits.fetch_add(1, Ordering::Relaxed);
        // What a visitor hears in a failover is the ledger's affair.
        let _ = visit(address, number % WAYS).await;
        sleep(PAUSE).await;
    }
}

async fn visit(address: SocketAddr, way: u64) -> Result<()> {
    let mut client = Client::connect(address).await?;
    if way == 0 {
        return Ok(()); // without a word
    }
    let (user, password) = match way {
        1 => ("nobody", "wrong"),
        _ => (everline_lab::postgres::APP_USER, everline_lab::postgres::APP_PASSWORD),
    };
    client.set_patience(PATIENCE);
    let database = everline_lab::postgres::APP_DATABASE;
    client.login(user, password, database, &[("application_name", "churn")]).await?;
    match way {
        2 => {
            client.exchange("SELECT 1").await?;
            client.say(frontend::terminate).await?;
        }
        3 => {
            // In the middle of a transaction, with a setting and a prepared statement.
            client.exchange("SET statement_timeout = '1min'; BEGIN; SELECT 1").await?;
            client.say(|out| frontend::parse(out, b"s", b"SELECT 1", &[])).await?;
        }
        4 => {
            // In the middle of an answer, unread.
            let sql = b"SELECT repeat('x', 1000) FROM generate_series(1, 2000)";
            client.say(|out| frontend::query(out, sql)).await?;
        }
        5 => {
            // In the middle of a message.
            client.exchange("SELECT 1").await?;
            client.send(b"Q\0\0\0\x64SELECT").await?;
        }
        _ => {}
    }
    Ok(())
}

/// A visit in each way that serves, to see that there is service at all.
pub(crate) async fn is_served(address: SocketAddr) -> Result<()> {
    let mut client = Client::app(address).await?;
    client.set_patience(PATIENCE);
    let heard = client.answers("SELECT 1").await?;
    if heard.ends_with("Z[I]") && !heard.contains("E[") {
        return Ok(());
    }
    Err(Error::Failed { what: "a plain statement".to_owned(), detail: heard })
}
