//! The ten scenarios of quality of service: loads, and by what they are judged.
//!
//! They are Gel's (`tests/test_server_pool.py`), so that the figures can be set beside its own; its
//! bar is a mean of 80 with times stretched tenfold, as here.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::score::{Criterion, Landmarks, Measure, Record};
use crate::simulation::{Cost, Load, Setting, Simulation};

/// What a pool of 100 connections serves of statements that take 10 ms, by second.
const FULL_RATE: f64 = 10_000.0;

/// The landmarks of connections closed by statement, the same everywhere.
const OVERHEAD: Landmarks = [0.0, 0.1, 0.2, 0.5];

/// One scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) number: u32,
    point: &'static str,
    budget: usize,
    dial: Cost,
    loads: Vec<Load>,
    criteria: Vec<Criterion>,
}

/// What a scenario came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    title: String,
    /// Name, value, points and weight of each criterion.
    lines: Vec<(String, f64, f64, f64)>,
    pub(crate) score: f64,
}

impl Scenario {
    /// Plays it with its times stretched `scale` times; costs stay what they are.
    pub(crate) fn run(&self, scale: f64, seed: u64) -> Outcome {
        let stretch =
            |load: &Load| Load { from: load.from * scale, until: load.until * scale, ..*load };
        let setting = Setting {
            budget: self.budget,
            dial: self.dial,
            loads: self.loads.iter().map(stretch).collect(),
            failing_percent: 0,
            idle_max: Duration::from_secs_f64(0.1 * scale),
        };
        let record = Simulation::run(setting, seed);
        self.judge(&record)
    }

    fn judge(&self, record: &Record) -> Outcome {
        let mut lines = Vec::new();
        let mut score = 0.0;
        for criterion in &self.criteria {
            let (value, points) = criterion.judge(record);
            score += points * criterion.weight;
            lines.push((format!("{:?}", criterion.measure), value, points, criterion.weight));
        }
        Outcome { title: format!("{:2}. {}", self.number, self.point), lines, score }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<72} {:5.1}", self.title, self.score)?;
        for (name, value, points, weight) in &self.lines {
            writeln!(f, "      {name:<36} {value:10.4} {points:7.1}  x {weight:.2}")?;
        }
        Ok(())
    }
}

fn criterion(weight: f64, measure: Measure, landmarks: Landmarks) -> Criterion {
    Criterion { weight, measure, landmarks }
}

fn overhead(weight: f64) -> Criterion {
    criterion(weight, Measure::Overhead, OVERHEAD)
}

fn same(weight: f64, group: Range<usize>, landmarks: Landmarks) -> Criterion {
    criterion(weight, Measure::Distribution(group), landmarks)
}

fn each(databases: Range<usize>, span: (f64, f64), rate: f64, hold: Cost) -> Vec<Load> {
    let load = |database| Load { database, from: span.0, until: span.1, rate, hold };
    databases.map(load).collect()
}

/// One after the other, a tenth of a second apart.
fn staggered(databases: [usize; 6], rate: f64, hold: Cost) -> Vec<Load> {
    let begins = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5];
    let load = |(database, from)| Load { database, from, until: from + 0.5, rate, hold };
    databases.into_iter().zip(begins).map(load).collect()
}

/// All ten.
pub(crate) fn all() -> Vec<Scenario> {
    [of_equals(), of_unequals(), of_one_or_two(), of_spare_room()].concat()
}

fn of_equals() -> Vec<Scenario> {
    let hold = Cost(0.03, 0.005);
    vec![
        Scenario {
            number: 1,
            point: "more databases than connections: all wait alike",
            budget: 6,
            dial: Cost(0.05, 0.01),
            loads: [
                each(0..6, (0.0, 0.5), 50.0, hold),
                each(6..12, (0.3, 0.7), 50.0, hold),
                each(0..6, (0.6, 0.8), 50.0, hold),
            ]
            .concat(),
            criteria: vec![
                same(0.18, 0..6, [0.0, 0.25, 0.5, 2.0]),
                same(0.28, 6..12, [0.0, 0.1, 0.3, 2.0]),
                same(0.48, 0..12, [0.2, 0.45, 0.7, 2.0]),
                overhead(0.06),
            ],
        },
        Scenario {
            number: 2,
            point: "quick and slow statements: all wait alike",
            budget: 100,
            dial: Cost(0.04, 0.011),
            loads: [
                each(0..6, (0.0, 0.5), 1500.0, Cost(0.001, 0.005)),
                each(6..12, (0.3, 0.7), 700.0, Cost(0.03, 0.001)),
                each(0..6, (0.6, 0.8), 700.0, Cost(0.06, 0.01)),
            ]
            .concat(),
            criteria: vec![
                same(0.15, 0..6, [0.0, 0.2, 0.3, 2.0]),
                same(0.25, 6..12, [0.0, 0.05, 0.2, 2.0]),
                same(0.45, 0..12, [0.55, 0.75, 1.0, 2.0]),
                overhead(0.15),
            ],
        },
        Scenario {
            number: 3,
            point: "six that want three times what there is: all wait alike",
            budget: 100,
            dial: Cost(0.04, 0.011),
            loads: each(0..6, (0.0, 0.8), 5000.0, Cost(0.01, 0.005)),
            criteria: vec![same(0.85, 0..6, [0.0, 0.1, 0.2, 2.0]), overhead(0.15)],
        },
    ]
}

