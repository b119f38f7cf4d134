//! The server side of this crate is the oracle: it is itself tried with real clients.

use bytes::Bytes;

use super::{KeysError, ScramKeys};
use crate::auth::scram::{Accepted, NONCE_BYTES, ScramError, Server};
use crate::auth::secret::{ITERATIONS, ScramVerifier};
use crate::auth::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

fn verifier() -> ScramVerifier {
    ScramVerifier::from_password("secret", b"0123456789abcdef", ITERATIONS)
}

/// The keys as they are learnt when a client proves itself by its password.
fn learnt() -> ScramKeys {
    let mut client = ScramSha256::new(b"secret", ChannelBinding::unsupported());
    let first = Server::new(None).first(SCRAM_SHA_256.as_bytes(), client.message()).unwrap();
    let challenge = first.challenge(&verifier(), &[7; NONCE_BYTES]);
    client.update(challenge.message()).unwrap();
    let accepted = challenge.last(client.message()).unwrap();
    ScramKeys::new(*accepted.client_key(), *accepted.server_key())
}

fn prove(
    keys: &ScramKeys,
    verifier: &ScramVerifier,
    binding: Option<&'static [u8]>,
) -> Result<Accepted, ScramError> {
    let (mechanism, header) = match binding {
        Some(_) => (SCRAM_SHA_256_PLUS, "p=tls-server-end-point,,"),
        None => (SCRAM_SHA_256, "n,,"),
    };
    let mut proving = keys.begin(&[3; 18], header, binding.unwrap_or_default());
    let server = Server::new(binding.map(Bytes::from_static));
    let first = server.first(mechanism.as_bytes(), proving.message()).unwrap();
    let challenge = first.challenge(verifier, &[9; NONCE_BYTES]);
    proving.challenge(challenge.message()).unwrap();
    let accepted = challenge.last(proving.message())?;
    assert_eq!(proving.finish(accepted.message()), Ok(()));
    assert_eq!(proving.finish(b"v=AAAA"), Err(KeysError::WrongSignature));
    assert_eq!(proving.finish(b"e=other-error"), Err(KeysError::Malformed));
    Ok(accepted)
}

#[test]
fn learnt_keys_log_in_with_and_without_channel_binding() {
    assert!(prove(&learnt(), &verifier(), None).is_ok());
    assert!(prove(&learnt(), &verifier(), Some(b"hash of a certificate")).is_ok());
}

#[test]
fn keys_of_another_password_or_salt_do_not() {
    let other = ScramVerifier::from_password("secret", b"another salt 123", ITERATIONS);
    assert_eq!(prove(&learnt(), &other, None).map(drop), Err(ScramError::WrongProof));
    let forged = ScramKeys::new([1; 32], [2; 32]);
    assert_eq!(prove(&forged, &verifier(), None).map(drop), Err(ScramError::WrongProof));
}

#[test]
fn a_challenge_that_is_not_ours_is_refused() {
    let mut proving = learnt().begin(&[3; 18], "n,,", b"");
    for challenge in [&b""[..], b"r=", b"r=somebody-elses,s=AAAA,i=1", b"\xff", b"s=AAAA"] {
        assert_eq!(proving.challenge(challenge), Err(KeysError::Malformed));
    }
}
