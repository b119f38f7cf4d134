use super::*;

#[test]
fn levels_and_directives_are_told_from_nonsense() {
    for good in ["info", "WARN", "off", "info,everline::backend=debug", "everline=trace"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for wrong in ["", "loud", "everline", "info,loud", "everline=loud", "info,,"] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
    assert!(check(&"a=info,".repeat(1000)).is_err());
}

#[test]
fn starting_twice_changes_nothing() {
    let config = LogConfig { format: LogFormat::Json, filter: "off".to_owned() };
    drop(start(&config));
    drop(start(&config));
}
