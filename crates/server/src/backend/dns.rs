//! A stub resolver for one name server: two questions, over UDP, over TCP when the answer was cut.
//!
//! Sources: RFC 1035, RFC 5452 (what makes an answer ours), RFC 7766 (TCP).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::resolve::{ADDRESSES_MAX, Problem};

/// How long one datagram is waited for before the question is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How long the other family is waited for once one has addresses.
const OTHER_FAMILY: Duration = Duration::from_millis(200);

/// Longest answer read, in bytes: all that TCP's length field can say.
const ANSWER_BYTES_MAX: usize = 65_535;

/// Most records that an answer may announce: each costs memory before it is read.
const RECORDS_MAX: u16 = 512;

/// Longest chain of aliases followed within one answer.
const ALIASES_MAX: usize = 16;

/// The addresses of a name, IPv4 before IPv6.
///
/// # Cancel safety
/// Safe.
pub(super) async fn ask(
    server: SocketAddr,
    name: &str,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Problem> {
    let v4 = family(server, name, TYPE::A, deadline);
    let v6 = family(server, name, TYPE::AAAA, deadline);
    tokio::pin!(v4, v6);
    // A family that does not answer must not hold up the one that did.
    let (v4, v6) = tokio::select! {
        biased; // for the same order in every run
        first = &mut v4 => {
            let second = wait(&first, v6.as_mut()).await;
            (first, second)
        }
        first = &mut v6 => {
            let second = wait(&first, v4.as_mut()).await;
            (second, first)
        }
    };
    match (v4, v6) {
        (Ok(mut addresses), Ok(more)) => {
            addresses.extend(more);
            addresses.truncate(ADDRESSES_MAX);
            if addresses.is_empty() { Err(Problem::NotFound) } else { Ok(addresses) }
        }
        (Ok(addresses), Err(_)) | (Err(_), Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    }
}

async fn wait(
    first: &Result<Vec<IpAddr>, Problem>,
    second: impl Future<Output = Result<Vec<IpAddr>, Problem>>,
) -> Result<Vec<IpAddr>, Problem> {
    let found = first.as_ref().is_ok_and(|addresses| !addresses.is_empty());
    if !found {
        return second.await;
    }
    timeout(OTHER_FAMILY, second).await.unwrap_or(Err(Problem::Timeout))
}

async fn family(
    server: SocketAddr,
    name: &str,
    kind: TYPE,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Problem> {
    let asked = async {
        loop {
            match timeout(RETRY, udp(server, name, kind)).await {
                Err(_) => {} // lost on the way: ask again
                Ok(Ok(Heard::Addresses(addresses))) => return Ok(addresses),
                Ok(Ok(Heard::Cut)) => return tcp(server, name, kind).await,
                Ok(Err(problem)) => return Err(problem),
            }
        }
    };
    timeout_at(deadline, asked).await.unwrap_or(Err(Problem::Timeout))
}

/// What an answer says.
#[derive(Debug, Eq, PartialEq)]
enum Heard {
    Addresses(Vec<IpAddr>),
    /// Too long for UDP.
    Cut,
}

async fn udp(server: SocketAddr, name: &str, kind: TYPE) -> Result<Heard, Problem> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // A socket of its own for each question: its port is one more thing to guess, and as it is
    // connected the kernel drops what comes from elsewhere.
    let socket = UdpSocket::bind(any).await.map_err(|error| failed(&error))?;
    socket.connect(server).await.map_err(|error| failed(&error))?;
    let id = rand::random();
    let question = question(id, name, kind)?;
    socket.send(&question).await.map_err(|error| failed(&error))?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|error| failed(&error))?;
        // What is not an answer to our question is passed over: the real one may follow.
        if let Some(heard) = buffer.get(..length).and_then(|bytes| read(bytes, id, name, kind)) {
            return heard;
        }
    }
}

async fn tcp(server: SocketAddr, name: &str, kind: TYPE) -> Result<Vec<IpAddr>, Problem> {
    let id = rand::random();
    let question = question(id, name, kind)?;
    let answer = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(question.len()).map_err(io::Error::other)?;
        let mut out = length.to_be_bytes().to_vec();
        out.extend_from_slice(&question);
        stream.write_all(&out).await?;
        let length = usize::from(stream.read_u16().await?);
        let mut answer = vec![0; length.min(ANSWER_BYTES_MAX)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    let answer = answer.await.map_err(|error: io::Error| failed(&error))?;
    match read(&answer, id, name, kind) {
        Some(Ok(Heard::Addresses(addresses))) => Ok(addresses),
        Some(Err(problem)) => Err(problem),
        Some(Ok(Heard::Cut)) | None => Err(malformed()),
    }
}

fn failed(error: &io::Error) -> Problem {
    Problem::Failed(format!("the name server cannot be asked: {error}"))
}

fn malformed() -> Problem {
    Problem::Failed("the name server's answer is malformed".to_owned())
}

fn question(id: u16, name: &str, kind: TYPE) -> Result<Vec<u8>, Problem> {
    let wrong = |_| Problem::Failed("it cannot be a domain name".to_owned());
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name.trim_end_matches('.')).map_err(wrong)?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(wrong)
}

/// Reads an answer; `None` when it is not one to our question.
fn read(bytes: &[u8], id: u16, name: &str, kind: TYPE) -> Option<Result<Heard, Problem>> {
    // Read by hand: the parser makes room for as many records as the header announces.
    let (id_bytes, rest) = bytes.split_first_chunk::<2>()?;
    let (_flags, counts) = rest.split_first_chunk::<2>()?;
    let (counts, _) = counts.as_chunks::<2>();
    let too_many = counts.iter().take(4).any(|count| u16::from_be_bytes(*count) > RECORDS_MAX);
    if u16::from_be_bytes(*id_bytes) != id || too_many {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    let [question] = packet.questions.as_slice() else { return None };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let ours = packet.has_flags(PacketFlag::RESPONSE)
        && spelled(&question.qname) == name
        && question.qtype == QTYPE::TYPE(kind);
    if !ours {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Ok(Heard::Cut));
    }
    let code = packet.rcode();
    Some(if code == RCODE::NoError {
        Ok(Heard::Addresses(addresses(&packet, name)))
    } else if code == RCODE::NameError {
        Err(Problem::NotFound)
    } else {
        Err(Problem::Failed(format!("the name server answered {code:?}")))
    })
}

/// The addresses at the end of the chain of aliases that begins with `name`.
fn addresses(packet: &Packet<'_>, mut name: String) -> Vec<IpAddr> {
    for _ in 0..ALIASES_MAX {
        let alias = packet.answers.iter().find_map(|record| alias(record, &name));
        match alias {
            Some(alias) => name = alias,
            None => break,
        }
    }
    let ours = packet.answers.iter().filter(|record| spelled(&record.name) == name);
    ours.filter_map(|record| address(&record.rdata)).take(ADDRESSES_MAX).collect()
}

fn alias(record: &ResourceRecord<'_>, name: &str) -> Option<String> {
    let RData::CNAME(alias) = &record.rdata else { return None };
    (spelled(&record.name) == name).then(|| spelled(&alias.0))
}

fn address(data: &RData<'_>) -> Option<IpAddr> {
    if let RData::A(record) = data {
        Some(IpAddr::V4(Ipv4Addr::from_bits(record.address)))
    } else if let RData::AAAA(record) = data {
        Some(IpAddr::V6(Ipv6Addr::from_bits(record.address)))
    } else {
        None
    }
}

fn spelled(name: &Name<'_>) -> String {
    name.to_string().to_ascii_lowercase()
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
