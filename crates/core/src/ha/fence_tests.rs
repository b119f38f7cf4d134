use super::*;

fn vouched(read: u64, write: Option<u64>, timeout: u64) -> u64 {
    let vouched = Vouched {
        read_sent: BootTime::from_millis(read),
        write_sent: write.map(BootTime::from_millis),
        timeout: Duration::from_millis(timeout),
    };
    vouched.fence().as_millis()
}

#[test]
fn the_older_of_read_and_write_counts() {
    for (read, write, timeout, fence) in [
        (1_000, None, 15_000, 16_000),
        (1_000, Some(4_000), 15_000, 16_000),
        (4_000, Some(1_000), 15_000, 16_000),
        (u64::MAX - 1, None, 15_000, u64::MAX),
        (0, Some(0), 0, 0),
    ] {
        assert_eq!(vouched(read, write, timeout), fence, "{read} {write:?} {timeout}");
    }
}

#[test]
fn durations_are_rounded_towards_the_safe_side() {
    let at = BootTime::from_millis(5).plus(Duration::from_micros(1_999));
    assert_eq!(at, BootTime::from_millis(6));
    assert_eq!(BootTime::from_millis(5).since(BootTime::from_millis(7)), Duration::ZERO);
    assert_eq!(BootTime::from_millis(12_034).to_string(), "12.034 s after the boot");
}
