use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::SubscriberExt;

use super::{LINES_MAX, Layer, Repeats};

/// Where the lines of a test go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_said_again_and_again_is_counted() {
    let (lines, repeats) = (Lines::default(), Arc::new(Repeats::default()));
    let writer = lines.clone();
    let layer =
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(Layer(Arc::clone(&repeats))).with(layer);
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..LINES_MAX + 7 {
            tracing::warn!(number, "cannot accept");
            tracing::debug!("in detail");
        }
        tracing::info!("something else");
        repeats.tell();
        repeats.tell();
        tracing::warn!(number = 99, "cannot accept");
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    let most = usize::try_from(LINES_MAX).unwrap();
    assert_eq!(count(" cannot accept number="), most + 1, "{text}");
    assert_eq!(count("in detail"), most + 7);
    assert_eq!(count("something else"), 1);
    assert_eq!(count("left out of the log: cannot accept times=7"), 1, "{text}");
}
