//! The course: all drivers at once through one failover after the other.
//!
//! First with a hold longer than any outage here, then with none, where the retry helpers have to
//! do the work.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use everline_lab::everline::{Everline, Launch};
use everline_lab::succession::{Fault, Succession};
use everline_lab::turnstile::Passed;
use everline_lab::{Error, Result};

use crate::program::{Program, Said};
use crate::roster::{Driver, Shape};
use crate::setup::Tools;

/// Most backend connections of Everline, fewer than there are clients.
const BACKENDS_MAX: u16 = 50;
/// `max_connections` of the nodes.
const CONNECTIONS_MAX: u16 = 120;
/// Keys of one program in one act.
const KEYS: u64 = 1_000_000;
/// Undisturbed work before each fault.
const BEFORE: Duration = Duration::from_millis(1500);
/// From the fault to the promotion.
const OUTAGE: Duration = Duration::from_millis(1200);
/// Longest time until all programs are connected: a JVM among them, on a busy machine.
const READY_MAX: Duration = Duration::from_mins(1);
/// Longest time until everyone is served by the new leader.
const SERVED_MAX: Duration = Duration::from_secs(20);
/// How often news is told to those who listen.
const NEWS: Duration = Duration::from_millis(500);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(50);

/// One act: a hold, and the faults under it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Act {
    pub(crate) hold: &'static str,
    pub(crate) faults: &'static [Fault],
}

/// All acts.
pub(crate) const ACTS: [Act; 2] = [
    Act { hold: "5s", faults: &[Fault::Kill, Fault::Freeze, Fault::Switchover] },
    Act { hold: "0s", faults: &[Fault::Kill, Fault::Switchover] },
];

/// What was seen of one driver in one act.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) driver: &'static Driver,
    pub(crate) act: usize,
    /// When each fault's part of the act began; it lasts until the next one's.
    pub(crate) began: Vec<Instant>,
    /// What had passed when each part ended.
    pub(crate) passed: Vec<BTreeMap<Shape, Passed>>,
    pub(crate) said: Vec<Said>,
    /// What did not happen in time.
    pub(crate) missed: Vec<String>,
}

/// What was seen of everyone, and what the leader had in the end.
#[derive(Debug, Default)]
pub(crate) struct Course {
    pub(crate) seen: Vec<Seen>,
    /// How often each key is there.
    pub(crate) rows: BTreeMap<u64, u64>,
    /// The ends of Everline's logs.
    pub(crate) logs: Vec<String>,
}

