//! Dials against a real PostgreSQL: every authentication method, every `sslmode`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use everline_lab::Error;
use everline_lab::postgres::{
    APP_DATABASE, APP_PASSWORD, APP_USER, CLEARTEXT_USER, Cluster, ClusterOptions, MD5_USER, Node,
    Stop, TRUSTED_USER,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use everline_wire::sqlstate::SqlState;

use super::*;
use crate::backend::connection::{Incoming, QueryError};
use crate::config::dsn::{HostPort, Surroundings};

async fn cluster() -> Option<Cluster> {
    match Cluster::start(ClusterOptions::single()).await {
        Ok(cluster) => Some(cluster),
        Err(Error::Skip(reason)) => {
            println!("skipped: {reason}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn dsn(text: &str) -> Dsn {
    let nothing = Surroundings {
        variable: &|_| None,
        home: None,
        user: None,
        socket_directory: PathBuf::from("/tmp"),
    };
    Dsn::parse(text, &nothing).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn at(host: &str, address: SocketAddr) -> Endpoint {
    Endpoint { host: host.into(), address: Address::Tcp(address) }
}

async fn dial(text: &str, endpoint: &Endpoint) -> Result<Connection, DialError> {
    let dsn = dsn(text);
    let dialer = Dialer::new(&dsn).unwrap();
    dialer.dial(endpoint, &Login::from_dsn(&dsn), soon()).await
}

/// Logs in and says how: the role and whether under TLS, both as the backend sees them.
async fn how(text: &str, endpoint: &Endpoint) -> Result<String, String> {
    let mut connection = dial(text, endpoint).await.map_err(|error| error.to_string())?;
    let question = "SELECT current_user || ' ' || coalesce(version, 'plain') \
                    FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let reply = connection.simple_query(question, soon()).await.unwrap();
    connection.close(soon()).await;
    Ok(String::from_utf8(reply.rows[0][0].clone().unwrap()).unwrap())
}

#[tokio::test]
async fn every_authentication_method_logs_in() {
    let Some(cluster) = cluster().await else { return };
    let node = cluster.primary();
    let here = at("127.0.0.1", node.address());
    for user in [APP_USER, MD5_USER, CLEARTEXT_USER] {
        let text = format!("postgres://{user}:{APP_PASSWORD}@127.0.0.1/{APP_DATABASE}");
        assert_eq!(how(&text, &here).await.unwrap(), format!("{user} plain"));
        let wrong = format!("postgres://{user}:wrong@127.0.0.1/{APP_DATABASE}");
        let error = dial(&wrong, &here).await.unwrap_err();
        assert_eq!(error.code(), Some(SqlState::INVALID_PASSWORD), "{error}");
        let without = format!("postgres://{user}@127.0.0.1/{APP_DATABASE}");
        let error = dial(&without, &here).await.unwrap_err();
        assert!(matches!(error, DialError::NoPassword { .. }), "{error}");
    }
    let trusted = format!("postgres://{TRUSTED_USER}@h/{APP_DATABASE}");
    assert_eq!(how(&trusted, &here).await.unwrap(), format!("{TRUSTED_USER} plain"));

    let socket = HostPort::socket_path(node.socket_directory(), node.address().port());
    let unix = Endpoint { host: "/dir".into(), address: Address::Unix(socket) };
    let text = format!("postgres://{APP_USER}@%2Fdir/{APP_DATABASE}?sslmode=require");
    assert_eq!(how(&text, &unix).await.unwrap(), format!("{APP_USER} plain"));

    let nowhere = format!("postgres://{APP_USER}:{APP_PASSWORD}@h/nowhere");
    let error = dial(&nowhere, &here).await.unwrap_err();
    assert_eq!(error.code(), Some(SqlState::INVALID_CATALOG_NAME), "{error}");
}

#[tokio::test]
async fn require_auth_and_channel_binding_are_kept() {
    let Some(cluster) = cluster().await else { return };
    let here = at("127.0.0.1", cluster.primary().address());
    let cases = [
        (APP_USER, "require_auth=scram-sha-256", ""),
        (APP_USER, "require_auth=md5,password", "SCRAM-SHA-256, which require_auth does not allow"),
        (MD5_USER, "require_auth=scram-sha-256", "MD5 password, which require_auth does not allow"),
        (CLEARTEXT_USER, "require_auth=!password", "in the clear, which require_auth does not"),
        (TRUSTED_USER, "require_auth=!none", "nothing, which require_auth does not allow"),
        (TRUSTED_USER, "channel_binding=require", "does not bind the login"),
        (CLEARTEXT_USER, "channel_binding=require", "does not bind the login"),
        (APP_USER, "channel_binding=require", "does not bind the login"),
        (APP_USER, "channel_binding=disable", ""),
    ];
    for (user, parameter, expected) in cases {
        let text = format!("postgres://{user}:{APP_PASSWORD}@h/{APP_DATABASE}?{parameter}");
        match how(&text, &here).await {
            Ok(_) => assert_eq!(expected, "", "{user} {parameter}"),
            Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{error}"),
        }
    }
}

#[tokio::test]
async fn the_password_file_and_the_parameters_reach_the_backend() {
    let Some(cluster) = cluster().await else { return };
    let address = cluster.primary().address();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgpass");
    fs::write(&file, format!("db.example:{}:*:{APP_USER}:{APP_PASSWORD}\n", address.port()))
        .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "postgres://{APP_USER}@db.example/{APP_DATABASE}?passfile={}&application_name=my%20app\
         &options=-c%20geqo%3Doff",
        file.display(),
    );
    let mut connection = dial(&text, &at("db.example", address)).await.unwrap();
    assert_eq!(connection.parameters["application_name"], "my app");
    assert!(connection.parameters.contains_key("server_version"));
    assert_ne!(connection.key.process_id, 0);
    let reply = connection.simple_query("SHOW geqo", soon()).await.unwrap();
    assert_eq!(reply.rows, [[Some(b"off".to_vec())]]);
}

#[tokio::test]
async fn queries_notices_errors_and_the_last_words_are_told_apart() {
    let Some(mut cluster) = cluster().await else { return };
    let node = cluster.primary_mut();
    let mut connection = dial(&node.dsn(), &at("127.0.0.1", node.address())).await.unwrap();

    let sql = "DO $$ BEGIN RAISE NOTICE 'hello'; END $$; SELECT 1; SELECT NULL, 'x' UNION ALL SELECT 'a', ''";
    let reply = connection.simple_query(sql, soon()).await.unwrap();
    assert_eq!(reply.notices[0].message(), "hello");
    assert_eq!(reply.rows, [[None, Some(b"x".to_vec())], [Some(b"a".to_vec()), Some(vec![])]]);

    let error = connection.simple_query("SELECT 1/0", soon()).await.unwrap_err();
    assert_eq!(error.to_string(), "ERROR 22012: division by zero");
    let error = connection.simple_query("SELECT repeat('x', 2000000)", soon()).await.unwrap_err();
    assert!(matches!(error, QueryError::Protocol(_)), "{error}");

    let mut connection = dial(&node.dsn(), &at("127.0.0.1", node.address())).await.unwrap();
    connection.simple_query("SET application_name = 'other'", soon()).await.unwrap();
    assert_eq!(connection.parameters["application_name"], "other");
    let waited = timeout_at(Instant::now() + Duration::from_millis(50), connection.listen()).await;
    assert!(waited.is_err());
    let late =
        connection.simple_query("SELECT pg_sleep(5)", Instant::now() + Duration::from_millis(50));
    assert!(matches!(late.await.unwrap_err(), QueryError::Timeout));

    let mut connection = dial(&node.dsn(), &at("127.0.0.1", node.address())).await.unwrap();
    node.begin_stop(Stop::Fast);
    let Incoming::Error(words) = connection.listen().await.unwrap() else { panic!() };
    assert_eq!(words.code(), SqlState::ADMIN_SHUTDOWN);
    assert!(matches!(connection.listen().await.unwrap_err(), QueryError::Closed));
}

#[tokio::test]
async fn a_cancel_request_ends_the_statement_and_a_dead_port_is_told() {
    let Some(cluster) = cluster().await else { return };
    let node = cluster.primary();
    let here = at("127.0.0.1", node.address());
    let dialer = Dialer::new(&dsn(&node.dsn())).unwrap();
    let mut connection = dial(&node.dsn(), &here).await.unwrap();
    let key = connection.key.clone();
    let (answer, cancelled) =
        tokio::join!(connection.simple_query("SELECT pg_sleep(20)", soon()), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            dialer.cancel(&here, &key, soon()).await
        });
    cancelled.unwrap();
    let QueryError::Refused { error, .. } = answer.unwrap_err() else { panic!() };
    assert_eq!(error.code(), SqlState::QUERY_CANCELED);
    // It is an error of the statement alone: the connection goes on.
    assert_eq!(connection.simple_query("SELECT 1", soon()).await.unwrap().rows.len(), 1);
}

/// A certificate authority and a certificate for `names`, in files.
struct Certificates {
    directory: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("root.crt"), certificate.pem()).unwrap();
        let authority = Issuer::new(params, key);
        Self { directory, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn issue(&self, names: &[&str], common_name: &str) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    /// A certificate that only itself vouches for, marked as an authority as `openssl req -x509`
    /// makes it.
    fn self_signed(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }
}

fn put(node: &Node, name: &str, text: &str) {
    let path = node.data().join(name);
    fs::write(&path, text).unwrap();
    let owner = fs::metadata(node.data()).unwrap();
    chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Puts lines in front of `pg_hba.conf`; what stands there by itself lets the lab in.
async fn hba(node: &Node, lines: &str) {
    let path = node.data().join("pg_hba.conf");
    let own = fs::read_to_string(&path).unwrap();
    let own = own.rsplit_once("# own\n").map_or(own.as_str(), |(_, own)| own);
    put(node, "pg_hba.conf", &format!("{lines}\n# own\n{own}"));
    node.sql("SELECT pg_reload_conf()").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn serve(node: &Node, (certificate, key): (String, String)) {
    put(node, "server.crt", &certificate);
    put(node, "server.key", &key);
    node.set("ssl", "on").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Tries each mode and compares what came of it, one line each.
async fn table(endpoint: &Endpoint, root: &str, expected: &str) {
    let mut met = Vec::new();
    for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (parameters, _) = line.split_once('|').unwrap();
        let text = format!(
            "postgres://{APP_USER}:{APP_PASSWORD}@h/{APP_DATABASE}?{}",
            parameters.trim().replace("ROOT", root)
        );
        let outcome = match how(&text, endpoint).await {
            Ok(how) => how.split_once(' ').unwrap().1.to_owned(),
            Err(error) => error,
        };
        met.push(format!("{parameters}| {}", outcome.replace(root, "ROOT")));
    }
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(met.len(), expected.len(), "{met:#?}");
    for (met, expected) in met.iter().zip(&expected) {
        assert!(met.starts_with(expected), "\nmet:      {met}\nexpected: {expected}");
    }
}

#[tokio::test]
async fn every_sslmode_does_what_libpq_does() {
    let Some(cluster) = cluster().await else { return };
    let node = cluster.primary();
    let certificates = Certificates::new();
    let root = certificates.path("root.crt").display().to_string();
    let by_name = at("localhost", node.address());
    let by_other_name = at("other.example", node.address());
    let by_address = at("127.0.0.1", node.address());

    table(
        &by_name,
        &root,
        "
        sslmode=disable                          | plain
        sslmode=allow                            | plain
        sslmode=prefer                           | plain
        sslmode=require                          | the backend does not offer TLS
        sslmode=verify-full&sslrootcert=ROOT     | the backend does not offer TLS
        sslmode=prefer&channel_binding=require   | the backend broke the protocol: it does not bind
    ",
    )
    .await;

    serve(node, certificates.issue(&["localhost", "127.0.0.1"], "node")).await;
    table(
        &by_name,
        &root,
        "
        sslmode=disable                              | plain
        sslmode=allow                                | plain
        sslmode=prefer                               | TLSv1.3
        sslmode=require                              | TLSv1.3
        sslmode=require&channel_binding=require      | TLSv1.3
        sslmode=require&channel_binding=disable      | TLSv1.3
        sslmode=require&ssl_max_protocol_version=TLSv1.2&channel_binding=require | TLSv1.2
        sslmode=require&ssl_min_protocol_version=TLSv1.3 | TLSv1.3
        sslmode=verify-ca&sslrootcert=ROOT           | TLSv1.3
        sslmode=verify-full&sslrootcert=ROOT         | TLSv1.3
        sslmode=verify-full&sslrootcert=ROOT&sslsni=0 | TLSv1.3
        sslrootcert=system                           | TLS failed: invalid peer certificate
    ",
    )
    .await;
    table(&by_other_name, &root, "
        sslmode=verify-ca&sslrootcert=ROOT       | TLSv1.3
        sslmode=verify-full&sslrootcert=ROOT     | TLS failed: invalid peer certificate: certificate not valid for name
    ").await;
    table(
        &by_address,
        &root,
        "
        sslmode=verify-full&sslrootcert=ROOT     | TLSv1.3
    ",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_that_is_its_own_root_is_trusted_where_it_is_named() {
    let Some(cluster) = cluster().await else { return };
    let node = cluster.primary();
    let certificates = Certificates::new();
    let root = certificates.path("root.crt").display().to_string();
    let by_name = at("localhost", node.address());
    let by_other_name = at("other.example", node.address());
    let own = Certificates::self_signed(&["localhost"]);
    let own_root = certificates.path("own.crt");
    fs::write(&own_root, &own.0).unwrap();
    serve(node, own).await;
    table(
        &by_name,
        &root,
        "
        sslmode=prefer                       | TLSv1.3
        sslmode=require                      | TLSv1.3
        sslmode=prefer&sslrootcert=ROOT      | plain
        sslmode=require&sslrootcert=ROOT     | TLS failed: invalid peer certificate
        sslmode=verify-ca&sslrootcert=ROOT   | TLS failed: invalid peer certificate
    ",
    )
    .await;
    table(
        &by_name,
        &own_root.display().to_string(),
        "
        sslmode=verify-ca&sslrootcert=ROOT   | TLSv1.3
        sslmode=verify-full&sslrootcert=ROOT | TLSv1.3
    ",
    )
    .await;
    table(&by_other_name, &own_root.display().to_string(), "
        sslmode=verify-full&sslrootcert=ROOT | TLS failed: invalid peer certificate: certificate not valid for name
    ").await;
}

#[tokio::test]
async fn hba_lines_decide_between_plain_and_tls_and_ask_for_certificates() {
    let Some(cluster) = cluster().await else { return };
    let node = cluster.primary();
    let certificates = Certificates::new();
    let root = certificates.path("root.crt").display().to_string();
    serve(node, certificates.issue(&["localhost"], "node")).await;
    let here = at("localhost", node.address());

    hba(node, "hostnossl all app 127.0.0.0/8 reject").await;
    table(
        &here,
        &root,
        "
        sslmode=disable | FATAL 28000
        sslmode=allow   | TLSv1.3
        sslmode=prefer  | TLSv1.3
    ",
    )
    .await;
    hba(node, "hostssl all app 127.0.0.0/8 reject").await;
    table(
        &here,
        &root,
        "
        sslmode=allow   | plain
        sslmode=prefer  | plain
        sslmode=require | FATAL 28000
    ",
    )
    .await;

    put(node, "root.crt", &fs::read_to_string(certificates.path("root.crt")).unwrap());
    node.set("ssl_ca_file", "root.crt").await.unwrap();
    hba(node, "hostssl all app 127.0.0.0/8 cert").await;
    let (certificate, key) = certificates.issue(&[], APP_USER);
    fs::write(certificates.path("app.crt"), certificate).unwrap();
    private(&certificates.path("app.key"), &key);
    let pair = format!(
        "sslcert={}&sslkey={}",
        certificates.path("app.crt").display(),
        certificates.path("app.key").display(),
    );
    let text = format!("postgres://{APP_USER}@h/{APP_DATABASE}?sslmode=require");
    assert_eq!(how(&format!("{text}&{pair}"), &here).await.unwrap(), "app TLSv1.3");
    let error = how(&text, &here).await.unwrap_err();
    assert!(error.contains("valid client certificate"), "{error}");

    let dsn = dsn(&format!("{text}&{pair}"));
    let dialer = Dialer::new(&dsn).unwrap();
    let mut connection = dialer.dial(&here, &Login::from_dsn(&dsn), soon()).await.unwrap();
    let key = connection.key.clone();
    let (answer, cancelled) =
        tokio::join!(connection.simple_query("SELECT pg_sleep(20)", soon()), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            dialer.cancel(&here, &key, soon()).await
        });
    cancelled.unwrap();
    assert!(answer.unwrap_err().to_string().contains("57014"));
}
