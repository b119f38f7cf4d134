//! Processes that never outlive their owner.
//!
//! A [`Process`] ends with all its descendants when it is dropped. For the case that nothing can be
//! dropped any more, because the program itself was killed or ended by a signal, a *reaper*
//! stands by: a small shell process that knows the ids of all that was started and holds the read
//! end of a pipe; when the pipe closes, however that came, it ends them and removes the directory
//! of the run. Network namespaces and mounted directories are left to it in the same way.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::{Error, Result, during};

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// Reads `+PID` and `-PID` lines; at the end of its input ends what is left, deletes the network
/// namespaces of `@NAME` lines, unmounts the directories of `^PATH` lines and removes `$1`.
const REAPER: &str = r#"
trap '' HUP INT TERM QUIT
cd /
pids= names= mounts=
while read -r line; do
  pid=${line#?}
  case $line in
    +*) pids="$pids $pid" ;;
    @*) names="$names $pid" ;;
    ^*) mounts="$mounts $pid" ;;
    -*) left=
        for one in $pids; do [ "$one" = "$pid" ] || left="$left $one"; done
        pids=$left ;;
  esac
done
if [ -n "$pids" ]; then
  kill -CONT $pids; kill -QUIT $pids; sleep 1; kill -KILL $pids
fi 2>/dev/null
for name in $names; do ip netns delete "$name"; done 2>/dev/null
for left in "$1"/*/data/postmaster.pid; do
  [ -f "$left" ] && ipcrm -m "$(sed -n '7s/.* //p' "$left")"
done 2>/dev/null
for mount in $mounts; do umount -l "$mount"; done 2>/dev/null
[ -n "$EVERLINE_LAB_KEEP" ] || rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"#;

struct Run {
    directory: PathBuf,
    reaper: Mutex<ChildStdin>,
}

static RUN: OnceLock<Run> = OnceLock::new();

/// The directory of this run of the program, in the system's place for temporary files. It goes
/// when the program ends, unless `EVERLINE_LAB_KEEP` is set in the environment.
///
/// # Errors
/// [`Error::Io`] when it cannot be made or the reaper cannot be started.
pub fn run_directory() -> Result<&'static Path> {
    Ok(&run()?.directory)
}

/// Removes the directory of this run: the last thing a program does, lest somebody look at once
/// and find it. The reaper would do it too.
pub fn clean_up() {
    if let Some(run) = RUN.get()
        && std::env::var_os("EVERLINE_LAB_KEEP").is_none()
    {
        let _ = fs::remove_dir_all(&run.directory);
    }
}

fn run() -> Result<&'static Run> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(run) = RUN.get() {
        return Ok(run);
    }
    let directory = during(
        || "a directory for this run".to_owned(),
        tempfile::Builder::new().prefix("everline-lab-").tempdir(),
    )?
    .keep();
    let mut child = during(
        || "starting /bin/sh".to_owned(),
        Command::new("/bin/sh")
            .args(["-c", REAPER, "everline-reaper"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn(),
    )?;
    let stdin = child.stdin.take().ok_or_else(|| Error::Failed {
        what: "starting /bin/sh".to_owned(),
        detail: "no standard input".to_owned(),
    })?;
    Ok(RUN.get_or_init(|| Run { directory, reaper: Mutex::new(stdin) }))
}

/// Has the reaper undo one thing in the end: `@NAME` or `^PATH`. What is gone by then is no loss.
pub(crate) fn leave_to_reaper(line: &str) -> Result<()> {
    let mut pipe = run()?.reaper.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(pipe, "{line}");
    Ok(())
}

fn tell_reaper(mark: char, pids: &[Pid]) {
    let Some(run) = RUN.get() else { return };
    let lines: Vec<String> =
        pids.iter().map(|pid| format!("{mark}{}\n", pid.as_raw_nonzero())).collect();
    let mut pipe = run.reaper.lock().unwrap_or_else(PoisonError::into_inner);
    // A reaper that somebody killed is no reason to fail: dropping still ends everything.
    let _ = pipe.write_all(lines.concat().as_bytes());
}

/// A running program, ended with all its descendants when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    frozen: Vec<Pid>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in a process group of its own, so that a Ctrl-C at the terminal reaches
    /// the owner alone.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        run()?;
        let spawned = command.process_group(0).spawn();
        let child =
            during(|| format!("starting {}", command.get_program().to_string_lossy()), spawned)?;
        let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = raw.ok_or_else(|| Error::Failed {
            what: "starting a process".to_owned(),
            detail: format!("its id is {}", child.id()),
        })?;
        tell_reaper('+', &[pid]);
        Ok(Self { child, pid, frozen: Vec::new(), status: None })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input and output, once, where its command said that they are piped.
    pub fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>) {
        (self.child.stdin.take(), self.child.stdout.take())
    }

    /// How it ended, or `None` while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
            if self.status.is_some() {
                tell_reaper('-', &[self.pid]);
            }
        }
        self.status
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Late`] when it still runs after `within`.
    ///
    /// # Cancel safety
    /// Safe: it can be asked again.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.status() {
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(Error::Late {
                    what: format!("the end of process {}", self.id()),
                    within,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal to it alone. Nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.status().is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Kills it and all its descendants at one stroke, as if the machine had gone: none of them
    /// gets to run in between.
    pub fn kill_all(&mut self) {
        if self.status().is_some() {
            return;
        }
        let tree = stop_tree(self.pid);
        for pid in tree.iter().rev() {
            let _ = kill_process(*pid, Signal::KILL);
        }
        self.status = self.child.wait().ok();
        tell_reaper('-', &[self.pid]);
        tell_reaper('-', &std::mem::take(&mut self.frozen));
    }

    /// Stops it and all its descendants where they stand (SIGSTOP).
    pub fn freeze(&mut self) {
        if self.status().is_none() {
            self.frozen = stop_tree(self.pid);
            tell_reaper('+', &self.frozen);
        }
    }

    /// Lets all that was frozen go on.
    pub fn thaw(&mut self) {
        tell_reaper('-', &self.frozen);
        if !self.frozen.is_empty() {
            tell_reaper('+', &[self.pid]);
        }
        for pid in std::mem::take(&mut self.frozen).iter().rev() {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }

    /// Whether it is frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        !self.frozen.is_empty()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Stops `root` first and then what it had started, so that no member can start another unseen.
/// The ids stay theirs while the parent, stopped, cannot reap them.
fn stop_tree(root: Pid) -> Vec<Pid> {
    let mut tree = vec![root];
    let _ = kill_process(root, Signal::STOP);
    let mut at = 0;
    while let Some(parent) = tree.get(at).copied() {
        at += 1;
        for child in children(parent) {
            let _ = kill_process(child, Signal::STOP);
            tree.push(child);
        }
    }
    tree
}

/// The processes whose parent is `parent`, from /proc, or from `ps` where there is none.
fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().get();
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir("/proc") {
        for entry in entries.flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let id = stat.split(' ').next().and_then(|word| word.parse().ok());
            // The name, second and in parentheses, may hold spaces and parentheses itself.
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let its_parent: Option<i32> =
                rest.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
            if its_parent == Some(parent) {
                found.extend(id.and_then(Pid::from_raw));
            }
        }
        return found;
    }
    let Ok(listed) = Command::new("ps").args(["-axo", "pid=,ppid="]).output() else { return found };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let mut words = line.split_ascii_whitespace().map(str::parse::<i32>);
        if let (Some(Ok(id)), Some(Ok(its_parent))) = (words.next(), words.next())
            && its_parent == parent
        {
            found.extend(Pid::from_raw(id));
        }
    }
    found
}
