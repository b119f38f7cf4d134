//! Plays seeds by hand: `cargo run --release -p everline-sim --example seeds -- [FIRST [LAST]]`.

use std::time::Instant;

use everline_sim::world::{Figures, play};

/// Seeds between two lines of progress.
const LINE: u64 = 10_000;

#[expect(clippy::print_stdout, reason = "this is for somebody who watches")]
#[expect(clippy::disallowed_methods, reason = "progress is told in real time")]
fn main() {
    let mut given = std::env::args().skip(1).filter_map(|number| number.parse::<u64>().ok());
    let first = given.next().unwrap_or(0);
    let last = given.next().unwrap_or(first + 1_000_000);
    let (began, mut all, mut failed) = (Instant::now(), Figures::default(), 0_u64);
    for seed in first..last {
        match play(seed, None, began) {
            Ok(figures) => all.add(&figures),
            Err(why) => {
                failed += 1;
                println!("{why}");
            }
        }
        let done = seed + 1 - first;
        if done.is_multiple_of(LINE) || seed + 1 == last {
            println!("{done} seeds, {failed} failed, {:?}: {all:?}", began.elapsed());
        }
    }
    std::process::exit(i32::from(failed > 0));
}
