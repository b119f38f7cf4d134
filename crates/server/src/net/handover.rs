//! Passing the listening sockets from the process that runs to the one that comes after it, over a
//! Unix socket: connections that nobody has accepted yet wait in them, and none is refused.
//!
//! The newcomer says `HELLO`; it gets one message with a line for each socket and the sockets
//! themselves; when it accepts, it says `READY`, and the other one accepts no more. If it never
//! comes to that, nothing has changed. The connection stays until the other one has ended: so long
//! both share the budget of backend connections.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use tokio::net::UnixListener;

const HELLO: &[u8; 20] = b"everline takeover 1\n";
const READY: &[u8; 6] = b"ready\n";

/// Sockets that are passed at the most.
const SOCKETS_MAX: usize = 64;

/// Longest list of them, in bytes.
const LIST_BYTES_MAX: usize = 16 * 1024;

/// How long the other side may take for a message.
const MESSAGE_MAX: Duration = Duration::from_secs(5);

/// How long the newcomer may take until it accepts.
const READY_MAX: Duration = Duration::from_mins(2);

/// Sockets by the names of their places.
pub type Sockets = BTreeMap<String, OwnedFd>;

/// What the process that ran before has passed on.
#[derive(Debug)]
pub struct Taken {
    /// The sockets.
    pub sockets: Sockets,
    before: UnixStream,
}

impl Taken {
    /// We accept: the other one need not any more. Returns what ends when it has ended.
    ///
    /// # Errors
    /// The socket's; the other one is gone then.
    pub fn ready(mut self) -> io::Result<Before> {
        self.before.write_all(READY)?;
        self.before.set_nonblocking(true)?;
        Ok(Before(tokio::net::UnixStream::from_std(self.before)?))
    }
}

/// The process that ran before, as long as it lives.
#[derive(Debug)]
pub struct Before(tokio::net::UnixStream);

impl Before {
    /// Waits until it has ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn gone(mut self) {
        // It says nothing more: its end closes the socket.
        drop(tokio::io::AsyncReadExt::read_u8(&mut self.0).await);
    }
}

/// The process that comes after us. It hears of our end when this is dropped.
#[derive(Debug)]
pub struct After {
    _stream: UnixStream,
}

/// Asks the process that offers its sockets at `path` for them; `None`: there is nobody.
///
/// Blocks for seconds at the most.
///
/// # Errors
/// The socket's, and `InvalidData` when the other side is not an Everline of ours.
pub fn take(path: &Path) -> io::Result<Option<Taken>> {
    let mut before = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                .contains(&error.kind()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    is_ours(before.as_fd())?;
    before.set_read_timeout(Some(MESSAGE_MAX))?;
    before.set_write_timeout(Some(MESSAGE_MAX))?;
    before.write_all(HELLO)?;
    let mut list = vec![0; LIST_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(&before, &mut [IoSliceMut::new(&mut list)], &mut control, flags)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            sockets.extend(passed);
        }
    }
    list.truncate(received.bytes);
    let list = String::from_utf8(list).map_err(|_| strange())?;
    let places: Vec<&str> = list.lines().collect();
    if places.is_empty() || places.len() != sockets.len() || !list.ends_with('\n') {
        return Err(strange());
    }
    let sockets = places.into_iter().map(str::to_owned).zip(sockets).collect();
    Ok(Some(Taken { sockets, before }))
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answers there does not pass sockets on")
}

/// Whether whoever is at the other end runs as the same user as we do, or as root.
fn is_ours(socket: BorrowedFd<'_>) -> io::Result<()> {
    let peer = sockopt::socket_peercred(socket)?;
    if peer.uid == rustix::process::geteuid() || peer.uid.is_root() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"))
}

/// Begins to offer our sockets at `path`. What is there already is left over: whoever ran before
/// has passed everything on, or is gone.
///
/// # Errors
/// The system's.
pub fn offer(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Waits for a newcomer, passes the sockets on, and returns when it accepts.
///
/// # Errors
/// Those of one newcomer that did not come so far; wait for the next one.
///
/// # Cancel safety
/// Safe, as long as nobody has asked.
pub async fn pass(listener: &UnixListener, sockets: &Sockets) -> io::Result<After> {
    let (stream, _) = listener.accept().await?;
    let mut copies = Sockets::new();
    for (place, socket) in sockets {
        copies.insert(place.clone(), socket.try_clone()?);
    }
    let stream = stream.into_std()?;
    let passing = tokio::task::spawn_blocking(move || pass_to(stream, &copies));
    passing.await.map_err(io::Error::other)?
}

fn pass_to(mut stream: UnixStream, sockets: &Sockets) -> io::Result<After> {
    stream.set_nonblocking(false)?;
    is_ours(stream.as_fd())?;
    stream.set_read_timeout(Some(MESSAGE_MAX))?;
    stream.set_write_timeout(Some(MESSAGE_MAX))?;
    let mut hello = [0; HELLO.len()];
    stream.read_exact(&mut hello)?;
    if hello != *HELLO {
        return Err(strange());
    }
    let list: String = sockets.keys().flat_map(|place| [place.as_str(), "\n"]).collect();
    let passed: Vec<BorrowedFd<'_>> = sockets.values().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if list.len() > LIST_BYTES_MAX || !control.push(SendAncillaryMessage::ScmRights(&passed)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets to pass on"));
    }
    sendmsg(&stream, &[IoSlice::new(list.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    stream.set_read_timeout(Some(READY_MAX))?;
    let mut ready = [0; READY.len()];
    stream.read_exact(&mut ready)?;
    if ready == *READY { Ok(After { _stream: stream }) } else { Err(strange()) }
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
