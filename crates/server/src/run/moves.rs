//! The backend's side of a reload: another way to log in, other settings, another place.
//!
//! Everything that can fail comes first and changes nothing. A place that is left is left in order:
//! open transactions may finish, what clients send meanwhile waits, and goes to the new place.

use std::time::Duration;

use tokio::time::timeout;

use super::end::WITHDRAW_MAX;
use super::reload::Reloader;
use super::wire::{self, Way};
use super::{Parts, RunError};
use crate::backend::pool::Scope;
use crate::check::{self, Finding};
use crate::config::{BackendConfig, Config, Source};
use crate::frontend::Live;
use crate::frontend::login::pool_login;
use crate::frontend::prove::Shown;
use crate::sources::proxy::Proxy;
use crate::supervisor::{Moved, Settings};

/// How long another place may take to prove that it has a leader.
const PROOF_MAX: Duration = Duration::from_secs(10);

/// How long open transactions may go on before the place they are at is left.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// What is needed to go on elsewhere, or otherwise. Nothing has changed yet.
pub(super) struct Move {
    way: Way,
    settings: Settings,
    moved: Option<Moved>,
    proxy: Option<Proxy>,
}

impl Move {
    /// Makes everything, and has another DSN prove itself while there is a leader to lose.
    ///
    /// # Errors
    /// Why nothing changes, in one sentence.
    pub(super) async fn prepare(reloader: &Reloader, new: &Config) -> Result<Self, String> {
        let old = &reloader.current.backend;
        let way = Way::new(&new.backend).map_err(|error| error.to_string())?;
        let settings = wire::supervisor_settings(new);
        let elsewhere = leads_elsewhere(old, &new.backend);
        let (control, fence) = (reloader.desk.control.clone(), settings.fence.clone());
        let proxy = if elsewhere {
            let proxy = wire::proxy(new, &way.resolver, control, fence).map_err(RunError::from);
            proxy.map_err(|error| error.to_string())?
        } else {
            None
        };
        let other = old.dsn != new.backend.dsn || elsewhere;
        let target = reloader.context.pools.target();
        let known = target.leader.as_ref().and_then(|leader| leader.identity.system_identifier);
        let forget = if other && target.is_available() {
            let found = prove(&new.backend).await?;
            known.is_none_or(|known| !found.contains(&known.to_string()))
        } else {
            !share_a_host(old, &new.backend)
        };
        let why = "a reload has brought another backend_dsn".to_owned();
        let moved = elsewhere.then_some(Moved { forget, why });
        Ok(Self { way, settings, moved, proxy })
    }

    /// Goes there. `live` holds from then on.
    pub(super) async fn go(self, reloader: &Reloader, new: &Config, live: Live, parts: &mut Parts) {
        let Self { way, settings, moved, proxy } = self;
        let (context, desk) = (&reloader.context, &reloader.desk);
        let pools = &context.pools;
        let elsewhere = moved.is_some();
        if elsewhere {
            if timeout(FINISH_MAX, pools.pause(Scope::Move)).await.is_err() {
                tracing::warn!("transactions were open for too long; they are lost (40001)");
            }
            parts.withdraw.cancel();
            if timeout(WITHDRAW_MAX, parts.withdrawn.cancelled()).await.is_err() {
                tracing::warn!("the source was not told that we are gone");
            }
        }
        reloader.way.dialer.become_as(&way.dialer);
        reloader.way.scout.become_as(&way.scout);
        context.reload(live);
        let live = context.live();
        pools.configure(wire::pool_settings(new));
        pools.log_in_as(|key, login| {
            let shown = Shown { keys: login.keys.clone(), password: login.password.clone() };
            pool_login(key, &shown, &live)
        });
        desk.control.configure(settings, moved).await; // the old place is left from here on
        if elsewhere {
            (parts.withdraw, parts.withdrawn) = Default::default();
            let source = proxy.map(|proxy| wire::start(proxy, parts));
            if source.is_none() {
                parts.withdrawn.cancel();
            }
            desk.observer.source.set(source);
            pools.resume(&Scope::Move);
        }
    }
}

/// Whether the leader is to be looked for elsewhere, or by others.
fn leads_elsewhere(old: &BackendConfig, new: &BackendConfig) -> bool {
    old.source != new.source
        || old.resolver != new.resolver
        || old.dsn.hosts != new.dsn.hosts
        || old.dsn.target_session_attrs != new.dsn.target_session_attrs
}

fn share_a_host(old: &BackendConfig, new: &BackendConfig) -> bool {
    match (&old.source, &new.source) {
        (Source::Dsn, Source::Dsn) => old.dsn.hosts.iter().any(|host| new.dsn.hosts.contains(host)),
        (Source::Stolon(old), Source::Stolon(new)) => old.cluster == new.cluster,
        (Source::Dsn, Source::Stolon(_)) | (Source::Stolon(_), Source::Dsn) => false,
    }
}

/// The system identifiers of the primaries to which a configuration leads, one at least.
async fn prove(backend: &BackendConfig) -> Result<Vec<String>, String> {
    let Ok(checked) = timeout(PROOF_MAX, check::check(backend)).await else {
        return Err(format!("the new backend_dsn does not lead to a leader within {PROOF_MAX:?}"));
    };
    let report = checked.map_err(|error| error.to_string())?;
    let mut problems = Vec::new();
    let mut primaries = Vec::new();
    for finding in report.findings {
        match finding {
            Finding::Node { node, .. } if !node.in_recovery => {
                primaries.push(node.system_identifier);
            }
            Finding::Node { .. } | Finding::Unreachable { .. } => {
                problems.push(finding.to_string());
            }
            Finding::Source { .. } => {}
        }
    }
    if primaries.is_empty() {
        let problems = problems.join("; ");
        return Err(format!("the new backend_dsn leads to no leader: {problems}"));
    }
    Ok(primaries)
}
