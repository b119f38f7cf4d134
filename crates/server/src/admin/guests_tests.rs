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
