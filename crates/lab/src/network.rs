//! Hosts of their own: network namespaces on one switch, which fail in the ways of networks.
//!
//! The lab is on that network too, at [`Network::address`]. Rules that drop or refuse packets are
//! those of the hosts, never of the machine, and name the two between which they fail: the lab
//! itself reaches every host all the time. Needs root, `ip`, `nsenter` and `iptables`; where they
//! are missing, [`Network::start`] says that the test is skipped.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use crate::process::leave_to_reaper;
use crate::{Error, Result, during};

/// The networks from which one with 256 addresses is taken: meant for measurements, in use nowhere.
///
/// Source: RFC 2544, appendix C.2.2.
const BLOCK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// How many such networks there are.
const NETWORKS: u32 = 512;
/// Address of the lab within its network.
const LAB: u32 = 1;
/// Address of the first host.
const FIRST: u32 = 2;
/// Most hosts of one network.
const HOSTS_MAX: u32 = 200;

static COUNT: AtomicU32 = AtomicU32::new(0);
/// One at a time, lest two take the same addresses.
static STARTING: Mutex<()> = Mutex::const_new(());

/// A switch with its hosts. Everything goes when it is dropped; what runs on the hosts has to end
/// before.
#[derive(Debug)]
pub struct Network {
    name: String,
    base: u32,
    namespaces: Vec<String>,
}

impl Network {
    /// A network with nobody on it but the lab.
    ///
    /// # Errors
    /// [`Error::Skip`] where there can be none.
    pub async fn start() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Skip("network namespaces need root".to_owned()));
        }
        let _starting = STARTING.lock().await;
        let skip = |error: Error| Error::Skip(format!("no network namespaces here: {error}"));
        let pid = std::process::id();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("everline-{pid}-{number}");
        let base = free_network(pid).await.map_err(skip)?;
        let mut network = Self { name, base, namespaces: Vec::new() };
        let switch = network.namespace("switch").await.map_err(skip)?;
        let lab = format!("el{pid}x{number}");
        let at = |rest: &str| format!("-n {switch} {rest}");
        ip(&at("link add br0 type bridge")).await.map_err(skip)?;
        ip(&at("link set br0 up")).await.map_err(skip)?;
        ip(&format!("link add {lab} type veth peer name lab netns {switch}"))
            .await
            .map_err(skip)?;
        ip(&at("link set lab master br0 up")).await.map_err(skip)?;
        ip(&format!("addr add {}/24 dev {lab}", network.address())).await.map_err(skip)?;
        ip(&format!("link set {lab} up")).await.map_err(skip)?;
        // The machine may have the program and not what it needs of the kernel.
        let probe = Host { namespace: switch, address: network.address() };
        probe.add(&["INPUT -s 192.0.2.1 -j DROP".to_owned()]).await.map_err(skip)?;
        Ok(network)
    }

    /// Address of the lab on this network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + LAB)
    }

    /// Adds a host, which has the next address.
    ///
    /// # Errors
    /// What `ip` says; [`Error::Failed`] when there are too many.
    pub async fn host(&mut self, word: &str) -> Result<Host> {
        let number = u32::try_from(self.namespaces.len()).unwrap_or(u32::MAX);
        if number > HOSTS_MAX {
            let detail = format!("there are {HOSTS_MAX} already");
            return Err(Error::Failed { what: "a further host".to_owned(), detail });
        }
        let address = Ipv4Addr::from_bits(self.base + FIRST + number - 1);
        let switch = format!("{}-switch", self.name);
        let namespace = self.namespace(word).await?;
        let port = format!("p{number}");
        ip(&format!("-n {switch} link add {port} type veth peer name eth0 netns {namespace}"))
            .await?;
        ip(&format!("-n {switch} link set {port} master br0 up")).await?;
        ip(&format!("-n {namespace} addr add {address}/24 dev eth0")).await?;
        ip(&format!("-n {namespace} link set lo up")).await?;
        ip(&format!("-n {namespace} link set eth0 up")).await?;
        Ok(Host { namespace, address })
    }

    async fn namespace(&mut self, word: &str) -> Result<String> {
        let name = format!("{}-{word}", self.name);
        ip(&format!("netns add {name}")).await?;
        self.namespaces.push(name.clone());
        leave_to_reaper(&format!("@{name}"))?;
        Ok(name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let mut ip = Command::new("ip");
            ip.args(["netns", "delete", namespace]);
            let _ = ip.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// A host of a [`Network`].
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    address: Ipv4Addr,
}

/// Which packets between two hosts are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Those that come in from the other.
    In,
    /// Those that go out to the other.
    Out,
    /// All of them.
    Both,
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A command that runs `program` on this host, as the user and group `owner` where given. The
    /// process is that of the program itself.
    #[must_use]
    pub fn command(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        owner: Option<(u32, u32)>,
    ) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace));
        if let Some((user, group)) = owner {
            command.arg(format!("--setuid={user}")).arg(format!("--setgid={group}"));
        }
        command.arg("--").arg(program);
        command
    }

    /// Drops packets exchanged with `peer` from here on.
    ///
    /// # Errors
    /// What `iptables` says.
    pub async fn drop_packets(&self, peer: Ipv4Addr, way: Way) -> Result<()> {
        self.add(&rules(peer, way, "-j DROP")).await
    }

    /// Drops some of the packets exchanged with `peer`: `percent` of each hundred, by chance.
    ///
    /// # Errors
    /// What `iptables` says.
    pub async fn lose_packets(&self, peer: Ipv4Addr, percent: u8) -> Result<()> {
        let then = format!("{}-j DROP", by_chance(percent));
        self.add(&rules(peer, Way::Both, &then)).await
    }

    /// Answers `percent` of each hundred TCP packets of `peer` with a reset, by chance; what stands
    /// is ended by them, what is new refused.
    ///
    /// # Errors
    /// What `iptables` says.
    pub async fn reset(&self, peer: Ipv4Addr, percent: u8) -> Result<()> {
        let then = format!("-p tcp {}-j REJECT --reject-with tcp-reset", by_chance(percent));
        self.add(&rules(peer, Way::In, &then)).await
    }

    /// Drops everything of the TCP connections that `peer` has here at `port` at this moment, as a
    /// firewall does that has forgotten them; new ones work. Says how many there are.
    ///
    /// # Errors
    /// What `ss` or `iptables` say.
    pub async fn forget(&self, peer: Ipv4Addr, port: u16) -> Result<usize> {
        let mut ss = self.command("ss", None);
        ss.args(["-H", "-t", "-n", "-o", "state", "established", "sport", "=", &port.to_string()]);
        let listed = run(ss, None).await?;
        let prefix = format!("{peer}:");
        let theirs: Vec<&str> = listed
            .split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix(prefix.as_str()))
            .collect();
        let mut all = Vec::new();
        for port in &theirs {
            all.extend(rules(peer, Way::In, &format!("-p tcp --sport {port} -j DROP")));
            all.extend(rules(peer, Way::Out, &format!("-p tcp --dport {port} -j DROP")));
        }
        self.add(&all).await?;
        Ok(theirs.len())
    }

    /// Lets no more than this many kilobits through in a second, to whomever; the rest waits, for
    /// half a second at most.
    ///
    /// # Errors
    /// [`Error::Skip`] where the kernel cannot.
    pub async fn slow_down(&self, kilobits: u32) -> Result<()> {
        let mut tc = self.command("tc", None);
        tc.args(["qdisc", "replace", "dev", "eth0", "root", "tbf", "burst", "4kb"]);
        tc.args(["latency", "500ms", "rate", &format!("{kilobits}kbit")]);
        let skip = |error: Error| Error::Skip(format!("no slow network here: {error}"));
        run(tc, None).await.map(drop).map_err(skip)
    }

    /// Takes back everything that was said about its packets.
    ///
    /// # Errors
    /// What `iptables` says.
    pub async fn heal(&self) -> Result<()> {
        let mut iptables = self.command("iptables", None);
        iptables.args(["-w", "10", "-F"]);
        run(iptables, None).await?;
        let mut tc = self.command("tc", None);
        tc.args(["qdisc", "delete", "dev", "eth0", "root"]);
        // There mostly is none.
        let _ = run(tc, None).await;
        Ok(())
    }

    /// Adds rules, each from its chain on, all at once.
    async fn add(&self, rules: &[String]) -> Result<()> {
        let mut text = String::from("*filter\n");
        for rule in rules {
            writeln!(text, "-A {rule}").expect("a String takes all that is written");
        }
        text.push_str("COMMIT\n");
        let mut restore = self.command("iptables-restore", None);
        restore.args(["-w", "10", "--noflush"]);
        run(restore, Some(text)).await.map(drop)
    }
}

