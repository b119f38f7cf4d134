//! The course of a run: work, a fault, a promotion, the old leader's return, the verdict.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use everline_lab::ledger::{Entry, Shape, Writer};
use everline_lab::postgres::Installation;
use everline_lab::{Error, Result, process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::args::{Args, Fault, Ha};
use crate::board::{Board, COLUMN};
use crate::frame::View;
use crate::paint::{Ink, Line};
use crate::screen::{Screen, complain, print_json, seconds};
use crate::stage::Stage;
use crate::verdict::Verdict;
use crate::watch::watch;
use crate::world::set_state;

/// Undisturbed work before the fault.
const BEFORE: Duration = Duration::from_secs(3);
/// Work after service has come back, and again after the old leader has.
const AFTER: Duration = Duration::from_secs(2);
/// Longest wait for the first acknowledged statement at all, and after the promotion.
const PATIENCE: Duration = Duration::from_mins(1);
/// The same without Everline, where some clients never come back.
const PATIENCE_WITHOUT: Duration = Duration::from_secs(20);
/// How the clients write, a third of them each.
const SHAPES: [Shape; 3] = [Shape::Simple, Shape::Extended, Shape::Transaction];
/// Exit code of a program that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

/// Shows every fault that was asked for; says whether all went well.
pub(crate) async fn show_all(args: &Args) -> ExitCode {
    if args.without && args.ha == Ha::Stolon {
        return complain("--without goes by a name that moves, and --ha stolon has none");
    }
    let mut screen = Screen::new(args.json);
    let code = tokio::select! {
        biased;
        () = interrupted() => None,
        code = Box::pin(every_fault(args, &mut screen)) => Some(code),
    };
    drop(screen);
    process::clean_up();
    match code {
        Some(Ok(true)) => ExitCode::SUCCESS,
        Some(Ok(false)) => ExitCode::FAILURE,
        Some(Err(Error::Skip(why))) => complain(&why),
        Some(Err(error)) => complain(&error.to_string()),
        None => {
            complain("interrupted; everything it had started has ended");
            ExitCode::from(INTERRUPTED)
        }
    }
}

async fn every_fault(args: &Args, screen: &mut Screen) -> Result<bool> {
    let mut all_good = true;
    for fault in args.faults() {
        let verdict = Box::pin(show(args, fault, screen)).await?;
        all_good &= verdict.is_good();
        if args.json {
            print_json(&verdict);
        }
        screen.verdict(fault, &verdict);
    }
    Ok(all_good)
}

async fn interrupted() {
    let mut signals = JoinSet::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        if let Ok(mut heard) = signal(kind) {
            signals.spawn(async move { heard.recv().await });
        }
    }
    signals.join_next().await;
}

async fn show(args: &Args, fault: Fault, screen: &mut Screen) -> Result<Verdict> {
    let title = format!("Everline through a {fault}");
    screen.line(&Line::new());
    screen.line(&Line::new().with(Ink::Bold, format!("  {title}: setting up")));
    let mut stage = set_up(args, fault, screen).await?;
    let view = view(args, fault, &stage).await?;
    let board = Arc::new(Board::new(args.clients));
    let mut run = Run::new(args, fault, board.clone(), &stage);
    let mut columns = interval(COLUMN);
    columns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let entries = {
        let mut course = Box::pin(run.course(&mut stage));
        loop {
            tokio::select! {
                biased;
                entries = &mut course => break entries?,
                _ = columns.tick() => {
                    board.end_columns();
                    screen.show(&view, &board);
                }
            }
        }
    };
    screen.finish(&view, &board);
    let rows = stage.world.ledger().await?;
    let manager = stage.world.manager();
    let verdict = Verdict::new(args, fault, manager, &board.state(), &entries, &rows);
    if !verdict.is_good()
        && let Some(everline) = &stage.everline
    {
        let log = everline.log();
        let from = log.len().saturating_sub(3000);
        let tail = log.get(from..).unwrap_or(&log);
        screen.line(&Line::new().with(Ink::Plain, format!("Everline's log ends:\n{tail}")));
    }
    Ok(verdict)
}

/// Sets up while the screen shows that something is happening.
async fn set_up(args: &Args, fault: Fault, screen: &mut Screen) -> Result<Stage> {
    let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
    let mut ticks = interval(COLUMN);
    let mut setting_up = Box::pin(Stage::set_up(args, fault, move |text: &str| {
        let _ = say.send(text.to_owned());
    }));
    let stage = loop {
        tokio::select! {
            biased;
            Some(text) = said.recv() => screen.step(&text),
            stage = &mut setting_up => break stage,
            _ = ticks.tick() => screen.spin(),
        }
    };
    drop(setting_up);
    while let Ok(text) = said.try_recv() {
        screen.step(&text);
    }
    if stage.is_ok() {
        screen.step_done();
    }
    stage
}

