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
use crate::config::{Config, ResolverChoice, Source};
use crate::frontend::{Context, Shared, Visitor};
use crate::metrics::Metrics;
use crate::sources::proxy::Proxy;
use crate::sources::status::SourceHandle;
use crate::supervisor::{self, Control, Fence, Supervisor};

/// Makes the supervisor, the pools and what sessions share, and starts them.
pub(super) fn wire(
    config: &Config,
    parts: &mut Parts,
    console: mpsc::Sender<Visitor>,
    requests: mpsc::Sender<Request>,
) -> Result<(Arc<Context>, Arc<Desk>), RunError> {
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
    let control = handle.control.clone();
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
    let knocking = knock(Arc::clone(&pools), own_login, config.backend.dial_timeout);
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
    Ok((context, Arc::new(desk)))
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
