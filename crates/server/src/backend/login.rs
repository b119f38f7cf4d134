//! The login at a backend, as a state machine over messages: no socket, no clock.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use everline_core::limits::PARAMETERS_MAX;
use everline_wire::backend::TransactionStatus;
use everline_wire::backend::view::{self, Authentication, Mechanisms};
use everline_wire::tag::backend as tag;
use everline_wire::{frontend, startup};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};

use super::OwnedFields;
use super::connection::BackendKey;
use super::dial::{DialError, Login};
use crate::config::dsn::{AuthMethods, ChannelBinding};
use everline_wire::auth::scram::NONCE_BYTES;
use everline_wire::auth::secret::Secret;
use everline_wire::auth::{self, KeysError, Proving};

/// What the login may agree to.
#[derive(Debug)]
pub(super) struct Policy {
    /// The hash of the backend's certificate, where there is one to bind to.
    pub end_point: Option<Bytes>,
    /// Whether the connection is under TLS.
    pub tls: bool,
    pub channel_binding: ChannelBinding,
    /// A password in the clear is sent over TCP without TLS too, as libpq does: what may be asked
    /// for is the DSN's to say (`require_auth`, `sslmode`).
    pub require_auth: AuthMethods,
}

/// Whether the login goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    More,
    Ready,
}

/// A SCRAM exchange, by the password or by its keys.
enum Scram {
    Password(Box<ScramSha256>),
    Keys(Box<Proving>),
}

impl Scram {
    fn message(&self) -> &[u8] {
        match self {
            Self::Password(scram) => scram.message(),
            Self::Keys(scram) => scram.message(),
        }
    }

    fn challenge(&mut self, data: &[u8]) -> Result<(), DialError> {
        match self {
            Self::Password(scram) => scram.update(data).map_err(DialError::Scram),
            Self::Keys(scram) => scram.challenge(data).map_err(by_keys),
        }
    }

    fn finish(&mut self, data: &[u8]) -> Result<(), DialError> {
        match self {
            Self::Password(scram) => scram.finish(data).map_err(DialError::Scram),
            Self::Keys(scram) => scram.finish(data).map_err(by_keys),
        }
    }
}

fn by_keys(error: KeysError) -> DialError {
    DialError::Scram(std::io::Error::other(error))
}

/// One login.
pub(super) struct Exchange<'a> {
    login: &'a Login,
    password: Option<&'a Secret>,
    policy: Policy,
    stage: Stage,
    key: BackendKey,
    parameters: BTreeMap<String, String>,
    minor: u16,
}

enum Stage {
    /// The backend has not asked for anything yet.
    Begun,
    /// A password was sent; the backend's word on it is next.
    Sent,
    /// SCRAM: our first message was sent. Boxed: it is large.
    First { scram: Scram, bound: bool },
    /// SCRAM: our proof was sent.
    Proof { scram: Scram, bound: bool },
    /// SCRAM: the backend has proved itself too.
    Proven { bound: bool },
    /// Authentication is over.
    Accepted,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(login: &'a Login, password: Option<&'a Secret>, policy: Policy) -> Self {
        let (key, parameters) = (BackendKey::default(), BTreeMap::new());
        Self { login, password, policy, stage: Stage::Begun, key, parameters, minor: 0 }
    }

    /// Asks for this minor version of protocol 3; the backend may answer with an older one.
    pub(super) fn of_minor(self, minor: u16) -> Self {
        Self { minor, ..self }
    }

    /// What was learnt, once [`Step::Ready`] was reached.
    pub(super) fn into_parts(self) -> (BackendKey, BTreeMap<String, String>) {
        (self.key, self.parameters)
    }

    /// Writes the start-up packet.
    pub(super) fn begin(&self, out: &mut BytesMut) -> Result<(), DialError> {
        let Login { database, user, parameters, .. } = self.login;
        let texts = parameters.iter().flat_map(|(name, value)| [name, value]);
        if texts.chain([database, user]).any(|text| text.contains('\0')) {
            return Err(DialError::Login("a start-up parameter holds a NUL character"));
        }
        let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        startup::startup_of(out, self.minor, user, database, parameters);
        if out.len() > startup::STARTUP_BYTES_MAX {
            return Err(DialError::Login("the start-up packet is longer than 10000 bytes"));
        }
        Ok(())
    }

