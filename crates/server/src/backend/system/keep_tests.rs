use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::*;

const BEAT: Beat = Beat { interval: Duration::from_secs(1), timeout: Duration::from_secs(3) };

/// A link that says what the test has it say, and counts what it is asked.
struct Scripted {
    says: mpsc::UnboundedReceiver<Result<Heard, QueryError>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    /// What becomes of the next questions; then they are sent.
    asks: VecDeque<Ask>,
}

enum Ask {
    Fails,
    Hangs,
}

impl Link for Scripted {
    async fn ask(&mut self) -> Result<(), QueryError> {
        match self.asks.pop_front() {
            None => {
                self.asked.lock().unwrap().push(Instant::now());
                Ok(())
            }
            Some(Ask::Fails) => Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
            Some(Ask::Hangs) => std::future::pending().await,
        }
    }

    async fn hear(&mut self) -> Result<Heard, QueryError> {
        match self.says.recv().await {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }
}

#[derive(Clone)]
struct Counts(Arc<(AtomicU32, AtomicU32, AtomicU32)>, Arc<Mutex<Beat>>, Arc<AtomicBool>);

impl Watch for Counts {
    fn beat(&self) -> Beat {
        *self.1.lock().unwrap()
    }

    fn heard_elsewhere(&self) -> bool {
        self.0.0.swap(0, Ordering::Relaxed) > 0
    }

    fn answered(&self, _round_trip: Duration) {
        self.0.1.fetch_add(1, Ordering::Relaxed);
    }

    fn may_ask(&self) -> bool {
        !self.2.load(Ordering::Relaxed)
    }

    fn doubtful(&self) {
        self.0.2.fetch_add(1, Ordering::Relaxed);
    }
}

struct Test {
    say: mpsc::UnboundedSender<Result<Heard, QueryError>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    counts: Counts,
    ask_now: Arc<Notify>,
    task: JoinHandle<LinkEnd>,
    start: Instant,
}

impl Test {
    fn new(asks: impl IntoIterator<Item = Ask>) -> Self {
        Self::with(BEAT, asks)
    }

    fn with(beat: Beat, asks: impl IntoIterator<Item = Ask>) -> Self {
        let (say, says) = mpsc::unbounded_channel();
        let asked = Arc::<Mutex<Vec<Instant>>>::default();
        let link = Scripted { says, asked: Arc::clone(&asked), asks: asks.into_iter().collect() };
        let counts = Counts(Arc::default(), Arc::new(Mutex::new(beat)), Arc::default());
        let ask_now = Arc::new(Notify::new());
        let task = tokio::spawn(keep(link, counts.clone(), Arc::clone(&ask_now)));
        Self { say, asked, counts, ask_now, task, start: Instant::now() }
    }

    async fn at(&self, ms: u64) {
        sleep_until(self.start + Duration::from_millis(ms)).await;
        for _ in 0..4 {
            yield_now().await; // whoever was woken at the same instant goes first
        }
    }

    fn say(&self, heard: Heard) {
        self.say.send(Ok(heard)).unwrap();
    }

    /// Milliseconds from the start to each question.
    fn asked(&self) -> Vec<u128> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|at| at.duration_since(self.start).as_millis()).collect()
    }

    /// How it ended, and after how many milliseconds.
    async fn ended(self) -> (LinkEnd, u128) {
        let end = timeout(Duration::from_mins(1), self.task).await.expect("it goes on").unwrap();
        (end, self.start.elapsed().as_millis())
    }
}

fn broken(why: &str) -> LinkEnd {
    LinkEnd::Broken(why.to_owned())
}

#[tokio::test(start_paused = true)]
async fn it_asks_at_the_interval_and_breaks_exactly_at_the_timeout() {
    let test = Test::new([]);
    test.at(1010).await;
    test.say(Heard::Primary);
    test.at(2020).await;
    test.say(Heard::Primary);
    test.at(2500).await;
    assert_eq!(test.asked(), [1000, 2000]);
    assert_eq!(test.counts.0.1.load(Ordering::Relaxed), 2);
    let expected = broken("nothing was heard of the leader for 3s");
    assert_eq!(test.ended().await, (expected, 6000), "asked at 3 s");
}

