//! How long a change takes, over ten of them.

use std::time::Duration;

use super::stage::{Stage, run_within};
use crate::seat::{ONE, Seat};

/// How many changes are measured.
const CHANGES: usize = 10;

fn tell(what: &str, times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let [min, .., max] = times else { panic!("at least two") };
    let (min, max) = (*min, *max);
    println!("{what}: min {min:.1?}, median {:.1?}, max {max:.1?}", times[times.len() / 2]);
    max
}

#[test]
fn ten_changes_are_quick() {
    run_within(Duration::from_mins(6), async {
        let mut stage = Stage::start().await?;
        let mut seat = Seat::app("waiting", stage.address()).await;
        let mut others = Vec::new();
        for _ in 0..5 {
            others.push(Seat::app("other", stage.address()).await);
        }
        let (mut closings, mut acknowledgements, mut services) = (vec![], vec![], vec![]);
        for change in 0..CHANGES {
            let (old, new) = (change % 2, 1 - change % 2);
            for seat in &mut others {
                seat.say("Q:SELECT 1 FROM pg_sleep(0.05)").await;
            }
            for seat in &mut others {
                seat.hears(ONE).await;
            }
            stage.sentinel.pause();
            let sockets = stage.sockets(old);
            let closing = sockets.closed();
            let elected = stage.sentinel.elect(new).await?;
            let acknowledged_at = stage.acknowledged(&elected, &sockets).await?;
            let closed_at = closing.await.expect("the connections are closed");
            closings.push(closed_at.duration_since(elected.at));
            acknowledgements.push(acknowledged_at.duration_since(elected.at));
            seat.say("Q:SELECT 1").await;
            seat.is_silent().await;
            stage.cluster.promote(new).await?;
            let announced = stage.sentinel.cycle().await?;
            assert!(announced.master.is_some());
            seat.hears(ONE).await;
            services.push(announced.at.elapsed());
            stage.sentinel.resume();
            stage.cluster.rejoin(old).await?;
            stage.sentinel.resync().await?;
            seat.is_served().await;
        }
        let closed_max = tell("leader withdrawn → old connections closed", &mut closings);
        tell("leader withdrawn → acknowledged", &mut acknowledgements);
        let served_max = tell("leader announced → statement answered", &mut services);
        assert!(closed_max < Duration::from_secs(2), "{closed_max:?}");
        assert!(served_max < Duration::from_secs(2), "{served_max:?}");
        Ok(())
    });
}
