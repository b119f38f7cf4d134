//! The run and its report.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use everline_lab::everline::{Everline, Launch};
use everline_lab::ledger::{self, Door, Entry, Shape, Tally, Writer, audit};
use everline_lab::succession::{Fault, Succession};
use everline_lab::{Error, Result, tell_skipped};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::spoil;

/// How many clients write.
const CLIENTS: u16 = 40;
/// Most backend connections of Everline, fewer than there are clients.
const BACKENDS_MAX: u16 = 25;
/// `max_connections` of the nodes.
const CONNECTIONS_MAX: u16 = 100;
/// From one fault to the next.
const ROUND: Duration = Duration::from_secs(10);
/// Longest time until the new leader has acknowledged something.
const SERVED_MAX: Duration = Duration::from_secs(20);
/// Longest run that can be asked for.
const RUN_MAX: Duration = Duration::from_hours(1);
/// Longest time for what a run needs beside its rounds, on a busy machine.
const BESIDE_MAX: Duration = Duration::from_mins(3);
/// How often it is looked whether something was acknowledged.
const POLL: Duration = Duration::from_millis(20);

/// What was asked for.
struct Plan {
    seed: u64,
    faults: Vec<Fault>,
    rng: StdRng,
}

impl Plan {
    fn new(length: Option<Duration>, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let faults = match length {
            None => {
                let mut faults = Fault::ALL.to_vec();
                faults.shuffle(&mut rng);
                faults
            }
            Some(length) => {
                let rounds = length.min(RUN_MAX).as_secs().div_ceil(ROUND.as_secs());
                (0..rounds).map(|_| Fault::ALL[rng.random_range(0..Fault::ALL.len())]).collect()
            }
        };
        Self { seed, faults, rng }
    }

    fn asked_for() -> Self {
        let length = std::env::var("EVERLINE_LEDGER").ok();
        let length = length.map(|text| {
            humantime::parse_duration(&text).expect("EVERLINE_LEDGER is a duration, as 3m")
        });
        let seed = std::env::var("EVERLINE_LEDGER_SEED").ok();
        let seed = seed.map(|text| text.parse().expect("EVERLINE_LEDGER_SEED is a number"));
        Self::new(length, seed.unwrap_or_else(some_seed))
    }

    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..to))
    }
}

/// One that nobody has had yet, short enough to be typed.
fn some_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()))
}

/// Everything at work.
struct Work {
    stage: Succession,
    everline: Everline,
    seen: Arc<Tally>,
    stop: CancellationToken,
    writers: JoinSet<Vec<Entry>>,
}

impl Work {
    async fn begin(first: Fault) -> Result<Self> {
        let stage = Succession::start(CONNECTIONS_MAX, first).await?;
        stage.cluster().primary().sql(ledger::TABLE).await?;
        let everline = Launch::new(Path::new(env!("CARGO_BIN_EXE_everline")))
            .arguments(["--backend-dsn", &stage.dsn(), "--enable-backend-adaptive-ha"])
            .arguments(["--resolver", &stage.resolver().to_string()])
            .arguments(["--heartbeat-interval", "300ms", "--heartbeat-timeout", "1s"])
            .arguments(["--max-backend-connections", &BACKENDS_MAX.to_string()])
            .start()
            .await?;
        let (seen, stop) = (Arc::new(Tally::default()), CancellationToken::new());
        let ids = Arc::new(AtomicU64::new(1));
        let mut writers = JoinSet::new();
        for number in 0..CLIENTS {
            let shape = Shape::ALL[usize::from(number) % Shape::ALL.len()];
            let door = Door::Everline(everline.address());
            let (seen, ids) = (seen.clone(), ids.clone());
            writers.spawn(Writer::new(number, shape, door, seen, ids, stop.clone()).run());
        }
        println!("  {CLIENTS} clients write, one leader's reign lasts {ROUND:?}");
        Ok(Self { stage, everline, seen, stop, writers })
    }