    /// Takes one message; what has to be said in return is appended to `out`.
    pub(super) fn step(
        &mut self,
        tag: u8,
        body: Bytes,
        out: &mut BytesMut,
    ) -> Result<Step, DialError> {
        match (tag, &self.stage) {
            (tag::ERROR, _) => {
                return Err(OwnedFields::new(body).map_or(MALFORMED, DialError::Refused));
            }
            (tag::NOTICE | tag::NEGOTIATE, _) => {}
            (tag::AUTHENTICATION, Stage::Accepted) => {
                return Err(DialError::Protocol("authentication begins anew"));
            }
            (tag::AUTHENTICATION, _) => {
                let asked = view::authentication(&body).map_err(|_| MALFORMED)?;
                self.authenticate(asked, out)?;
            }
            (tag::PARAMETER_STATUS, Stage::Accepted) => self.keep_parameter(&body)?,
            (tag::KEY_DATA, Stage::Accepted) => {
                let (process_id, secret) = view::key_data(&body).map_err(|_| MALFORMED)?;
                self.key = BackendKey { process_id, secret: Bytes::copy_from_slice(secret) };
            }
            (tag::READY_FOR_QUERY, Stage::Accepted) => {
                return match view::ready_for_query(&body) {
                    Ok(TransactionStatus::Idle) => Ok(Step::Ready),
                    Ok(TransactionStatus::InTransaction | TransactionStatus::Failed) => {
                        Err(DialError::Protocol("a new connection is within a transaction"))
                    }
                    Err(_) => Err(MALFORMED),
                };
            }
            _ => return Err(DialError::Protocol("a message that no login brings")),
        }
        Ok(Step::More)
    }

