//! The run and its verdict.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use everline_lab::ledger::{self, Counts, Door, Entry, Shape, Tally, Writer, audit};
use everline_lab::{Error, Result, tell_skipped};
use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fault::{End, Fault};
use crate::plan::Plan;
use crate::stage::Stage;

/// How many clients write.
const CLIENTS: u16 = 21;
/// Longest time until something is acknowledged, once it can be.
const SERVED_MAX: Duration = Duration::from_secs(30);
/// Longest time until everybody has been answered who asked before that.
const ANSWERED_MAX: Duration = Duration::from_mins(1);
/// Longest time for one round, and for what a run needs beside its rounds, on a busy machine.
const ROUND_MAX: Duration = Duration::from_mins(2);
const BESIDE_MAX: Duration = Duration::from_mins(2);
/// How often it is looked whether something was acknowledged.
const POLL: Duration = Duration::from_millis(20);

/// Everything at work.
struct Work {
    stage: Stage,
    tally: Arc<Tally>,
    stop: CancellationToken,
    writers: JoinSet<Vec<Entry>>,
    /// Surprises that a fault explains.
    explained: u64,
}

impl Work {
    async fn begin(stage: Stage) -> Result<Self> {
        stage.cluster.primary().sql(ledger::TABLE).await?;
        let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
        let ids = Arc::new(AtomicU64::new(1));
        let mut writers = JoinSet::new();
        for number in 0..CLIENTS {
            let shape = Shape::ALL[usize::from(number) % Shape::ALL.len()];
            let door = Door::Everline(stage.everline().address());
            let (tally, ids) = (tally.clone(), ids.clone());
            writers.spawn(Writer::new(number, shape, door, tally, ids, stop.clone()).run());
        }
        let work = Self { stage, tally, stop, writers, explained: 0 };
        work.served("at first").await?;
        Ok(work)
    }

    /// One fault from its beginning to its end, and what the clients saw of it.
    async fn round(&mut self, plan: &mut Plan, fault: Fault, end: End) -> Result<()> {
        let before = self.tally.counts();
        let old = self.stage.cluster.primary_index();
        sleep(plan.milliseconds(500, 1500)).await;
        self.stage.strike(fault).await?;
        sleep(plan.milliseconds(1000, 4000)).await;
        let served = match end {
            End::Heals => {
                self.stage.lift(fault, old).await?;
                self.served(&fault.to_string()).await?
            }
            End::Succeeds => self.succeed(plan, fault, old).await?,
        };
        self.answered(fault).await?;
        let counts = self.tally.counts();
        self.judge(fault, &before, &counts);
        println!(
            "  {:<22} {:<8} served after {:>5} ms; {:>5} rows acknowledged, {:>3} times 40001, \
             {:>3} times 08007",
            fault.to_string(),
            format!("{end:?}"),
            served.as_millis(),
            counts.acknowledged - before.acknowledged,
            counts.retryable - before.retryable,
            counts.unknown - before.unknown,
        );
        Ok(())
    }

    /// The standby leads while the fault lasts; then the leader of before returns for a while as
    /// what it takes itself for, and becomes a standby.
    async fn succeed(&mut self, plan: &mut Plan, fault: Fault, old: usize) -> Result<Duration> {
        if fault == Fault::DiskFull {
            // Who promotes another one sees to it that this one is gone.
            self.stage.cluster.primary_mut().kill9();
        }
        self.stage.succeed().await?;
        self.stage.tell_the_name(fault).await;
        if fault.is_of_consul() {
            // It cannot know before.
            self.stage.lift(fault, old).await?;
        }
        let served = self.served(&fault.to_string()).await?;
        let returns = plan.rng.random_bool(0.5);
        if returns && !fault.is_of_consul() {
            self.stage.lift(fault, old).await?;
            sleep(plan.milliseconds(300, 1000)).await;
        }
        self.stage.cluster.node_mut(old).kill9();
        self.stage.host(old).heal().await?;
        self.stage.rebuild().await?;
        self.stage.tell_the_name(Fault::Loss).await;
        Ok(served)
    }

