//! Tables of what was measured, for a terminal and for the manual alike.

use std::fmt::Write as _;

use crate::args::Part;
use crate::record::{CPU, PER_SECOND};
use crate::sample::{Sample, distinct, ratios, spread, values};

/// Marks in the manual's page between which the tables stand.
const BEGIN: &str = "<!-- figures: cargo compare --manual -->";
const END: &str = "<!-- end of figures -->";
/// Whom the others are compared with.
const REFERENCE: &str = "PgBouncer";
/// Figures that are shown with the least and the greatest ratio beside the median.
const RANGED: [&str; 5] = [PER_SECOND, CPU, "MiB/s", "CPU s/GiB", "p99 ms"];

/// All tables, one for each part, in Markdown.
pub(crate) fn text(samples: &[Sample]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Machine: {}.\n", machine()); // a String takes all, here and below
    for part in Part::ALL {
        let of: Vec<Sample> =
            samples.iter().filter(|one| one.part == part.name()).cloned().collect();
        if !of.is_empty() {
            table(part, &of, &mut out);
        }
    }
    out
}

/// The page with the tables between its marks in place of those that stood there; `None` when the
/// marks are missing.
pub(crate) fn into_page(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()))
}

/// Whom the others are compared with, among the peers of one case.
pub(crate) fn reference<'a>(peers: &[&'a str]) -> Option<&'a str> {
    peers.iter().find(|peer| peer.starts_with(REFERENCE)).copied()
}

fn table(part: Part, samples: &[Sample], out: &mut String) {
    let figures = distinct(samples.iter().map(|one| one.figure.as_str()));
    let rounds = samples.iter().map(|one| one.round).max().unwrap_or(1);
    let _ = writeln!(out, "### {}\n", part.title());
    if rounds > 1 {
        let _ = writeln!(
            out,
            "Medians of {rounds} rounds; × is the median of the ratio to PgBouncer in the same round, \
             with the least and the greatest.\n"
        );
    }
    let mut rows = vec![vec!["case".to_owned(), "peer".to_owned()]];
    if let Some(heading) = rows.first_mut() {
        heading.extend(figures.iter().map(|figure| (*figure).to_owned()));
    }
    for case in distinct(samples.iter().map(|one| one.case.as_str())) {
        let of_case: Vec<Sample> = samples.iter().filter(|one| one.case == case).cloned().collect();
        let mut peers = distinct(of_case.iter().map(|one| one.peer.as_str()));
        peers.sort_unstable();
        for (at, peer) in peers.iter().enumerate() {
            let mut row = vec![if at == 0 { case.to_owned() } else { String::new() }];
            row.push((*peer).to_owned());
            let theirs = reference(&peers).filter(|reference| reference != peer);
            // Two numbers of closed connections have no ratio that would say anything.
            let theirs = theirs.filter(|_| part != Part::Failover);
            let compared = |figure: &&str| cell(&of_case, case, peer, theirs, figure);
            row.extend(figures.iter().map(compared));
            rows.push(row);
        }
    }
    render(&rows, out);
    out.push('\n');
}

/// The median, and how it compares.
fn cell(samples: &[Sample], case: &str, peer: &str, theirs: Option<&str>, figure: &str) -> String {
    let ours = values(samples, case, peer, figure);
    let plain: Vec<f64> = ours.iter().map(|(_, value)| *value).collect();
    let Some(middle) = spread(&plain) else { return String::new() };
    let mut text = number(middle.median);
    let theirs = theirs.map(|theirs| values(samples, case, theirs, figure)).unwrap_or_default();
    if let Some(ratio) = spread(&ratios(&ours, &theirs)) {
        let _ = write!(text, " ×{:.2}", ratio.median);
        if RANGED.contains(&figure) && plain.len() > 1 {
            let _ = write!(text, " ({:.2}–{:.2})", ratio.least, ratio.greatest);
        }
    }
    text
}

/// As many digits as mean something.
fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "never".to_owned(),
        _ if value.fract() == 0.0 && value.abs() < 100_000.0 => format!("{value:.0}"),
        _ if value.abs() >= 100.0 => format!("{value:.0}"),
        _ if value.abs() >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A table whose columns stand one below the other in a terminal too.
fn render(rows: &[Vec<String>], out: &mut String) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0).max(3)).collect();
    for (at, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "| {cell:<width$} ");
        }
        out.push_str("|\n");
        if at == 0 {
            for width in &widths {
                let _ = write!(out, "|{}", "-".repeat(width + 2));
            }
            out.push_str("|\n");
        }
    }
}

/// The machine by its cores and the model of its processor.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}", model.trim())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
