//! A DNS server on loopback whose names move when the test says so.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Result, during, ports};

/// Longest datagram read, in bytes. Questions are far shorter.
const DATAGRAM_BYTES_MAX: usize = 4096;

/// How the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// From the table; NXDOMAIN for a name that is not in it.
    #[default]
    Table,
    /// NXDOMAIN to everything.
    NameError,
    /// SERVFAIL to everything.
    ServerFailure,
    /// Not at all: datagrams are swallowed, connections stay silent.
    Silence,
    /// Over UDP with an empty, truncated answer, over TCP from the table.
    Truncated,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    ttl: u32,
    names: BTreeMap<String, Vec<IpAddr>>,
    asked: BTreeMap<String, u64>,
}

/// A running DNS server, UDP and TCP on one port; it ends when dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _ends: DropGuard,
}

impl Dns {
    /// Starts one with an empty table and a time to live of 0 s.
    ///
    /// # Errors
    /// [`crate::Error::Io`] when no port can be bound.
    pub async fn start() -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST).await
    }

    /// As [`Dns::start`], at another address of this machine.
    ///
    /// # Errors
    /// See [`Dns::start`].
    pub async fn start_at(address: Ipv4Addr) -> Result<Self> {
        let ip = IpAddr::V4(address);
        let address = SocketAddr::new(ip, ports::free(&[ip])?);
        let datagrams = during(|| format!("UDP {address}"), UdpSocket::bind(address).await)?;
        let streams = during(|| format!("TCP {address}"), TcpListener::bind(address).await)?;
        let state = Arc::new(Mutex::new(State::default()));
        let ended = CancellationToken::new();
        tokio::spawn(ended.clone().run_until_cancelled_owned(serve_udp(datagrams, state.clone())));
        tokio::spawn(ended.clone().run_until_cancelled_owned(serve_tcp(
            streams,
            state.clone(),
            ended.clone(),
        )));
        Ok(Self { address, state, _ends: ended.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets `name` stand for `addresses` from the next question on.
    pub fn set(&self, name: &str, addresses: &[IpAddr]) {
        self.with(|state| state.names.insert(folded(name), addresses.to_vec()));
    }

    /// Takes `name` out of the table: NXDOMAIN.
    pub fn remove(&self, name: &str) {
        self.with(|state| state.names.remove(&folded(name)));
    }

    /// Changes how questions are answered.
    pub fn set_mode(&self, mode: Mode) {
        self.with(|state| state.mode = mode);
    }

    /// Changes the time to live of the answers, in seconds.
    pub fn set_ttl(&self, seconds: u32) {
        self.with(|state| state.ttl = seconds);
    }

    /// How many questions about `name` have come, of every type, answered or not.
    #[must_use]
    pub fn asked(&self, name: &str) -> u64 {
        self.with(|state| state.asked.get(&folded(name)).copied().unwrap_or(0))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

async fn serve_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error here is a sender's ICMP answer, which concerns nobody else.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let question = buffer.get(..length).unwrap_or_default();
        if let Some(answer) = answer(question, &state, true) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>, ended: CancellationToken) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let conversation = converse(stream, state.clone());
        tokio::spawn(ended.clone().run_until_cancelled_owned(conversation));
    }
}

async fn converse(mut stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    loop {
        let mut question = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut question).await?;
        let Some(answer) = answer(&question, &state, false) else { continue };
        let length = u16::try_from(answer.len()).unwrap_or(0);
        stream.write_u16(length).await?;
        stream.write_all(&answer).await?;
    }
}

/// The answer to one message, or `None` where silence is the answer.
fn answer(message: &[u8], state: &Mutex<State>, datagram: bool) -> Option<Vec<u8>> {
    let asked = Packet::parse(message).ok()?;
    let question = asked.questions.first()?.clone();
    let name = folded(&question.qname.to_string());
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    *state.asked.entry(name.clone()).or_default() += 1;
    let known = state.names.get(&name).cloned();
    let mut reply = Packet::new_reply(asked.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    if asked.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    }
    match (state.mode, known) {
        (Mode::Silence, _) => return None,
        (Mode::ServerFailure, _) => *reply.rcode_mut() = RCODE::ServerFailure,
        (Mode::NameError, _) | (Mode::Table | Mode::Truncated, None) => {
            *reply.rcode_mut() = RCODE::NameError;
        }
        (Mode::Truncated, Some(_)) if datagram => reply.set_flags(PacketFlag::TRUNCATION),
        (Mode::Table | Mode::Truncated, Some(addresses)) => {
            for address in addresses {
                let data = record(address, question.qtype);
                reply.answers.extend(data.map(|data| {
                    ResourceRecord::new(question.qname.clone(), CLASS::IN, state.ttl, data)
                }));
            }
        }
    }
    reply.questions.push(question);
    reply.build_bytes_vec().ok()
}

fn record(address: IpAddr, asked: QTYPE) -> Option<RData<'static>> {
    match address {
        IpAddr::V4(v4) if matches!(asked, QTYPE::ANY | QTYPE::TYPE(TYPE::A)) => {
            Some(RData::A(A { address: v4.to_bits() }))
        }
        IpAddr::V6(v6) if matches!(asked, QTYPE::ANY | QTYPE::TYPE(TYPE::AAAA)) => {
            Some(RData::AAAA(AAAA { address: v6.to_bits() }))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Asks `server` for the addresses of `name` over UDP: the lab's own look at a name.
///
/// # Errors
/// [`crate::Error::Io`] when nothing can be sent, [`crate::Error::Late`] without an answer within
/// a second, [`crate::Error::Failed`] with the response code when it is not "no error".
pub async fn look_up(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>> {
    let late = std::time::Duration::from_secs(1);
    let failed = |detail: String| crate::Error::Failed { what: format!("asking {name}"), detail };
    let mut packet = Packet::new_query(1);
    let name_asked = Name::new(name).map_err(|error| failed(error.to_string()))?;
    packet.questions.push(simple_dns::Question::new(
        name_asked,
        QTYPE::TYPE(TYPE::A),
        simple_dns::QCLASS::CLASS(CLASS::IN),
        false,
    ));
    let bytes = packet.build_bytes_vec().map_err(|error| failed(error.to_string()))?;
    let socket = during(|| "UDP".to_owned(), UdpSocket::bind("127.0.0.1:0").await)?;
    during(|| format!("asking {server}"), socket.send_to(&bytes, server).await)?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let length = tokio::time::timeout(late, socket.recv(&mut buffer)).await.map_err(|_| {
        crate::Error::Late { what: format!("an answer about {name}"), within: late }
    })?;
    let length = during(|| format!("hearing {server}"), length)?;
    let reply = Packet::parse(buffer.get(..length).unwrap_or_default())
        .map_err(|error| failed(error.to_string()))?;
    if reply.rcode() != RCODE::NoError {
        return Err(failed(format!("{:?}", reply.rcode())));
    }
    let mut addresses = Vec::new();
    for answer in &reply.answers {
        if let RData::A(a) = &answer.rdata {
            addresses.push(IpAddr::V4(Ipv4Addr::from_bits(a.address)));
        }
    }
    Ok(addresses)
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
