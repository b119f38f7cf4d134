//! How a client gets in: negotiation, methods, users, databases, and how it is turned away.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use everline_lab::client::Client;
use everline_lab::everline::{Everline, Launch};
use everline_lab::postgres::{
    APP_DATABASE, APP_PASSWORD, APP_USER, CLEARTEXT_USER, Cluster, ClusterOptions, MD5_USER,
    TRUSTED_USER,
};
use everline_lab::process::run_directory;
use everline_lab::{Error, Result};
use everline_wire::startup;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use crate::scene::{dsn, is_available, keep_log, launch, program, run, until};
use crate::seat::{Seat, bytes, heard};

const LOGGED_IN: &[&str] =
    &["R[SCRAM-SHA-256]", "R[sasl continue]", "R[sasl final]", "R[ok]", "Z[I]"];

/// A cluster and Everline in front of it.
pub(crate) struct Front {
    pub(crate) everline: Everline,
    pub(crate) cluster: Cluster,
}

impl Front {
    pub(crate) async fn start(launch: impl FnOnce(Launch) -> Launch) -> Result<Self> {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let prepared = crate::scene::launch(&dsn("127.0.0.2", cluster.port()));
        let everline = launch(prepared).start().await?;
        until(&everline, "leader", is_available).await;
        Ok(Self { everline, cluster })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.everline.address()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        keep_log(&self.everline);
    }
}

/// A file of this run, readable by its owner alone.
pub(crate) fn file(name: &str, content: &str) -> Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = run_directory()?.join(name);
    let wrong = |source| Error::Io { what: path.display().to_string(), source };
    let mut options = std::fs::OpenOptions::new();
    let opened = options.create(true).truncate(true).write(true).mode(0o600).open(&path);
    opened.and_then(|mut file| file.write_all(content.as_bytes())).map_err(wrong)?;
    Ok(path)
}

/// What is heard during a login, without parameters and key.
async fn login(
    client: &mut Client,
    user: &str,
    password: &str,
    database: &str,
    parameters: &[(&str, &str)],
) -> Result<Vec<String>> {
    let answers = client.login(user, password, database, parameters).await?;
    let told = answers.iter().filter(|message| !matches!(message.tag, b'S' | b'K'));
    Ok(told.map(heard).collect())
}

/// As [`login`] over a connection of its own, with how that ends.
pub(crate) async fn outcome(
    address: SocketAddr,
    user: &str,
    password: &str,
    database: &str,
    parameters: &[(&str, &str)],
) -> Result<String> {
    let mut client = Client::connect(address).await?;
    let mut heard = login(&mut client, user, password, database, parameters).await?;
    if heard.last().is_some_and(|last| last != "Z[I]") {
        heard.push(client.hears(Duration::from_secs(5)).await?);
    }
    Ok(heard.join(" "))
}

