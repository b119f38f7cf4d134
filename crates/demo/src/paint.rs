//! Lines made of coloured pieces, cut to the terminal's width.

use crossterm::Command as _;
use crossterm::style::{Attribute, Color, ResetColor, SetAttribute, SetForegroundColor};

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// As the terminal writes.
    Plain,
    /// Less important.
    Dim,
    /// More important.
    Bold,
    /// Good: acknowledged.
    Green,
    /// Waiting.
    Yellow,
    /// To be repeated.
    Magenta,
    /// Bad, or unknown.
    Red,
    /// Marks of the timeline.
    Cyan,
}

/// One line of the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Vec<(Ink, String)>);

impl Line {
    /// An empty line.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    pub(crate) fn with(mut self, ink: Ink, text: impl Into<String>) -> Self {
        self.0.push((ink, text.into()));
        self
    }

    /// The line in at most `width` characters, coloured or not.
    pub(crate) fn paint(&self, width: usize, coloured: bool) -> String {
        let mut painted = String::new();
        let mut left = width;
        for (ink, text) in &self.0 {
            let shown: String = text.chars().take(left).collect();
            left -= shown.chars().count();
            if coloured && *ink != Ink::Plain {
                ink.begin(&mut painted);
                painted.push_str(&shown);
                let _ = ResetColor.write_ansi(&mut painted);
                let _ = SetAttribute(Attribute::Reset).write_ansi(&mut painted);
            } else {
                painted.push_str(&shown);
            }
        }
        painted
    }
}

impl Ink {
    fn begin(self, out: &mut String) {
        let _ = match self {
            Self::Plain => Ok(()),
            Self::Dim => SetAttribute(Attribute::Dim).write_ansi(out),
            Self::Bold => SetAttribute(Attribute::Bold).write_ansi(out),
            Self::Green => SetForegroundColor(Color::Green).write_ansi(out),
            Self::Yellow => SetForegroundColor(Color::Yellow).write_ansi(out),
            Self::Magenta => SetForegroundColor(Color::Magenta).write_ansi(out),
            Self::Red => SetForegroundColor(Color::Red).write_ansi(out),
            Self::Cyan => SetForegroundColor(Color::Cyan).write_ansi(out),
        };
    }
}

/// A bar of eighths: blank for nothing, at least the lowest for something.
pub(crate) fn bar(value: u64, full: u64) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if value == 0 {
        return ' ';
    }
    let eighth = value.min(full).saturating_mul(8).div_ceil(full.max(1)).saturating_sub(1);
    BARS.get(usize::try_from(eighth).unwrap_or(7)).copied().unwrap_or('█')
}
