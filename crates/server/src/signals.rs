//! SIGHUP: reload. SIGTERM and SIGINT: drain, and at the second one leave at once. SIGUSR1 and
//! SIGUSR2: pause and resume, as PgBouncer has them.

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

/// What a signal asks for during planned work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Planned {
    /// SIGUSR1: no new transaction begins.
    Pause,
    /// SIGUSR2: they do again.
    Resume,
}

/// Both signals of planned work.
#[derive(Debug)]
pub struct Plans {
    pause: Signal,
    resume: Signal,
}

impl Plans {
    /// Takes the signals over from the system's default, which would end the process.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            pause: signal(SignalKind::user_defined1())?,
            resume: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next of them.
    ///
    /// # Cancel safety
    /// Safe: a signal that comes meanwhile is delivered to the next call.
    pub async fn next(&mut self) -> Planned {
        tokio::select! {
            biased; // if both have come, service goes on
            _ = self.pause.recv() => Planned::Pause,
            _ = self.resume.recv() => Planned::Resume,
        }
    }
}

/// The signal that asks for the configuration to be read again.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Takes the signal over from the system's default, which would end the process.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next.
    ///
    /// # Cancel safety
    /// Safe: a signal that comes meanwhile is delivered to the next call.
    pub async fn next(&mut self) {
        // The stream of signals has no end.
        let _: Option<()> = self.0.recv().await;
    }
}
