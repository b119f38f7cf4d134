use super::{Status, describe};

#[test]
fn a_status_is_one_line() {
    for (status, line) in [
        (
            r#"{"state":"healthy","epoch":2,"leader":{"endpoint":"db (127.0.0.3:1)","timeline":2}}"#,
            "healthy · epoch 2 · timeline 2 · leader db (127.0.0.3:1)",
        ),
        (
            r#"{"state":"unhealthy","epoch":1,"reason":"it is gone","held":7,"more":[]}"#,
            "unhealthy · epoch 1 · it is gone · holds 7",
        ),
        (
            r#"{"source":{"registered":"yes","acknowledged":12,"fence_remaining_ms":2640}}"#,
            " · epoch 0 · acknowledged 12 · fence 2.6 s",
        ),
        (r#"{"source":{"registered":"no"}}"#, " · epoch 0 · not registered · fence 0.0 s"),
        ("{}", " · epoch 0"),
    ] {
        let status: Status = serde_json::from_str(status).unwrap();
        assert_eq!(describe(&status), line);
    }
}
