//! Prints the points that the pool plan earns in ten scenarios of quality of service:
//! `cargo run --release -p everline-core --example pool_quality`.

#[path = "../tests/pool_quality/scenarios.rs"]
mod scenarios;
#[path = "../tests/pool_quality/score.rs"]
mod score;
#[path = "../tests/pool_quality/simulation.rs"]
mod simulation;

#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn main() {
    let scale = std::env::args().nth(1).and_then(|scale| scale.parse().ok()).unwrap_or(10.0);
    let mut sum = 0.0;
    let scenarios = scenarios::all();
    for scenario in &scenarios {
        let outcome = scenario.run(scale, u64::from(scenario.number));
        sum += outcome.score;
        print!("{outcome}");
    }
    let number = u32::try_from(scenarios.len()).unwrap_or(u32::MAX);
    println!("mean {:.1}", sum / f64::from(number));
}
