//! What the lab says to Consul over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{Error, Result};

/// Longest time for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// One key with its value.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The whole key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// The index of its last change.
    pub modify_index: u64,
    /// The session that holds it.
    pub session: Option<String>,
}

/// An agent's HTTP interface, as the lab uses it. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Api {
    address: SocketAddr,
    token: Option<String>,
}

impl Api {
    /// The interface at `address`.
    #[must_use]
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        Self { address, token }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The pair at `key`.
    ///
    /// # Errors
    /// [`Error::Failed`] with Consul's answer when it is neither 200 nor 404, [`Error::Late`].
    pub async fn get(&self, key: &str) -> Result<Option<Pair>> {
        Ok(self.pairs(&format!("/v1/kv/{key}?consistent")).await?.into_iter().next())
    }

    /// All pairs whose key begins with `prefix`.
    ///
    /// # Errors
    /// See [`Api::get`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<Pair>> {
        self.pairs(&format!("/v1/kv/{prefix}?recurse&consistent")).await
    }

    async fn pairs(&self, path: &str) -> Result<Vec<Pair>> {
        let (status, body) = self.request(Method::GET, path, Bytes::new()).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let answer = expect_ok(path, status, &body)?;
        answer.as_array().into_iter().flatten().map(|one| pair(path, one)).collect()
    }

    /// Writes `value` at `key`.
    ///
    /// # Errors
    /// [`Error::Failed`] with Consul's answer, [`Error::Late`].
    ///
    /// # Cancel safety
    /// It may or may not have been written.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<()> {
        self.write(&format!("/v1/kv/{key}"), value.into()).await.map(drop)
    }

    /// Writes `value` at `key` if `index` is the index of its last change, 0 if there is none, and
    /// tells whether it was.
    ///
    /// # Errors
    /// See [`Api::put`].
    pub async fn cas(&self, key: &str, value: impl Into<Bytes>, index: u64) -> Result<bool> {
        let answer = self.write(&format!("/v1/kv/{key}?cas={index}"), value.into()).await?;
        Ok(answer == Value::Bool(true))
    }

    /// Removes `key`, there or not.
    ///
    /// # Errors
    /// See [`Api::put`].
    pub async fn delete(&self, key: &str) -> Result<()> {
        let path = format!("/v1/kv/{key}");
        let (status, body) = self.request(Method::DELETE, &path, Bytes::new()).await?;
        expect_ok(&path, status, &body).map(drop)
    }

    /// All sessions, as Consul shows them: `ID`, `TTL`, `Behavior`, `LockDelay`, `NodeChecks`.
    ///
    /// # Errors
    /// See [`Api::get`].
    pub async fn sessions(&self) -> Result<Vec<Value>> {
        let path = "/v1/session/list?consistent";
        let (status, body) = self.request(Method::GET, path, Bytes::new()).await?;
        let answer = expect_ok(path, status, &body)?;
        Ok(answer.as_array().cloned().unwrap_or_default())
    }

    /// Ends a session; its keys go or are released, as it was made.
    ///
    /// # Errors
    /// See [`Api::put`].
    pub async fn destroy_session(&self, id: &str) -> Result<()> {
        self.write(&format!("/v1/session/destroy/{id}"), Bytes::new()).await.map(drop)
    }

    /// Makes a token to which `rules` apply, in Consul's policy language; needs the management
    /// token.
    ///
    /// # Errors
    /// See [`Api::put`].
    pub async fn make_token(&self, name: &str, rules: &str) -> Result<String> {
        let policy = json!({ "Name": name, "Rules": rules });
        self.write("/v1/acl/policy", policy.to_string().into()).await?;
        let token = json!({ "Policies": [{ "Name": name }] });
        let made = self.write("/v1/acl/token", token.to_string().into()).await?;
        let secret = made.get("SecretID").and_then(Value::as_str);
        secret.map(str::to_owned).ok_or_else(|| failed("/v1/acl/token", made.to_string()))
    }

    /// Whether the agent has a leader to serve it.
    pub(super) async fn is_led(&self) -> bool {
        let asked = self.request(Method::GET, "/v1/status/leader", Bytes::new()).await;
        asked.is_ok_and(|(status, body)| status.is_success() && body.len() > 2)
    }

    async fn write(&self, path: &str, body: Bytes) -> Result<Value> {
        let (status, body) = self.request(Method::PUT, path, body).await?;
        expect_ok(path, status, &body)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let asking = tokio::time::timeout(PATIENCE, self.ask(method, path, body)).await;
        asking.map_err(|_| Error::Late { what: format!("Consul: {path}"), within: PATIENCE })?
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(self.address).await;
        let io = TokioIo::new(stream.map_err(|error| failed(path, error.to_string()))?);
        let wrong = |error: hyper::Error| failed(path, error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(wrong)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("Host", self.address.to_string());
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        let request =
            request.body(Full::new(body)).map_err(|error| failed(path, error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(wrong)?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await.map_err(wrong)?.to_bytes()))
    }
}

fn failed(path: &str, detail: String) -> Error {
    Error::Failed { what: format!("Consul: {path}"), detail }
}

fn expect_ok(path: &str, status: StatusCode, body: &[u8]) -> Result<Value> {
    if !status.is_success() {
        return Err(failed(path, format!("{status}: {}", String::from_utf8_lossy(body))));
    }
    serde_json::from_slice(body).map_err(|error| failed(path, error.to_string()))
}

fn pair(path: &str, one: &Value) -> Result<Pair> {
    let text = |name| one.get(name).and_then(Value::as_str);
    // An empty value is null.
    let value = STANDARD.decode(text("Value").unwrap_or_default());
    Ok(Pair {
        key: text("Key").unwrap_or_default().to_owned(),
        value: value.map_err(|error| failed(path, error.to_string()))?.into(),
        modify_index: one.get("ModifyIndex").and_then(Value::as_u64).unwrap_or(0),
        session: text("Session").map(str::to_owned),
    })
}
