use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use super::{Host, Network, Way};
use crate::process::Process;
use crate::{Error, Result, tell_skipped};

/// Longest time until a connection is there, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing comes where nothing can.
const SILENCE: Duration = Duration::from_millis(500);

/// Whether a connection from `host` gets through.
async fn gets_through(host: &Host, listener: &TcpListener, within: Duration) -> bool {
    let there = listener.local_addr().expect("it is bound");
    let connect = "exec 3<>\"/dev/tcp/$1/$2\"; sleep 30";
    let mut bash = host.command("bash", None);
    bash.args(["-c", connect, "bash", &there.ip().to_string(), &there.port().to_string()]);
    bash.stderr(std::process::Stdio::null());
    let _connects = Process::spawn(&mut bash).expect("bash");
    timeout(within, listener.accept()).await.is_ok()
}

async fn packets_are_dropped_and_refused() -> Result<()> {
    let mut network = Network::start().await?;
    let (one, two) = (network.host("one").await?, network.host("two").await?);
    assert_ne!(one.address(), two.address());
    let lab = network.address();
    let listener = TcpListener::bind(SocketAddr::from((lab, 0))).await.expect("our address");
    assert!(gets_through(&one, &listener, PATIENCE).await);
    for way in [Way::In, Way::Out, Way::Both] {
        one.drop_packets(lab, way).await?;
        assert!(!gets_through(&one, &listener, SILENCE).await, "{way:?}");
        assert!(gets_through(&two, &listener, PATIENCE).await, "the other host is left alone");
        one.heal().await?;
        // What was under way may come once more.
        while timeout(SILENCE, listener.accept()).await.is_ok() {}
    }
    one.reset(lab, 100).await?;
    assert!(!gets_through(&one, &listener, SILENCE).await, "reset");
    one.heal().await?;
    assert!(gets_through(&one, &listener, PATIENCE).await);
    let names = network.namespaces.clone();
    drop(network);
    sleep(Duration::from_millis(10)).await;
    let there = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let there: Vec<String> =
        there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|name| there.contains(name)), "left behind: {there:?}");
    Ok(())
}

#[tokio::test]
async fn packets_are_dropped_and_refused_between_hosts() {
    match packets_are_dropped_and_refused().await {
        Ok(()) => {}
        Err(Error::Skip(why)) => {
            tell_skipped("network::packets_are_dropped_and_refused_between_hosts", &why);
        }
        Err(error) => panic!("{error}"),
    }
}
