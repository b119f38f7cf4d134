//! Hostile clients: each is refused with one clear error, harms nobody, and leaves nothing in the
//! log that it or anybody else should not read there.
//!
//! What is hostile after the login, and in the first packet, stands in `bad_input.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use everline_lab::client::Client;
use everline_lab::everline::Everline;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, Cluster, ClusterOptions};
use everline_lab::{Error, Result};
use everline_wire::startup;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::login::file;
use crate::scene::{dsn, is_available, keep_log, launch, number, run, status, until};
use crate::seat::Seat;

/// Longest time until a hostile client is answered and sent away.
const ANSWERED: Duration = Duration::from_secs(20);

struct Fort {
    cluster: Cluster,
    everline: Everline,
    roots: RootCertStore,
}

/// Everline with TLS, `auth_query` and these further lines.
async fn fort(name: &str, further: &str) -> Result<Fort> {
    let made = rcgen::generate_simple_self_signed(["front.example.test".to_owned()])
        .map_err(|error| Error::Skip(error.to_string()))?;
    drop(file(&format!("{name}.pem"), &made.cert.pem())?);
    drop(file(&format!("{name}.key"), &made.signing_key.serialize_pem())?);
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let config = file(
        &format!("{name}.toml"),
        &format!(
            "tls_cert = '{name}.pem'\ntls_key = '{name}.key'\n\
             auth_query = 'SELECT n, s FROM stored($1)'\n{further}"
        ),
    )?;
    let cluster = Cluster::start(ClusterOptions::single()).await?;
    cluster.primary().sql(STORED).await?;
    let everline = launch(&dsn("127.0.0.2", cluster.port()))
        .argument("--config")
        .argument(config)
        .start()
        .await?;
    until(&everline, "leader", is_available).await;
    Ok(Fort { cluster, everline, roots })
}

const STORED: &str = "
    CREATE TABLE keep (n int);
    CREATE FUNCTION stored(name text) RETURNS TABLE (n text, s text) LANGUAGE sql SECURITY DEFINER
    AS 'SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin'";

impl Fort {
    fn address(&self) -> SocketAddr {
        self.everline.address()
    }

    async fn plain(&self) -> Result<Client> {
        Client::connect(self.address()).await
    }

    async fn tls(&self) -> Result<Client> {
        let io = |source| Error::Io { what: "TLS".to_owned(), source };
        let config = rustls::ClientConfig::builder().with_root_certificates(self.roots.clone());
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(self.address()).await.map_err(io)?;
        let name = ServerName::try_from("front.example.test").expect("a name");
        Ok(Client::over(connector.connect(name, stream).await.map_err(io)?))
    }

