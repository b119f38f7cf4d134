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
/// Two looks at one transition differ by less than this: its time is told as an age, and the
/// telling takes time too.
const BLUR: Duration = Duration::from_secs(1);

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
    source: Option<Source>,
}

/// What it says about the one who names the leader.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    registered: String,
    acknowledged: Option<u64>,
    fence_remaining_ms: u64,
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
    let mut noted: Vec<(Duration, String)> = Vec::new();
    loop {
        if let Ok((_, body)) = get(http, "/status.json").await
            && let Ok(status) = serde_json::from_str::<Status>(&body)
        {
            let now = board.elapsed();
            // The newest comes first. What is older than the run is no news.
            for transition in status.history.iter().rev() {
                let ago = Duration::try_from_secs_f64(transition.ago_s).unwrap_or_default();
                let Some(at) = now.checked_sub(ago) else { continue };
                let what = words(transition);
                let same =
                    |(then, text): &(Duration, String)| *text == what && at.abs_diff(*then) < BLUR;
                if !noted.iter().any(same) {
                    board.event_at(at, '◆', what.clone());
                    noted.push((at, what));
                }
            }
            board.state().participants.everline = describe(&status);
        }
        sleep(PAUSE).await;
    }
}

/// A transition in fewer words: the line above has the epoch.
fn words(transition: &Transition) -> String {
    let epoch = format!(" (epoch {})", transition.epoch);
    let what = transition.what.replace(&epoch, "").replace("->", "→");
    format!("Everline: {}", what.replace(", unavailable", "").replace(", available", ""))
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
    if let Some(source) = &status.source {
        let acknowledged = source.acknowledged.filter(|_| source.registered == "yes");
        words.push(acknowledged.map_or_else(
            || "not registered".to_owned(),
            |generation| format!("acknowledged {generation}"),
        ));
        let fence = Duration::from_millis(source.fence_remaining_ms);
        words.push(format!("fence {:.1} s", fence.as_secs_f64()));
    }
    words.join(" · ")
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
