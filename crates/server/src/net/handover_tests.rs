use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::timeout;

use super::{Sockets, offer, pass, take};

fn sockets() -> (TcpListener, Sockets) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let copy = listener.as_fd().try_clone_to_owned().unwrap();
    (listener, Sockets::from([("listen here".to_owned(), copy)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_is_accepted_by_who_comes_after() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("takeover");
    assert!(take(&path).unwrap().is_none(), "nobody is there");
    let (listener, mut all) = sockets();
    let address = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    drop(listener);
    let offered = offer(&path).unwrap();
    let asking = path.clone();
    let newcomer = tokio::task::spawn_blocking(move || {
        let mut taken = take(&asking).unwrap().expect("somebody is there");
        let socket = taken.sockets.remove("listen here").expect("it was passed on");
        (taken, TcpListener::from(socket))
    });
    let ready = async {
        let (taken, listener) = newcomer.await.unwrap();
        (taken.ready().unwrap(), listener)
    };
    let (after, (before, listener)) = tokio::join!(pass(&offered, &all), ready);
    all.clear();
    let mut gone = std::pin::pin!(before.gone());
    let still_there = Duration::from_millis(50);
    assert!(timeout(still_there, gone.as_mut()).await.is_err(), "it lives");
    drop(after.unwrap());
    timeout(Duration::from_secs(5), gone).await.expect("its end is heard of");
    assert_eq!(listener.local_addr().unwrap(), address);
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"!").unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"!");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_does_not_get_ready_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("takeover");
    let (_listener, all) = sockets();
    let offered = offer(&path).unwrap();
    let asking = path.clone();
    tokio::task::spawn_blocking(move || drop(take(&asking).unwrap()));
    assert!(pass(&offered, &all).await.is_err());
    let asking = path.clone();
    tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(asking).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    });
    assert!(pass(&offered, &all).await.is_err());
    // A file at which nobody listens is left over.
    drop(offered);
    assert!(take(&path).unwrap().is_none());
    drop(offer(&path).unwrap());
}
