//! Cases in which a plan could forget somebody: every statement has to be served, and soon.

use std::time::Duration;

use crate::simulation::{Cost, Load, Setting, Simulation};

fn setting(budget: usize, dial: Cost, loads: Vec<Load>) -> Setting {
    let idle_max = Duration::from_secs(1);
    Setting { budget, dial, loads, failing_percent: 0, idle_max }
}

fn load(database: usize, from: f64, until: f64, rate: f64, hold: Cost) -> Load {
    Load { database, from, until, rate, hold }
}

fn longest(setting: Setting, database: usize) -> f64 {
    let record = Simulation::run(setting, 1);
    let waits = record.waits.get(database).expect("the database has a load");
    waits.iter().copied().fold(0.0, f64::max)
}

#[test]
fn a_second_session_of_a_pool_is_served_beside_long_transactions() {
    let long = Cost(5.0, 0.0);
    let loads = vec![load(1, 0.0, 0.01, 100.0, long), load(0, 0.1, 0.12, 100.0, long)];
    assert!(longest(setting(10, Cost(0.01, 0.005), loads), 0) < 0.05);
}

#[test]
fn a_pool_that_comes_late_gets_what_is_left() {
    let loads = vec![
        load(0, 0.0, 0.004, 1000.0, Cost(3.0, 0.0)),
        load(1, 0.2, 0.202, 1000.0, Cost(0.1, 0.0)),
    ];
    assert!(longest(setting(5, Cost(0.01, 0.005), loads), 1) < 0.2);
}

#[test]
fn nobody_starves_where_databases_are_many() {
    let loads = (0..10).map(|database| load(database, 0.0, 2.0, 60.0, Cost(0.005, 0.002)));
    let setting = setting(5, Cost(0.0, 0.0), loads.collect());
    let record = Simulation::run(setting, 1);
    let longest = record.waits.iter().flatten().copied().fold(0.0, f64::max);
    assert!(longest < 1.0, "{longest} s");
}

#[test]
fn half_of_all_dials_may_fail() {
    let loads = (0..6).map(|database| load(database, 0.0, 2.0, 100.0, Cost(0.005, 0.002)));
    let mut setting = setting(4, Cost(0.01, 0.005), loads.collect());
    setting.failing_percent = 50;
    let record = Simulation::run(setting, 1);
    assert!(record.statements() > 1190, "all are served: {}", record.statements());
}

#[test]
fn from_one_to_twenty_databases_share_ten_connections() {
    for databases in [1, 10, 12, 20] {
        let loads = (0..databases).map(|database| {
            load(
                database,
                0.0,
                1.0,
                1200.0 / f64::from(databases_u32(databases)),
                Cost(0.005, 0.002),
            )
        });
        let record = Simulation::run(setting(10, Cost(0.02, 0.005), loads.collect()), 1);
        let longest = record.waits.iter().flatten().copied().fold(0.0, f64::max);
        assert!(longest < 2.0, "{databases} databases: {longest} s");
    }
}

fn databases_u32(databases: usize) -> u32 {
    u32::try_from(databases).expect("a few databases")
}
