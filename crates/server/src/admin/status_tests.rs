use std::time::{Duration, Instant};

use everline_core::ha::{Availability, Cause, History, Phase, Transition, Unavailable};

use super::outages;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn an_outage_lasts_from_the_loss_to_the_next_leader() {
    let start = Instant::now();
    let mut history = History::new(start);
    let mut record = |second: u64, to: Phase, availability: Availability, cause: Cause| {
        let transition = Transition { from: to, to, epoch: 1, availability, cause };
        history.record(transition, String::new(), start + Duration::from_secs(second));
    };
    let lost = Availability::Unavailable(Unavailable::FailingOver);
    let starting = Availability::Unavailable(Unavailable::Starting);
    record(1, Phase::Starting, starting, Cause::Tick);
    record(2, Phase::Healthy, Availability::Available, Cause::Tick);
    record(10, Phase::Unhealthy, lost, Cause::SystemBroken);
    record(12, Phase::Failover, lost, Cause::ShuttingDown);
    record(15, Phase::Healthy, Availability::Available, Cause::Tick);
    record(20, Phase::Failover, lost, Cause::ShuttingDown);
    let seen: Vec<_> = outages(&history, start + Duration::from_secs(24))
        .into_iter()
        .map(|outage| (outage.ago_s, outage.lasted_ms, outage.over, outage.why))
        .collect();
    let shutting = "the leader is shutting down".to_owned();
    let broke = "the system connection broke".to_owned();
    assert_eq!(seen, [(4.0, 4_000.0, false, shutting), (14.0, 5_000.0, true, broke)]);
}
