use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn every_option_arrives_at_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    SocketOptions::default().apply(&stream).unwrap();
    let socket = SockRef::from(&stream);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), IDLE);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), INTERVAL);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), COUNT);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));

    SocketOptions { keepalive: None, user_timeout: Duration::from_millis(1500) }
        .apply(&stream)
        .unwrap();
    assert!(!socket.keepalive().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(1500)));
}