    /// No secret, nobody's verifier, and no line that somebody else has written.
    fn log_is_clean(&self) {
        let log = self.everline.log();
        for secret in [APP_PASSWORD, "SCRAM-SHA-256$", "s3cret"] {
            assert!(!log.contains(secret), "{secret} stands in the log");
        }
        let strange = log.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
        assert_eq!(strange, None, "in the log");
        let forged = log.lines().find(|line| line.starts_with("forged"));
        assert_eq!(forged, None, "a client has written into the log");
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Fort {
    fn drop(&mut self) {
        keep_log(&self.everline);
    }
}

fn packet(user: &str, database: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    startup::startup(&mut out, user, database, []);
    out.to_vec()
}

fn password_message(body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_u8(b'p');
    out.put_u32(u32::try_from(body.len() + 4).unwrap());
    out.put_slice(body);
    out.to_vec()
}

/// The first message of SASL.
fn initial(mechanism: &str, data: &str) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_slice(mechanism.as_bytes());
    body.put_u8(0);
    body.put_u32(u32::try_from(data.len()).unwrap());
    body.put_slice(data.as_bytes());
    password_message(&body)
}

/// Says one thing after the other, each when the last was answered; what comes at the end.
async fn outcome(mut client: Client, said: &[Vec<u8>]) -> Result<String> {
    client.set_patience(ANSWERED);
    for (at, words) in said.iter().enumerate() {
        // It may be closed before all is sent.
        let _ = client.send(words).await;
        if at + 1 < said.len() {
            let _ = client.next().await?;
        }
    }
    let rest = client.until(|_| false).await?;
    Ok(client.rendered(&rest))
}

/// One error of this code that ends the connection.
fn assert_refused(what: &str, heard: &str, code: &str) {
    let begins = format!("E[FATAL {code} ");
    let is_one = heard.matches("E[").count() == 1 && heard.ends_with("] closed");
    let asked = heard.split("E[").next().unwrap_or_default();
    let is_first = asked.split(' ').all(|word| word.is_empty() || !word.starts_with("Z["));
    assert!(is_one && is_first && heard.contains(&begins), "{what}: {heard}");
}

#[test]
fn scram_that_is_bent_is_refused() {
    run(async {
        let fort = fort("scram", "").await?;
        let mut witness = Seat::app("witness", fort.address()).await;
        let scram = "SCRAM-SHA-256";
        let plus = "SCRAM-SHA-256-PLUS";
        let first = "n,,n=,r=abcdefghijklmnopqrstuvwx";
        let last = |text: &str| password_message(text.as_bytes());
        let proof = "p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let lies = password_message(b"SCRAM-SHA-256\0\0\0\xff\xffn,,");
        let latin = password_message(b"SCRAM-SHA-256\0\0\0\0\x09n,,n=,r=\xff");
        let other = format!("c=biws,r=other,{proof}");
        let cases: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
            ("PLUS without TLS", vec![initial(plus, first)], "08P01"),
            ("another mechanism", vec![initial("PLAIN", "\0app\0s3cret")], "08P01"),
            ("no mechanism", vec![initial("", first)], "08P01"),
            ("nothing", vec![password_message(b"")], "08P01"),
            ("no end of the name", vec![password_message(b"SCRAM-SHA-256")], "08P01"),
            ("a length that lies", vec![lies], "08P01"),
            ("an empty first message", vec![initial(scram, "")], "08P01"),
            ("binding without PLUS", vec![initial(scram, "p=tls-unique,,n=,r=abc")], "08P01"),
            ("a mandatory extension", vec![initial(scram, "n,,m=x,n=,r=abc")], "0A000"),
            ("somebody else's rights", vec![initial(scram, "n,a=postgres,n=,r=abc")], "0A000"),
            ("no nonce", vec![initial(scram, "n,,n=app")], "08P01"),
            ("control characters", vec![initial(scram, "n,,n=,r=a\u{1}b")], "08P01"),
            ("text that is no UTF-8", vec![latin], "08P01"),
            ("another nonce", vec![initial(scram, first), last(&other)], "08P01"),
            ("no proof", vec![initial(scram, first), last("c=biws,r=abc")], "08P01"),
            ("nothing at last", vec![initial(scram, first), last("")], "08P01"),
            ("a password in the clear", vec![password_message(b"s3cret\0")], "08P01"),
            ("too long a word", vec![password_message(&vec![b'x'; 70_000])], "08P01"),
            ("a query before the login is over", vec![b"Q\0\0\0\x0dSELECT 1\0".to_vec()], "08P01"),
            ("the end before the login is over", vec![b"X\0\0\0\x04".to_vec()], "08P01"),
        ];
        for (what, said, code) in cases {
            let said = [vec![packet(APP_USER, APP_DATABASE)], said].concat();
            let heard = outcome(fort.plain().await?, &said).await?;
            assert_refused(what, &heard, code);
            witness.is_served().await;
        }
        for (what, said, code) in [
            ("the offer to bind taken out", initial(scram, "y,,n=,r=abcdefgh"), "28000"),
            ("PLUS that does not bind", initial(plus, "n,,n=,r=abcdefgh"), "08P01"),
            ("PLUS by another way", initial(plus, "p=tls-unique,,n=,r=abcdefgh"), "0A000"),
        ] {
            let said = [packet(APP_USER, APP_DATABASE), said];
            let heard = outcome(fort.tls().await?, &said).await?;
            assert_refused(what, &heard, code);
        }
        witness.is_served().await;
        fort.log_is_clean();
        Ok(())
    });
}

