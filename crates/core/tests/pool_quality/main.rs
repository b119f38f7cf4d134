//! How well the pool plan shares one budget: ten scenarios with points, and cases that a plan can
//! get stuck in. Virtual time, seeded: the same figures each time.

mod scenarios;
mod score;
mod simulation;
mod stuck;

/// What each scenario has to earn.
const SCORE_MIN: f64 = 90.0;

#[test]
fn every_scenario_earns_ninety_points() {
    let mut poor = String::new();
    for scenario in scenarios::all() {
        let outcome = scenario.run(10.0, u64::from(scenario.number));
        if outcome.score < SCORE_MIN {
            poor.push_str(&outcome.to_string());
        }
    }
    assert!(poor.is_empty(), "below {SCORE_MIN}:\n{poor}");
}
