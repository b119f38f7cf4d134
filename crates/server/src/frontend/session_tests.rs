use std::sync::Arc;

use super::Session;
use crate::frontend::{Context, accept};
use crate::net::stream::Stream;

const fn future_bytes<F>(_: fn(Arc<Context>, Stream) -> F) -> usize {
    size_of::<F>()
}

/// A client that sends nothing costs its session and the future of its task, as large as the
/// largest thing that the future waits for: one more wait that is not boxed can cost each client
/// kilobytes.
#[test]
fn an_idle_client_is_small() {
    assert!(future_bytes(accept::serve) <= 512, "{} bytes", future_bytes(accept::serve));
    assert!(size_of::<Session>() <= 1_536, "{} bytes", size_of::<Session>());
}
