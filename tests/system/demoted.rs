//! 25006 from a leader that is none any more: sent to the next one, unseen by the client.
//!
//! A PostgreSQL whose connections live on while it is demoted is played by a trigger that refuses
//! every write on the old leader, as clouds' servers do.

use everline_lab::Result;
use tokio::time::Instant;

use crate::scene::{Fault, STATUS_MAX, Scene, run};
use crate::seat::Seat;

const INSERT: &str = "Q:INSERT INTO t VALUES (1)";

impl Scene {
    /// A table that the first leader refuses to write to as soon as it is demoted.
    async fn can_be_demoted(&self) -> Result<()> {
        let ip = self.ip(0);
        self.prepare(&format!(
            "CREATE TABLE t (n int);
             CREATE TABLE reign (over bool); INSERT INTO reign VALUES (false);
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF host(inet_server_addr()) = '{ip}' AND (SELECT over FROM reign) THEN
                 RAISE 'cannot execute INSERT in a read-only transaction' USING ERRCODE = '25006';
               END IF;
               RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse();"
        ))
        .await
    }

    async fn demote(&self) -> Result<()> {
        self.prepare("UPDATE reign SET over = true").await
    }
}

#[test]
fn a_first_statement_that_a_demoted_leader_refuses_goes_to_the_next() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "20s"]).await?;
        scene.can_be_demoted().await?;
        let mut simple = Seat::app("simple", scene.address()).await;
        let mut extended = Seat::app("extended", scene.address()).await;
        let mut prepared = Seat::app("prepared", scene.address()).await;
        let mut inside = Seat::app("in a transaction", scene.address()).await;
        prepared.ask("P:s:INSERT INTO t VALUES (1) / S", "1 / Z[I]").await;
        inside.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
        inside.ask(INSERT, "C[INSERT 0 1] / Z[T]").await;
        scene.demote().await?;

        simple.say(INSERT).await;
        extended.say("P::INSERT INTO t VALUES (1) / B:: / D:P: / E: / S").await;
        prepared.say("B::s / E: / S").await;
        inside.ask(INSERT, "E:lost / Z[E]").await;
        inside.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        for seat in [&mut simple, &mut extended, &mut prepared] {
            seat.is_silent().await;
        }
        scene.strike(Fault::Kill).await?;
        scene.succeed().await?;
        simple.hears("C[INSERT 0 1] / Z[I]").await;
        extended.hears("1 / 2 / n / C[INSERT 0 1] / Z[I]").await;
        prepared.hears("2 / C[INSERT 0 1] / Z[I]").await;
        assert_eq!(scene.cluster.node(1).value("SELECT count(*) FROM t").await?, "3");
        Ok(())
    });
}

#[test]
fn when_no_other_comes_it_is_refused_with_the_retryable_code() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &["--failover-hold", "1s"]).await?;
        scene.can_be_demoted().await?;
        let mut seat = Seat::app("simple", scene.address()).await;
        seat.is_served().await;
        scene.demote().await?;
        let began = Instant::now();
        seat.ask(INSERT, "E:held / Z[I]").await;
        assert!(began.elapsed() >= std::time::Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(began.elapsed() < STATUS_MAX);
        seat.is_served().await;
        Ok(())
    });
}

#[test]
fn who_asked_for_reading_only_hears_the_refusal() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        scene.can_be_demoted().await?;
        let mut seat = Seat::app("reader", scene.address()).await;
        let refused = "E[25006 \"cannot execute INSERT in a read-only transaction\"]";
        seat.ask("Q:BEGIN READ ONLY", "C[BEGIN] / Z[T]").await;
        seat.ask(INSERT, &format!("{refused} / Z[E]")).await;
        seat.ask("Q:ROLLBACK", "C[ROLLBACK] / Z[I]").await;
        seat.ask(
            "Q:SET default_transaction_read_only = on",
            "C[SET] / S[default_transaction_read_only=on] / Z[I]",
        )
        .await;
        seat.ask(INSERT, &format!("{refused} / Z[I]")).await;
        Ok(())
    });
}
