#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]

use super::*;
use crate::ha::{Identity, Percent, UnhealthyMin};
use std::fmt::Write as _;

/// A machine and the hours of its test.
struct Run {
    machine: Machine,
    start: Instant,
}

impl Run {
    fn new(mode: Mode) -> Self {
        Self { machine: Machine::new(mode), start: Instant::now() }
    }

    /// Reads an event as the tables write it. Without `@N` it tells of the current epoch.
    fn event(&self, words: &str) -> Event {
        let (words, epoch) = match words.split_once('@') {
            Some((words, epoch)) => (words.trim(), epoch.parse().unwrap()),
            None => (words, self.machine.epoch()),
        };
        match words {
            "opened" => Event::PoolOpened { epoch },
            "broken" => Event::PoolBroken { epoch },
            "closed" => Event::PoolClosed { epoch },
            "system broken" => Event::SystemBroken { epoch },
            "refused" => Event::SystemRefused { epoch },
            "shutdown" => Event::ShuttingDown { epoch },
            "leaving" => Event::Leaving { epoch },
            "standby" => Event::HotStandby { epoch },
            "leader changed" => Event::LeaderChanged,
            "leader withdrawn" => Event::LeaderWithdrawn,
            "tick" => Event::Tick,
            other => Event::SystemConnected { node: node(other.strip_prefix("system ").unwrap()) },
        }
    }

    fn step(&mut self, words: &str, now: Instant) -> String {
        let outcome = self.machine.step(self.event(words), now);
        let mut told = self.machine.state().phase().to_string();
        for effect in outcome.effects {
            match effect {
                Effect::Publish(Availability::Available) => told.push_str(" available"),
                Effect::Publish(Availability::Unavailable(_)) => told.push_str(" unavailable"),
                Effect::Retire(epoch) => write!(told, " retire:{epoch}").unwrap(),
                Effect::DialSystem => told.push_str(" dial"),
            }
        }
        told
    }
}

/// `a/1` is the server at address `a` on timeline 1; `a/1/5` the same after a restart at 5.
fn node(words: &str) -> Node {
    let mut parts = words.split('/');
    let address = parts.next().unwrap().into();
    let identity = Identity {
        system_identifier: Some(7),
        timeline: parts.next().map(|timeline| timeline.parse().unwrap()),
        lsn: Some(0),
        postmaster_start: Some(parts.next().map_or(0, |start| start.parse().unwrap())),
    };
    Node { address, identity }
}

/// Seconds such as `34.999s`.
fn instant(start: Instant, words: &str) -> Instant {
    start + Duration::from_secs_f64(words.strip_suffix('s').unwrap().parse().unwrap())
}

/// Plays a table of `time event [xN] | phase effects` and compares it with how it really went; `xN`
/// repeats the event and tells of the last.
fn check_in(mode: Mode, table: &str) {
    let mut run = Run::new(mode);
    let (mut expected, mut actual) = (String::new(), String::new());
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (left, right) = line.split_once('|').expect("a bar in every row");
        let (time, words) = left.trim().split_once(' ').unwrap();
        let (words, times) = match words.rsplit_once(" x") {
            Some((words, times)) => (words.trim(), times.trim().parse().unwrap()),
            None => (words.trim(), 1),
        };
        let mut told = String::new();
        for _ in 0..times {
            told = run.step(words, instant(run.start, time));
        }
        let right = right.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(expected, "{left}| {right}").unwrap();
        writeln!(actual, "{left}| {told}").unwrap();
    }
    assert!(expected == actual, "expected:\n{expected}\nreally:\n{actual}");
}

fn check(table: &str) {
    check_in(Mode::ADAPTIVE, table);
}

#[test]
fn dns_failover_needs_time_evidence_and_a_lost_system_connection() {
    check(
        "
        0s   system a/1      | healthy available
        1s   opened x3       | healthy
        5s   system broken   | unhealthy unavailable dial
        6s   broken          | unhealthy
        7s   broken          | unhealthy
        34s  tick            | unhealthy
        35s  tick            | failover unavailable retire:1 dial
        36s  broken@1        | failover
        37s  system b/2      | healthy available
        ",
    );
}

