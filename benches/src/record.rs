//! Where samples are kept, and what is made of them.

use std::fs;
use std::path::{Path, PathBuf};

use everline_lab::Result;

use crate::args::Part;
use crate::pgbench::Measured;
use crate::sample::{Sample, from_csv, merge, to_csv};
use crate::{failed, io, plot, print, report, tell};

/// Name of the file of samples in the output directory.
const SAMPLES: &str = "samples.csv";
/// Where the manual's page and plot are, from the repository's root.
const PAGE: &str = "docs/manual/speed.md";
const PLOT: &str = "docs/manual/speed.svg";

/// Figures, as they stand in samples and tables.
pub(crate) const PER_SECOND: &str = "per second";
pub(crate) const P50: &str = "p50 ms";
pub(crate) const P99: &str = "p99 ms";
pub(crate) const CPU: &str = "CPU s/100k";
pub(crate) const RESIDENT: &str = "RSS MiB";

/// What is known, from this run and from those before.
#[derive(Debug)]
pub(crate) struct Record {
    directory: PathBuf,
    old: Vec<Sample>,
    new: Vec<Sample>,
}

impl Record {
    /// Reads what the output directory has.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let what = format!("making {}", directory.display());
        fs::create_dir_all(directory).map_err(|source| io(&what, source))?;
        let text = fs::read_to_string(directory.join(SAMPLES)).unwrap_or_default();
        Ok(Self { directory: directory.to_owned(), old: from_csv(&text), new: Vec::new() })
    }

    /// Notes one figure.
    pub(crate) fn add(
        &mut self,
        part: Part,
        (case, peer, round): (&str, &str, u16),
        figure: &str,
        value: f64,
    ) {
        let (case, peer, figure) = (case.to_owned(), peer.to_owned(), figure.to_owned());
        let part = part.name().to_owned();
        self.new.push(Sample { part, case, peer, round, figure, value });
    }

    /// Notes what a load by pgbench has shown.
    pub(crate) fn add_measured(
        &mut self,
        part: Part,
        place: (&str, &str, u16),
        measured: &Measured,
    ) {
        self.add(part, place, PER_SECOND, measured.per_second);
        // One thread of pgbench connects one client at a time, and counts into one's time what
        // another's connection took, or nothing: of logins it knows no times.
        if part != Part::Connect {
            self.add(part, place, P50, measured.p50_ms);
            self.add(part, place, P99, measured.p99_ms);
        }
        self.add(part, place, CPU, measured.cpu_per_100k);
        self.add(part, place, RESIDENT, mebibytes(measured.resident));
    }

    /// Writes everything down.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        self.write(SAMPLES, &to_csv(&self.all()))
    }

    /// Prints the tables, of this run's parts if it has measured any, and writes all with the plot.
    ///
    /// # Errors
    /// When a file cannot be written, or nothing was ever measured.
    pub(crate) fn show(&self, manual: bool) -> Result<()> {
        let all = self.all();
        if all.is_empty() {
            return Err(failed("the report", "nothing has been measured"));
        }
        self.save()?;
        let shown = if self.new.is_empty() { &all } else { &self.new };
        print(&report::text(shown));
        let svg = plot::svg(&all);
        self.write("speed.svg", &svg)?;
        self.write("speed.md", &report::text(&all))?;
        if manual {
            let page = fs::read_to_string(PAGE).map_err(|source| io(PAGE, source))?;
            let page = report::into_page(&page, &report::text(&all))
                .ok_or_else(|| failed(PAGE, "the marks of the figures are missing"))?;
            fs::write(PAGE, page).map_err(|source| io(PAGE, source))?;
            fs::write(PLOT, svg).map_err(|source| io(PLOT, source))?;
        }
        tell(&format!("written to {}", self.directory.display()));
        Ok(())
    }

    fn all(&self) -> Vec<Sample> {
        merge(self.old.clone(), &self.new)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, text).map_err(|source| io(&path.display().to_string(), source))
    }
}

/// Bytes in MiB.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}
