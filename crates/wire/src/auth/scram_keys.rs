//! SCRAM-SHA-256, the side that proves itself, without the password: with the keys that a client
//! has shown us when it proved itself here.
//!
//! Whoever has checked a proof knows the client's key, and with it can log in as this user wherever
//! salt and iterations of the password are the same: at the PostgreSQL that our verifier is from.

use aws_lc_rs::constant_time;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use thiserror::Error;

use super::{
    KEY_BYTES,
    secret::{hmac_sha256, sha256},
};

/// The keys of one user's password.
#[derive(Clone, Eq, PartialEq)]
pub struct ScramKeys {
    client: [u8; KEY_BYTES],
    server: [u8; KEY_BYTES],
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ScramKeys(…)")
    }
}

/// Why the exchange has failed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum KeysError {
    /// A message is not what RFC 5802 says.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The server does not know the password, though it accepted the proof.
    #[error("the server could not prove that it knows the password")]
    WrongSignature,
}

impl ScramKeys {
    /// The keys with which a client has proven itself, and is to be met.
    #[must_use]
    pub const fn new(client: [u8; KEY_BYTES], server: [u8; KEY_BYTES]) -> Self {
        Self { client, server }
    }

    /// Begins an exchange. `nonce` must be random and used once; `gs2_header` is `n,,`, `y,,` or
    /// `p=tls-server-end-point,,`, and `binding` the channel's data in the last case.
    #[must_use]
    pub fn begin(&self, nonce: &[u8], gs2_header: &str, binding: &[u8]) -> Proving {
        let nonce = BASE64.encode(nonce);
        let bare = format!("n=,r={nonce}");
        let message = format!("{gs2_header}{bare}");
        let binding = BASE64.encode([gs2_header.as_bytes(), binding].concat());
        Proving { keys: self.clone(), nonce, bare, message, binding, signature: None }
    }
}

/// An exchange under way.
#[derive(Clone, Debug)]
pub struct Proving {
    keys: ScramKeys,
    nonce: String,
    bare: String,
    message: String,
    binding: String,
    signature: Option<[u8; KEY_BYTES]>,
}

impl Proving {
    /// What is to be sent next.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// Reads the server's challenge; the proof is the next message.
    ///
    /// # Errors
    /// [`KeysError::Malformed`].
    pub fn challenge(&mut self, challenge: &[u8]) -> Result<(), KeysError> {
        let challenge = str::from_utf8(challenge).map_err(|_| KeysError::Malformed)?;
        let nonce = challenge.split(',').next().and_then(|part| part.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| {
            nonce.len() > self.nonce.len() && nonce.starts_with(self.nonce.as_str())
        });
        let nonce = nonce.ok_or(KeysError::Malformed)?;
        let without_proof = format!("c={},r={nonce}", self.binding);
        let parts = [&self.bare, ",", challenge, ",", &without_proof].map(str::as_bytes);
        let mut proof = hmac_sha256(&sha256(&self.keys.client), &parts);
        for (byte, key) in proof.iter_mut().zip(self.keys.client) {
            *byte ^= key;
        }
        self.signature = Some(hmac_sha256(&self.keys.server, &parts));
        self.message = format!("{without_proof},p={}", BASE64.encode(proof));
        Ok(())
    }

    /// Reads the server's last word.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn finish(&self, last: &[u8]) -> Result<(), KeysError> {
        let signature = str::from_utf8(last).ok().and_then(|last| last.strip_prefix("v="));
        let signature = signature.and_then(|text| BASE64.decode(text).ok());
        let (Some(signature), Some(expected)) = (signature, &self.signature) else {
            return Err(KeysError::Malformed);
        };
        constant_time::verify_slices_are_equal(&signature, expected)
            .map_err(|_| KeysError::WrongSignature)
    }
}

#[cfg(test)]
#[path = "scram_keys_tests.rs"]
mod tests;
