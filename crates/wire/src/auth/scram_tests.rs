use std::num::NonZeroU32;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::*;

const FEW: NonZeroU32 = NonZeroU32::new(3).unwrap();
const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];
const PLAIN: &[u8] = b"SCRAM-SHA-256";
const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";

fn secret() -> ScramVerifier {
    ScramVerifier::from_password("secret", b"salt", FEW)
}

fn bound(data: &'static [u8]) -> Server {
    Server::new(Some(Bytes::from_static(data)))
}

/// A whole exchange with the client of `postgres-protocol`.
fn exchange(
    server: Server,
    verifier: &ScramVerifier,
    mechanism: &[u8],
    password: &str,
    binding: ChannelBinding,
) -> Result<(), ScramError> {
    let mut client = ScramSha256::new(password.as_bytes(), binding);
    let challenge = server.first(mechanism, client.message())?.challenge(verifier, &NONCE);
    client.update(challenge.message()).unwrap();
    let accepted = challenge.last(client.message())?;
    client.finish(accepted.message()).expect("our signature is right");
    assert_eq!(sha256(accepted.client_key()), verifier.stored_key);
    assert_eq!(accepted.server_key(), &verifier.server_key);
    Ok(())
}

#[test]
fn rfc_7677_section_3() {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = ScramVerifier::from_password("pencil", &salt, NonZeroU32::new(4096).unwrap());
    let challenge = Server::new(None)
        .first(PLAIN, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        .unwrap()
        .challenge_with(&verifier, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_eq!(
        str::from_utf8(challenge.message()).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let accepted = challenge
        .last(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        .unwrap();
    assert_eq!(accepted.message(), b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(format!("{accepted:?}"), "Accepted(…)");
}

#[test]
fn a_client_with_the_password_gets_in_and_others_do_not() {
    for password in ["secret", "", "päss\u{a0}wörd", "\u{7}"] {
        let verifier = ScramVerifier::from_password(password, b"salt", FEW);
        let login = |tried| {
            let binding = ChannelBinding::unsupported();
            exchange(Server::new(None), &verifier, PLAIN, tried, binding)
        };
        assert_eq!(login(password), Ok(()), "{password:?}");
        assert_eq!(login("wrong"), Err(ScramError::WrongProof), "{password:?}");
    }
}

#[test]
fn a_mock_goes_the_whole_way_and_ends_as_a_wrong_password() {
    let mut known = secret();
    known.mock = true; // even with the right password
    let mock = ScramVerifier::mock(&[1; 32], "nobody", FEW);
    for verifier in [known, mock] {
        let binding = ChannelBinding::unsupported();
        let outcome = exchange(Server::new(None), &verifier, PLAIN, "secret", binding);
        assert_eq!(outcome, Err(ScramError::WrongProof));
    }
}

#[test]
fn channel_binding() {
    let end_point = |data: &[u8]| ChannelBinding::tls_server_end_point(data.to_vec());
    let run =
        |server, mechanism, binding| exchange(server, &secret(), mechanism, "secret", binding);
    assert_eq!(run(bound(b"hash"), PLUS, end_point(b"hash")), Ok(()));
    assert_eq!(
        run(bound(b"hash"), PLUS, end_point(b"hash of another")),
        Err(ScramError::BindingMismatch)
    );
    assert_eq!(run(bound(b"hash"), PLAIN, ChannelBinding::unsupported()), Ok(()));
    assert_eq!(run(Server::new(None), PLAIN, ChannelBinding::unrequested()), Ok(()));
    // 'y' although we offered -PLUS: somebody removed the offer
    assert_eq!(
        run(bound(b"hash"), PLAIN, ChannelBinding::unrequested()),
        Err(ScramError::Downgrade)
    );
    assert_eq!(run(Server::new(None), PLUS, end_point(b"hash")), Err(ScramError::Mechanism));
    assert_eq!(bound(b"").mechanisms(), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
    assert_eq!(Server::new(None).mechanisms(), ["SCRAM-SHA-256"]);
}

#[test]
fn first_messages_that_are_refused() {
    use ScramError::{Malformed, Mechanism, Unsupported};
    let missing = Malformed("an attribute is missing");
    for (mechanism, message, expected) in [
        (&b"SCRAM-SHA-1"[..], "n,,n=,r=x", Mechanism),
        (PLAIN, "", Malformed("incomplete GS2 header")),
        (PLAIN, "n", Malformed("incomplete GS2 header")),
        (PLAIN, "n,", Malformed("incomplete GS2 header")),
        (PLAIN, "n,n=,r=x", Malformed("incomplete GS2 header")),
        (PLAIN, "n,a=ann,n=,r=x", Unsupported("authorization identity")),
        (PLAIN, "x,,n=,r=x", Malformed("unexpected channel-binding flag")),
        (PLAIN, ",,n=,r=x", Malformed("unexpected channel-binding flag")),
        (PLAIN, "p,,n=,r=x", Malformed("unexpected channel-binding flag")),
        (
            PLAIN,
            "p=tls-server-end-point,,n=,r=x",
            Malformed("channel binding without SCRAM-SHA-256-PLUS"),
        ),
        (PLUS, "p=tls-unique,,n=,r=x", Unsupported("channel-binding type")),
        (PLUS, "n,,n=,r=x", Malformed("channel binding data is missing")),
        (PLUS, "y,,n=,r=x", Malformed("channel binding data is missing")),
        (PLAIN, "n,,m=ext,n=,r=x", Unsupported("mandatory extension")),
        (PLAIN, "n,,", missing),
        (PLAIN, "n,,r=x", missing),
        (PLAIN, "n,,n=", missing),
        (PLAIN, "n,,n=,x=y", missing),
        (PLAIN, "n,,n=,r=", Malformed("non-printable characters in nonce")),
        (PLAIN, "n,,n=,r=a b", Malformed("non-printable characters in nonce")),
        (PLAIN, "n,,n=,r=ä", Malformed("non-printable characters in nonce")),
        (PLAIN, "n,,n=,r=x,", Malformed("invalid attribute")),
        (PLAIN, "n,,n=,r=x,1=y", Malformed("invalid attribute")),
        (PLAIN, "n,,n=\0,r=x", Malformed("unexpected NUL")),
    ] {
        let refused = bound(b"hash").first(mechanism, message.as_bytes()).unwrap_err();
        assert_eq!(refused, expected, "{message:?}");
    }
    assert_eq!(Server::new(None).first(PLAIN, b"\xff").unwrap_err(), Malformed("not UTF-8"));
    assert!(Server::new(None).first(PLAIN, b"n,,n=ann,r=x,t=ignored").is_ok());
}

#[test]
fn last_messages_that_are_refused() {
    use ScramError::{BindingMismatch, Malformed, NonceMismatch, WrongProof};
    let proof = BASE64.encode([0; 32]);
    let nonce = format!("x{}", BASE64.encode(NONCE));
    let missing = Malformed("an attribute is missing");
    for (message, expected) in [
        (String::new(), Malformed("no proof")),
        (format!("c=biws,r={nonce}"), Malformed("no proof")),
        (format!("c=biws,r={nonce},p="), Malformed("invalid proof")),
        (format!("c=biws,r={nonce},p=AAAA"), Malformed("invalid proof")),
        (format!("c=biws,r={nonce},p={proof},x=y"), Malformed("invalid proof")),
        (format!("r={nonce},c=biws,p={proof}"), missing),
        (format!("c=biws,p={proof}"), missing),
        (format!("c=biws,r={nonce},1=x,p={proof}"), Malformed("invalid attribute")),
        (format!("c=eSws,r={nonce},p={proof}"), BindingMismatch),
        (format!("c=,r={nonce},p={proof}"), BindingMismatch),
        (format!("c=biws,r=x,p={proof}"), NonceMismatch),
        (format!("c=biws,r={nonce}A,p={proof}"), NonceMismatch),
        (format!("c=biws,r={nonce},p={proof}"), WrongProof),
        (format!("c=biws,r={nonce},x=y,p={proof}"), WrongProof),
    ] {
        let first = Server::new(None).first(PLAIN, b"n,,n=,r=x").unwrap();
        let challenge = first.challenge(&secret(), &NONCE);
        assert_eq!(challenge.last(message.as_bytes()).unwrap_err(), expected, "{message:?}");
    }
}

#[test]
fn refusals_have_postgresqls_codes() {
    for (error, code) in [
        (ScramError::Mechanism, "08P01"),
        (ScramError::Malformed(""), "08P01"),
        (ScramError::NonceMismatch, "08P01"),
        (ScramError::Unsupported(""), "0A000"),
        (ScramError::Downgrade, "28000"),
        (ScramError::BindingMismatch, "28000"),
        (ScramError::WrongProof, "28P01"),
    ] {
        assert_eq!(error.code().as_str(), code);
    }
}

#[test]
fn random_bytes_differ() {
    assert_ne!(super::super::random::<18>(), super::super::random::<18>());
}
