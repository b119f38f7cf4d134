//! Every state × every event, with nothing left out.

use super::*;
use std::collections::BTreeSet;

const ROWS: &str = "
    starting      opened          | starting
    starting      broken          | starting
    starting      closed          | starting
    starting      system a/1      | healthy available
    starting      system broken   | starting
    starting      refused         | starting
    starting      shutdown        | starting
    starting      leaving         | starting
    starting      standby         | starting
    starting      leader changed  | starting dial
    starting      leader withdrawn| starting dial
    starting      tick            | starting
    healthy       opened          | healthy
    healthy       broken          | unhealthy
    healthy       closed          | healthy
    healthy       system a/1      | healthy
    healthy       system b/2      | healthy unavailable retire:1 available
    healthy       system broken   | unhealthy unavailable dial
    healthy       refused         | healthy
    healthy       shutdown        | failover unavailable retire:1 dial
    healthy       leaving         | healthy unavailable
    healthy       standby         | failover unavailable retire:1 dial
    healthy       leader changed  | failover unavailable retire:1 dial
    healthy       leader withdrawn| failover unavailable retire:1 dial
    healthy       tick            | healthy
    unhealthy     opened          | healthy
    unhealthy     broken          | unhealthy
    unhealthy     closed          | unhealthy
    unhealthy     system a/1      | healthy
    unhealthy     system b/2      | healthy unavailable retire:1 available
    unhealthy     system broken   | unhealthy unavailable dial
    unhealthy     refused         | unhealthy
    unhealthy     shutdown        | failover unavailable retire:1 dial
    unhealthy     leaving         | unhealthy unavailable
    unhealthy     standby         | failover unavailable retire:1 dial
    unhealthy     leader changed  | failover unavailable retire:1 dial
    unhealthy     leader withdrawn| failover unavailable retire:1 dial
    unhealthy     tick            | unhealthy
    lost          opened          | unhealthy
    lost          broken          | unhealthy
    lost          closed          | unhealthy
    lost          system a/1      | healthy available
    lost          system b/2      | healthy retire:1 available
    lost          system broken   | unhealthy
    lost          refused         | unhealthy available
    lost          shutdown        | failover unavailable retire:1 dial
    lost          leaving         | unhealthy
    lost          standby         | failover unavailable retire:1 dial
    lost          leader changed  | failover unavailable retire:1 dial
    lost          leader withdrawn| failover unavailable retire:1 dial
    lost          tick            | unhealthy
    failover      opened          | failover
    failover      broken          | failover
    failover      closed          | failover
    failover      system a/1      | healthy available
    failover      system b/2      | healthy available
    failover      system broken   | failover
    failover      refused         | failover
    failover      shutdown        | failover
    failover      leaving         | failover
    failover      standby         | failover
    failover      leader changed  | failover dial
    failover      leader withdrawn| failover dial
    failover      tick            | failover
";

/// Every state, the ways into it, and every event: what happens is written here, and that nothing
/// is left out is counted.
#[test]
fn every_state_and_every_event() {
    let mut seen = BTreeSet::new();
    let (mut expected, mut actual) = (String::new(), String::new());
    for row in ROWS.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (left, right) = row.split_once('|').unwrap();
        let (situation, words) = left.trim().split_once(' ').unwrap();
        let mut run = Run::new(Mode::ADAPTIVE);
        for step in way_to(situation) {
            run.step(step, run.start);
        }
        let event = run.event(words.trim());
        seen.insert((run.machine.state().phase(), number(&event)));
        let told = run.step(words.trim(), run.start + Duration::from_secs(1));
        writeln!(expected, "{left}| {}", right.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap();
        writeln!(actual, "{left}| {told}").unwrap();
    }
    assert!(expected == actual, "expected:\n{expected}\nreally:\n{actual}");
    let phases = [Phase::Starting, Phase::Healthy, Phase::Unhealthy, Phase::Failover];
    for phase in phases {
        let events = seen.iter().filter(|(seen, _)| *seen == phase).count();
        assert_eq!(events, EVENT_KINDS, "events tried in {phase}");
    }
}

/// How many variants [`Event`] has; `number` below does not compile when one is missing.
const EVENT_KINDS: usize = 12;

fn number(event: &Event) -> usize {
    match event {
        Event::PoolOpened { .. } => 0,
        Event::PoolBroken { .. } => 1,
        Event::PoolClosed { .. } => 2,
        Event::SystemConnected { .. } => 3,
        Event::SystemBroken { .. } => 4,
        Event::SystemRefused { .. } => 5,
        Event::ShuttingDown { .. } => 6,
        Event::HotStandby { .. } => 7,
        Event::LeaderChanged => 8,
        Event::LeaderWithdrawn => 9,
        Event::Tick => 10,
        Event::Leaving { .. } => 11,
    }
}

fn way_to(situation: &str) -> &'static [&'static str] {
    match situation {
        "starting" => &[],
        "healthy" => &["system a/1", "opened", "opened"],
        "unhealthy" => &["system a/1", "opened", "opened", "opened", "broken"],
        "lost" => &["system a/1", "opened", "opened", "system broken"],
        "failover" => &["system a/1", "opened", "shutdown"],
        other => panic!("no way to {other}"),
    }
}

/// News of an epoch that is over is silent in every state, whatever it says.
#[test]
fn past_epochs_change_nothing() {
    for situation in ["healthy", "unhealthy", "lost", "failover"] {
        for words in
            ["opened", "broken", "closed", "system broken", "refused", "shutdown", "standby"]
        {
            let mut run = Run::new(Mode::ADAPTIVE);
            run.step("system z/1", run.start);
            run.step("shutdown", run.start);
            for step in way_to(situation) {
                run.step(step, run.start);
            }
            let before = format!("{:?}", run.machine);
            let event = run.event(&format!("{words}@1"));
            let late = run.start + Duration::from_hours(1);
            assert_eq!(run.machine.step(event, late), Outcome::default(), "{situation}: {words}");
            assert_eq!(format!("{:?}", run.machine), before, "{situation}: {words}");
        }
    }
}