#[test]
fn thirty_seconds_are_met_exactly() {
    check(
        "
        0s      system a/1      | healthy available
        5s      system broken   | unhealthy unavailable dial
        34.999s tick            | unhealthy
        35s     tick            | failover unavailable retire:1 dial
        ",
    );
    check(
        "
        0s      system a/1      | healthy available
        0s      opened          | healthy
        5s      broken          | unhealthy
        34.999s system broken   | unhealthy unavailable dial
        35s     tick            | failover unavailable retire:1 dial
        ",
    );
}

#[test]
fn a_break_after_the_deadline_is_weighed_at_once() {
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x9       | healthy
        5s   system broken   | unhealthy unavailable dial
        35s  tick            | unhealthy
        36s  broken x4       | unhealthy
        37s  broken          | failover unavailable retire:1 dial
        ",
    );
}

#[test]
fn sixty_percent_are_met_exactly() {
    // The system connection and four others: three of five are enough, two are not.
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x4       | healthy
        5s   system broken   | unhealthy unavailable dial
        6s   broken          | unhealthy
        35s  tick            | unhealthy
        36s  broken          | failover unavailable retire:1 dial
        ",
    );
    // 60 of 100 are enough, 59 are not, nor are 60 of 101.
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x99      | healthy
        5s   system broken   | unhealthy unavailable dial
        36s  broken x58      | unhealthy
        37s  broken          | failover unavailable retire:1 dial
        ",
    );
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x100     | healthy
        5s   system broken   | unhealthy unavailable dial
        36s  broken x59      | unhealthy
        37s  broken          | failover unavailable retire:1 dial
        ",
    );
}

#[test]
fn the_percentage_is_a_setting() {
    let mode = |percent| Mode::Adaptive {
        disconnect_percent: Percent::new(percent).unwrap(),
        unhealthy_min: UnhealthyMin::new(Duration::from_secs(3)).unwrap(),
    };
    check_in(
        mode(100),
        "
        0s   system a/1      | healthy available
        0s   opened x2       | healthy
        5s   system broken   | unhealthy unavailable dial
        8s   broken          | unhealthy
        8s   broken          | failover unavailable retire:1 dial
        ",
    );
    check_in(
        mode(1),
        "
        0s   system a/1      | healthy available
        0s   opened x99      | healthy
        5s   system broken   | unhealthy unavailable dial
        7.9s tick            | unhealthy
        8s   tick            | failover unavailable retire:1 dial
        ",
    );
}

#[test]
fn with_no_minimum_the_first_sufficient_evidence_decides() {
    let mode = Mode::Adaptive {
        disconnect_percent: Percent::new(60).unwrap(),
        unhealthy_min: UnhealthyMin::new(Duration::ZERO).unwrap(),
    };
    check_in(
        mode,
        "
        0s   system a/1      | healthy available
        0s   system broken   | failover unavailable retire:1 dial
        ",
    );
}

#[test]
fn connections_closed_on_purpose_lower_the_baseline_but_never_below_one() {
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x4       | healthy
        5s   system broken   | unhealthy unavailable dial
        6s   broken          | unhealthy
        35s  tick            | unhealthy
        36s  closed          | unhealthy
        37s  closed          | failover unavailable retire:1 dial
        ",
    );
    check(
        "
        0s   system a/1      | healthy available
        0s   opened          | healthy
        5s   broken          | unhealthy
        6s   closed x9       | unhealthy
        35s  tick            | unhealthy
        36s  system broken   | failover unavailable retire:1 dial
        ",
    );
}

#[test]
fn while_the_system_connection_stands_no_number_of_breaks_is_a_failover() {
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x9       | healthy
        5s   broken x9       | unhealthy
        60s  tick            | unhealthy
        61s  opened          | healthy
        62s  broken          | unhealthy
        63s  system broken   | unhealthy unavailable dial
        92s  tick            | failover unavailable retire:1 dial
        ",
    );
}

/// In Gel any single pool connection resets everything, although the system connection is down.
#[test]
fn a_pool_connection_restores_health_only_under_a_standing_system_connection() {
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x2       | healthy
        5s   broken          | unhealthy
        6s   opened          | healthy
        7s   system broken   | unhealthy unavailable dial
        8s   opened          | unhealthy
        9s   system a/1      | healthy available
        ",
    );
}

