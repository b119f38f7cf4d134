//! What comes before the first packet: a proxy's header, and TLS at once.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use everline_core::refusal::Refusal;
use everline_wire::proxy_header::{self, Proxied};
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use super::login::LoginError;
use super::{Context, Live};
use crate::config::TlsDemand;
use crate::config::cidr::Cidr;
use crate::net::stream::Stream;

/// Longest header of a proxy, in bytes, with room to see that it is too long.
const HEADER_BYTES_MAX: usize = 1_100;

/// How often a header that has not come whole is looked at again.
const HEADER_LOOKS: Duration = Duration::from_millis(5);

/// First byte of a TLS handshake; no first packet of PostgreSQL's begins with it, because none is
/// so long.
const TLS_HANDSHAKE: u8 = 0x16;

fn protocol(what: &str) -> LoginError {
    Refusal::Protocol { what: what.to_owned() }.into()
}

/// Where the client is, as far as that is known: the other end, or whom a trusted proxy names.
pub(super) async fn client(
    stream: &mut Stream,
    proxies: &[Cidr],
) -> Result<Option<SocketAddr>, LoginError> {
    let peer = stream.peer();
    let trusted = peer.is_some_and(|peer| proxies.iter().any(|range| range.contains(peer.ip())));
    if !trusted {
        return Ok(peer);
    }
    let mut header = [0; HEADER_BYTES_MAX];
    loop {
        let seen = stream.peek(&mut header).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let begun = header.get(..seen).unwrap_or_default();
        let parsed = proxy_header::parse(begun).map_err(|error| protocol(&error.to_string()))?;
        if let Some((used, proxied)) = parsed {
            let taken = header.get_mut(..used).unwrap_or_default();
            stream.read_exact(taken).await?;
            return Ok(match proxied {
                Proxied::From(address) => Some(address),
                Proxied::Itself => peer,
            });
        }
        sleep(HEADER_LOOKS).await; // it lies in the socket until it is whole
    }
}

/// Answers a client that begins with the handshake itself (`sslnegotiation=direct`).
pub(super) async fn direct_tls(
    context: &Context,
    slot: &mut Option<Stream>,
    binding: &mut Option<Bytes>,
) -> Result<(), LoginError> {
    let live = context.live();
    let (Some(stream), Some(tls)) = (slot.as_mut(), &live.tls) else { return Ok(()) };
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 || first != [TLS_HANDSHAKE] {
        return Ok(());
    }
    let Some(Ok(plain)) = slot.take().map(Stream::into_plain) else { return Ok(()) };
    let stream = slot.insert(tls.accept(plain).await?);
    if !stream.names_protocol() {
        // Somebody may have led another protocol's client here.
        return Err(protocol("a direct TLS connection has to name its protocol (ALPN)"));
    }
    *binding = tls.end_point();
    Ok(())
}

/// Turns away a client over TCP that does not speak TLS where that is demanded.
pub(super) fn demand_tls(
    live: &Live,
    stream: &Stream,
    from: Option<SocketAddr>,
) -> Result<(), LoginError> {
    let demanded = live.tls.as_ref().is_some_and(|tls| tls.demand() != TlsDemand::Allow);
    if demanded && from.is_some() && !stream.is_tls() {
        let message = "connection requires TLS".to_owned();
        return Err(LoginError::TurnedAway { message });
    }
    Ok(())
}
