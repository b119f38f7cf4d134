//! Listening sockets: TCP and Unix.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::socket::SocketOptions;
use super::stream::Stream;
use crate::config::Listen;

/// How places are listened at.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenOptions {
    /// The permissions of a Unix socket's file; else the umask decides.
    pub socket_mode: Option<u32>,
    /// Whether others may listen at the same TCP port.
    pub reuse_port: bool,
}

/// Connections that may wait to be accepted: after a restart everybody comes at once.
const BACKLOG: i32 = 4_096;

/// One place at which clients are accepted.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, removed when we are done.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket; it goes with its listener, unless somebody else listens there then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    kept: Arc<AtomicBool>,
}

impl Listener {
    /// Binds. A socket file is removed at the end, unless `kept` says that it is somebody else's.
    ///
    /// # Errors
    /// The system's: the address is in use, the port is privileged, the directory is missing.
    pub fn bind(
        place: &Listen,
        options: ListenOptions,
        kept: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        match place {
            Listen::Tcp(address) => Ok(Self::Tcp(bind_tcp(*address, options.reuse_port)?)),
            Listen::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                if let Some(mode) = options.socket_mode {
                    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
                }
                let file = SocketFile { path: path.clone(), kept: Arc::clone(kept) };
                Ok(Self::Unix(listener, file))
            }
        }
    }

    /// Takes a socket over that is open already.
    ///
    /// # Errors
    /// The system's: it is no socket that listens.
    pub fn adopt(place: &Listen, socket: OwnedFd, kept: &Arc<AtomicBool>) -> io::Result<Self> {
        match place {
            Listen::Tcp(_) => Ok(Self::Tcp(adopt_tcp(socket)?)),
            Listen::Unix(path) => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                let file = SocketFile { path: path.clone(), kept: Arc::clone(kept) };
                Ok(Self::Unix(UnixListener::from_std(listener)?, file))
            }
        }
    }

    /// The same socket once more, to be passed on.
    ///
    /// # Errors
    /// The system's.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Waits for the next client.
    ///
    /// # Errors
    /// The system's: out of file descriptors, as a rule. Try again after a pause.
    ///
    /// # Cancel safety
    /// Safe: no connection is lost.
    pub async fn accept(&self, options: &SocketOptions) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                options.apply(&stream)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "socket file not removed");
        }
    }
}

/// A TCP listener over a socket that is open already.
///
/// # Errors
/// The system's.
pub fn adopt_tcp(socket: OwnedFd) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Binds a TCP listener with our backlog; others may bind its port where `reuse_port` says so.
///
/// # Errors
/// The system's.
pub fn bind_tcp(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let domain = if address.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A socket file at which nobody listens is left over from a process that was killed.
fn remove_stale(path: &PathBuf) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there already")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}
