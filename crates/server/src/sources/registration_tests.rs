use std::sync::Arc;

use everline_lab::fake_consul::{FakeConsul, Manner};
use serde_json::Value;

use super::*;
use crate::backend::resolve::Resolver;
use crate::config::dsn::stolon::Stolon;
use crate::config::dsn::{Host, HostPort};

const KEY: &str = "stolon/cluster/main/proxies/info/0a0b0c0d";

async fn scene() -> (FakeConsul, Registrar) {
    let consul = FakeConsul::start().await.unwrap();
    let stolon = Stolon {
        agents: vec![HostPort::new(
            Host::Ip("127.0.0.1".parse().unwrap()),
            consul.address().port(),
        )],
        tls: None,
        prefix: "stolon/cluster".to_owned(),
        cluster: "main".to_owned(),
        token: None,
    };
    let client = Consul::new(Arc::new(stolon), Resolver::system()).unwrap();
    (consul, Registrar::new(client, KEY.to_owned(), "0a0b0c0d".to_owned()))
}

fn publish(generation: u64) -> Publish {
    Publish { generation, timeout: Duration::from_secs(15) }
}

fn info(consul: &FakeConsul) -> Value {
    serde_json::from_slice(&consul.get(KEY).expect("a registration")).unwrap()
}

#[tokio::test]
async fn the_registration_is_what_a_sentinel_reads() {
    let (consul, mut registrar) = scene().await;
    let Outcome::Written(first) = registrar.write(publish(33)).await else { panic!("not written") };
    assert_eq!((first.generation, first.timeout, first.first), (33, publish(33).timeout, true));
    let one = info(&consul);
    assert_eq!(one["UID"], "0a0b0c0d");
    assert_eq!(one["Generation"], 33);
    assert_eq!(one["ProxyTimeout"], 15_000_000_000_u64);
    assert_eq!(one["infoUID"].as_str().unwrap().len(), 8);
    let session: Value = serde_json::from_str(&consul.sessions()[0]).unwrap();
    assert_eq!(session["TTL"], "30s");
    assert_eq!(session["Behavior"], "delete");
    assert_eq!(session["LockDelay"], "1ms");
    assert_eq!(session["NodeChecks"], Value::Array(Vec::new()), "a flap of the agent is nothing");
    let Outcome::Written(second) = registrar.write(publish(34)).await else {
        panic!("not written")
    };
    assert!(!second.first);
    assert_ne!(info(&consul)["infoUID"], one["infoUID"], "new at every write");
    assert_eq!(consul.sessions().len(), 1);
    registrar.withdraw().await;
    assert_eq!((consul.keys("stolon/"), consul.sessions()), (vec![], vec![]), "no ghost is left");
}

#[tokio::test]
async fn a_lost_session_is_said_and_made_anew() {
    let (consul, mut registrar) = scene().await;
    registrar.write(publish(1)).await;
    consul.end_sessions();
    let lost = registrar.write(publish(1)).await;
    assert!(
        matches!(&lost, Outcome::SessionLost(why) if why.contains("invalid session")),
        "{lost:?}"
    );
    assert!(consul.get(KEY).is_none());
    let anew = registrar.write(publish(2)).await;
    assert!(
        matches!(anew, Outcome::Written(Written { first: true, generation: 2, .. })),
        "{anew:?}"
    );
}

#[tokio::test]
async fn a_timeout_that_outlives_the_session_is_not_promised() {
    let (_consul, mut registrar) = scene().await;
    registrar.write(publish(1)).await; // a session of 30 s, renewed after a quarter of it
    let longer = Publish { generation: 2, timeout: Duration::from_mins(1) };
    let Outcome::Written(written) = registrar.write(longer).await else { panic!("not written") };
    assert_eq!(written.timeout, Duration::from_millis(22_500));
}

#[tokio::test]
async fn refusals_are_told_from_failures() {
    for (manner, denied) in [
        (Manner::RefuseWrites(403, "Permission denied"), true),
        (Manner::RefuseWrites(401, ""), true),
        (Manner::RefuseWrites(429, "retry elsewhere"), false),
        (Manner::RefuseWrites(500, "No cluster leader"), false),
        (Manner::RefuseWrites(404, ""), false),
        (Manner::RefuseWrites(200, "false"), false),
        (Manner::RefuseWrites(200, "{\"ID\":\"../x\"}"), false),
        (Manner::Babble("<html>"), false),
        (Manner::Silent, false),
    ] {
        for before in [false, true] {
            let (consul, mut registrar) = scene().await;
            if before {
                registrar.write(publish(1)).await;
            }
            consul.behave(manner.clone());
            let outcome = registrar.write(publish(2)).await;
            let right = match &outcome {
                Outcome::Denied(_) => denied,
                Outcome::Failed(_) => !denied,
                Outcome::Written(_) | Outcome::SessionLost(_) => false,
            };
            assert!(right, "{manner:?}: {outcome:?}");
            consul.behave(Manner::Well);
            let after = registrar.write(publish(3)).await;
            assert!(matches!(after, Outcome::Written(_)), "{manner:?}: {after:?}");
        }
    }
}

#[tokio::test]
async fn a_silent_connection_costs_a_quarter_of_a_short_timeout() {
    let (consul, mut registrar) = scene().await;
    let publish = Publish { generation: 1, timeout: Duration::from_secs(3) };
    registrar.write(publish).await;
    consul.behave(Manner::Silent);
    let began = Instant::now();
    let outcome = registrar.write(publish).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    let took = began.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_millis(1500)).contains(&took), "{took:?}");
    consul.behave(Manner::Well); // the connection that was asked stays silent
    let outcome = registrar.write(publish).await;
    assert!(matches!(outcome, Outcome::Written(_)), "{outcome:?}");
}
