//! What was measured: one figure of one peer in one case and round, and what comes of several.

use std::fmt::Write as _;

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The part's name.
    pub(crate) part: String,
    /// What was done, such as "simple, 16 clients".
    pub(crate) case: String,
    /// Who did it, such as "PgBouncer 1.25.2".
    pub(crate) peer: String,
    /// In which round, from 1.
    pub(crate) round: u16,
    /// What was measured, with its unit, such as "p99 ms".
    pub(crate) figure: String,
    pub(crate) value: f64,
}

const HEADING: &str = "part;case;peer;round;figure;value\n";

/// Samples as text, one a line; fields are separated by semicolons, and none holds one.
pub(crate) fn to_csv(samples: &[Sample]) -> String {
    let mut text = HEADING.to_owned();
    for one in samples {
        let Sample { part, case, peer, round, figure, value } = one;
        let _ = writeln!(text, "{part};{case};{peer};{round};{figure};{value}"); // to a String
    }
    text
}

/// The samples of such a text; lines that are none are left out.
pub(crate) fn from_csv(text: &str) -> Vec<Sample> {
    let line = |line: &str| {
        let mut fields = line.split(';').map(str::to_owned);
        Some(Sample {
            part: fields.next()?,
            case: fields.next()?,
            peer: fields.next()?,
            round: fields.next()?.parse().ok()?,
            figure: fields.next()?,
            value: fields.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// Adds `new` to `old`; the cases measured anew lose what was known of them.
pub(crate) fn merge(old: Vec<Sample>, new: &[Sample]) -> Vec<Sample> {
    let anew = |sample: &Sample| {
        new.iter().any(|one| (&one.part, &one.case) == (&sample.part, &sample.case))
    };
    let mut all: Vec<Sample> = old.into_iter().filter(|sample| !anew(sample)).collect();
    all.extend_from_slice(new);
    all
}

/// The middle of some values, with the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) greatest: f64,
}

/// What some values come to; `None` of none. Of an even number of values the median is the mean of
/// the two in the middle.
pub(crate) fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    let median = if sorted.len().is_multiple_of(2) {
        sorted.get(half.checked_sub(1)?)?.midpoint(upper)
    } else {
        upper
    };
    Some(Spread { least: *sorted.first()?, median, greatest: *sorted.last()? })
}

/// The value that so many thousandths of the sorted values do not exceed; `None` of no values.
pub(crate) fn quantile(sorted: &[u64], thousandths: usize) -> Option<u64> {
    let rank = (sorted.len() * thousandths).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Everything that was measured of one figure of one peer in one case, in the order of rounds.
pub(crate) fn values(samples: &[Sample], case: &str, peer: &str, figure: &str) -> Vec<(u16, f64)> {
    let fits = |one: &&Sample| one.case == case && one.peer == peer && one.figure == figure;
    let mut found: Vec<_> = samples.iter().filter(fits).map(|one| (one.round, one.value)).collect();
    found.sort_by_key(|(round, _)| *round);
    found
}

/// Each round's value as a multiple of the other's in the same round; rounds that one of them lacks
/// are left out.
pub(crate) fn ratios(ours: &[(u16, f64)], theirs: &[(u16, f64)]) -> Vec<f64> {
    let ratio = |(round, value): &(u16, f64)| {
        let (_, other) = theirs.iter().find(|(other, _)| other == round)?;
        (*other > 0.0).then_some(value / other)
    };
    ours.iter().filter_map(ratio).collect()
}

/// The distinct values of a field, in the order of their first appearance.
pub(crate) fn distinct<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for field in fields {
        if !found.contains(&field) {
            found.push(field);
        }
    }
    found
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
