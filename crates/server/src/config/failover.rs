//! What clients are told when the leader goes, checked: codes and words that would have committed
//! work run twice, or whole pools thrown away, are refused with the reason.

use everline_core::refusal::Codes;
use everline_wire::sqlstate::SqlState;

use super::given::{ConfigError, Origin};
use super::load::Layers;
use super::value::{self, Zero};
use super::{FailoverConfig, InFlightSelect, LostCommit, UnreplayableState};

/// Longest `retryable_message`, in bytes: it is one line of an error.
const MESSAGE_BYTES_MAX: usize = 200;

/// Words by which clients know a connection that is lost, and leave it: `SQLAlchemy` with psycopg2,
/// Laravel.
const DISCONNECTING: &[&str] = &[
    "terminating connection",
    "closed the connection",
    "connection not open",
    "query_wait_timeout",
    "server is shutting down",
    "connection lost",
    "went away",
    "no primary available for branch",
    "reset by peer",
];

/// Codes that go together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Preset {
    /// For most.
    Default,
    /// Rails repeats a deadlock by itself, and nothing else.
    Rails,
    /// `CockroachDB`'s clients know 40003 as "the result is ambiguous".
    Cockroach,
    /// For clients that know nothing but a lost connection.
    Disconnect,
}

impl Preset {
    fn codes(self) -> Codes {
        let retryable = |retryable, unknown| Codes {
            retryable,
            in_transaction: retryable,
            unknown,
            ..Codes::default()
        };
        match self {
            Self::Default => Codes::default(),
            Self::Rails => {
                retryable(SqlState::DEADLOCK_DETECTED, SqlState::TRANSACTION_RESOLUTION_UNKNOWN)
            }
            Self::Cockroach => {
                retryable(SqlState::SERIALIZATION_FAILURE, SqlState::STATEMENT_COMPLETION_UNKNOWN)
            }
            Self::Disconnect => {
                retryable(SqlState::CONNECTION_FAILURE, SqlState::TRANSACTION_RESOLUTION_UNKNOWN)
            }
        }
    }
}

