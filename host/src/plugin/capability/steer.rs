//! Ends what a guest waits for when its attempt is to end.

use std::future::Future;

use tokio::time::{Duration, sleep_until};

use crate::plugin::control::Directive;
use crate::plugin::guest::Call;

/// A tool is stopped so long before the attempt's deadline that the guest can still say what happened.
const MARGIN: Duration = Duration::from_millis(500);

/// Why a guest waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutShort {
    /// The attempt is to be cancelled.
    Cancelled,
    /// The attempt's time is up.
    TimedOut,
}

impl Call {
    /// Waits for a tool until it is done, the attempt is cancelled or its time is up; what is dropped
    /// then ends its processes.
    pub(super) async fn steered<T>(&self, tool: impl Future<Output = T>) -> Result<T, CutShort> {
        let deadline = self.deadline.checked_sub(MARGIN).unwrap_or(self.deadline);
        tokio::select! {
            biased;
            _ = self.control.directed(|directive| directive == Directive::Cancel) => Err(CutShort::Cancelled),
            () = sleep_until(deadline) => Err(CutShort::TimedOut),
            done = tool => Ok(done),
        }
    }
}
