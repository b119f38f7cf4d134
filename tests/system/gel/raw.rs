//! A client of Gel's protocol that hides nothing: raw messages out, single ones in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use everline_lab::postgres::{APP_PASSWORD, APP_USER};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest wait for one message.
const PATIENCE: Duration = Duration::from_secs(40);
/// All that a command may be allowed.
const ALL: u64 = u64::MAX;

/// The name of the protocol, as clients know it.
pub(crate) const ALPN: &[u8] = b"edgedb-binary";

/// Takes every certificate, and keeps it.
#[derive(Debug)]
pub(crate) struct Anyone {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<CertificateDer<'static>>>,
}

impl Anyone {
    pub(crate) fn new() -> Arc<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Arc::new(Self { provider, shown: Mutex::default() })
    }

    /// What the server has shown last.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone().expect("a certificate was shown")
    }

    pub(crate) fn config(self: &Arc<Self>, protocols: &[&[u8]]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let anyone = Arc::clone(self);
        let verified = builder.dangerous().with_custom_certificate_verifier(anyone);
        let mut config = verified.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(end.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS to `address` with this configuration, for `name`.
pub(crate) async fn tls(
    address: SocketAddr,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    timeout(PATIENCE, connecting).await.expect("a handshake that ends")
}

/// Bytes with their length before them.
pub(crate) fn put_counted(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("a short text"));
    out.put_slice(bytes);
}

/// A whole message.
pub(crate) fn message(tag: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(tag);
    out.put_u32(u32::try_from(body.len() + 4).expect("a short message"));
    out.put_slice(body);
    out
}

/// The first message of a client.
pub(crate) fn handshake(version: (u16, u16), parameters: &[(&str, &str)]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u16(version.0);
    body.put_u16(version.1);
    body.put_u16(u16::try_from(parameters.len()).expect("few"));
    for (name, value) in parameters {
        put_counted(&mut body, name.as_bytes());
        put_counted(&mut body, value.as_bytes());
    }
    body.put_u16(0);
    message(b'V', &body)
}

/// An Execute as a first shot: its language, its format and how many rows are expected in
/// `bytes`.
pub(crate) fn execute(bytes: [u8; 3], text: &str, state: (&[u8; 16], &[u8])) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u16(0);
    body.put_u64(ALL);
    body.put_slice(&[0; 16]);
    body.put_slice(&bytes);
    put_counted(&mut body, text.as_bytes());
    body.put_slice(state.0);
    put_counted(&mut body, state.1);
    body.put_slice(&[0; 32]);
    body.put_u32(0);
    message(b'O', &body)
}

/// Sync.
pub(crate) fn sync() -> BytesMut {
    message(b'S', &[])
}

/// One connection.
pub(crate) struct Raw {
    pub(crate) stream: TlsStream<TcpStream>,
    read: BytesMut,
    /// The identifier of the state's descriptor, and the descriptor.
    pub(crate) state: ([u8; 16], Vec<u8>),
    /// What the server said of itself.
    pub(crate) parameters: Vec<(String, Vec<u8>)>,
}

impl Raw {
    /// Under TLS; nothing is said yet.
    pub(crate) async fn connect(address: SocketAddr, protocols: &[&[u8]]) -> Self {
        let config = Anyone::new().config(protocols);
        Self::over(tls(address, config, "localhost").await.expect("TLS"))
    }