    fn authenticate(
        &mut self,
        asked: Authentication<'_>,
        out: &mut BytesMut,
    ) -> Result<(), DialError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Begun);
        self.stage = match (asked, stage) {
            (Authentication::Ok, stage) => self.accepted(&stage)?,
            (Authentication::Cleartext, Stage::Begun) => {
                let password =
                    self.password_for("a password in the clear", AuthMethods::PASSWORD)?;
                frontend::password(out, password.as_bytes());
                Stage::Sent
            }
            (Authentication::Md5(salt), Stage::Begun) => {
                let password = self.password_for("an MD5 password", AuthMethods::MD5)?;
                let hash = md5_hash(self.login.user.as_bytes(), password.as_bytes(), salt);
                frontend::password(out, hash.as_bytes());
                Stage::Sent
            }
            (Authentication::Sasl { mechanisms }, Stage::Begun) => self.scram(mechanisms, out)?,
            (Authentication::SaslContinue(data), Stage::First { mut scram, bound }) => {
                scram.challenge(data)?;
                frontend::sasl_response(out, scram.message());
                Stage::Proof { scram, bound }
            }
            (Authentication::SaslFinal(data), Stage::Proof { mut scram, bound }) => {
                scram.finish(data)?;
                Stage::Proven { bound }
            }
            (Authentication::Other(number), _) => {
                let method = format!("authentication method {number}");
                return Err(DialError::Authentication { method, reason: "is not built in" });
            }
            _ => return Err(DialError::Protocol("authentication out of order")),
        };
        Ok(())
    }

    /// Whether what has happened so far is enough for us. A backend that says yes without having
    /// proved that it knows the password may be anybody.
    fn accepted(&self, stage: &Stage) -> Result<Stage, DialError> {
        let bound = match stage {
            Stage::Begun if !self.policy.require_auth.accepts(AuthMethods::NONE) => {
                return Err(DialError::Authentication {
                    method: "nothing".to_owned(),
                    reason: "require_auth does not allow",
                });
            }
            Stage::Begun | Stage::Sent => false,
            Stage::Proven { bound } => *bound,
            Stage::First { .. } | Stage::Proof { .. } => {
                return Err(DialError::Protocol("the login is accepted before SCRAM is over"));
            }
            Stage::Accepted => return Err(DialError::Protocol("the login is accepted twice")),
        };
        if self.policy.channel_binding == ChannelBinding::Require && !bound {
            return Err(UNBOUND);
        }
        Ok(Stage::Accepted)
    }

    fn password_for(&self, method: &str, kind: AuthMethods) -> Result<&'a str, DialError> {
        if !self.policy.require_auth.accepts(kind) {
            return Err(DialError::Authentication {
                method: method.to_owned(),
                reason: "require_auth does not allow",
            });
        }
        // Looked at before the password is given away.
        if self.policy.channel_binding == ChannelBinding::Require
            && kind != AuthMethods::SCRAM_SHA_256
        {
            return Err(UNBOUND);
        }
        match self.password.map(Secret::reveal) {
            Some(password) if !password.is_empty() => Ok(password),
            Some(_) | None => Err(DialError::NoPassword { user: self.login.user.clone() }),
        }
    }

    fn scram(&self, offered: Mechanisms<'_>, out: &mut BytesMut) -> Result<Stage, DialError> {
        let wanted = self.policy.channel_binding != ChannelBinding::Disable;
        let offers_binding = offered.contains(SCRAM_SHA_256_PLUS);
        if offers_binding && !self.policy.tls {
            return Err(DialError::Protocol("channel binding is offered where there is no TLS"));
        }
        let binding = match &self.policy.end_point {
            Some(hash) if wanted && offers_binding => {
                Some(Binding::tls_server_end_point(hash.to_vec()))
            }
            Some(_) | None => None,
        };
        let bound = binding.is_some();
        if !bound && self.policy.channel_binding == ChannelBinding::Require {
            return Err(UNBOUND);
        }
        if !bound && !offered.contains(SCRAM_SHA_256) {
            let names: Vec<_> = offered.iter().map(String::from_utf8_lossy).collect();
            let method = format!("SASL ({})", names.join(", ").escape_debug());
            return Err(DialError::Authentication { method, reason: "is not built in" });
        }
        let binding = binding.unwrap_or_else(|| {
            // Saying that we could bind shows the backend when somebody has taken the offer out.
            if self.policy.end_point.is_some() && wanted && !offers_binding {
                Binding::unrequested()
            } else {
                Binding::unsupported()
            }
        });
        let password = self.password_for("SCRAM-SHA-256", AuthMethods::SCRAM_SHA_256);
        let scram = match (password, &self.login.keys) {
            (Ok(password), _) => {
                Scram::Password(Box::new(ScramSha256::new(password.as_bytes(), binding)))
            }
            (Err(DialError::NoPassword { .. }), Some(keys)) => {
                let nonce = auth::random::<NONCE_BYTES>();
                let nonce =
                    nonce.map_err(|_| DialError::Protocol("there are no random numbers"))?;
                let hash = self.policy.end_point.as_deref().filter(|_| bound);
                let flag = match hash {
                    Some(_) => "p=tls-server-end-point,,",
                    None if self.policy.end_point.is_some() && wanted && !offers_binding => "y,,",
                    None => "n,,",
                };
                Scram::Keys(Box::new(keys.begin(&nonce, flag, hash.unwrap_or_default())))
            }
            (Err(error), _) => return Err(error),
        };
        let mechanism = if bound { SCRAM_SHA_256_PLUS } else { SCRAM_SHA_256 };
        frontend::sasl_initial(out, mechanism, scram.message());
        Ok(Stage::First { scram, bound })
    }

    fn keep_parameter(&mut self, body: &[u8]) -> Result<(), DialError> {
        let (name, value) = view::parameter_status(body).map_err(|_| MALFORMED)?;
        if self.parameters.len() >= PARAMETERS_MAX {
            return Err(DialError::Protocol("the backend reports more settings than there are"));
        }
        self.parameters.insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

const MALFORMED: DialError = DialError::Protocol("the body of a message is malformed");
const UNBOUND: DialError = DialError::Protocol(
    "it does not bind the login to the TLS channel, which channel_binding=require asks for",
);

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