fn of_unequals() -> Vec<Scenario> {
    vec![
        Scenario {
            number: 4,
            point: "as many statements of unequal cost: all wait alike",
            budget: 50,
            dial: Cost(0.04, 0.011),
            loads: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
                .into_iter()
                .enumerate()
                .flat_map(|(database, times)| {
                    let hold = Cost(0.01 * times, 0.005 * times);
                    each(database..database + 1, (0.0, 0.8), 1000.0, hold)
                })
                .collect(),
            criteria: vec![same(0.9, 0..6, [0.0, 0.1, 0.2, 2.0]), overhead(0.1)],
        },
        Scenario {
            number: 5,
            point: "cheap databases among greedy ones hardly wait",
            budget: 6,
            dial: Cost(0.15, 0.05),
            loads: [
                staggered([0, 1, 2, 3, 4, 5], 150.0, Cost(0.02, 0.005)),
                each(6..12, (0.3, 0.7), 50.0, Cost(0.008, 0.003)),
                each(0..6, (0.6, 0.8), 50.0, Cost(0.003, 0.002)),
            ]
            .concat(),
            criteria: vec![
                same(0.05, 0..6, [0.0, 0.4, 0.8, 2.0]),
                same(0.25, 6..12, [0.0, 0.4, 0.8, 2.0]),
                criterion(0.45, Measure::Ratio(75, 0..6, 6..12), [30.0, 5.0, 2.0, 1.0]),
                overhead(0.15),
                criterion(0.1, Measure::Ending, [6.0, 5.0, 4.0, 3.0]),
            ],
        },
    ]
}

fn of_one_or_two() -> Vec<Scenario> {
    let load = |database, from, until, rate, hold| Load { database, from, until, rate, hold };
    vec![
        Scenario {
            number: 6,
            point: "one database: no connection is closed for nothing",
            budget: 6,
            dial: Cost(0.15, 0.05),
            loads: staggered([0; 6], 150.0, Cost(0.02, 0.005)),
            criteria: vec![overhead(1.0)],
        },
        Scenario {
            number: 7,
            point: "a small tenant next to a greedy one hardly waits",
            budget: 6,
            dial: Cost(0.05, 0.01),
            loads: vec![
                load(0, 0.0, 1.0, 500.0, Cost(0.04, 0.005)),
                load(1, 0.1, 0.3, 30.0, Cost(0.03, 0.005)),
                load(1, 0.6, 0.9, 30.0, Cost(0.01, 0.005)),
            ],
            criteria: vec![
                criterion(0.2, Measure::Ratio(99, 0..1, 1..2), [100.0, 50.0, 10.0, 1.0]),
                criterion(0.4, Measure::Ratio(75, 0..1, 1..2), [200.0, 100.0, 20.0, 1.0]),
                overhead(0.4),
            ],
        },
        Scenario {
            number: 8,
            point: "one database that grows: connections are used again",
            budget: 100,
            dial: Cost(0.0, 0.0),
            loads: vec![
                load(0, 0.0, 0.1, FULL_RATE / 32.0, Cost(0.01, 0.0)),
                load(0, 0.1, 0.2, FULL_RATE / 16.0, Cost(0.01, 0.0)),
                load(0, 0.2, 0.6, FULL_RATE / 8.0, Cost(0.01, 0.0)),
            ],
            criteria: vec![overhead(1.0)],
        },
    ]
}

fn of_spare_room() -> Vec<Scenario> {
    let tenth = Cost(0.01, 0.005);
    let load = |database, from, until, rate, hold| Load { database, from, until, rate, hold };
    vec![
        Scenario {
            number: 9,
            point: "three databases with room to spare: nobody waits",
            budget: 100,
            dial: tenth,
            loads: vec![
                load(0, 0.0, 0.1, FULL_RATE / 32.0, tenth),
                load(0, 0.1, 0.4, FULL_RATE / 16.0, tenth),
                load(1, 0.5, 0.6, FULL_RATE / 32.0, tenth),
                load(1, 0.6, 1.0, FULL_RATE / 16.0, tenth),
                load(2, 0.7, 0.8, FULL_RATE / 16.0, tenth),
                load(2, 0.8, 0.9, FULL_RATE / 8.0, tenth),
            ],
            criteria: vec![
                same(0.1, 0..3, [0.2, 0.5, 1.0, 2.0]),
                criterion(0.1, Measure::Wait(99, 0..3), [0.001, 0.002, 0.004, 0.05]),
                criterion(0.2, Measure::Wait(75, 0..3), [0.0001, 0.0002, 0.0004, 0.005]),
                overhead(0.6),
            ],
        },
        Scenario {
            number: 10,
            point: "after a burst the pool shrinks again",
            budget: 100,
            dial: tenth,
            loads: vec![
                load(0, 0.0, 1.0, FULL_RATE / 32.0, tenth),
                load(1, 0.4, 0.6, FULL_RATE / 32.0 * 31.0, tenth),
            ],
            criteria: vec![criterion(1.0, Measure::Ending, [10.0, 20.0, 40.0, 100.0])],
        },
    ]
}