#[test]
fn negotiation_is_refused_in_order_and_login_goes_on() {
    run(async {
        let front = Front::start(|launch| launch).await?;
        let mut client = Client::connect(front.address()).await?;
        client.send(&[0, 0, 0, 8, 4, 210, 22, 48]).await?; // GSSENCRequest
        assert_eq!(client.byte().await?, b'N');
        client.say(startup::tls_request).await?;
        assert_eq!(client.byte().await?, b'N');
        assert_eq!(login(&mut client, APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?, LOGGED_IN);
        assert!(client.key().is_some_and(|(_, secret)| secret.len() == 4));
        assert_eq!(client.answers("SELECT 1").await?, "T[?column?] D[1] C[SELECT 1] Z[I]");
        Ok(())
    });
}

#[test]
fn a_newer_protocol_is_negotiated_down() {
    run(async {
        let front = Front::start(|launch| launch).await?;
        // 3.2 with an option of it that we do not know.
        let body = b"\x00\x03\x00\x02user\0app\0database\0app\0_pq_.nonsense\0on\0\0";
        let mut packet = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
        packet.extend_from_slice(body);
        let mut client = Client::connect(front.address()).await?;
        client.send(&packet).await?;
        let first = client.next().await?.expect("an answer");
        assert_eq!((first.tag, &first.body[..4]), (b'v', &[0, 3, 0, 2][..]));
        assert!(first.body.ends_with(b"\x01_pq_.nonsense\0"), "{first:?}");
        let next = client.next().await?.expect("an answer");
        assert_eq!(next.to_string(), "R[SCRAM-SHA-256]");
        Ok(())
    });
}

#[test]
fn a_wrong_password_and_an_unknown_user_take_the_same_steps() {
    run(async {
        let front = Front::start(|launch| launch).await?;
        let denied = |user: &str| {
            format!(
                "R[SCRAM-SHA-256] R[sasl continue] \
                 E[FATAL 28P01 \"password authentication failed for user \\\"{user}\\\"\"] closed"
            )
        };
        for user in [APP_USER, "nobody", "postgres"] {
            let heard = outcome(front.address(), user, "wrong", APP_DATABASE, &[]).await?;
            assert_eq!(heard, denied(user));
        }
        // Not even with a password that is right for somebody.
        let heard = outcome(front.address(), "nobody", APP_PASSWORD, APP_DATABASE, &[]).await?;
        assert_eq!(heard, denied("nobody"));
        let heard = outcome(front.address(), APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        assert_eq!(heard, LOGGED_IN.join(" "));
        Ok(())
    });
}

#[test]
fn what_postgresql_refuses_it_refuses_in_its_own_words() {
    run(async {
        let front = Front::start(|launch| launch).await?;
        let known = LOGGED_IN[..3].join(" ");
        let heard = outcome(front.address(), APP_USER, APP_PASSWORD, "nowhere", &[]).await?;
        let words = "database \\\"nowhere\\\" does not exist";
        assert_eq!(heard, format!("{known} E[FATAL 3D000 \"{words}\"] closed"));
        let replication = [("replication", "database")];
        let heard = outcome(front.address(), APP_USER, APP_PASSWORD, "app", &replication).await?;
        let words = "replication connections are not served; connect to PostgreSQL itself";
        assert_eq!(heard, format!("E[FATAL 0A000 \"{words}\"] closed"));
        let nonsense = [("nonsense", "1")];
        let heard = outcome(front.address(), APP_USER, APP_PASSWORD, "app", &nonsense).await?;
        assert!(heard.starts_with(&format!("{known} E[FATAL ")), "{heard}");
        assert!(heard.contains("unrecognized configuration parameter"), "{heard}");
        assert!(heard.ends_with("closed"), "{heard}");
        Seat::app("another", front.address()).await.is_served().await;
        Ok(())
    });
}

#[test]
fn trust_asks_for_nothing() {
    run(async {
        let front = Front::start(|launch| launch.arguments(["--auth", "trust"])).await?;
        for (user, database) in [(APP_USER, APP_DATABASE), (TRUSTED_USER, "app")] {
            let heard = outcome(front.address(), user, "", database, &[]).await?;
            assert_eq!(heard, "R[ok] Z[I]", "{user}");
        }
        Ok(())
    });
}

#[test]
fn users_of_the_file_get_in_with_every_kind_of_backend_login() {
    run(async {
        let mut users = Vec::new();
        for user in [MD5_USER, CLEARTEXT_USER, TRUSTED_USER] {
            let password = format!("{user}-here");
            let password = if user == TRUSTED_USER { &password } else { APP_PASSWORD };
            users.push(format!("[[users]]\nname = \"{user}\"\npassword = \"{password}\"\n"));
        }
        let config = file("users.toml", &users.concat())?;
        let front = Front::start(|launch| launch.argument("--config").argument(config)).await?;
        front.cluster.primary().sql("CREATE DATABASE other OWNER app").await?;
        let mut seats = Vec::new();
        for (user, database) in [
            (APP_USER, APP_DATABASE),
            (MD5_USER, APP_DATABASE),
            (CLEARTEXT_USER, "other"),
            (MD5_USER, "other"),
            (APP_USER, "postgres"),
        ] {
            let who = format!("{user}@{database}");
            seats.push(Seat::login(&who, front.address(), user, database, &[]).await);
        }
        for _ in 0..3 {
            for seat in &mut seats {
                let row = format!("T[?column?] / D[{}] / C[SELECT 1] / Z[I]", seat.who);
                seat.ask("Q:SELECT current_user || '@' || current_database()", &row).await;
            }
        }
        let mut client = Client::connect(front.address()).await?;
        let heard = login(&mut client, TRUSTED_USER, "trusted-here", "other", &[]).await?;
        assert_eq!(heard, LOGGED_IN);
        let pools = crate::scene::status(&front.everline).await["pools"].as_array().map(Vec::len);
        assert_eq!(pools, Some(6));
        Ok(())
    });
}

#[test]
fn tls_is_served_where_there_is_a_certificate() {
    run(async {
        let made = rcgen::generate_simple_self_signed(["front.example.test".to_owned()])
            .map_err(|error| Error::Skip(error.to_string()))?;
        let cert = file("front.pem", &made.cert.pem())?;
        let key = file("front.key", &made.signing_key.serialize_pem())?;
        let front = Front::start(|launch| {
            launch.argument("--tls-cert").argument(cert).argument("--tls-key").argument(key)
        })
        .await?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate");
        let config = rustls::ClientConfig::builder().with_root_certificates(roots);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_no_client_auth()));
        let io = |source| Error::Io { what: "TLS".to_owned(), source };
        let mut stream = TcpStream::connect(front.address()).await.map_err(io)?;
        let mut answer = [0];
        {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.map_err(io)?;
            stream.read_exact(&mut answer).await.map_err(io)?;
        }
        assert_eq!(&answer, b"S");
        let name = ServerName::try_from("front.example.test").expect("a name");
        let stream = connector.connect(name, stream).await.map_err(io)?;
        let mut client = Client::over(stream);
        let heard = login(&mut client, APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        assert_eq!(heard[0], "R[SCRAM-SHA-256-PLUS,SCRAM-SHA-256]");
        assert_eq!(heard[1..], LOGGED_IN[1..]);
        assert_eq!(client.answers("SELECT 1").await?, "T[?column?] D[1] C[SELECT 1] Z[I]");
        let big = "SELECT repeat('x', 3000000)";
        let messages = client.exchange(big).await?;
        assert_eq!(messages[1].body.len(), 2 + 4 + 3_000_000);
        // In the clear it goes on as well: what is demanded is up to the client.
        Seat::app("in the clear", front.address()).await.is_served().await;
        Ok(())
    });
}

#[test]
fn a_unix_socket_is_served_too() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let directory = run_directory()?.join("socket");
        std::fs::create_dir_all(&directory)
            .map_err(|source| Error::Io { what: "a directory".to_owned(), source })?;
        let everline = launch(&dsn("127.0.0.2", cluster.port()))
            .arguments(["--listen", &format!("unix:{}", directory.display())])
            .start()
            .await?;
        until(&everline, "leader", is_available).await;
        let entries = std::fs::read_dir(&directory).expect("the directory");
        let path = entries.flatten().map(|entry| entry.path()).find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".s.PGSQL."))
        });
        let mut client = Client::connect_unix(&path.expect("a socket")).await?;
        let heard = login(&mut client, APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        assert_eq!(heard, LOGGED_IN);
        assert_eq!(client.answers("SELECT 1").await?, "T[?column?] D[1] C[SELECT 1] Z[I]");
        keep_log(&everline);
        Ok(())
    });
}

