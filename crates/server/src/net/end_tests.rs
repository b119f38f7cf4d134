use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::End;

#[tokio::test(start_paused = true)]
async fn wakes_the_task_that_asked_last_and_no_other() {
    let token = CancellationToken::new();
    let mut end = End::of(&token);
    let early = timeout(Duration::from_secs(1), poll_fn(|context| end.poll(context))).await;
    assert!(early.is_err(), "it has not come yet");

    let other = tokio::spawn(async move {
        poll_fn(|context| end.poll(context)).await;
        poll_fn(|context| end.poll(context)).await; // and stays ready
    });
    tokio::task::yield_now().await;
    token.cancel();
    let told = timeout(Duration::from_secs(1), other).await;
    assert!(matches!(told, Ok(Ok(()))), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn has_come_when_it_came_between_two_looks_of_one_task() {
    let token = CancellationToken::new();
    let mut end = End::of(&token);
    let first = poll_fn(|context| std::task::Poll::Ready(end.poll(context).is_ready())).await;
    token.cancel();
    let second = poll_fn(|context| std::task::Poll::Ready(end.poll(context).is_ready())).await;
    assert_eq!((first, second), (false, true));
}
