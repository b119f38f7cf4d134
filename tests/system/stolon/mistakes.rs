//! What can be wrong with a stolon DSN: one sentence at the start, or one line of the log where
//! only Consul's answer shows it.

use std::path::PathBuf;
use std::time::Duration;

use everline_lab::consul::{Agent, Kind, Tls};
use everline_lab::everline::Everline;
use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER, ClusterOptions};
use everline_lab::{Error, Result, ports};

use super::stage::{HOLD, NAME, STEP_MAX, cluster_and_sentinel, run};
use crate::bad_input::{assert_mistake, ends};
use crate::login::file;
use crate::scene::{self, program};
use crate::seat::Seat;

#[test]
fn a_wrong_stolon_dsn_is_one_sentence() {
    scene::run(async {
        let text = file("no.pem", "no PEM at all")?.display().to_string();
        for (dsn, words) in [
            ("stolon+consul+http:/h/c?pgpassword=s3cret", "begins with stolon+consul+http://"),
            ("stolon+etcd://app:s3cret@h/c", "store has to be consul"),
            ("stolon+consul+ftp://app:s3cret@h/c", "stolon+consul+http:// or"),
            ("stolon+consul://app:s3cret@h", "cluster's name as its path"),
            ("stolon+consul://app:s3cret@h/a%zz", "% without two hexadecimal digits"),
            ("stolon+consul://app:s3cret@h:99999/c", "no number between 1 and 65535"),
            ("stolon+consul://app:s3cret@h,,i/c", "(number 2) is empty"),
            ("stolon+consul://app:1/s3cret@h/c", "%40"),
            ("stolon+consul://app:s3cret@h/c?pgbogus=1", "pgbogus is not a parameter"),
            ("stolon+consul://app:s3cret@h/c?pghost=x", "what Stolon says"),
            ("stolon+consul://app:s3cret@h/c?pgconnect_timeout=soon", "connect_timeout has to be"),
            ("stolon+consul://app:s3cret@h/c?token=a%20s3cret", "token has to be"),
            ("stolon+consul://app:s3cret@h/c?cacert=/x", "stolon+consul+https:// only"),
            ("stolon+consul+https://app:s3cret@h/c?cert=/x", "give both or neither"),
            ("stolon+consul+https://app:s3cret@h/c?cacert=/nowhere", "cacert /nowhere: "),
            (
                &format!("stolon+consul+https://app:s3cret@h/c?cacert={text}"),
                "holds no certificate",
            ),
            ("stolon+consul+https://app:s3cret@h/c?servername=a%20b", "servername has to be"),
        ] {
            let ended = ends(program().arguments(["--backend-dsn", dsn])).await?;
            assert_mistake(dsn, &ended, words);
        }
        Ok(())
    });
}

/// An authority, and what it has signed.
struct Authority {
    certificate: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(name: &str) -> std::result::Result<Self, rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(Vec::new())?;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: rcgen::Issuer::new(params, key) })
    }

    /// A certificate for this name and its key, PEM.
    fn sign(&self, name: &str) -> std::result::Result<(String, String), rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()])?;
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }

    fn sign_to_files(&self, name: &str, stem: &str) -> Result<(PathBuf, PathBuf)> {
        let (cert, key) = self.sign(name).map_err(|error| Error::Skip(error.to_string()))?;
        Ok((file(&format!("{stem}.pem"), &cert)?, file(&format!("{stem}.key"), &key)?))
    }
}

/// Everline with this at the end of its DSN.
async fn start(scheme: &str, at: &str, query: &str) -> Result<Everline> {
    let dsn = format!(
        "stolon+consul+{scheme}://{APP_USER}:{APP_PASSWORD}@{at}/{NAME}\
         ?pgdatabase={APP_DATABASE}{query}"
    );
    scene::launch(&dsn).arguments(HOLD).start().await
}

/// How often a read was complained about, and how often with these words.
fn complaints(everline: &Everline, words: &str) -> (usize, usize) {
    let log = everline.log();
    let complaints = log.lines().filter(|line| line.contains("the cluster's data cannot be read"));
    let lines: Vec<&str> = complaints.collect();
    (lines.len(), lines.iter().filter(|line| line.contains(words)).count())
}

#[test]
fn consul_is_spoken_to_over_tls_and_what_is_wrong_about_it_is_one_line() {
    run(async {
        let skip = |error: rcgen::Error| Error::Skip(error.to_string());
        let right = Authority::new("the right authority").map_err(skip)?;
        let other = Authority::new("another authority").map_err(skip)?;
        let ca = file("right.pem", &right.certificate)?;
        let other_ca = file("other.pem", &other.certificate)?;
        let (cert, key) = right.sign_to_files("server.dc1.consul", "server")?;
        let (own_cert, own_key) = right.sign_to_files("everline", "own")?;
        let (wrong_cert, wrong_key) = other.sign_to_files("everline", "wrong")?;
        let files = Tls { ca: ca.clone(), cert, key };
        let agent = Agent::start_with_tls(Kind::Forgetful, files).await?;
        let (_cluster, _sentinel) = cluster_and_sentinel(&agent, ClusterOptions::default()).await?;
        let (tls, plain) = (agent.tls_address().expect("it was asked for"), agent.address());
        let trusts = |ca: &PathBuf| format!("&cacert={}", ca.display());
        let shows = |cert: &PathBuf, key: &PathBuf| {
            format!("&cert={}&key={}", cert.display(), key.display())
        };
        let (trusts_it, shows_own) = (trusts(&ca), shows(&own_cert, &own_key));
        let at = tls.to_string();
        let named = "&servername=server.dc1.consul";
        let good = format!("{trusts_it}{shows_own}{named}");
        let works = start("https", &at, &good).await?;
        scene::until(&works, "leader", scene::is_available).await;
        Seat::app("over TLS", works.address()).await.is_served().await;

        let gone = [ports::free_address()?, ports::free_address()?];
        let gone = format!("{},{}", gone[0], gone[1]);
        let mut starts = Vec::new();
        for (scheme, at, query, words) in [
            ("https", &at, format!("{trusts_it}{shows_own}"), "not valid for name"),
            (
                "https",
                &at,
                format!("{}{shows_own}{named}", trusts(&other_ca)),
                "has signed its certificate",
            ),
            ("https", &at, format!("{trusts_it}{named}"), "given by cert= and key="),
            (
                "https",
                &at,
                format!("{trusts_it}{}{named}", shows(&wrong_cert, &wrong_key)),
                "given by cert= and key=",
            ),
            ("http", &at, String::new(), "HTTP request to an HTTPS server"),
            ("https", &plain.to_string(), good.clone(), "no TLS is spoken on this port"),
            ("http", &gone, String::new(), "cannot connect to the Consul agent"),
        ] {
            starts.push((start(scheme, at, &query).await?, words));
        }
        for (everline, words) in &starts {
            everline.logged(words, STEP_MAX).await?;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        for (everline, words) in &starts {
            // Two agents: one reason each.
            let agents = if *words == "cannot connect to the Consul agent" { 2 } else { 1 };
            let (all, with_words) = complaints(everline, words);
            println!("{}", everline.log().lines().find(|line| line.contains(words)).unwrap());
            assert_eq!(with_words, agents, "{words}: {}", everline.log());
            assert!(all <= 2, "{words}: {}", everline.log());
            assert!(!everline.log().contains(APP_PASSWORD), "{}", everline.log());
            let status = scene::status(everline).await;
            let last = status["source"]["last_error"].as_str().unwrap_or_default();
            assert!(last.contains(words), "{status}");
        }
        Ok(())
    });
}
