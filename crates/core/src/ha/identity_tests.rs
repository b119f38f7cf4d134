use super::*;

#[test]
fn wal_positions_are_read_and_shown_as_postgresql_writes_them() {
    let cases = [
        ("16/B374D848", Some(0x16_B374_D848)),
        ("0/0", Some(0)),
        ("FFFFFFFF/FFFFFFFF", Some(u64::MAX)),
        ("0/3000148", Some(0x300_0148)),
        ("16/b374d848", Some(0x16_B374_D848)),
        ("", None),
        ("16", None),
        ("/", None),
        ("16/", None),
        ("16/-1", None),
        ("+16/1", None),
        ("100000000/0", None),
        ("16/B374D848/1", None),
        ("16/ B374D848", None),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_lsn(text), expected, "{text:?}");
    }
    assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
    assert_eq!(Lsn(0).to_string(), "0/0");
}

#[test]
fn timelines_are_hexadecimal() {
    let cases = [
        ("00000001", Some(1)),
        ("0000000A", Some(10)),
        ("0000000a", Some(10)),
        ("00000010", Some(16)),
        ("FFFFFFFF", Some(u32::MAX)),
        ("00000000", None),
        ("1", None),
        ("+0000001", None),
        ("000000010", None),
        ("0000000G", None),
        ("", None),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_timeline(text), expected, "{text:?}");
    }
}

#[test]
fn system_identifiers_are_unsigned_behind_a_signed_text() {
    assert_eq!(parse_system_identifier("7305013441279316032"), Some(7_305_013_441_279_316_032));
    assert_eq!(parse_system_identifier("-1"), Some(u64::MAX));
    assert_eq!(parse_system_identifier(""), None);
    assert_eq!(parse_system_identifier("x"), None);
}

fn node(address: &str, timeline: u32, start: i64) -> Node {
    let identity = Identity {
        system_identifier: Some(7),
        timeline: Some(timeline),
        lsn: Some(1),
        postmaster_start: Some(start),
    };
    Node { address: address.into(), identity }
}

#[test]
fn a_server_is_the_same_only_if_all_but_the_position_is() {
    let before = node("a", 1, 100);
    let with = |identity: Identity| Node { address: "a".into(), identity };
    let identity = before.identity;
    let cases = [
        ("the same", before.clone(), true),
        ("position moved on", with(Identity { lsn: Some(2), ..identity }), true),
        ("another address", node("b", 1, 100), false),
        ("promoted", node("a", 2, 100), false),
        ("restarted", node("a", 1, 101), false),
        ("other cluster", with(Identity { system_identifier: Some(8), ..identity }), false),
        ("start unknown", with(Identity { postmaster_start: None, ..identity }), false),
        ("timeline unknown", with(Identity { timeline: None, ..identity }), false),
    ];
    for (name, after, expected) in cases {
        assert_eq!(before.is_same_server(&after), expected, "{name}");
        assert_eq!(after.is_same_server(&before), expected, "{name}, turned round");
    }
    let unknown = with(Identity::default());
    assert!(unknown.is_same_server(&unknown.clone()), "nothing known, same address");
}

#[test]
fn one_postmaster_is_recognised_at_two_addresses_only_when_all_is_known() {
    let here = node("a", 1, 100).identity;
    assert!(here.is_same_postmaster(&node("b", 1, 100).identity));
    assert!(here.is_same_postmaster(&Identity { lsn: None, ..here }));
    assert!(!here.is_same_postmaster(&Identity { postmaster_start: Some(101), ..here }));
    assert!(!here.is_same_postmaster(&Identity { timeline: Some(2), ..here }));
    assert!(!here.is_same_postmaster(&Identity { system_identifier: Some(8), ..here }));
    for unknown in [
        Identity { system_identifier: None, ..here },
        Identity { timeline: None, ..here },
        Identity { postmaster_start: None, ..here },
    ] {
        assert!(!unknown.is_same_postmaster(&unknown), "{unknown:?}");
    }
}

#[test]
fn a_cluster_is_another_only_if_both_identifiers_are_known() {
    let known = Identity { system_identifier: Some(7), ..Identity::default() };
    let other = Identity { system_identifier: Some(8), ..Identity::default() };
    assert!(known.is_other_cluster(&other));
    assert!(!known.is_other_cluster(&known));
    assert!(!known.is_other_cluster(&Identity::default()));
    assert!(!Identity::default().is_other_cluster(&known));
}

#[test]
fn answers_that_are_null_or_odd_are_unknown() {
    let known = Identity::from_text(Some("7"), Some("00000002"), Some("0/10"), Some("1000"));
    assert_eq!(known.to_string(), "timeline 2 at 0/10 of system 7");
    assert_eq!(known.postmaster_start, Some(1000));
    assert_eq!(Identity::from_text(None, None, None, None), Identity::default());
    let odd = Identity::from_text(Some("seven"), Some("2"), Some("10"), Some("today"));
    assert_eq!(odd, Identity::default());
    assert_eq!(odd.to_string(), "timeline unknown");
    assert_eq!(
        node("10.0.0.1:5432", 3, 0).to_string(),
        "10.0.0.1:5432 (timeline 3 at 0/1 of system 7)"
    );
}
