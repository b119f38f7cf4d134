//! Clients that write without a pause and remember what was acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use everline_lab::client::Client;
use everline_lab::postgres::Node;
use everline_lab::{Error, Result};
use tokio::task::JoinHandle;

/// Longest time for one statement: longer than anything is held.
const PATIENCE: Duration = Duration::from_mins(2);

/// What one writer has to tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Rows whose INSERT was answered with success.
    pub(super) acknowledged: Vec<i64>,
    /// How often it was told to try again.
    pub(super) retryable: usize,
    /// How often it was told that nobody knows.
    pub(super) unknown: usize,
}

/// Writers at work.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicI64>,
    tasks: Vec<JoinHandle<Result<Told>>>,
}

impl Writers {
    /// Has `count` clients insert rows into `t`, each with a number that no other has.
    pub(super) async fn start(address: SocketAddr, count: i64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicI64::new(0));
        let mut tasks = Vec::new();
        for writer in 0..count {
            let mut client = Client::app(address).await?;
            client.set_patience(PATIENCE);
            let (stop, written) = (stop.clone(), written.clone());
            tasks.push(tokio::spawn(write(client, writer, count, stop, written)));
        }
        Ok(Self { stop, count: written, tasks })
    }

    /// How many rows have been acknowledged so far.
    pub(super) fn acknowledged(&self) -> i64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until `more` further rows are acknowledged.
    pub(super) async fn write_on(&self, more: i64) -> Result<()> {
        let wanted = self.acknowledged() + more;
        let waiting = async {
            while self.acknowledged() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let within = Duration::from_secs(40);
        let late = |_| Error::Late { what: format!("{more} more rows"), within };
        tokio::time::timeout(within, waiting).await.map_err(late)
    }

    /// Stops them; none was ever disconnected.
    pub(super) async fn stop(self) -> Result<Told> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for task in self.tasks {
            let told = task.await.expect("a writer does not panic")?;
            all.acknowledged.extend(told.acknowledged);
            all.retryable += told.retryable;
            all.unknown += told.unknown;
        }
        Ok(all)
    }
}

async fn write(
    mut client: Client,
    first: i64,
    stride: i64,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicI64>,
) -> Result<Told> {
    let mut told = Told::default();
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        let answer = client.answers(&format!("INSERT INTO t VALUES ({number})")).await?;
        if answer == "C[INSERT 0 1] Z[I]" {
            told.acknowledged.push(number);
            written.fetch_add(1, Ordering::Relaxed);
        } else if answer.contains("40001") && answer.ends_with("Z[I]") {
            told.retryable += 1;
        } else if answer.contains("08007") && answer.ends_with("Z[I]") {
            told.unknown += 1;
        } else {
            return Err(Error::Failed { what: "a writer".to_owned(), detail: answer });
        }
        number += stride;
    }
    Ok(told)
}

/// Every acknowledged row is on `node`, and no row twice.
pub(super) async fn all_there(told: &Told, node: &Node) -> Result<()> {
    let rows = node.sql("SELECT n FROM t ORDER BY n").await?;
    let rows = rows.into_iter().flatten().flatten();
    let rows: Vec<i64> = rows.filter_map(|row| row.parse().ok()).collect();
    assert_complete(told, &rows);
    Ok(())
}

/// Every acknowledged row is among `rows`, which are in order, and none is there twice.
pub(super) fn assert_complete(told: &Told, rows: &[i64]) {
    assert!(rows.is_sorted_by(|left, right| left < right), "a row stands twice");
    let lost: Vec<&i64> =
        told.acknowledged.iter().filter(|row| rows.binary_search(row).is_err()).collect();
    assert!(lost.is_empty(), "{} acknowledged rows are lost: {lost:?}", lost.len());
    let found = i64::try_from(rows.len() - told.acknowledged.len()).expect("few rows");
    let unknown = i64::try_from(told.unknown).expect("few rows");
    assert!(found <= unknown, "{found} rows more than acknowledged, {unknown} of unknown outcome");
}
