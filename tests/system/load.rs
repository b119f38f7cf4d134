//! Large things, and many: rows and statements of megabytes, hundreds of clients.

use tokio::task::JoinSet;

use crate::scene::{Fault, Scene, number, run};
use crate::seat::{ONE, Seat, bytes};

/// What a simple query answers, each message as its type and the length of its body.
async fn shapes(seat: &mut Seat, script: &[u8]) -> Vec<(char, usize)> {
    seat.client.send(script).await.expect("sent");
    let messages = seat.client.until_ready().await.expect("an answer");
    messages.iter().map(|message| (char::from(message.tag), message.body.len())).collect()
}

#[test]
fn large_rows_and_large_statements_go_through_whole() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &["--max-backend-connections", "3"]).await?;
        scene.prepare("CREATE TABLE t (n int, data text)").await?;
        let mut seat = Seat::app("large", scene.address()).await;
        let mut small = Seat::app("small", scene.address()).await;
        for _ in 0..2 {
            let heard = shapes(
                &mut seat,
                &bytes("Q:SELECT repeat('x', 10000000) FROM generate_series(1, 3)"),
            )
            .await;
            let row = ('D', 2 + 4 + 10_000_000);
            assert_eq!(heard[1..4], [row; 3], "{heard:?}");
            assert_eq!(heard[4..], [('C', 9), ('Z', 1)]);
            small.is_served().await;
        }
        let data = "y".repeat(5_000_000);
        seat.ask(&format!("Q:INSERT INTO t VALUES (1, '{data}')"), "C[INSERT 0 1] / Z[I]").await;
        let insert = "P::INSERT INTO t VALUES (2, $1) / B";
        seat.ask(&format!("{insert}:::{data} / E: / S"), "1 / 2 / C[INSERT 0 1] / Z[I]").await;
        let insert = format!("P::INSERT INTO t VALUES (3, '{data}') / B:: / E: / S");
        seat.ask(&insert, "1 / 2 / C[INSERT 0 1] / Z[I]").await;
        seat.ask(&format!("P:long:SELECT length('{data}') / S"), "1 / Z[I]").await;
        small.is_served().await;
        seat.ask("B::long / E: / S", "2 / D[5000000] / C[SELECT 1] / Z[I]").await;
        seat.ask("Q:COPY t FROM STDIN", "G").await;
        for _ in 0..20 {
            seat.say(&format!("d:4\t{}", &data[..500_000])).await;
        }
        seat.ask("c", "C[COPY 20] / Z[I]").await;
        let sum = "Q:SELECT count(*), sum(length(data)) FROM t";
        seat.ask(sum, "T[count,sum] / D[23,25000000] / C[SELECT 1] / Z[I]").await;
        let heard = shapes(&mut seat, &bytes("Q:COPY t TO STDOUT")).await;
        let copied: usize = heard.iter().filter(|one| one.0 == 'd').map(|one| one.1).sum();
        assert_eq!(copied, 25_000_000 + 23 * "n\t\n".len());
        small.is_served().await;
        Ok(())
    });
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &["--max-backend-connections", "4"]).await?;
        let mut deaf = Seat::app("deaf", scene.address()).await;
        deaf.say("Q:SELECT repeat('x', 1000000) FROM generate_series(1, 50)").await;
        let mut other = Seat::app("other", scene.address()).await;
        for _ in 0..20 {
            other.is_served().await;
        }
        let messages = deaf.client.until_ready().await?;
        assert_eq!(messages.len(), 1 + 50 + 2);
        deaf.is_served().await;
        Ok(())
    });
}

#[test]
fn many_clients_share_few_connections() {
    run(async {
        let arguments = ["--max-backend-connections", "6"];
        let scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        scene
            .prepare("CREATE TABLE t (n int); INSERT INTO t SELECT 0 FROM generate_series(1, 10)")
            .await?;
        let address = scene.address();
        let mut clients = JoinSet::new();
        for at in 0..200 {
            clients.spawn(async move {
                let mut seat = Seat::app(&format!("client {at}"), address).await;
                for _ in 0..5 {
                    seat.ask("Q:BEGIN", "C[BEGIN] / Z[T]").await;
                    let update = "Q:UPDATE t SET n = n + 1 WHERE ctid = (SELECT min(ctid) FROM t)";
                    // Another client's update moves the row away: then nothing is updated.
                    seat.say(update).await;
                    let heard = seat.client.until_ready().await.expect("an answer");
                    assert!(heard[0].to_string().starts_with("C[UPDATE "), "{}", heard[0]);
                    seat.ask("Q:INSERT INTO t VALUES (1)", "C[INSERT 0 1] / Z[T]").await;
                    seat.ask("Q:COMMIT", "C[COMMIT] / Z[I]").await;
                    seat.ask("Q:SELECT 1", ONE).await;
                    seat.ask(
                        "P:a:SELECT 2 / B::a / E: / C:S:a / S",
                        "1 / 2 / D[2] / C[SELECT 1] / 3 / Z[I]",
                    )
                    .await;
                }
                seat
            });
        }
        let mut seats = Vec::new();
        let mut most = 0;
        loop {
            tokio::select! {
                done = clients.join_next() => match done {
                    Some(done) => seats.push(done.expect("a client")),
                    None => break,
                },
                () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {
                    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
                    let open: u32 = scene.cluster.primary().value(open).await?.parse().unwrap_or(0);
                    most = most.max(open);
                }
            }
        }
        assert!((2..=6).contains(&most), "{most} backend connections");
        for seat in &mut seats {
            seat.is_silent().await;
        }
        let count = "SELECT count(*) FROM t";
        assert_eq!(scene.cluster.primary().value(count).await?, "1010");
        let status = scene.status().await;
        assert_eq!(number(&status, "clients"), 200);
        assert_eq!(number(&status, "retryable_total"), 0);
        Ok(())
    });
}
