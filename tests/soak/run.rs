//! The run and its verdict.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use everline_lab::client::Client;
use everline_lab::everline::{Everline, Launch};
use everline_lab::ledger::{self, Door, Shape, Tally, Writer, audit};
use everline_lab::succession::{Fault, Succession};
use everline_lab::{Error, Result, tell_skipped};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::churn;
use crate::lines::{self, Kinds};
use crate::sample::{Sample, grown, median};

/// Clients that write in each round, one of each shape.
const WRITERS: u16 = 7;
/// Clients that come and go all the time.
const VISITORS: u16 = 3;
/// Clients that stay from the beginning to the end.
const STANDING: u16 = 4;
/// Most backend connections of Everline.
const BACKENDS_MAX: u16 = 12;
/// `max_connections` of the nodes.
const CONNECTIONS_MAX: u16 = 100;
/// Longest time until the new leader has acknowledged something.
const SERVED_MAX: Duration = Duration::from_secs(30);
/// Longest run that can be asked for.
const RUN_MAX: Duration = Duration::from_hours(24);
/// How many rounds pass before what there is counts as the beginning.
const WARM_ROUNDS: usize = 3;
/// Most lines that one failover may write, without those about clients that are refused.
const LINES_PER_FAILOVER_MAX: u64 = 20;
/// How often it is looked whether something was acknowledged.
const POLL: Duration = Duration::from_millis(20);

/// How long, and how.
struct Plan {
    seed: u64,
    rng: StdRng,
    rounds: usize,
    /// From one failover to the next.
    round: Duration,
    /// The part of it without writers and without a fault.
    quiet: Duration,
}

impl Plan {
    fn asked_for() -> Self {
        let length = std::env::var("EVERLINE_SOAK").ok();
        let length = length.map(|text| {
            humantime::parse_duration(&text).expect("EVERLINE_SOAK is a duration, as 1h")
        });
        let seed = std::env::var("EVERLINE_SOAK_SEED").ok();
        let seed = seed.map(|text| text.parse().expect("EVERLINE_SOAK_SEED is a number"));
        let seed = seed.unwrap_or_else(some_seed);
        let rng = StdRng::seed_from_u64(seed);
        match length {
            None => Self {
                seed,
                rng,
                rounds: 3,
                round: Duration::from_secs(6),
                quiet: Duration::from_secs(2),
            },
            Some(length) => {
                let (round, quiet) = (Duration::from_mins(1), Duration::from_secs(25));
                let rounds = length.min(RUN_MAX).as_secs().div_ceil(round.as_secs());
                Self { seed, rng, rounds: usize::try_from(rounds).unwrap(), round, quiet }
            }
        }
    }

    fn fault(&mut self) -> Fault {
        Fault::ALL[self.rng.random_range(0..Fault::ALL.len())]
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
    ids: Arc<AtomicU64>,
    visits: Arc<AtomicU64>,
    _visitors: JoinSet<()>,
    standing: JoinSet<String>,
    /// How much of the log is known.
    read: usize,
    failovers: Kinds,
    quiet: Kinds,
    rows: u64,
}

impl Work {
    async fn begin(first: Fault) -> Result<Self> {
        let stage = Succession::start(CONNECTIONS_MAX, first).await?;
        stage.cluster().primary().sql(ledger::TABLE).await?;
        let everline = Launch::new(Path::new(env!("CARGO_BIN_EXE_everline")))
            .arguments(["--backend-dsn", &stage.dsn(), "--enable-backend-adaptive-ha"])
            .arguments(["--resolver", &stage.resolver().to_string(), "--log-format", "json"])
            .arguments(["--heartbeat-interval", "300ms", "--heartbeat-timeout", "1s"])
            .arguments(["--max-backend-connections", &BACKENDS_MAX.to_string()])
            .start()
            .await?;
        churn::is_served(everline.address()).await?;
        let visits = Arc::new(AtomicU64::new(0));
        let mut visitors = JoinSet::new();
        for _ in 0..VISITORS {
            visitors.spawn(churn::come_and_go(everline.address(), visits.clone()));
        }
        let mut standing = JoinSet::new();
        for _ in 0..STANDING {
            standing.spawn(stand(everline.address()));
        }
        Ok(Self {
            stage,
            everline,
            ids: Arc::new(AtomicU64::new(1)),
            visits,
            _visitors: visitors,
            standing,
            read: 0,
            failovers: Kinds::new(),
            quiet: Kinds::new(),
            rows: 0,
        })
    }

    /// A while without a fault, a sample at its end; then writers, a failover, and the audit.
    async fn round(&mut self, plan: &mut Plan, fault: Fault, next: Fault) -> Result<Sample> {
        let began = Instant::now();
        self.new_lines(); // of the failover before
        sleep(plan.quiet).await;
        let sample = Sample::take(&self.everline).await?;
        let quiet = self.new_lines();
        add(&mut self.quiet, &quiet);
        let stop = CancellationToken::new();
        let tally = Arc::new(Tally::default());
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let shape = Shape::ALL[usize::from(number) % Shape::ALL.len()];
            let door = Door::Everline(self.everline.address());
            let (tally, ids) = (tally.clone(), self.ids.clone());
            writers.spawn(Writer::new(number, shape, door, tally, ids, stop.clone()).run());
        }
        sleep(Duration::from_millis(plan.rng.random_range(500..1500))).await;
        self.stage.strike(fault).await?;
        sleep(Duration::from_millis(plan.rng.random_range(200..1500))).await;
        self.stage.succeed(next).await?;
        self.served(&tally).await?;
        self.stage.rebuild().await?;
        sleep(plan.round.saturating_sub(began.elapsed())).await;
        stop.cancel();
        let mut entries = writers.join_all().await.concat();
        entries.sort_unstable_by_key(|entry| entry.first);
        let leader = self.stage.cluster().primary();
        let audit = audit(&entries, &ledger::rows(leader).await?);
        let counts = tally.counts();
        let log = self.everline.log();
        assert!(audit.violations.is_empty(), "{:?}\n{log}", audit.violations);
        assert_eq!((counts.closed, counts.surprises.len()), (0, 0), "{counts:?}\n{log}");
        leader.sql("TRUNCATE ledger").await?;
        self.rows += audit.acknowledged;
        if let Some(left) = self.standing.try_join_next() {
            panic!("a client that stays was let down: {left:?}\n{log}");
        }
        let lines = self.new_lines();
        add(&mut self.failovers, &lines);
        Ok(sample)
    }

