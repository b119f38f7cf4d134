//! One type for every kind of connection, so that no signature needs a type parameter.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::certificate::common_names;
use super::tls;

/// A connection, in the clear or under TLS, to a client or to a backend.
#[derive(Debug)]
pub enum Stream {
    /// TCP in the clear.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over either. Boxed: its state is a thousand bytes and more.
    Tls(Box<TlsStream<Plain>>),
}

/// What TLS can run over.
#[derive(Debug)]
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Whether everything on this connection is encrypted.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(_) => true,
        }
    }

    /// Where the other end is; `None` over a Unix socket, and when it is gone.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok()
    }

    /// Where our end is; `None` over a Unix socket.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
            Self::Tls(stream) => match stream.get_ref().0 {
                Plain::Tcp(stream) => Some(stream),
                Plain::Unix(_) => None,
            },
        }
    }

    /// The protocol that was agreed on (ALPN), if one was.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The hash of the backend's certificate that SCRAM binds the channel to (RFC 5929,
    /// `tls-server-end-point`).
    ///
    /// `None` in the clear, and where the certificate's signature algorithm has no hash of its
    /// own (Ed25519), for which the RFC defines no binding. For a stream that *we* serve the
    /// certificate is our own, which only [`tls::server_end_point`] can tell.
    pub fn tls_server_end_point(&self) -> Option<Bytes> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => match stream.as_ref() {
                TlsStream::Client(stream) => {
                    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
                    tls::server_end_point(certificate)
                }
                TlsStream::Server(_) => None,
            },
        }
    }

    /// The common names in the certificate that a client has shown; `None` without one. That it is
    /// vouched for was checked in the handshake.
    #[must_use]
    pub fn client_names(&self) -> Option<Vec<String>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => match stream.as_ref() {
                TlsStream::Server(stream) => {
                    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
                    Some(common_names(certificate))
                }
                TlsStream::Client(_) => None,
            },
        }
    }

    /// Whether the client has named PostgreSQL's protocol in the TLS handshake.
    #[must_use]
    pub fn names_protocol(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => match stream.as_ref() {
                TlsStream::Server(stream) => stream.get_ref().1.alpn_protocol().is_some(),
                TlsStream::Client(_) => false,
            },
        }
    }

    /// The names of the operating system's user at the other end of a Unix socket: as
    /// `/etc/passwd` has it, and its number.
    #[must_use]
    pub fn peer_names(&self) -> Option<Vec<String>> {
        let Self::Unix(stream) = self else { return None };
        let uid = stream.peer_cred().ok()?.uid().to_string();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let of_uid = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            (fields.nth(1)? == uid).then_some(name)
        };
        Some(users.lines().filter_map(of_uid).chain([uid.clone()]).collect())
    }

    /// Waits for the first bytes and leaves them where they are. Nothing over a Unix socket or
    /// under TLS.
    ///
    /// # Errors
    /// The socket's.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(bytes).await,
            Self::Unix(_) | Self::Tls(_) => Ok(0),
        }
    }

    /// Reads into `space` what has come, without waiting: how much that is, and 0 for an end or an
    /// error; `None` when there is nothing.
    ///
    /// In the clear nobody is woken for it later: whoever was to be, stays so.
    pub fn stray(&mut self, space: &mut [u8]) -> Option<usize> {
        let read = match self {
            Self::Tcp(stream) => stream.try_read(space),
            Self::Unix(stream) => stream.try_read(space),
            Self::Tls(stream) => {
                let mut context = Context::from_waker(Waker::noop());
                let mut space = ReadBuf::new(space);
                match Pin::new(stream).poll_read(&mut context, &mut space) {
                    Poll::Ready(read) => read.map(|()| space.filled().len()),
                    Poll::Pending => return None,
                }
            }
        };
        match read {
            Ok(read) => Some(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    /// The socket's plain part where nothing is encrypted, to put TLS over it.
    ///
    /// # Errors
    /// Gives the stream back when it is under TLS already.
    pub fn into_plain(self) -> Result<Plain, Box<Self>> {
        match self {
            Self::Tcp(stream) => Ok(Plain::Tcp(stream)),
            Self::Unix(stream) => Ok(Plain::Unix(stream)),
            Self::Tls(_) => Err(Box::new(self)),
        }
    }

    /// Waits until the socket below can be read, or has ended.
    ///
    /// Under TLS this is a hint: the bytes may hold no message at all, and a message may have
    /// been read from the socket already, so read once before relying on it.
    ///
    /// # Errors
    /// The socket's.
    ///
    /// # Cancel safety
    /// Safe: nothing is read.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.ready(Interest::READABLE).await.map(drop),
            Self::Unix(stream) => stream.ready(Interest::READABLE).await.map(drop),
            Self::Tls(stream) => match stream.get_ref().0 {
                Plain::Tcp(stream) => stream.ready(Interest::READABLE).await.map(drop),
                Plain::Unix(stream) => stream.ready(Interest::READABLE).await.map(drop),
            },
        }
    }
}

impl From<Plain> for Stream {
    fn from(plain: Plain) -> Self {
        match plain {
            Plain::Tcp(stream) => Self::Tcp(stream),
            Plain::Unix(stream) => Self::Unix(stream),
        }
    }
}

impl From<TlsStream<Plain>> for Stream {
    fn from(stream: TlsStream<Plain>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

/// Calls the same method on whichever stream there is.
macro_rules! each {
    ($stream:expr, [$($kind:ident)+], $inner:ident => $call:expr) => {
        match $stream { $(Self::$kind($inner) => $call,)+ }
    };
}

macro_rules! delegate {
    ($name:ident, $kinds:tt) => {
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                each!(self.get_mut(), $kinds, inner => Pin::new(inner).poll_read(cx, buffer))
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                each!(self.get_mut(), $kinds, inner => Pin::new(inner).poll_write(cx, bytes))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                each!(self.get_mut(), $kinds, inner => {
                    Pin::new(inner).poll_write_vectored(cx, slices)
                })
            }

            fn is_write_vectored(&self) -> bool {
                each!(self, $kinds, inner => inner.is_write_vectored())
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self.get_mut(), $kinds, inner => Pin::new(inner).poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self.get_mut(), $kinds, inner => Pin::new(inner).poll_shutdown(cx))
            }
        }
    };
}

delegate!(Plain, [Tcp Unix]);
delegate!(Stream, [Tcp Unix Tls]);
