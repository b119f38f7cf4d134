//! Under a service manager: what it is told, and what the unit allows.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use everline_lab::postgres::{Cluster, ClusterOptions};
use everline_lab::process::run_directory;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::Instant;

use crate::scene::{dsn, is_available, launch, run, until};
use crate::tools::{said, tool};

/// Hears messages until one is as wished; returns all of them.
async fn until_told(manager: &tokio::net::UnixDatagram, wish: &str) -> Vec<String> {
    let (mut heard, mut message) = (Vec::new(), [0; 4096]);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let received = tokio::time::timeout_at(deadline, manager.recv(&mut message)).await;
        let length = received.unwrap_or_else(|_| panic!("no {wish} in {heard:?}")).expect("words");
        let words = String::from_utf8_lossy(&message[..length]).into_owned();
        heard.push(words.clone());
        if words.lines().any(|line| line == wish) {
            return heard;
        }
    }
}

#[test]
fn the_service_manager_is_told_of_every_step() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let path = run_directory()?.join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let manager = tokio::net::UnixDatagram::from_std(socket).expect("a socket");
        let address = cluster.primary().address();
        let mut everline = launch(&dsn(&address.ip().to_string(), address.port()))
            .variable("NOTIFY_SOCKET", path.to_str().expect("a path"))
            .variable("WATCHDOG_USEC", "400000")
            .start()
            .await?;
        let heard = until_told(&manager, "READY=1").await;
        let own = format!("MAINPID={}", everline.id());
        assert!(heard.iter().any(|words| words.contains(&own)), "{heard:?}");
        for _ in 0..3 {
            until_told(&manager, "WATCHDOG=1").await;
        }
        until(&everline, "a leader", is_available).await;
        everline.signal(Signal::HUP);
        until_told(&manager, "RELOADING=1").await;
        until_told(&manager, "READY=1").await;
        everline.signal(Signal::TERM);
        until_told(&manager, "STOPPING=1").await;
        Ok(())
    });
}

#[test]
fn the_units_are_as_systemd_reads_them_and_allow_little() {
    run(async {
        let analyze = tool("systemd-analyze").await?;
        let directory = run_directory()?.join("units");
        std::fs::create_dir_all(&directory).expect("a directory");
        let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib/systemd");
        let program = env!("CARGO_BIN_EXE_everline");
        let verify = |name: &str, from: &str, to: &str| {
            let unit = std::fs::read_to_string(contrib.join(name)).expect("a unit");
            let unit = unit.replace("/usr/bin/everline", program).replace(from, to);
            let path = directory.join(name);
            std::fs::write(&path, unit).expect("a unit");
            let mut command = Command::new(&analyze);
            command.args(["verify", "--man=no"]).arg(&path).kill_on_drop(true);
            async move { said(&mut command).await }
        };
        for name in ["everline.service", "everline.socket"] {
            assert_eq!(verify(name, "", "").await?, (true, String::new()), "{name}");
        }
        let (_, words) = verify("everline.service", "WatchdogSec", "WatchdogSecs").await?;
        assert!(words.contains("WatchdogSecs"), "a mistake is seen: {words}");
        verify("everline.service", "", "").await?;
        // Of 100: what a unit without any of it has is above 90.
        let mut security = Command::new(&analyze);
        security.args(["security", "--offline=true", "--threshold=20", "--no-pager"]);
        security.arg(directory.join("everline.service"));
        let (little, words) = said(&mut security).await?;
        assert!(little, "{words}");
        Ok(())
    });
}
