use std::time::Duration;

use super::super::{Observer as _, Outcome};
use super::Tally;

#[tokio::test]
async fn who_waits_longest_is_known() {
    let tally = Tally::default();
    let waits = || tally.counts().longest_wait().map(|(client, _)| client);
    assert_eq!(waits(), None);
    tally.asks(2);
    tokio::time::sleep(Duration::from_millis(5)).await;
    tally.asks(1);
    assert_eq!(waits(), Some(2));
    tally.answered(2, Outcome::Acknowledged(7));
    assert_eq!(waits(), Some(1));
    tally.answered(1, Outcome::Retryable);
    assert_eq!(waits(), None);
    assert_eq!((tally.counts().acknowledged, tally.counts().retryable), (7, 1));
}
