use std::collections::BTreeMap;
use std::path::PathBuf;

use everline_lab::Error;
use everline_lab::postgres::{Cluster, ClusterOptions};

use super::*;
use crate::config::dsn::Surroundings;
use crate::config::settings::find;
use crate::config::{Config, Given};

fn config(dsn: &str) -> BackendConfig {
    let nothing: BTreeMap<String, String> = BTreeMap::new();
    let surroundings = Surroundings {
        variable: &|name| nothing.get(name).cloned(),
        home: None,
        user: None,
        socket_directory: PathBuf::from("/tmp"),
    };
    let mut given = Given::default();
    given.add_flag(find("backend_dsn").unwrap(), vec![dsn.to_owned()]);
    Config::load(given, None, &surroundings).unwrap().backend
}

#[tokio::test]
async fn a_cluster_has_one_leader_and_a_standby() {
    let mut cluster = match Cluster::start(ClusterOptions::default()).await {
        Ok(cluster) => cluster,
        Err(Error::Skip(reason)) => return println!("skipped: {reason}"),
        Err(error) => panic!("{error}"),
    };
    let addresses: Vec<String> = cluster.nodes().iter().map(|n| n.address().to_string()).collect();
    let config = config(&format!("postgres://app:app-secret@{}/app", addresses.join(",")));
    let report = check(&config).await.unwrap();
    assert!(report.is_good(), "{report}");
    let text = report.to_string();
    assert!(text.contains(&format!("{}: primary, PostgreSQL ", addresses[0])), "{text}");
    assert!(text.contains("standby, PostgreSQL ") && text.contains(", timeline 1, "), "{text}");
    assert!(text.ends_with("the configuration is good"), "{text}");

    cluster.primary_mut().kill9();
    let report = check(&config).await.unwrap();
    assert_eq!(report.exit_code(), 1);
    assert!(report.to_string().ends_with("no leader was found"), "{report}");
    assert!(report.to_string().contains("Connection refused"), "{report}");

    cluster.promote(1).await.unwrap();
    let text = check(&config).await.unwrap().to_string();
    assert!(text.contains("primary, ") && text.contains(", timeline 2, "), "{text}");
}
