use super::*;

fn row(values: &[Option<&str>]) -> Vec<Vec<Option<Vec<u8>>>> {
    vec![values.iter().map(|value| value.map(|value| value.as_bytes().to_vec())).collect()]
}

#[test]
fn answers_are_read_from_the_whole_to_the_least() {
    let all = row(&[
        Some("f"),
        Some("off"),
        Some("1700000000000000"),
        Some("7305013441279316032"),
        Some("0000000A"),
        Some("16/B374D848"),
    ]);
    let identity = Identity {
        system_identifier: Some(7_305_013_441_279_316_032),
        timeline: Some(10),
        lsn: Some(0x16_B374_D848),
        postmaster_start: Some(1_700_000_000_000_000),
    };
    assert_eq!(read(&all).unwrap(), Answer { in_recovery: false, read_only: false, identity });
    let standby = row(&[Some("t"), Some("on"), Some("5"), Some("7"), None, None]);
    let answer = read(&standby).unwrap();
    assert!(answer.in_recovery && answer.read_only);
    assert_eq!(answer.identity.timeline, None);
    let least = read(&row(&[Some("f"), Some("on")])).unwrap();
    let expected = Answer { in_recovery: false, read_only: true, identity: Identity::default() };
    assert_eq!(least, expected);
}

#[test]
fn an_answer_of_another_form_is_none() {
    for odd in [
        Vec::new(),
        vec![Vec::new()],
        row(&[Some("f")]),
        row(&[None, Some("off")]),
        row(&[Some("yes"), Some("off")]),
        row(&[Some("f"), Some("")]),
    ] {
        assert!(read(&odd).is_err(), "{odd:?}");
    }
    let invalid = vec![vec![Some(vec![0xff]), Some(b"off".to_vec())]];
    assert!(read(&invalid).is_err());
}

#[test]
fn less_is_asked_only_if_the_question_was_at_fault() {
    let cases = [
        ("42501", true),
        ("42883", true),
        ("0A000", true),
        ("55000", true),
        ("57014", false),
        ("53200", false),
        ("58030", false),
    ];
    for (code, expected) in cases {
        assert_eq!(is_about(SqlState::from_bytes(code.as_bytes()).unwrap()), expected, "{code}");
    }
}
