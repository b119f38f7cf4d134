use std::time::Duration;

use tokio::time::Instant;

use super::Meter;

#[tokio::test(start_paused = true)]
async fn statements_and_transactions_are_timed_apart() {
    let mut meter = Meter::default();
    let pause = |us| tokio::time::sleep(Duration::from_micros(us));
    meter.leased(Instant::now());
    meter.turn(true, true, None);
    pause(2_000).await;
    meter.turn(false, true, None); // idle in a transaction
    pause(5_000).await;
    meter.turn(true, true, None);
    pause(1_000).await;
    meter.turn(false, false, None);
    pause(9_000).await;
    meter.turn(false, false, None);
    meter.moved(3, 4);
    meter.waited(Duration::from_millis(6));
    let counted = meter.take();
    assert_eq!((counted.statement_us, counted.transaction_us), (3_000, 8_000));
    assert_eq!((counted.received, counted.sent, counted.wait_us), (3, 4, 6_000));
    assert_eq!(meter.take(), crate::metrics::traffic::Counted::default());
}
