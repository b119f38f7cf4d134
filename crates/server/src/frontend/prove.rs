//! How a client proves who it is.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use everline_core::refusal::Refusal;
use everline_wire::auth::scram::{NONCE_BYTES, ScramError, Server};
use everline_wire::auth::secret::{ITERATIONS, ScramVerifier, Secret};
use everline_wire::auth::{self, ScramKeys};
use everline_wire::backend;
use everline_wire::frontend;
use everline_wire::sqlstate::SqlState;
use md5::{Digest, Md5};
use tokio::io::AsyncWriteExt;

use super::login::{LoginError, password_message};
use super::users::User;
use super::{Context, Door, Live};
use crate::config::hba::{self, Knock, Method, Origin};
use crate::net::stream::Stream;

/// What a client has shown of itself that also logs in at backends.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The keys of its password.
    pub keys: Option<ScramKeys>,
    /// Its password.
    pub password: Option<Secret>,
}

/// Who it says it is, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub user: &'a str,
    pub database: &'a str,
    /// Where it comes from; `None` over a Unix socket.
    pub from: Option<IpAddr>,
}

/// One exchange with a client.
pub(super) struct Prover<'a> {
    pub stream: &'a mut Stream,
    pub input: &'a mut BytesMut,
    pub out: &'a mut BytesMut,
    pub binding: Option<Bytes>,
    pub context: &'a Arc<Context>,
    pub claim: Claim<'a>,
}

/// What is asked of a client.
struct Ask {
    method: Method,
    map: Option<String>,
    certificate: bool,
}

