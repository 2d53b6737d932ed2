//! What was live before, while attempts may still begin by it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long an answer waits for claims on an earlier generation to be withdrawn, which takes a commit.
const PATIENCE: Duration = Duration::from_secs(2);

/// Snapshots of what was live. Each token ends once nobody begins anything by its snapshot.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Replaced(Mutex<Vec<CancellationToken>>);

impl Replaced {
    /// A snapshot is no longer the latest one.
    pub(super) fn add(&self, released: CancellationToken) {
        self.held().push(released);
    }

    /// Waits until nothing more begins by what was replaced before, a moment at most.
    pub(in crate::plugin) async fn withdrawn(&self) {
        let held = self.held().clone();
        let released = futures_util::future::join_all(held.iter().map(CancellationToken::cancelled));
        let _ = tokio::time::timeout(PATIENCE, released).await;
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<CancellationToken>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|released| !released.is_cancelled());
        held
    }
}