    pub(crate) fn over(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, read: BytesMut::new(), state: ([0; 16], Vec::new()), parameters: Vec::new() }
    }

    /// Connected and logged in as the application's user.
    pub(crate) async fn app(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address, &[ALPN]).await;
        let names = [("user", APP_USER), ("branch", "__default__")];
        let told = raw.login((3, 0), &names, APP_PASSWORD).await;
        assert_eq!(told, "R[10] R[11] R[12] R[0] K s S S Z[I]");
        raw
    }

    /// All that is heard of a login by SCRAM, until the client may go on or not.
    pub(crate) async fn login(
        &mut self,
        version: (u16, u16),
        names: &[(&str, &str)],
        password: &str,
    ) -> String {
        self.send(&handshake(version, names)).await;
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let mut heard = Vec::new();
        loop {
            let Some((tag, body)) = self.next().await else { break };
            heard.push(shown(tag, &body));
            let status = body.first_chunk::<4>().map(|status| u32::from_be_bytes(*status));
            let mut reply = BytesMut::new();
            match (tag, status) {
                (b'R', Some(10)) => {
                    put_counted(&mut reply, b"SCRAM-SHA-256");
                    put_counted(&mut reply, scram.message());
                    self.send(&message(b'p', &reply)).await;
                }
                (b'R', Some(11)) => {
                    scram.update(&body[8..]).expect("a challenge");
                    put_counted(&mut reply, scram.message());
                    self.send(&message(b'r', &reply)).await;
                }
                (b'R', Some(12)) => scram.finish(&body[8..]).expect("the server's proof"),
                (b'E' | b'Z', _) => break,
                _ => {}
            }
        }
        heard.join(" ")
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, sent).await.expect("somebody reads").expect("the connection stands");
    }

    /// The next message; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<(u8, BytesMut)> {
        loop {
            if let Some([tag, a, b, c, d]) = self.read.first_chunk().copied() {
                let total = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap() + 1;
                if self.read.len() >= total {
                    let mut body = self.read.split_to(total);
                    body.advance(5);
                    self.keep(tag, &body);
                    return Some((tag, body));
                }
            }
            let reading = self.stream.read_buf(&mut self.read);
            match timeout(PATIENCE, reading).await.expect("a word in time") {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    fn keep(&mut self, tag: u8, body: &[u8]) {
        let text = |at: usize| {
            let length = u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
            let end = at + 4 + usize::try_from(length).unwrap();
            (body[at + 4..end].to_vec(), end)
        };
        match tag {
            b's' => self.state = (body[..16].try_into().expect("16 bytes"), text(16).0),
            b'S' => {
                let (name, end) = text(0);
                let name = String::from_utf8(name).expect("a name");
                self.parameters.push((name, text(end).0));
            }
            _ => {}
        }
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> &[u8] {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_slice()).unwrap_or_default()
    }

    /// All that is heard until the server is ready, or has closed.
    pub(crate) async fn answers(&mut self) -> String {
        let mut heard = Vec::new();
        while let Some((tag, body)) = self.next().await {
            heard.push(shown(tag, &body));
            if tag == b'Z' {
                return heard.join(" ");
            }
        }
        heard.push("closed".to_owned());
        heard.join(" ")
    }

    /// Sends this and Sync, and hears the answers.
    pub(crate) async fn says(&mut self, bytes: &[u8]) -> String {
        let mut all = bytes.to_vec();
        all.extend_from_slice(&sync());
        self.send(&all).await;
        self.answers().await
    }

    /// Runs SQL and hears the answers.
    pub(crate) async fn sql(&mut self, text: &str) -> String {
        self.says(&execute(*b"Sbm", text, (&[0; 16], &[]))).await
    }

    /// Runs a statement of `EdgeQL` and hears the answers.
    pub(crate) async fn edgeql(&mut self, text: &str) -> String {
        self.says(&execute(*b"Enm", text, (&[0; 16], &[]))).await
    }
}

/// A message as tests compare it.
fn shown(tag: u8, body: &[u8]) -> String {
    let number = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
    let text = |at: usize| {
        let end = at + 4 + usize::try_from(number(at)).unwrap();
        String::from_utf8_lossy(&body[at + 4..end]).into_owned()
    };
    match tag {
        b'R' => format!("R[{}]", number(0)),
        b'v' => format!("v[{}.{}]", body[1], body[3]),
        b'Z' => format!("Z[{}]", char::from(body[2])),
        b'C' => format!("C[{}]", text(10)),
        b'E' => format!("E[{:#010x} {}]", number(1), text(5)),
        b'D' => {
            let (mut at, mut columns) = (10, Vec::new());
            for _ in 0..number(6) {
                let null = number(at + 4) == u32::MAX;
                let value = if null { "NULL".to_owned() } else { text(at + 4) };
                at += if null { 8 } else { 8 + value.len() };
                columns.push(value);
            }
            format!("D[{}]", columns.join(" "))
        }
        other => char::from(other).to_string(),
    }
}
