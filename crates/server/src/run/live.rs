//! From the configuration to what sessions read of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use everline_core::refusal::Codes;
use everline_core::session::gel::GelPolicy;
use everline_core::session::settings::Settings;
use everline_core::session::{Lending, Policy};
use everline_wire::auth::{self, secret};
use everline_wire_gel::{ErrorCode, state};

use super::RunError;
use crate::backend::dial::Login;
use crate::config::hba::Method;
use crate::config::{
    Config, Credential, Door, GelConfig, GelIsolation, GelUnavailable, InFlightSelect, LostCommit,
    UnreplayableState, User as ConfigUser,
};
use crate::frontend::users::User;
use crate::frontend::{Live, Role};
use crate::net::tls::FrontendTls;

/// Reads the files that the configuration names, and hashes its passwords.
pub(super) fn live(config: &Config) -> Result<Live, RunError> {
    let dsn = &config.backend.dsn;
    Ok(Live {
        policy: Arc::new(policy(config)),
        sharing: config.pool.sharing.clone(),
        hold: config.failover.hold,
        shutdown_hold: config.failover.shutdown_hold,
        pause_hold: config.failover.pause_hold,
        login_max: config.frontend.login,
        message_bytes_max: config.frontend.message_bytes_max,
        door: config.frontend.auth.door.clone(),
        maps: config.frontend.auth.maps.clone(),
        map: config.frontend.auth.map.clone(),
        auth_query: config.frontend.auth.query.clone(),
        by_role: config.frontend.auth.by_role,
        proxies: config.frontend.proxies.clone(),
        users: users(config)?,
        tls: match &config.frontend.tls {
            Some(files) => Some(FrontendTls::load(files)?),
            None => None,
        },
        clients_max: config.frontend.clients_max,
        roles: roles(config),
        backend_login: Login { password: dsn.own_password().cloned(), ..Login::from_dsn(dsn) },
    })
}

fn policy(config: &Config) -> Policy {
    let failover = &config.failover;
    Policy {
        codes: Codes {
            retryable: failover.retryable,
            in_transaction: failover.in_transaction,
            unknown: failover.unknown,
            startup: failover.startup,
            message: Arc::clone(&failover.message),
        },
        in_flight_select_retryable: failover.in_flight_select == InFlightSelect::Retryable,
        lost_state: match failover.unreplayable_state {
            UnreplayableState::Close => everline_core::session::LostState::Close,
            UnreplayableState::Error => everline_core::session::LostState::Error,
            UnreplayableState::Ignore => everline_core::session::LostState::Ignore,
        },
        lending: Lending::Transaction,
        silent_rollback: failover.lost_commit == LostCommit::Rollback,
        restart_savepoint: failover.restart_savepoint,
        local_probes: failover.local_probes,
        local_resets: failover.local_resets,
        answer_select_1: failover.answer_select_1,
        tells_of_gaps: failover.tells_of_gaps,
    }
}

/// What is the same for all sessions of Gel's clients.
pub(super) fn gel_policy(config: &Config, gel: &GelConfig) -> GelPolicy {
    let isolation = match gel.isolation {
        GelIsolation::Serializable => Some("serializable"),
        GelIsolation::RepeatableRead => Some("repeatable read"),
        GelIsolation::ReadCommitted => Some("read committed"),
        GelIsolation::Server => None,
    };
    let isolation = isolation.map(|level| ("default_transaction_isolation", level));
    let encoding = ("client_encoding", "UTF8");
    GelPolicy {
        edgeql_as_sql: gel.edgeql_as_sql,
        unavailable: match gel.unavailable {
            GelUnavailable::BackendUnavailable => ErrorCode::BACKEND_UNAVAILABLE,
            GelUnavailable::TransactionConflict => ErrorCode::TRANSACTION_CONFLICT,
        },
        in_flight_select_retryable: config.failover.in_flight_select == InFlightSelect::Retryable,
        settings: Arc::new(Settings::from_startup(isolation.into_iter().chain([encoding]))),
        state: state::descriptor(),
    }
}

/// Who may log in: the DSN's own user, and those of the files.
fn users(config: &Config) -> Result<BTreeMap<String, User>, RunError> {
    let dsn = &config.backend.dsn;
    let door = &config.frontend.auth.door;
    let mut users = BTreeMap::new();
    let from_password = |password: &secret::Secret| {
        let salt = auth::random::<{ secret::SALT_BYTES }>()?;
        let verifier =
            secret::ScramVerifier::from_password(password.reveal(), &salt, secret::ITERATIONS);
        let (verifier, password) = (Some(verifier), Some(password.clone()));
        Ok::<_, auth::NoRandom>(User { verifier, md5: None, password })
    };
    if let Some(password) = dsn.own_password() {
        users.insert(dsn.user.clone(), from_password(password)?);
    } else if *door == Door::One(Method::Scram) {
        tracing::warn!(
            user = dsn.user,
            "no password is known for the DSN's user: it cannot log in here by SCRAM"
        );
    }
    for ConfigUser { name, credential } in &config.frontend.auth.users {
        let user = match credential {
            Credential::Password(password) => from_password(password)?,
            Credential::Verifier(verifier) => User::stored(verifier),
        };
        users.insert(name.clone(), user);
    }
    Ok(users)
}

/// Who may do what on the console; an administrator may do everything.
fn roles(config: &Config) -> BTreeMap<String, Role> {
    let with = |names: &[String], role| -> Vec<(String, Role)> {
        names.iter().map(|name| (name.clone(), role)).collect()
    };
    let frontend = &config.frontend;
    let watchers = with(&frontend.watchers, Role::Stats);
    watchers.into_iter().chain(with(&frontend.admins, Role::Admin)).collect()
}
