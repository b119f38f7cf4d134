use std::time::Duration;

use everline_wire::tag::frontend::QUERY;
use tokio::net::TcpStream;

use super::{Direction, How, Mode, Relay, Unanswered};
use crate::client::Client;
use crate::fake_backend::{FakeBackend, Script, Step};
use crate::{Error, ports};

async fn relayed() -> (FakeBackend, Relay, Client) {
    let script = Script::login().hear(QUERY).complete("SELECT 0").step(Step::Repeat);
    let backend = FakeBackend::start(vec![script]).await.unwrap();
    let address = ports::free_address().unwrap();
    let relay = Relay::start(address, backend.address()).await.unwrap();
    let mut client = Client::app(relay.address()).await.unwrap();
    client.set_patience(Duration::from_millis(300));
    assert_eq!(client.answers("SELECT 1").await.unwrap(), "C[SELECT 0] Z[I]");
    (backend, relay, client)
}

#[tokio::test]
async fn a_black_hole_swallows_and_heals() {
    let (_backend, relay, mut client) = relayed().await;
    relay.set_mode(Mode::BlackHole);
    assert!(client.answers("SELECT 1").await.unwrap_err().to_string().contains("not within"));
    assert_eq!(client.end(), None);
    let mut late = Client::connect(relay.address()).await.unwrap();
    late.set_patience(Duration::from_millis(300));
    assert!(late.login("app", "", "app", &[]).await.is_err());
    relay.set_mode(Mode::Forward);
    assert_eq!(client.hears(Duration::from_millis(300)).await.unwrap(), "C[SELECT 0] Z[I]");
    assert_eq!((relay.open(), relay.accepted()), (2, 2));
}

#[tokio::test]
async fn it_forgets_what_stands_and_lets_new_ones_through() {
    let (_backend, relay, mut client) = relayed().await;
    let before = relay.passed().len();
    assert!(before > 0);
    relay.forget();
    assert!(client.answers("SELECT 1").await.unwrap_err().to_string().contains("not within"));
    assert_eq!(client.end(), None);
    assert_eq!(relay.passed().len(), before, "nothing passes");
    let mut new = Client::app(relay.address()).await.unwrap();
    assert_eq!(new.answers("SELECT 1").await.unwrap(), "C[SELECT 0] Z[I]");
    let asked = relay.passed().into_iter().filter(|one| one.direction == Direction::ToBackend);
    assert!(asked.map(|one| one.bytes).sum::<usize>() > 14);
    assert_eq!(client.hears(Duration::from_millis(300)).await.unwrap(), "", "for ever");
}

#[tokio::test]
async fn it_cuts_resets_and_tears() {
    let (_backend, relay, mut client) = relayed().await;
    relay.cut(How::Fin);
    assert_eq!(client.hears(Duration::from_secs(1)).await.unwrap(), "closed");
    let mut client = Client::app(relay.address()).await.unwrap();
    relay.cut(How::Rst);
    assert_eq!(client.hears(Duration::from_secs(1)).await.unwrap(), "reset");
    let mut client = Client::app(relay.address()).await.unwrap();
    relay.tear(Direction::ToFrontend, 7, How::Fin);
    let torn = client.answers("SELECT 1").await.unwrap_err().to_string();
    assert!(torn.contains("ended after 7 bytes"), "{torn}");
    relay.mend();
    relay.set_mode(Mode::Refuse);
    let mut client = Client::connect(relay.address()).await.unwrap();
    assert_eq!(client.hears(Duration::from_secs(1)).await.unwrap(), "closed");
}

#[tokio::test]
async fn it_delays() {
    let (_backend, relay, mut client) = relayed().await;
    client.set_patience(Duration::from_secs(5));
    relay.set_delay(Duration::from_millis(200));
    let began = tokio::time::Instant::now();
    client.answers("SELECT 1").await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn nobody_answers_at_a_full_queue() {
    let address = ports::free_address().unwrap();
    let unanswered = match Unanswered::start(address).await {
        Err(Error::Skip(reason)) => return println!("skipped: {reason}"),
        other => other.unwrap(),
    };
    let connecting = TcpStream::connect(unanswered.address());
    assert!(tokio::time::timeout(Duration::from_millis(500), connecting).await.is_err());
}