#[test]
fn more_clients_than_allowed_are_turned_away_and_the_others_served() {
    run(async {
        let config = file("few.toml", "clients_max = 10\n")?;
        let front = Front::start(|launch| launch.argument("--config").argument(config)).await?;
        let mut inside = Vec::new();
        for at in 0..10 {
            inside.push(Seat::app(&format!("client {at}"), front.address()).await);
        }
        let mut flood = tokio::task::JoinSet::new();
        let address = front.address();
        for _ in 0..100 {
            flood.spawn(async move {
                let mut client = Client::connect(address).await?;
                client.send(&startup_packet()).await?;
                let answers = client.until(|_| false).await?;
                Ok::<_, Error>(answers.iter().map(heard).collect::<Vec<_>>().join(" "))
            });
        }
        while let Some(turned_away) = flood.join_next().await {
            // It may also be closed unheard, where too many have not logged in.
            let heard = turned_away.expect("a task")?;
            assert!(heard == "E:too-many" || heard.is_empty(), "{heard}");
        }
        for seat in &mut inside {
            seat.is_served().await;
            seat.is_silent().await;
        }
        drop(inside);
        until(&front.everline, "room", |status| status["clients"] == 0).await;
        Seat::app("afterwards", address).await.is_served().await;
        Ok(())
    });
}

fn startup_packet() -> Vec<u8> {
    let mut out = bytes("S");
    out.clear();
    startup::startup(&mut out, APP_USER, APP_DATABASE, std::iter::empty());
    out.to_vec()
}

#[test]
fn a_password_is_in_no_log() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        let dsn = dsn("127.0.0.2", cluster.port());
        let everline =
            program().arguments(["--backend-dsn", &dsn, "--log", "trace"]).start().await?;
        Seat::app("somebody", everline.address()).await.is_served().await;
        let log = everline.log();
        assert!(log.contains("DEBUG") && !log.contains(APP_PASSWORD), "{log}");
        let (_, status) = everline.get("/status.json").await?;
        assert!(!status.contains(APP_PASSWORD));
        Ok(())
    });
}
