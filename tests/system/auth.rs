//! Every way to prove who one is, towards Everline and on to PostgreSQL.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use everline_lab::client::Client;
use everline_lab::everline::Everline;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions};
use everline_lab::{Error, Result};
use everline_wire::startup;
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;

use crate::login::{Front, file, outcome};
use crate::scene::{dsn, is_available, keep_log, launch, run, until};
use crate::seat::{Seat, bytes};

const WELCOME: &str = "R[SCRAM-SHA-256] R[sasl continue] R[sasl final] R[ok] Z[I]";

/// A function of the superuser's that says what is stored, and roles whose passwords are known to
/// PostgreSQL alone.
const ROLES: &str = "
    CREATE ROLE only_there LOGIN PASSWORD 'there';
    CREATE ROLE \"it's \"\"odd\"\"; --\" LOGIN PASSWORD 'odd';
    CREATE ROLE member NOLOGIN; GRANT member TO app;
    CREATE TABLE keep (n int);
    CREATE FUNCTION stored(name text) RETURNS TABLE (n text, s text) LANGUAGE sql SECURITY DEFINER
    AS 'SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin'";

async fn front(name: &str, config: &str, prepare: &str) -> Result<Front> {
    let config = file(name, config)?;
    let front = Front::start(|launch| launch.argument("--config").argument(config)).await?;
    if !prepare.is_empty() {
        front.cluster.primary().sql(prepare).await?;
    }
    Ok(front)
}

async fn who(address: SocketAddr, user: &str, password: &str) -> Result<String> {
    let mut client = Client::connect(address).await?;
    let answers = client.login(user, password, "postgres", &[]).await?;
    if answers.last().is_none_or(|last| last.tag != b'Z') {
        return Ok(client.rendered(&answers));
    }
    client.answers("SELECT session_user, current_user").await
}

#[test]
fn auth_query_asks_postgresql_and_the_clients_keys_go_on_to_it() {
    run(async {
        let front = front(
            "query.toml",
            "auth_query = 'SELECT n, s FROM stored($1)'
             auth_query_database = 'app'\n",
            ROLES,
        )
        .await?;
        let address = front.address();
        let row =
            |who: &str| format!("T[session_user,current_user] D[{who},{who}] C[SELECT 1] Z[I]");
        assert_eq!(who(address, "only_there", "there").await?, row("only_there"));
        let odd = "it's \"odd\"; --";
        assert_eq!(who(address, odd, "odd").await?, row(odd));
        for (user, password) in [
            ("only_there", "wrong"),
            ("nobody", "there"),
            ("x'; DROP TABLE keep; --", "there"),
            ("member", "there"),
        ] {
            let heard = outcome(address, user, password, "postgres", &[]).await?;
            let begins = "R[SCRAM-SHA-256] R[sasl continue] E[FATAL 28P01";
            assert!(heard.starts_with(begins) && heard.ends_with("closed"), "{user}: {heard}");
        }
        assert_eq!(front.cluster.primary().value("SELECT count(*) FROM keep").await?, "0");
        // Without a leader the answers that are known hold.
        let mut front = front;
        front.cluster.primary_mut().kill9();
        until(&front.everline, "outage", |status| !is_available(status)).await;
        let heard = outcome(address, "only_there", "there", "postgres", &[]).await?;
        assert_eq!(heard, WELCOME);
        let log = front.everline.log();
        assert!(!log.contains("SCRAM-SHA-256$") && !log.contains("'there'"), "{log}");
        Ok(())
    });
}