    /// The lines since the last look.
    fn new_lines(&mut self) -> Kinds {
        let log = self.everline.log();
        let kinds = lines::kinds(log.get(self.read..).unwrap_or_default());
        self.read = log.len();
        kinds
    }

    /// Waits until something is acknowledged by the new leader.
    async fn served(&self, tally: &Tally) -> Result<()> {
        let before = tally.counts().acknowledged;
        let waiting = async {
            while tally.counts().acknowledged <= before {
                sleep(POLL).await;
            }
        };
        let what = "a row acknowledged by the new leader".to_owned();
        let late = |_| Error::Failed { what, detail: self.everline.log() };
        timeout(SERVED_MAX, waiting).await.map_err(late)
    }
}

/// A client that stays, and says why it could not.
async fn stand(address: SocketAddr) -> String {
    let mut client = match Client::app(address).await {
        Ok(client) => client,
        Err(error) => return error.to_string(),
    };
    client.set_patience(2 * SERVED_MAX);
    loop {
        match client.answers("SELECT 1").await {
            Ok(heard) if heard.ends_with("Z[I]") => sleep(10 * POLL).await,
            Ok(heard) => return heard,
            Err(error) => return error.to_string(),
        }
    }
}

fn add(all: &mut Kinds, more: &Kinds) {
    for (kind, count) in more {
        *all.entry(kind.clone()).or_default() += count;
    }
}

fn show(what: &str, kinds: &Kinds) {
    println!("  the log {what}:");
    for (kind, count) in kinds {
        println!("    {count:>5} {kind}");
    }
}

async fn run(mut plan: Plan) -> Result<()> {
    println!("the soak, seed {}: {} failovers, each {:?}", plan.seed, plan.rounds, plan.round);
    let mut fault = plan.fault();
    let mut work = Work::begin(fault).await?;
    let mut samples = Vec::new();
    for at in 1..=plan.rounds {
        let next = plan.fault();
        let sample = work.round(&mut plan, fault, next).await?;
        println!("  {at:>4} {:<10} {sample}", fault.to_string());
        samples.push(sample);
        fault = next;
    }
    sleep(plan.quiet).await;
    samples.push(Sample::take(&work.everline).await?);
    let visits = work.visits.load(Ordering::Relaxed);
    println!("  {} rows acknowledged and all there, {visits} visits", work.rows);
    show("of failovers", &work.failovers);
    show("between failovers", &work.quiet);
    let samples = samples.get(WARM_ROUNDS.min(plan.rounds / 2)..).unwrap_or_default();
    let part = (samples.len() / 4).max(1);
    let (first, last) = (median(&samples[..part]), median(&samples[samples.len() - part..]));
    println!("  at the beginning: {first}\n  in the end:       {last}");
    let seed = plan.seed;
    assert_eq!(grown(first, last), Vec::<String>::new(), "seed {seed}: {samples:?}");
    let own = work.failovers.iter().filter(|(kind, _)| !is_expected_in_quiet(kind));
    let lines: u64 = own.map(|(_, count)| count).sum();
    let rounds = u64::try_from(plan.rounds).unwrap();
    assert!(lines <= LINES_PER_FAILOVER_MAX * rounds, "seed {seed}: {lines} lines");
    let all = work.failovers.keys().chain(work.quiet.keys());
    let wrong: Vec<&String> = all.filter(|kind| !is_expected(kind)).collect();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    assert!(work.quiet.keys().all(|kind| is_expected_in_quiet(kind)), "seed {seed}: see above");
    Ok(())
}

/// What may be logged at all: nothing that failed in Everline itself.
fn is_expected(kind: &str) -> bool {
    kind.starts_with("INFO ") || kind.starts_with("WARN ")
}

/// What may be logged when nothing happens but that clients come and go: that one of them was
/// refused, and that this was said often enough.
fn is_expected_in_quiet(kind: &str) -> bool {
    kind.ends_with("login refused")
}

#[test]
fn nothing_grows_and_nothing_is_said_in_vain() {
    let plan = Plan::asked_for();
    let rounds = u32::try_from(plan.rounds).expect("a bounded run");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (seed, longest) = (plan.seed, 3 * plan.round * rounds + Duration::from_mins(3));
    let outcome = runtime.block_on(async { timeout(longest, Box::pin(run(plan))).await });
    match outcome.unwrap_or_else(|_| panic!("seed {seed}: not done in time")) {
        Ok(()) => {}
        Err(Error::Skip(why)) => {
            tell_skipped("run::nothing_grows_and_nothing_is_said_in_vain", &why);
        }
        Err(error) => panic!("seed {seed}: {error}"),
    }
}
