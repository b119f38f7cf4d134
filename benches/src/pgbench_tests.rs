use super::*;

const LOG: &str = "\
0 1 900 0 1700000000 999000
1 1 1500 0 1700000001 0
0 2 700 0 1700000001 500000
0 3 failed 0 1700000001 600000
1 2 250 0 1700000002 0
1 3 250 0 1700000002 1
garbage
";

#[test]
fn transactions_count_that_ended_within_the_time() {
    let within = |from, to| times_within(LOG, Duration::from_secs(from), Duration::from_secs(to));
    assert_eq!(within(1_700_000_001, 1_700_000_002), [1500, 700, 250]);
    assert_eq!(within(1_700_000_003, 1_700_000_004), [0; 0]);
    assert_eq!(within(0, 1_800_000_000).len(), 5);
}

#[test]
fn figures_come_of_times_and_cpu() {
    let times: Vec<u64> = (1..=200).map(|at| at * 10).collect();
    let cpu = Duration::from_millis(5);
    let measured = result(&times, Duration::from_secs(2), cpu, 4096).unwrap();
    assert_eq!(
        measured,
        Measured {
            per_second: 100.0,
            p50_ms: 1.0,
            p99_ms: 1.98,
            cpu_per_100k: 2.5,
            resident: 4096
        }
    );
    assert_eq!(result(&[], Duration::from_secs(2), cpu, 4096), None);
}
