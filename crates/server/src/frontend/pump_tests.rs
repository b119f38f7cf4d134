use std::future::poll_fn;
use std::time::Duration;

use everline_core::ha::BootTime;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// A socket and its peer.
async fn pair() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Stream::Tcp(near), listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn past_the_fence_not_one_byte_goes_to_the_leader() {
    let (mut client, _client_peer) = pair().await;
    let (mut leader, mut leader_peer) = pair().await;
    let never = CancellationToken::new();
    let (mut end, mut killed) = (End::of(&never), End::of(&never));
    let fence = Fence::closed();
    let (mut input, mut to_client, mut read) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    let mut to_backend = BytesMut::from("a statement");
    let (mut unflushed, mut backend_unflushed) = (false, false);
    for (until, arrives) in [(BootTime::ZERO, None), (BootTime::MAX, Some("a statement"))] {
        fence.set(until);
        let leased = Leased {
            stream: &mut leader,
            read: &mut read,
            unflushed: &mut backend_unflushed,
            end: &mut end,
            fence: &fence,
        };
        let mut wait = Wait {
            client: &mut client,
            input: &mut input,
            reads_client: true,
            to_client: &mut to_client,
            unflushed: &mut unflushed,
            backend: Some(leased),
            to_backend: &mut to_backend,
            killed: &mut killed,
            draining: None,
        };
        let woke = timeout(Duration::from_millis(50), poll_fn(|context| wait.poll(context))).await;
        assert_eq!(matches!(woke, Ok(Woke::Ended)), arrives.is_none(), "{woke:?}");
        let mut arrived = [0; 11];
        let heard = timeout(Duration::from_millis(50), leader_peer.read_exact(&mut arrived)).await;
        let heard = heard.is_ok().then(|| String::from_utf8_lossy(&arrived).into_owned());
        assert_eq!(heard.as_deref(), arrives);
    }
}
