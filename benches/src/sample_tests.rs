use super::*;

fn sample(case: &str, peer: &str, round: u16, value: f64) -> Sample {
    let [part, figure] = ["speed", "tps"].map(str::to_owned);
    Sample { part, case: case.to_owned(), peer: peer.to_owned(), round, figure, value }
}

#[test]
fn medians_of_odd_and_even_numbers() {
    let of = |values: &[f64]| spread(values).map(|s| (s.least, s.median, s.greatest));
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[3.0]), Some((3.0, 3.0, 3.0)));
    assert_eq!(of(&[9.0, 1.0]), Some((1.0, 5.0, 9.0)));
    assert_eq!(of(&[9.0, 1.0, 2.0]), Some((1.0, 2.0, 9.0)));
    assert_eq!(of(&[10.0, 1.0, 2.0, 4.0]), Some((1.0, 3.0, 10.0)));
}

#[test]
fn quantiles_are_values_that_occurred() {
    let hundred: Vec<u64> = (1..=100).collect();
    assert_eq!(quantile(&hundred, 500), Some(50));
    assert_eq!(quantile(&hundred, 990), Some(99));
    assert_eq!(quantile(&hundred, 1000), Some(100));
    assert_eq!(quantile(&[7], 990), Some(7));
    assert_eq!(quantile(&[], 990), None);
}

#[test]
fn ratios_are_those_of_one_round() {
    let ours = [(1, 10.0), (2, 30.0), (3, 5.0), (4, 1.0)];
    let theirs = [(2, 10.0), (1, 20.0), (4, 0.0)];
    assert_eq!(ratios(&ours, &theirs), [0.5, 3.0]);
}

#[test]
fn samples_survive_being_written() {
    let samples =
        [sample("simple, 16 clients", "PgBouncer 1.18", 1, 0.125), sample("b", "c", 2, 1e9)];
    let text = to_csv(&samples);
    assert_eq!(text.lines().nth(1), Some("speed;simple, 16 clients;PgBouncer 1.18;1;tps;0.125"));
    assert_eq!(from_csv(&text), samples);
    assert_eq!(from_csv("no;sample\n"), []);
}

#[test]
fn a_case_measured_anew_replaces_all_of_the_old_one() {
    let old = vec![sample("a", "x", 1, 1.0), sample("a", "y", 1, 2.0), sample("b", "x", 1, 3.0)];
    let new = [sample("a", "x", 1, 4.0)];
    let merged = merge(old, &new);
    assert_eq!(merged, [sample("b", "x", 1, 3.0), sample("a", "x", 1, 4.0)]);
    assert_eq!(values(&merged, "a", "x", "tps"), [(1, 4.0)]);
}
