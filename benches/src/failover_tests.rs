use super::*;

#[tokio::test]
async fn the_outage_is_the_longest_silence_that_ends_after_the_fault() {
    let begun = Instant::now();
    let at = |tenths: u64| begun + Duration::from_millis(tenths * 100);
    let story = |tenths: &[u64], served: Option<u64>| Story {
        successes: tenths.iter().map(|tenth| at(*tenth)).collect(),
        served: served.map(at),
    };
    let board = Board::default();
    board.closed.store(3, Ordering::SeqCst);
    // A silence of 3 s before the fault at 4.0 s counts for nothing.
    let stories = [story(&[1, 31, 39, 60, 61], Some(61)), story(&[38, 59], Some(59))];
    let told = judge(&board, &stories, at(40), at(55));
    let Told { outage, after_promotion, all_served, closed, errors, hung } = told;
    let close = |value: f64, wanted: f64| (value - wanted).abs() < 1e-6;
    assert!(
        close(outage, 2.0) && close(after_promotion, 0.4) && close(all_served, 2.1),
        "{told:?}"
    );
    assert!(close(closed, 3.0) && close(errors, 0.0) && close(hung, 18.0), "{told:?}");
    let nobody = judge(&board, &[], at(40), at(55));
    assert!(nobody.after_promotion.is_nan() && nobody.outage.is_nan(), "{nobody:?}");
    assert!(close(nobody.hung, 20.0), "{nobody:?}");
}
