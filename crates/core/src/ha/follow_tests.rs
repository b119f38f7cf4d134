use super::*;

const ME: &str = "aaaaaaaa";

/// A machine, and what it did, as text.
struct Script {
    follow: Follow,
    now: u64,
}

fn node(name: &str) -> Announced {
    let port = if name.starts_with('a') { 27610 } else { 27611 };
    Announced { uid: name.into(), host: "127.0.0.1".into(), port }
}

fn data(generation: u64, leader: Option<&str>, enabled: &[&str]) -> Observation {
    Observation {
        cluster: "c1".into(),
        generation,
        leader: leader.map(node),
        elected: None,
        enabled: enabled.iter().map(|uid| (*uid).to_owned()).collect(),
        check_interval: Duration::from_secs(5),
        timeout: Duration::from_secs(15),
    }
}

fn show(act: &Act) -> String {
    match act {
        Act::Fence(at) => format!("fence {}", at.as_millis()),
        Act::Retire(why) => format!("retire: {why}"),
        Act::Prepare(node) => format!("prepare {node}"),
        Act::Follow { leader, forget: false } => format!("follow {leader}"),
        Act::Follow { leader, forget: true } => format!("follow anew {leader}"),
        Act::LookAgain => "look again".to_owned(),
        Act::Unregistered => "unregistered".to_owned(),
    }
}

impl Script {
    fn new() -> Self {
        Self { follow: Follow::new(ME.into()), now: 1_000 }
    }

    fn at(&mut self, now: u64) -> &mut Self {
        self.now = now;
        self
    }

    fn news(&mut self, news: News) -> String {
        let acts = self.follow.step(news, BootTime::from_millis(self.now));
        acts.iter().map(show).collect::<Vec<_>>().join("; ")
    }

    fn read(&mut self, observation: Observation) -> String {
        self.news(News::Read { sent: BootTime::from_millis(self.now), observation })
    }

    /// Performs the write that is due, if one is.
    fn write(&mut self) -> String {
        let first = self.follow.acknowledged().is_none();
        match self.follow.publish(BootTime::from_millis(self.now)) {
            None => "nothing to write".to_owned(),
            Some(Publish { generation, timeout }) => {
                let sent = BootTime::from_millis(self.now);
                self.news(News::Written(Written { sent, generation, timeout, first }))
            }
        }
    }

    fn wants(&self) -> Option<u64> {
        self.follow.publish(BootTime::from_millis(self.now)).map(|publish| publish.generation)
    }

    /// Registered, enabled and following a1 in generation 10, since 1 s.
    fn following() -> Self {
        let mut script = Self::new();
        assert_eq!(script.read(data(9, Some("a1"), &[])), "");
        assert_eq!(script.write(), "look again");
        assert_eq!(script.read(data(10, Some("a1"), &[ME])), "", "registered before routing");
        let follows = "fence 16000; follow a1 at 127.0.0.1:27610";
        assert_eq!(script.write(), follows);
        script
    }
}

#[test]
fn a_leader_is_followed_once_registered_enabled_and_acknowledged() {
    let script = Script::following();
    assert_eq!(script.follow.leader(), Some(&node("a1")));
    assert_eq!(script.follow.acknowledged(), Some(10));
    assert_eq!(script.follow.deadline(), Some(BootTime::from_millis(6_000)), "the refresh");
}

#[test]
fn a_read_from_before_the_registration_does_not_enable() {
    let mut script = Script::new();
    script.read(data(10, Some("a1"), &[ME]));
    script.now = 1_500;
    assert_eq!(script.write(), "look again", "the list may be one of an earlier session");
    let sent = BootTime::from_millis(1_400);
    let observation = data(10, Some("a1"), &[ME]);
    assert_eq!(script.news(News::Read { sent, observation }), "");
    let follows = "fence 16500; follow a1 at 127.0.0.1:27610";
    assert_eq!(script.at(1_600).read(data(10, Some("a1"), &[ME])), follows);
}

