use super::*;
use crate::frame::header;

const REPORT: Report<'_> = Report {
    severity: Severity::Error,
    code: SqlState::SERIALIZATION_FAILURE,
    message: "m",
    detail: Some("d"),
    hint: None,
};

#[test]
fn a_report_has_its_fields_in_postgresqls_order() {
    let mut out = BytesMut::new();
    REPORT.error_response(&mut out);
    assert_eq!(&out[..], b"E\0\0\0\x20SERROR\0VERROR\0C40001\0Mm\0Dd\0\0".as_slice());
    let mut out = BytesMut::new();
    Report { hint: Some("h"), detail: None, severity: Severity::Warning, ..REPORT }
        .notice_response(&mut out);
    assert_eq!(&out[..], b"N\0\0\0\x24SWARNING\0VWARNING\0C40001\0Mm\0Hh\0\0".as_slice());
}

#[test]
fn a_nul_in_a_text_cannot_smuggle_a_field_in() {
    let mut out = BytesMut::new();
    Report::new(Severity::Fatal, SqlState::INTERNAL_ERROR, "a\0Hgo away").error_response(&mut out);
    let total = header(&out).unwrap().unwrap().total();
    assert_eq!(total, out.len());
    let fields = ErrorFields::parse(&out[5..]).unwrap();
    assert_eq!((fields.message().as_ref(), fields.hint()), ("a", None));
}

#[test]
fn fields_are_found_by_their_letter() {
    let fields = ErrorFields::parse(
        b"SFATALE\0VFATAL\0C57P01\0Mterminating\0Ddetail \xff\0Hhint\0Fpostgres.c\0\0",
    )
    .unwrap();
    assert_eq!(fields.severity(), Severity::Fatal);
    assert_eq!(fields.code(), SqlState::ADMIN_SHUTDOWN);
    assert_eq!(fields.message(), "terminating");
    assert_eq!(fields.detail().unwrap(), "detail \u{fffd}");
    assert_eq!(fields.hint().unwrap(), "hint");
    assert_eq!(fields.get(b'F'), Some(&b"postgres.c"[..]));
    assert_eq!(fields.get(b'L'), None);
    assert_eq!(fields.iter().count(), 7);
}

#[test]
fn severity_falls_back_to_what_is_known() {
    for (body, expected) in [
        (&b"SPANIC\0\0"[..], Severity::Panic),
        (b"SWARNUNG\0VWARNING\0\0", Severity::Warning),
        (b"SLOG\0VFATAL\0\0", Severity::Fatal),
        (b"SFEHLER\0\0", Severity::Error),
        (b"SLOG\0Vnonsense\0\0", Severity::Log),
        (b"VDEBUG3\0\0", Severity::Debug),
        (b"\0", Severity::Error),
    ] {
        assert_eq!(ErrorFields::parse(body).unwrap().severity(), expected, "{body:?}");
    }
    let none = ErrorFields::parse(b"\0").unwrap();
    assert_eq!((none.code(), none.message().as_ref()), (SqlState::INTERNAL_ERROR, ""));
}

#[test]
fn malformed_fields_are_refused() {
    for (body, expected) in [
        (&b""[..], BodyError::Short),
        (b"SERROR", BodyError::Unterminated),
        (b"SERROR\0", BodyError::Short),
        (b"SERROR\0\0x", BodyError::Trailing),
    ] {
        assert_eq!(ErrorFields::parse(body).unwrap_err(), expected, "{body:?}");
    }
}

#[test]
fn severities_order_by_weight_and_print() {
    assert!(Severity::Error < Severity::Fatal && Severity::Fatal < Severity::Panic);
    for severity in [Severity::Debug, Severity::Info, Severity::Notice, Severity::Panic] {
        assert_eq!(Severity::from_field(severity.to_string().as_bytes()), Some(severity));
    }
}
