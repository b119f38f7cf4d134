//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the side that checks the password.
//!
//! One type per step, so that no step can be left out or taken twice: [`Server`] reads the client's
//! first message into a [`ClientFirst`], which makes a [`Challenge`], which reads the client's last
//! message into an [`Accepted`].
//!
//! Sources: RFC 5802, RFC 7677, and PostgreSQL's src/backend/libpq/auth-scram.c for what they
//! leave open (the user name in the exchange is ignored, the one of the startup packet holds).

use std::fmt;

use aws_lc_rs::constant_time;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use thiserror::Error;

use super::{
    KEY_BYTES, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
    secret::{ScramVerifier, hmac_sha256, sha256},
};
use crate::sqlstate::SqlState;

/// Random bytes in our part of the nonce; PostgreSQL's `SCRAM_RAW_NONCE_LEN`.
pub const NONCE_BYTES: usize = 18;

/// Why a login by SCRAM is refused. The text may be sent to the client.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ScramError {
    /// The client chose a mechanism that was not offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// A message is not what RFC 5802 says.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The client wants something that we do not do.
    #[error("unsupported SCRAM feature: {0}")]
    Unsupported(&'static str),
    /// The client could bind the channel and believes that we cannot, although we offered it:
    /// somebody in between has removed the offer.
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// The client speaks through another TLS connection than we do.
    #[error("SCRAM channel binding check failed")]
    BindingMismatch,
    /// The client's last message belongs to another exchange.
    #[error("invalid SCRAM response: nonce does not match")]
    NonceMismatch,
    /// Wrong password, or no such user.
    #[error("password authentication failed")]
    WrongProof,
}

impl ScramError {
    /// The code that PostgreSQL reports it with.
    #[must_use]
    pub const fn code(self) -> SqlState {
        match self {
            Self::Mechanism | Self::Malformed(_) | Self::NonceMismatch => {
                SqlState::PROTOCOL_VIOLATION
            }
            Self::Unsupported(_) => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Downgrade | Self::BindingMismatch => SqlState::INVALID_AUTHORIZATION,
            Self::WrongProof => SqlState::INVALID_PASSWORD,
        }
    }
}

/// An exchange that has not begun.
#[derive(Clone, Debug)]
pub struct Server {
    /// `tls-server-end-point` of the TLS connection: the hash of our certificate.
    binding: Option<Bytes>,
}

impl Server {
    /// An exchange over TLS whose `tls-server-end-point` data is known, or without channel binding.
    #[must_use]
    pub const fn new(binding: Option<Bytes>) -> Self {
        Self { binding }
    }

    /// The mechanisms to offer, the best first.
    #[must_use]
    pub const fn mechanisms(&self) -> &'static [&'static str] {
        match self.binding {
            Some(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
            None => &[SCRAM_SHA_256],
        }
    }

    /// Reads the client's first message under the mechanism that it chose.
    ///
    /// # Errors
    /// See [`ScramError`]: the login has failed.
    pub fn first(self, mechanism: &[u8], message: &[u8]) -> Result<ClientFirst, ScramError> {
        let plus = mechanism == SCRAM_SHA_256_PLUS.as_bytes();
        if !plus && mechanism != SCRAM_SHA_256.as_bytes() || plus && self.binding.is_none() {
            return Err(ScramError::Mechanism);
        }
        let message = text(message)?;
        let (gs2_header, bare) = split_gs2(message)?;
        let flag = gs2_header.split(',').next().unwrap_or_default();
        let data = match (flag, plus) {
            ("n" | "y", true) => {
                return Err(ScramError::Malformed("channel binding data is missing"));
            }
            ("y", false) if self.binding.is_some() => return Err(ScramError::Downgrade),
            ("n" | "y", false) => Bytes::new(),
            ("p=tls-server-end-point", true) => self.binding.unwrap_or_default(),
            (_, true) if flag.starts_with("p=") => {
                return Err(ScramError::Unsupported("channel-binding type"));
            }
            (_, false) if flag.starts_with("p=") => {
                return Err(ScramError::Malformed("channel binding without SCRAM-SHA-256-PLUS"));
            }
            (_, _) => return Err(ScramError::Malformed("unexpected channel-binding flag")),
        };
        let nonce = client_nonce(bare)?;
        Ok(ClientFirst {
            binding: BASE64.encode([gs2_header.as_bytes(), &data].concat()),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
        })
    }
}

/// The client's first message, read.
#[derive(Clone, Debug)]
pub struct ClientFirst {
    /// What the client must send as `c=`.
    binding: String,
    /// The message without its GS2 header.
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// Makes our challenge; `nonce` must be random and used once.
    #[must_use]
    pub fn challenge(self, verifier: &ScramVerifier, nonce: &[u8; NONCE_BYTES]) -> Challenge {
        self.challenge_with(verifier, &BASE64.encode(nonce))
    }

    fn challenge_with(self, verifier: &ScramVerifier, nonce: &str) -> Challenge {
        let nonce = format!("{}{nonce}", self.nonce);
        let salt = BASE64.encode(&verifier.salt);
        let message = format!("r={nonce},s={salt},i={}", verifier.iterations);
        Challenge {
            binding: self.binding,
            bare: self.bare,
            nonce,
            message,
            verifier: verifier.clone(),
        }
    }
}

