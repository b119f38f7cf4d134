#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]

use super::*;
use std::fmt::Write as _;

const GRACE: Duration = Duration::from_millis(200);

/// `a/2@30` answered at address `a`, on timeline 2, at position 30; `a/2@30!5` after a restart at
/// 5; `a/2@30#8` is of system 8 instead of 7; `a/?` does not say anything about itself.
fn node(words: &str) -> Node {
    let (address, rest) = words.split_once('/').unwrap();
    if rest == "?" {
        return Node { address: address.into(), identity: Identity::default() };
    }
    let (rest, system) = rest.split_once('#').unwrap_or((rest, "7"));
    let (rest, start) = rest.split_once('!').unwrap_or((rest, "0"));
    let (timeline, lsn) = rest.split_once('@').unwrap_or((rest, "0"));
    let identity = Identity {
        system_identifier: Some(system.parse().unwrap()),
        timeline: Some(timeline.parse().unwrap()),
        lsn: Some(lsn.parse().unwrap()),
        postmaster_start: Some(start.parse().unwrap()),
    };
    Node { address: address.into(), identity }
}

/// An election whose last leader is `last` (`-`: there was none).
fn election(last: &str, accept_new_cluster: bool) -> Election<u32> {
    let mut election = Election::new(GRACE, accept_new_cluster);
    if last != "-" {
        election.elect(node(last));
    }
    election
}

/// Plays a table of `last : steps | outcomes`. A step is `MS:node` (an answer) or `MS:` (time
/// passes), a `+` behind it says that answers are still to come.
fn check_with(accept_new_cluster: bool, table: &str) {
    let start = Instant::now();
    let (mut expected, mut actual) = (String::new(), String::new());
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (left, right) = row.split_once('|').expect("a bar in every row");
        let (last, steps) = left.split_once(' ').unwrap();
        let mut election = election(last, accept_new_cluster);
        let mut told = Vec::new();
        for (number, step) in steps.split_whitespace().enumerate() {
            let (step, outstanding) = step.strip_suffix('+').map_or((step, 0), |step| (step, 1));
            let (ms, words) = step.split_once(':').unwrap();
            let now = start + Duration::from_millis(ms.parse().unwrap());
            if !words.is_empty() {
                let with = u32::try_from(number).unwrap();
                match election.offer(node(words), with, now) {
                    Offer::Stands => {}
                    Offer::Refused { reason: Refused::OlderTimeline { .. }, first } => {
                        told.push(if first { "older!" } else { "older" }.to_string());
                    }
                    Offer::Refused { reason: Refused::OtherCluster { .. }, first } => {
                        told.push(if first { "other!" } else { "other" }.to_string());
                    }
                    Offer::Refused { reason: Refused::TooMany, .. } => told.push("many".into()),
                }
            }
            match election.decide(now, outstanding) {
                Some(winner) => told.push(winner.node.address.to_string()),
                None => told.push("-".into()),
            }
        }
        let right = right.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(expected, "{left}| {right}").unwrap();
        writeln!(actual, "{left}| {}", told.join(" ")).unwrap();
    }
    assert!(expected == actual, "expected:\n{expected}\nreally:\n{actual}");
}

fn check(table: &str) {
    check_with(false, table);
}

#[test]
fn at_the_first_start_all_who_may_answer_are_heard() {
    check(
        "
        - 0:a/1                        | a
        - 0:a/1+ 199:+ 200:+           | - - a
        - 0:a/1+ 50:                   | - a
        - 0:a/1+ 50:b/2                | - b
        - 0:b/2+ 50:a/1                | - b
        - 0:a/1@10+ 50:b/1@20          | - b
        - 0:a/1@20+ 50:b/1@10          | - a
        - 0:b/1@10+ 50:a/1@10          | - a
        - 0:a/9+ 10:b/1+ 200:+         | - - a
        ",
    );
}

#[test]
fn the_last_leader_itself_and_a_higher_timeline_are_elected_at_once() {
    check(
        "
        a/1 0:a/1@99+                  | a
        a/1 0:b/2+                     | b
        a/1 0:a/2+                     | a
        a/1 0:b/1+ 199:+ 200:+         | - - b
        a/1 0:a/1!5+ 200:+             | - a
        a/1 0:a/1!5                    | a
        a/1 0:b/1+ 50:a/1+             | - a
        a/1 0:b/1+ 50:c/3+             | - c
        a/1 0:b/1@10+ 10:c/1@20+ 200:+ | - - c
        a/1 0:b/1+ 100:b/1+ 200:+      | - - b
        ",
    );
}

#[test]
fn equal_timeline_and_position_prefer_the_known_address() {
    check("b/1 0:a/1@9!5+ 10:b/1@9!5+ 200:+ | - - b");
}

#[test]
fn an_older_timeline_never_wins() {
    check(
        "
        a/2 0:b/1                      | older! -
        a/2 0:b/1 1:b/1 2:c/1          | older! - older - older! -
        a/2 0:a/1                      | older! -
        a/2 0:b/1+ 5000:b/1 9000:      | older! - older - -
        a/2 0:b/1 10:c/2 20:b/1        | older! - c older! -
        ",
    );
}

