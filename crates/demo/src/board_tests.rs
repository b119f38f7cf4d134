use std::time::Duration;

use tokio::time::{Instant, advance};

use super::{Board, Observer as _, Outcome};

#[tokio::test(start_paused = true)]
async fn the_outage_lasts_from_readiness_to_the_first_acknowledgement() {
    let board = Board::new(2);
    board.asks(0);
    advance(Duration::from_millis(60)).await;
    board.answered(0, Outcome::Acknowledged(1));
    assert_eq!(board.state().totals.held, 0, "no fault yet");
    board.state().fault = Some(Instant::now());
    board.asks(0);
    board.asks(1);
    advance(Duration::from_millis(1500)).await;
    board.end_columns();
    assert_eq!(board.state().columns.last().unwrap().waiting, 2);
    board.state().ready = Some(Instant::now());
    advance(Duration::from_millis(250)).await;
    board.answered(0, Outcome::Acknowledged(2));
    board.answered(1, Outcome::Unknown);
    board.asks(0);
    advance(Duration::from_millis(80)).await;
    board.answered(0, Outcome::Acknowledged(1));
    board.end_columns();
    let state = board.state();
    assert_eq!(state.outage(), Some(Duration::from_millis(250)));
    let totals = state.totals;
    let counts = [totals.acknowledged, totals.held, totals.unknown, totals.retryable];
    assert_eq!(counts, [4, 1, 1, 0]);
    assert_eq!(state.columns.len(), 18, "1890 ms in columns of 100");
}
