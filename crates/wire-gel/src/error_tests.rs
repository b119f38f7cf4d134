use super::*;

#[test]
fn sqlstates_as_codes() {
    for (state, code) in [
        ("0A000", ErrorCode::UNSUPPORTED),
        ("22012", ErrorCode::DIVISION_BY_ZERO),
        ("22003", ErrorCode::NUMERIC_RANGE),
        ("22P02", ErrorCode::INVALID_VALUE),
        ("23505", ErrorCode::CONSTRAINT),
        ("25001", ErrorCode::TRANSACTION),
        ("25P03", ErrorCode::IDLE_TRANSACTION_TIMEOUT),
        ("28000", ErrorCode::AUTHENTICATION),
        ("40001", ErrorCode::SERIALIZATION),
        ("40P01", ErrorCode::DEADLOCK),
        ("40003", ErrorCode::AVAILABILITY),
        ("40002", ErrorCode::TRANSACTION_CONFLICT),
        ("42501", ErrorCode::ACCESS_POLICY),
        ("42601", ErrorCode::SYNTAX),
        ("42P01", ErrorCode::QUERY),
        ("57014", ErrorCode::QUERY_TIMEOUT),
        ("53100", ErrorCode::EXECUTION),
        ("P0001", ErrorCode::EXECUTION),
        ("XX000", ErrorCode::BACKEND),
    ] {
        assert_eq!(ErrorCode::of(state.parse().unwrap()), code, "{state}");
    }
}

/// An outcome that is not known must not look like one that may be repeated.
#[test]
fn what_is_unknown_invites_nobody() {
    for (code, invites) in [
        (ErrorCode::AVAILABILITY, false),
        (ErrorCode::BACKEND_UNAVAILABLE, true),
        (ErrorCode::SERIALIZATION, true),
        (ErrorCode::DEADLOCK, true),
        (ErrorCode::TRANSACTION_CONFLICT, true),
        (ErrorCode::TRANSACTION, false),
        (ErrorCode::CONSTRAINT, false),
        (ErrorCode::of("40003".parse().unwrap()), false),
    ] {
        assert_eq!(code.invites_retry(), invites, "{code:?}");
    }
}
