//! The HTTP listener: for people, probes and programs that watch.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page |
//! | `/events` | [`Status`](super::status::Status) as server-sent events |
//! | `/status.json` | [`Status`](super::status::Status) |
//! | `/metrics` | the metrics, as `OpenMetrics` where asked for, else as Prometheus' text |
//! | `/server/status/alive` | 200 while the process serves, whatever the backend does |
//! | `/server/status/ready` | 200 while statements are dispatched, else 503 |
//!
//! Nothing here waits for a backend: every answer is made of what is known at the moment. Nothing
//! changes anything, and no answer holds a secret or the text of a statement.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::events::{Answer, Feed};
use super::exposition::{self, Form};
use super::guests::{Guest, Guests};
use super::status::Observer;

const PAGE: &str = include_str!("page.html");

/// HTTP connections served at the same time.
const CONNECTIONS_MAX: usize = 64;

/// Of those, the readers of events.
const READERS_MAX: usize = 32;

/// How long one connection may last, idle or not.
const CONNECTION_MAX: Duration = Duration::from_mins(5);

/// How long a request's header may take.
const HEADER_MAX: Duration = Duration::from_secs(10);

/// What all connections share.
struct Desk {
    observer: Arc<Observer>,
    feed: Arc<Feed>,
    readers: Guests,
    tasks: TaskTracker,
}

/// Serves until `stop` is cancelled; lets nobody new in once `accepting` is.
pub async fn serve(
    listener: TcpListener,
    observer: Arc<Observer>,
    tasks: TaskTracker,
    (accepting, stop): (CancellationToken, CancellationToken),
) {
    let feed = Arc::new(Feed::new(Arc::clone(&observer)));
    let (making, end) = (Arc::clone(&feed), stop.clone());
    tasks.spawn(async move { making.run(end).await });
    let readers = Guests::new(READERS_MAX);
    let desk = Arc::new(Desk { observer, feed, readers, tasks: tasks.clone() });
    let connections = Guests::new(CONNECTIONS_MAX);
    loop {
        let accepted = tokio::select! {
            biased; // told to stop, nobody new is let in
            () = stop.cancelled() => return,
            () = accepting.cancelled() => return,
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
        let connection = connect(stream, Arc::clone(&desk), connections.enter(), stop.clone());
        tasks.spawn(connection);
    }
}

async fn connect(stream: TcpStream, desk: Arc<Desk>, guest: Guest, stop: CancellationToken) {
    let leaves = guest.leaves();
    let service = service_fn(move |request| {
        guest.asks();
        let answer = answer(&request, &desk);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased; // told to stop, or to make room, nobody is waited for
        () = stop.cancelled() => {}
        () = leaves.cancelled() => tracing::debug!("an HTTP connection makes room for another"),
        served = timeout(CONNECTION_MAX, connection) => {
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "HTTP connection failed");
            }
        }
    }
}

fn answer(request: &Request<Incoming>, desk: &Desk) -> Response<Answer> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => respond(StatusCode::OK, "text/html; charset=utf-8", PAGE),
        "/events" if request.method() == Method::HEAD => respond(StatusCode::OK, EVENTS, ""),
        "/events" => {
            let events = desk.feed.read(desk.readers.enter(), &desk.tasks);
            with_body(StatusCode::OK, EVENTS, events)
        }
        "/status.json" => match serde_json::to_string(&desk.observer.status()) {
            Ok(json) => respond(StatusCode::OK, JSON, json),
            Err(error) => {
                tracing::error!(%error, "the status cannot be written as JSON");
                respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "no status\n")
            }
        },
        "/metrics" => {
            let accepted = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let form = Form::accepted(accepted.unwrap_or_default());
            respond(StatusCode::OK, form.kind(), exposition::render(&desk.observer, form))
        }
        "/server/status/alive" => respond(StatusCode::OK, JSON, "\"OK\"\n"),
        "/server/status/ready" => match desk.observer.why_not_ready() {
            None => respond(StatusCode::OK, JSON, "\"OK\"\n"),
            Some(why) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, "Unknown path\n"),
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn respond(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Response<Answer> {
    with_body(status, kind, Answer::Whole(Some(body.into().into())))
}

fn with_body(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
