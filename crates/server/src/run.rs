//! The wiring: the only place where everything meets. Start order, drain, end.

mod live;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use everline_core::limits::DIALS_MAX;
use everline_wire::auth;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::http;
use crate::admin::status::Observer;
use crate::backend::dial::{Dialer, Login};
use crate::backend::pool::{PoolSettings, Pools, Scope};
use crate::backend::resolve::Resolver;
use crate::backend::system::SystemScout;
use crate::config::{Config, Listen, ResolverChoice, Source};
use crate::frontend::{Context, Shared, accept};
use crate::metrics::Metrics;
use crate::net::listen::{Listener, bind_tcp};
use crate::net::socket::SocketOptions;
use crate::net::tls::TlsError;
use crate::signals::{Planned, Plans, Stops};
use crate::sources::proxy::{Proxy, SourceError};
use crate::sources::status::SourceHandle;
use crate::supervisor::{self, Control, Fence, Supervisor};

/// How long open transactions may go on after we were told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// How long the source's leave may take.
const WITHDRAW_MAX: Duration = Duration::from_secs(6);

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
    /// A user's stored verifier cannot serve the configured method.
    #[error("user {name}: only SCRAM-SHA-256 verifiers can check a client")]
    Verifier {
        /// The user.
        name: String,
    },
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
            Self::Tls(_) | Self::Verifier { .. } | Self::Source(SourceError::Tls(_)) => 2,
            Self::Listen { .. }
            | Self::System { .. }
            | Self::NoRandom(_)
            | Self::Source(SourceError::NoRandom(_))
            | Self::Ended { .. } => 1,
        }
    }
}

/// Serves until a signal says otherwise.
///
/// # Errors
/// See [`RunError`]; nothing has been served then, except after [`RunError::Ended`].
pub fn run(config: Config) -> Result<(), RunError> {
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
    let outcome = runtime.block_on(serve(config));
    // A name server that hangs must not keep the process from ending.
    runtime.shutdown_background();
    outcome
}

/// What runs until the end.
struct Parts {
    essential: JoinSet<&'static str>,
    sessions: TaskTracker,
    background: TaskTracker,
    /// Nothing new is let in, and idle clients are sent away.
    drain: CancellationToken,
    /// Everything ends.
    stop: CancellationToken,
    /// The source takes its leave, once nobody is served any more.
    withdraw: CancellationToken,
    /// It has.
    withdrawn: CancellationToken,
}

