use std::collections::BTreeSet;

use everline_lab::fake_consul::{FakeConsul, Manner, Seen};
use everline_wire::auth::secret::Secret;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::backend::resolve::Resolver;
use crate::config::dsn::stolon::Stolon;
use crate::config::dsn::{Host, HostPort};

const KEY: &str = "stolon/cluster/main/clusterdata";
const SHORT: Duration = Duration::from_millis(200);

fn stolon(agents: &[u16]) -> Stolon {
    let host = Host::Ip("127.0.0.1".parse().unwrap());
    Stolon {
        agents: agents.iter().map(|port| HostPort::new(host.clone(), *port)).collect(),
        tls: None,
        prefix: "stolon/cluster".to_owned(),
        cluster: "main".to_owned(),
        token: Some(Secret::plain("s3cret-token".to_owned())),
    }
}

struct Scene {
    consul: FakeConsul,
    watcher: Watcher,
    again: Arc<Notify>,
}

impl Scene {
    async fn new() -> Self {
        let consul = FakeConsul::start().await.unwrap();
        let port = consul.address().port();
        Self::with(consul, &[port])
    }

    fn with(consul: FakeConsul, agents: &[u16]) -> Self {
        let client = Consul::new(Arc::new(stolon(agents)), Resolver::system()).unwrap();
        let again = Arc::new(Notify::new());
        let watcher = Watcher::new(client, KEY.to_owned(), Arc::clone(&again));
        Self { consul, watcher, again }
    }

    async fn look(&mut self) -> Result<String, String> {
        self.look_for(SHORT).await
    }

    async fn look_for(&mut self, wait: Duration) -> Result<String, String> {
        let look = timeout(Duration::from_secs(10), self.watcher.look(wait)).await;
        let value = look.expect("each read has a deadline").value;
        value
            .map(|value| String::from_utf8_lossy(&value).into_owned())
            .map_err(|error| error.to_string())
    }
}

#[test]
fn the_index_follows_consuls_rules() {
    for (asked, answered, next) in
        [(0, 7, 7), (7, 7, 7), (7, 9, 9), (9, 7, 0), (0, 0, 1), (7, 0, 1), (1, 1, 1)]
    {
        assert_eq!(next_index(asked, answered), next, "{asked} {answered}");
    }
}

#[tokio::test]
async fn a_change_is_pushed() {
    let mut scene = Scene::new().await;
    scene.consul.put(KEY, "one");
    assert_eq!(scene.look().await, Ok("one".to_owned()));
    let putter = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        scene.consul.put(KEY, "two");
        Instant::now()
    };
    let (look, put_at) = tokio::join!(scene.watcher.look(Duration::from_secs(5)), putter);
    assert_eq!(look.value, Ok(Bytes::from_static(b"two")));
    assert!(put_at.elapsed() < Duration::from_millis(40), "{:?}", put_at.elapsed());
    assert!(boot_time().since(look.sent) >= Duration::from_millis(40), "the sending counts");
    let paths: Vec<Seen> = scene.consul.take_seen();
    assert_eq!(paths[0].path, format!("/v1/kv/{KEY}?raw&consistent"));
    assert_eq!(paths[1].path, format!("/v1/kv/{KEY}?raw&consistent&index=11&wait=5000ms"));
    assert!(paths.iter().all(|seen| seen.token.as_deref() == Some("s3cret-token")));
    assert!(!format!("{:?}", scene.watcher).contains("s3cret"));
}

#[tokio::test]
async fn an_index_that_went_backwards_is_noticed_within_one_wait() {
    let mut scene = Scene::new().await;
    scene.consul.put(KEY, "one");
    scene.look().await.unwrap();
    scene.consul.rewind(3);
    assert_eq!(scene.look().await, Ok("one".to_owned()), "at the end of the wait");
    scene.consul.put(KEY, "two"); // index 4: below what was asked for
    let began = Instant::now();
    assert_eq!(scene.look_for(Duration::from_secs(5)).await, Ok("two".to_owned()));
    assert!(began.elapsed() < Duration::from_millis(100), "a query that does not block");
}

#[tokio::test]
async fn a_key_that_is_missing_is_waited_for() {
    let mut scene = Scene::new().await;
    let missing = Err(format!("there is no key {KEY} in Consul"));
    assert_eq!(scene.look().await, missing);
    let putter = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        scene.consul.put(KEY, "one");
    };
    let (look, ()) = tokio::join!(scene.watcher.look(Duration::from_secs(5)), putter);
    assert_eq!(look.value, Ok(Bytes::from_static(b"one")));
    scene.consul.delete(KEY);
    assert_eq!(scene.look().await, missing);
}

#[tokio::test]
async fn whatever_consul_answers_is_survived() {
    for (manner, says) in [
        (Manner::Status(403, "Permission denied: no key:read"), "403 Forbidden: Permission denied"),
        (Manner::Status(401, ""), "Consul answers 401"),
        (Manner::Status(429, "retry elsewhere"), "429 Too Many Requests: retry elsewhere"),
        (Manner::Status(500, "No cluster leader"), "No cluster leader"),
        (Manner::Status(503, "retry later\n<more>"), "503 Service Unavailable: retry later"),
        (Manner::Status(400, "Invalid wait time"), "400 Bad Request: Invalid wait time"),
        (Manner::Babble("<html>"), "this is no Consul"),
        (Manner::Redirect("http://elsewhere.test/"), "redirects to another server"),
        (Manner::Redirect("/around"), "redirects to another server"),
        (Manner::Redirect("https://127.0.0.1/"), "redirects to another server"),
    ] {
        let mut scene = Scene::new().await;
        scene.consul.put(KEY, "one");
        scene.look().await.unwrap();
        scene.consul.behave(manner.clone());
        let mut error = scene.look().await;
        if error.is_ok() {
            error = scene.look().await; // the one that was under way
        }
        let error = error.unwrap_err();
        assert!(error.contains(says), "{manner:?}: {error}");
        assert!(!error.contains("s3cret"));
        scene.consul.behave(Manner::Well);
        assert_eq!(scene.look().await, Ok("one".to_owned()), "after {manner:?}");
    }
}

