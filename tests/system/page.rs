//! The status page in a real browser, through a failover: Debian's chromium, by its chromedriver.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use everline_lab::{Error, Result, ports};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::driver::connect;
use crate::scene::{Fault, Scene, run};
use crate::tools::tool;

/// How long the browser may take for one thing.
const BROWSER_MAX: Duration = Duration::from_secs(40);

/// A browser with one page.
struct Browser {
    address: SocketAddr,
    session: String,
    _driver: Child,
}

impl Browser {
    /// Starts it, and opens the page.
    async fn open(url: &str) -> Result<Self> {
        let driver = tool("chromedriver").await?;
        let chromium = tool("chromium").await?;
        let address = ports::free_address()?;
        let mut command = Command::new(driver);
        command.arg(format!("--port={}", address.port()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.kill_on_drop(true).spawn();
        let io = |source| Error::Io { what: "chromedriver".to_owned(), source };
        let mut browser = Self { address, session: String::new(), _driver: driver.map_err(io)? };
        let until = Instant::now() + BROWSER_MAX;
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < until, "chromedriver does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu"];
        let options = json!({"binary": chromium, "args": arguments});
        let wishes = json!({"browserName": "chrome", "goog:chromeOptions": options});
        let asked = json!({"capabilities": {"alwaysMatch": wishes}});
        let answer = browser.ask("POST", "", &asked).await;
        let session = answer["sessionId"].as_str();
        browser.session = format!("/{}", session.unwrap_or_else(|| panic!("no browser: {answer}")));
        browser.ask("POST", "/url", &json!({"url": url})).await;
        Ok(browser)
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let asking = async {
            let mut stream = TcpStream::connect(self.address).await?;
            let body = if method == "POST" { body.to_string() } else { String::new() };
            let request = format!(
                "{method} /session{}{path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                self.session,
                self.address,
                body.len()
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            let mut piece = vec![0; 16 * 1024];
            loop {
                let text = String::from_utf8_lossy(&answer).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(':')?;
                        let is_length = name.eq_ignore_ascii_case("content-length");
                        is_length.then(|| value.trim().parse::<usize>().ok())?
                    });
                    if length.is_some_and(|length| body.len() >= length) {
                        return Ok::<_, std::io::Error>(body.to_owned());
                    }
                }
                match stream.read(&mut piece).await? {
                    0 => return Ok(text),
                    read => answer.extend_from_slice(&piece[..read]),
                }
            }
        };
        let answer = timeout(BROWSER_MAX, asking).await.expect("chromedriver answers in time");
        let answer: Value =
            serde_json::from_str(&answer.expect("chromedriver answers")).expect("JSON");
        answer["value"].clone()
    }

    /// What an expression comes to in the page.
    async fn is(&self, expression: &str) -> Value {
        let script = json!({"script": format!("return {expression}"), "args": []});
        self.ask("POST", "/execute/sync", &script).await
    }

    /// The text of an element.
    async fn text(&self, id: &str) -> String {
        let text = self.is(&format!("document.getElementById('{id}').textContent")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an element's text is as wished.
    async fn until(&self, id: &str, wish: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + BROWSER_MAX;
        loop {
            let text = self.text(id).await;
            if wish(&text) {
                return text;
            }
            assert!(Instant::now() < until, "{id} stays {text:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn close(self) {
        self.ask("DELETE", "", &Value::Null).await;
    }
}

#[test]
fn the_page_shows_a_failover_as_it_happens() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "30s"]).await?;
        let client = connect(scene.address()).await;
        client.simple_query("SELECT 1").await.expect("a leader");
        let browser = Browser::open(&format!("http://{}/", scene.everline.http_address())).await?;
        browser.until("title", |title| title == "Serving").await;
        assert_eq!(browser.text("advice").await, "Nothing to do.");
        assert_eq!(browser.text("recoveries").await, "No outage since the start.");
        assert!(browser.text("way-leader").await.contains(&scene.ip(0).to_string()));
        browser.until("live", |live| live == "live").await;

        scene.strike(Fault::Kill).await?;
        browser.until("title", |title| title != "Serving").await;
        assert_ne!(browser.text("advice").await, "Nothing to do.");
        let held = tokio::spawn(async move { client.simple_query("SELECT 2").await.map(drop) });
        browser.until("held", |held| held == "1").await;
        browser.until("since", |since| since.starts_with("no service for ")).await;

        scene.succeed().await?;
        browser.until("title", |title| title == "Serving").await;
        held.await.expect("a task").expect("the next leader");
        browser.until("held", |held| held == "0").await;
        assert!(browser.text("way-leader").await.contains(&scene.ip(1).to_string()));
        browser.until("recoveries", |text| text.contains("ago")).await;
        assert!(browser.text("history").await.contains("the leader is"));

        // It loads nothing from elsewhere, fits a telephone, and says when nobody answers.
        let loaded = browser.is("performance.getEntriesByType('resource').map(r => r.name)").await;
        let loaded: Vec<&str> =
            loaded.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let own = format!("http://{}/", scene.everline.http_address());
        assert!(loaded.iter().all(|url| url.starts_with(&own)), "{loaded:?}");
        browser.ask("POST", "/window/rect", &json!({"width": 380, "height": 800})).await;
        let wide = browser.is("document.documentElement.scrollWidth - innerWidth").await;
        assert!(wide.as_f64().expect("a number") <= 0.0, "{wide} too wide");
        scene.everline.stop().await?;
        browser.until("live", |live| live.starts_with("no answer since")).await;
        browser.close().await;
        Ok(())
    });
}
