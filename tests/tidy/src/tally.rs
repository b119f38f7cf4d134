//! Counting what the test runner says, line by line.

use std::fmt;

/// How many checks passed, failed and were skipped.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Checks that held.
    pub passed: usize,
    /// The names of those that did not.
    pub failed: Vec<String>,
    /// Those that could not run, and why.
    pub skipped: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {} failed, {} skipped", failed.len(), skipped.len())
    }
}

impl Tally {
    /// Whether something was checked and nothing failed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.passed > 0 && self.failed.is_empty()
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }
}

/// Reads what `cargo test -- --show-output` prints.
///
/// A test that cannot run on this machine prints a line that begins with `skipped: ` and returns:
/// the runner takes it for passed, and it is counted as skipped here.
#[derive(Debug, Default)]
pub struct Reader {
    tally: Tally,
    place: Place,
    /// A binary has begun and not yet said how it ended.
    running: bool,
    /// The output that is being shown is that of this test.
    shown: Option<String>,
    /// Tests of the present binary that say that they were skipped.
    skipped: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    /// Between the runner's own lines.
    #[default]
    Lines,
    /// In the outputs, or the list, of the tests that passed.
    Successes,
}

/// Whether a line is worth a reader's time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Show {
    /// It is.
    Yes,
    /// What a test that passed has printed.
    No,
}

impl Reader {
    /// Takes one line, without its end.
    pub fn line(&mut self, line: &str) -> Show {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.place = Place::Lines;
            self.running = false;
            let skipped = std::mem::take(&mut self.skipped);
            self.tally.passed += count(counts, " passed").saturating_sub(skipped);
            let ignored = count(counts, " ignored");
            self.tally.skipped.extend((0..ignored).map(|_| "a test marked #[ignore]".to_owned()));
            return Show::Yes;
        }
        if line == "successes:" {
            self.place = Place::Successes;
            return Show::No;
        }
        if line == "failures:" {
            self.place = Place::Lines;
            return Show::Yes;
        }
        match self.place {
            Place::Lines => {
                self.own_line(line);
                Show::Yes
            }
            Place::Successes => self.shown_line(line),
        }
    }

    fn own_line(&mut self, line: &str) {
        let begins = line.strip_prefix("running ");
        if begins.is_some_and(|rest| rest.ends_with(" tests") || rest.ends_with(" test")) {
            self.died();
            self.running = true;
        } else if let Some(test) = line.strip_prefix("test ")
            && let Some(name) = test.strip_suffix(" ... FAILED")
        {
            self.tally.failed.push(name.to_owned());
        }
    }

    fn shown_line(&mut self, line: &str) -> Show {
        let heading = line.strip_prefix("---- ");
        if let Some(name) = heading.and_then(|heading| heading.strip_suffix(" stdout ----")) {
            self.shown = Some(name.to_owned());
            return Show::No;
        }
        let Some(why) = line.strip_prefix("skipped: ") else { return Show::No };
        if let Some(name) = self.shown.take() {
            let named = why.starts_with(&format!("{name}: "));
            self.tally.skipped.push(if named { why.to_owned() } else { format!("{name}: {why}") });
            self.skipped += 1;
        }
        Show::Yes
    }

    fn died(&mut self) {
        if self.running {
            self.tally.failed.push("a test binary that ended in the middle".to_owned());
            self.running = false;
            self.skipped = 0;
        }
    }

    /// The counts, when the runner has ended; `success` is its exit code's word.
    #[must_use]
    pub fn end(mut self, success: bool) -> Tally {
        self.died();
        if !success && self.tally.failed.is_empty() {
            self.tally.failed.push("the test runner itself; see above".to_owned());
        }
        self.tally
    }
}

/// The number before `what`: `ok. 3 passed; 0 failed; …`.
fn count(text: &str, what: &str) -> usize {
    let before = text.split(what).next().filter(|before| before.len() < text.len());
    let number = before.and_then(|before| before.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