impl Layers<'_> {
    pub(super) fn failover(&self) -> Result<FailoverConfig, ConfigError> {
        let preset = self.read("sqlstate_preset", |text| {
            let words = [
                ("default", Preset::Default),
                ("rails", Preset::Rails),
                ("cockroach", Preset::Cockroach),
                ("disconnect", Preset::Disconnect),
            ];
            value::word(text, &words)
        })?;
        let codes = preset.codes();
        let hold = self.duration("failover_hold", Zero::Allowed)?;
        let shutdown_hold = self.duration("shutdown_hold", Zero::Allowed)?;
        let config = FailoverConfig {
            hold,
            // Who wants no statement held wants none held here either.
            shutdown_hold: if hold.is_zero() { hold } else { shutdown_hold.max(hold) },
            pause_hold: self.duration("pause_hold_max", Zero::Refused)?,
            held_max: self.number("held_statements_max", 1, 10_000_000)?,
            held_bytes_max: self.number("held_bytes_max", 1, 1 << 40)?,
            in_flight_select: self.read("in_flight_select", |text| {
                let words = [
                    ("unknown", InFlightSelect::Unknown),
                    ("retryable", InFlightSelect::Retryable),
                ];
                value::word(text, &words)
            })?,
            unreplayable_state: self.read("unreplayable_state", |text| {
                let words = [
                    ("close", UnreplayableState::Close),
                    ("error", UnreplayableState::Error),
                    ("ignore", UnreplayableState::Ignore),
                ];
                value::word(text, &words)
            })?,
            retryable: self.code("retryable_sqlstate", codes.retryable, retryable)?,
            in_transaction: self.code(
                "in_transaction_sqlstate",
                codes.in_transaction,
                retryable,
            )?,
            unknown: self.code("unknown_sqlstate", codes.unknown, unknown)?,
            startup: self.code("startup_sqlstate", codes.startup, value::sqlstate)?,
            message: self.read("retryable_message", message)?.into(),
            lost_commit: self.read("commit_in_lost_transaction", |text| {
                let words = [("error", LostCommit::Error), ("rollback", LostCommit::Rollback)];
                value::word(text, &words)
            })?,
            restart_savepoint: self.read("restart_savepoint", value::boolean)?,
            local_probes: self.read("local_probes", value::boolean)?,
            local_resets: self.read("local_resets", value::boolean)?,
            answer_select_1: self.read("answer_select_1", value::boolean)?,
            tells_of_gaps: self.read("listen_gap", |text| {
                value::word(text, &[("silent", false), ("notify", true)])
            })?,
        };
        self.tell_apart(&config)?;
        Ok(config)
    }

    /// The code of this setting, or the preset's where it is not given.
    fn code(
        &self,
        key: &str,
        preset: SqlState,
        check: fn(&str) -> Result<SqlState, String>,
    ) -> Result<SqlState, ConfigError> {
        if matches!(self.value(key)?.origin, Origin::Default(_)) {
            return Ok(preset);
        }
        self.read(key, check)
    }

    /// A client that repeats what surely had no effect must not repeat what may have had one.
    fn tell_apart(&self, config: &FailoverConfig) -> Result<(), ConfigError> {
        for (key, code) in [
            ("retryable_sqlstate", config.retryable),
            ("in_transaction_sqlstate", config.in_transaction),
        ] {
            if code != config.unknown {
                continue;
            }
            let keys = [key, "unknown_sqlstate"];
            let given = |key: &&str| {
                self.value(key).is_ok_and(|value| !matches!(value.origin, Origin::Default(_)))
            };
            let blamed = keys.into_iter().find(given).unwrap_or(key);
            let problem = format!(
                "{code} would be both {key} and unknown_sqlstate: a client that repeats on it would \
                 run twice what was committed already"
            );
            return Err(ConfigError::at(&self.value(blamed)?.origin, problem));
        }
        Ok(())
    }
}

fn message(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.len() > MESSAGE_BYTES_MAX {
        return Err(format!("has to have 1 to {MESSAGE_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("has to be one line".to_owned());
    }
    let lower = text.to_lowercase();
    match DISCONNECTING.iter().find(|words| lower.contains(*words)) {
        Some(words) => Err(format!(
            "has \"{words}\" in it, by which SQLAlchemy or Laravel know a lost connection: they \
             would leave one that is kept"
        )),
        None => Ok(text.to_owned()),
    }
}

/// Refuses the codes on which pools throw away every connection they have.
fn keeps_pools(text: &str) -> Result<SqlState, String> {
    let state = value::sqlstate(text)?;
    let evicts = ["53", "58", "F0", "XX"].contains(&state.class())
        || [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW]
            .contains(&state);
    if evicts {
        return Err("would make connection pools throw their connections away (Npgsql clears the \
                    pool, HikariCP evicts); 40001 is retried everywhere"
            .to_owned());
    }
    Ok(state)
}

fn retryable(text: &str) -> Result<SqlState, String> {
    keeps_pools(text)
}

/// Refuses the codes on which drivers and helpers run a transaction again by themselves.
fn unknown(text: &str) -> Result<SqlState, String> {
    let state = keeps_pools(text)?;
    // 55P03 is repeated by Rails and Odoo, 25006 by Laravel.
    let repeated = ["55P03", "25006"].iter().any(|code| state.to_string() == *code);
    let class_40 = state.class() == "40" && state != SqlState::STATEMENT_COMPLETION_UNKNOWN;
    if class_40 || repeated {
        return Err("would make drivers repeat what may have been committed already; 08007 and \
                    40003 say that the outcome is unknown"
            .to_owned());
    }
    Ok(state)
}

#[cfg(test)]
#[path = "failover_tests.rs"]
mod tests;
