//! Peers that Debian has.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::peers::on_path;

/// Longest time for one call of apt-get.
const APT_MAX: Duration = Duration::from_mins(5);

/// Installs PgBouncer and HAProxy where they are missing, this is root, and there is an apt-get.
/// What cannot be installed stays out of the comparison.
pub(crate) async fn peers(say: &impl Fn(&str)) {
    let packages = ["pgbouncer", "haproxy"];
    let missing: Vec<_> = packages.into_iter().filter(|name| on_path(name).is_none()).collect();
    let is_root = rustix::process::geteuid().is_root();
    if missing.is_empty() || !is_root || on_path("apt-get").is_none() {
        return;
    }
    say(&format!("installing {}", missing.join(" and ")));
    apt(&["update", "-qq"]).await; // where it fails, the lists that are there may do
    for package in missing {
        apt(&["install", "-y", "-qq", "--no-install-recommends", package]).await;
    }
}

async fn apt(arguments: &[&str]) {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").kill_on_drop(true);
    // Debian starts a server that it has installed; this machine has not asked for one.
    command.env("RUNLEVEL", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = timeout(APT_MAX, command.status()).await;
}
