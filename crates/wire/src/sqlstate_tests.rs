use super::*;

#[test]
fn five_digits_or_capitals_and_nothing_else() {
    for (text, valid) in [
        ("40001", true),
        ("57P01", true),
        ("XX000", true),
        ("57p01", false),
        ("4000", false),
        ("400011", false),
        ("4000 ", false),
        ("4000é", false),
        ("", false),
    ] {
        assert_eq!(text.parse::<SqlState>().is_ok(), valid, "{text:?}");
    }
    assert_eq!(SqlState::from_bytes(b"40001"), Some(SqlState::SERIALIZATION_FAILURE));
    assert_eq!(SqlState::from_bytes(b"4000\xff"), None);
}

#[test]
fn it_prints_as_it_reads() {
    let state = SqlState::ADMIN_SHUTDOWN;
    assert_eq!(state.to_string(), "57P01");
    assert_eq!(format!("{state:?}"), "SqlState(57P01)");
    assert_eq!(state.class(), "57");
    assert_eq!(state.name(), Some("ADMIN_SHUTDOWN"));
    assert_eq!(SqlState(*b"ZZZZZ").name(), None);
}
