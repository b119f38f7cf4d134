use std::fs;
use std::os::unix::fs::PermissionsExt;

use ::aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SignatureAlgorithm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;

fn certificate(algorithm: &'static SignatureAlgorithm) -> CertificateDer<'static> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.self_signed(&key).unwrap().der().clone()
}

#[test]
fn the_end_point_is_hashed_as_the_certificate_is_signed() {
    let cases: [(&'static SignatureAlgorithm, Option<&'static Algorithm>); 4] = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some(&SHA256)),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some(&SHA384)),
        (&rcgen::PKCS_ECDSA_P521_SHA512, Some(&SHA512)),
        (&rcgen::PKCS_ED25519, None),
    ];
    for (algorithm, expected) in cases {
        let certificate = certificate(algorithm);
        let expected = expected.map(|hash| digest(hash, &certificate).as_ref().to_vec());
        assert_eq!(server_end_point(&certificate).map(|hash| hash.to_vec()), expected);
    }
}

/// A certificate reduced to what the hash depends on: an empty body and this algorithm.
fn skeleton(algorithm: &[u8]) -> CertificateDer<'static> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let mut inner = vec![0x30, 0];
    inner.extend([0x30, length(algorithm)]);
    inner.extend(algorithm);
    let mut whole = vec![0x30, length(&inner)];
    whole.extend(inner);
    CertificateDer::from(whole)
}

#[test]
fn old_hashes_count_as_sha_256_and_pss_names_its_own() {
    let rsa = |last: u8| skeleton(&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last, 5, 0]);
    let hashed = |certificate: &CertificateDer<'_>, algorithm| {
        server_end_point(certificate).unwrap() == digest(algorithm, certificate).as_ref()
    };
    assert!(hashed(&rsa(4), &SHA256) && hashed(&rsa(5), &SHA256) && hashed(&rsa(11), &SHA256));
    assert!(hashed(&rsa(12), &SHA384) && hashed(&rsa(13), &SHA512));
    assert_eq!(server_end_point(&rsa(99)), None);
    let pss: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    let named: &[u8] =
        &[0x30, 17, 0xa0, 15, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3, 5, 0];
    assert!(hashed(&skeleton(&[pss, named].concat()), &SHA512));
    assert!(hashed(&skeleton(&[pss, &[0x30, 0]].concat()), &SHA256));
}

#[test]
fn a_mutilated_certificate_has_no_end_point_and_no_panic() {
    let certificate = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
    for end in 0..certificate.len() {
        let cut = CertificateDer::from(certificate[..end].to_vec());
        assert_eq!(server_end_point(&cut), None);
    }
    for at in 0..certificate.len() {
        for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
            let mut bytes = certificate.to_vec();
            bytes[at] = byte;
            let _ = server_end_point(&CertificateDer::from(bytes));
        }
    }
}

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    /// A root, a certificate for `localhost` that it signed, and the key.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let root = params.self_signed(&root_key).unwrap().pem();
        let issuer = Issuer::new(params, root_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = params.signed_by(&key, &issuer).unwrap().pem();
        let files = Self { directory };
        files.write("root.crt", &root);
        files.write("own.crt", &own);
        files.write("own.key", &key.serialize_pem());
        files.write("other.key", &KeyPair::generate().unwrap().serialize_pem());
        files.write("empty", "");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn settings(mode: SslMode, root_cert: RootCert) -> SslSettings {
    SslSettings {
        mode,
        root_cert,
        cert: None,
        key: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        negotiation: SslNegotiation::Postgres,
        server_name: true,
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let load = |cert: &str, key: &str| {
        FrontendTls::load(&tls_files(files.path(cert), files.path(key)))
            .map(drop)
            .map_err(|e| e.to_string())
    };
    assert_eq!(load("own.crt", "own.key"), Ok(()));
    let cases = [
        ("none", "own.key", "tls_cert", "none: "),
        ("empty", "own.key", "tls_cert", "empty: holds no certificate"),
        ("own.crt", "none", "tls_key", "none: No such file"),
        ("own.crt", "empty", "tls_key", "empty: "),
        ("own.crt", "other.key", "the certificate", "own.crt and its key cannot be used"),
    ];
    for (cert, key, what, problem) in cases {
        let error = load(cert, key).unwrap_err();
        assert!(error.starts_with(what) && error.contains(problem), "{error}");
    }
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(files.path("own.key"), open).unwrap();
    assert!(load("own.crt", "own.key").unwrap_err().contains("its permissions should be 0600"));

    let missing = settings(SslMode::VerifyCa, RootCert::File(files.path("none")));
    assert!(BackendTls::new(&missing).unwrap_err().to_string().starts_with("sslrootcert "));
    assert!(BackendTls::new(&settings(SslMode::Disable, RootCert::None)).unwrap().is_none());
}

#[tokio::test]
async fn both_sides_meet_over_tcp_and_unix_sockets() {
    let files = Files::new();
    let ours = FrontendTls::load(&tls_files(files.path("own.crt"), files.path("own.key"))).unwrap();
    let verify = settings(SslMode::VerifyFull, RootCert::File(files.path("root.crt")));
    let direct = SslSettings { negotiation: SslNegotiation::Direct, ..verify.clone() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for settings in [verify, direct] {
        let theirs = BackendTls::new(&settings).unwrap().unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (left, right) = UnixStream::pair().unwrap();
        let pairs =
            [(Plain::Tcp(tcp), Plain::Tcp(accepted)), (Plain::Unix(left), Plain::Unix(right))];
        for (connecting, accepting) in pairs {
            let (connected, accepted) =
                tokio::join!(theirs.connect(connecting, "localhost", None), ours.accept(accepting));
            let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
            assert!(connected.is_tls() && accepted.is_tls());
            assert_eq!(connected.tls_server_end_point(), ours.end_point());
            assert!(ours.end_point().is_some());
            assert_eq!(accepted.tls_server_end_point(), None);
            connected.write_all(b"hello").await.unwrap();
            connected.flush().await.unwrap();
            accepted.readable().await.unwrap();
            let mut read = [0; 5];
            accepted.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"hello");
            accepted.shutdown().await.unwrap();
            assert_eq!(connected.read(&mut read).await.unwrap(), 0);
            assert!(connected.into_plain().is_err());
        }
    }
}

#[tokio::test]
async fn a_name_that_no_certificate_can_have_is_passed_only_where_nothing_checks_it() {
    let files = Files::new();
    let ours = FrontendTls::load(&tls_files(files.path("own.crt"), files.path("own.key"))).unwrap();
    for (mode, root, good) in [
        (SslMode::Require, RootCert::None, true),
        (SslMode::VerifyCa, RootCert::File(files.path("root.crt")), true),
        (SslMode::VerifyFull, RootCert::File(files.path("root.crt")), false),
    ] {
        let theirs = BackendTls::new(&settings(mode, root)).unwrap().unwrap();
        let (left, right) = UnixStream::pair().unwrap();
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let connect = theirs.connect(Plain::Unix(left), "no name!", address);
        let (connected, _) = tokio::join!(connect, ours.accept(Plain::Unix(right)));
        assert_eq!(connected.is_ok(), good, "{mode:?}");
    }
}

fn tls_files(cert: PathBuf, key: PathBuf) -> TlsFiles {
    let (demand, min_version) = (TlsDemand::Allow, TlsVersion::V1_2);
    TlsFiles { cert, key, client_ca: None, demand, min_version }
}
