use proptest::prelude::*;

use super::*;

#[test]
fn durations_have_a_unit_and_bounds() {
    let of = |text| duration(text, Zero::Allowed);
    assert_eq!(of("5s"), Ok(Duration::from_secs(5)));
    assert_eq!(of(" 1m 30s "), Ok(Duration::from_secs(90)));
    assert_eq!(of("0s"), Ok(Duration::ZERO));
    assert_eq!(of("1ms"), Ok(Duration::from_millis(1)));
    assert_eq!(of("24h"), Ok(DURATION_MAX));
    for wrong in
        ["", "5", "s", "-1s", "5 parsecs", "999us", "1day 1ms", "1e9s", "99999999999999999999s"]
    {
        assert!(of(wrong).is_err(), "{wrong}");
    }
    assert!(duration("0s", Zero::Refused).is_err());
    assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
    assert_eq!(seconds("30s"), Ok(Duration::from_secs(30)));
    assert_eq!(seconds("0"), Ok(Duration::ZERO));
    assert!(seconds("86401").is_err());
    assert!(seconds("").is_err());
}

#[test]
fn places_to_listen_at() {
    let of = |text| listen(text).map(|place| place.to_string());
    assert_eq!(of("127.0.0.1:6432").unwrap(), "127.0.0.1:6432");
    assert_eq!(of("[::1]:6432").unwrap(), "[::1]:6432");
    assert_eq!(of("localhost:7").unwrap(), "127.0.0.1:7");
    assert_eq!(of("*:7").unwrap(), "0.0.0.0:7");
    assert_eq!(of("unix:/run/everline").unwrap(), "unix:/run/everline/.s.PGSQL.6432");
    assert_eq!(of("unix:/a/.s.PGSQL.5432").unwrap(), "unix:/a/.s.PGSQL.5432");
    for wrong in
        ["", "6432", ":6432", "host:6432", "1.2.3.4", "1.2.3.4:70000", "unix:", "unix:relative"]
    {
        assert!(of(wrong).is_err(), "{wrong}");
    }
    assert!(of(&format!("unix:/{}", "x".repeat(100))).is_err());
}

#[test]
fn numbers_words_and_codes() {
    assert_eq!(number("007", 0..=9), Ok(7));
    for wrong in ["", "-1", "+1", "1.0", "0x1", "10", "99999999999999999999999"] {
        assert!(number(wrong, 0..=9).is_err(), "{wrong}");
    }
    assert_eq!(boolean("On"), Ok(true));
    assert_eq!(boolean("0"), Ok(false));
    assert!(boolean("maybe").is_err());
    assert_eq!(word("b", &[("a", 1), ("b", 2)]), Ok(2));
    assert_eq!(word("c", &[("a", 1), ("b", 2)]), Err("has to be a or b".to_owned()));
    assert!(sqlstate("40001").is_ok());
    for wrong in ["", "4000", "400011", "4000a", "00000", "01000", "02000"] {
        assert!(sqlstate(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in ".{0,40}") {
        let _ = (duration(&text, Zero::Allowed), seconds(&text), number(&text, 1..=9));
        let _ = (boolean(&text), socket_address(&text), listen(&text), sqlstate(&text));
    }
}
