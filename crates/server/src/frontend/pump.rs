//! The bytes of one session: one task, both sockets, no channel.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use everline_core::limits::{READ_BYTES, UNWRITTEN_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::backend::lease::Lease;
use crate::net::end::End;
use crate::net::stream::Stream;
use crate::supervisor::Fence;

/// What the session has to look at.
#[derive(Debug)]
pub enum Woke {
    /// Bytes of the client are in its input.
    Client,
    /// The client is gone.
    ClientGone,
    /// Bytes of the backend are in its input.
    Backend,
    /// The backend connection has ended.
    BackendGone(Option<io::Error>),
    /// The epoch of the leased connection is over.
    Ended,
    /// There is a connection on which the session can listen.
    Listening(Box<Lease>),
    /// The pool is paused, and the leased connection is not needed.
    Paused,
    /// The server is told to stop.
    Draining,
    /// Everything is written, and that was waited for.
    Written,
}

/// One direction's unwritten bytes and its socket.
pub(super) fn poll_write_all(
    stream: &mut Stream,
    bytes: &mut BytesMut,
    unflushed: &mut bool,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        let written = ready!(Pin::new(&mut *stream).poll_write(context, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        bytes.advance(written);
        *unflushed = true;
    }
    if *unflushed {
        ready!(Pin::new(&mut *stream).poll_flush(context))?;
        *unflushed = false;
    }
    Poll::Ready(Ok(()))
}

/// Reads once into `bytes`; `Ok(0)`: the peer has ended.
pub(super) fn poll_read(
    stream: &mut Stream,
    bytes: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    bytes.extend_from_slice(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Serves a client whose statement waits: what it is owed is written, what it sends is read up
/// to `room` bytes. Ready when it has gone, with the reason if there is one.
pub(super) fn poll_client_alone(
    (client, unflushed): (&mut Stream, &mut bool),
    (input, room): (&mut BytesMut, usize),
    to_client: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<Option<io::Error>> {
    if let Poll::Ready(Err(error)) = poll_write_all(client, to_client, unflushed, context) {
        return Poll::Ready(Some(error));
    }
    while input.len() < room {
        match ready!(poll_read(client, input, context)) {
            Ok(0) => return Poll::Ready(None),
            Ok(_) => {}
            Err(error) => return Poll::Ready(Some(error)),
        }
    }
    Poll::Pending
}

/// The leased connection, as one wait sees it.
#[derive(Debug)]
pub struct Leased<'a> {
    /// Its socket.
    pub stream: &'a mut Stream,
    /// Its bytes that are not yet relayed.
    pub read: &'a mut BytesMut,
    /// Whether the socket holds bytes back.
    pub unflushed: &'a mut bool,
    /// Comes when its epoch is over.
    pub end: &'a mut End,
    /// Until when bytes may go to it.
    pub fence: &'a Fence,
}

/// What one wait of a session is about.
#[derive(Debug)]
pub struct Wait<'a> {
    /// The client's socket, its input and output.
    pub client: &'a mut Stream,
    /// Bytes of the client not yet looked at.
    pub input: &'a mut BytesMut,
    /// Whether more of them may be read.
    pub reads_client: bool,
    /// Bytes for the client.
    pub to_client: &'a mut BytesMut,
    /// Whether the client's socket holds bytes back.
    pub unflushed: &'a mut bool,
    /// The leased connection, if there is one.
    pub backend: Option<Leased<'a>>,
    /// Bytes for the backend.
    pub to_backend: &'a mut BytesMut,
    /// Comes when an operator ends the session.
    pub killed: &'a mut End,
    /// Comes when the server is told to stop, for a session that may be ended then.
    pub draining: Option<&'a mut End>,
}

impl Wait<'_> {
    /// One look at everything: the client's answers first, then the end of the epoch, what goes to
    /// the backend, what comes from it, and what comes from the client.
    ///
    /// A client that does not read stops its backend from being read, and a backend that does
    /// not read stops its client; neither stops the other direction.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Woke> {
        if let Poll::Ready(Err(_)) =
            poll_write_all(self.client, self.to_client, self.unflushed, context)
        {
            return Poll::Ready(Woke::ClientGone);
        }
        if let Some(Leased { stream, read, unflushed, end, fence }) = &mut self.backend {
            // Nothing is sent to a leader that is not the leader any more.
            let fenced = !self.to_backend.is_empty() && !fence.holds();
            if fenced || end.poll(context).is_ready() {
                return Poll::Ready(Woke::Ended);
            }
            if let Poll::Ready(Err(error)) =
                poll_write_all(stream, self.to_backend, unflushed, context)
            {
                // What it said before it went is still to be read.
                return match poll_read(stream, read, context) {
                    Poll::Ready(Ok(1..)) => Poll::Ready(Woke::Backend),
                    Poll::Ready(_) | Poll::Pending => Poll::Ready(Woke::BackendGone(Some(error))),
                };
            }
            if self.to_client.len() < UNWRITTEN_BYTES_MAX {
                match poll_read(stream, read, context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Woke::BackendGone(None)),
                    Poll::Ready(Ok(_)) => return Poll::Ready(Woke::Backend),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Woke::BackendGone(Some(error)));
                    }
                    Poll::Pending => {}
                }
            }
        }
        if self.reads_client
            && self.to_backend.len() < UNWRITTEN_BYTES_MAX
            && self.to_client.len() < UNWRITTEN_BYTES_MAX
        {
            match poll_read(self.client, self.input, context) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Woke::ClientGone),
                Poll::Ready(Ok(_)) => return Poll::Ready(Woke::Client),
                Poll::Pending => {}
            }
        }
        if !self.reads_client && self.backend.is_none() && self.to_client.is_empty() {
            return Poll::Ready(Woke::Written);
        }
        let ends = self.killed.poll(context).is_ready()
            || self.draining.as_mut().is_some_and(|draining| draining.poll(context).is_ready());
        if ends { Poll::Ready(Woke::Draining) } else { Poll::Pending }
    }
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
