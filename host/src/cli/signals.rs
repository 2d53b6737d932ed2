//! SIGINT and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Exit;

/// Signals that ask the process to stop. While this exists they do not end it by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen; needs a runtime.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next one, as the way in which it ends a process.
    pub(super) async fn next(&mut self) -> Exit {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        // Both numbers are below 32.
        Exit::Signal(u8::try_from(kind.as_raw_value()).unwrap_or_default())
    }
}
