//! What the operating system says of this process.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;

/// CPU, memory, files and tasks; nothing where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub cpu_s: Option<f64>,
    pub resident_bytes: Option<f64>,
    pub open_fds: Option<f64>,
    pub max_fds: Option<f64>,
    /// Unix time.
    pub start_s: Option<f64>,
    /// Tasks of the runtime that this is asked in.
    pub tasks: Option<f64>,
}

impl Process {
    /// Asks the system.
    pub(super) fn look() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name, which may hold anything, ends with the last bracket; the state is field 3.
        let fields: Vec<f64> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').map(|f| f.trim().parse().unwrap_or(0.0)).collect())
            .unwrap_or_default();
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
        let ticks = number(clock_ticks_per_second());
        let cpu_s = field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks);
        let started = field(22).map(|at| at / ticks);
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime = uptime.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|now| now.as_secs_f64());
        Self {
            cpu_s,
            resident_bytes: field(24).map(|pages| pages * number(page_size())),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|all| number(all.count())),
            max_fds: getrlimit(Resource::Nofile).current.map(number),
            start_s: match (now, uptime, started) {
                (Ok(now), Some(uptime), Some(started)) => Some(now - uptime + started),
                (Ok(_) | Err(_), Some(_) | None, Some(_) | None) => None,
            },
            tasks: Handle::try_current().ok().map(|here| number(here.metrics().num_alive_tasks())),
        }
    }
}

/// As a number that metrics can say.
pub(super) fn number(value: impl TryInto<u64>) -> f64 {
    let value: u64 = value.try_into().unwrap_or(u64::MAX);
    let (high, low) = (value >> 32, value & 0xffff_ffff);
    let part = |bits: u64| u32::try_from(bits).map_or(f64::MAX, f64::from);
    part(high) * 4_294_967_296.0 + part(low)
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
