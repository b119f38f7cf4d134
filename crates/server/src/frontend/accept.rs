//! From an accepted socket to a session: TLS or not, cancel or startup, login, the first words.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use everline_core::limits::NEWCOMERS_MAX;
use everline_core::pool::plan::PoolId;
use everline_core::refusal::Refusal;
use everline_core::session::backend_state::Parameters;
use everline_core::session::{Conversation, Output, Relayed};
use everline_wire::backend::{self, TransactionStatus};
use everline_wire::fields::{Report, Severity};
use everline_wire::sqlstate::SqlState;
use everline_wire::startup::{self, Startup, StartupMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::census::Counted as Place;
use super::login::{self, LoggedIn, LoginError};
use super::opening;
use super::roster::{Newcomer, Presence};
use super::session::Session;
use super::{CONSOLE, Context, Live, Role, Visitor};
use crate::backend::pool::{LeaseError, Member, PoolKey, Terms};
use crate::config::sharing::Bounds;
use crate::metrics::traffic::Traffic;
use crate::net::stream::Stream;

/// How long a client that has been too slow may take to take that.
const LAST_WORD_MAX: Duration = Duration::from_secs(1);

/// What the first packets of a connection came to.
enum Opened {
    Session(StartupMessage),
    Cancel { process_id: u32, secret: Bytes },
}

/// Serves one accepted connection to its end.
///
/// Errors end here: the client is told, the log is told, nobody else is touched.
pub async fn serve(context: Arc<Context>, stream: Stream) {
    let clients = context.metrics.clients.fetch_add(1, Ordering::Relaxed);
    context.metrics.accepted.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(&context);
    if clients >= context.live().clients_max.saturating_add(NEWCOMERS_MAX) {
        return; // not even a word: whoever floods us must not keep us writing
    }
    // Boxed: the memory of a login is free again when the session begins.
    let session = Box::pin(greet(&context, stream, clients)).await;
    if let Some(session) = session {
        session.run().await;
    }
}

/// Lets a client in, or sends it away with the reason.
async fn greet(context: &Arc<Context>, stream: Stream, clients: usize) -> Option<Box<Session>> {
    let mut slot = Some(stream);
    let login_max = context.live().login_max;
    let Ok(opened) = timeout(login_max, open(context, &mut slot, clients)).await else {
        tracing::info!("login not finished in {login_max:?}");
        if let Some(mut stream) = slot {
            let (mut out, message) = (BytesMut::new(), "canceling authentication due to timeout");
            let (severity, code) = (Severity::Fatal, SqlState::QUERY_CANCELED);
            Report { severity, code, message, detail: None, hint: None }.error_response(&mut out);
            context.metrics.refuse(code, 1);
            if timeout(LAST_WORD_MAX, stream.write_all(&out)).await.is_ok_and(|sent| sent.is_ok()) {
                login::close_gently(&mut stream).await;
            }
        }
        return None;
    };
    match (opened, slot) {
        (Ok(Admitted::Console(guest)), Some(stream)) => show_in(context, stream, guest).await,
        (Ok(Admitted::Session(ready)), Some(stream)) => {
            return Some(Box::new(Session::new(Arc::clone(context), stream, *ready)));
        }
        (Err(error), Some(mut stream)) => {
            log_refusal(&error);
            if let Some(code) = error.code(&context.live().policy.codes) {
                context.metrics.refuse(code, 1);
            }
            let mut out = BytesMut::new();
            error.write(context, &mut out);
            if timeout(login_max, stream.write_all(&out)).await.is_ok_and(|sent| sent.is_ok()) {
                login::close_gently(&mut stream).await;
            }
        }
        (Err(error), None) => log_refusal(&error),
        (Ok(Admitted::Nothing), _) | (Ok(Admitted::Session(_) | Admitted::Console(_)), None) => {}
    }
    None
}

/// Hands a client of the console over, where there is room.
async fn show_in(context: &Context, stream: Stream, guest: ConsoleGuest) {
    let ConsoleGuest { input, user, role } = guest;
    let visitor = Visitor { stream, input, user, role };
    if let Err(full) = context.console.try_send(visitor) {
        let mut stream = full.into_inner().stream;
        let mut out = BytesMut::new();
        let codes = &context.live().policy.codes;
        Refusal::TooManyClients.write(codes, &mut out);
        let login_max = context.live().login_max;
        if timeout(login_max, stream.write_all(&out)).await.is_ok_and(|sent| sent.is_ok()) {
            login::close_gently(&mut stream).await;
        }
    }
}

fn log_refusal(error: &LoginError) {
    match error {
        LoginError::Socket(error) => tracing::debug!(%error, "client gone before login"),
        LoginError::Refused(_)
        | LoginError::Denied { .. }
        | LoginError::TurnedAway { .. }
        | LoginError::Backend(_)
        | LoginError::Settings { .. }
        | LoginError::NoRandom(_) => tracing::info!(error = %Tame(error), "login refused"),
    }
}

/// Words that hold what a client has said, on one line and without what a terminal would obey.
struct Tame<'a>(&'a LoginError);

