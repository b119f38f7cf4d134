//! `everline status`: how the server that runs is, for people at a terminal.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long the server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What it said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// For a terminal.
    pub text: String,
    /// Whether statements are dispatched.
    pub available: bool,
}

/// Asks the server at this HTTP listener.
///
/// # Errors
/// The socket's, and `InvalidData` when what answers is no Everline.
pub fn ask(address: SocketAddr) -> io::Result<Report> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    // HTTP 1.0: the body ends with the connection.
    write!(stream, "GET /status.json HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "what answers is no Everline");
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
    let status: Value = serde_json::from_str(body).map_err(|_| strange())?;
    let available = status.get("available").and_then(Value::as_bool).ok_or_else(strange)?;
    Ok(Report { text: text(&status, address), available })
}

fn text(status: &Value, address: SocketAddr) -> String {
    let word = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let number = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut text = format!(
        "Everline {} at {address}, process {}, up {}\n\n  {}\n  {}\n",
        word("version"),
        number("process_id"),
        span(status.get("uptime_s")),
        word("doing"),
        word("advice")
    );
    let mut line = |name: &str, words: String| {
        let _ = write!(text, "\n  {name:<13}{words}"); // a String takes everything
    };
    let since = span(status.get("state_for_s"));
    line("state", format!("{}, for {since}, epoch {}", word("state"), number("epoch")));
    let leader = status.get("leader").and_then(|leader| leader.get("endpoint"));
    line("leader", leader.and_then(Value::as_str).unwrap_or("not found yet").to_owned());
    let (active, waiting) = (number("clients_active"), number("clients_waiting"));
    let (clients, idle) = (number("clients"), number("clients_idle"));
    line("clients", format!("{clients}: {active} active, {waiting} waiting, {idle} idle"));
    line("connections", format!("{} of {}", number("budget_used"), number("budget")));
    line("held", format!("{} now, {} ever", number("held"), number("held_total")));
    let answers = (number("retryable_total"), number("unknown_total"));
    line("refused", format!("{} retryable, {} of unknown outcome", answers.0, answers.1));
    let outages = status.get("outages").and_then(Value::as_array);
    match outages.and_then(|outages| outages.first()) {
        None => line("outages", "none since the start".to_owned()),
        Some(last) => {
            let lasted = last.get("lasted_ms").and_then(Value::as_f64).unwrap_or_default();
            let why = last.get("why").and_then(Value::as_str).unwrap_or("-");
            let ago = span(last.get("ago_s"));
            line("last outage", format!("{lasted:.0} ms, {ago} ago: {why}"));
        }
    }
    if let Some(error) = status.get("last_error").and_then(Value::as_str) {
        line("last error", error.to_owned());
    }
    text
}

/// So many seconds, in the unit that fits.
fn span(seconds: Option<&Value>) -> String {
    let seconds = seconds.and_then(Value::as_f64).unwrap_or_default();
    let units = [(86_400.0, "days"), (3_600.0, "h"), (60.0, "min")];
    match units.iter().find(|(length, _)| seconds >= 2.0 * length) {
        Some((length, unit)) => format!("{:.0} {unit}", seconds / length),
        None => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
