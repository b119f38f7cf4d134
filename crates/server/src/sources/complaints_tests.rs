use super::*;

#[test]
fn reasons_that_take_turns_are_each_said_once_and_again_after_a_while() {
    let began = Instant::now();
    let mut complaints = Complaints::default();
    let mut said = 0;
    for second in 0..100 {
        let now = began + Duration::from_secs(second);
        let reason = if second % 2 == 0 { "the first agent" } else { "the second agent" };
        said += u32::from(complaints.is_news(reason, now));
    }
    assert_eq!(said, 2);
    let later = began + AGAIN;
    assert!(complaints.is_news("the first agent", later));
    assert!(!complaints.is_news("the second agent", later), "said a second later");
    complaints.end();
    assert!(complaints.is_news("the second agent", later));
}

#[test]
fn reasons_that_are_always_others_take_no_memory() {
    let (mut complaints, now) = (Complaints::default(), Instant::now());
    for number in 0..1_000 {
        assert!(complaints.is_news(&number.to_string(), now));
    }
    assert_eq!(complaints.0.len(), REASONS_MAX);
}