#[test]
fn a_failover_closes_then_acknowledges_then_follows() {
    let mut script = Script::following();
    let elected = data(12, None, &[ME]);
    let retires = "fence 0; retire: the sentinel names no leader (generation 12)";
    assert_eq!(script.at(2_000).read(elected), retires);
    assert_eq!(script.wants(), None, "something may still be open");
    assert_eq!(script.at(2_010).news(News::Closed), "");
    assert_eq!(script.wants(), Some(12));
    assert_eq!(script.write(), "");
    assert_eq!(script.at(3_000).read(data(13, Some("b1"), &[ME])), "", "acknowledged first");
    assert_eq!(script.wants(), Some(13));
    assert_eq!(script.write(), "fence 18000; follow b1 at 127.0.0.1:27611");
}

#[test]
fn while_closing_a_refresh_repeats_the_old_generation() {
    let mut script = Script::following();
    script.at(2_000).read(data(12, None, &[ME]));
    assert_eq!(script.at(6_500).wants(), Some(10));
}

#[test]
fn a_second_election_before_the_announcement_was_acknowledged_is_not_followed() {
    let mut script = Script::following();
    script.at(2_000).read(data(12, None, &[ME]));
    script.news(News::Closed);
    script.write();
    script.at(3_000).read(data(13, Some("b1"), &[ME]));
    let late = script.follow.publish(BootTime::from_millis(3_000)).unwrap();
    assert_eq!(script.at(3_010).read(data(14, None, &[ME])), "");
    let sent = BootTime::from_millis(3_000);
    let Publish { generation, timeout } = late;
    let written = Written { sent, generation, timeout, first: false };
    assert_eq!(script.news(News::Written(written)), "", "13 is over");
    assert_eq!(script.wants(), Some(14));
}

#[test]
fn a_missed_withdrawal_still_closes_before_the_next_leader() {
    let mut script = Script::following();
    let replaced = "fence 0; retire: the sentinel names another leader (generation 13)";
    assert_eq!(script.at(2_000).read(data(13, Some("b1"), &[ME])), replaced);
    assert_eq!(script.wants(), None);
    assert_eq!(script.news(News::Closed), "");
    assert_eq!(script.write(), "fence 17000; follow b1 at 127.0.0.1:27611");
}

#[test]
fn the_same_address_under_another_uid_is_another_leader() {
    let mut script = Script::following();
    let replaced = "fence 0; retire: the sentinel names another leader (generation 11)";
    assert_eq!(script.at(2_000).read(data(11, Some("a2"), &[ME])), replaced);
}

#[test]
fn rewrites_without_a_change_move_nothing_but_the_fence() {
    let mut script = Script::following();
    for turn in 0..1_000 {
        let now = 2_000 + turn * 10;
        let acts = script.at(now).read(data(10, Some("a1"), &[ME]));
        let until = script.follow.fence().as_millis();
        assert!(acts.is_empty() || acts == format!("fence {until}"), "{acts}");
        if script.wants().is_some() {
            let acts = script.write();
            assert!(acts.starts_with("fence ") && !acts.contains(';'), "{acts}");
        }
    }
}

#[test]
fn a_generation_that_grows_or_falls_without_a_change_is_acknowledged_and_no_more() {
    let mut script = Script::following();
    for (now, generation) in [(2_000, 11), (3_000, 12), (4_000, 3)] {
        assert_eq!(script.at(now).read(data(generation, Some("a1"), &[ME])), "", "{generation}");
        assert_eq!(script.wants(), Some(generation));
        assert!(script.write().starts_with("fence "));
        assert_eq!(script.wants(), None);
    }
}

#[test]
fn without_being_enabled_nothing_is_followed() {
    let mut script = Script::following();
    let retires = "fence 0; retire: the sentinel has not enabled this proxy (generation 11)";
    assert_eq!(script.at(2_000).read(data(11, Some("a1"), &["bbbbbbbb"])), retires);
    assert_eq!(script.news(News::Closed), "");
    assert_eq!(script.write(), "", "it goes on to register, else it would never be enabled");
    script.at(3_000).read(data(12, Some("a1"), &[ME]));
    assert_eq!(script.write(), "fence 18000; follow a1 at 127.0.0.1:27610");
}

