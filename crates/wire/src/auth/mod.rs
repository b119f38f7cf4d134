//! Authentication of clients: what a password is kept as, and the SCRAM exchange.
//!
//! The primitives (PBKDF2, HMAC, SHA-256, comparison in constant time, random bytes) are those of
//! aws-lc-rs; there are none of our own.

use thiserror::Error;

pub mod scram;
pub mod scram_keys;
pub mod secret;

pub use scram_keys::{KeysError, Proving, ScramKeys};
pub use secret::{ScramVerifier, Secret, Verifier};

/// SASL mechanism: SCRAM without channel binding (RFC 7677).
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// SASL mechanism: SCRAM bound to the TLS connection (RFC 7677, RFC 5929 `tls-server-end-point`).
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Bytes of a SHA-256 digest, and of every key in SCRAM-SHA-256.
pub const KEY_BYTES: usize = 32;

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("no random bytes could be had")]
pub struct NoRandom;

/// Random bytes fit for nonces, salts and keys.
///
/// # Errors
/// [`NoRandom`]: authentication must be refused.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}
