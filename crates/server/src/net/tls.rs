//! TLS on both sides: what `sslmode` asks of a backend, what a client is shown.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::self_signed;
use super::stream::{Plain, Stream};
use super::verify::{Check, Verifier};
use crate::config::dsn::{RootCert, SslMode, SslNegotiation, SslSettings, TlsVersion};
use crate::config::{TlsDemand, TlsFiles};

pub use super::certificate::server_end_point;

/// PostgreSQL's name in ALPN, without which a direct negotiation is refused.
const ALPN: &[u8] = b"postgresql";

/// Names of Gel's protocol in ALPN, the one that its clients insist on first; the last one is there
/// to be refused in words.
const GEL_ALPN: [&[u8]; 3] = [b"edgedb-binary", b"gel-binary", b"http/1.1"];

/// Why TLS cannot be set up as asked. Each is one sentence with the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or does not hold what it should.
    #[error("{what} {}: {problem}", .path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system's store holds no certificate.
    #[error("the operating system's store of root certificates is empty: {problem}")]
    SystemStore {
        /// What was met while looking for it.
        problem: String,
    },
    /// Certificate and key do not go together, or cannot be used.
    #[error("the certificate {} and its key cannot be used: {source}", .path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The versions of TLS leave nothing to speak.
    #[error("TLS cannot be set up: {0}")]
    Versions(rustls::Error),
    /// No certificate of our own could be made.
    #[error("a certificate cannot be made: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// TLS towards backends, as one DSN wants it.
#[derive(Clone, Debug)]
pub struct BackendTls {
    config: Arc<ClientConfig>,
    checks_name: bool,
}

impl BackendTls {
    /// Reads the files that the settings name; `None` where TLS is switched off.
    ///
    /// A root certificate is checked against in every mode, as libpq does: `require` with a root
    /// file means `verify-ca`.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn new(settings: &SslSettings) -> Result<Option<Self>, TlsError> {
        let check = match (settings.mode, &settings.root_cert) {
            (SslMode::Disable, _) => return Ok(None),
            (SslMode::VerifyFull, _) => Check::ChainAndName,
            (SslMode::VerifyCa, _) => Check::Chain,
            (SslMode::Allow | SslMode::Prefer | SslMode::Require, RootCert::None) => Check::Nothing,
            (
                SslMode::Allow | SslMode::Prefer | SslMode::Require,
                RootCert::File(_) | RootCert::System,
            ) => Check::Chain,
        };
        let roots = match &settings.root_cert {
            RootCert::None => Vec::new(),
            RootCert::System => system_roots()?,
            RootCert::File(path) => certificates(path, "sslrootcert")?,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new(check, roots, &provider);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(settings.min_version, settings.max_version))
            .map_err(TlsError::Versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (&settings.cert, &settings.key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(cert, "sslcert")?, private_key(key, "sslkey")?)
                .map_err(|source| TlsError::Pair { path: cert.clone(), source })?,
            (Some(_) | None, Some(_) | None) => builder.with_no_client_auth(),
        };
        config.enable_sni = settings.server_name;
        if settings.negotiation == SslNegotiation::Direct {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(Some(Self { config: Arc::new(config), checks_name: check == Check::ChainAndName }))
    }

    /// Puts TLS over a connection.
    ///
    /// `host` is the name in the DSN: what is sent as SNI and what the certificate is checked for.
    /// `address` stands in where the name cannot be in a certificate and nothing checks it.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for what rustls refuses, a certificate above all.
    ///
    /// # Cancel safety
    /// Not safe, but the connection goes with the future.
    pub async fn connect(
        &self,
        stream: Plain,
        host: &str,
        address: Option<IpAddr>,
    ) -> io::Result<Stream> {
        let name = match (ServerName::try_from(host.to_owned()), address) {
            (Ok(name), _) => name,
            (Err(_), Some(address)) if !self.checks_name => ServerName::from(address),
            (Err(error), Some(_) | None) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
        };
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await?;
        Ok(TlsStream::Client(stream).into())
    }
}

/// TLS towards clients.
#[derive(Clone)]
pub struct FrontendTls {
    acceptor: TlsAcceptor,
    end_point: Option<Bytes>,
    demand: TlsDemand,
}

impl std::fmt::Debug for FrontendTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontendTls").finish_non_exhaustive()
    }
}

