use super::{Form, Page};
use crate::metrics::histogram::Spread;

fn page(form: Form) -> String {
    let mut page = Page { form, out: String::new(), name: "" };
    page.counter("everline_sent_bytes_total", "Bytes.");
    page.one(&[("database", "a\"b\\c\nd")], 5);
    let spread = Spread { buckets: vec![(0.5, 1), (1.0, 2)], count: 3, sum_s: 4.25 };
    page.histogram("everline_hold_seconds", "Holds.", &spread);
    page.end()
}

#[test]
fn a_page_in_each_form() {
    let text = "\
# TYPE everline_sent_bytes_total counter
# HELP everline_sent_bytes_total Bytes.
everline_sent_bytes_total{database=\"a\\\"b\\\\c\\nd\"} 5
# TYPE everline_hold_seconds histogram
# HELP everline_hold_seconds Holds.
everline_hold_seconds_bucket{le=\"0.5\"} 1
everline_hold_seconds_bucket{le=\"1.0\"} 2
everline_hold_seconds_bucket{le=\"+Inf\"} 3
everline_hold_seconds_sum 4.25
everline_hold_seconds_count 3
";
    assert_eq!(page(Form::Text), text);
    let open = text
        .replace(
            "# TYPE everline_sent_bytes_total counter",
            "# TYPE everline_sent_bytes counter\n# UNIT everline_sent_bytes bytes",
        )
        .replace("# HELP everline_sent_bytes_total", "# HELP everline_sent_bytes")
        .replace(
            "seconds histogram\n",
            "seconds histogram\n# UNIT everline_hold_seconds seconds\n",
        );
    assert_eq!(page(Form::OpenMetrics), open + "# EOF\n");
}

#[test]
fn the_form_is_what_was_asked_for() {
    let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    assert_eq!(Form::accepted(asked), Form::OpenMetrics);
    assert_eq!(Form::accepted("text/html, */*"), Form::Text);
}
