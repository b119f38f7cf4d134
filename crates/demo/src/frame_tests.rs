use std::time::Duration;

use everline_lab::ledger::{Observer as _, Outcome};
use tokio::time::{Instant, advance};

use super::{View, frame};
use crate::board::Board;

#[tokio::test(start_paused = true)]
async fn every_line_fits_and_every_event_has_its_mark() {
    let board = Board::new(24);
    for step in 0..120 {
        board.asks(step % 24);
        advance(Duration::from_millis(100)).await;
        board.answered(step % 24, Outcome::Acknowledged(1));
        board.end_columns();
    }
    board.state().fault = Some(Instant::now());
    board.event('▼', "a fault with a description that goes on and on beyond the eightieth column");
    advance(Duration::from_millis(500)).await;
    board.event('▲', "promoted");
    advance(Duration::from_millis(100)).await;
    board.end_columns();
    let view = View { title: "everline demo".to_owned(), page: "http://127.0.0.1:1/".to_owned() };
    for height in [Some(20), None] {
        let lines = frame(&view, &board, 80, height);
        let painted: Vec<String> = lines.iter().map(|line| line.paint(80, false)).collect();
        let text = painted.join("\n");
        assert!(painted.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.matches('▼').count(), 2, "{text}");
        assert_eq!(text.matches('▲').count(), 2, "{text}");
        assert_eq!(text.contains("╵0.0 s"), height.is_none(), "{text}");
        assert!(lines.len() <= 20, "{text}");
    }
}
