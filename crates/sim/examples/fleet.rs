//! Prints what a failover does to fleets of several sizes, as the manual's page on sizing has it:
//! `cargo run --release -p everline-sim --example fleet`.

use std::time::Instant;

use everline_sim::fleet::{Fleet, Seen, play};

/// Instances, clients of each, connections of all.
const FLEETS: &[(u64, u64, u64)] = &[
    (5, 20_000, 500),
    (5, 200_000, 5_000),
    (50, 2_000, 5_000),
    (50, 20_000, 5_000),
    (50, 200_000, 5_000),
    (500, 2_000, 5_000),
    (500, 20_000, 5_000),
    (500, 20_000, 50_000),
];

#[expect(clippy::print_stdout, reason = "this is for somebody who reads")]
#[expect(clippy::disallowed_methods, reason = "the virtual clock begins at some moment")]
fn main() {
    println!(
        "| instances × clients, connections | served | nothing waits | at once | refused | even |"
    );
    println!("|---|---|---|---|---|---|");
    for (instances, clients_each, connections) in FLEETS.iter().copied() {
        let usual = Fleet::USUAL;
        let statements_per_second = usual.statements_per_second * connections / usual.connections;
        let fleet = Fleet { instances, clients_each, connections, statements_per_second, ..usual };
        match play(fleet, 1, Instant::now()) {
            Ok(seen) => println!("{}", line(&fleet, &seen)),
            Err(why) => println!("{fleet:?}: {why}"),
        }
    }
}

fn line(fleet: &Fleet, seen: &Seen) -> String {
    format!(
        "| {} × {}, {} | {} to {} ms | {} to {} ms | {} | {} | {:.2} |",
        fleet.instances,
        fleet.clients_each,
        fleet.connections,
        seen.first_served,
        seen.last_served,
        seen.first_recovered,
        seen.last_recovered,
        seen.logins_at_once,
        seen.refused + seen.dials_given_up,
        seen.evenness,
    )
}