/// Runs all acts.
pub(crate) async fn run(troupe: &[(&'static Driver, Tools)]) -> Result<Course> {
    let mut stage = Succession::start(CONNECTIONS_MAX, Fault::Kill).await?;
    let table = "SET ROLE app; CREATE TABLE kept (key bigint NOT NULL); CREATE INDEX ON kept (key)";
    stage.cluster().primary().sql(table).await?;
    let mut course = Course::default();
    for (at, act) in ACTS.iter().enumerate() {
        if at > 0 {
            stage.rebuild().await?;
        }
        let everline = launch(&stage, act.hold).await?;
        let ended = Playing::start(troupe, &everline, at).await;
        let ended = match ended {
            Ok(playing) => playing.play(&mut stage, act).await,
            Err(error) => Err(error),
        };
        let log = everline.log();
        course.logs.push(log.lines().rev().take(60).collect::<Vec<_>>().join("\n"));
        match ended {
            Ok(seen) => course.seen.extend(seen),
            Err(Error::Failed { what, detail }) => {
                let detail = format!("{detail}\nEverline's log, latest first:\n{log}");
                return Err(Error::Failed { what, detail });
            }
            Err(error) => return Err(error),
        }
    }
    let rows = "SELECT key, count(*) FROM kept GROUP BY key";
    for row in stage.cluster().primary().sql(rows).await? {
        let number = |at: usize| row.get(at)?.as_ref()?.parse::<u64>().ok();
        course.rows.extend(number(0).zip(number(1)));
    }
    Ok(course)
}

async fn launch(stage: &Succession, hold: &str) -> Result<Everline> {
    Launch::new(Path::new(env!("CARGO_BIN_EXE_everline")))
        .arguments(["--backend-dsn", &stage.dsn(), "--enable-backend-adaptive-ha"])
        .arguments(["--resolver", &stage.resolver().to_string()])
        .arguments(["--heartbeat-interval", "300ms", "--heartbeat-timeout", "1s"])
        .arguments(["--max-backend-connections", &BACKENDS_MAX.to_string()])
        .arguments(["--failover-hold", hold])
        .start()
        .await
}

/// An act while it is played.
struct Playing {
    act: usize,
    programs: Vec<Program>,
    began: Vec<Instant>,
    passed: Vec<Vec<BTreeMap<Shape, Passed>>>,
    missed: Vec<Vec<String>>,
}

impl Playing {
    async fn start(
        troupe: &[(&'static Driver, Tools)],
        everline: &Everline,
        act: usize,
    ) -> Result<Self> {
        let mut programs = Vec::new();
        for (driver, tools) in troupe {
            let number = u64::try_from(act * troupe.len() + programs.len()).unwrap_or(0);
            let command = tools.command(driver);
            let first = number * KEYS + 1;
            programs.push(Program::start(driver, command, everline.address(), first).await?);
        }
        let missed = programs.iter().map(|_| Vec::new()).collect();
        let passed = Vec::new();
        let mut playing = Self { act, programs, began: Vec::new(), passed, missed };
        let began = Instant::now();
        let is_ready = |said: &Said| said.event == "ready";
        playing.wait("to connect", began, READY_MAX, |_| true, is_ready).await?;
        Ok(playing)
    }

    async fn play(mut self, stage: &mut Succession, act: &Act) -> Result<Vec<Seen>> {
        for (at, fault) in act.faults.iter().enumerate() {
            if at > 0 {
                stage.rebuild().await?;
            }
            self.began.push(Instant::now());
            tokio::time::sleep(BEFORE).await;
            stage.strike(*fault).await?;
            if *fault != Fault::Switchover {
                tokio::time::sleep(OUTAGE).await;
            }
            // A black hole is not among these faults.
            stage.succeed(Fault::Kill).await?;
            self.served(stage, *fault).await?;
            self.passed.push(self.programs.iter().map(Program::passed).collect());
        }
        let mut seen = Vec::new();
        for (at, mut program) in self.programs.into_iter().enumerate() {
            let mut missed = self.missed.get_mut(at).map(std::mem::take).unwrap_or_default();
            missed.extend(program.stop().await);
            seen.push(Seen {
                driver: program.driver,
                act: self.act,
                began: self.began.clone(),
                passed: self.passed.iter().filter_map(|all| all.get(at).cloned()).collect(),
                said: std::mem::take(&mut *program.said()),
                missed,
            });
        }
        Ok(seen)
    }

    /// Waits until everyone has found the new leader: those who write, those who have said
    /// nothing all the while, and those who listen and say nothing.
    async fn served(&mut self, stage: &Succession, fault: Fault) -> Result<()> {
        let since = Instant::now();
        let acknowledged = |said: &Said| said.event == "acknowledged";
        self.wait("to be served", since, SERVED_MAX, Shape::writes, acknowledged).await?;
        for program in &mut self.programs {
            program.tell("wake");
        }
        let woke = |said: &Said| said.event == "woke";
        let is_idle = |shape| shape == Shape::Idle;
        self.wait("to wake", since, SERVED_MAX, is_idle, woke).await?;
        let heard = |said: &Said| said.event == "heard";
        let listens = |shape| shape == Shape::Listen;
        let news = format!("NOTIFY news, '{fault}'");
        let telling = async {
            loop {
                // One that fails is said again.
                let _ = stage.cluster().primary().sql(&news).await;
                tokio::time::sleep(NEWS).await;
            }
        };
        tokio::select! {
            waited = self.wait("to hear", since, SERVED_MAX, listens, heard) => waited,
            () = telling => Ok(()),
        }
    }

    /// Waits until all these shapes have said this; who has not in time has missed it.
    async fn wait(
        &mut self,
        what: &str,
        since: Instant,
        within: Duration,
        wanted: impl Fn(Shape) -> bool,
        enough: impl Fn(&Said) -> bool,
    ) -> Result<()> {
        loop {
            let mut late = false;
            for (program, missed) in self.programs.iter_mut().zip(&mut self.missed) {
                let silent = program.silent(since, &wanted, &enough);
                if silent.is_empty() {
                    continue;
                }
                if let Some(end) = program.ended() {
                    if !missed.contains(&end) {
                        missed.push(end);
                    }
                } else if since.elapsed() < within {
                    late = true;
                } else {
                    missed.push(format!("{silent:?}: took longer than {within:?} {what}"));
                }
            }
            if !late {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
