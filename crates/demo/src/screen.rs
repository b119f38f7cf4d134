//! What the person in front of it sees: set-up, the seconds live, the verdict.
//!
//! On a terminal the picture is drawn again in place ten times a second; elsewhere, and on
//! standard error beside `--json`, plain lines tell the same.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveToColumn, MoveToPreviousLine, Show};
use crossterm::queue;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
    EndSynchronizedUpdate,
};
use tokio::time::Instant;

use crate::args::Fault;
use crate::board::Board;
use crate::frame::{View, frame};
use crate::paint::{Ink, Line};
use crate::verdict::Verdict;

/// Width that is assumed where there is no terminal to ask.
const WIDTH: usize = 80;
/// Height that is assumed likewise.
const HEIGHT: usize = 24;
/// Longest line drawn: wider pictures are harder to read.
const WIDTH_MAX: usize = 120;
const SPINNER: [char; 8] = ['⠋', '⠙', '⠸', '⠴', '⠦', '⠇', '⠏', '⠛'];

/// A step of the set-up that is not over.
#[derive(Debug)]
struct Step {
    text: String,
    since: Instant,
    turns: usize,
}

/// Where everything is shown. Restores the terminal when dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    to_stderr: bool,
    live: bool,
    coloured: bool,
    step: Option<Step>,
    /// Lines of the picture on the terminal.
    drawn: u16,
    /// Events and seconds that plain lines have told.
    told: (usize, u64),
}

impl Screen {
    /// The screen for this program; with `json`, standard output belongs to the verdict.
    pub(crate) fn new(json: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let live = !json && !is_dumb && std::io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let screen = Self {
            to_stderr: json,
            live,
            coloured: live && !no_colour,
            step: None,
            drawn: 0,
            told: (0, 0),
        };
        if live {
            let mut bytes = Vec::new();
            let _ = queue!(bytes, Hide, DisableLineWrap);
            screen.write(&bytes);
        }
        screen
    }

    /// Prints a line that stays.
    pub(crate) fn line(&mut self, line: &Line) {
        let text = format!("{}\n", line.paint(self.width(), self.coloured));
        self.write(text.as_bytes());
    }

    /// The set-up goes on to its next step.
    pub(crate) fn step(&mut self, text: &str) {
        self.step_done();
        self.step = Some(Step { text: text.to_owned(), since: Instant::now(), turns: 0 });
        if self.live {
            self.spin();
        }
    }

    /// Shows that the step is not over.
    pub(crate) fn spin(&mut self) {
        if !self.live {
            return;
        }
        let Some(step) = &mut self.step else { return };
        step.turns += 1;
        let turn = SPINNER.get(step.turns % SPINNER.len()).copied().unwrap_or(' ');
        let line = Line::new().with(Ink::Cyan, format!("  {turn} ")).with(Ink::Plain, &step.text);
        let mut bytes = Vec::new();
        let _ = queue!(bytes, MoveToColumn(0), Clear(ClearType::CurrentLine));
        bytes.extend_from_slice(line.paint(self.width(), self.coloured).as_bytes());
        self.write(&bytes);
    }

    /// The step is over.
    pub(crate) fn step_done(&mut self) {
        let Some(step) = self.step.take() else { return };
        self.restart_line();
        let took = format!("  {}", seconds(step.since.elapsed()));
        self.line(
            &Line::new().with(Ink::Green, "  ✓ ").with(Ink::Plain, step.text).with(Ink::Dim, took),
        );
    }

    /// Shows the state of things.
    pub(crate) fn show(&mut self, view: &View, board: &Board) {
        if self.live {
            // A picture higher than the terminal could not be drawn over.
            let rows = crossterm::terminal::size().map_or(HEIGHT, |(_, rows)| rows.into());
            self.draw(&frame(view, board, self.width(), Some(rows.saturating_sub(1))));
        } else {
            self.tell(board);
        }
    }

    /// Shows the whole run once more, and leaves it there.
    pub(crate) fn finish(&mut self, view: &View, board: &Board) {
        if self.live {
            self.draw(&frame(view, board, self.width(), None));
            self.drawn = 0;
        } else {
            self.tell(board);
        }
        self.told = (0, 0);
    }

