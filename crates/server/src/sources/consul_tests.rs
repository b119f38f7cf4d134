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
    for (tls, says) in [
        (good.clone(), None),
        (ConsulTls { server_name: None, ..good.clone() }, Some("not valid for name \"127.0.0.1\"")),
        (
            ConsulTls { ca: Some(client.cert_file.clone()), ..good.clone() },
            Some("has signed its certificate"),
        ),
        (ConsulTls { identity: None, ..good.clone() }, Some("given by cert= and key=")),
    ] {
        let mut client = client_of(port, Some(tls.clone()));
        let reply = ask(&mut client).await.map(|reply| reply.status.as_u16());
        match says {
            None => assert_eq!(reply, Ok(200), "{tls:?}"),
            Some(says) => {
                let error = reply.unwrap_err();
                println!("{error}");
                assert!(error.contains(says) && !error.contains('\n'), "{tls:?}: {error}");
            }
        }
    }
}

fn client_of(port: u16, tls: Option<ConsulTls>) -> Consul {
    let stolon = Stolon {
        agents: vec![HostPort::new(Host::Ip("127.0.0.1".parse().unwrap()), port)],
        tls,
        prefix: "stolon/cluster".to_owned(),
        cluster: "main".to_owned(),
        token: None,
    };
    Consul::new(Arc::new(stolon), Resolver::system()).unwrap()
}

async fn ask(client: &mut Consul) -> Result<Reply, String> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let path = "/v1/kv/stolon/cluster/main/clusterdata?raw";
    let reply = client.ask(&Method::GET, path, Bytes::new(), deadline).await;
    reply.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_port_without_tls_is_told_from_one_with_it() {
    let consul = FakeConsul::start().await.unwrap();
    let mut client = client_of(consul.address().port(), Some(ConsulTls::default()));
    let error = ask(&mut client).await.unwrap_err();
    assert!(error.contains("no TLS is spoken on this port"), "{error}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_taken_in() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt as _;
            let head =
                b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 99999999999\r\n\r\n";
            drop(stream.write_all(head).await);
            while stream.write_all(&[b' '; 8 * 1024]).await.is_ok() {
                count.fetch_add(8 * 1024, std::sync::atomic::Ordering::Relaxed);
            }
        }
    });
    let error = ask(&mut client_of(port, None)).await.unwrap_err();
    assert!(error.contains("length limit exceeded"), "{error}");
    let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent < 16 * CLUSTERDATA_BYTES_MAX, "{sent} bytes were taken in");
}

#[tokio::test]
async fn headers_without_an_end_are_not_taken_in() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt as _;
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").await);
            while stream.write_all(&[b'a'; 8 * 1024]).await.is_ok() {}
        }
    });
    let error = ask(&mut client_of(port, None)).await.unwrap_err();
    assert!(error.contains("message head is too large"), "{error}");
}

#[test]
fn files_for_tls_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::write(place(name), text).unwrap();
        std::fs::set_permissions(place(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        place(name)
    };
    let (one, other) = (make(directory.path(), "one"), make(directory.path(), "other"));
    let text = write("text", "no PEM at all");
    let rot = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let rot = write("rot", rot);
    let loose = write("loose", &std::fs::read_to_string(&one.key_file).unwrap());
    std::fs::set_permissions(&loose, std::fs::Permissions::from_mode(0o644)).unwrap();
    let nowhere = place("nowhere");
    let identity = |cert: &Path, key: &Path| Some((cert.to_owned(), key.to_owned()));
    for (ca, identity, says) in [
        (Some(&nowhere), None, "cacert "),
        (Some(&text), None, "holds no certificate"),
        (Some(&rot), None, "holds no certificate that can be read"),
        (Some(&one.key_file), None, "holds no certificate"),
        (Some(&directory.path().to_owned()), None, "cacert "),
        (None, identity(&nowhere, &one.key_file), "cert "),
        (None, identity(&one.cert_file, &nowhere), "key "),
        (None, identity(&one.cert_file, &text), "holds no private key"),
        (None, identity(&one.cert_file, &loose), "may be used by group or others"),
        (None, identity(&one.cert_file, &other.key_file), "and its key cannot be used"),
    ] {
        let ca = ca.or(Some(&one.cert_file)).map(PathBuf::as_path);
        let pair = identity.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        let error = http_client(ca, pair).expect_err(says).to_string();
        assert!(error.contains(says) && !error.contains('\n'), "{says}: {error}");
    }
}
