use super::*;

/// One failover as a real Stolon wrote it: SIGKILL of the master with default intervals.
const CAPTURES: [&str; 4] = [
    include_str!("fixtures/1_before.json"),
    include_str!("fixtures/2_elected.json"),
    include_str!("fixtures/3_master_announced.json"),
    include_str!("fixtures/4_after_resync.json"),
];

fn show(observation: &Observation) -> String {
    let node = |node: &Option<Announced>| match node {
        Some(node) => node.to_string(),
        None => "nobody".to_owned(),
    };
    let Observation { generation, leader, elected, enabled, .. } = observation;
    let enabled = enabled.join(",");
    format!("{generation}: {}, elected {}, enabled {enabled}", node(leader), node(elected))
}

#[test]
fn a_real_failover_is_read() {
    let seen: Vec<String> =
        CAPTURES.iter().map(|text| show(&observe(text.as_bytes()).unwrap())).collect();
    assert_eq!(
        seen,
        [
            "10: be8f1607 at 127.0.0.1:27610, elected be8f1607 at 127.0.0.1:27610, \
             enabled 9719417f,f1b3793f",
            "12: nobody, elected 9ea5a851 at 127.0.0.1:27611, enabled 9719417f",
            "13: 9ea5a851 at 127.0.0.1:27611, elected 9ea5a851 at 127.0.0.1:27611, \
             enabled 9719417f",
            "33: c13ecd3a at 127.0.0.1:27610, elected c13ecd3a at 127.0.0.1:27610, \
             enabled bc1677a1",
        ]
    );
    let first = observe(CAPTURES[0].as_bytes()).unwrap();
    assert_eq!(&*first.cluster, "9c26e929");
    assert_eq!(first.check_interval, Duration::from_secs(5));
    assert_eq!(first.timeout, Duration::from_secs(15));
    assert_eq!(nodes(CAPTURES[0].as_bytes()).unwrap().len(), 2);
}

/// The smallest document with this proxy part and these nodes.
fn document(proxy: &str, dbs: &str) -> String {
    format!(r#"{{"formatVersion":1,"cluster":{{"uid":"c"}},"proxy":{proxy},"dbs":{dbs}}}"#)
}

const NODE: &str = r#"{"n":{"status":{"listenAddress":"10.0.0.1","port":"5432"}}}"#;

#[test]
fn what_is_absent_or_null_has_its_default() {
    for (proxy, dbs, expected) in [
        ("null", "null", "0: nobody, elected nobody, enabled "),
        ("{}", "{}", "0: nobody, elected nobody, enabled "),
        (r#"{"generation":7,"spec":{}}"#, NODE, "7: nobody, elected nobody, enabled "),
        (
            r#"{"generation":7,"spec":{"masterDbUid":"","enabledProxies":null}}"#,
            NODE,
            "7: nobody, elected nobody, enabled ",
        ),
        (
            r#"{"generation":7,"spec":{"masterDbUid":"gone","enabledProxies":["p"]}}"#,
            NODE,
            "7: nobody, elected nobody, enabled p",
        ),
        (
            r#"{"generation":18446744073709551615,"spec":{"masterDbUid":"n"}}"#,
            NODE,
            "18446744073709551615: n at 10.0.0.1:5432, elected nobody, enabled ",
        ),
    ] {
        let observation = observe(document(proxy, dbs).as_bytes()).unwrap();
        assert_eq!(show(&observation), expected, "{proxy}");
        assert_eq!(observation.timeout, Duration::from_secs(15));
    }
}

#[test]
fn nonsense_is_not_a_look() {
    let announced = r#"{"generation":7,"spec":{"masterDbUid":"n"}}"#;
    let with_port = |port: &str| {
        let node = format!(r#"{{"n":{{"status":{{"listenAddress":"h","port":{port}}}}}}}"#);
        document(announced, &node)
    };
    let with_spec =
        |spec: &str| format!(r#"{{"formatVersion":1,"cluster":{{"spec":{spec}}},"dbs":{NODE}}}"#);
    for (text, says) in [
        (String::new(), "not what Stolon writes"),
        ("<html>".to_owned(), "not what Stolon writes"),
        ("[]".to_owned(), "not what Stolon writes"),
        ("{}".to_owned(), "format version 0"),
        (r#"{"formatVersion":2}"#.to_owned(), "format version 2"),
        (r#"{"formatVersion":"1"}"#.to_owned(), "not what Stolon writes"),
        (document(announced, r#"{"n":{}}"#), "no address"),
        (
            document(
                r#"{"spec":{"masterDbUid":"a\u001b[2J"}}"#,
                r#"{"a\u001b[2J":{"status":{"listenAddress":"h","port":"5432"}}}"#,
            ),
            "uid is none of Stolon's",
        ),
        (with_port(r#""""#), "no address"),
        (with_port(r#""0""#), "no address"),
        (with_port(r#""65536""#), "no address"),
        (with_port("5432"), "not what Stolon writes"),
        (with_spec(r#"{"proxyTimeout":"soon"}"#), "proxyTimeout is no duration"),
        (with_spec(r#"{"proxyTimeout":"5s"}"#), "has to be below"),
        (with_spec(r#"{"proxyCheckInterval":"-1s"}"#), "proxyCheckInterval is no duration"),
        (" ".repeat(CLUSTERDATA_BYTES_MAX + 1), "longer than"),
    ] {
        let error = observe(text.as_bytes()).expect_err(&text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn gos_durations_are_read() {
    for (text, nanos) in [
        ("0", Some(0)),
        ("5s", Some(5_000_000_000)),
        ("1m0s", Some(60_000_000_000)),
        ("1h1m1.5s", Some(3_661_500_000_000)),
        ("300ms", Some(300_000_000)),
        ("1.25us", Some(1_250)),
        ("7\u{b5}s", Some(7_000)),
        (".5s", Some(500_000_000)),
        ("", None),
        ("5", None),
        ("s", None),
        (".s", None),
        ("-5s", None),
        ("1x", None),
        ("1.1.1s", None),
        ("99999999999h", None),
    ] {
        assert_eq!(go_duration(text).map(|duration| duration.as_nanos()), nanos, "{text}");
    }
}

#[test]
fn hostile_documents_are_survived() {
    let deep = "[".repeat(100_000);
    observe(deep.as_bytes()).unwrap_err();
    let whole = CAPTURES[0].as_bytes();
    for cut in (0..whole.len() - 2).step_by(97) {
        observe(&whole[..cut]).unwrap_err();
    }
}
