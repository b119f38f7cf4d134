use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use everline_lab::dns::{Dns, Mode};
use tokio::net::UdpSocket;

use super::*;

fn name(name: &str) -> HostPort {
    HostPort::new(Host::parse(name).unwrap(), 5432)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn ask(resolver: &Resolver, host: &str) -> Result<Vec<String>, Problem> {
    let endpoints = resolver.endpoints(&name(host), soon()).await.map_err(|error| error.problem)?;
    Ok(endpoints.iter().map(ToString::to_string).collect())
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

#[tokio::test]
async fn addresses_and_sockets_answer_themselves() {
    let nobody = Resolver::server("127.0.0.1:1".parse().unwrap());
    assert_eq!(ask(&nobody, "10.0.0.1").await.unwrap(), ["10.0.0.1:5432"]);
    assert_eq!(ask(&nobody, "::1").await.unwrap(), ["[::1]:5432"]);
    assert_eq!(ask(&nobody, "/dir").await.unwrap(), ["/dir/.s.PGSQL.5432"]);
    let mut host = name("db.example");
    host.address = Some(v4(7));
    let endpoints = nobody.endpoints(&host, soon()).await.unwrap();
    assert_eq!(endpoints[0].to_string(), "db.example (10.0.0.7:5432)");
    assert_eq!(endpoints[0].port(), 5432);
    let unix =
        Endpoint { host: "/dir".into(), address: Address::Unix(PathBuf::from("/dir/.s.PGSQL.77")) };
    assert_eq!(unix.port(), 77);
}

#[tokio::test]
async fn the_system_knows_localhost() {
    let addresses = ask(&Resolver::system(), "localhost").await.unwrap();
    assert!(addresses.contains(&"localhost (127.0.0.1:5432)".to_owned()), "{addresses:?}");
    assert!(ask(&Resolver::system(), "does-not-exist.invalid").await.is_err());
}

#[tokio::test]
async fn a_name_server_is_asked_anew_each_time() {
    let dns = Dns::start().await.unwrap();
    let resolver = Resolver::server(dns.address());
    dns.set("db.example", &[v4(1), v4(2), Ipv6Addr::LOCALHOST.into()]);
    let all =
        ["db.example (10.0.0.1:5432)", "db.example (10.0.0.2:5432)", "db.example ([::1]:5432)"];
    assert_eq!(ask(&resolver, "db.example").await.unwrap(), all);
    dns.set("db.example", &[v4(3)]);
    assert_eq!(ask(&resolver, "DB.example.").await.unwrap(), ["DB.example. (10.0.0.3:5432)"]);
    dns.set("db.example", &[]);
    assert_eq!(ask(&resolver, "db.example").await, Err(Problem::NotFound));
    dns.remove("db.example");
    assert_eq!(ask(&resolver, "db.example").await, Err(Problem::NotFound));
    dns.set_mode(Mode::ServerFailure);
    assert!(matches!(ask(&resolver, "db.example").await, Err(Problem::Failed(_))));
    dns.set_mode(Mode::Truncated);
    let many: Vec<IpAddr> = (0..60).map(v4).collect();
    dns.set("db.example", &many);
    assert_eq!(ask(&resolver, "db.example").await.unwrap().len(), 60);
}

#[tokio::test]
async fn one_question_serves_all_who_ask_meanwhile_and_silence_ends_at_the_deadline() {
    let dns = Dns::start().await.unwrap();
    let resolver = Resolver::server(dns.address());
    dns.set_mode(Mode::Silence);
    dns.set("db.example", &[v4(1)]);
    let host = name("db.example");
    let deadline = Instant::now() + Duration::from_millis(300);
    let hasty = resolver.addresses(&host, deadline);
    let others = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (mut waiting, host) = (tokio::task::JoinSet::new(), host.clone());
        for _ in 0..20 {
            let (resolver, host) = (resolver.clone(), host.clone());
            waiting.spawn(async move { resolver.addresses(&host, soon()).await });
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        dns.set_mode(Mode::Table);
        waiting.join_all().await
    };
    let (hasty, others) = tokio::join!(hasty, others);
    assert_eq!(hasty.unwrap_err().problem, Problem::Timeout);
    for answer in others {
        assert_eq!(answer.unwrap().len(), 1);
    }
    // Two families, asked for the hasty one and for the others, with a repetition or two.
    assert!((4..=8).contains(&dns.asked("db.example")), "{}", dns.asked("db.example"));
}

/// A server that answers nonsense before the truth, and IPv6 questions never.
#[tokio::test]
async fn nonsense_is_passed_over_and_a_silent_family_waited_for_only_shortly() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let question = &buffer[..length];
            if question[length - 3] != 1 {
                continue;
            }
            let mut answer = question.to_vec();
            answer[2] |= 0x80;
            let mut other_id = answer.clone();
            other_id[0] ^= 0xff;
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 5]);
            for datagram in [&[1, 2, 3][..], question, &other_id, &answer] {
                server.send_to(datagram, from).await.unwrap();
            }
        }
    });
    let began = Instant::now();
    let resolver = Resolver::server(address);
    assert_eq!(ask(&resolver, "db.example").await.unwrap(), ["db.example (10.0.0.5:5432)"]);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    task.abort();
}

#[tokio::test]
async fn a_name_server_that_is_not_there_is_told_at_once() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let began = Instant::now();
    let error = ask(&Resolver::server(gone), "db.example").await.unwrap_err();
    assert!(error.to_string().contains("the name server cannot be asked"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
}
