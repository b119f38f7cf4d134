use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Dns, Mode, look_up};
use crate::Error;

const OLD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const NEW: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

#[tokio::test]
async fn a_name_moves_with_the_next_question() {
    let dns = Dns::start().await.unwrap();
    dns.set("db.demo", &[OLD]);
    assert_eq!(look_up(dns.address(), "DB.demo").await.unwrap(), [OLD]);
    dns.set("db.demo", &[NEW, OLD]);
    assert_eq!(look_up(dns.address(), "db.demo").await.unwrap(), [NEW, OLD]);
    assert_eq!(dns.asked("db.demo"), 2);
}

#[tokio::test]
async fn it_fails_in_every_way_a_resolver_can() {
    let dns = Dns::start().await.unwrap();
    dns.set("db.demo", &[OLD]);
    let said = look_up(dns.address(), "other.demo").await.unwrap_err().to_string();
    assert!(said.contains("NameError"), "{said}");
    dns.set_mode(Mode::ServerFailure);
    let said = look_up(dns.address(), "db.demo").await.unwrap_err().to_string();
    assert!(said.contains("ServerFailure"), "{said}");
    dns.set_mode(Mode::Truncated);
    assert!(look_up(dns.address(), "db.demo").await.unwrap().is_empty());
    dns.set_mode(Mode::Silence);
    assert!(matches!(look_up(dns.address(), "db.demo").await, Err(Error::Late { .. })));
}

#[tokio::test]
async fn it_answers_over_tcp_too() {
    let dns = Dns::start().await.unwrap();
    dns.set("db.demo", &[OLD]);
    dns.set_mode(Mode::Truncated);
    let mut stream = tokio::net::TcpStream::connect(dns.address()).await.unwrap();
    let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02db\x04demo\0\0\x01\0\x01";
    stream.write_u16(25).await.unwrap();
    stream.write_all(question).await.unwrap();
    let length = usize::from(stream.read_u16().await.unwrap());
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(answer.ends_with(&[127, 0, 0, 2]), "{answer:?}");
}