impl FrontendTls {
    /// Reads our certificate chain and its key, and who vouches for clients, all PEM.
    ///
    /// # Errors
    /// [`TlsError`], naming the file. A key that others may read is refused, as PostgreSQL does.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        Self::of(files, &[ALPN])
    }

    /// The same certificate for Gel's clients, or without one a certificate of its own.
    ///
    /// # Errors
    /// As [`FrontendTls::load`].
    pub fn for_gel(files: Option<&TlsFiles>) -> Result<Self, TlsError> {
        if let Some(files) = files {
            return Self::of(files, &GEL_ALPN);
        }
        let (certificate, key) = self_signed::certificate()?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(TlsVersion::V1_2, TlsVersion::V1_3))
            .map_err(TlsError::Versions)?
            .with_no_client_auth();
        let chain = vec![certificate];
        let end_point = chain.first().and_then(server_end_point);
        let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Versions)?;
        config.alpn_protocols = GEL_ALPN.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, end_point, demand: TlsDemand::Allow })
    }

    fn of(files: &TlsFiles, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let chain = certificates(&files.cert, "tls_cert")?;
        let end_point = chain.first().and_then(server_end_point);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(files.min_version, TlsVersion::V1_3))
            .map_err(TlsError::Versions)?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(path, "tls_client_ca")?);
                let mut verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                if files.demand != TlsDemand::Verify {
                    verifier = verifier.allow_unauthenticated();
                }
                let verifier = verifier.build().map_err(|error| TlsError::File {
                    what: "tls_client_ca",
                    path: path.clone(),
                    problem: error.to_string(),
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, private_key(&files.key, "tls_key")?)
            .map_err(|source| TlsError::Pair { path: files.cert.clone(), source })?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, end_point, demand: files.demand })
    }

    /// What is demanded of clients that come over TCP.
    pub const fn demand(&self) -> TlsDemand {
        self.demand
    }

    /// The hash of our certificate for channel binding, where its algorithm has one.
    pub fn end_point(&self) -> Option<Bytes> {
        self.end_point.clone()
    }

    /// Answers a client's handshake.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for what rustls refuses.
    ///
    /// # Cancel safety
    /// Not safe, but the connection goes with the future.
    pub async fn accept(&self, stream: Plain) -> io::Result<Stream> {
        Ok(TlsStream::Server(self.acceptor.accept(stream).await?).into())
    }
}

/// TLS towards an HTTP server: its certificate is checked whole, chain and name.
///
/// `ca` is a file of root certificates, PEM, in place of the system's; `identity` our certificate
/// and its key.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn http_client(
    ca: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> Result<ClientConfig, TlsError> {
    let roots = match ca {
        Some(path) => certificates(path, "cacert")?,
        None => system_roots()?,
    };
    let mut store = RootCertStore::empty();
    let (usable, _) = store.add_parsable_certificates(roots);
    if let (0, Some(path)) = (usable, ca) {
        let problem = "holds no certificate that can be read".to_owned();
        return Err(TlsError::File { what: "cacert", path: path.to_owned(), problem });
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&versions(TlsVersion::V1_2, TlsVersion::V1_3))
        .map_err(TlsError::Versions)?
        .with_root_certificates(store);
    let mut config = match identity {
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert, "cert")?, private_key(key, "key")?)
            .map_err(|source| TlsError::Pair { path: cert.to_owned(), source })?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn versions(min: TlsVersion, max: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_2, &TLS12), (TlsVersion::V1_3, &TLS13)];
    all.into_iter().filter(|(v, _)| (min..=max).contains(v)).map(|(_, version)| version).collect()
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let problems: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::SystemStore { problem: problems.join(", ") });
    }
    Ok(found.certs)
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |problem: String| TlsError::File { what, path: path.to_owned(), problem };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?.collect();
    let chain = chain.map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok(chain)
}

fn private_key(path: &Path, what: &'static str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |problem: String| TlsError::File { what, path: path.to_owned(), problem };
    private(path).map_err(wrong)?;
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        wrong(if matches!(error, pem::Error::NoItemsFound) {
            "holds no private key, or an encrypted one".to_owned()
        } else {
            error.to_string()
        })
    })
}

/// libpq's rule: 0600 for a file of one's own, 0640 for one of root's.
fn private(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err("may be used by group or others; its permissions should be 0600 or, if it \
                    belongs to root, 0640"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