#[tokio::test]
async fn a_redirection_on_the_same_agent_is_followed() {
    let mut scene = Scene::new().await;
    scene.consul.put(KEY, "one");
    scene.consul.behave(Manner::Redirect("/again/v1/kv/stolon/cluster/main/clusterdata?raw"));
    assert_eq!(scene.look().await, Ok("one".to_owned()));
}

#[tokio::test]
async fn silence_costs_one_deadline_and_a_new_connection() {
    let mut scene = Scene::new().await;
    scene.consul.put(KEY, "one");
    scene.look().await.unwrap();
    scene.consul.behave(Manner::Silent);
    let began = Instant::now();
    let error = scene.look().await.unwrap_err();
    assert!(error.contains("does not answer"), "{error}");
    let took = began.elapsed();
    assert!((Duration::from_millis(2200)..Duration::from_millis(2600)).contains(&took), "{took:?}");
    scene.consul.behave(Manner::Well); // the old connection stays silent
    let began = Instant::now();
    assert_eq!(scene.look().await, Ok("one".to_owned()));
    assert!(began.elapsed() < Duration::from_millis(200));
}

#[tokio::test]
async fn one_silent_connection_is_replaced_before_its_deadline() {
    let mut scene = Scene::new().await;
    scene.consul.put(KEY, "one");
    scene.look().await.unwrap();
    scene.consul.behave(Manner::Silent);
    let consul = &scene.consul;
    let mending = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        consul.put(KEY, "two");
        consul.behave(Manner::Well); // the connection that was asked stays silent
    };
    let (before, began) = (boot_time(), Instant::now());
    let (look, ()) = tokio::join!(scene.watcher.look(SHORT), mending);
    assert_eq!(look.value, Ok(Bytes::from_static(b"two")));
    // The wait of 0.2 s, and the 0.1 s after which an answer is late.
    let took = began.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_millis(900)).contains(&took), "{took:?}");
    let sent = look.sent.since(before);
    assert!(sent >= Duration::from_millis(290), "the second question's sending counts: {sent:?}");
    let began = Instant::now();
    assert_eq!(scene.look().await, Ok("two".to_owned()));
    assert!(began.elapsed() < Duration::from_millis(600));
    assert_eq!(scene.consul.accepted(), 2, "it goes on over the connection that answered");
}

#[tokio::test]
async fn a_late_answer_counts_when_the_second_question_fails() {
    let mut scene = Scene::new().await;
    scene.consul.put(KEY, "one");
    scene.look().await.unwrap();
    let consul = &scene.consul;
    let refusing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        consul.behave(Manner::Status(500, "No cluster leader")); // for new questions
    };
    // The blocking question under way is answered at the end of its long wait, after it is late.
    let (look, ()) = tokio::join!(scene.watcher.look(SHORT), refusing);
    assert_eq!(look.value, Ok(Bytes::from_static(b"one")));
}

#[tokio::test]
async fn agents_are_asked_in_turn() {
    let consul = FakeConsul::start().await.unwrap();
    let port = consul.address().port();
    let babbler = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let babbling = babbler.local_addr().unwrap().port();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = babbler.accept().await {
            let words = b"SSH-2.0-OpenSSH_9.2\r\n";
            drop(tokio::io::AsyncWriteExt::write_all(&mut stream, words).await);
        }
    });
    consul.put(KEY, "one");
    let mut scene = Scene::with(consul, &[gone, babbling, port]);
    let first = scene.look().await.unwrap_err();
    assert!(first.contains("cannot connect to the Consul agent"), "{first}");
    let second = scene.look().await.unwrap_err();
    assert!(second.contains("failed"), "{second}");
    assert_eq!(scene.look().await, Ok("one".to_owned()));
    assert_eq!(scene.look().await, Ok("one".to_owned()), "and stays with the one that answers");
}

#[tokio::test]
async fn a_read_under_way_is_given_up_on_demand() {
    let mut scene = Scene::new().await;
    scene.consul.put(KEY, "one");
    scene.look().await.unwrap();
    let again = Arc::clone(&scene.again);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        again.notify_one();
    });
    let before = boot_time();
    assert_eq!(scene.look_for(Duration::from_secs(5)).await, Ok("one".to_owned()));
    let took = boot_time().since(before);
    assert!(took < Duration::from_millis(300), "{took:?}");
}

#[tokio::test]
async fn a_key_that_is_rewritten_at_full_speed_is_read_at_a_bounded_pace() {
    let mut scene = Scene::new().await;
    scene.consul.put(KEY, "0");
    let began = Instant::now();
    let mut seen = BTreeSet::new();
    let mut reads = 0;
    let mut turn = 0;
    while began.elapsed() < Duration::from_secs(2) {
        turn += 1;
        scene.consul.put(KEY, turn.to_string());
        seen.insert(scene.look().await.unwrap());
        reads += 1;
    }
    assert!((40..=62).contains(&reads), "{reads} reads in two seconds");
    assert!(seen.contains(&turn.to_string()), "the last one is seen");
}