impl fmt::Display for Tame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            // What has no look of its own could break a line, or turn its direction.
            let escaped = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
            if c.is_control() || escaped {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

struct Counted<'a>(&'a Context);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a login came to.
enum Admitted {
    Session(Box<Ready>),
    Console(ConsoleGuest),
    /// A cancel request, which is done with.
    Nothing,
}

/// A client of the console.
struct ConsoleGuest {
    input: BytesMut,
    user: String,
    role: Role,
}

/// A session that is about to begin.
#[derive(Debug)]
pub struct Ready {
    /// What the client has sent already.
    pub input: BytesMut,
    /// Its conversation.
    pub conversation: Conversation,
    /// Its share in the pool that serves it.
    pub pool: Member,
    /// Where its cancel requests arrive.
    pub cancel: super::cancel::Registered,
    /// Its entry among those who are connected.
    pub presence: Presence,
    /// What its database is used for.
    pub traffic: Arc<Traffic>,
    /// What it may have.
    pub bounds: Bounds,
    /// Its place among the clients of its database and its user.
    pub place: Place,
}

/// Everything up to the first ReadyForQuery. The slot holds the stream, also after an error,
/// except where the TLS handshake has consumed it.
async fn open(
    context: &Arc<Context>,
    slot: &mut Option<Stream>,
    clients: usize,
) -> Result<Admitted, LoginError> {
    let mut input = BytesMut::new();
    let mut binding = None;
    let Some(stream) = slot else { return Ok(Admitted::Nothing) };
    let from = opening::client(stream, &context.live().proxies).await?;
    opening::direct_tls(context, slot, &mut binding).await?;
    let message = match first_packets(context, slot, &mut input, &mut binding).await? {
        Opened::Session(message) => message,
        Opened::Cancel { process_id, secret } => {
            context.cancels.cancel(process_id, &secret, context.pools.dialer()).await;
            return Ok(Admitted::Nothing);
        }
    };
    let Some(stream) = slot else { return Ok(Admitted::Nothing) };
    opening::demand_tls(&context.live(), stream, from)?;
    // Whoever has to look why every place is taken must get in.
    if message.database != CONSOLE && clients >= context.live().clients_max {
        return Err(Refusal::TooManyClients.into());
    }
    if context.doors.is_closed(&message.database) {
        return Err(Refusal::Disabled { name: message.database }.into());
    }
    let bound_from = (binding, from.map(|from| from.ip()));
    let logged_in = login::authenticate(stream, &mut input, message, bound_from, context).await?;
    if logged_in.key.database == CONSOLE {
        let user = logged_in.key.user;
        let role = context.live().roles.get(&user).copied();
        let what = "this user has no place on the console: see admin_users and stats_users";
        let role = role.ok_or(Refusal::NotAllowed { what })?;
        return Ok(Admitted::Console(ConsoleGuest { input, user, role }));
    }
    let live = context.live();
    let PoolKey { database, user } = &logged_in.key;
    is_served(&live, database)?;
    let bounds = live.sharing.bounds(database, user);
    let place = context.census.enter(database, user, &bounds)?;
    let (key, spec) = login::pool_of(&logged_in.key, &logged_in.shown, &bounds, &live);
    let pool = context.pools.pool(&key, spec);
    let cancel = context.cancels.register(logged_in.long_key)?;
    let mut conversation = Conversation::new(
        cancel.serial,
        live.policy_for(bounds.mode),
        Arc::clone(&logged_in.settings),
        Arc::default(),
    );
    let lends = (pool.id(), live.terms(&bounds));
    let told = welcome(context, &logged_in, lends, &mut conversation).await?;
    conversation.has_been_told(Arc::clone(&told));
    let mut out = BytesMut::new();
    backend::authentication_ok(&mut out);
    for (name, value) in &*told {
        backend::parameter_status(&mut out, name, value);
    }
    backend::key_data(&mut out, cancel.process_id, &cancel.secret);
    backend::ready_for_query(&mut out, TransactionStatus::Idle);
    stream.write_all(&out).await?;
    stream.flush().await?;
    let traffic = context.metrics.databases.of(&logged_in.key.database);
    let PoolKey { database, user } = logged_in.key;
    let asked = logged_in.parameters.iter().find(|(name, _)| name == "application_name");
    let presence = context.roster.enter(Newcomer {
        database,
        user,
        application: asked.map_or_else(String::new, |(_, value)| value.clone()),
        ends: (from, stream.local()),
        tls: stream.is_tls(),
        slot: Arc::clone(&cancel.slot),
    });
    let ready = Ready { input, conversation, pool, cancel, presence, traffic, bounds, place };
    Ok(Admitted::Session(Box::new(ready)))
}

fn is_served(live: &Live, database: &str) -> Result<(), Refusal> {
    if live.sharing.serves(database) {
        return Ok(());
    }
    Err(Refusal::NoSuchDatabase { name: database.to_owned() })
}