/// Matches this many of each hundred packets; all of them from 100 on.
fn by_chance(percent: u8) -> String {
    match percent {
        0..100 => format!("-m statistic --mode random --probability 0.{percent:02} "),
        100.. => String::new(),
    }
}

/// Rules for the packets exchanged with `peer`.
fn rules(peer: Ipv4Addr, way: Way, then: &str) -> Vec<String> {
    let into = format!("INPUT -s {peer} {then}");
    let out = format!("OUTPUT -d {peer} {then}");
    match way {
        Way::In => vec![into],
        Way::Out => vec![out],
        Way::Both => vec![into, out],
    }
}

/// A network of which this machine has no address yet.
async fn free_network(pid: u32) -> Result<u32> {
    let known = ip("-4 -o addr show").await?;
    for step in 0..NETWORKS {
        let base = BLOCK.to_bits() + (pid.wrapping_add(step) % NETWORKS) * 256;
        let lab = Ipv4Addr::from_bits(base + LAB);
        if !known.contains(&format!(" {lab}/")) {
            return Ok(base);
        }
    }
    let detail = format!("all {NETWORKS} are in use");
    Err(Error::Failed { what: "a free network".to_owned(), detail })
}

async fn ip(words: &str) -> Result<String> {
    let mut ip = Command::new("ip");
    ip.args(words.split(' '));
    run(ip, None).await
}

/// Runs a command to its end, with `input`; what it printed.
async fn run(command: Command, input: Option<String>) -> Result<String> {
    let what = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = during(|| what.clone(), command.kill_on_drop(true).spawn())?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        during(|| what.clone(), stdin.write_all(input.as_bytes()).await)?;
    }
    let output = during(|| what.clone(), child.wait_with_output().await)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Failed { what, detail: format!("{}: {}", output.status, said.trim()) })
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