async fn view(args: &Args, fault: Fault, stage: &Stage) -> Result<View> {
    let version = Installation::find().await?.version();
    let who = if args.without { "Without Everline" } else { "Everline" };
    let hold = humantime::format_duration(args.hold);
    let page =
        stage.everline.as_ref().map(|everline| format!("http://{}/", everline.http_address()));
    let by = stage.world.title();
    let title = format!("{who} through a {fault} · {by} · PostgreSQL {version} · hold {hold}");
    Ok(View { title, page: page.unwrap_or_default() })
}

/// What a run is made of, besides its stage.
struct Run {
    board: Arc<Board>,
    promote_after: Duration,
    /// Longest wait for service after the promotion.
    patience: Duration,
    stop: CancellationToken,
    writers: JoinSet<Vec<Entry>>,
    /// Looks at Everline; ends with the run.
    looking: JoinSet<()>,
}

impl Run {
    /// Lets the clients begin.
    fn new(args: &Args, fault: Fault, board: Arc<Board>, stage: &Stage) -> Self {
        let stop = CancellationToken::new();
        let ids = Arc::new(AtomicU64::new(1));
        let mut writers = JoinSet::new();
        for (number, shape) in (0..args.clients).zip(SHAPES.into_iter().cycle()) {
            let (door, board, ids) = (stage.door(), board.clone(), ids.clone());
            writers.spawn(Writer::new(number, shape, door, board, ids, stop.clone()).run());
        }
        let mut looking = JoinSet::new();
        if let Some(everline) = &stage.everline {
            looking.spawn(watch(everline.http_address(), board.clone()));
        }
        let promote_after =
            if fault == Fault::Switchover { Duration::ZERO } else { args.promote_after };
        let patience = if args.without { PATIENCE_WITHOUT } else { PATIENCE };
        Self { board, promote_after, patience, stop, writers, looking }
    }

    /// The whole story; what the clients were told.
    ///
    /// # Errors
    /// What goes wrong with the stage, not with the service: that is the verdict's business.
    async fn course(&mut self, stage: &mut Stage) -> Result<Vec<Entry>> {
        let board = self.board.clone();
        let words = stage.world.words();
        introduce(stage, &board);
        board.event('·', format!("{} clients begin to write", board.clients()));
        self.all_write(stage).await?;
        sleep(BEFORE).await;

        board.state().fault = Some(tokio::time::Instant::now());
        board.event('▼', words.fault);
        set_state(&board, 0, words.state);
        stage.world.fail().await?;
        stage.world.hand_over(self.promote_after, &board).await?;
        self.served().await;
        sleep(AFTER).await;

        stage.world.old_leader_returns().await?;
        board.event('↺', words.back);
        set_state(&board, 0, words.back_state);
        sleep(AFTER).await;
        self.stop.cancel();
        let mut entries = Vec::new();
        while let Some(promised) = self.writers.join_next().await {
            entries.extend(promised.unwrap_or_default());
        }
        board.event('·', "the clients have stopped; counting what they were promised");
        self.looking.shutdown().await;
        Ok(entries)
    }

    /// Waits until every client has written a few rows.
    async fn all_write(&self, stage: &Stage) -> Result<()> {
        let enough = self.board.clients().saturating_mul(5);
        let waiting = async {
            while self.board.state().totals.acknowledged < enough {
                sleep(COLUMN).await;
            }
        };
        let what = "the first acknowledged statements".to_owned();
        match (timeout(PATIENCE, waiting).await, &stage.everline) {
            (Ok(()), _) => Ok(()),
            (Err(_), None) => Err(Error::Late { what, within: PATIENCE }),
            (Err(_), Some(everline)) => Err(Error::Failed { what, detail: everline.log() }),
        }
    }

    /// Waits until service is back, or gives up.
    async fn served(&self) {
        let board = &self.board;
        let waiting = async {
            while board.state().served.is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let came = timeout(self.patience, waiting).await.is_ok();
        let outage = board.state().outage().filter(|_| came);
        match outage {
            Some(outage) => {
                board.event('●', format!("service is back: {} after that", seconds(outage)));
            }
            None => board.event('✗', "service has not come back"),
        }
    }
}

/// Says who is what before anything happens.
fn introduce(stage: &Stage, board: &Board) {
    let roles = ["primary: the leader", "synchronous standby"];
    let nodes = stage.nodes();
    let mut shown = board.state();
    for ((name, address), role) in nodes.iter().zip(roles) {
        let named = format!("{name} {}", address.ip());
        shown.participants.nodes.push((named, role.to_owned()));
    }
    shown.participants.guide = stage.world.guide();
}
