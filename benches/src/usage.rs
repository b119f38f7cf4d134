//! What a process and its descendants have used, from Linux's /proc.

use std::fs;
use std::time::Duration;

/// One line of `/proc/PID/stat`, as far as it is needed (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    /// Ticks in user and in system mode, of all its threads, ended ones included.
    pub(crate) ticks: u64,
}

/// Reads a line of `/proc/PID/stat`. The name, second and in parentheses, may hold spaces and
/// parentheses itself.
pub(crate) fn stat(line: &str) -> Option<Stat> {
    let (id, _) = line.split_once(" (")?;
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?; // field 4
    let user: u64 = fields.nth(9)?.parse().ok()?; // field 14
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat { id: id.parse().ok()?, parent, ticks: user.checked_add(system)? })
}

/// Resident memory in KiB, from `/proc/PID/status`.
pub(crate) fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// `root` and all its descendants among these.
pub(crate) fn tree(all: &[Stat], root: u32) -> Vec<Stat> {
    let mut found: Vec<Stat> = all.iter().filter(|one| one.id == root).copied().collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).map(|one| one.id) {
        at += 1;
        found.extend(all.iter().filter(|one| one.parent == parent && one.id != root));
    }
    found
}

/// CPU time that a process and its descendants have used so far.
pub(crate) fn cpu(root: u32) -> Duration {
    let ticks: u64 = running(root).iter().map(|one| one.ticks).sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second))
}

/// Resident memory of a process and its descendants, in bytes.
pub(crate) fn resident_bytes(root: u32) -> u64 {
    let of = |one: &Stat| {
        let status = fs::read_to_string(format!("/proc/{}/status", one.id)).ok()?;
        resident_kib(&status)
    };
    running(root).iter().filter_map(of).sum::<u64>().saturating_mul(1024)
}

fn running(root: u32) -> Vec<Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<Stat> = entries
        .filter_map(|entry| stat(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect();
    tree(&all, root)
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;
