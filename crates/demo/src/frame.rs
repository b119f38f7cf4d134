//! One picture of a run: who is what, the last seconds column by column, what has happened.

use std::time::Duration;

use crate::board::{Board, COLUMN, Column, Event, State};
use crate::paint::{Ink, Line, bar};
use crate::screen::seconds;

/// Width of the words in front of a strip.
const LABEL: usize = 15;
/// Width of the figures behind a strip.
const FIGURES: usize = 9;

/// What does not change during a run.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The first line.
    pub(crate) title: String,
    /// Where the status page is.
    pub(crate) page: String,
}

/// The columns that are shown: `each` columns of the board per character, from `first` on.
#[derive(Debug, Clone, Copy)]
struct Window {
    first: usize,
    each: usize,
    width: usize,
}

/// The picture in lines of at most `width` characters: the last seconds in at most `height` lines,
/// the oldest events left out; or without a height all seconds and events.
pub(crate) fn frame(view: &View, board: &Board, width: usize, height: Option<usize>) -> Vec<Line> {
    let state = board.state();
    let strip = width.saturating_sub(LABEL + FIGURES).max(10);
    let count = state.columns.len();
    let window = if height.is_none() {
        Window { first: 0, each: count.div_ceil(strip).max(1), width: strip }
    } else {
        Window { first: count.saturating_sub(strip), each: 1, width: strip }
    };
    let mut lines = vec![Line::new(), Line::new().with(Ink::Bold, format!("  {}", view.title))];
    if !view.page.is_empty() {
        lines.push(Line::new().with(Ink::Dim, format!("  live page: {}", view.page)));
    }
    lines.push(Line::new());
    lines.extend(participants(&state));
    lines.push(Line::new());
    lines.extend(strips(&state, board.clients(), window));
    lines.push(marks(&state.events, window));
    lines.push(axis(window));
    lines.push(sums(&state, board));
    lines.push(Line::new());
    let mut events: Vec<&Event> = state.events.iter().collect();
    events.sort_by_key(|event| event.at);
    let room = height.unwrap_or(usize::MAX).saturating_sub(lines.len() + state.surprises.len());
    for event in events.iter().skip(events.len().saturating_sub(room)) {
        lines.push(
            Line::new()
                .with(Ink::Dim, format!("  {:>7}  ", seconds(event.at)))
                .with(Ink::Cyan, format!("{} ", event.mark))
                .with(Ink::Plain, &event.text),
        );
    }
    for (code, (count, text)) in &state.surprises {
        let text = format!("{:>9}  {count} × {code}: {text}", "");
        lines.push(Line::new().with(Ink::Red, text));
    }
    lines
}

fn participants(state: &State) -> Vec<Line> {
    let people = &state.participants;
    let mut lines = Vec::new();
    for (name, condition) in &people.nodes {
        let ink = if condition.contains("the leader") && !condition.contains("not the") {
            Ink::Green
        } else {
            Ink::Yellow
        };
        lines.push(who(name, ink, condition));
    }
    lines.push(who(&people.guide.0, Ink::Plain, &people.guide.1));
    if !people.everline.is_empty() {
        lines.push(who("Everline", Ink::Bold, &people.everline));
    }
    lines
}

fn who(name: &str, ink: Ink, condition: &str) -> Line {
    Line::new().with(Ink::Plain, format!("  {name:<17}")).with(ink, condition)
}

/// One row of bars with its figures.
struct Strip {
    label: &'static str,
    ink: Ink,
    values: Vec<u64>,
    full: u64,
    figures: String,
}

fn strips(state: &State, clients: u64, window: Window) -> Vec<Line> {
    let columns = window.columns(state);
    let values = |of: fn(&Column) -> u64| columns.iter().map(of).collect::<Vec<u64>>();
    let last = state.columns.last().copied().unwrap_or_default();
    let acknowledged = values(|column| column.acknowledged);
    let rows = [
        Strip {
            label: "acknowledged",
            ink: Ink::Green,
            full: acknowledged.iter().copied().max().unwrap_or(0),
            values: acknowledged,
            figures: format!("{}/s", state.per_second()),
        },
        Strip {
            label: "waiting",
            ink: Ink::Yellow,
            values: values(|column| column.waiting),
            full: clients,
            figures: last.waiting.to_string(),
        },
        Strip {
            label: "retryable",
            ink: Ink::Magenta,
            values: values(|column| column.retryable),
            full: clients,
            figures: state.totals.retryable.to_string(),
        },
        Strip {
            label: "unknown",
            ink: Ink::Red,
            values: values(|column| column.unknown),
            full: clients,
            figures: state.totals.unknown.to_string(),
        },
    ];
    rows.iter().map(|row| row.line(window.width)).collect()
}

impl Strip {
    fn line(&self, width: usize) -> Line {
        let bars: String = self.values.iter().map(|value| bar(*value, self.full)).collect();
        Line::new()
            .with(Ink::Plain, format!("  {:<13}", self.label))
            .with(self.ink, format!("{bars:<width$}"))
            .with(Ink::Bold, format!(" {:>8}", self.figures))
    }
}

/// The marks of the events, each under its column or the next free one.
fn marks(events: &[Event], window: Window) -> Line {
    let mut row = vec![' '; window.width];
    for event in events {
        let column = event.at.as_millis() / COLUMN.as_millis();
        let column = usize::try_from(column).unwrap_or(usize::MAX);
        let Some(at) = column.checked_sub(window.first).map(|after| after / window.each) else {
            continue;
        };
        if let Some(free) = row.iter_mut().skip(at).find(|place| **place == ' ') {
            *free = event.mark;
        }
    }
    Line::new()
        .with(Ink::Plain, " ".repeat(LABEL))
        .with(Ink::Cyan, row.into_iter().collect::<String>())
}

/// Seconds since the beginning, every ten characters.
fn axis(window: Window) -> Line {
    let label = |at: usize| {
        let columns = window.first + at * 10 * window.each;
        let since = COLUMN.saturating_mul(u32::try_from(columns).unwrap_or(u32::MAX));
        format!("{:<10}", format!("╵{:.1} s", since.as_secs_f64()))
    };
    let row: String = (0..window.width.div_ceil(10)).map(label).collect();
    let row: String = row.chars().take(window.width).collect();
    Line::new().with(Ink::Plain, " ".repeat(LABEL)).with(Ink::Dim, row)
}

fn sums(state: &State, board: &Board) -> Line {
    let totals = state.totals;
    let closed = if totals.closed == 0 { Ink::Green } else { Ink::Red };
    let p99 = state.p99().map_or_else(|| "–".to_owned(), milliseconds);
    Line::new()
        .with(Ink::Plain, format!("  {:<13}{} connections, ", "clients", board.clients()))
        .with(closed, format!("{} closed", totals.closed))
        .with(
            Ink::Plain,
            format!(", {} rows, {} held, p99 {p99}", totals.acknowledged, totals.held),
        )
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

impl Window {
    /// The columns of the window, `each` of them summed up; of those waiting, the most.
    fn columns(self, state: &State) -> Vec<Column> {
        let shown = state.columns.get(self.first..).unwrap_or_default();
        let sum = |columns: &[Column]| {
            columns.iter().fold(Column::default(), |sum, column| Column {
                acknowledged: sum.acknowledged + column.acknowledged,
                waiting: sum.waiting.max(column.waiting),
                retryable: sum.retryable + column.retryable,
                unknown: sum.unknown + column.unknown,
            })
        };
        shown.chunks(self.each).map(sum).collect()
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
