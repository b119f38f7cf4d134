use serde_json::json;

use super::{span, text};

#[test]
fn a_status_is_read_in_one_look() {
    let status = json!({
        "version": "1.2.3", "process_id": 7, "uptime_s": 7_300.0, "doing": "It serves.",
        "advice": "Nothing to do.", "state": "healthy", "state_for_s": 12.0, "epoch": 2,
        "leader": {"endpoint": "db:5432"}, "clients": 6, "clients_active": 1,
        "clients_waiting": 2, "clients_idle": 3, "budget": 49, "budget_used": 4, "held": 0,
        "held_total": 5, "retryable_total": 8, "unknown_total": 9, "last_error": null,
        "outages": [{"lasted_ms": 1234.5, "ago_s": 90.0, "why": "it broke"}],
    });
    let expected = "\
Everline 1.2.3 at 127.0.0.1:6433, process 7, up 2 h

  It serves.
  Nothing to do.

  state        healthy, for 12 s, epoch 2
  leader       db:5432
  clients      6: 1 active, 2 waiting, 3 idle
  connections  4 of 49
  held         0 now, 5 ever
  refused      8 retryable, 9 of unknown outcome
  last outage  1234 ms, 90 s ago: it broke";
    assert_eq!(text(&status, "127.0.0.1:6433".parse().unwrap()), expected);
}

#[test]
fn spans_have_the_unit_that_fits() {
    let spans = [0.4, 119.0, 120.0, 7_199.0, 7_200.0, 200_000.0].map(|s| span(Some(&json!(s))));
    assert_eq!(spans, ["0 s", "119 s", "2 min", "120 min", "2 h", "2 days"]);
}
