use tokio::net::TcpListener;

use super::*;
use crate::config::dsn::Surroundings;

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

#[tokio::test]
async fn the_longest_times_of_a_dsn_are_not_refused_by_the_socket() {
    let surroundings = Surroundings {
        variable: &|_| None,
        home: None,
        user: None,
        socket_directory: "/tmp".into(),
    };
    let text = "postgres://u@h?keepalives_idle=2000000000&keepalives_interval=2000000000\
                &keepalives_count=127&tcp_user_timeout=2000000000";
    let options = SocketOptions::from_dsn(&Dsn::parse(text, &surroundings).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    options.apply(&stream).unwrap();
    let off = Dsn::parse("postgres://u@h?keepalives=0", &surroundings).unwrap();
    assert_eq!(SocketOptions::from_dsn(&off).keepalive, None);
}