#[test]
fn another_cluster_is_refused_unless_the_setting_accepts_it() {
    check(
        "
        a/1 0:b/9#8                    | other! -
        a/1 0:b/9#8 1:b/9#8            | other! - other -
        a/1 0:b/9#8 1:a/1              | other! - a
        ",
    );
    check_with(
        true,
        "
        a/1 0:b/9#8                    | b
        a/1 0:b/9#8+ 200:+             | - b
        a/1 0:b/9#8+ 50:c/1@5+ 200:+   | - - c
        a/2 0:b/1#8                    | b
        a/2 0:b/1                      | older! -
        ",
    );
}

#[test]
fn servers_that_say_nothing_of_themselves_are_elected_last() {
    check(
        "
        -   0:a/?                      | a
        -   0:a/?+ 50:b/1              | - b
        a/? 0:a/?+                     | a
        a/? 0:b/?+ 200:+               | - b
        a/2 0:b/?+ 50:c/2!7+ 200:+     | - - c
        a/2 0:b/?                      | b
        ",
    );
}

#[test]
fn the_later_answer_of_an_address_replaces_the_earlier() {
    let now = Instant::now();
    let mut election = Election::new(GRACE, false);
    election.offer(node("a/2@20"), 1, now);
    election.offer(node("a/1@10"), 2, now);
    let winner = election.decide(now, 0).unwrap();
    assert_eq!((winner.with, winner.node.identity.lsn), (2, Some(10)));
    assert!(election.decide(now, 0).is_none(), "the others were dropped");
    assert_eq!(election.deadline(), None);
}

#[test]
fn without_candidates_there_is_no_deadline() {
    let now = Instant::now();
    let mut election = election("b/2", false);
    election.offer(node("a/2!5"), 1, now);
    assert!(election.decide(now, 1).is_none());
    assert_eq!(election.deadline(), Some(now + GRACE));
    // The only candidate answers once more, and is worse.
    let later = now + GRACE / 2;
    assert!(matches!(election.offer(node("a/1"), 2, later), Offer::Refused { .. }));
    assert_eq!(election.deadline(), None);
    election.offer(node("c/2"), 3, later);
    assert_eq!(election.deadline(), Some(later + GRACE), "a new election");
}

#[test]
fn candidates_and_refusals_are_bounded() {
    let now = Instant::now();
    let mut election = election("z/5", false);
    for n in 0..1000 {
        election.offer(node(&format!("a{n}/5")), n, now);
    }
    assert_eq!(election.candidates.len(), CANDIDATES_MAX);
    for n in 0..1000 {
        election.offer(node(&format!("b{n}/4")), n, now);
    }
    assert_eq!(election.reported.len(), REFUSALS_MAX);
}

#[test]
fn what_is_forgotten_is_refused_no_longer() {
    let now = Instant::now();
    let mut election = election("a/2", false);
    assert!(matches!(election.offer(node("b/1"), 0, now), Offer::Refused { .. }));
    election.forget();
    assert_eq!(election.last(), None);
    assert_eq!(election.offer(node("b/1"), 0, now), Offer::Stands);
}

/// A leader that works, a rival, whether a name still leads to the leader, and who reigns then.
#[test]
fn a_working_leader_yields_to_a_higher_timeline_alone() {
    let cases = [
        ("a/1", "b/2", true, "b"),
        ("a/1", "b/1@99!5", true, "a"),
        ("a/2", "b/1@99", true, "refused: older timeline (1"),
        ("a/1", "b/2#8", true, "refused: another cluster"),
        ("a/1", "b/?", true, "a"),
        ("a/?", "b/1", true, "a"),
        // No name leads to the leader any more.
        ("a/1", "b/2", false, "b"),
        ("a/1", "b/1!5", false, "b"),
        ("a/1!5", "b/1!5", false, "a"), // one server with two addresses
        ("a/2", "b/1", false, "refused: older timeline (1"),
        ("a/1", "b/?", false, "a"),
        ("a/?", "b/?", false, "a"),
        ("a/1", "b/1#8", false, "refused: another cluster"),
    ];
    for (last, rival, named, expected) in cases {
        let mut election = election(last, false);
        let reigns = match election.challenge(&node(rival), named) {
            Ok(_) => election.last().unwrap().address.to_string(),
            Err((reason, first)) => {
                assert!(first, "{last} {rival} {named}");
                assert_eq!(election.challenge(&node(rival), named), Err((reason, false)));
                reason.to_string()
            }
        };
        assert!(reigns.starts_with(expected), "{last} {rival} {named}: {reigns}");
    }
    let mut election = election("a/1", true);
    assert_eq!(election.challenge(&node("b/1#8"), true), Ok(false));
    assert_eq!(election.challenge(&node("b/1#8"), false), Ok(true));
}
