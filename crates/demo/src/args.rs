//! What `cargo demo` can be asked for.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Shows a failover: a cluster, a workload, a fault, and a verdict that was checked.
///
/// Everything runs on loopback, as this user (PostgreSQL as an unprivileged one when this is root),
/// and is gone afterwards. PostgreSQL is taken from this machine, or else fetched.
///
/// Without --fault, every fault is shown once, one after the other, each on a new cluster.
/// The exit code is 0 only if no frontend connection was closed, no acknowledged row lost and no
/// row applied twice, in any of them.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", version)]
pub(crate) struct Args {
    /// How Everline finds the leader. `stolon` needs Consul: found on PATH, or built with Go, once;
    /// Stolon's own programs are used where PATH or `EVERLINE_TEST_STOLON_BIN` leads to them, else
    /// the demo plays their part.
    #[arg(long, value_enum, default_value_t = Ha::Adaptive)]
    pub(crate) ha: Ha,

    /// What happens to the leader; may be repeated. `all` is the default.
    #[arg(long = "fault", value_enum, value_name = "FAULT")]
    pub(crate) faults: Vec<FaultChoice>,

    /// How long Everline holds a statement that it cannot dispatch; `0s`: it is refused at once.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) hold: Duration,

    /// Prints the verdict as one JSON object per fault on standard output, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,

    /// Shows one fault only: the first one named, or a kill.
    #[arg(long)]
    pub(crate) once: bool,

    /// How many clients write.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) clients: u16,

    /// How long the HA manager, played by the demo, takes from the fault to the promotion. A
    /// switchover does not wait, and Stolon's own programs take the time that they take.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) promote_after: Duration,

    /// For comparison: the same without Everline. Clients resolve the name and connect themselves.
    #[arg(long)]
    pub(crate) without: bool,
}

impl Args {
    /// The faults to show, in order.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> =
            self.faults.iter().flat_map(|choice| choice.faults()).copied().collect();
        if faults.is_empty() {
            faults = FaultChoice::All.faults().to_vec();
        }
        if self.once {
            faults.truncate(1);
        }
        faults
    }
}

/// How Everline finds the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ha {
    /// A DNS name and nothing else
    Adaptive,
    /// Stolon's data in Consul
    Stolon,
}

impl Display for Ha {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Adaptive => "adaptive",
            Self::Stolon => "stolon",
        })
    }
}

/// A value of `--fault`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultChoice {
    /// kill -9 of the leader and all its processes
    Kill,
    /// SIGSTOP: the leader keeps its connections and answers nothing
    Freeze,
    /// The network to the leader swallows everything
    Blackhole,
    /// Planned: the leader is shut down, its standby promoted
    Switchover,
    /// Each of them
    All,
}

impl FaultChoice {
    fn faults(self) -> &'static [Fault] {
        match self {
            Self::Kill => &[Fault::Kill],
            Self::Freeze => &[Fault::Freeze],
            Self::Blackhole => &[Fault::Blackhole],
            Self::Switchover => &[Fault::Switchover],
            Self::All => &[Fault::Kill, Fault::Freeze, Fault::Blackhole, Fault::Switchover],
        }
    }
}

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    Freeze,
    Blackhole,
    Switchover,
}

impl Display for Fault {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Blackhole => "blackhole",
            Self::Switchover => "switchover",
        })
    }
}