/// Reads packets until one begins a session or cancels a query.
async fn first_packets(
    context: &Context,
    slot: &mut Option<Stream>,
    input: &mut BytesMut,
    binding: &mut Option<Bytes>,
) -> Result<Opened, LoginError> {
    let protocol = |what: &str| Refusal::Protocol { what: what.to_owned() };
    // TLS, then GSSAPI, then the startup packet: no client has reason to ask more often.
    for _ in 0..4 {
        let Some(stream) = slot else { break };
        let packet = loop {
            let parsed =
                startup::parse_startup(input).map_err(|error| protocol(&error.to_string()))?;
            if let Some((used, packet)) = parsed {
                drop(input.split_to(used));
                break packet;
            }
            if stream.read_buf(input).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        match packet {
            Startup::Startup(message) => return Ok(Opened::Session(message)),
            Startup::Cancel { process_id, secret } => {
                return Ok(Opened::Cancel { process_id, secret });
            }
            Startup::GssEncryption => stream.write_all(b"N").await?,
            Startup::Tls => {
                let live = context.live();
                let Some(tls) = live.tls.as_ref().filter(|_| !stream.is_tls()) else {
                    stream.write_all(b"N").await?;
                    continue;
                };
                if !input.is_empty() {
                    // Sent before the answer: somebody in between may have put it there.
                    return Err(protocol("unencrypted data after the TLS request").into());
                }
                stream.write_all(b"S").await?;
                let plain = slot.take().and_then(|stream| stream.into_plain().ok());
                let Some(plain) = plain else { break };
                *slot = Some(tls.accept(plain).await?);
                *binding = tls.end_point();
            }
        }
    }
    Err(protocol("too many negotiation requests").into())
}

/// What the client is told of its session: known already, asked of a backend, or, while there is
/// no leader to ask, what the cluster said last.
async fn welcome(
    context: &Arc<Context>,
    logged_in: &LoggedIn,
    (pool, terms): (PoolId, Terms),
    conversation: &mut Conversation,
) -> Result<Arc<Parameters>, LoginError> {
    let LoggedIn { key, parameters, .. } = logged_in;
    if let Some(told) = context.welcomes.get(key, parameters) {
        return Ok(told);
    }
    let target = context.pools.target();
    if !target.is_available() || context.pools.is_paused(pool) {
        let guess = context.welcomes.guess(key, parameters, context.pools.leader_parameters());
        if let Some(told) = guess {
            return Ok(told);
        }
    }
    loop {
        let lease = context.pools.lease(pool, terms).await;
        let mut lease = match lease {
            Ok(lease) => lease,
            Err(LeaseError::Refused(error)) => return Err(LoginError::Backend(error)),
            Err(LeaseError::NoLeader { .. } | LeaseError::Paused { .. }) => {
                let leader = context.pools.leader_parameters();
                let guess = context.welcomes.guess(key, parameters, leader);
                return guess.ok_or(Refusal::NoLeaderAtLogin.into());
            }
            Err(LeaseError::Exhausted { waited }) => {
                tracing::info!(?waited, "no backend connection for a login");
                return Err(Refusal::NoLeaderAtLogin.into());
            }
            Err(LeaseError::TooManyHeld) => return Err(Refusal::NoLeaderAtLogin.into()),
        };
        match wear(&mut lease, conversation).await {
            Ok(()) => {
                let told = Arc::clone(&lease.backend().state.parameters);
                lease.give_back();
                context.welcomes.put(key, parameters, Arc::clone(&told));
                return Ok(told);
            }
            Err(WearError::Refused(code, words)) => {
                lease.give_back();
                return Err(LoginError::Settings { code, words });
            }
            Err(WearError::Lost) => lease.broken(),
        }
    }
}

enum WearError {
    /// PostgreSQL does not take the settings, and says why.
    Refused(SqlState, String),
    Lost,
}

/// Puts the session's settings on a connection and waits until they are taken.
async fn wear(
    lease: &mut crate::backend::lease::Lease,
    conversation: &mut Conversation,
) -> Result<(), WearError> {
    let backend = lease.backend();
    let ended = backend.ended.clone();
    let mut out = Output::default();
    conversation.wear(&mut backend.state, &mut out);
    let exchange = async {
        if !backend.may_dispatch() {
            return Err(WearError::Lost);
        }
        backend.stream.write_all(&out.to_backend).await.map_err(|_| WearError::Lost)?;
        backend.stream.flush().await.map_err(|_| WearError::Lost)?;
        while conversation.awaits_backend() {
            let read = backend.stream.read_buf(&mut backend.read).await;
            if !matches!(read, Ok(1..)) {
                return Err(WearError::Lost);
            }
            let relayed =
                conversation.relay(&mut backend.state, &mut backend.read, &mut out.to_client);
            match relayed {
                Relayed::All | Relayed::Doubtful => {}
                Relayed::Demoted | Relayed::Stale | Relayed::Lost(_) => {
                    return Err(WearError::Lost);
                }
            }
        }
        match conversation.take_undressed() {
            Some((code, words)) => Err(WearError::Refused(code, words)),
            None => Ok(()),
        }
    };
    let outcome = tokio::select! {
        biased; // an epoch that is over makes the answer useless
        () = ended.cancelled() => Err(WearError::Lost),
        outcome = exchange => outcome,
    };
    if outcome.is_err() {
        conversation.backend_lost(&mut out.to_client);
    }
    outcome
}
