//! SIGTERM and SIGINT: drain, and at the second one leave at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals that ask us to stop.
#[derive(Debug)]
pub struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    /// Takes the signals over from the system's default, which would end the process.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them.
    ///
    /// # Cancel safety
    /// Safe: a signal that comes meanwhile is delivered to the next call.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased; // either will do
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