#[test]
fn rules_decide_who_proves_what() {
    run(async {
        let list = "\"app\" \"app-secret\"\n\"md5 user\" \"md5PLACE\"\n";
        let digest = "0cc175b9c0f1b6a831c399e269772661";
        drop(file("users.txt", &list.replace("PLACE", digest))?);
        drop(file(
            "hba.conf",
            "host all trusted 127.0.0.0/8 trust
             host all barred all reject
             host postgres app all md5
             host all \"md5 user\" all md5
             host app app all password
             local all all peer\n",
        )?);
        let front = front(
            "hba.toml",
            "auth = 'hba'
             auth_hba_file = 'hba.conf'
             auth_file = 'users.txt'\n",
            "",
        )
        .await?;
        let address = front.address();
        let heard = outcome(address, "trusted", "", "app", &[]).await?;
        assert_eq!(heard, "R[ok] Z[I]");
        let heard = outcome(address, "barred", "", "app", &[]).await?;
        assert!(
            heard.starts_with("E[FATAL 28000 \"auth_hba_file rejects connection host"),
            "{heard}"
        );
        let heard = outcome(address, "stranger", "", "app", &[]).await?;
        assert!(
            heard.starts_with("E[FATAL 28000 \"auth_hba_file has no entry for host"),
            "{heard}"
        );
        let heard = outcome(address, "md5 user", "wrong", "app", &[]).await?;
        assert!(heard.contains("E[FATAL 28P01"), "{heard}");
        let heard = outcome(address, APP_USER, APP_PASSWORD, "postgres", &[]).await?;
        assert!(heard.ends_with("R[ok] Z[I]") && !heard.contains("SCRAM"), "{heard}");
        let heard = outcome(address, APP_USER, APP_PASSWORD, "app", &[]).await?;
        assert!(heard.ends_with("R[ok] Z[I]") && !heard.contains("SCRAM"), "{heard}");
        let heard = outcome(address, APP_USER, "wrong", "app", &[]).await?;
        assert!(heard.contains("E[FATAL 28P01"), "{heard}");
        Ok(())
    });
}

#[test]
fn as_a_role_of_the_dsns_user() {
    run(async {
        let front = front(
            "role.toml",
            "auth = 'trust'
             backend_login = 'role'\n",
            ROLES,
        )
        .await?;
        let heard = who(front.address(), "member", "").await?;
        assert_eq!(heard, "T[session_user,current_user] D[app,member] C[SELECT 1] Z[I]");
        let heard = outcome(front.address(), "only_there", "", "postgres", &[]).await?;
        assert!(heard.contains("FATAL") && heard.contains("permission denied"), "{heard}");
        Ok(())
    });
}

/// A certificate and its key for a client, and who vouches for it.
struct Made {
    ca: rcgen::Certificate,
    client: rcgen::Certificate,
    client_key: rcgen::KeyPair,
}

fn made(name: &str) -> std::result::Result<Made, rcgen::Error> {
    let ca_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(Vec::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&ca_key)?;
    let issuer = rcgen::Issuer::new(authority, ca_key);
    let client_key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Everline's tests");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let client = params.signed_by(&client_key, &issuer)?;
    Ok(Made { ca, client, client_key })
}

#[test]
fn a_certificate_lets_in_by_its_name_or_by_a_map_over_tls_at_once() {
    run(async {
        let skip = |error: rcgen::Error| Error::Skip(error.to_string());
        let ours = rcgen::generate_simple_self_signed(["front.example.test".to_owned()]);
        let ours = ours.map_err(skip)?;
        let jane = made("Jane Doe").map_err(skip)?;
        drop(file("direct.pem", &ours.cert.pem())?);
        drop(file("direct.key", &ours.signing_key.serialize_pem())?);
        drop(file("clients.pem", &jane.ca.pem())?);
        drop(file("ident.conf", "people \"Jane Doe\" app\n")?);
        let front = front(
            "cert.toml",
            "auth = 'cert'
             auth_map = 'people'
             auth_ident_file = 'ident.conf'
             tls_cert = 'direct.pem'
             tls_key = 'direct.key'
             tls_client_ca = 'clients.pem'
             tls_min_version = 'TLSv1.3'\n",
            "",
        )
        .await?;
        let address = front.address();
        let heard = outcome(address, APP_USER, "", APP_DATABASE, &[]).await?;
        assert_eq!(
            heard,
            "E[FATAL 28000 \"connection requires a valid client certificate\"] closed"
        );
        let mut roots = RootCertStore::empty();
        roots.add(ours.cert.der().clone()).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(jane.client_key.serialize_der()));
        let config = rustls::ClientConfig::builder().with_root_certificates(roots.clone());
        let chain = vec![jane.client.der().clone()];
        let mut config = config.with_client_auth_cert(chain, key).expect("a pair");
        for (alpn, user, expected) in [
            (&b"postgresql"[..], APP_USER, "R[ok] Z[I]"),
            (
                b"postgresql",
                "postgres",
                "E[FATAL 28000 \"certificate authentication failed for \
              user \\\"postgres\\\"\"]",
            ),
            (
                b"",
                APP_USER,
                "E[FATAL 08P01 \"a direct TLS connection has to name its protocol (ALPN)\"]",
            ),
        ] {
            config.alpn_protocols = if alpn.is_empty() { vec![] } else { vec![alpn.to_vec()] };
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config.clone()));
            let io = |source| Error::Io { what: "TLS".to_owned(), source };
            let stream = TcpStream::connect(address).await.map_err(io)?;
            let name = ServerName::try_from("front.example.test").expect("a name");
            let stream = connector.connect(name, stream).await.map_err(io)?;
            let mut client = Client::over(stream);
            let answers = client.login(user, "", APP_DATABASE, &[]).await?;
            let told = answers.iter().filter(|message| !matches!(message.tag, b'S' | b'K'));
            let told: Vec<_> = told.map(ToString::to_string).collect();
            assert_eq!(told.join(" "), expected, "{user}");
        }
        Ok(())
    });
}

