use std::time::Duration;

use super::*;
use crate::roster::ROSTER;

/// A program's line, some time after the act began.
fn line(began: Instant, after: u64, text: &str) -> Said {
    let mut said: Said = serde_json::from_str(text).unwrap();
    said.at = began + Duration::from_millis(after);
    said
}

/// A course of one driver in the first act, in which all is well.
fn good(driver: &'static Driver) -> Course {
    let began = Instant::now();
    let lines = [
        (10, r#"{"shape":"pool","event":"acknowledged","keys":[1]}"#),
        (20, r#"{"shape":"pool","event":"read","keys":[1],"found":1}"#),
        (30, r#"{"shape":"transaction","event":"retried","keys":[2,3]}"#),
        (40, r#"{"shape":"transaction","event":"acknowledged","keys":[2,3]}"#),
        (1010, r#"{"shape":"pool","event":"error","keys":[4],"sqlstate":"40001"}"#),
        (1020, r#"{"shape":"pool","event":"error","keys":[5,6],"sqlstate":"08007"}"#),
        (1030, r#"{"shape":"pool","event":"error","keys":[7,8],"sqlstate":"08007"}"#),
        (1040, r#"{"shape":"pool","event":"error","keys":[1],"sqlstate":"40001"}"#),
        (1050, r#"{"shape":"pool","event":"acknowledged","keys":[9]}"#),
        (2010, r#"{"shape":"pool","event":"acknowledged","keys":[10]}"#),
        (2020, r#"{"shape":"pool","event":"connection","id":"x"}"#),
    ];
    let passed = Passed { opened: 4, ended_by_client: 0, ended_by_server: 0 };
    let seen = Seen {
        driver,
        act: 0,
        began: [0, 1000, 2000].map(|after| began + Duration::from_millis(after)).to_vec(),
        passed: vec![BTreeMap::from([(Shape::Pool, passed), (Shape::Shortcut, passed)]); 3],
        said: lines.map(|(after, text)| line(began, after, text)).to_vec(),
        missed: Vec::new(),
    };
    let rows = [1, 2, 3, 5, 6, 9, 10].map(|key| (key, 1));
    Course { seen: vec![seen], rows: BTreeMap::from(rows), logs: Vec::new() }
}

fn wrong(course: &Course, driver: &Driver) -> String {
    let mut wrong = judge(course, driver).wrong;
    wrong.retain(|one| !one.starts_with("evidence"));
    wrong.join("; ")
}

#[test]
fn what_is_well_is_counted() {
    let driver = &ROSTER[0];
    let verdict = judge(&good(driver), driver);
    assert_eq!(verdict.wrong, [""; 0]);
    let counts: Vec<_> = verdict.counts[0].iter().map(|(_, counts)| *counts).collect();
    let nothing = Counts::default();
    let first = Counts { acknowledged: 3, retried: 1, ..nothing };
    let second = Counts { acknowledged: 1, retryable: 2, unknown: 2, ..nothing };
    assert_eq!(counts, [first, second, Counts { acknowledged: 1, ..nothing }]);
}

#[test]
fn whatever_is_wrong_is_found() {
    type Spoil = fn(&mut Course);
    let cases: &[(Spoil, &str)] = &[
        (|course| _ = course.rows.remove(&1), "hold 5s, kill: 1 rows lost"),
        (|course| _ = course.rows.remove(&3), "hold 5s, kill: 1 rows lost"),
        (|course| _ = course.rows.remove(&6), "hold 5s, freeze: 1 rows lost"),
        (|course| _ = course.rows.insert(10, 2), "hold 5s, switchover: 1 rows doubled"),
        (|course| _ = course.rows.insert(5, 2), "hold 5s, freeze: 1 rows doubled"),
        (|course| _ = course.rows.insert(4, 1), "hold 5s, freeze: 1 rows doubled"),
        (|course| course.seen[0].said[1].found = 0, "hold 5s, kill: 1 rows lost"),
        (
            |course| _ = course.seen[0].said.remove(9),
            "hold 5s, switchover: nothing was acknowledged",
        ),
        (|course| _ = course.seen[0].said.remove(2), "its helper never began a transaction again"),
        (
            |course| course.seen[0].said[4].sqlstate = "57P01".to_owned(),
            "hold 5s: 1 times pool: 57P01 ",
        ),
        (|course| course.seen[0].said[10].event = "broken".to_owned(), "hold 5s: 1 times pool:  "),
        (|course| course.seen[0].missed.push("late".to_owned()), "hold 5s: late"),
        (
            |course| door(course, 1, |passed| passed.ended_by_server = 1),
            "hold 5s, freeze: 1 connections closed by Everline (pool)",
        ),
        (
            |course| door(course, 2, |passed| passed.ended_by_client = 1),
            "hold 5s, switchover: 1 connections given up by the driver or its pool (pool)",
        ),
        (
            |course| door(course, 0, |passed| passed.opened = 0),
            "hold 5s: pool: 1 connections named, 0 opened",
        ),
    ];
    let driver = &ROSTER[0];
    for (spoil, expected) in cases {
        let mut course = good(driver);
        spoil(&mut course);
        assert_eq!(wrong(&course, driver), *expected);
    }
}

/// Changes what passed through the pool's door from this part on.
fn door(course: &mut Course, from: usize, change: fn(&mut Passed)) {
    for passed in &mut course.seen[0].passed[from..] {
        change(passed.get_mut(&Shape::Pool).unwrap());
    }
}

#[test]
fn a_pool_that_gives_up_on_errors_may_do_so_once_for_each() {
    let hikari = ROSTER.iter().find(|one| one.gives_up == GivesUp::WhenUnknown).unwrap();
    let mut course = good(hikari);
    door(&mut course, 1, |passed| passed.ended_by_client = 2);
    assert_eq!(wrong(&course, hikari), "");
    door(&mut course, 1, |passed| passed.ended_by_client = 3);
    assert!(wrong(&course, hikari).contains("freeze: 1 connections given up"));
    let node = ROSTER.iter().find(|one| one.gives_up == GivesUp::InTheShortcut).unwrap();
    let mut course = good(node);
    door(&mut course, 1, |passed| passed.ended_by_client = 1);
    assert!(wrong(&course, node).contains("freeze: 1 connections given up"));
    course.seen[0].said[4].shape = "shortcut".to_owned();
    assert_eq!(wrong(&course, node), "");
}
