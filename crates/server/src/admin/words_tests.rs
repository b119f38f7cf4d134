use std::time::Duration;

use everline_core::ha::Phase;

use super::Situation;

const CALM: Situation<'_> = Situation {
    phase: Phase::Healthy,
    reason: None,
    paused: &[],
    draining: false,
    leader: Some("10.0.0.1:5432"),
    held: 0,
    hold: Duration::from_secs(5),
    announced: false,
    exhausted: false,
};

fn doing(situation: Situation<'_>) -> String {
    situation.words().doing
}

#[test]
fn each_state_has_its_words() {
    assert_eq!(doing(CALM), "Statements go to 10.0.0.1:5432.");
    assert_eq!(CALM.words().advice, "Nothing to do.");
    let lost = Situation { phase: Phase::Failover, reason: Some("failover"), ..CALM };
    let given_up = "10.0.0.1:5432 is given up; the next leader is looked for.";
    let waits = "New statements wait up to 5s, then fail with a retryable error.";
    assert_eq!(doing(lost), format!("{given_up} {waits}"));
    let held = Situation { held: 3, ..lost };
    assert_eq!(doing(held), format!("{given_up} 3 statements wait, up to 5s for a new leader."));
    let refused = Situation { hold: Duration::ZERO, ..lost };
    assert!(doing(refused).ends_with("New statements fail at once with a retryable error."));
    let everything = ["everything".to_owned()];
    let paused = Situation { paused: &everything, ..CALM };
    assert!(doing(paused).starts_with("Paused by an administrator: everything."));
    assert!(doing(Situation { draining: true, ..paused }).starts_with("Told to stop"));
}

#[test]
fn the_advice_is_about_what_names_the_leader() {
    let lost = Situation { phase: Phase::Failover, reason: Some("failover"), ..CALM };
    assert!(lost.words().advice.contains("name in the DSN"));
    assert!(Situation { announced: true, ..lost }.words().advice.contains("Stolon"));
    assert!(Situation { exhausted: true, ..CALM }.words().advice.contains("max_backend"));
}