impl Prover<'_> {
    /// Has the client prove who it is, in the way that is asked of it.
    pub(super) async fn prove(self) -> Result<Shown, LoginError> {
        let live = self.context.live();
        let ask = self.ask(&live)?;
        if ask.certificate && self.stream.client_names().is_none() {
            return Err(turned_away(NO_CERTIFICATE.to_owned()));
        }
        match ask.method {
            Method::Trust => Ok(Shown::default()),
            Method::Reject => Err(turned_away(self.nobody("rejects connection"))),
            Method::Scram => self.scram().await,
            Method::Md5 => self.md5().await,
            Method::Password => self.password().await,
            Method::Cert => {
                let names = self.stream.client_names();
                let names = names.ok_or_else(|| turned_away(NO_CERTIFICATE.to_owned()))?;
                self.is_named(&live, &ask, &names, "certificate")
            }
            Method::Peer => {
                let names = self.stream.peer_names();
                let names = names.ok_or_else(|| {
                    turned_away("peer authentication is for Unix sockets".to_owned())
                })?;
                self.is_named(&live, &ask, &names, "peer")
            }
        }
    }

    fn ask(&self, live: &Live) -> Result<Ask, LoginError> {
        match &live.door {
            Door::One(method) => {
                Ok(Ask { method: *method, map: live.map.clone(), certificate: false })
            }
            Door::Rules(rules) => {
                let knock = Knock {
                    database: self.claim.database,
                    user: self.claim.user,
                    origin: self.claim.from.map_or(Origin::Unix, Origin::Tcp),
                    tls: self.stream.is_tls(),
                };
                let rule = hba::decide(rules, &knock);
                let rule = rule.ok_or_else(|| turned_away(self.nobody("has no entry for")))?;
                Ok(Ask {
                    method: rule.method,
                    map: rule.map.clone(),
                    certificate: rule.certificate,
                })
            }
        }
    }

    fn nobody(&self, verb: &str) -> String {
        let Claim { user, database, from } = self.claim;
        let host = from.map_or_else(|| "[local]".to_owned(), |address| address.to_string());
        let tls = if self.stream.is_tls() { "TLS" } else { "no TLS" };
        format!(
            "auth_hba_file {verb} host \"{host}\", user \"{user}\", database \"{database}\", {tls}"
        )
    }

    fn is_named(
        &self,
        live: &Live,
        ask: &Ask,
        names: &[String],
        how: &'static str,
    ) -> Result<Shown, LoginError> {
        if live.maps.allows(ask.map.as_deref(), names, self.claim.user) {
            return Ok(Shown::default());
        }
        let reason = format!("{names:?} may not be this user");
        Err(self.denied(how, reason, SqlState::INVALID_AUTHORIZATION))
    }

    fn denied(&self, how: &'static str, reason: String, code: SqlState) -> LoginError {
        LoginError::Denied { user: self.claim.user.to_owned(), how, reason, code }
    }

    fn wrong(&self) -> LoginError {
        self.denied(
            "password",
            "wrong password, or no such user".to_owned(),
            SqlState::INVALID_PASSWORD,
        )
    }

    async fn say(&mut self) -> Result<(), LoginError> {
        self.stream.write_all(self.out).await?;
        self.stream.flush().await?;
        self.out.clear();
        Ok(())
    }

    async fn scram(self) -> Result<Shown, LoginError> {
        let user = self.context.find_user(self.claim.user).await?;
        self.scram_as(user).await
    }

    async fn scram_as(mut self, user: Option<User>) -> Result<Shown, LoginError> {
        let verifier = user.and_then(|user| user.verifier);
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| {
            ScramVerifier::mock(&self.context.mock_key, self.claim.user, ITERATIONS)
        });
        let name = self.claim.user.to_owned();
        let denied = |error: ScramError| LoginError::Denied {
            user: name.clone(),
            how: "password",
            reason: error.to_string(),
            code: error.code(),
        };
        let server = Server::new(self.binding.take());
        backend::authentication_sasl(self.out, server.mechanisms());
        self.say().await?;
        let body = password_message(self.stream, self.input).await?;
        let first = frontend::SaslInitial::parse(&body).map_err(|error| Refusal::Protocol {
            what: format!("invalid SASL message: {error}"),
        })?;
        let first = server.first(first.mechanism, first.data.unwrap_or_default());
        let first = first.map_err(&denied)?;
        let challenge = first.challenge(&verifier, &auth::random::<NONCE_BYTES>()?);
        backend::authentication_sasl_continue(self.out, challenge.message());
        self.say().await?;
        let body = password_message(self.stream, self.input).await?;
        let accepted = challenge.last(&body).map_err(&denied)?;
        if !known {
            return Err(denied(ScramError::WrongProof));
        }
        backend::authentication_sasl_final(self.out, accepted.message());
        let keys = ScramKeys::new(*accepted.client_key(), *accepted.server_key());
        Ok(Shown { keys: Some(keys), password: None })
    }

    /// As PostgreSQL's `md5`: by SCRAM where nothing but a SCRAM verifier is known.
    async fn md5(mut self) -> Result<Shown, LoginError> {
        let user = self.context.find_user(self.claim.user).await?;
        let digest = user.as_ref().and_then(|user| {
            let own = user.md5.as_ref().map(|md5| md5.digest().reveal().to_owned());
            own.or_else(|| {
                let password = user.password.as_ref()?.reveal();
                Some(hex_md5(&[password.as_bytes(), self.claim.user.as_bytes()]))
            })
        });
        if digest.is_none() && user.is_some() {
            return self.scram_as(user).await;
        }
        let salt = auth::random::<4>()?;
        backend::authentication_md5(self.out, salt);
        self.say().await?;
        let body = password_message(self.stream, self.input).await?;
        let answer = frontend::password_view(&body).map_err(|error| Refusal::Protocol {
            what: format!("invalid password message: {error}"),
        })?;
        let known = digest.is_some();
        let digest = digest.unwrap_or_else(|| "0".repeat(32));
        let expected = Secret::plain(format!("md5{}", hex_md5(&[digest.as_bytes(), &salt])));
        if !(expected.matches(answer) & known) {
            return Err(self.wrong());
        }
        Ok(Shown::default())
    }

    async fn password(mut self) -> Result<Shown, LoginError> {
        let user = self.context.find_user(self.claim.user).await?;
        backend::authentication_cleartext(self.out);
        self.say().await?;
        let body = password_message(self.stream, self.input).await?;
        let answer = frontend::password_view(&body).map_err(|error| Refusal::Protocol {
            what: format!("invalid password message: {error}"),
        })?;
        let answer = str::from_utf8(answer).unwrap_or_default();
        let user = user.unwrap_or_default();
        let right = match (&user.password, &user.verifier, &user.md5) {
            (_, Some(verifier), _) => verifier.matches(answer),
            (Some(password), None, _) => password.matches(answer.as_bytes()),
            (None, None, Some(md5)) => {
                let digest = hex_md5(&[answer.as_bytes(), self.claim.user.as_bytes()]);
                md5.digest().matches(digest.as_bytes())
            }
            (None, None, None) => {
                // As much work as for a user that exists.
                let key = &self.context.mock_key;
                ScramVerifier::mock(key, self.claim.user, ITERATIONS).matches(answer)
            }
        };
        if !right || answer.is_empty() {
            return Err(self.wrong());
        }
        Ok(Shown { keys: None, password: Some(Secret::plain(answer.to_owned())) })
    }
}

const NO_CERTIFICATE: &str = "connection requires a valid client certificate";

fn turned_away(message: String) -> LoginError {
    LoginError::TurnedAway { message }
}

fn hex_md5(parts: &[&[u8]]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    let digits = |byte: u8| [byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16));
    md5.finalize().into_iter().flat_map(digits).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::hex_md5;
    use postgres_protocol::authentication::md5_hash;

    #[test]
    fn the_digest_is_postgresqls() {
        let salt = [1, 2, 3, 4];
        let digest = hex_md5(&[b"password", b"user"]);
        let answer = format!("md5{}", hex_md5(&[digest.as_bytes(), &salt]));
        assert_eq!(answer, md5_hash(b"user", b"password", salt));
    }
}