    /// What must be so whatever happened.
    fn judge(&mut self, fault: Fault, before: &Counts, after: &Counts) {
        let log = || self.stage.log();
        if fault != Fault::EverlineKilled {
            assert_eq!(after.closed, before.closed, "{fault}: connections closed\n{}", log());
        }
        let mut explained = 0;
        for (surprise, count) in &after.surprises {
            let new = count - before.surprises.get(surprise).copied().unwrap_or_default();
            let code = surprise.split(' ').next().unwrap_or_default();
            assert!(new == 0 || fault.explains(code), "{fault}: {surprise}\n{}", log());
            explained += new;
        }
        self.explained += explained;
    }

    /// Waits until something is acknowledged.
    async fn served(&self, what: &str) -> Result<Duration> {
        let began = Instant::now();
        let before = self.tally.counts().acknowledged;
        let waiting = async {
            while self.tally.counts().acknowledged <= before {
                sleep(POLL).await;
            }
        };
        let late = |_| Error::Failed {
            what: format!("{what}: a row acknowledged within {SERVED_MAX:?}"),
            detail: self.stage.log(),
        };
        timeout(SERVED_MAX, waiting).await.map_err(late)?;
        Ok(began.elapsed())
    }

    /// Waits until everybody who waits has begun to wait after this was called.
    async fn answered(&self, fault: Fault) -> Result<()> {
        let began = Instant::now();
        loop {
            let waits = self.tally.counts().longest_wait();
            let Some((client, wait)) = waits.filter(|(_, wait)| *wait > began.elapsed()) else {
                return Ok(());
            };
            if began.elapsed() > ANSWERED_MAX {
                let shape = Shape::ALL[usize::from(client) % Shape::ALL.len()];
                let what = format!("{fault}: an answer to client {client} ({shape:?}), {wait:?}");
                return Err(Error::Failed { what, detail: self.stage.log() });
            }
            sleep(POLL).await;
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

async fn run(mut plan: Plan, stage: impl Future<Output = Result<Stage>>) -> Result<()> {
    println!("chaos, seed {}: {} faults", plan.seed, plan.rounds.len());
    let mut work = Work::begin(stage.await?).await?;
    for (fault, end) in plan.rounds.clone() {
        work.round(&mut plan, fault, end).await?;
    }
    let entries = work.end().await;
    let audit = audit(&entries, &ledger::rows(work.stage.cluster.primary()).await?);
    println!(
        "  {} rows acknowledged, all there once; {} refused, none there; of unknown outcome {} \
         there, {} not; {} violations, {} errors of PostgreSQL's own passed on",
        audit.acknowledged,
        audit.refused,
        audit.unknown_there,
        audit.unknown_absent,
        audit.violations.len(),
        work.explained,
    );
    let violations: Vec<String> =
        audit.violations.iter().take(20).map(ToString::to_string).collect();
    let seed = plan.seed;
    assert!(violations.is_empty(), "seed {seed}: {}\n{}", violations.join("; "), work.stage.log());
    assert!(audit.acknowledged > 100, "seed {seed}: hardly anything was written");
    Ok(())
}

/// Runs a plan under its deadline.
fn play(name: &str, plan: Plan, stage: impl Future<Output = Result<Stage>>) {
    let rounds = u32::try_from(plan.rounds.len()).expect("a bounded run");
    let (seed, longest) = (plan.seed, ROUND_MAX * rounds + BESIDE_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(async { timeout(longest, Box::pin(run(plan, stage))).await });
    match outcome.unwrap_or_else(|_| panic!("seed {seed}: not done in time")) {
        Ok(()) => {}
        Err(Error::Skip(why)) => tell_skipped(name, &why),
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

#[test]
fn every_promise_is_kept_on_a_network_that_fails() {
    let sample = [
        (Fault::FromLeaderLost, End::Succeeds),
        (Fault::Resets, End::Heals),
        (Fault::BackendKilled, End::Heals),
    ];
    let plan = Plan::asked_for(&Fault::NAMED, &sample);
    play("run::every_promise_is_kept_on_a_network_that_fails", plan, Stage::named());
}

#[test]
fn every_promise_is_kept_when_consul_is_out_of_reach() {
    let plan = Plan::asked_for(&Fault::ELECTED, &[(Fault::FromConsulLost, End::Succeeds)]);
    play("run::every_promise_is_kept_when_consul_is_out_of_reach", plan, Stage::elected());
}
