//! The ways in, each from end to end: Unix sockets by peer, certificates that are demanded, IPv6;
//! and how long and how many may wait.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use everline_lab::client::Client;
use everline_lab::everline::Everline;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions};
use everline_lab::process::run_directory;
use everline_lab::{Error, Result};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;

use crate::login::{Front, file, outcome};
use crate::scene::{dsn, is_available, keep_log, launch, run, until};
use crate::seat::{ONE, Seat};

/// The name of the operating system's user whom this process is.
fn own_name() -> Option<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut columns = line.split(':');
        let name = columns.next()?;
        (columns.nth(1)? == uid).then(|| name.to_owned())
    })
}

fn directory(name: &str) -> Result<PathBuf> {
    let path = run_directory()?.join(name);
    std::fs::create_dir_all(&path)
        .map_err(|source| Error::Io { what: path.display().to_string(), source })?;
    Ok(path)
}

/// What a login is answered, without parameters and key.
async fn told(client: &mut Client, user: &str, password: &str) -> Result<String> {
    let answers = client.login(user, password, APP_DATABASE, &[]).await?;
    let told = answers.iter().filter(|message| !matches!(message.tag, b'S' | b'K'));
    Ok(told.map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

async fn with(cluster: &Cluster, name: &str, config: &str, arguments: &[&str]) -> Result<Everline> {
    let everline = launch(&dsn("127.0.0.2", cluster.port()))
        .argument("--config")
        .argument(file(name, config)?)
        .arguments(arguments)
        .start()
        .await?;
    until(&everline, "leader", is_available).await;
    Ok(everline)
}

#[test]
fn over_a_unix_socket_the_operating_system_says_who_it_is() {
    run(async {
        let name = own_name().ok_or_else(|| Error::Skip("this user has no name".to_owned()))?;
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let prepare = format!("CREATE ROLE \"{name}\" LOGIN; GRANT \"{name}\" TO app");
        cluster.primary().sql(&prepare).await?;
        drop(file("peer.hba", "local all all peer map=people\nhost all all all scram-sha-256\n")?);
        let people = format!("people \"{name}\" \"{name}\"\npeople \"{name}\" app\n");
        drop(file("peer.ident", &people)?);
        let sockets = directory("peer")?;
        let everline = with(
            &cluster,
            "peer.toml",
            "auth = 'hba'\nauth_hba_file = 'peer.hba'\nauth_ident_file = 'peer.ident'\n\
             backend_login = 'role'\nunix_socket_mode = '0707'\n",
            &["--listen", &format!("unix:{}/.s.PGSQL.7000", sockets.display())],
        )
        .await?;
        let path = sockets.join(".s.PGSQL.7000");
        let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o707, "unix_socket_mode");
        for (user, expected) in [
            (name.as_str(), "R[ok] Z[I]"),
            (APP_USER, "R[ok] Z[I]"),
            ("postgres", "E[FATAL 28000 \"peer authentication failed for user \\\"postgres\\\"\"]"),
        ] {
            let mut client = Client::connect_unix(&path).await?;
            assert_eq!(told(&mut client, user, "").await?, expected, "{user}");
            if expected.starts_with('R') {
                let heard = client.answers("SELECT current_user").await?;
                assert_eq!(heard, format!("T[current_user] D[{user}] C[SELECT 1] Z[I]"));
            }
        }
        // Over TCP nobody is believed.
        let heard = outcome(everline.address(), &name, "", APP_DATABASE, &[]).await?;
        assert!(heard.contains("E[FATAL 28P01"), "{heard}");
        keep_log(&everline);
        drop(everline);
        // Without a map the names have to be the same.
        let everline = with(
            &cluster,
            "peer2.toml",
            "auth = 'peer'\nbackend_login = 'role'\n",
            &["--listen", &format!("unix:{}/.s.PGSQL.7001", sockets.display())],
        )
        .await?;
        let path = sockets.join(".s.PGSQL.7001");
        let mut client = Client::connect_unix(&path).await?;
        assert_eq!(told(&mut client, &name, "").await?, "R[ok] Z[I]");
        let mut client = Client::connect_unix(&path).await?;
        assert!(told(&mut client, APP_USER, "").await?.starts_with("E[FATAL 28000 "));
        let heard = outcome(everline.address(), &name, "", APP_DATABASE, &[]).await?;
        assert!(heard.contains("peer authentication is for Unix sockets"), "{heard}");
        keep_log(&everline);
        Ok(())
    });
}

/// A certificate authority, and a certificate of `name` by it.
fn vouched(name: &str) -> std::result::Result<(String, Vec<u8>, Vec<u8>), rcgen::Error> {
    let ca_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(Vec::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&ca_key)?.pem();
    let issuer = rcgen::Issuer::new(authority, ca_key);
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let client = params.signed_by(&key, &issuer)?;
    Ok((ca, client.der().to_vec(), key.serialize_der()))
}

type Pair = (Vec<u8>, Vec<u8>);

/// What a login over TLS is answered; no answer where the handshake fails.
async fn over_tls(
    address: SocketAddr,
    roots: &RootCertStore,
    own: Option<&Pair>,
    password: &str,
) -> Result<String> {
    let config = rustls::ClientConfig::builder().with_root_certificates(roots.clone());
    let mut config = match own {
        Some((chain, key)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone()));
            config.with_client_auth_cert(vec![chain.clone().into()], key).expect("a pair")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let io = |source| Error::Io { what: "TLS".to_owned(), source };
    let stream = TcpStream::connect(address).await.map_err(io)?;
    let name = ServerName::try_from("front.example.test").expect("a name");
    let Ok(stream) = connector.connect(name, stream).await else { return Ok(String::new()) };
    // With TLS 1.3 the other side looks at our certificate after we think that all is well.
    told(&mut Client::over(stream), APP_USER, password).await.or(Ok(String::new()))
}

#[test]
fn tls_and_certificates_are_demanded_where_the_settings_say_so() {
    run(async {
        let skip = |error: rcgen::Error| Error::Skip(error.to_string());
        let ours = rcgen::generate_simple_self_signed(["front.example.test".to_owned()]);
        let ours = ours.map_err(skip)?;
        let mut roots = RootCertStore::empty();
        roots.add(ours.cert.der().clone()).expect("a certificate");
        drop(file("doors.pem", &ours.cert.pem())?);
        drop(file("doors.key", &ours.signing_key.serialize_pem())?);
        let (ca, chain, key) = vouched("anybody").map_err(skip)?;
        let friend = (chain, key);
        let (_, chain, key) = vouched("anybody").map_err(skip)?;
        let stranger = (chain, key);
        drop(file("doors.ca", &ca)?);
        drop(file(
            "doors.hba",
            "hostssl all all all scram-sha-256 clientcert=verify-ca\n\
             hostnossl all all all reject\n",
        )?);
        let tls = "tls_cert = 'doors.pem'\ntls_key = 'doors.key'\n";
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let (welcome, none) = ("R[ok] Z[I]", "");
        for (name, config, in_clear, without, by_friend, by_stranger) in [
            ("allow", "", welcome, welcome, welcome, welcome),
            ("require", "tls_clients = 'require'\n", "28000", welcome, welcome, welcome),
            (
                "verify",
                "tls_clients = 'verify'\ntls_client_ca = 'doors.ca'\n",
                "28000",
                "28000",
                welcome,
                none,
            ),
            (
                "clientcert",
                "auth = 'hba'\nauth_hba_file = 'doors.hba'\ntls_client_ca = 'doors.ca'\n",
                "28000",
                "28000",
                welcome,
                none,
            ),
        ] {
            let config = format!("{tls}{config}");
            let everline = with(&cluster, &format!("doors-{name}.toml"), &config, &[]).await?;
            let address = everline.address();
            let fits = |heard: &str, wanted: &str| match wanted {
                "" => !heard.contains("R[ok]"),
                wanted if wanted == welcome => heard.ends_with(welcome),
                code => heard.contains(&format!("E[FATAL {code} ")) || heard.is_empty(),
            };
            let heard = outcome(address, APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
            assert!(fits(&heard, in_clear), "{name}, in the clear: {heard}");
            for (who, own, wanted) in [
                ("without a certificate", None, without),
                ("by a friend", Some(&friend), by_friend),
                ("by a stranger", Some(&stranger), by_stranger),
            ] {
                let heard = over_tls(address, &roots, own, APP_PASSWORD).await?;
                assert!(fits(&heard, wanted), "{name}, {who}: {heard}");
            }
            // A certificate alone is no password.
            let heard = over_tls(address, &roots, Some(&friend), "wrong").await?;
            assert!(heard.contains("E[FATAL 28P01 "), "{name}: {heard}");
            keep_log(&everline);
        }
        Ok(())
    });
}

#[test]
fn ipv6_on_both_sides() {
    run(async {
        let home = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
        let free = TcpListener::bind(home).and_then(|listener| listener.local_addr());
        let free = free.map_err(|error| Error::Skip(format!("no IPv6: {error}")))?;
        let options = ClusterOptions {
            settings: vec![("listen_addresses".to_owned(), "127.0.0.2, ::1".to_owned())],
            hba: "host all all ::1/128 scram-sha-256".to_owned(),
            ..ClusterOptions::single()
        };
        let cluster = Cluster::start(options).await?;
        drop(file("v6.hba", "host all all ::1/128 scram-sha-256\n")?);
        let backend =
            format!("postgres://{APP_USER}:{APP_PASSWORD}@[::1]:{}/{APP_DATABASE}", cluster.port());
        let everline = launch(&backend)
            .argument("--config")
            .argument(file("v6.toml", "auth = 'hba'\nauth_hba_file = 'v6.hba'\n")?)
            .arguments(["--listen", &free.to_string()])
            .start()
            .await?;
        until(&everline, "leader", is_available).await;
        let mut client = Client::connect(free).await?;
        assert!(told(&mut client, APP_USER, APP_PASSWORD).await?.ends_with("R[ok] Z[I]"));
        let heard = client.answers("SELECT host(inet_client_addr())").await?;
        assert_eq!(heard, "T[host] D[::1] C[SELECT 1] Z[I]");
        let heard = outcome(everline.address(), APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        assert!(heard.starts_with("E[FATAL 28000 \"auth_hba_file has no entry"), "{heard}");
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn so_many_may_wait_and_so_long() {
    run(async {
        let config = file(
            "waiters.toml",
            "waiters_max = 2\nquery_wait_timeout = '1s'\nmax_backend_connections = 2\n",
        )?;
        let front = Front::start(|launch| launch.argument("--config").argument(config)).await?;
        let address = front.address();
        let mut holder = Seat::app("holder", address).await;
        holder.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        holder.ask("Q:SELECT 1", &ONE.replace("Z[I]", "Z[T]")).await;
        let mut first = Seat::app("first", address).await;
        let mut second = Seat::app("second", address).await;
        let mut third = Seat::app("third", address).await;
        first.say("Q:SELECT 1").await;
        second.say("Q:SELECT 1").await;
        until(&front.everline, "two waiters", |status| status["pools"][0]["waiting"] == 2).await;
        third.say("Q:SELECT 1").await;
        let heard = third.client.until_ready().await?;
        let heard = third.client.rendered(&heard);
        assert!(heard.starts_with("E[40001 ") && heard.ends_with("Z[I]"), "{heard}");
        let heard = first.client.until_ready().await?;
        let heard = first.client.rendered(&heard);
        let words = "no backend connection became free";
        assert!(heard.starts_with("E[40001 ") && heard.ends_with("Z[I]"), "{words}: {heard}");
        holder.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
        third.is_served().await;
        first.is_served().await;
        Ok(())
    });
}
