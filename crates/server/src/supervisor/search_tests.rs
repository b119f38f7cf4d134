use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::config::dsn::Host;

fn host(name: &str) -> HostPort {
    HostPort::new(Host::Name(name.into()), 5432)
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint { host: Arc::from("db"), address: Address::Tcp(([10, 0, 0, last], 5432).into()) }
}

fn endpoints(last: &[u8]) -> Vec<Endpoint> {
    last.iter().map(|last| endpoint(*last)).collect()
}

struct Test {
    search: Search,
    start: Instant,
    rng: StdRng,
}

impl Test {
    fn new(hosts: &[&str]) -> Self {
        let start = Instant::now();
        let hosts = hosts.iter().map(|name| host(name)).collect();
        let search = Search::new(hosts, Duration::from_secs(5), Pace::SYSTEM_DIAL, start);
        Self { search, start, rng: StdRng::seed_from_u64(1) }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn round(&mut self, ms: u64) -> Vec<Question> {
        let now = self.at(ms);
        self.search.round(now, &mut self.rng)
    }

    fn resolved(&mut self, question: &Question, answer: Option<Vec<Endpoint>>) -> Vec<Endpoint> {
        self.search.resolved(question, answer, Instant::now())
    }

    /// Milliseconds from the start to the next round.
    fn next(&self) -> u128 {
        self.search.next_at().duration_since(self.start).as_millis()
    }
}

#[tokio::test(start_paused = true)]
async fn every_name_is_asked_in_every_round_but_once_at_a_time() {
    let mut test = Test::new(&["h1", "h2"]);
    let questions = test.round(0);
    assert_eq!(
        questions.iter().map(|q| q.host.to_string()).collect::<Vec<_>>(),
        ["h1:5432", "h2:5432"]
    );
    assert_eq!(test.search.outstanding(), 2);
    assert!((25..=50).contains(&test.next()), "{}", test.next());
    assert!(test.round(10).is_empty(), "not due");
    test.resolved(&questions[0], Some(Vec::new()));
    let again = test.round(60);
    assert_eq!(again.len(), 1, "the other is still under way");
    assert_eq!(again[0].host, host("h1"));
    assert!((110..=160).contains(&test.next()), "{}", test.next());
}

#[tokio::test(start_paused = true)]
async fn an_address_is_dialled_once_at_a_time() {
    let mut test = Test::new(&["h1"]);
    let question = test.round(0).remove(0);
    assert_eq!(test.resolved(&question, Some(endpoints(&[1, 2, 1]))), endpoints(&[1, 2]));
    assert_eq!(test.search.outstanding(), 2);
    test.search.dialled(&endpoint(1).address);
    let question = test.round(60).remove(0);
    assert_eq!(test.resolved(&question, Some(endpoints(&[1, 2, 3]))), endpoints(&[1, 3]));
}

#[tokio::test(start_paused = true)]
async fn dials_under_way_are_bounded() {
    let mut test = Test::new(&["h1"]);
    let question = test.round(0).remove(0);
    let many: Vec<u8> = (0..=255).collect();
    assert_eq!(test.resolved(&question, Some(endpoints(&many))).len(), DIALS_MAX);
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_the_last_addresses_are_dialled_while_seeking_alone() {
    let mut test = Test::new(&["h1"]);
    let question = test.round(0).remove(0);
    test.resolved(&question, Some(endpoints(&[1, 2])));
    for last in [1, 2] {
        test.search.dialled(&endpoint(last).address);
    }
    let question = test.round(60).remove(0);
    assert_eq!(test.resolved(&question, None), endpoints(&[1, 2]));
    test.search.dialled(&endpoint(2).address);
    let now = test.at(100);
    test.search.watch(endpoint(1).address, now);
    let question = test.round(5100).remove(0);
    assert_eq!(test.resolved(&question, None), Vec::new());
}

#[tokio::test(start_paused = true)]
async fn a_look_spares_the_leader() {
    let mut test = Test::new(&["h1"]);
    let now = test.at(0);
    test.search.watch(endpoint(1).address, now);
    assert!(!test.search.is_seeking());
    assert_eq!(test.next(), 5000);
    assert!(test.round(4999).is_empty());
    let question = test.round(5000).remove(0);
    assert_eq!(test.next(), 10_000);
    assert_eq!(test.resolved(&question, Some(endpoints(&[1, 2]))), endpoints(&[2]));
    assert_eq!(test.next(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_astray_is_looked_at_every_second() {
    let mut test = Test::new(&["h1"]);
    let now = test.at(0);
    test.search.watch(endpoint(1).address, now);
    let question = test.round(5000).remove(0);
    assert_eq!(test.resolved(&question, Some(endpoints(&[2]))), endpoints(&[2]));
    assert_eq!(test.next(), 6000);
    let question = test.round(6000).remove(0);
    assert_eq!(test.resolved(&question, Some(endpoints(&[1]))), Vec::new());
    assert_eq!(test.next(), 11_000);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_unnamed_only_if_every_name_says_so() {
    let mut test = Test::new(&["h1", "h2"]);
    let address = endpoint(1).address;
    assert!(test.search.is_named(&address, Instant::now()), "nothing has been said");
    let questions = test.round(0);
    test.resolved(&questions[0], Some(endpoints(&[2])));
    assert!(test.search.is_named(&address, Instant::now()), "h2 has not been answered");
    test.resolved(&questions[1], None);
    assert!(test.search.is_named(&address, Instant::now()), "h2 could not be answered");
    let questions = test.round(60);
    test.resolved(&questions[1], Some(endpoints(&[3])));
    assert!(!test.search.is_named(&address, Instant::now()));
    assert!(test.search.is_named(&endpoint(3).address, Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn an_address_counts_as_named_for_a_second() {
    let mut test = Test::new(&["h1"]);
    let (one, two) = (endpoint(1).address, endpoint(2).address);
    let question = test.round(0).remove(0);
    test.resolved(&question, Some(endpoints(&[1])));
    let question = test.round(60).remove(0);
    test.search.resolved(&question, Some(endpoints(&[2])), test.at(60));
    assert!(test.search.is_named(&one, test.at(999)));
    assert!(!test.search.is_named(&one, test.at(1000)));
    assert!(test.search.is_named(&two, test.at(60_000)), "in the last answer");
    let question = test.round(1060).remove(0);
    test.search.resolved(&question, Some(endpoints(&[3])), test.at(1060));
    assert_eq!(test.search.hosts[0].named.len(), 1, "what does not count is forgotten");
}

#[tokio::test(start_paused = true)]
async fn nudges_hasten_a_look_but_not_beyond_measure() {
    let mut test = Test::new(&["h1"]);
    let now = test.at(0);
    test.search.watch(endpoint(1).address, now);
    test.round(5000);
    for _ in 0..100 {
        test.search.nudge();
    }
    assert_eq!(test.next(), 5250);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stood_is_followed_by_a_round_at_once() {
    let mut test = Test::new(&["h1"]);
    test.round(0);
    let (stood, broke) = (test.at(1), test.at(1001));
    test.search.watch(endpoint(1).address, stood);
    test.search.seek(broke, &mut test.rng);
    assert_eq!(test.next(), 1001);
    // One that did not stand for a second is followed by the backoff.
    let (stood, broke) = (test.at(1002), test.at(2001));
    test.search.watch(endpoint(1).address, stood);
    test.search.seek(broke, &mut test.rng);
    assert!((2026..=2101).contains(&test.next()), "{}", test.next());
    // And one that did lets the backoff begin anew.
    for ms in [3000, 4000, 5000] {
        test.round(ms);
    }
    let (stood, broke) = (test.at(5000), test.at(6000));
    test.search.watch(endpoint(1).address, stood);
    test.search.seek(broke, &mut test.rng);
    test.round(6000);
    assert!((6025..=6050).contains(&test.next()), "{}", test.next());
}

#[tokio::test(start_paused = true)]
async fn answers_about_an_older_list_of_hosts_are_dropped() {
    let mut test = Test::new(&["h1"]);
    let old = test.round(0).remove(0);
    let now = test.at(30);
    test.search.follow(vec![host("h2")], now);
    assert_eq!(test.resolved(&old, Some(endpoints(&[1]))), Vec::new());
    assert_eq!(test.search.outstanding(), 0);
    let new = test.round(60).remove(0);
    assert_eq!(new.host, host("h2"));
    assert_eq!(test.resolved(&new, Some(endpoints(&[2]))), endpoints(&[2]));
    assert_eq!(test.search.addresses(), ["db (10.0.0.2:5432)"]);
}

#[tokio::test(start_paused = true)]
async fn a_doubtful_leaders_name_is_asked_often_and_only_while_the_doubt_lasts() {
    let mut test = Test::new(&["db"]);
    let questions = test.round(0);
    test.resolved(&questions[0], Some(endpoints(&[1])));
    test.search.watch(endpoint(1).address, test.at(0));
    assert_eq!(test.next(), 5_000);
    test.search.doubt(test.at(1_250));
    let mut rounds = Vec::new();
    for ms in (1_250..4_000).step_by(50) {
        for question in test.round(ms) {
            rounds.push(ms);
            test.resolved(&question, Some(endpoints(&[1])));
        }
    }
    assert_eq!(rounds, (1_250..=2_250).step_by(100).collect::<Vec<_>>());
    assert_eq!(test.next(), 2_250 + 5_000, "then at the usual pace");
}