#[test]
fn connections_opened_since_are_no_evidence() {
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x4       | healthy
        5s   system broken   | unhealthy unavailable dial
        6s   opened x9       | unhealthy
        7s   broken x9       | unhealthy
        8s   opened x2       | unhealthy
        9s   closed x2       | unhealthy
        35s  tick            | unhealthy
        36s  broken          | unhealthy
        36s  broken          | failover unavailable retire:1 dial
        ",
    );
}

#[test]
fn a_shutdown_or_standby_notice_is_a_failover_at_once() {
    check(
        "
        0s   system a/1      | healthy available
        1s   shutdown        | failover unavailable retire:1 dial
        1s   shutdown@1      | failover
        1s   system broken@1 | failover
        2s   system b/2      | healthy available
        3s   opened          | healthy
        4s   broken          | unhealthy
        5s   standby         | failover unavailable retire:2 dial
        6s   opened          | failover
        7s   system a/3      | healthy available
        ",
    );
}

#[test]
fn another_server_retires_the_old_epoch_in_whatever_state() {
    check(
        "
        0s   system a/1      | healthy available
        1s   opened          | healthy
        2s   system b/2      | healthy unavailable retire:1 available
        3s   broken@1        | healthy
        4s   system broken   | unhealthy unavailable dial
        5s   system c/3      | healthy retire:2 available
        6s   shutdown        | failover unavailable retire:3 dial
        7s   system c/3      | healthy available
        8s   system c/3/5    | healthy unavailable retire:4 available
        9s   system c/4/5    | healthy unavailable retire:5 available
        ",
    );
}

#[test]
fn a_new_epoch_begins_with_no_connections() {
    check(
        "
        0s   system a/1      | healthy available
        0s   opened x9       | healthy
        1s   system b/2      | healthy unavailable retire:1 available
        2s   system broken   | unhealthy unavailable dial
        32s  tick            | failover unavailable retire:2 dial
        33s  system c/3      | healthy available
        33s  opened x9       | healthy
        34s  shutdown        | failover unavailable retire:3 dial
        35s  system c/3/34   | healthy available
        36s  system broken   | unhealthy unavailable dial
        66s  tick            | failover unavailable retire:4 dial
        ",
    );
}

#[test]
fn the_same_server_continues_its_epoch() {
    check(
        "
        0s   system a/1      | healthy available
        1s   opened          | healthy
        2s   system broken   | unhealthy unavailable dial
        3s   system a/1      | healthy available
        4s   broken          | unhealthy
        5s   system a/1      | healthy
        ",
    );
}

#[test]
fn a_fixed_leader_is_never_given_up_by_evidence() {
    check_in(
        Mode::Fixed,
        "
        0s   system a/1      | healthy available
        0s   opened x3       | healthy
        1s   broken x3       | healthy
        2s   system broken   | healthy unavailable dial
        999s tick            | healthy
        999s system a/1      | healthy available
        ",
    );
    check_in(
        Mode::Fixed,
        "
        0s   system a/1      | healthy available
        0s   opened          | healthy
        1s   system broken   | healthy unavailable dial
        2s   refused         | healthy available
        5s   tick            | healthy unavailable
        6s   system a/1/6    | healthy retire:1 available
        7s   shutdown        | failover unavailable retire:2 dial
        8s   system b/2      | healthy available
        9s   standby         | failover unavailable retire:3 dial
        ",
    );
}

#[test]
fn deadlines_are_those_of_the_evidence_and_of_the_grace() {
    let mut run = Run::new(Mode::ADAPTIVE);
    let at = |seconds| run.start + Duration::from_secs(seconds);
    let deadline = |machine: &Machine, seconds| machine.deadline(at(seconds));
    let mut machine = run.machine.clone();
    assert_eq!(deadline(&machine, 0), None);
    machine.step(run.event("system a/1"), at(0));
    machine.step(run.event("opened"), at(0));
    assert_eq!(deadline(&machine, 0), None);
    machine.step(run.event("system broken"), at(5));
    assert_eq!(deadline(&machine, 5), Some(at(35)));
    machine.step(run.event("refused"), at(6));
    assert_eq!(deadline(&machine, 6), Some(at(9)), "the grace ends first");
    assert_eq!(deadline(&machine, 9), Some(at(35)), "it lies behind");
    machine.step(run.event("refused"), at(34));
    assert_eq!(deadline(&machine, 35), Some(at(37)), "the evidence is older than the grace");
    assert_eq!(deadline(&machine, 37), None, "both lie behind: the owner must not spin");
    run.machine = machine;
    assert_eq!(run.step("tick", at(37)), "unhealthy unavailable");
}

