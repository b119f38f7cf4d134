//! Makes everything, and tells each part of those that it needs.

use std::sync::{Arc, Mutex};

use everline_core::limits::DIALS_MAX;
use everline_wire::auth;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::live::live;
use super::{Parts, RunError};
use crate::admin::averages::Averages;
use crate::admin::console::Desk;
use crate::admin::control::Request;
use crate::admin::status::Observer;
use crate::backend::dial::{Dialer, Login};
use crate::backend::knock::knock;
use crate::backend::pool::{PoolSettings, Pools};
use crate::backend::resolve::Resolver;
use crate::backend::system::SystemScout;
use crate::config::{BackendConfig, Config, ResolverChoice, Source};
use crate::frontend::{Context, Shared, Visitor};
use crate::metrics::Metrics;
use crate::net::tls::TlsError;
use crate::sources::proxy::{Proxy, SourceError};
use crate::sources::status::{CurrentSource, SourceHandle};
use crate::supervisor::{self, Control, Fence, Supervisor};

/// Makes the supervisor, the pools and what sessions share, and starts them.
pub(super) fn wire(
    config: &Config,
    parts: &mut Parts,
    console: mpsc::Sender<Visitor>,
    requests: mpsc::Sender<Request>,
) -> Result<(Arc<Context>, Arc<Desk>, Way), RunError> {
    let way = Way::new(&config.backend)?;
    let Way { dialer, scout, resolver } = way.clone();
    let knocker = scout.clone();
    let settings = supervisor_settings(config);
    let fence = settings.fence.clone();
    let (supervisor, handle) = Supervisor::new(settings, scout);
    let control = handle.control.clone();
    let source = CurrentSource::default();
    match proxy(config, &resolver, handle.control.clone(), fence)? {
        Some(proxy) => source.set(Some(start(proxy, parts))),
        None => parts.withdrawn.cancel(),
    }
    let stop = parts.stop.clone();
    parts.essential.spawn(async move {
        supervisor.run(stop).await;
        "supervisor"
    });
    let pool_settings = pool_settings(config);
    let background = parts.background.clone();
    let targets = handle.target.clone();
    let pools = Pools::new(pool_settings, handle.target, handle.reporter, dialer, background);
    let knocking = knock(Arc::clone(&pools), knocker);
    let stop = parts.stop.clone();
    parts.background.spawn(async move { stop.run_until_cancelled_owned(knocking).await });
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
        console,
        peers: config.frontend.peers.clone(),
    };
    let context = Arc::new(Context::new(shared, live(config)?));
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
    let desk = Desk {
        observer: Arc::new(observer),
        averages: Averages::default(),
        settings: Mutex::new(config.shown()),
        requests,
        control,
    };
    Ok((context, Arc::new(desk), way))
}

/// How many connections pools may have: the budget includes the system connection, which is never
/// lent.
fn connections_max(config: &Config) -> usize {
    config.pool.connections_max.saturating_sub(1).max(1)
}

/// What the pools have to know.
pub(super) fn pool_settings(config: &Config) -> PoolSettings {
    PoolSettings {
        connections_max: connections_max(config),
        dials_max: DIALS_MAX,
        dial_timeout: config.backend.dial_timeout,
        idle_max: config.pool.idle_max,
        lifetime_max: config.pool.lifetime_max,
        waiters_max: config.pool.waiters_max,
        held_max: config.failover.held_max,
        held_bytes_max: config.failover.held_bytes_max,
    }
}

/// What the supervisor has to know.
pub(super) fn supervisor_settings(config: &Config) -> supervisor::Settings {
    supervisor::Settings::from_config(&config.backend, connections_max(config))
}

/// How backends are found and logged in to. The clones are one way.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub dialer: Dialer,
    pub scout: SystemScout,
    pub resolver: Resolver,
}

impl Way {
    /// The way that a configuration asks for; reads the certificates that the DSN names.
    pub(super) fn new(backend: &BackendConfig) -> Result<Self, TlsError> {
        let dsn = &backend.dsn;
        let dialer = Dialer::new(dsn)?;
        let resolver = match backend.resolver {
            ResolverChoice::System => Resolver::system(),
            ResolverChoice::Server(address) => Resolver::server(address),
        };
        let (login, wanted) = (Login::from_dsn(dsn), dsn.target_session_attrs);
        let scout = SystemScout::new(resolver.clone(), dialer.clone(), login, wanted);
        Ok(Self { dialer, scout, resolver })
    }
}

/// The source that names the leader, where the DSN does not.
pub(super) fn proxy(
    config: &Config,
    resolver: &Resolver,
    control: Control,
    fence: Fence,
) -> Result<Option<Proxy>, SourceError> {
    match &config.backend.source {
        Source::Dsn => Ok(None),
        Source::Stolon(stolon) => Proxy::new(stolon, resolver, control, fence).map(Some),
    }
}

/// Lets a source name the leader until it is withdrawn.
pub(super) fn start(proxy: Proxy, parts: &mut Parts) -> SourceHandle {
    let status = proxy.status();
    let (withdraw, withdrawn) = (parts.withdraw.clone(), parts.withdrawn.clone());
    let stop = parts.stop.clone();
    parts.essential.spawn(async move {
        proxy.run(withdraw).await;
        withdrawn.cancel();
        stop.cancelled().await;
        "source"
    });
    status
}
