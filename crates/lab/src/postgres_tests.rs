use std::time::Duration;

use tokio::time::Instant;

use super::{Cluster, ClusterOptions, Stop};
use crate::Error;

async fn cluster(options: ClusterOptions) -> Option<Cluster> {
    match Cluster::start(options).await {
        Ok(cluster) => Some(cluster),
        Err(Error::Skip(reason)) => {
            println!("skipped: {reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_synchronous_row_survives_kill_9_and_promotion() {
    let Some(mut cluster) = cluster(ClusterOptions::default()).await else { return };
    cluster.primary().sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    cluster.primary_mut().kill9();
    assert!(!cluster.primary_mut().is_running());
    cluster.promote(1).await.unwrap();
    assert_eq!(cluster.primary().value("SELECT n FROM t").await.unwrap(), "1");
    cluster.primary().sql("INSERT INTO t VALUES (2)").await.unwrap();
    cluster.start_as_old_primary(0).await.unwrap();
    cluster.node(0).sql("INSERT INTO t VALUES (3)").await.unwrap();
    assert_eq!(cluster.node(0).value("SELECT sum(n) FROM t").await.unwrap(), "4");
    cluster.rejoin(0).await.unwrap();
    assert!(cluster.node(0).is_standby().await.unwrap());
    cluster.primary().sql("INSERT INTO t VALUES (4)").await.unwrap();
    cluster.primary_mut().stop(Stop::Fast).await.unwrap();
    cluster.promote(0).await.unwrap();
    assert_eq!(cluster.primary().value("SELECT sum(n) FROM t").await.unwrap(), "7");
}

#[tokio::test]
async fn a_frozen_node_answers_nothing_and_goes_on_when_thawed() {
    let Some(mut cluster) = cluster(ClusterOptions::single()).await else { return };
    cluster.primary_mut().freeze();
    let asked = tokio::time::timeout(Duration::from_millis(300), cluster.primary().sql("SELECT 1"));
    assert!(asked.await.is_err(), "it answered");
    cluster.primary_mut().thaw();
    assert_eq!(cluster.primary().value("SELECT 1").await.unwrap(), "1");
}

#[tokio::test]
async fn nothing_outlives_a_dropped_cluster() {
    let Some(mut cluster) = cluster(ClusterOptions::default()).await else { return };
    let pids: Vec<u32> = cluster.nodes().iter().filter_map(super::Node::postmaster).collect();
    let directory = cluster.node(0).data();
    cluster.primary_mut().freeze();
    let began = Instant::now();
    drop(cluster);
    println!("dropped in {:?}", began.elapsed());
    assert!(pids.iter().all(|pid| !exists(*pid)), "{pids:?}");
    assert!(!directory.exists());
}
