//! The wiring: the only place where everything meets. Start order, drain, end.

mod end;
mod gel;
mod live;
mod moves;
mod places;
mod reload;
mod wire;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use everline_wire::auth;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::command::Shutdown;
use crate::admin::console::{self, Desk};
use crate::admin::control::Request;
use crate::admin::http;
use crate::backend::pool::{Pools, Scope};
use crate::config::Config;
use crate::frontend::{Context, Visitor, accept};
use crate::log::Log;
use crate::net::handover::Taken;
use crate::net::listen::Listener;
use crate::net::notify::Notify;
use crate::net::socket::SocketOptions;
use crate::net::tls::TlsError;
use crate::signals::{Hangups, Planned, Plans, Stops};
use crate::sources::proxy::SourceError;
use places::Places;
use reload::Reloader;

pub use reload::Loader;

/// How long a process that takes over looks for a leader before it lets the other one go.
const READY_MAX: Duration = Duration::from_secs(10);

/// Clients of the console, and requests of theirs, that may wait to be taken.
const CONSOLE_QUEUE: usize = 16;

/// File descriptors beside those of clients and backends.
const SPARE_DESCRIPTORS: u64 = 512;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A place to listen at cannot be had.
    #[error("cannot listen at {place}: {source}")]
    Listen {
        /// Where.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system does not give what every server needs.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The system has no random numbers.
    #[error(transparent)]
    NoRandom(#[from] auth::NoRandom),
    /// The source that names the leader cannot be asked.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A part without which the server must not go on has ended.
    #[error("the {part} has ended unexpectedly; see the log")]
    Ended {
        /// Which.
        part: &'static str,
    },
}

impl RunError {
    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Tls(_) | Self::Source(SourceError::Tls(_)) => 2,
            Self::Listen { .. }
            | Self::System { .. }
            | Self::NoRandom(_)
            | Self::Source(SourceError::NoRandom(_))
            | Self::Ended { .. } => 1,
        }
    }
}

