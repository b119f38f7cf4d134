use super::*;

#[test]
fn a_fence_lets_through_until_it_is_reached() {
    assert!(Fence::none().holds());
    assert_eq!(Fence::none().remaining(), None);
    let fence = Fence::closed();
    let clone = fence.clone();
    assert!(!clone.holds());
    fence.set(boot_time().plus(Duration::from_mins(1)));
    assert!(clone.holds());
    assert!(clone.remaining().unwrap() > Duration::from_secs(50));
    fence.set(boot_time());
    assert!(!clone.holds(), "the instant itself is too late");
    fence.set(BootTime::ZERO);
    assert_eq!(clone.remaining(), Some(Duration::ZERO));
}
