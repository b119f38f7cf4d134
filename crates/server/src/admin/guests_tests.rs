use super::Guests;

#[test]
fn the_oldest_makes_room_for_the_newest() {
    let guests = Guests::new(2);
    let (first, second) = (guests.enter(), guests.enter());
    assert!(!first.leaves().is_cancelled());
    let third = guests.enter();
    assert!(first.leaves().is_cancelled());
    assert!(!second.leaves().is_cancelled() && !third.leaves().is_cancelled());
    drop(second);
    let fourth = guests.enter();
    assert!(!third.leaves().is_cancelled() && !fourth.leaves().is_cancelled());
}

#[test]
fn who_says_nothing_makes_room_before_who_has_asked() {
    let guests = Guests::new(2);
    let (reader, crowd) = (guests.enter(), guests.enter());
    reader.asks();
    let more = guests.enter();
    assert!(crowd.leaves().is_cancelled() && !reader.leaves().is_cancelled());
    more.asks();
    let newest = guests.enter();
    assert!(reader.leaves().is_cancelled(), "where all have asked the oldest goes");
    assert!(!more.leaves().is_cancelled() && !newest.leaves().is_cancelled());
}
