//! Free ports on loopback.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// First port handed out: below the range from which systems draw the ports of outgoing
/// connections, so that no such connection takes a port between the choice and its use.
const FIRST: u16 = 20_000;
/// How many ports are tried, from [`FIRST`] on.
const COUNT: u16 = 12_000;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on which none of `addresses` listens, over TCP and UDP. It is never handed out twice by
/// one process; processes begin at different ports.
///
/// # Errors
/// [`Error::Skip`] when an address cannot be bound at all: macOS, for one, has only `127.0.0.1`
/// until `ifconfig lo0 alias 127.0.0.2` was said.
pub fn free(addresses: &[IpAddr]) -> Result<u16> {
    for address in addresses {
        if let Err(source) = TcpListener::bind(SocketAddr::new(*address, 0)) {
            return Err(Error::Skip(format!("cannot listen on {address}: {source}")));
        }
    }
    let offset = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap_or(0);
    for step in 0..COUNT {
        let port = FIRST + (offset + step) % COUNT;
        if claim(port, addresses) {
            return Ok(port);
        }
    }
    Err(Error::Skip(format!("no free port from {FIRST} to {}", FIRST + COUNT)))
}

/// A free port on `127.0.0.1`, as an address.
///
/// # Errors
/// See [`free`].
pub fn free_address() -> Result<SocketAddr> {
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Ok(SocketAddr::new(localhost, free(&[localhost])?))
}

fn claim(port: u16, addresses: &[IpAddr]) -> bool {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&port) {
        return false;
    }
    let is_free = addresses.iter().all(|address| {
        let address = SocketAddr::new(*address, port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    });
    is_free && taken.insert(port)
}