/// Serves until a signal says otherwise. `load` reads the configuration again, for a reload.
///
/// # Errors
/// See [`RunError`]; nothing has been served then, except after [`RunError::Ended`].
pub fn run(config: Config, load: Loader, log: Log) -> Result<(), RunError> {
    let mut builder = if config.workers == 1 {
        // One thread alone needs no queue that another could steal from, and wakes nobody.
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if config.workers > 1 {
        builder.worker_threads(config.workers);
    }
    let system = |what| move |source| RunError::System { what, source };
    let runtime = builder.enable_all().build().map_err(system("no runtime"))?;
    let outcome = runtime.block_on(serve(config, load, log));
    // A name server that hangs must not keep the process from ending.
    runtime.shutdown_background();
    outcome
}

/// What runs until the end.
struct Parts {
    essential: JoinSet<&'static str>,
    sessions: TaskTracker,
    background: TaskTracker,
    /// Nobody new is let in.
    accepting: CancellationToken,
    /// Idle clients are sent away.
    drain: CancellationToken,
    /// Everything ends.
    stop: CancellationToken,
    /// The source takes its leave, once nobody is served any more.
    withdraw: CancellationToken,
    /// It has.
    withdrawn: CancellationToken,
}

impl Parts {
    fn new() -> Self {
        Self {
            essential: JoinSet::new(),
            sessions: TaskTracker::new(),
            background: TaskTracker::new(),
            accepting: CancellationToken::new(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
            withdraw: CancellationToken::new(),
            withdrawn: CancellationToken::new(),
        }
    }
}

/// Why the server ends.
enum End {
    /// As soon as open transactions have finished.
    Drain,
    /// At once.
    Now,
    /// When the last client has left.
    Alone,
    /// Another process has taken our sockets over.
    HandedOver,
}

/// The signals that we hear.
struct Signals {
    stops: Stops,
    hangups: Hangups,
}

async fn serve(config: Config, load: Loader, log: Log) -> Result<(), RunError> {
    raise_descriptor_limit(&config);
    let caught = |source| RunError::System { what: "cannot catch signals", source };
    let mut signals =
        Signals { stops: Stops::new().map_err(caught)?, hangups: Hangups::new().map_err(caught)? };
    let plans = Plans::new().map_err(caught)?;
    let notify = Notify::from_environment();
    let mut taken = places::take_over(&config)?;
    let mut given = places::activated(&config)?;
    if let Some(taken) = &mut taken {
        given.append(&mut taken.sockets);
    }
    let open = Places::open(&config, &mut given)?;
    let mut parts = Parts::new();
    let (visitors, requests);
    let (context, desk, way);
    {
        let console = mpsc::channel(CONSOLE_QUEUE);
        let ways = mpsc::channel(CONSOLE_QUEUE);
        (visitors, requests) = (console.1, ways.1);
        (context, desk, way) = wire::wire(&config, &mut parts, console.0, ways.0)?;
    }
    let pools = Arc::clone(&context.pools);
    let plan = follow_plans(plans, Arc::clone(&pools));
    parts.essential.spawn(async move {
        plan.await;
        "signals"
    });
    let kept = Arc::clone(&open.kept);
    let handed = CancellationToken::new();
    gel::listen(&config, &mut parts, &context)?;
    let copies = listen(open, &mut parts, &context, &desk);
    watch(&parts, &desk, visitors, &log);
    if let Some(taken) = taken {
        succeed(taken, &pools, &parts).await;
    }
    if let Some(path) = &config.takeover {
        let offering = Places::offer(copies, path, handed.clone(), Arc::clone(&pools))?;
        let stop = parts.stop.clone();
        parts.background.spawn(async move { stop.run_until_cancelled(offering).await });
    }
    notify.say(&format!("MAINPID={}\nREADY=1", std::process::id()));
    let mut reloader = Reloader { load, current: config, context, desk, way, log };
    let looks = Looks { requests, handed: handed.clone(), notify: &notify };
    let end = attend(&mut parts, &mut signals, looks, &mut reloader).await?;
    notify.say("STOPPING=1");
    let config = &reloader.current;
    let stops = &mut signals.stops;
    let longest = match end {
        End::Now => Duration::ZERO,
        End::Drain => config.drain,
        End::Alone => {
            end::linger(&parts, stops, &pools, None).await;
            config.drain
        }
        End::HandedOver => {
            kept.store(true, Ordering::Relaxed);
            tracing::info!("another process has taken over; clients may stay until they leave");
            end::linger(&parts, stops, &pools, Some(config.linger)).await;
            config.drain
        }
    };
    end::drain(parts, stops, &pools, longest).await;
    Ok(())
}

/// Accepts clients, and those who watch. Returns copies of the sockets.
fn listen(
    open: Places,
    parts: &mut Parts,
    context: &Arc<Context>,
    desk: &Desk,
) -> crate::net::handover::Sockets {
    for (listener, place) in open.clients {
        tracing::info!(place, "listening");
        let (sessions, accepting) = (parts.sessions.clone(), parts.accepting.clone());
        let accepting = accept_clients(listener, Arc::clone(context), sessions, accepting);
        let stop = parts.stop.clone();
        parts.essential.spawn(async move {
            accepting.await;
            stop.cancelled().await;
            "listener"
        });
    }
    if let Some((listener, address)) = open.http {
        tracing::info!(%address, "status page at http://{address}/");
        let tasks = parts.background.clone();
        let ends = (parts.accepting.clone(), parts.stop.clone());
        let observer = Arc::clone(&desk.observer);
        tasks.spawn(http::serve(listener, observer, tasks.clone(), ends));
    }
    open.copies
}

/// Starts what runs beside: the console, averages, and the count of repeated lines.
fn watch(parts: &Parts, desk: &Arc<Desk>, visitors: mpsc::Receiver<Visitor>, log: &Log) {
    let tasks = parts.background.clone();
    let serving = console::serve(visitors, Arc::clone(desk), tasks.clone(), parts.stop.clone());
    tasks.spawn(serving);
    let (counting, stop) = (Arc::clone(desk), parts.stop.clone());
    tasks.spawn(async move { counting.averages.run(&counting.observer.metrics, stop).await });
    let (repeats, stop) = (Arc::clone(&log.repeats), parts.stop.clone());
    tasks.spawn(async move {
        let telling = async {
            loop {
                tokio::time::sleep(crate::log::WINDOW).await;
                repeats.tell();
            }
        };
        tokio::select! {
            biased; // the end first
            () = stop.cancelled() => {}
            () = telling => {}
        }
    });
}

/// What is heard beside signals.
struct Looks<'a> {
    requests: mpsc::Receiver<Request>,
    handed: CancellationToken,
    notify: &'a Notify,
}

/// Does what signals and the console ask for, until it is time to end.
async fn attend(
    parts: &mut Parts,
    signals: &mut Signals,
    mut looks: Looks<'_>,
    reloader: &mut Reloader,
) -> Result<End, RunError> {
    let alive = looks.notify.beat();
    loop {
        let beat = async {
            match alive {
                Some(every) => tokio::time::sleep(every).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased; // asked to stop, we do
            signal = signals.stops.next() => {
                tracing::info!(signal, "draining");
                return Ok(End::Drain);
            }
            ended = parts.essential.join_next() => {
                let part = ended.and_then(Result::ok);
                let part = part.unwrap_or("supervisor, source, pool or listener");
                return Err(RunError::Ended { part });
            }
            () = looks.handed.cancelled() => return Ok(End::HandedOver),
            () = signals.hangups.next() => {
                looks.notify.say("RELOADING=1");
                drop(reloader.reload_and_tell(parts).await); // it is in the log
                looks.notify.say("READY=1");
            }
            Some(request) = looks.requests.recv() => match request {
                // Whoever asked may have left.
                Request::Reload(answer) => drop(answer.send(reloader.reload_and_tell(parts).await)),
                Request::Shutdown(how) => {
                    tracing::info!(?how, "told to end by the console");
                    return Ok(match how {
                        Shutdown::Now => End::Now,
                        Shutdown::WaitForServers => End::Drain,
                        Shutdown::WaitForClients => End::Alone,
                    });
                }
            },
            () = beat => looks.notify.alive(),
        }
    }
}

/// Takes the place of the process before us. While that has clients, both share the budget.
async fn succeed(taken: Taken, pools: &Arc<Pools>, parts: &Parts) {
    pools.share_budget(true);
    until_ready(pools).await;
    match taken.ready() {
        Ok(before) => {
            let (pools, stop) = (Arc::clone(pools), parts.stop.clone());
            parts.background.spawn(async move {
                if stop.run_until_cancelled(before.gone()).await.is_some() {
                    tracing::info!("the process before us has ended; the budget is ours alone");
                    pools.share_budget(false);
                }
            });
        }
        Err(error) => {
            tracing::warn!(%error, "the process before us has gone by itself");
            pools.share_budget(false);
        }
    }
}

/// Waits until a leader is found, or long enough.
async fn until_ready(pools: &Pools) {
    let found = async {
        while !pools.target().is_available() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(READY_MAX, found).await.is_err() {
        tracing::warn!("no leader found yet; taking over all the same");
    }
}

/// Pauses and resumes as signals say.
async fn follow_plans(mut plans: Plans, pools: Arc<Pools>) {
    loop {
        match plans.next().await {
            Planned::Resume => drop(pools.resume(&Scope::All)),
            Planned::Pause => {
                let mut pause = std::pin::pin!(pools.pause(Scope::All));
                loop {
                    tokio::select! {
                        biased; // a pause that is complete is over before the next signal
                        outcome = &mut pause => {
                            if let Err(resumed) = outcome {
                                tracing::info!("pause: {resumed}");
                            }
                            break;
                        }
                        planned = plans.next() => if planned == Planned::Resume {
                            pools.resume(&Scope::All);
                        },
                    }
                }
            }
        }
    }
}

async fn accept_clients(
    listener: Listener,
    context: Arc<Context>,
    sessions: TaskTracker,
    accepting: CancellationToken,
) {
    let options = SocketOptions::default();
    loop {
        let accepted = tokio::select! {
            biased; // told to stop, nobody new is let in
            () = accepting.cancelled() => return,
            accepted = listener.accept(&options) => accepted,
        };
        match accepted {
            Ok(stream) => {
                sessions.spawn(accept::serve(Arc::clone(&context), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Raises the soft limit on file descriptors to what the configuration can need.
fn raise_descriptor_limit(config: &Config) {
    let clients = u64::try_from(config.frontend.clients_max).unwrap_or(u64::MAX);
    let backends = u64::try_from(config.pool.connections_max).unwrap_or(u64::MAX);
    let needed = clients.saturating_add(backends).saturating_add(SPARE_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let wanted = Rlimit { current: Some(raised), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    if raised < needed {
        tracing::warn!(
            limit = raised,
            needed,
            "the limit on open files (ulimit -n) is too low for clients_max"
        );
    }
}
