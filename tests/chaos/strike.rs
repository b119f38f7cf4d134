//! How each fault is made, and unmade.

use std::net::Ipv4Addr;
use std::time::Duration;

use everline_lab::dns::Mode;
use everline_lab::network::{Host, Way};
use everline_lab::{Error, Result};
use tokio::time::sleep;

use crate::fault::Fault;
use crate::stage::{Guide, Stage};

/// How many packets of a hundred a bad network loses.
const LOST_PERCENT: u8 = 30;
/// How many packets of a hundred are answered with a reset in a storm.
const RESET_PERCENT: u8 = 50;
/// What a slow link lets through.
const SLOW_KILOBITS: u32 = 256;
/// How long a name lies or is stale after the change of leaders.
const NAME_LASTS: Duration = Duration::from_millis(1500);
/// How long Everline is gone.
const EVERLINE_GONE: Duration = Duration::from_millis(300);
/// Which backend process is killed.
const SOME_BACKEND: &str = "SELECT pid FROM pg_stat_activity \
     WHERE usename = 'app' AND application_name = 'ledger' ORDER BY pid LIMIT 1";

impl Stage {
    /// Lets it happen.
    pub(crate) async fn strike(&mut self, fault: Fault) -> Result<()> {
        let at = self.cluster.primary_index();
        let (everline, other) = (self.everline_host.address(), self.host(self.other()).address());
        let host = self.host(at).clone();
        match fault {
            Fault::Loss => host.lose_packets(everline, LOST_PERCENT).await?,
            Fault::Slow => host.slow_down(SLOW_KILOBITS).await?,
            Fault::ToLeaderLost => host.drop_packets(everline, Way::In).await?,
            Fault::FromLeaderLost => host.drop_packets(everline, Way::Out).await?,
            Fault::LeaderAlone => cut_off(&host, everline, other).await?,
            Fault::StandbyAlone => host.drop_packets(other, Way::Both).await?,
            Fault::Resets => host.reset(everline, RESET_PERCENT).await?,
            Fault::Forgotten => {
                let forgotten = host.forget(everline, self.cluster.port()).await?;
                assert!(forgotten > 1, "{forgotten} connections stood");
            }
            Fault::PowerLost => {
                cut_off(&host, everline, other).await?;
                self.cluster.primary_mut().kill9();
            }
            Fault::DiskFull => self.cluster.primary().fill_disk()?,
            Fault::BackendKilled => self.kill_some_backend().await?,
            Fault::Frozen => self.cluster.primary_mut().freeze(),
            Fault::NoSuchName => {
                self.name(Mode::NameError);
                self.cluster.primary_mut().kill9();
            }
            Fault::SilentNames => {
                self.name(Mode::Silence);
                self.cluster.primary_mut().kill9();
            }
            Fault::LyingName => {
                self.lead_to(&[self.nobody()]);
                self.cluster.primary_mut().kill9();
            }
            Fault::StaleName | Fault::SeveralAddresses => self.cluster.primary_mut().kill9(),
            Fault::EverlineKilled => {
                self.kill_everline();
                sleep(EVERLINE_GONE).await;
                self.start_everline().await?;
            }
            Fault::ToConsulLost => self.consul()?.0.drop_packets(everline, Way::In).await?,
            Fault::FromConsulLost => self.consul()?.0.drop_packets(everline, Way::Out).await?,
            Fault::ConsulLoss => self.consul()?.0.lose_packets(everline, LOST_PERCENT).await?,
            Fault::ConsulResets => self.consul()?.0.reset(everline, 100).await?,
            Fault::ConsulForgotten => {
                let (host, agent) = self.consul()?;
                let forgotten = host.forget(everline, agent.address().port()).await?;
                assert!(forgotten > 0, "no connection stood");
            }
            Fault::ConsulFrozen => self.consul()?.1.pause(),
        }
        Ok(())
    }

    /// The new leader leads: the name says so, in the way of the fault.
    pub(crate) async fn tell_the_name(&self, fault: Fault) {
        let (new, old) = (self.ip(self.cluster.primary_index()), self.ip(self.other()));
        match fault {
            Fault::NoSuchName | Fault::SilentNames | Fault::StaleName => sleep(NAME_LASTS).await,
            Fault::LyingName => {
                // At the lab's own address nobody listens: that is refused.
                self.lead_to(&[self.network.address().into()]);
                sleep(NAME_LASTS).await;
            }
            Fault::SeveralAddresses => {
                self.name(Mode::Table);
                self.lead_to(&[self.nobody(), old, new]);
                return;
            }
            Fault::Loss
            | Fault::Slow
            | Fault::ToLeaderLost
            | Fault::FromLeaderLost
            | Fault::LeaderAlone
            | Fault::StandbyAlone
            | Fault::Resets
            | Fault::Forgotten
            | Fault::PowerLost
            | Fault::DiskFull
            | Fault::BackendKilled
            | Fault::Frozen
            | Fault::EverlineKilled
            | Fault::ToConsulLost
            | Fault::FromConsulLost
            | Fault::ConsulLoss
            | Fault::ConsulResets
            | Fault::ConsulForgotten
            | Fault::ConsulFrozen => {}
        }
        self.name(Mode::Table);
        self.lead_to(&[new]);
    }

    /// Takes back what was done to node `at` and to the ways to it and to Consul. A node that died
    /// of it is started again.
    pub(crate) async fn lift(&mut self, fault: Fault, at: usize) -> Result<()> {
        if fault.is_of_consul() {
            let (host, agent) = self.consul()?;
            host.heal().await?;
            agent.resume();
            return Ok(());
        }
        self.cluster.node(at).free_disk();
        self.cluster.node_mut(at).thaw();
        if !self.cluster.node_mut(at).is_running() {
            if at == self.cluster.primary_index() {
                self.cluster.node_mut(at).start().await?;
            } else {
                self.cluster.start_as_old_primary(at).await?;
            }
        }
        // Last: whoever had lost his connections without a word must not be told by their absence
        // before he asks.
        self.host(at).heal().await
    }

    async fn kill_some_backend(&self) -> Result<()> {
        let primary = self.cluster.primary();
        let pid = primary.value(SOME_BACKEND).await?;
        let nobody = |_| Error::Failed {
            what: "killing a backend".to_owned(),
            detail: format!("there is none: {pid:?}"),
        };
        primary.kill_backend(pid.parse().map_err(nobody)?);
        Ok(())
    }

    fn name(&self, mode: Mode) {
        match &self.guide {
            Guide::Name(dns) => dns.set_mode(mode),
            Guide::Consul { .. } => {}
        }
    }
}

/// Lets nothing pass between a host and two others.
async fn cut_off(host: &Host, one: Ipv4Addr, other: Ipv4Addr) -> Result<()> {
    host.drop_packets(one, Way::Both).await?;
    host.drop_packets(other, Way::Both).await
}
