use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::data::Clusterdata;
use super::real::{Programs, Stolon, StolonOptions};
use super::{Pace, ProxyInfo, active, proxy};
use crate::Error;
use crate::consul::{Agent, Kind};
use crate::postgres::APP_DATABASE;

fn info(uid: &str, info_uid: &str, generation: u64) -> ProxyInfo {
    let timeout = Duration::from_secs(3);
    let (uid, info_uid) = (uid.to_owned(), info_uid.to_owned());
    ProxyInfo { uid, info_uid, generation, timeout, session: None }
}

fn data() -> Clusterdata {
    let nodes: [SocketAddr; 2] =
        ["127.0.0.2:5432".parse().unwrap(), "127.0.0.3:5432".parse().unwrap()];
    Clusterdata::new(&nodes, Pace::default())
}

#[test]
fn an_election_goes_as_the_captures_show() {
    let mut data = data();
    let before = data.clone().into_value();
    let first = data.announced().unwrap();
    data.cycle(&[info("aa", "1", 0)]);
    assert_eq!(data.generation(), 11, "one more proxy");
    data.elect(1);
    let elected = data.clone().into_value();
    let second = elected["cluster"]["status"]["master"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(data.announced(), None);
    assert_eq!(data.generation(), 12);
    assert!(elected["proxy"]["spec"].get("masterDbUid").is_none());
    assert_eq!(elected["proxy"]["spec"]["enabledProxies"][0], "aa");
    let db = &elected["dbs"][&second];
    assert_eq!(db["spec"]["role"], "master");
    assert!(db["spec"].get("followConfig").is_none());
    assert_eq!(db["generation"], 3);
    assert_eq!(db["status"]["currentGeneration"], 2);
    let db = &elected["dbs"][&first];
    assert_eq!(db["spec"]["role"], "master", "the old one keeps its role");
    assert!(db["status"].get("healthy").is_none());
    assert!(before["dbs"][&first]["status"].get("healthy").is_some());
    data.cycle(&[info("aa", "1", 11)]);
    assert_eq!(data.announced(), None, "one proxy is not ready");
    data.cycle(&[info("aa", "2", 12), info("bb", "1", 12)]);
    assert_eq!((data.announced(), data.generation()), (Some(second), 13));
    data.resync();
    let resynced = data.into_value();
    assert!(resynced["dbs"].get(&first).is_none());
    assert_eq!(resynced["dbs"].as_object().unwrap().len(), 2);
}

#[test]
fn without_proxies_the_generation_grows_at_every_cycle() {
    let mut data = data();
    data.cycle(&[]);
    data.cycle(&[]);
    assert_eq!(data.generation(), 12);
    data.cycle(&[info("aa", "1", 0)]);
    data.cycle(&[info("aa", "1", 0)]);
    assert_eq!(data.generation(), 13);
    data.elect(1);
    data.cycle(&[]);
    assert!(data.announced().is_some(), "nobody to wait for");
}

#[test]
fn a_silent_proxy_counts_until_twice_its_timeout() {
    let mut seen = BTreeMap::new();
    let start = Instant::now();
    let mut at = |seconds, info_uid| {
        let proxies = vec![info("aa", info_uid, 1)];
        active(&mut seen, proxies, start + Duration::from_secs(seconds)).len()
    };
    assert_eq!([at(0, "1"), at(6, "1"), at(7, "1")], [1, 1, 0]);
    assert_eq!([at(8, "2"), at(14, "2"), at(15, "2")], [1, 1, 0]);
}

#[test]
fn a_proxy_is_read_in_stolons_spelling() {
    let text =
        br#"{"infoUID":"8d9451c0","UID":"bc1677a1","Generation":33,"ProxyTimeout":15000000000}"#;
    let read = proxy(text, None).unwrap();
    assert_eq!((read.uid.as_str(), read.generation), ("bc1677a1", 33));
    assert_eq!(read.timeout, Duration::from_secs(15));
    assert!(proxy(br#"{"infoUID":"1","uid":"2","generation":3}"#, None).is_err());
}

#[test]
fn the_real_programs_make_a_cluster_and_change_its_leader() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let test = async {
        Programs::find()?;
        let agent = Agent::start(Kind::Forgetful).await?;
        let mut stolon = Stolon::start(agent.api(), "real", StolonOptions::default()).await?;
        assert_eq!(stolon.announced().await?, Some(0));
        assert!(stolon.proxies().await?.is_empty());
        let asked = Instant::now();
        stolon.fail_keeper(0).await?;
        while stolon.announced().await? != Some(1) {
            assert!(asked.elapsed() < Duration::from_mins(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stolon.until_whole(2).await?;
        stolon.kill(0);
        let asked = "SELECT pg_is_in_recovery()";
        assert_eq!(stolon.sql(1, APP_DATABASE, asked).await?, ["f"]);
        stolon.start_keeper(0)?;
        stolon.until_whole(2).await
    };
    match runtime.block_on(test) {
        Err(Error::Skip(why)) => println!("skipped: {why}"),
        ended => ended.unwrap(),
    }
}