/// Our challenge, to be sent, and what the answer is checked against.
#[derive(Clone, Debug)]
pub struct Challenge {
    binding: String,
    bare: String,
    nonce: String,
    message: String,
    verifier: ScramVerifier,
}

impl Challenge {
    /// What to send as `AuthenticationSASLContinue`.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// Reads the client's last message and checks its proof.
    ///
    /// # Errors
    /// See [`ScramError`]: the login has failed. A mock verifier ends in
    /// [`ScramError::WrongProof`] after the same work.
    pub fn last(self, message: &[u8]) -> Result<Accepted, ScramError> {
        let message = text(message)?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(ScramError::Malformed("no proof"))?;
        let proof: [u8; KEY_BYTES] = BASE64
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(ScramError::Malformed("invalid proof"))?;
        let mut attributes = without_proof.split(',');
        let binding = attribute(&mut attributes, "c=")?;
        let nonce = attribute(&mut attributes, "r=")?;
        extensions(attributes)?;
        if !equal(binding.as_bytes(), self.binding.as_bytes()) {
            return Err(ScramError::BindingMismatch);
        }
        if !equal(nonce.as_bytes(), self.nonce.as_bytes()) {
            return Err(ScramError::NonceMismatch);
        }
        let parts = [&self.bare, ",", &self.message, ",", without_proof].map(str::as_bytes);
        let mut client_key = hmac_sha256(&self.verifier.stored_key, &parts);
        for (key, proof) in client_key.iter_mut().zip(proof) {
            *key ^= proof;
        }
        let proven = equal(&sha256(&client_key), &self.verifier.stored_key);
        let signature = hmac_sha256(&self.verifier.server_key, &parts);
        if !proven | self.verifier.mock {
            return Err(ScramError::WrongProof);
        }
        Ok(Accepted {
            message: format!("v={}", BASE64.encode(signature)),
            client_key,
            server_key: self.verifier.server_key,
        })
    }
}

/// The client has proven that it knows the password.
#[derive(Clone)]
pub struct Accepted {
    message: String,
    client_key: [u8; KEY_BYTES],
    server_key: [u8; KEY_BYTES],
}

impl Accepted {
    /// What to send as `AuthenticationSASLFinal`; `AuthenticationOk` follows.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// The client's key: with it one can log in, as this user, wherever salt and iterations of the
    /// password are the same. As secret as the password.
    #[must_use]
    pub const fn client_key(&self) -> &[u8; KEY_BYTES] {
        &self.client_key
    }

    /// The key with which a server proves that it knows the verifier.
    #[must_use]
    pub const fn server_key(&self) -> &[u8; KEY_BYTES] {
        &self.server_key
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Accepted(…)")
    }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    let text = str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))?;
    if text.contains('\0') { Err(ScramError::Malformed("unexpected NUL")) } else { Ok(text) }
}

/// The GS2 header (`n,,`: flag, comma, no authorisation identity, comma) and what follows it.
fn split_gs2(message: &str) -> Result<(&str, &str), ScramError> {
    let malformed = ScramError::Malformed("incomplete GS2 header");
    let (flag, rest) = message.split_once(',').ok_or(malformed)?;
    if rest.starts_with("a=") {
        return Err(ScramError::Unsupported("authorization identity"));
    }
    let bare = rest.strip_prefix(',').ok_or(malformed)?;
    let header = flag.len().checked_add(2).and_then(|end| message.get(..end)).ok_or(malformed)?;
    Ok((header, bare))
}

/// The nonce of `n=user,r=nonce[,extensions]`.
fn client_nonce(bare: &str) -> Result<&str, ScramError> {
    if bare.starts_with("m=") {
        return Err(ScramError::Unsupported("mandatory extension"));
    }
    let mut attributes = bare.split(',');
    attribute(&mut attributes, "n=")?;
    let nonce = attribute(&mut attributes, "r=")?;
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e);
    if nonce.is_empty() || !nonce.bytes().all(printable) {
        return Err(ScramError::Malformed("non-printable characters in nonce"));
    }
    extensions(attributes)?;
    Ok(nonce)
}

/// The value of the next attribute, which must be this one.
fn attribute<'a>(
    attributes: &mut impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<&'a str, ScramError> {
    let next = attributes.next().and_then(|attribute| attribute.strip_prefix(name));
    next.ok_or(ScramError::Malformed("an attribute is missing"))
}

/// Optional attributes at the end may be ignored; they must look like some.
fn extensions<'a>(mut attributes: impl Iterator<Item = &'a str>) -> Result<(), ScramError> {
    let valid = |attribute: &str| match attribute.as_bytes() {
        [name, b'=', ..] => name.is_ascii_alphabetic(),
        _ => false,
    };
    if attributes.all(valid) { Ok(()) } else { Err(ScramError::Malformed("invalid attribute")) }
}

#[cfg(test)]
#[path = "scram_tests.rs"]
mod tests;
