//! Passwords, and what PostgreSQL stores in their place.

use std::{fmt, hint::black_box, num::NonZeroU32, str::FromStr};

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use thiserror::Error;

use super::KEY_BYTES;

/// PBKDF2 rounds where nothing else is configured: PostgreSQL's `scram_iterations`.
pub const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

/// Bytes of a salt that we make: PostgreSQL's `SCRAM_DEFAULT_SALT_LEN`.
pub const SALT_BYTES: usize = 16;

/// Longest salt accepted in a stored verifier, in bytes.
const SALT_BYTES_MAX: usize = 1024;

/// A text that is never printed: a password, a token.
///
/// Overwritten when dropped, as far as that goes without `unsafe`.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in clear.
    #[must_use]
    pub const fn plain(text: String) -> Self {
        Self(text)
    }

    /// The text in clear.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is the text; how long that takes says nothing but whether the lengths
    /// are equal.
    #[must_use]
    pub fn matches(&self, candidate: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), candidate).is_ok()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// In constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        black_box(&bytes); // or the compiler would leave the filling out
    }
}

/// What stands in `pg_authid.rolpassword`. Whoever has it can impersonate the server or guess the
/// password offline, so it is never printed either.
#[derive(Clone, Debug)]
pub enum Verifier {
    /// `SCRAM-SHA-256$…`.
    Scram(ScramVerifier),
    /// `md5…`.
    Md5(Md5Verifier),
}

/// A text that is neither form of verifier.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "neither SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key> nor md5<32 hex digits>"
)]
pub struct InvalidVerifier;

impl Verifier {
    /// The SCRAM verifier of a password.
    ///
    /// Takes as long as `iterations` say: some milliseconds for [`ITERATIONS`].
    #[must_use]
    pub fn from_password(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        Self::Scram(ScramVerifier::from_password(password, salt, iterations))
    }

    /// The text as PostgreSQL stores it.
    #[must_use]
    pub fn to_stored(&self) -> Secret {
        match self {
            Self::Scram(verifier) => verifier.to_stored(),
            Self::Md5(verifier) => Secret(format!("md5{}", verifier.digest.reveal())),
        }
    }
}

impl FromStr for Verifier {
    type Err = InvalidVerifier;

    fn from_str(stored: &str) -> Result<Self, InvalidVerifier> {
        match stored.strip_prefix("md5") {
            Some(digest) => Md5Verifier::parse(digest).map(Self::Md5),
            None => stored.parse().map(Self::Scram),
        }
    }
}

/// MD5 of password and user name. Nothing here computes MD5; it is kept for backends that ask.
#[derive(Clone, Debug)]
pub struct Md5Verifier {
    digest: Secret,
}

impl Md5Verifier {
    /// The digest: 32 lower-case hexadecimal digits.
    #[must_use]
    pub const fn digest(&self) -> &Secret {
        &self.digest
    }

    fn parse(digest: &str) -> Result<Self, InvalidVerifier> {
        let valid = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digest.len() == 32 && digest.bytes().all(valid) {
            Ok(Self { digest: Secret::from(digest) })
        } else {
            Err(InvalidVerifier)
        }
    }
}

/// The keys with which a SCRAM-SHA-256 password is checked.
#[derive(Clone)]
pub struct ScramVerifier {
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: [u8; KEY_BYTES],
    pub(super) server_key: [u8; KEY_BYTES],
    /// Belongs to no user: no proof is ever accepted.
    pub(super) mock: bool,
}

impl ScramVerifier {
    /// The verifier of a password; see [`Verifier::from_password`].
    #[must_use]
    pub fn from_password(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = salted_password(password, salt, iterations);
        let stored_key = sha256(&hmac_sha256(&salted, &[b"Client Key"]));
        let server_key = hmac_sha256(&salted, &[b"Server Key"]);
        Self { iterations, salt: salt.to_vec(), stored_key, server_key, mock: false }
    }

    /// What a user that does not exist is checked against, so that nobody learns who does.
    ///
    /// The same `key` (32 random bytes, kept as long as the process lives) gives the same salt to
    /// the same user each time; `iterations` must be what real users have.
    #[must_use]
    pub fn mock(key: &[u8; KEY_BYTES], user: &str, iterations: NonZeroU32) -> Self {
        let derive = |label: &[u8]| hmac_sha256(key, &[label, user.as_bytes()]);
        Self {
            iterations,
            salt: derive(b"salt\0").into_iter().take(SALT_BYTES).collect(),
            stored_key: derive(b"stored\0"),
            server_key: derive(b"server\0"),
            mock: true,
        }
    }

    /// Whether this is the password. Takes as long as [`Verifier::from_password`].
    #[must_use]
    pub fn matches(&self, password: &str) -> bool {
        let salted = salted_password(password, &self.salt, self.iterations);
        let stored_key = sha256(&hmac_sha256(&salted, &[b"Client Key"]));
        let equal = constant_time::verify_slices_are_equal(&stored_key, &self.stored_key).is_ok();
        equal && !self.mock
    }

    /// PBKDF2 rounds.
    #[must_use]
    pub const fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// The salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The text as PostgreSQL stores it.
    #[must_use]
    pub fn to_stored(&self) -> Secret {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        Secret(format!("SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations))
    }
}

impl FromStr for ScramVerifier {
    type Err = InvalidVerifier;

    fn from_str(stored: &str) -> Result<Self, InvalidVerifier> {
        parse_scram(stored).ok_or(InvalidVerifier)
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ScramVerifier(…)")
    }
}

fn parse_scram(stored: &str) -> Option<ScramVerifier> {
    let (cost, keys) = stored.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let ((iterations, salt), (stored_key, server_key)) =
        (cost.split_once(':')?, keys.split_once(':')?);
    let digits = iterations.bytes().all(|byte| byte.is_ascii_digit());
    let iterations = iterations.parse::<NonZeroU32>().ok().filter(|_| digits)?;
    if i32::try_from(iterations.get()).is_err() || salt.len() / 4 > SALT_BYTES_MAX / 3 {
        return None;
    }
    let key = |text: &str| BASE64.decode(text).ok()?.try_into().ok();
    Some(ScramVerifier {
        iterations,
        salt: BASE64.decode(salt).ok()?,
        stored_key: key(stored_key)?,
        server_key: key(server_key)?,
        mock: false,
    })
}

/// RFC 5802's `Hi(Normalize(password), salt, i)`.
pub(super) fn salted_password(
    password: &str,
    salt: &[u8],
    iterations: NonZeroU32,
) -> [u8; KEY_BYTES] {
    let mut salted = [0; KEY_BYTES];
    let prepared = stringprep::saslprep(password).ok().filter(|prepared| !prepared.is_empty());
    // PostgreSQL takes the password as it is where SASLprep refuses it or leaves nothing of it
    // (`pg_be_scram_build_secret`, src/backend/libpq/auth-scram.c).
    let password = prepared.as_deref().unwrap_or(password);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
    salted
}

/// HMAC-SHA-256 of the parts, one after the other.
pub(super) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("a SHA-256 tag has 32 bytes")
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; KEY_BYTES] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