async fn serve(config: Config) -> Result<(), RunError> {
    raise_descriptor_limit(&config);
    let mut stops =
        Stops::new().map_err(|source| RunError::System { what: "cannot catch signals", source })?;
    let plans =
        Plans::new().map_err(|source| RunError::System { what: "cannot catch signals", source })?;
    let listeners = bind(&config.frontend.listen)?;
    let http_listener = config.http_listen.map(bind_http).transpose()?;
    let mut parts = Parts {
        essential: JoinSet::new(),
        sessions: TaskTracker::new(),
        background: TaskTracker::new(),
        drain: CancellationToken::new(),
        stop: CancellationToken::new(),
        withdraw: CancellationToken::new(),
        withdrawn: CancellationToken::new(),
    };
    let (context, observer) = wire(&config, &mut parts)?;
    let pools = Arc::clone(&context.pools);
    parts.essential.spawn(async move {
        follow_plans(plans, pools).await;
        "signals"
    });
    for (listener, place) in listeners.into_iter().zip(&config.frontend.listen) {
        tracing::info!(%place, "listening");
        let accepting = accept_clients(
            listener,
            Arc::clone(&context),
            parts.sessions.clone(),
            parts.drain.clone(),
        );
        let stop = parts.stop.clone();
        parts.essential.spawn(async move {
            accepting.await;
            stop.cancelled().await;
            "listener"
        });
    }
    if let Some((listener, address)) = http_listener {
        tracing::info!(%address, "status page at http://{address}/");
        let tasks = parts.background.clone();
        tasks.spawn(http::serve(listener, observer, tasks.clone(), parts.stop.clone()));
    }
    tokio::select! {
        biased; // asked to stop, we do
        signal = stops.next() => tracing::info!(signal, "draining"),
        ended = parts.essential.join_next() => {
            let part = ended.and_then(Result::ok).unwrap_or("supervisor, source, pool or listener");
            return Err(RunError::Ended { part });
        }
    }
    drain(parts, &mut stops).await;
    Ok(())
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

/// Lets open transactions finish, within bounds, and ends the rest.
async fn drain(parts: Parts, stops: &mut Stops) {
    parts.drain.cancel();
    parts.sessions.close();
    tokio::select! {
        biased; // whoever asks twice does not want to wait
        signal = stops.next() => tracing::warn!(signal, "asked again: ending at once"),
        drained = timeout(DRAIN_MAX, parts.sessions.wait()) => {
            if drained.is_err() {
                tracing::warn!(sessions = parts.sessions.len(), "ended with transactions open");
            }
        }
    }
    parts.withdraw.cancel();
    if timeout(WITHDRAW_MAX, parts.withdrawn.cancelled()).await.is_err() {
        tracing::warn!("the source was not told that we are gone");
    }
    parts.stop.cancel();
    parts.background.close();
    // They have been told; what hangs on the network is not worth waiting for.
    drop(timeout(Duration::from_millis(500), parts.background.wait()).await);
    tracing::info!("stopped");
}

/// Makes the supervisor, the pools and what sessions share, and starts them.
fn wire(config: &Config, parts: &mut Parts) -> Result<(Arc<Context>, Arc<Observer>), RunError> {
    let dsn = &config.backend.dsn;
    // The budget includes the system connection, which is never lent.
    let connections_max = config.pool.connections_max.saturating_sub(1).max(1);
    let dialer = Dialer::new(dsn)?;
    let resolver = match config.backend.resolver {
        ResolverChoice::System => Resolver::system(),
        ResolverChoice::Server(address) => Resolver::server(address),
    };
    let own_login = Login::from_dsn(dsn);
    let wanted = dsn.target_session_attrs;
    let scout = SystemScout::new(resolver.clone(), dialer.clone(), own_login.clone(), wanted);
    let settings = supervisor::Settings::from_config(&config.backend, connections_max);
    let fence = settings.fence.clone();
    let (supervisor, handle) = Supervisor::new(settings, scout);
    let source = source(config, parts, &resolver, handle.control.clone(), fence)?;
    let stop = parts.stop.clone();
    parts.essential.spawn(async move {
        supervisor.run(stop).await;
        "supervisor"
    });
    let pool_settings = PoolSettings {
        connections_max,
        dials_max: DIALS_MAX,
        dial_timeout: config.backend.dial_timeout,
        idle_max: config.pool.idle_max,
        lifetime_max: config.pool.lifetime_max,
        waiters_max: config.pool.waiters_max,
        held_max: config.failover.held_max,
        held_bytes_max: config.failover.held_bytes_max,
    };
    let background = parts.background.clone();
    let targets = handle.target.clone();
    let pools = Pools::new(pool_settings, handle.target, handle.reporter, dialer, background);
    let driver = Arc::clone(&pools);
    parts.essential.spawn(async move {
        driver.run().await;
        "pool"
    });
    let metrics = Arc::new(Metrics::default());
    let shared = Shared {
        pools: Arc::clone(&pools),
        metrics: Arc::clone(&metrics),
        mock_key: auth::random()?,
        drain: parts.drain.clone(),
    };
    let context = Arc::new(Context::new(shared, live::live(config)?));
    let started = Instant::now();
    let observer = Observer {
        ha: handle.status,
        pools,
        context: Arc::clone(&context),
        metrics,
        targets,
        drain: parts.drain.clone(),
        source,
        started,
    };
    Ok((context, Arc::new(observer)))
}

/// Starts the source that names the leader, where the DSN does not.
fn source(
    config: &Config,
    parts: &mut Parts,
    resolver: &Resolver,
    control: Control,
    fence: Fence,
) -> Result<Option<SourceHandle>, RunError> {
    let Source::Stolon(stolon) = &config.backend.source else {
        parts.withdrawn.cancel();
        return Ok(None);
    };
    let proxy = Proxy::new(stolon, resolver, control, fence)?;
    let status = proxy.status();
    let (withdraw, withdrawn) = (parts.withdraw.clone(), parts.withdrawn.clone());
    let stop = parts.stop.clone();
    parts.essential.spawn(async move {
        proxy.run(withdraw).await;
        withdrawn.cancel();
        stop.cancelled().await;
        "source"
    });
    Ok(Some(status))
}

fn bind(places: &[Listen]) -> Result<Vec<Listener>, RunError> {
    let bind = |place: &Listen| {
        Listener::bind(place)
            .map_err(|source| RunError::Listen { place: place.to_string(), source })
    };
    places.iter().map(bind).collect()
}

fn bind_http(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr), RunError> {
    let bound = bind_tcp(address).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|source| RunError::Listen { place: address.to_string(), source })
}

async fn accept_clients(
    listener: Listener,
    context: Arc<Context>,
    sessions: TaskTracker,
    drain: CancellationToken,
) {
    let options = SocketOptions::default();
    loop {
        let accepted = tokio::select! {
            biased; // told to stop, nobody new is let in
            () = drain.cancelled() => return,
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
