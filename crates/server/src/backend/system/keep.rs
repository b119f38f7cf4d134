//! The heartbeat of the system connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Heard, Link};
use crate::backend::connection::QueryError;

/// The pace of the heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beat {
    /// From one question to the next.
    pub interval: Duration,
    /// How long nothing at all may be heard of the leader after a question.
    pub timeout: Duration,
}

/// How the heartbeat and the rest of the process hear of each other.
pub trait Watch: Send + 'static {
    /// The pace that holds from the next question on.
    fn beat(&self) -> Beat;

    /// Whether any connection of this epoch has heard of the leader since the last call.
    fn heard_elsewhere(&self) -> bool;

    /// The leader has answered as a primary, this long after it was asked.
    fn answered(&self, round_trip: Duration);

    /// Whether the leader may be asked at all: not when nobody vouches for it any more.
    fn may_ask(&self) -> bool;

    /// An answer is late and nothing else was heard of the leader either: said again at every
    /// look, a quarter of a second apart with the default timeout, until something is heard.
    fn doubtful(&self);
}

/// How the system connection ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkEnd {
    /// It broke, or nothing was heard of the leader for too long.
    Broken(String),
    /// The leader said that it is shutting down.
    ShuttingDown(String),
    /// The leader said that it is in recovery.
    HotStandby,
}

/// The shortest time between two questions, however many reasons there are to ask.
const ASK_GAP_MIN: Duration = Duration::from_millis(100);

/// How many times the signs of life are looked at while an answer is late.
const LOOKS: u32 = 12;

/// A question whose answer has not come.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    /// The last sign of life since, or the question itself.
    quiet_since: Instant,
    /// When signs of life are looked for next.
    look_at: Instant,
}

impl Asked {
    fn new(now: Instant, beat: Beat) -> Self {
        let mut asked = Self { at: now, quiet_since: now, look_at: now };
        asked.look_again(now, beat);
        asked
    }

    fn heard(&mut self, now: Instant, beat: Beat) {
        self.quiet_since = now;
        self.look_again(now, beat);
    }

    fn look_again(&mut self, now: Instant, beat: Beat) {
        self.look_at = (now + beat.timeout / LOOKS).min(self.quiet_since + beat.timeout);
    }
}

/// Asks and listens until the connection ends, and says how.
///
/// `ask_now` asks before the interval is over. A sign of life on any connection of the epoch counts
/// as well as an answer: a leader that is busy is not a leader that is lost.
pub async fn keep(mut link: impl Link, watch: impl Watch, ask_now: Arc<Notify>) -> LinkEnd {
    let mut beat = watch.beat();
    let mut last_asked = Instant::now();
    let mut ask_at = last_asked + beat.interval;
    let mut asked: Option<Asked> = None;
    loop {
        let wake_at = asked.map_or(ask_at, |asked| asked.look_at);
        tokio::select! {
            biased; // what the leader says comes before what the clock says
            heard = link.hear() => match end_or_sign(heard) {
                Ok(Sign::Primary) => {
                    if let Some(asked) = asked.take() {
                        watch.answered(asked.at.elapsed());
                    }
                }
                Ok(Sign::Error) => asked = None,
                Ok(Sign::Other) => {
                    if let Some(asked) = &mut asked {
                        asked.heard(Instant::now(), beat);
                    }
                }
                Err(end) => return end,
            },
            () = ask_now.notified() => {
                ask_at = ask_at.min(last_asked + ASK_GAP_MIN);
            }
            () = sleep_until(wake_at) => match &mut asked {
                None if !watch.may_ask() => ask_at = Instant::now() + beat.interval,
                None => {
                    watch.heard_elsewhere(); // forgets what came before the question
                    beat = watch.beat();
                    if let Err(end) = ask(&mut link, beat).await {
                        return end;
                    }
                    last_asked = Instant::now();
                    ask_at = last_asked + beat.interval;
                    asked = Some(Asked::new(last_asked, beat));
                }
                Some(asked) => {
                    let now = Instant::now();
                    if watch.heard_elsewhere() {
                        asked.heard(now, beat);
                    } else if now >= asked.quiet_since + beat.timeout {
                        return silence(beat);
                    } else {
                        watch.doubtful();
                        asked.look_again(now, beat);
                    }
                }
            },
        }
    }
}

/// What came, if it does not end the connection.
enum Sign {
    Primary,
    Error,
    Other,
}

fn end_or_sign(heard: Result<Heard, QueryError>) -> Result<Sign, LinkEnd> {
    match heard {
        Ok(Heard::Primary) => Ok(Sign::Primary),
        Ok(Heard::Error(_)) => Ok(Sign::Error),
        Ok(Heard::Other) => Ok(Sign::Other),
        Ok(Heard::Standby) => Err(LinkEnd::HotStandby),
        Ok(Heard::ShuttingDown(fields)) => Err(LinkEnd::ShuttingDown(fields.to_string())),
        Err(error) => Err(LinkEnd::Broken(error.to_string())),
    }
}

async fn ask(link: &mut impl Link, beat: Beat) -> Result<(), LinkEnd> {
    match timeout_at(Instant::now() + beat.timeout, link.ask()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(last_words(link, &error).await),
        Err(_) => Err(silence(beat)),
    }
}

/// Why the connection took no question: a leader that went may have left its reason.
async fn last_words(link: &mut impl Link, error: &QueryError) -> LinkEnd {
    let until = Instant::now() + ASK_GAP_MIN;
    while let Ok(Ok(heard)) = timeout_at(until, link.hear()).await {
        if let Err(end) = end_or_sign(Ok(heard)) {
            return end;
        }
    }
    LinkEnd::Broken(error.to_string())
}

fn silence(beat: Beat) -> LinkEnd {
    LinkEnd::Broken(format!("nothing was heard of the leader for {:?}", beat.timeout))
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