#[test]
fn transitions_tell_phase_epoch_availability_and_cause() {
    let mut run = Run::new(Mode::ADAPTIVE);
    let mut told = String::new();
    for (seconds, words) in [
        (0, "system a/1"),
        (0, "opened"),
        (1, "broken"),
        (2, "system broken"),
        (31, "tick"),
        (32, "leader changed"),
        (33, "system b/2"),
        (34, "system b/2"),
        (35, "system c/3"),
        (36, "standby"),
    ] {
        let event = run.event(words);
        let outcome = run.machine.step(event, run.start + Duration::from_secs(seconds));
        match outcome.transition {
            Some(transition) => writeln!(told, "{transition}").unwrap(),
            None => writeln!(told, "-").unwrap(),
        }
    }
    let expected = "\
starting -> healthy, available (epoch 1): the leader is a (timeline 1 at 0/0 of system 7)
-
healthy -> unhealthy, available (epoch 1): a pool connection broke
unhealthy -> unhealthy, unavailable (epoch 1): the system connection broke
unhealthy -> failover, unavailable (epoch 2): 2 of 2 connections broke and the leader does not answer
-
failover -> healthy, available (epoch 2): the leader is b (timeline 2 at 0/0 of system 7)
-
healthy -> healthy, available (epoch 3): the leader is c (timeline 3 at 0/0 of system 7)
healthy -> failover, unavailable (epoch 4): the leader is in recovery
";
    assert_eq!(told, expected);
}

#[test]
fn the_machine_prints_itself() {
    let mut run = Run::new(Mode::ADAPTIVE);
    assert_eq!(run.machine.state().to_string(), "starting");
    run.step("system a/1", run.start);
    run.step("opened", run.start);
    run.step("broken", run.start);
    assert_eq!(run.machine.state().to_string(), "unhealthy (1 of 2 connections lost)");
    assert_eq!(run.machine.availability().to_string(), "available");
    run.step("shutdown", run.start);
    let told = run.machine.availability().to_string();
    assert_eq!(told, "unavailable: the leader has announced its shutdown");
}

#[path = "machine_rows_tests.rs"]
mod rows;

#[path = "machine_slots_tests.rs"]
mod slots;

#[test]
fn a_leader_in_a_smart_shutdown_is_left_when_nothing_runs_on_it() {
    check_in(
        Mode::ADAPTIVE,
        "
        0s   system a/1        | healthy available
        1s   opened x2         | healthy
        2s   leaving           | healthy unavailable
        3s   leaving           | healthy
        4s   closed            | healthy
        5s   closed            | failover retire:1 dial
        6s   system b/2        | healthy available
        7s   leaving@1         | healthy
        8s   leaving           | failover unavailable retire:2 dial
        9s   leaving           | failover
        ",
    );
    // A leader that ends it fast is given up at once, one that breaks when it is found elsewhere.
    check_in(
        Mode::Fixed,
        "
        0s   system a/1        | healthy available
        1s   opened            | healthy
        2s   leaving           | healthy unavailable
        3s   shutdown          | failover retire:1 dial
        4s   system a/1/4      | healthy available
        5s   opened            | healthy
        6s   leaving           | healthy unavailable
        7s   system broken     | healthy dial
        8s   system b/2        | healthy retire:2 available
        ",
    );
}

#[test]
fn an_announced_shutdown_is_told_from_a_loss() {
    let why = |events: &[&str]| {
        let mut run = Run::new(Mode::ADAPTIVE);
        for words in events {
            run.step(words, run.start);
        }
        run.machine.availability().to_string()
    };
    let announced = "unavailable: the leader has announced its shutdown";
    assert_eq!(why(&["system a/1", "shutdown"]), announced);
    assert_eq!(why(&["system a/1", "opened", "leaving"]), announced);
    assert_eq!(why(&["system a/1", "leaving"]), announced);
    assert_eq!(why(&["system a/1", "standby"]), "unavailable: the backend is failing over");
    assert_eq!(why(&["system a/1", "shutdown", "system a/1/5"]), "available");
    assert_eq!(
        why(&["system a/1", "shutdown", "system a/1/5", "leader changed"]),
        "unavailable: the backend is failing over"
    );
}
