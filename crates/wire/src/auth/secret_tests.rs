use postgres_protocol::password::scram_sha_256;

use super::*;

const STORED: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                      AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const FEW: NonZeroU32 = NonZeroU32::new(2).unwrap();

#[test]
fn a_secret_is_never_printed() {
    let secret = Secret::plain("hunter2".to_owned());
    assert_eq!(format!("{secret:?}"), "Secret(…)");
    assert_eq!(secret.reveal(), "hunter2");
    assert!(secret.matches(b"hunter2"));
    assert!(!secret.matches(b"hunter3") && !secret.matches(b"hunter") && !secret.matches(b""));
    let verifier = Verifier::from_password("hunter2", b"salt", FEW);
    assert_eq!(format!("{verifier:?}"), "Scram(ScramVerifier(…))");
    let md5: Verifier = "md5d41d8cd98f00b204e9800998ecf8427e".parse().unwrap();
    assert_eq!(format!("{md5:?}"), "Md5(Md5Verifier { digest: Secret(…) })");
}

#[test]
fn stored_forms_read_and_print() {
    for stored in [STORED, "md5d41d8cd98f00b204e9800998ecf8427e"] {
        let verifier: Verifier = stored.parse().unwrap();
        assert_eq!(verifier.to_stored().reveal(), stored);
    }
}

#[test]
fn other_texts_are_no_verifiers() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for stored in [
        String::new(),
        "secret".into(),
        "md5".into(),
        "md5d41d8cd98f00b204e9800998ecf8427".into(),
        "md5D41D8CD98F00B204E9800998ECF8427E".into(),
        STORED.replace("4096", "0"),
        STORED.replace("4096", "-1"),
        STORED.replace("4096", "+1"),
        STORED.replace("4096", "2147483648"),
        STORED.replace("4096", ""),
        STORED.replace("SHA-256", "SHA-1"),
        STORED.replace("c2Fs", "c2F"),
        STORED.replace("AQEB", "AQE"),
        format!("SCRAM-SHA-256$4096:c2FsdA==${key}"),
        format!("SCRAM-SHA-256$4096:c2FsdA==${key}:AAAA"),
        format!("SCRAM-SHA-256$4096:{}${key}:{key}", "AAAA".repeat(400)),
    ] {
        assert!(stored.parse::<Verifier>().is_err(), "{stored}");
    }
}

#[test]
fn the_verifier_is_postgresqls() {
    for password in ["secret", "", "pass word", "I\u{ad}X", "\u{aa}", "\u{7}", "päss\u{a0}wörd"] {
        let stored = scram_sha_256(password.as_bytes());
        let theirs: ScramVerifier = stored.parse().unwrap();
        let ours = ScramVerifier::from_password(password, theirs.salt(), theirs.iterations());
        assert_eq!(ours.to_stored().reveal(), stored, "{password:?}");
        assert!(theirs.matches(password) && !theirs.matches("Secret"));
    }
}

#[test]
fn saslprep_where_it_applies_and_the_raw_password_where_not() {
    let key = |password| salted_password(password, b"salt", FEW);
    assert_eq!(key("I\u{ad}X"), key("IX"), "mapped to nothing");
    assert_eq!(key("\u{2168}"), key("IX"), "normalised");
    assert_ne!(key("\u{627}1"), key("\u{627}"), "prohibited: as it is");
    assert_ne!(key("\u{ad}"), key(""), "nothing would be left: as it is");
}

/// What PostgreSQL 15 stored for a password of which `SASLprep` leaves nothing.
#[test]
fn postgresql_takes_the_raw_password_too() {
    let stored = "SCRAM-SHA-256$4096:SWNcNMaVthzASgsOcmRd0A==$\
                  gyGgJTY5kPdyndZHM38/TMm+9LhRt5VXnEwH5dPj3iA=:\
                  Iqfds/n3DALVMqi1oNUEW3xdnPrG/d+/pKH5Q0Y69W4=";
    assert!(stored.parse::<ScramVerifier>().unwrap().matches("\u{ad}"));
}

#[test]
fn a_mock_is_steady_and_never_matches() {
    let mock = |key: u8, user| ScramVerifier::mock(&[key; 32], user, FEW);
    assert_eq!(mock(1, "ann").salt(), mock(1, "ann").salt());
    assert_eq!(mock(1, "ann").salt().len(), SALT_BYTES);
    assert_ne!(mock(1, "ann").salt(), mock(1, "bob").salt());
    assert_ne!(mock(1, "ann").salt(), mock(2, "ann").salt());
    let mut known = ScramVerifier::from_password("secret", b"salt", FEW);
    assert!(known.matches("secret"));
    known.mock = true;
    assert!(!known.matches("secret"));
}