#[test]
fn the_fence_needs_reads_and_writes() {
    let mut script = Script::following();
    assert_eq!(script.at(4_000).read(data(10, Some("a1"), &[ME])), "", "the write is older");
    assert_eq!(script.at(15_999).news(News::Tick), "");
    let fenced = "fence 0; retire: the store has not vouched for the leader for 15s";
    assert_eq!(script.at(16_000).news(News::Tick), fenced);
    // What was read at 4 s is good until 19 s, but nothing says that the sentinel still waits.
    assert_eq!(script.news(News::Closed), "");
    assert_eq!(script.write(), "fence 19000; follow a1 at 127.0.0.1:27610");
}

#[test]
fn news_that_come_too_late_do_not_save_the_epoch() {
    let mut script = Script::following();
    let fenced = "fence 0; retire: the store has not vouched for the leader for 15s";
    assert_eq!(script.at(16_000).read(data(10, Some("a1"), &[ME])), fenced);
    assert_eq!(script.news(News::Closed), "");
    assert_eq!(script.write(), "fence 31000; follow a1 at 127.0.0.1:27610");
}

#[test]
fn a_shorter_timeout_holds_at_once_a_longer_one_when_it_is_published() {
    let mut script = Script::following();
    let with = |timeout| Observation {
        timeout: Duration::from_secs(timeout),
        check_interval: Duration::from_secs(1),
        ..data(10, Some("a1"), &[ME])
    };
    assert_eq!(script.at(1_500).read(with(3)), "fence 4000");
    assert_eq!(script.at(2_500).write(), "fence 4500");
    assert_eq!(script.at(2_600).read(with(30)), "fence 5500", "2.5 s + 3 s: 30 s is not published");
    assert_eq!(script.at(3_600).write(), "fence 32600");
}

#[test]
fn a_lost_session_closes_and_registers_anew() {
    let mut script = Script::following();
    let lost = "fence 0; retire: the store's session of this proxy has ended";
    assert_eq!(script.at(2_000).news(News::SessionLost), lost);
    assert_eq!(script.wants(), None, "something may still be open");
    assert_eq!(script.news(News::Closed), "");
    assert_eq!(script.write(), "look again", "the data is from before the new session");
    let follows = "fence 17000; follow a1 at 127.0.0.1:27610";
    assert_eq!(script.at(2_100).read(data(10, Some("a1"), &[ME])), follows);
}

#[test]
fn what_may_not_register_follows_and_says_so_once() {
    let mut script = Script::new();
    assert_eq!(script.read(data(9, Some("a1"), &[])), "");
    let follows = "unregistered; fence 16000; follow a1 at 127.0.0.1:27610";
    assert_eq!(script.news(News::Denied), follows);
    assert_eq!(script.wants(), None);
    assert_eq!(script.at(30_999).wants(), None);
    // Reads alone hold the fence; withdrawals and silence close as ever.
    assert_eq!(script.at(14_000).read(data(10, Some("a1"), &[])), "fence 29000");
    let retires = "fence 0; retire: the sentinel names no leader (generation 11)";
    assert_eq!(script.at(15_000).read(data(11, None, &[])), retires);
    script.news(News::Closed);
    let follows = "fence 31000; follow b1 at 127.0.0.1:27611";
    assert_eq!(script.at(16_000).read(data(12, Some("b1"), &[])), follows);
    let fenced = "fence 0; retire: the store has not vouched for the leader for 15s";
    assert_eq!(script.at(31_000).news(News::Tick), fenced);
    script.news(News::Closed);
    assert_eq!(script.wants(), Some(12), "the token may have been mended");
    assert_eq!(script.news(News::Denied), "", "said once");
}

#[test]
fn a_token_that_was_mended_registers_without_a_gap() {
    let mut script = Script::new();
    script.read(data(9, Some("a1"), &[]));
    script.news(News::Denied);
    script.at(14_000).read(data(9, Some("a1"), &[]));
    script.at(28_000).read(data(9, Some("a1"), &[]));
    assert_eq!(script.at(31_000).write(), "");
    assert!(!script.follow.is_registered(), "the sentinel has not seen it yet");
    assert_eq!(script.at(31_500).read(data(10, Some("a1"), &[ME])), "fence 46000");
    assert!(script.follow.is_registered());
}

