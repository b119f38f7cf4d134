//! A client's login: who it is, and what a new session is told.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use everline_core::refusal::{Codes, Refusal};
use everline_core::session::backend_state::Parameters;
use everline_core::session::settings::Settings;
use everline_wire::fields::{Report, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::sqlstate::SqlState;
use everline_wire::startup::{self, StartupMessage};
use everline_wire::{auth, tag};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::prove::{Claim, Prover, Shown};
use super::{Context, Live, options};
use crate::backend::dial::{DialError, Login};
use crate::backend::pool::{PoolKey, PoolSpec};
use crate::config::sharing::Bounds;
use crate::net::stream::Stream;

/// Login answers kept; beyond that all are forgotten.
const WELCOMES_MAX: usize = 4_096;

/// A client that may go on.
#[derive(Debug)]
pub struct LoggedIn {
    /// The pool that serves it.
    pub key: PoolKey,
    /// Its session's settings, from the startup packet.
    pub settings: Arc<Settings>,
    /// The startup packet's parameters, as the key to what it is told.
    pub parameters: Vec<(String, String)>,
    /// What it has shown that logs in at backends too.
    pub shown: Shown,
    /// Whether its cancel key may be long.
    pub long_key: bool,
}

/// The minor version of protocol 3 from which cancel keys may be long.
const LONG_KEY_MINOR: u16 = 2;

/// Why a client may not.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The client is gone, or its socket is.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// We refuse.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The client is not who it says.
    #[error("{how} login of user \"{user}\" failed: {reason}")]
    Denied {
        /// The name in the startup packet.
        user: String,
        /// By what it was to prove itself.
        how: &'static str,
        /// Why, for our log alone.
        reason: String,
        /// SQLSTATE for the client.
        code: SqlState,
    },
    /// The client may not even try.
    #[error("{message}")]
    TurnedAway {
        /// Why.
        message: String,
    },
    /// The backend refuses it, in its words.
    #[error("the backend refuses the login: {0}")]
    Backend(Arc<DialError>),
    /// The backend does not take what the startup packet asks for.
    #[error("the backend does not take the startup parameters: {code} {words}")]
    Settings {
        /// Its SQLSTATE.
        code: SqlState,
        /// Its words.
        words: String,
    },
    /// The system has no random numbers.
    #[error(transparent)]
    NoRandom(#[from] auth::NoRandom),
}

impl LoginError {
    /// The code that the client is told, if it is told anything.
    #[must_use]
    pub fn code(&self, codes: &Codes) -> Option<SqlState> {
        match self {
            Self::Socket(_) => None,
            Self::Refused(refusal) => Some(refusal.contract(codes).0),
            Self::Denied { code, .. } | Self::Settings { code, .. } => Some(*code),
            Self::Backend(error) => Some(error.code().unwrap_or(codes.startup)),
            Self::TurnedAway { .. } => Some(SqlState::INVALID_AUTHORIZATION),
            Self::NoRandom(_) => Some(SqlState::INTERNAL_ERROR),
        }
    }

    /// Writes the `ErrorResponse` for the client; nothing when there is nobody to read it.
    pub fn write(&self, context: &Context, out: &mut BytesMut) {
        let message;
        let (code, text) = match self {
            Self::Socket(_) => return,
            Self::Refused(refusal) => return refusal.write(&context.live().policy.codes, out),
            Self::TurnedAway { message } => (SqlState::INVALID_AUTHORIZATION, message.as_str()),
            Self::Denied { user, code, how, .. } => {
                message = format!("{how} authentication failed for user \"{user}\"");
                (*code, message.as_str())
            }
            Self::Backend(error) => {
                message = words(error);
                (error.code().unwrap_or(context.live().policy.codes.startup), message.as_str())
            }
            Self::Settings { code, words } => (*code, words.as_str()),
            Self::NoRandom(_) => (SqlState::INTERNAL_ERROR, "could not generate a random number"),
        };
        Report { severity: Severity::Fatal, code, message: text, detail: None, hint: None }
            .error_response(out);
    }
}

/// Checks who the client is.
///
/// # Errors
/// See [`LoginError`]. Unknown users take the same steps and the same time as known ones.
///
/// # Cancel safety
/// Not safe; the caller closes the connection when its deadline passes.
pub async fn authenticate(
    stream: &mut Stream,
    input: &mut BytesMut,
    message: StartupMessage,
    (binding, from): (Option<Bytes>, Option<IpAddr>),
    context: &Arc<Context>,
) -> Result<LoggedIn, LoginError> {
    if message.replication {
        let what = "replication connections are not served; connect to PostgreSQL itself";
        return Err(Refusal::Unsupported { what }.into());
    }
    let mut out = BytesMut::new();
    if message.minor > startup::MINOR_MAX || !message.protocol_options.is_empty() {
        let minor = message.minor.min(startup::MINOR_MAX);
        startup::negotiate_version(&mut out, minor, &message.protocol_options);
    }
    let long_key = message.minor >= LONG_KEY_MINOR;
    let claim = Claim { user: &message.user, database: &message.database, from };
    let out_of = &mut out;
    let prover = Prover { stream: &mut *stream, input, out: out_of, binding, context, claim };
    let shown = prover.prove().await?;
    stream.write_all(&out).await?;
    let mut parameters = Vec::new();
    let is_options = |(name, _): &(String, String)| name == "options";
    let (options, named): (Vec<_>, Vec<_>) = message.parameters.into_iter().partition(is_options);
    // What has a name of its own wins, wherever it stands, as in PostgreSQL.
    for (_, value) in options {
        let parsed = options::settings(&value).map_err(|switch| Refusal::Protocol {
            what: format!("unsupported switch in startup options: {switch:?}"),
        })?;
        parameters.extend(parsed);
    }
    parameters.extend(named);
    let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings = Arc::new(Settings::from_startup(pairs));
    let key = PoolKey { database: message.database, user: message.user };
    Ok(LoggedIn { key, settings, parameters, shown, long_key })
}

pub(super) async fn password_message(
    stream: &mut Stream,
    input: &mut BytesMut,
) -> Result<Bytes, LoginError> {
    loop {
        let protocol = |what: &str| Refusal::Protocol { what: what.to_owned() };
        if let Some(header) = frame::header(input).map_err(|error| protocol(&error.to_string()))? {
            if header.tag != tag::frontend::PASSWORD {
                return Err(protocol("expected a password response").into());
            }
            if frame::frontend_body_max(header.tag).is_none_or(|most| header.body > most) {
                return Err(protocol("the password response is too long").into());
            }
            if input.len() >= header.total() {
                let mut message = input.split_to(header.total()).freeze();
                message.advance(Header::BYTES);
                return Ok(message);
            }
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Which pool serves a client, how it logs in to the backend, and what it may have.
#[must_use]
pub fn pool_of(
    client: &PoolKey,
    shown: &Shown,
    bounds: &Bounds,
    live: &Live,
) -> (PoolKey, PoolSpec) {
    let mut key = client.clone();
    if let Some((user, _)) = live.sharing.backend_user(&client.database) {
        key.user.clone_from(user);
    }
    let spec = PoolSpec {
        login: pool_login(client, shown, live),
        size_min: bounds.size_min,
        size_max: bounds.size_max,
        database_max: bounds.database_connections_max,
        user_max: bounds.user_connections_max,
    };
    (key, spec)
}

/// How the pool of a client logs in to the backend.
#[must_use]
pub fn pool_login(key: &PoolKey, shown: &Shown, live: &Live) -> Login {
    let PoolKey { database, user } = key;
    let own = &live.backend_login;
    let forced = live.sharing.backend_user(database);
    let database = live.sharing.backend_name(database).to_owned();
    let known = |user: &str| live.users.get(user).and_then(|known| known.password.clone());
    if let Some((user, password)) = forced {
        let own_password = own.password.clone().filter(|_| *user == own.user);
        return Login {
            database,
            user: user.clone(),
            password: password.clone().or_else(|| known(user)).or(own_password),
            keys: None,
            parameters: own.parameters.clone(),
        };
    }
    if live.by_role && *user != own.user {
        let role = [("role".to_owned(), user.clone())];
        let parameters = own.parameters.iter().cloned().chain(role).collect();
        Login { database, parameters, ..own.clone() }
    } else {
        let own_password = own.password.clone().filter(|_| *user == own.user);
        Login {
            database,
            user: user.clone(),
            password: known(user).or(own_password).or_else(|| shown.password.clone()),
            keys: shown.keys.clone(),
            parameters: own.parameters.clone(),
        }
    }
}

/// What a client may know of why the backend was not reached: PostgreSQL's own words, or none.
#[must_use]
pub fn words(error: &DialError) -> String {
    match error {
        DialError::Refused(fields) => fields.message().into_owned(),
        DialError::Resolve(_)
        | DialError::Connect { .. }
        | DialError::Timeout { .. }
        | DialError::TlsRefused
        | DialError::Tls(_)
        | DialError::Lost { .. }
        | DialError::NoPassword { .. }
        | DialError::Authentication { .. }
        | DialError::Scram(_)
        | DialError::Protocol(_)
        | DialError::Login(_) => "the backend does not accept this login".to_owned(),
    }
}

/// A pool, and what a startup packet asked for.
type Asked = (PoolKey, Vec<(String, String)>);

/// What new sessions are told, by what their startup packet asked for.
///
/// With it a login needs no backend: not while the leader is away, and not otherwise.
#[derive(Debug, Default)]
pub struct Welcomes {
    known: Mutex<BTreeMap<Asked, Arc<Parameters>>>,
    last: Mutex<Option<Arc<Parameters>>>,
}

impl Welcomes {
    /// What a session of `key` that asked for `parameters` is told, if that is known.
    #[must_use]
    pub fn get(&self, key: &PoolKey, parameters: &[(String, String)]) -> Option<Arc<Parameters>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(key.clone(), parameters.to_vec())).map(Arc::clone)
    }

    /// Remembers what a backend connection in these settings reported.
    pub fn put(&self, key: &PoolKey, parameters: &[(String, String)], told: Arc<Parameters>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&told));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= WELCOMES_MAX {
            known.clear();
        }
        known.insert((key.clone(), parameters.to_vec()), told);
    }

    /// The best guess while there is no leader to ask: what any connection of this cluster
    /// reported last, with what the client asked for. What differs is told when it is known.
    #[must_use]
    pub fn guess(
        &self,
        key: &PoolKey,
        parameters: &[(String, String)],
        leader: Option<Parameters>,
    ) -> Option<Arc<Parameters>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut guess = match (&*last, leader) {
            (Some(last), _) => Parameters::clone(last),
            (None, Some(leader)) => leader,
            (None, None) => return None,
        };
        for (name, value) in parameters {
            let known = guess.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned();
            if let Some(known) = known {
                guess.insert(known, value.as_str().into());
            }
        }
        guess.insert("session_authorization".into(), key.user.as_str().into());
        Some(Arc::new(guess))
    }
}

/// Ends a connection so that the last message is not lost: what the client has still sent is
/// read for a moment, because closing over unread bytes resets the connection.
pub async fn close_gently(stream: &mut Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0_u8; 512];
    let reads = async {
        for _ in 0..64 {
            if !matches!(stream.read(&mut rest).await, Ok(1..)) {
                break;
            }
        }
    };
    // Whether it ended or the time is over: the connection is closed either way.
    drop(tokio::time::timeout(std::time::Duration::from_millis(200), reads).await);
}