    /// One fault, the promotion, and the old leader's return as a standby.
    async fn round(&mut self, plan: &mut Plan, at: usize) -> Result<()> {
        let began = Instant::now();
        let fault = plan.faults[at];
        let next = plan.faults.get(at + 1).copied().unwrap_or(fault);
        let before = self.seen.counts();
        sleep(plan.milliseconds(1000, 3000)).await;
        self.stage.strike(fault).await?;
        sleep(plan.milliseconds(200, 1500)).await;
        self.stage.succeed(next).await?;
        let service = self.served().await?;
        if plan.rng.random_bool(0.5) {
            self.stage.haunt(fault).await?;
            sleep(plan.milliseconds(300, 1000)).await;
        }
        self.stage.rebuild().await?;
        let counts = self.seen.counts();
        println!(
            "  {:>2} {:<10} served after {:>4} ms; {:>6} rows acknowledged, {:>3} times 40001, \
             {:>3} times 08007",
            at + 1,
            fault.to_string(),
            service.as_millis(),
            counts.acknowledged - before.acknowledged,
            counts.retryable - before.retryable,
            counts.unknown - before.unknown,
        );
        sleep(ROUND.saturating_sub(began.elapsed())).await;
        Ok(())
    }

    /// Waits until something is acknowledged by the new leader.
    async fn served(&self) -> Result<Duration> {
        let began = Instant::now();
        let before = self.seen.counts().acknowledged;
        let waiting = async {
            while self.seen.counts().acknowledged <= before {
                sleep(POLL).await;
            }
        };
        let what = "a row acknowledged by the new leader".to_owned();
        match timeout(SERVED_MAX, waiting).await {
            Ok(()) => Ok(began.elapsed()),
            Err(_) => Err(Error::Failed { what, detail: self.everline.log() }),
        }
    }

    /// Ends the work; what everyone was promised.
    async fn end(&mut self) -> Vec<Entry> {
        self.stop.cancel();
        let mut entries = Vec::new();
        while let Some(promised) = self.writers.join_next().await {
            entries.extend(promised.expect("a client does not panic"));
        }
        entries.sort_unstable_by_key(|entry| entry.first);
        entries
    }
}

async fn run(mut plan: Plan) -> Result<()> {
    println!("the ledger, seed {}: {} leader changes", plan.seed, plan.faults.len());
    let mut work = Work::begin(plan.faults[0]).await?;
    for at in 0..plan.faults.len() {
        work.round(&mut plan, at).await?;
    }
    let entries = work.end().await;
    let leader = work.stage.cluster().primary();
    let audit = audit(&entries, &ledger::rows(leader).await?);
    let counts = work.seen.counts();
    println!(
        "  {} rows acknowledged, all there once; {} refused, none there; of unknown outcome {} \
         there, {} not; {} violations, {} connections closed",
        audit.acknowledged,
        audit.refused,
        audit.unknown_there,
        audit.unknown_absent,
        audit.violations.len(),
        counts.closed,
    );
    let log = work.everline.log();
    let seed = plan.seed;
    let violations: Vec<String> =
        audit.violations.iter().take(20).map(ToString::to_string).collect();
    assert!(violations.is_empty(), "seed {seed}: {}\n{log}", violations.join("; "));
    assert_eq!(counts.closed, 0, "seed {seed}: connections closed\n{log}");
    assert_eq!(counts.surprises, BTreeMap::new(), "seed {seed}: errors nobody expects\n{log}");
    assert!(audit.acknowledged > 1000, "seed {seed}: hardly anything was written");
    let (_, status) = work.everline.get("/status.json").await?;
    let status: serde_json::Value = serde_json::from_str(&status).expect("the status is JSON");
    assert_eq!(status["unknown_total"], counts.unknown, "what Everline says of itself");
    spoil::is_found(leader, &entries).await
}

#[test]
fn every_promise_is_kept_through_one_failover_after_the_other() {
    let plan = Plan::asked_for();
    let rounds = u32::try_from(plan.faults.len()).expect("a bounded run");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let seed = plan.seed;
    let outcome = runtime.block_on(async {
        let run = Box::pin(run(plan));
        timeout(2 * ROUND * rounds + BESIDE_MAX, run).await
    });
    match outcome.unwrap_or_else(|_| panic!("seed {seed}: not done in time")) {
        Ok(()) => {}
        Err(Error::Skip(why)) => {
            tell_skipped("run::every_promise_is_kept_through_one_failover_after_the_other", &why);
        }
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

#[test]
fn a_seed_draws_the_same_faults_again() {
    let length = Some(Duration::from_mins(3));
    let (one, two) = (Plan::new(length, 7), Plan::new(length, 7));
    assert_eq!(one.faults, two.faults);
    assert_eq!(one.faults.len(), 18);
    let mut all = Plan::new(None, 7).faults;
    all.sort_unstable();
    assert_eq!(all, Fault::ALL);
    let others = (0..5).map(|seed| Plan::new(length, seed).faults);
    assert!(others.clone().any(|faults| faults != one.faults), "{:?}", others.collect::<Vec<_>>());
}
