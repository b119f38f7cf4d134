//! What Everline says about itself, beside what its clients see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use everline_lab::everline::get;
use serde::Deserialize;
use tokio::time::sleep;

use crate::board::Board;

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(100);
/// Two looks at one transition differ by less than this: its time is told as an age.
const BLUR: Duration = Duration::from_millis(20);

/// The part of `/status.json` that is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    state: String,
    reason: Option<String>,
    epoch: u64,
    leader: Option<Leader>,
    held: u64,
    history: Vec<Transition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Leader {
    endpoint: String,
    timeline: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Transition {
    ago_s: f64,
    epoch: u64,
    what: String,
}

/// Follows Everline's status and notes its transitions on the board, for ever.
///
/// # Cancel safety
/// Safe: a transition that was not noted is noted by nobody.
pub(crate) async fn watch(http: SocketAddr, board: Arc<Board>) {
    let mut last = Duration::ZERO;
    loop {
        if let Ok((_, body)) = get(http, "/status.json").await
            && let Ok(status) = serde_json::from_str::<Status>(&body)
        {
            let now = board.elapsed();
            // The newest comes first. What is older than the run is no news.
            for transition in status.history.iter().rev() {
                let ago = Duration::try_from_secs_f64(transition.ago_s).unwrap_or_default();
                let Some(at) = now.checked_sub(ago).filter(|at| *at > last + BLUR) else {
                    continue;
                };
                last = at;
                let epoch = format!(" (epoch {})", transition.epoch);
                let what = transition.what.replace(&epoch, "").replace("->", "→");
                let what = what.replace(", unavailable", "").replace(", available", "");
                board.event_at(at, '◆', format!("Everline: {what}"));
            }
            board.state().participants.everline = describe(&status);
        }
        sleep(PAUSE).await;
    }
}

fn describe(status: &Status) -> String {
    let mut words = vec![status.state.clone(), format!("epoch {}", status.epoch)];
    match (&status.leader, &status.reason) {
        (_, Some(reason)) => words.push(reason.clone()),
        (Some(leader), None) => {
            words.extend(leader.timeline.map(|timeline| format!("timeline {timeline}")));
            words.push(format!("leader {}", leader.endpoint));
        }
        (None, None) => {}
    }
    if status.held > 0 {
        words.push(format!("holds {}", status.held));
    }
    words.join(" · ")
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
