//! The header that a proxy puts before a connection to say whose it is (PROXY protocol, version 1
//! and 2).
//!
//! Source: "The PROXY protocol, Versions 1 & 2", sections 2.1 and 2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// Longest header of version 1, in bytes, its line end included.
const LINE_BYTES_MAX: usize = 107;

/// Longest header of version 2 that is accepted, in bytes: addresses and some options.
const BINARY_BYTES_MAX: usize = 1_024;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proxied {
    /// The client's address.
    From(SocketAddr),
    /// Nothing: the proxy's own connection (a health check), or a kind of address that we do not
    /// know.
    Itself,
}

/// Why the bytes are no such header.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("no PROXY protocol header where one is expected")]
pub struct NoProxyHeader;

/// Reads the header at the start of `buffer`: the bytes it takes, and what it says.
///
/// `None` while it has not come whole. A caller never buffers more than a kilobyte.
///
/// # Errors
/// [`NoProxyHeader`] as soon as that is certain.
pub fn parse(buffer: &[u8]) -> Result<Option<(usize, Proxied)>, NoProxyHeader> {
    let known = buffer.len().min(SIGNATURE.len());
    let begins_with = |text: &[u8]| {
        let compared = buffer.len().min(text.len());
        buffer.get(..compared) == text.get(..compared)
    };
    if buffer.first() == Some(&b'\r') {
        if buffer.get(..known) != SIGNATURE.get(..known) {
            return Err(NoProxyHeader);
        }
        return binary(buffer);
    }
    if !begins_with(b"PROXY ") {
        return Err(NoProxyHeader);
    }
    let Some(end) = buffer.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if buffer.len() >= LINE_BYTES_MAX { Err(NoProxyHeader) } else { Ok(None) };
    };
    let line = buffer.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| str::from_utf8(line).ok()).ok_or(NoProxyHeader)?;
    Ok(Some((end.saturating_add(1), text(line)?)))
}

/// `PROXY TCP4 192.0.2.1 192.0.2.9 40000 5432`.
fn text(line: &str) -> Result<Proxied, NoProxyHeader> {
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(NoProxyHeader)?;
    if family == "UNKNOWN" {
        return Ok(Proxied::Itself);
    }
    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok()).ok_or(NoProxyHeader)?;
    let fits = match family {
        "TCP4" => address.is_ipv4(),
        "TCP6" => address.is_ipv6(),
        _ => false,
    };
    let ours = words.next().is_some_and(|word| word.parse::<IpAddr>().is_ok());
    let port = words.next().and_then(|word| word.parse::<u16>().ok()).ok_or(NoProxyHeader)?;
    let our_port = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
    if !fits || !ours || !our_port || words.next().is_some() {
        return Err(NoProxyHeader);
    }
    Ok(Proxied::From(SocketAddr::new(address, port)))
}

fn binary(buffer: &[u8]) -> Result<Option<(usize, Proxied)>, NoProxyHeader> {
    let Some(rest) = buffer.get(SIGNATURE.len()..) else { return Ok(None) };
    let Some(&[version_command, family, high, low]) = rest.first_chunk() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 || length > BINARY_BYTES_MAX {
        return Err(NoProxyHeader);
    }
    let body = rest.get(4..).unwrap_or_default();
    let Some(body) = body.get(..length) else { return Ok(None) };
    let total = SIGNATURE.len().saturating_add(4).saturating_add(length);
    let proxied = match (version_command & 0xf, family) {
        (0, _) => Proxied::Itself,
        (1, 0x11) => {
            let (address, rest) = body.split_first_chunk::<4>().ok_or(NoProxyHeader)?;
            Proxied::From(SocketAddr::new(Ipv4Addr::from(*address).into(), port(rest, 4)?))
        }
        (1, 0x21) => {
            let (address, rest) = body.split_first_chunk::<16>().ok_or(NoProxyHeader)?;
            Proxied::From(SocketAddr::new(Ipv6Addr::from(*address).into(), port(rest, 16)?))
        }
        (1, _) => Proxied::Itself,
        (_, _) => return Err(NoProxyHeader),
    };
    Ok(Some((total, proxied)))
}

/// The client's port, behind our own address.
fn port(rest: &[u8], ours: usize) -> Result<u16, NoProxyHeader> {
    let port = rest.get(ours..).and_then(|rest| rest.first_chunk::<2>());
    port.map(|port| u16::from_be_bytes(*port)).ok_or(NoProxyHeader)
}

#[cfg(test)]
#[path = "proxy_header_tests.rs"]
mod tests;
