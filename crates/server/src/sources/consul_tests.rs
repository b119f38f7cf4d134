use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use everline_lab::fake_consul::FakeConsul;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::dsn::stolon::ConsulTls;

/// A certificate, in memory and in files.
struct Made {
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    cert_file: PathBuf,
    key_file: PathBuf,
}

fn make(directory: &Path, name: &str) -> Made {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (cert_file, key_file) = (directory.join(format!("{name}.crt")), directory.join(name));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    Made { der: cert.der().clone(), key, cert_file, key_file }
}

/// A port that speaks TLS in front of `consul` and wants a certificate of `client`.
async fn front(server: &Made, client: &Made, consul: std::net::SocketAddr) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(client.der.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![server.der.clone()], server.key.clone_key())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(consul).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut stream, &mut plain).await);
            });
        }
    });
    port
}

#[tokio::test]
async fn https_checks_the_agent_and_shows_who_we_are() {
    let directory = tempfile::tempdir().unwrap();
    let server = make(directory.path(), "server.dc1.consul");
    let client = make(directory.path(), "client");
    let consul = FakeConsul::start().await.unwrap();
    consul.put("stolon/cluster/main/clusterdata", "data");
    let port = front(&server, &client, consul.address()).await;
    let good = ConsulTls {
        ca: Some(server.cert_file.clone()),
        identity: Some((client.cert_file.clone(), client.key_file.clone())),
        server_name: Some("server.dc1.consul".to_owned()),
    };
    for (tls, works) in [
        (good.clone(), true),
        (ConsulTls { server_name: None, ..good.clone() }, false),
        (ConsulTls { ca: Some(client.cert_file.clone()), ..good.clone() }, false),
        (ConsulTls { identity: None, ..good.clone() }, false),
    ] {
        let stolon = Stolon {
            agents: vec![HostPort::new(Host::Ip("127.0.0.1".parse().unwrap()), port)],
            tls: Some(tls.clone()),
            prefix: "stolon/cluster".to_owned(),
            cluster: "main".to_owned(),
            token: None,
        };
        let path = format!("/v1/kv/{}?raw", stolon.key("clusterdata"));
        let mut client = Consul::new(Arc::new(stolon), Resolver::system()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        let reply = client.ask(&Method::GET, &path, Bytes::new(), deadline).await;
        assert_eq!(reply.is_ok(), works, "{tls:?}: {reply:?}");
    }
    let missing = ConsulTls { ca: Some("/nowhere".into()), ..good };
    let error = http_client(missing.ca.as_deref(), None).unwrap_err().to_string();
    assert!(error.starts_with("cacert /nowhere: "), "{error}");
}
