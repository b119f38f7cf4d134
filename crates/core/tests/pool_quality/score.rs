//! From what sessions have waited to points.
//!
//! The measures and their landmarks are those by which Gel judges its own connection pool
//! (`tests/test_server_pool.py`): a value earns 100, 90, 60 or 0 points at four landmarks, and what
//! lies between in proportion.

use std::ops::Range;

/// The shortest wait that is told apart from none, in seconds: a lock and a queue take as long.
const WAIT_MIN: f64 = 10e-6;

/// The least difference between distributions that is told apart from none.
const VARIATION_MIN: f64 = 0.01;

/// The values worth 100, 90, 60 and 0 points.
pub(crate) type Landmarks = [f64; 4];

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) enum Measure {
    /// How much the waits of these databases differ from one another.
    Distribution(Range<usize>),
    /// Connections closed, by statement.
    Overhead,
    /// A percentile of the first databases' waits over that of the second.
    Ratio(u32, Range<usize>, Range<usize>),
    /// A percentile of these databases' waits, in seconds.
    Wait(u32, Range<usize>),
    /// Connections at the end.
    Ending,
}

/// A measure, its share of the score, and its landmarks.
#[derive(Clone, Debug)]
pub(crate) struct Criterion {
    pub(crate) weight: f64,
    pub(crate) measure: Measure,
    pub(crate) landmarks: Landmarks,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Of each database, how long each statement has waited for a connection, in seconds.
    pub(crate) waits: Vec<Vec<f64>>,
    /// Connections closed.
    pub(crate) closed: u32,
    /// Connections when the last statement was done.
    pub(crate) ending: u32,
}

impl Record {
    pub(crate) fn statements(&self) -> u32 {
        self.waits.iter().map(|waits| count(waits.len())).sum()
    }
}

impl Criterion {
    /// The value, and its points.
    pub(crate) fn judge(&self, record: &Record) -> (f64, f64) {
        let value = match &self.measure {
            Measure::Distribution(group) => variation(record.waits.get(group.clone())),
            Measure::Overhead => f64::from(record.closed) / f64::from(record.statements()),
            Measure::Ratio(percent, over, under) => {
                mean_percentile(record, *percent, over) / mean_percentile(record, *percent, under)
            }
            Measure::Wait(percent, group) => mean_percentile(record, *percent, group),
            Measure::Ending => f64::from(record.ending),
        };
        (value, points(value, self.landmarks))
    }
}

fn points(value: f64, [full, good, fair, none]: Landmarks) -> f64 {
    for (better, worse, base, width) in
        [(full, good, 90.0, 10.0), (good, fair, 60.0, 30.0), (fair, none, 0.0, 60.0)]
    {
        let (low, high): (f64, f64) = (f64::min(better, worse), f64::max(better, worse));
        if (low..high).contains(&value) {
            return base + (value - worse).abs() / (high - low) * width;
        }
    }
    let past_full = if none > full { value < full } else { value >= full };
    if past_full { 100.0 } else { 0.0 }
}

/// The geometric mean, over the nine deciles, of the coefficient of variation between databases.
fn variation(group: Option<&[Vec<f64>]>) -> f64 {
    let deciles: Vec<_> = group.unwrap_or_default().iter().map(|waits| deciles(waits)).collect();
    let of_decile = |decile: usize| {
        let values: Vec<f64> = deciles.iter().filter_map(|all| all.get(decile).copied()).collect();
        let number = f64::from(count(values.len()));
        let mean = values.iter().sum::<f64>() / number;
        let spread = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / number;
        (spread.sqrt() / mean).max(VARIATION_MIN)
    };
    ((0..9).map(of_decile).map(f64::ln).sum::<f64>() / 9.0).exp()
}

fn sorted(waits: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = waits.iter().map(|wait| wait.max(WAIT_MIN)).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The nine values that part the waits into ten, interpolated.
fn deciles(waits: &[f64]) -> Vec<f64> {
    let sorted = sorted(waits);
    let last = sorted.len().saturating_sub(1);
    let decile = |tenths: usize| {
        let place = tenths * (sorted.len() + 1);
        let below = (place / 10).clamp(1, last.max(1));
        let over = f64::from(count(place)) / 10.0 - f64::from(count(below));
        let at = |index: usize| sorted.get(index).copied().unwrap_or(WAIT_MIN);
        at(below - 1) * (1.0 - over) + at(below) * over
    };
    (1..10).map(decile).collect()
}

fn mean_percentile(record: &Record, percent: u32, group: &Range<usize>) -> f64 {
    let of = |waits: &Vec<f64>| {
        let sorted = sorted(waits);
        let index = match percent {
            99 => sorted.len() - sorted.len() / 99,
            75 => sorted.len() * 3 / 4,
            _ => sorted.len() / 2,
        };
        sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(WAIT_MIN)
    };
    let group = record.waits.get(group.clone()).unwrap_or_default();
    group.iter().map(of).sum::<f64>() / f64::from(count(group.len()))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).expect("a run has fewer than four thousand million statements")
}
