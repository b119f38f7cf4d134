//! What operators and Consul write: data source names, settings files, Stolon's clusterdata, and
//! answers by HTTP.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use everline::backend::resolve::Resolver;
use everline::config::dsn::stolon::Stolon;
use everline::config::dsn::{DSN_BYTES_MAX, Dsn, HOSTS_MAX, PassFile, Surroundings};
use everline::config::{Config, hba};
use everline::net::stream::Stream;
use everline::sources::consul::Consul;
use everline::sources::stolon;
use hyper::Method;

use crate::input::Input;

/// A password, and what stands before the host where it is one.
const PASSWORD: &str = "pa55word-of-the-corpus";
const WITH_PASSWORD: &str = "postgres://app:pa55word-of-the-corpus@";

/// Nobody's surroundings: what the fuzzer writes decides alone.
fn surroundings() -> Surroundings<'static> {
    Surroundings {
        variable: &|_| None,
        home: None,
        user: Some("nobody".to_owned()),
        socket_directory: PathBuf::from("/nowhere"),
    }
}

/// Data source names of both kinds, and the password file.
pub fn dsn(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let secret = text.starts_with(WITH_PASSWORD) && text.matches(PASSWORD).count() == 1;
    match Dsn::parse(&text, &surroundings()) {
        Ok(dsn) => {
            assert!((1..=HOSTS_MAX).contains(&dsn.hosts.len()) && text.len() <= DSN_BYTES_MAX);
            assert!(!dsn.user.is_empty() && !dsn.database.is_empty());
            assert!(!secret || !format!("{dsn:?}").contains(PASSWORD), "a password is shown");
        }
        Err(error) => {
            one_sentence(&error.to_string());
            assert!(!secret || !error.to_string().contains(PASSWORD), "a password is shown");
        }
    }
    match Stolon::parse(&text, &surroundings()) {
        Ok(Some(_) | None) => {}
        Err(error) => one_sentence(&error.to_string()),
    }
    let _: PassFile = PassFile::parse(&text);
    if let Err(error) = hba::parse(&text) {
        one_sentence(&error);
    }
}

/// An error is one line, and not without end.
fn one_sentence(error: &str) {
    assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
}

/// The settings file.
pub fn settings_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(error) = Config::of_text(Path::new("everline.toml"), &text, &surroundings()) {
        one_sentence(&error.to_string());
    }
}

/// Stolon's clusterdata. The same document twice says the same.
pub fn clusterdata(data: &[u8]) {
    match (stolon::observe(data), stolon::observe(data)) {
        (Ok(first), Ok(second)) => assert_eq!(format!("{first:?}"), format!("{second:?}")),
        (Err(first), Err(second)) => assert_eq!(first, second),
        (first, second) => panic!("{first:?}, and then {second:?}"),
    }
    if let Ok(nodes) = stolon::nodes(data) {
        assert!(nodes.len() <= data.len());
    }
}

/// What an agent of Consul answers: bytes at will, in pieces, and then the end.
pub fn consul(data: &[u8]) {
    let mut input = Input::new(data);
    let pieces = usize::from(input.byte()) + 1;
    let rest = data.get(1..).unwrap_or_default().to_vec();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ours, mut agents) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let agent = std::thread::spawn(move || {
        // The request has to have come: what is said before it is no answer.
        let mut request = [0; 4096];
        let _: std::io::Result<usize> = agents.read(&mut request);
        for piece in rest.chunks(rest.len().div_ceil(pieces).max(1)) {
            if agents.write_all(piece).is_err() {
                break;
            }
        }
    });
    runtime.block_on(async {
        // Nobody listens there: only the connection that stands is used.
        let text = "stolon+consul+http://127.0.0.1:1/cluster?pguser=app";
        let (stolon, _) = Stolon::parse(text, &surroundings()).unwrap().unwrap();
        let mut consul = Consul::new(Arc::new(stolon), Resolver::system()).unwrap();
        let stream = tokio::net::UnixStream::from_std(ours).unwrap();
        consul.use_connection(Stream::Unix(stream)).await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        let answer = consul.ask(&Method::GET, "/v1/kv/x", bytes::Bytes::new(), deadline).await;
        match answer {
            Ok(reply) => {
                one_sentence(&reply.problem());
                assert!(reply.body.len() <= stolon::CLUSTERDATA_BYTES_MAX);
                clusterdata(&reply.body);
            }
            Err(error) => one_sentence(&error.to_string()),
        }
    });
    agent.join().unwrap();
}
