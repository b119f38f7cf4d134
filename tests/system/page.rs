//! The status page in a real browser, through a failover: Debian's chromium, by its chromedriver.
//!
//! Where `EVERLINE_SHOTS` names a directory, a picture of every state is put there to be looked at.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use everline_lab::{Error, Result, ports};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::console::console;
use crate::driver::connect;
use crate::scene::{Fault, Scene, run, run_within};
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

    /// Lets the page be as wide as a telephone, or as a desk.
    async fn be_wide(&self, width: u32) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1,
            "mobile": width < 500});
        self.tell("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Lets it be dark, or light.
    async fn be_lit(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.tell("Emulation.setEmulatedMedia", json!({"features": [feature]})).await;
    }

    async fn tell(&self, command: &str, parameters: Value) {
        let order = json!({"cmd": command, "params": parameters});
        self.ask("POST", "/goog/cdp/execute", &order).await;
    }

    /// Everything fits and can be read, on a desk and on a telephone, in the light and in the dark.
    async fn is_legible(&self, state: &str) {
        for (scheme, width) in [("light", 1100), ("dark", 1100), ("light", 380), ("dark", 380)] {
            self.be_lit(scheme).await;
            self.be_wide(width).await;
            tokio::time::sleep(SETTLE).await;
            let place = format!("{state}, {scheme}, {width} px");
            let wide = self.is("document.documentElement.scrollWidth - innerWidth").await;
            assert!(wide.as_f64().expect("a number") <= 0.0, "{place}: {wide} too wide");
            let faint = self.is(FAINT).await;
            assert_eq!(faint, json!([]), "{place}: too little contrast");
            self.shoot(&format!("{state}-{scheme}-{width}")).await;
        }
        self.be_lit("light").await;
        self.be_wide(1100).await;
    }

    /// Takes a picture, where somebody wants one.
    async fn shoot(&self, name: &str) {
        let Some(directory) = std::env::var_os("EVERLINE_SHOTS") else { return };
        let whole = json!({"cmd": "Page.captureScreenshot",
            "params": {"captureBeyondViewport": true}});
        let shot = self.ask("POST", "/goog/cdp/execute", &whole).await;
        let picture = base64(shot["data"].as_str().unwrap_or_default());
        let path = Path::new(&directory).join(format!("{name}.png"));
        std::fs::write(path, picture).expect("a picture");
    }

    async fn close(self) {
        self.ask("DELETE", "", &Value::Null).await;
    }
}

/// How long the colours of a state may take to come: the page fades them in.
const SETTLE: Duration = Duration::from_millis(700);

/// What is written with a contrast of less than 4.5 to what is behind it, as WCAG counts it.
const FAINT: &str = r"(() => {
  const channel = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const read = text => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = read(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || ['SCRIPT', 'STYLE'].includes(e.tagName)) continue;
    const [a, b] = [light(read(getComputedStyle(e).color)), light(behind(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(e.id + ' ' + e.textContent.slice(0, 30) + ' ' + contrast);
  }
  return faint;
})()";

/// What base64 text stands for.
fn base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFF_FFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.extend((bits >> count).to_be_bytes().last());
        }
    }
    bytes
}

#[test]
fn every_state_can_be_read_on_a_desk_and_on_a_telephone_by_day_and_by_night() {
    run_within(Duration::from_mins(4), async {
        let arguments = ["--failover-hold", "2min", "--shutdown-hold", "2min"];
        let mut scene = Scene::adaptive(Fault::Freeze, &arguments).await?;
        let (client, admin) = (connect(scene.address()).await, console(scene.address()).await);
        client.simple_query("SELECT 1").await.expect("a leader");
        let browser = Browser::open(&format!("http://{}/", scene.everline.http_address())).await?;
        browser.until("title", |title| title == "Serving").await;
        browser.is_legible("healthy").await;

        admin.simple_query("PAUSE").await.expect("a pause");
        browser.until("title", |title| title == "Paused").await;
        let held = tokio::spawn(async move { (client.simple_query("SELECT 2").await, client) });
        browser.until("held-note", |note| note == "until RESUME").await;
        assert!(browser.text("advice").await.contains("say RESUME on the console"));
        browser.is_legible("paused").await;
        admin.simple_query("RESUME").await.expect("its end");
        let (answer, client) = held.await.expect("a task");
        answer.expect("an answer");

        scene.strike(Fault::Freeze).await?;
        browser.until("title", |title| title == "Leader does not answer").await;
        assert!(browser.text("advice").await.contains("runs and can be reached"));
        let held = tokio::spawn(async move { client.simple_query("SELECT 3").await.map(drop) });
        browser.until("held", |held| held == "1").await;
        browser.is_legible("unhealthy").await;
        scene.cluster.primary_mut().thaw();
        held.await.expect("a task").expect("the leader is back");
        browser.until("title", |title| title == "Serving").await;

        scene.strike(Fault::Switchover).await?;
        browser.until("title", |title| title == "Failing over").await;
        assert!(browser.text("advice").await.contains("see that a standby was promoted"));
        browser.is_legible("failover").await;
        scene.succeed().await?;
        browser.until("title", |title| title == "Serving").await;
        browser.until("recoveries", |text| text.contains("ago")).await;
        browser.is_legible("recovered").await;
        browser.close().await;
        Ok(())
    });
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