#[test]
fn a_cluster_that_was_initialised_anew_is_told_from_the_old_one() {
    let mut script = Script::following();
    script.at(2_000).read(data(12, None, &[ME]));
    script.news(News::Closed);
    script.write();
    let other = Observation { cluster: "c2".into(), ..data(1, Some("b1"), &[ME]) };
    script.at(3_000).read(other);
    assert_eq!(script.write(), "fence 18000; follow anew b1 at 127.0.0.1:27611");
}

fn elects(generation: u64, elected: &str) -> Observation {
    Observation { elected: Some(node(elected)), ..data(generation, None, &[ME]) }
}

#[test]
fn an_elected_node_is_prepared_for_once_its_election_is_acknowledged() {
    let mut script = Script::following();
    let retires = "fence 0; retire: the sentinel names no leader (generation 12)";
    assert_eq!(script.at(2_000).read(elects(12, "b1")), retires);
    assert_eq!(script.news(News::Closed), "", "acknowledged first");
    assert_eq!(script.write(), "prepare b1 at 127.0.0.1:27611");
    assert_eq!(script.at(2_500).read(elects(12, "b1")), "", "once");
    assert_eq!(script.follow.leader(), None);
    assert_eq!(script.follow.fence(), BootTime::ZERO, "nothing is dispatched");
    assert_eq!(script.at(3_000).read(data(13, Some("b1"), &[ME])), "");
    assert_eq!(script.write(), "fence 18000; follow b1 at 127.0.0.1:27611");
}

#[test]
fn another_election_closes_what_was_prepared_before_it_is_acknowledged() {
    let mut script = Script::following();
    script.at(2_000).read(elects(12, "b1"));
    script.news(News::Closed);
    script.write();
    let retires = "fence 0; retire: the sentinel names no leader (generation 13)";
    assert_eq!(script.at(2_500).read(elects(13, "a2")), retires);
    assert_eq!(script.wants(), None, "something may still be open");
    assert_eq!(script.news(News::Closed), "");
    assert_eq!(script.write(), "prepare a2 at 127.0.0.1:27610");
    let replaced = "fence 0; retire: the sentinel names another leader (generation 14)";
    assert_eq!(script.at(3_000).read(data(14, Some("b1"), &[ME])), replaced);
    assert_eq!(script.news(News::Closed), "");
    assert_eq!(script.write(), "fence 18000; follow b1 at 127.0.0.1:27611");
}

#[test]
fn what_was_prepared_ends_with_the_fence_and_with_the_session() {
    let mut script = Script::following();
    script.at(2_000).read(elects(12, "b1"));
    script.news(News::Closed);
    script.write();
    assert_eq!(script.follow.deadline(), Some(BootTime::from_millis(7_000)), "the refresh");
    let fenced = "fence 0; retire: the store has not vouched for the leader for 15s";
    assert_eq!(script.at(17_000).news(News::Tick), fenced);
    assert_eq!(script.news(News::Closed), "", "what was read is too old to prepare");
    script.read(elects(12, "b1"));
    assert_eq!(script.write(), "prepare b1 at 127.0.0.1:27611");
    let lost = "fence 0; retire: the sentinel names no leader (generation 12)";
    assert_eq!(script.at(18_000).news(News::SessionLost), lost);
}

#[test]
fn an_announced_node_that_was_prepared_for_stays_until_we_are_enabled() {
    let mut script = Script::following();
    script.at(2_000).read(elects(12, "b1"));
    script.news(News::Closed);
    script.write();
    assert_eq!(script.at(3_000).read(data(13, Some("b1"), &["bbbbbbbb"])), "");
    assert_eq!(script.write(), "");
    assert_eq!(script.at(4_000).read(data(14, Some("b1"), &[ME])), "");
    assert_eq!(script.write(), "fence 19000; follow b1 at 127.0.0.1:27611");
}
