use super::told;

#[test]
fn what_changed_is_said_apart_from_what_waits() {
    assert_eq!(told(&[], &[]), ["users, passwords and certificates were read again"]);
    assert_eq!(
        told(&["log", "failover_hold"], &["listen"]),
        ["changed: log, failover_hold", "needs a restart: listen"]
    );
}