/// Logs in by protocol 3.2 in the clear, without a password.
async fn newest(address: SocketAddr) -> Result<Client> {
    let mut client = Client::connect(address).await?;
    let body = b"\x00\x03\x00\x02user\0app\0database\0app\0\0";
    let mut packet = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    client.send(&packet).await?;
    let answers = client.until_ready().await?;
    assert_eq!(answers[0].to_string(), "R[ok]", "no word about the version: it is spoken");
    Ok(client)
}

async fn peer(cluster: &Cluster, arguments: &[&str]) -> Result<Everline> {
    let everline = launch(&dsn("127.0.0.2", cluster.port()))
        .arguments(["--auth", "trust"])
        .arguments(arguments)
        .start()
        .await?;
    until(&everline, "leader", is_available).await;
    Ok(everline)
}

#[test]
fn long_cancel_keys_work_and_reach_the_peer_that_gave_them_out() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let first = peer(&cluster, &["--peer-id", "1"]).await?;
        let others = format!("1={}", first.address());
        let second = peer(&cluster, &["--peer-id", "2", "--peers", &others]).await?;
        let mut client = newest(first.address()).await?;
        let (process, secret) = client.key().cloned().expect("a key");
        assert_eq!((process >> 24, secret.len()), (1, 32));
        for (by, secret, ends) in [
            (&second, vec![7; 32], false),
            (&second, secret[..4].to_vec(), false),
            (&second, secret.to_vec(), true),
            (&first, secret.to_vec(), true),
        ] {
            client.send(&bytes("Q:SELECT pg_sleep(5)")).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            let mut asks = Client::connect(by.address()).await?;
            asks.say(|out| startup::cancel_request(out, process, &secret)).await?;
            assert_eq!(asks.next().await?.map(|message| message.tag), None, "nothing is said");
            let heard = client.hears(Duration::from_millis(1500)).await?;
            assert_eq!(heard.contains("57014"), ends, "{heard}");
            if !ends {
                client.until_ready().await?;
            }
        }
        keep_log(&first);
        keep_log(&second);
        Ok(())
    });
}

#[test]
fn a_proxys_word_counts_where_proxies_are_and_nowhere_else() {
    run(async {
        drop(file("proxied.conf", "host all all 192.0.2.0/24 trust\n")?);
        let config = "auth = 'hba'\nauth_hba_file = 'proxied.conf'\nreuse_port = true\n";
        let believed =
            front("believes.toml", &format!("{config}proxy_protocol_from = ['127.0.0.0/8']\n"), "")
                .await?;
        let doubted = front("doubts.toml", config, "").await?;
        for (header, expected) in [
            (&b"PROXY TCP4 192.0.2.7 192.0.2.9 40000 5432\r\n"[..], "R[ok]"),
            (b"PROXY TCP4 198.51.100.7 192.0.2.9 40000 5432\r\n", "E[FATAL 28000"),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x09\x9c\x40\x15\x38",
                "R[ok]",
            ),
            (b"", "E[FATAL 08P01"),
        ] {
            let mut client = Client::connect(believed.address()).await?;
            client.send(&header[..header.len() / 2]).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
            client.send(&header[header.len() / 2..]).await?;
            client.say(|out| startup::startup(out, APP_USER, APP_DATABASE, [])).await?;
            let heard = client.next().await?.expect("an answer").to_string();
            assert!(heard.starts_with(expected), "{header:?}: {heard}");
        }
        let mut client = Client::connect(doubted.address()).await?;
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.9 40000 5432\r\n").await?;
        let heard = client.next().await?.expect("an answer").to_string();
        assert!(heard.starts_with("E[FATAL 08P01"), "{heard}");
        let mut seat =
            Seat { who: "after it".to_owned(), client: Client::connect(doubted.address()).await? };
        seat.client.say(|out| startup::startup(out, APP_USER, APP_DATABASE, [])).await?;
        let heard = seat.client.next().await?.expect("an answer").to_string();
        assert!(heard.starts_with("E[FATAL 28000"), "{heard}");
        Ok(())
    });
}