#[test]
fn scram_that_is_forged_is_refused() {
    run(async {
        let fort = fort("forged", "").await?;
        let mut witness = Seat::app("witness", fort.address()).await;
        let first = "n,,n=,r=abcdefghijklmnopqrstuvwx";
        let last = |text: &str| password_message(text.as_bytes());
        let proof = "p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        // Another channel than ours: what a man in the middle would have to send on.
        let mut client = fort.tls().await?;
        client.send(&packet(APP_USER, APP_DATABASE)).await?;
        drop(client.next().await?);
        let begin = "p=tls-server-end-point,,n=,r=abcdefghijkl";
        client.send(&initial("SCRAM-SHA-256-PLUS", begin)).await?;
        let challenge = client.next().await?.expect("a challenge");
        let challenge = String::from_utf8_lossy(&challenge.body[4..]).into_owned();
        let nonce = challenge.split(',').next().expect("a nonce").to_owned();
        let bound = "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        client.send(&last(&format!("c={bound},{nonce},{proof}"))).await?;
        let heard = client.hears(ANSWERED).await?;
        assert!(heard.starts_with("E[FATAL 28000 ") && heard.ends_with("closed"), "{heard}");
        // A proof of nothing, with the right nonce.
        let mut client = fort.plain().await?;
        client.send(&packet(APP_USER, APP_DATABASE)).await?;
        drop(client.next().await?);
        client.send(&initial("SCRAM-SHA-256", first)).await?;
        let challenge = client.next().await?.expect("a challenge");
        let challenge = String::from_utf8_lossy(&challenge.body[4..]).into_owned();
        let nonce = challenge.split(',').next().expect("a nonce").to_owned();
        client.send(&last(&format!("c=biws,{nonce},{proof}"))).await?;
        let heard = client.hears(ANSWERED).await?;
        assert!(heard.starts_with("E[FATAL 28P01 ") && heard.ends_with("closed"), "{heard}");
        witness.is_served().await;
        fort.log_is_clean();
        Ok(())
    });
}

#[test]
fn random_words_in_the_middle_of_a_login_harm_nobody() {
    run(async {
        let fort = fort("words", "").await?;
        let mut witness = Seat::app("witness", fort.address()).await;
        for seed in 0..150_u64 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut first = initial("SCRAM-SHA-256", "n,,n=,r=abcdefghijklmnopqrstuvwx");
            let mut last = password_message(b"c=biws,r=abcdefghijklmnopqrstuvwx,p=AAAA");
            let bent = if seed % 2 == 0 { &mut first } else { &mut last };
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bent.len());
                bent[at] = rng.random();
            }
            if seed % 5 == 0 {
                bent.truncate(5);
                let mut garbage = vec![0; rng.random_range(0..200)];
                rng.fill_bytes(&mut garbage);
                *bent = password_message(&garbage);
            }
            let mut client = fort.plain().await?;
            client.send(&packet(APP_USER, APP_DATABASE)).await?;
            drop(client.next().await?);
            let _ = client.send(&[first, last].concat()).await;
            // A length that was bent may let it wait for more: then it leaves.
            let heard = client.hears(Duration::from_millis(100)).await?;
            assert!(!heard.contains("R[ok]") && !heard.contains("Z["), "seed {seed}: {heard}");
            if seed % 20 == 0 {
                witness.is_served().await;
            }
        }
        witness.is_served().await;
        fort.log_is_clean();
        until(&fort.everline, "one client", |status| number(status, "clients") == 1).await;
        Ok(())
    });
}

