//! The manual's page about drivers: words of the roster, counts of the last course that was written
//! down.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::course::ACTS;
use crate::roster::ROSTER;
use crate::verdict::{Counts, Verdict};

/// How to write it.
const WRITES: &str = "UPDATE=1 cargo test -p everline --test drivers";

const BEGINNING: &str = "\
# Which driver settings?

Few are needed: most of what is below keeps pools from throwing away connections that work.
Each driver of this page runs as a program of its own, with its own pool and the retry helper that
its users use, through a failover of a real primary with a synchronous standby, with Everline in
between. All counts were measured; `UPDATE=1 cargo test -p everline --test drivers` runs everything
again and writes this page anew, and `cargo verify` runs it each time.

## For every driver

* Retry on `40001`, the whole transaction from its beginning, with a pause of 50 ms or more between
  the tries: with `failover_hold = 5s` one retry is usually enough, with `0s` the helper's patience
  must outlast the outage.
* Do not retry on `08007`: look whether the row is there.
* Let pools try their connections as they like: an empty query, as most send, is answered while
  there is no leader, and so is what they reset a session with. `SELECT 1` is held like any
  statement, and sent again when it was in flight.
* Keep a pool's and a statement's timeouts longer than `failover_hold`.

## Settings

";

const MEASURED: &str = "
An error in the table reaches the application as the class named; no driver closes its connection on
either.

## Measured

Of every driver in one run: rows **acknowledged** to it, errors `40001` and `08007` that reached the
application, transactions that the helper **retried** by itself, connections **closed** by Everline,
connections **given up** by the driver or its pool, rows acknowledged and **lost**, rows **doubled**
(there twice, or there after a `40001`). The work is that of about a dozen connections each:
single inserts, transactions, a pool, prepared statements, and where the driver has it `LISTEN`.
";

const END: &str = "
## What there is to know

* **node-postgres**: `pool.query()` gives its connection up on every error, whichever it is, and
  opens another; that is its *given up*. `pool.connect()` and `client.release()` do not.
* **HikariCP** gives a connection up on every code of class 08: the one whose statement was in flight
  goes with its `08007`.
* **Django** with `failover_hold = 0s`: the `SELECT 1` that it tries connections with is refused then
  like any statement, and the connection is given up. With a hold it waits, or is sent again.
* **cockroach-go**: `ExecuteTx` ignores the error of `COMMIT`, because on CockroachDB the `RELEASE`
  before it has committed already. On PostgreSQL it has not, with Everline or without: a lost commit
  is reported as success (this suite saw it). `ExecuteInTx` with a `Tx` that keeps the error is safe;
  `tests/drivers/go/with_pgx/main.go` and `tests/drivers/go/with_pq/main.go` have the ten lines.
* **LISTEN**: a listener that says nothing, as all these do, hears what is notified on the new leader.
";

/// Whether the page is to be written anew.
pub(crate) fn is_to_be_written() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Writes the page from these verdicts, or asserts that it is about what there is: the same
/// drivers, words and tables, whatever the counts.
pub(crate) fn check(verdicts: &[Verdict]) {
    if is_to_be_written() {
        fs::write(path(), page(verdicts)).expect("the manual can be written");
    }
    let stands = fs::read_to_string(path()).unwrap_or_default();
    assert_eq!(
        without_counts(&stands),
        without_counts(&page(&[])),
        "docs/manual/drivers.md is stale: {WRITES} writes it anew"
    );
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/drivers.md")
}

fn page(verdicts: &[Verdict]) -> String {
    let mut page = BEGINNING.to_owned();
    page.push_str("| driver | settings | errors | retried by |\n|---|---|---|---|\n");
    for driver in ROSTER {
        let (title, settings) = (driver.title, driver.settings);
        let (errors, helper) = (driver.errors, driver.helper);
        let _ = writeln!(page, "| {title} | {settings} | {errors} | {helper} |");
    }
    page.push_str(MEASURED);
    for (at, act) in ACTS.iter().enumerate() {
        for (number, fault) in act.faults.iter().enumerate() {
            let _ = write!(page, "\n### {}, failover_hold = {}\n\n", fault, act.hold);
            page.push_str(HEAD);
            for (which, driver) in ROSTER.iter().enumerate() {
                let counts = verdicts.get(which).and_then(|verdict| verdict.counts.get(at));
                let counts = counts.and_then(|counts| counts.get(number));
                let counts = counts.map(|(_, counts)| *counts).unwrap_or_default();
                let _ = writeln!(page, "| {} | {} |", driver.title, cells(&counts));
            }
        }
    }
    page.push_str(END);
    page
}

const HEAD: &str = "\
| driver | acknowledged | `40001` | `08007` | retried | closed | given up | lost | doubled |
|---|---|---|---|---|---|---|---|---|
";

fn cells(counts: &Counts) -> String {
    let Counts { acknowledged, retryable, unknown, retried, closed, given_up, lost, doubled } =
        counts;
    let cells = [acknowledged, retryable, unknown, retried, closed, given_up, lost, doubled];
    cells.map(u64::to_string).join(" | ")
}

/// The page with every cell that is a number made the same.
fn without_counts(page: &str) -> String {
    let cell = |cell: &str| {
        let is_count = !cell.trim().is_empty() && cell.trim().chars().all(|c| c.is_ascii_digit());
        if is_count { " n ".to_owned() } else { cell.to_owned() }
    };
    let lines = page.lines().map(|line| line.split('|').map(cell).collect::<Vec<_>>().join("|"));
    lines.collect::<Vec<_>>().join("\n")
}