    /// Draws the picture over the last one.
    fn draw(&mut self, lines: &[Line]) {
        let mut bytes = Vec::new();
        let _ = queue!(bytes, BeginSynchronizedUpdate);
        if self.drawn > 0 {
            let _ = queue!(bytes, MoveToPreviousLine(self.drawn));
        }
        for line in lines {
            // Cleared first: at the right margin, clearing afterwards takes the last character.
            let _ = queue!(bytes, Clear(ClearType::CurrentLine));
            bytes.extend_from_slice(line.paint(self.width(), self.coloured).as_bytes());
            bytes.push(b'\n');
        }
        let _ = queue!(bytes, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate);
        self.drawn = u16::try_from(lines.len()).unwrap_or(0);
        self.write(&bytes);
    }

    /// Tells in plain lines what is new: events, and a summary every second.
    fn tell(&mut self, board: &Board) {
        let (mut events, mut second) = self.told;
        let mut lines = Vec::new();
        {
            let state = board.state();
            for event in state.events.iter().skip(events) {
                lines.push(format!("{:>7}  {} {}", seconds(event.at), event.mark, event.text));
            }
            events = state.events.len();
            if board.elapsed().as_secs() > second {
                second = board.elapsed().as_secs();
                let waiting = state.columns.last().map_or(0, |column| column.waiting);
                lines.push(format!(
                    "{second:>5} s  {:>5} statements/s, {waiting} waiting, {} retryable, \
                     {} unknown, {} closed",
                    state.per_second(),
                    state.totals.retryable,
                    state.totals.unknown,
                    state.totals.closed,
                ));
            }
        }
        self.told = (events, second);
        for line in lines {
            self.line(&Line::new().with(Ink::Plain, line));
        }
    }

    /// Shows the verdict as a table.
    pub(crate) fn verdict(&mut self, fault: Fault, verdict: &Verdict) {
        let outage = verdict.outage_ms.map_or_else(
            || "it did not come back".to_owned(),
            |milliseconds| seconds(Duration::from_millis(milliseconds)),
        );
        let zero = |count: u64| if count == 0 { (Ink::Green, " ✓") } else { (Ink::Red, " ✗") };
        let back =
            if verdict.outage_ms.is_some() { (Ink::Green, " ✓") } else { (Ink::Red, " ✗") };
        let none = (Ink::Plain, "");
        let service = match verdict.ha.as_str() {
            "stolon" => "service back after the announcement",
            _ => "service back after promotion and name",
        };
        let rows = [
            (
                "frontend connections closed",
                verdict.frontends_closed.to_string(),
                zero(verdict.frontends_closed),
            ),
            ("acknowledged rows lost", verdict.lost.to_string(), zero(verdict.lost)),
            ("rows applied twice", verdict.doubled.to_string(), zero(verdict.doubled)),
            (service, outage, back),
            ("statements held, then answered", verdict.held.to_string(), none),
            ("statements failed retryably (40001)", verdict.retryable.to_string(), none),
            ("statements of unknown outcome (08007)", verdict.unknown.to_string(), none),
            ("rows acknowledged", verdict.acknowledged.to_string(), none),
        ];
        self.line(&Line::new());
        self.line(&Line::new().with(Ink::Bold, format!("  verdict: {fault}")));
        for (name, value, (ink, mark)) in rows {
            self.line(
                &Line::new()
                    .with(Ink::Plain, format!("    {name:<40}"))
                    .with(Ink::Bold, format!("{value:>10}"))
                    .with(ink, mark),
            );
        }
        self.line(&Line::new());
    }

    fn width(&self) -> usize {
        if !self.live {
            return usize::MAX;
        }
        let columns = crossterm::terminal::size().map_or(WIDTH, |(columns, _)| columns.into());
        columns.clamp(20, WIDTH_MAX)
    }

    fn restart_line(&self) {
        if self.live {
            let mut bytes = Vec::new();
            let _ = queue!(bytes, MoveToColumn(0), Clear(ClearType::UntilNewLine));
            self.write(&bytes);
        }
    }

    /// A reader that has gone is no reason to end: the verdict is in the exit code too.
    fn write(&self, bytes: &[u8]) {
        if self.to_stderr {
            let _ = std::io::stderr().lock().write_all(bytes);
        } else {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(bytes);
            let _ = out.flush();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            self.restart_line();
            let mut bytes = Vec::new();
            let _ = queue!(bytes, EnableLineWrap, Show);
            self.write(&bytes);
        }
    }
}

/// Prints the verdict of `--json`.
pub(crate) fn print_json(verdict: &Verdict) {
    let object = serde_json::to_string(verdict).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{object}");
    let _ = out.flush();
}

/// Says why nothing came of it.
pub(crate) fn complain(reason: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "demo: {reason}");
    ExitCode::FAILURE
}

/// A time as people say it: "0.4 s", "12 ms".
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_millis(100) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