#[test]
fn names_that_mean_harm_are_only_names() {
    run(async {
        let fort = fort("names", "only_listed_databases = true\n[databases.app]\n").await?;
        let long = "x".repeat(9_000);
        for name in [
            "'; DROP TABLE keep; --",
            "x' OR '1'='1",
            "$1",
            "app\nforged by a client",
            "app\r\nforged by a client",
            "\u{1b}[31mred",
            "\u{7f}\u{85}\u{2028}",
            "../../etc/passwd",
            "%s%n{}",
            "\u{202e}ppa",
            long.as_str(),
        ] {
            let mut client = fort.plain().await?;
            let answers = client.login(name, "s3cret", APP_DATABASE, &[]).await?;
            let heard = client.rendered(&answers);
            assert!(heard.contains("E[FATAL 28P01 "), "{name:?}: {heard}");
            let mut client = fort.plain().await?;
            let answers = client.login(APP_USER, APP_PASSWORD, name, &[]).await?;
            let heard = client.rendered(&answers);
            assert!(heard.contains("E[FATAL 3D000 "), "{name:?}: {heard}");
            let mut client = fort.plain().await?;
            let parameters = [("application_name", name)];
            let answers = client.login(APP_USER, APP_PASSWORD, APP_DATABASE, &parameters).await?;
            assert_eq!(answers.last().map(|last| last.tag), Some(b'Z'), "{name:?}");
        }
        for (what, body, code) in [
            ("a user that is no UTF-8", &b"user\0\xff\xfe\0database\0app\0\0"[..], "08P01"),
            ("a database that is no UTF-8", b"user\0app\0database\0a\xc0\x80\0\0", "08P01"),
            ("a NUL in a name", b"user\0app\0auth_query\0database\0app\0\0", "08P01"),
            ("no user", b"user\0\0database\0app\0\0", "08P01"),
        ] {
            let mut packet = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
            packet.extend_from_slice(&[0, 3, 0, 0]);
            packet.extend_from_slice(body);
            let heard = outcome(fort.plain().await?, &[packet]).await?;
            assert_refused(what, &heard, code);
        }
        assert_eq!(fort.cluster.primary().value("SELECT count(*) FROM keep").await?, "0");
        // The pool that asks has a name that people can read.
        let (_, said) = fort.everline.get("/status.json").await?;
        assert!(said.contains("\"app auth_query\"") && !said.contains("\\u0000"), "{said}");
        let (_, said) = fort.everline.get("/metrics").await?;
        assert!(!said.contains('\0'), "{said}");
        fort.log_is_clean();
        Ok(())
    });
}

#[test]
fn tls_cannot_be_stripped_or_stuffed() {
    run(async {
        let fort = fort("strip", "tls_clients = 'require'\n").await?;
        let heard = outcome(fort.plain().await?, &[packet(APP_USER, APP_DATABASE)]).await?;
        assert_refused("in the clear", &heard, "28000");
        let mut request = BytesMut::new();
        startup::tls_request(&mut request);
        let stuffed = [&request[..], &packet(APP_USER, APP_DATABASE)].concat();
        let heard = outcome(fort.plain().await?, &[stuffed]).await?;
        assert_refused("stuffed behind the request", &heard, "08P01");
        // After the yes, in the clear.
        let mut client = fort.plain().await?;
        client.send(&request).await?;
        assert_eq!(client.byte().await?, b'S');
        client.send(&packet(APP_USER, APP_DATABASE)).await?;
        let mut heard = Vec::new();
        while let Ok(byte) = client.byte().await {
            heard.push(byte);
        }
        // At most an alert of TLS: nothing of the protocol.
        assert!(heard.is_empty() || heard[0] == 0x15, "{}", heard.escape_ascii());
        // Asked again and again without an end.
        let mut gss = [0, 0, 0, 8, 4, 210, 22, 48].repeat(4);
        gss.extend_from_slice(&packet(APP_USER, APP_DATABASE));
        let mut client = fort.plain().await?;
        let _ = client.send(&gss).await;
        let mut all = Vec::new();
        while let Ok(byte) = client.byte().await {
            all.push(byte);
        }
        assert!(all.starts_with(b"NNNNE") && all.windows(5).any(|at| at == b"08P01"), "{all:?}");
        let mut client = fort.tls().await?;
        let answers = client.login(APP_USER, APP_PASSWORD, APP_DATABASE, &[]).await?;
        assert_eq!(answers.last().map(|last| last.tag), Some(b'Z'));
        fort.log_is_clean();
        Ok(())
    });
}

