//! The HTTP listener: for people, probes and programs that watch.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page |
//! | `/status.json` | [`Status`](super::status::Status) |
//! | `/server/status/alive` | 200 while the process serves, whatever the backend does |
//! | `/server/status/ready` | 200 while statements are dispatched, else 503 |
//!
//! Nothing here waits for a backend: every answer is made of what is known at the moment.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::status::Observer;

const PAGE: &str = include_str!("page.html");

/// HTTP connections served at the same time.
const CONNECTIONS_MAX: usize = 64;

/// How long one connection may last, idle or not.
const CONNECTION_MAX: Duration = Duration::from_mins(5);

/// How long a request's header may take.
const HEADER_MAX: Duration = Duration::from_secs(10);

/// Serves until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    observer: Arc<Observer>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased; // told to stop, nobody new is let in
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the HTTP listener");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // One too many: closed at once, for a probe that waits learns nothing.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let observer = Arc::clone(&observer);
        let stop = stop.clone();
        tasks.spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let answer = answer(&request, &observer);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_MAX)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                biased; // told to stop, nobody is waited for
                () = stop.cancelled() => {}
                served = timeout(CONNECTION_MAX, connection) => {
                    if let Ok(Err(error)) = served {
                        tracing::debug!(%error, "HTTP connection failed");
                    }
                }
            }
        });
    }
}

fn answer(request: &Request<Incoming>, observer: &Observer) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n".into());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => respond(StatusCode::OK, "text/html; charset=utf-8", PAGE.into()),
        "/status.json" => match serde_json::to_vec(&observer.status()) {
            Ok(json) => respond(StatusCode::OK, JSON, json.into()),
            Err(error) => {
                tracing::error!(%error, "the status cannot be written as JSON");
                respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "no status\n".into())
            }
        },
        "/server/status/alive" => respond(StatusCode::OK, JSON, "\"OK\"\n".into()),
        "/server/status/ready" => match observer.why_not_ready() {
            None => respond(StatusCode::OK, JSON, "\"OK\"\n".into()),
            Some(why) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n").into()),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, "Unknown path\n".into()),
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    use hyper::header::HeaderValue;
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
