//! The same with Stolon's own keepers and sentinel. Skipped without them.

use std::time::Duration;

use everline_lab::Result;
use everline_lab::consul::{Agent, Kind};
use everline_lab::everline::Everline;
use everline_lab::postgres::APP_DATABASE;
use everline_lab::stolon::real::{Programs, Stolon, StolonOptions};
use tokio::time::Instant;

use super::stage::{HOLD, NAME, Sockets, launch, run_within};
use super::writers::{Told, Writers, assert_complete};
use crate::scene;
use crate::seat::Seat;

/// Longest time for one of these tests.
const TEST_MAX: Duration = Duration::from_mins(5);
/// Longest time until the next leader is announced.
const CHANGE_MAX: Duration = Duration::from_mins(1);

struct Stage {
    everline: Everline,
    stolon: Stolon,
    agent: Agent,
}

impl Stage {
    async fn start() -> Result<Self> {
        Programs::find()?;
        let agent = Agent::start(Kind::Forgetful).await?;
        let stolon = Stolon::start(agent.api(), NAME, StolonOptions::default()).await?;
        let table = "SET ROLE app; CREATE TABLE t (n int8, at timestamptz DEFAULT now())";
        stolon.sql(0, APP_DATABASE, &format!("GRANT ALL ON SCHEMA public TO app; {table}")).await?;
        let everline = launch(agent.address(), NAME).arguments(HOLD).start().await?;
        scene::until(&everline, "leader", scene::is_available).await;
        Ok(Self { everline, stolon, agent })
    }

    /// Waits until keeper `at` is announced, and has never seen it announced with a connection to
    /// the other one open.
    async fn announced(&self, at: usize) -> Result<Instant> {
        let until = Instant::now() + CHANGE_MAX;
        while self.stolon.announced().await? != Some(at) {
            assert!(Instant::now() < until, "keeper{at} is not announced");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let old = self.stolon.nodes()[1 - at];
        assert_eq!(
            Sockets::to(self.everline.id(), old).count(),
            0,
            "connections to the old leader"
        );
        Ok(Instant::now())
    }

    async fn all_there(&self, told: &Told, at: usize) -> Result<()> {
        let rows = self.stolon.sql(at, APP_DATABASE, "SELECT n FROM t ORDER BY n").await?;
        let rows: Vec<i64> = rows.iter().map(|row| row.parse().unwrap()).collect();
        assert_complete(told, &rows);
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        scene::keep_log(&self.everline);
    }
}

#[test]
fn stolon_registers_enables_and_forgets_everline() {
    run_within(TEST_MAX, async {
        let mut stage = Stage::start().await?;
        let proxies = stage.stolon.proxies().await?;
        assert_eq!(proxies.len(), 1);
        let data = stage.stolon.data().await?;
        assert_eq!(data["proxy"]["spec"]["enabledProxies"][0], proxies[0].uid.as_str());
        Seat::app("a client", stage.everline.address()).await.is_served().await;
        stage.everline.stop().await?;
        assert_eq!(stage.stolon.proxies().await?, []);
        Ok(())
    });
}

#[test]
fn stolonctl_failkeeper_loses_no_acknowledged_row_and_no_client() {
    run_within(TEST_MAX, async {
        let stage = Stage::start().await?;
        let mut reader = Seat::app("a reader", stage.everline.address()).await;
        let writers = Writers::start(stage.everline.address(), 4).await?;
        let mut leader = 0;
        for _ in 0..3 {
            writers.write_on(100).await?;
            let asked = Instant::now();
            stage.stolon.fail_keeper(leader).await?;
            leader = 1 - leader;
            let announced = stage.announced(leader).await?;
            reader.is_served().await;
            println!(
                "announced {:?} after failkeeper, served {:?} after that",
                announced.duration_since(asked),
                announced.elapsed(),
            );
            stage.stolon.until_whole(2).await?;
        }
        writers.write_on(100).await?;
        let told = writers.stop().await?;
        println!("{} rows, {} unknown", told.acknowledged.len(), told.unknown);
        reader.is_served().await;
        stage.all_there(&told, leader).await
    });
}

#[test]
fn a_killed_keeper_and_its_postgres_cost_no_acknowledged_row_and_no_client() {
    run_within(TEST_MAX, async {
        let mut stage = Stage::start().await?;
        let mut reader = Seat::app("a reader", stage.everline.address()).await;
        let writers = Writers::start(stage.everline.address(), 4).await?;
        writers.write_on(100).await?;
        let killed = Instant::now();
        stage.stolon.kill(0);
        let announced = stage.announced(1).await?;
        reader.is_served().await;
        println!(
            "announced {:?} after the kill, served {:?} after that",
            announced.duration_since(killed),
            announced.elapsed(),
        );
        // Rows wait for a synchronous standby, which is the killed one.
        stage.stolon.start_keeper(0)?;
        writers.write_on(100).await?;
        stage.stolon.until_whole(2).await?;
        writers.write_on(100).await?;
        let told = writers.stop().await?;
        println!("{} rows, {} unknown", told.acknowledged.len(), told.unknown);
        stage.all_there(&told, 1).await
    });
}

#[test]
fn a_frozen_consul_stops_service_and_its_return_resumes_it_with_stolon() {
    run_within(TEST_MAX, async {
        let mut stage = Stage::start().await?;
        let writers = Writers::start(stage.everline.address(), 2).await?;
        writers.write_on(100).await?;
        stage.agent.pause();
        let paused = Instant::now();
        let is_not = |status: &serde_json::Value| !scene::is_available(status);
        scene::until(&stage.everline, "end of service", is_not).await;
        println!("stopped {:?} after Consul froze", paused.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        stage.agent.resume();
        let resumed = Instant::now();
        writers.write_on(1).await?;
        println!("written {:?} after Consul went on", resumed.elapsed());
        writers.write_on(100).await?;
        let told = writers.stop().await?;
        let leader = stage.stolon.announced().await?.unwrap();
        stage.all_there(&told, leader).await
    });
}