#[test]
fn who_is_slow_is_sent_away_and_keeps_nobody_out() {
    run(async {
        let fort = fort("slow", "login_timeout = '2s'\nclients_max = 30\n").await?;
        let address = fort.address();
        let began = Instant::now();
        let mut slow = tokio::task::JoinSet::new();
        let words = packet(APP_USER, APP_DATABASE);
        for at in 0..24 {
            let words = words.clone();
            slow.spawn(async move {
                let mut client = Client::connect(address).await?;
                match at % 4 {
                    // Says nothing.
                    0 => {}
                    // One byte at a time.
                    1 => {
                        for byte in words {
                            if client.send(&[byte]).await.is_err() {
                                break;
                            }
                            tokio::time::sleep(Duration::from_millis(150)).await;
                        }
                    }
                    // Stops in the middle of the login.
                    2 => {
                        client.send(&words).await?;
                        drop(client.next().await?);
                    }
                    // Stops in the middle of TLS.
                    _ => {
                        client.say(startup::tls_request).await?;
                        assert_eq!(client.byte().await?, b'S');
                        client.send(b"\x16\x03\x01\x02\0").await?;
                        while client.byte().await.is_ok() {}
                        return Ok("closed".to_owned());
                    }
                }
                client.set_patience(ANSWERED);
                let rest = client.until(|_| false).await?;
                Ok::<_, Error>(client.rendered(&rest))
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        Seat::app("honest", address).await.is_served().await;
        while let Some(heard) = slow.join_next().await {
            let heard = heard.expect("a task")?;
            let told = "E[FATAL 57014 \"canceling authentication due to timeout\"] ";
            assert!(heard == "closed" || heard.starts_with(told), "{heard}");
        }
        // Far more than it takes, and less than for ever.
        assert!(began.elapsed() < ANSWERED, "{:?}", began.elapsed());
        until(&fort.everline, "no client", |status| number(status, "clients") == 0).await;
        fort.log_is_clean();
        Ok(())
    });
}

#[test]
fn a_flood_of_cancel_requests_cancels_nothing() {
    run(async {
        let fort = fort("flood", "").await?;
        let address = fort.address();
        let mut working = Seat::app("working", address).await;
        working.say("Q:SELECT 1 FROM pg_sleep(3)").await;
        let (process, _) = working.client.key().cloned().expect("a key");
        let mut flood = tokio::task::JoinSet::new();
        for seed in 0..20_u64 {
            flood.spawn(async move {
                let mut rng = StdRng::seed_from_u64(seed);
                for at in 0..50 {
                    let mut client = Client::connect(address).await?;
                    let mut secret = [0; 32];
                    rng.fill_bytes(&mut secret);
                    let secret = &secret[..if at % 2 == 0 { 4 } else { 32 }];
                    let process = if at % 3 == 0 { rng.random() } else { process };
                    client.say(|out| startup::cancel_request(out, process, secret)).await?;
                    assert!(client.next().await?.is_none(), "nothing is said");
                }
                Ok::<_, Error>(())
            });
        }
        let mut witness = Seat::app("witness", address).await;
        while !flood.is_empty() {
            witness.is_served().await;
            if let Some(done) = flood.try_join_next() {
                done.expect("a task")?;
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        working.hears("T[?column?] / D[1] / C[SELECT 1] / Z[I]").await;
        let log = fort.everline.log();
        let lines = log.lines().filter(|line| !line.contains(" DEBUG ")).count();
        assert!(lines < 50, "{lines} lines of log for a thousand requests");
        assert_eq!(number(&status(&fort.everline).await, "clients"), 2);
        fort.log_is_clean();
        Ok(())
    });
}
