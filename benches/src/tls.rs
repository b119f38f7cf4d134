//! One certificate for everybody, and a client that trusts it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use everline_lab::Result;
use everline_lab::postgres::Installation;
use everline_lab::process::run_directory;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsConnector;

use crate::failed;

/// A certificate for loopback, self-signed, of the kind that most have: ECDSA, P-256.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The same as text, for PostgreSQL's data directory.
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    der: CertificateDer<'static>,
}

impl Tls {
    /// Makes it and writes its files.
    ///
    /// # Errors
    /// When files cannot be written.
    pub(crate) fn make(installation: &Installation) -> Result<Self> {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names);
        let made = made.map_err(|error| failed("making a certificate", &error.to_string()))?;
        let directory = run_directory()?.join("tls");
        installation.make_directory(run_directory()?)?;
        installation.make_directory(&directory)?;
        let tls = Self {
            certificate: directory.join("server.crt"),
            key: directory.join("server.key"),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            der: made.cert.der().clone(),
        };
        installation.write(&tls.certificate, &tls.certificate_pem)?;
        installation.write(&tls.key, &tls.key_pem)?;
        Ok(tls)
    }

    /// What connects over TLS to one who shows this certificate.
    ///
    /// # Errors
    /// When the certificate is none.
    pub(crate) fn connector(&self) -> Result<TlsConnector> {
        let wrong = |error: rustls::Error| failed("TLS of the clients", &error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(wrong)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// The name under which peers are connected to.
    pub(crate) fn name() -> rustls_pki_types::ServerName<'static> {
        IpAddr::V4(std::net::Ipv4Addr::LOCALHOST).into()
    }
}
