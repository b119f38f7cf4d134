use super::*;
use crate::sample::hex;

#[test]
fn what_clients_send_by_default() {
    // Python; JS; gel-tokio (with its malformed aliases); Go
    for state in [
        "00000000",
        "",
        r#"00000004 00000000 00000007 "default" 00000001 00000004 00000000
           00000002 00000004 00000000 00000003 00000004 00000000"#,
        "00000001 00000002 00000004 00000000",
    ] {
        assert_eq!(State::parse(&hex(state)), Ok(State::default()), "{state}");
    }
}

#[test]
fn what_they_may_ask_for() {
    let state = hex(r#"00000001 00000002 0000005f 00000004
             00000000 0000000c "Serializable"
             00000001 00000008 "ReadOnly"
             00000002 0000000d "NotDeferrable"
             00000003 00000010 00000000000f4241 0000000000000000"#);
    let mut state = state;
    let config = u8::try_from(state.len() - 12).unwrap();
    state[11] = config;
    let read = State::parse(&state).unwrap();
    assert_eq!(read.modes.begin(), "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY NOT DEFERRABLE");
    assert_eq!(read.query_timeout, Some(1001));
    assert_eq!(read.idle_timeout, None);
}

#[test]
fn what_is_malformed() {
    for (state, expected) in [
        ("000000", BodyError::Short),
        ("00000001", BodyError::Short),
        ("00000001 00000002 00000004 000000", BodyError::Short),
        ("00000000 00", BodyError::Trailing),
        ("ffffffff", BodyError::Short),
        (
            r#"00000001 00000002 0000000f 00000001 00000000 00000003 "Any""#,
            BodyError::UnknownValue(0),
        ),
        ("00000001 00000002 0000000c 00000001 00000009 00000000", BodyError::UnknownValue(9)),
    ] {
        assert_eq!(State::parse(&hex(state)), Err(expected), "{state}");
    }
}

#[test]
fn timeouts_are_bounded() {
    let duration = |microseconds: i64| {
        let mut value = microseconds.to_be_bytes().to_vec();
        value.extend_from_slice(&[0; 8]);
        milliseconds(&value)
    };
    assert_eq!(duration(1), Ok(1));
    assert_eq!(duration(0), Ok(0));
    assert_eq!(duration(-5), Ok(0));
    assert_eq!(duration(i64::MAX), Ok(0x7fff_ffff));
}

#[test]
fn the_four_elements_have_their_names() {
    let text = String::from_utf8_lossy(&descriptor().bytes).into_owned();
    for name in ["module", "aliases", "config", "globals", "query_execution_timeout"] {
        assert!(text.contains(name), "{name}");
    }
}
