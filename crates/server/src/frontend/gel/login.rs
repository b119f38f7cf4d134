//! A client's login: version, who it is, what it is told. No backend is needed for it.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use everline_core::refusal::Refusal;
use everline_wire::auth;
use everline_wire::auth::scram::{NONCE_BYTES, Server};
use everline_wire::auth::secret::{ITERATIONS, ScramVerifier};
use everline_wire_gel::client::{self, Handshake};
use everline_wire_gel::descriptor::Descriptor;
use everline_wire_gel::error::ErrorCode;
use everline_wire_gel::frame::{self, Header, Phase};
use everline_wire_gel::server::{self, Status};
use everline_wire_gel::tag::client as tag;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Gel;
use crate::backend::pool::PoolKey;
use crate::config::Door;
use crate::config::hba::{self, Knock, Method, Origin};
use crate::net::stream::Stream;

/// A client that may go on.
#[derive(Debug)]
pub(super) struct LoggedIn {
    /// The pool that serves it.
    pub key: PoolKey,
}

/// Why a client may not.
#[derive(Debug)]
pub(super) enum LoginError {
    /// The client is gone, or its socket is.
    Socket(io::Error),
    /// We refuse.
    Denied { code: ErrorCode, message: String, reason: String },
}

impl From<io::Error> for LoginError {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

fn refuse(code: ErrorCode, message: &str) -> LoginError {
    LoginError::Denied { code, message: message.to_owned(), reason: message.to_owned() }
}

fn malformed(error: &impl std::fmt::Display) -> LoginError {
    refuse(ErrorCode::PROTOCOL, &error.to_string())
}

/// What a client is told when it may go on, in one write.
pub(super) fn greeting(state: &Descriptor, pool: usize, config: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    server::authentication_ok(&mut out);
    server::key_data(&mut out);
    server::state_description(&mut out, state.described());
    let pool = pool.to_string();
    server::parameter_status(&mut out, "suggested_pool_concurrency", pool.as_bytes());
    server::parameter_status(&mut out, "system_config", config);
    server::ready(&mut out, Status::Idle);
    out
}

/// Checks version and identity.
///
/// # Errors
/// See [`LoginError`]. Unknown users take the same steps and the same time as known ones.
///
/// # Cancel safety
/// Not safe; the caller closes the connection when its deadline passes.
pub(super) async fn authenticate(
    gel: &Gel,
    stream: &mut Stream,
    input: &mut BytesMut,
) -> Result<LoggedIn, LoginError> {
    let body = message(stream, input, tag::HANDSHAKE).await?;
    let handshake = Handshake::parse(&body).map_err(|error| malformed(&error))?;
    let mut out = BytesMut::new();
    if handshake.version.0 < server::VERSION.0 {
        let (major, minor) = handshake.version;
        let message = format!(
            "protocol version {major}.{minor} is not supported, 3.0 is: use a client of Gel 6 or \
             newer"
        );
        return Err(refuse(ErrorCode::PROTOCOL_VERSION, &message));
    }
    if handshake.version != server::VERSION {
        server::server_handshake(&mut out);
    }
    let key = identity(gel, &handshake)?;
    match method(gel, stream, &key)? {
        Method::Trust => {}
        // Of the ways to show a password Gel's protocol has this one.
        Method::Scram | Method::Md5 | Method::Password => {
            let verifier = verifier(gel, &key.user).await?;
            scram(stream, input, &mut out, verifier, &key.user).await?;
        }
        how @ (Method::Reject | Method::Cert | Method::Peer) => {
            return Err(denied(
                &key.user,
                &format_args!("{how:?} lets nobody in by Gel's protocol"),
            ));
        }
    }
    stream.write_all(&out).await?;
    Ok(LoggedIn { key })
}

/// Database and role, where Gel's own names for what is there by default mean the DSN's.
fn identity(gel: &Gel, handshake: &Handshake<'_>) -> Result<PoolKey, LoginError> {
    let missing = |what: &str| refuse(ErrorCode::PROTOCOL, &format!("no {what} was named"));
    let database = handshake.branch.or(handshake.database).ok_or_else(|| missing("branch"))?;
    let user = handshake.user.ok_or_else(|| missing("user"))?;
    if database.contains('\0') || user.contains('\0') {
        return Err(malformed(&"names cannot hold a NUL"));
    }
    let database = match database {
        "" | "__default__" | "edgedb" => gel.database.clone(),
        other => other.to_owned(),
    };
    let known = gel.context.live().users.contains_key(user);
    let user = match user {
        "edgedb" | "admin" if !known => gel.user.clone(),
        other => other.to_owned(),
    };
    Ok(PoolKey { database, user })
}

/// What is asked of a client, by the same setting and the same rules as in PostgreSQL's protocol.
fn method(gel: &Gel, stream: &Stream, key: &PoolKey) -> Result<Method, LoginError> {
    let live = gel.context.live();
    let rules = match &live.door {
        Door::One(method) => return Ok(*method),
        Door::Rules(rules) => rules,
    };
    let origin = stream.peer().map_or(Origin::Unix, |peer| Origin::Tcp(peer.ip()));
    let knock = Knock { database: &key.database, user: &key.user, origin, tls: stream.is_tls() };
    let rule = hba::decide(rules, &knock);
    let rule = rule.ok_or_else(|| denied(&key.user, &"no rule is for it"))?;
    if rule.certificate && stream.client_names().is_none() {
        return Err(denied(&key.user, &"its rule wants a certificate"));
    }
    Ok(rule.method)
}

fn denied(user: &str, reason: &dyn std::fmt::Display) -> LoginError {
    LoginError::Denied {
        code: ErrorCode::AUTHENTICATION,
        message: "authentication failed".to_owned(),
        reason: format!("login of user \"{user}\" failed: {reason}"),
    }
}

/// What the password of `user` is checked against: something that nothing fits, for a user that
/// does not exist.
async fn verifier(gel: &Gel, user: &str) -> Result<ScramVerifier, LoginError> {
    let known = gel.context.find_user(user).await;
    let known =
        known.map_err(|refusal| refuse(ErrorCode::BACKEND_UNAVAILABLE, &refusal.to_string()))?;
    let mock = || ScramVerifier::mock(&gel.context.mock_key, user, ITERATIONS);
    Ok(known.and_then(|known| known.verifier).unwrap_or_else(mock))
}

async fn scram(
    stream: &mut Stream,
    input: &mut BytesMut,
    out: &mut BytesMut,
    verifier: ScramVerifier,
    user: &str,
) -> Result<(), LoginError> {
    let denied = |reason: &dyn std::fmt::Display| denied(user, reason);
    let scram = Server::new(None);
    server::authentication_sasl(out, scram.mechanisms());
    send(stream, out).await?;
    let body = message(stream, input, tag::SASL_INITIAL).await?;
    let (mechanism, data) = client::sasl_initial(&body).map_err(|error| malformed(&error))?;
    let first = scram.first(mechanism.as_bytes(), data).map_err(|error| denied(&error))?;
    let nonce = auth::random::<NONCE_BYTES>().map_err(|error| denied(&error))?;
    let challenge = first.challenge(&verifier, &nonce);
    server::authentication_sasl_continue(out, challenge.message());
    send(stream, out).await?;
    let body = message(stream, input, tag::SASL_RESPONSE).await?;
    let data = client::sasl_response(&body).map_err(|error| malformed(&error))?;
    let accepted = challenge.last(data).map_err(|error| denied(&error))?;
    server::authentication_sasl_final(out, accepted.message());
    Ok(())
}

async fn send(stream: &mut Stream, out: &mut BytesMut) -> io::Result<()> {
    stream.write_all(out).await?;
    stream.flush().await?;
    out.clear();
    Ok(())
}

/// Waits for one message, which has to be of this type.
async fn message(
    stream: &mut Stream,
    input: &mut BytesMut,
    wanted: u8,
) -> Result<Bytes, LoginError> {
    loop {
        let header = frame::header(input, Phase::Handshake).map_err(|error| malformed(&error))?;
        if let Some(header) = header {
            if header.tag != wanted {
                let what = format!("unexpected message type {:#04x} in the handshake", header.tag);
                return Err(malformed(&what));
            }
            if input.len() >= header.total() {
                let mut message = input.split_to(header.total()).freeze();
                message.advance(Header::BYTES);
                return Ok(message);
            }
        }
        if stream.read_buf(input).await? == 0 {
            return Err(LoginError::Socket(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// What a client may know of why there is no backend connection for it.
pub(super) fn refusal(error: &crate::backend::pool::LeaseError) -> Option<Refusal> {
    use crate::backend::pool::LeaseError;
    match error {
        LeaseError::NoLeader { held } => Some(Refusal::FailingOver { held: *held }),
        LeaseError::Paused { held } => Some(Refusal::Paused { held: *held }),
        LeaseError::Exhausted { waited } => Some(Refusal::PoolExhausted { waited: *waited }),
        LeaseError::TooManyHeld => Some(Refusal::TooManyHeld),
        LeaseError::Refused(_) => None,
    }
}