#[tokio::test(start_paused = true)]
async fn other_words_are_signs_of_life() {
    let test = Test::new([]);
    test.at(2000).await;
    test.say(Heard::Other);
    test.at(4500).await;
    test.say(Heard::Other);
    assert_eq!(test.asked(), [1000], "one question is enough");
    assert_eq!(test.ended().await.1, 7500);
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_elsewhere_are_seen_within_a_quarter_of_a_second() {
    let test = Test::new([]);
    test.counts.0.0.store(1, Ordering::Relaxed); // before the question: does not count
    test.at(2600).await;
    test.counts.0.0.store(1, Ordering::Relaxed);
    test.at(3100).await;
    let (_, ended) = test.ended().await;
    assert_eq!(ended, 5750, "seen at 2.75 s");
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_doubted_at_every_look_until_something_is_heard() {
    let test = Test::new([]);
    test.at(1_240).await;
    assert_eq!(test.counts.0.2.load(Ordering::Relaxed), 0, "asked at 1 s, not late yet");
    test.at(1_760).await;
    assert_eq!(test.counts.0.2.load(Ordering::Relaxed), 3);
    test.say(Heard::Primary);
    test.at(1_990).await;
    assert_eq!(test.counts.0.2.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn life_before_the_question_does_not_count() {
    let test = Test::new([]);
    test.at(900).await;
    test.counts.0.0.store(1, Ordering::Relaxed);
    assert_eq!(test.ended().await.1, 4000);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_is_exact_though_its_twelfth_is_not_a_whole_number() {
    let beat = Beat { interval: Duration::from_secs(1), timeout: Duration::from_millis(1001) };
    let test = Test::with(beat, []);
    assert_eq!(test.ended().await.1, 2001);
}

#[tokio::test(start_paused = true)]
async fn another_pace_holds_from_the_next_question_on() {
    let test = Test::new([]);
    test.at(500).await;
    let (interval, timeout) = (Duration::from_secs(2), Duration::from_secs(5));
    *test.counts.1.lock().unwrap() = Beat { interval, timeout };
    test.at(1010).await;
    test.say(Heard::Primary);
    test.at(2900).await;
    assert_eq!(test.asked(), [1000]);
    assert_eq!(test.ended().await.1, 8000, "asked at 3 s");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_an_answer() {
    let test = Test::new([]);
    test.at(1010).await;
    let fields = crate::backend::OwnedFields::new("SERROR\0C57014\0Mno\0\0".into()).unwrap();
    test.say(Heard::Error(fields));
    test.at(2500).await;
    assert_eq!(test.asked(), [1000, 2000]);
    assert_eq!(test.counts.0.1.load(Ordering::Relaxed), 0, "but does not say primary");
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_asks_at_once_but_not_without_a_pause() {
    let test = Test::new([]);
    test.at(500).await;
    test.ask_now.notify_one();
    test.at(510).await;
    assert_eq!(test.asked(), [500]);
    test.ask_now.notify_one(); // while an answer is to come: asked again after it
    test.at(520).await;
    test.say(Heard::Primary);
    test.at(599).await;
    assert_eq!(test.asked(), [500]);
    test.at(600).await;
    assert_eq!(test.asked(), [500, 600]);
    test.say(Heard::Primary);
    test.at(1700).await;
    assert_eq!(test.asked(), [500, 600, 1600]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_leaders_own_words() {
    let fields =
        crate::backend::OwnedFields::new("SFATAL\0C57P01\0Mgoing down\0\0".into()).unwrap();
    let cases = [
        (Ok(Heard::Standby), LinkEnd::HotStandby),
        (
            Ok(Heard::ShuttingDown(fields)),
            LinkEnd::ShuttingDown("FATAL 57P01: going down".to_owned()),
        ),
        (Err(QueryError::Closed), broken("the backend closed the connection")),
    ];
    for (said, expected) in cases {
        let test = Test::new([]);
        test.at(300).await;
        test.say.send(said).unwrap();
        assert_eq!(test.ended().await, (expected, 300));
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_cannot_be_sent_ends_it() {
    let test = Test::new([Ask::Fails]);
    let (end, ended) = test.ended().await;
    assert_eq!((end, ended), (broken("the connection failed: broken pipe"), 1100));
    let test = Test::new([Ask::Hangs]);
    let (end, ended) = test.ended().await;
    assert_eq!((end, ended), (broken("nothing was heard of the leader for 3s"), 4000));
}

#[tokio::test(start_paused = true)]
async fn last_words_explain_a_question_that_cannot_be_sent() {
    let test = Test::new([Ask::Fails]);
    test.at(1050).await;
    let fields = crate::backend::OwnedFields::new("SFATAL\0C57P01\0Mgone\0\0".into()).unwrap();
    test.say(Heard::Other);
    test.say(Heard::ShuttingDown(fields));
    let end = LinkEnd::ShuttingDown("FATAL 57P01: gone".to_owned());
    assert_eq!(test.ended().await, (end, 1050));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_vouches_for_is_not_asked() {
    let test = Test::new([]);
    test.at(1_500).await;
    test.say(Heard::Primary);
    test.counts.2.store(true, Ordering::Relaxed);
    test.at(5_500).await;
    assert_eq!(test.asked(), [1_000]);
    test.counts.2.store(false, Ordering::Relaxed);
    test.at(6_500).await;
    assert_eq!(test.asked(), [1_000, 6_000]);
}
