use everline_wire::backend::{self, TransactionStatus};
use everline_wire::fields::{Report, Severity};
use everline_wire::sqlstate::SqlState;

use super::*;

fn answer() -> BytesMut {
    let mut out = BytesMut::new();
    backend::data_row(&mut out, [Some(&b"0123456789"[..])]);
    let severity = Severity::Error;
    let code = SqlState::SERIALIZATION_FAILURE;
    let report = Report { severity, code, message: "no", detail: None, hint: None };
    report.error_response(&mut out);
    backend::ready_for_query(&mut out, TransactionStatus::Idle);
    out
}

#[test]
fn messages_are_seen_however_they_are_cut() {
    let bytes = answer();
    for cut in 0..bytes.len() {
        let (first, second) = bytes.split_at(cut);
        let mut scan = Scan::default();
        scan.take(first);
        assert!(!scan.ready, "{cut}");
        scan.take(second);
        assert!(scan.ready, "{cut}");
        assert_eq!(scan.error.as_deref(), Some("no"), "{cut}");
    }
    let mut scan = Scan::default();
    for byte in &bytes {
        scan.take(&[*byte]);
    }
    assert!(scan.ready && scan.error.is_some() && !scan.copying);
}
