//! One firing of a dispatching schedule: dispatch, let the runner execute, dispatch again until
//! there is no more.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::plugin::Plugins;
use crate::schedule::{Action, Schedule};
use crate::store::{Dispatched, Store, StoreError};
use crate::task::Source;
use crate::time::now;

/// Dispatches in one pass, at most: a dispatcher that always promises more is cut off here and
/// goes on with the next firing.
const MAX_ROUNDS: u32 = 100_000;

/// One pass and what it needs.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) store: Arc<dyn Store>,
    pub(super) plugins: Arc<Plugins>,
    pub(super) stop: CancellationToken,
    pub(super) schedule: Schedule,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("no plugin {0:?} with a dispatcher is loaded")]
    NoDispatcher(String),
    #[error("the dispatcher failed: {code}: {message}")]
    Dispatcher { code: String, message: String },
    #[error("the dispatcher promised more but gave nothing and left its cursor where it was")]
    NoProgress,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Pass {
    /// Runs the pass and keeps how it ended.
    pub(super) async fn run(self) {
        let name = self.schedule.spec.name.clone();
        let error = match self.dispatch_all().await {
            Ok(()) => None,
            Err(PassError::Store(StoreError::Closed | StoreError::Stale)) => return,
            Err(error) => {
                // Said once: the record keeps it, and the operator need not read it every interval.
                let text = error.to_string();
                if self.schedule.last_error.as_deref() != Some(text.as_str()) {
                    tracing::warn!(schedule = name, error = text, "a pass failed");
                }
                Some(text)
            }
        };
        let counts = self.schedule.spec.pause_on_failure.is_some() && error.is_some();
        if (counts || error != self.schedule.last_error)
            && let Err(error) = self.store.record_pass(&name, error, now()).await
        {
            tracing::warn!(schedule = name, %error, "cannot record how a pass ended");
        }
    }

    async fn dispatch_all(&self) -> Result<(), PassError> {
        let Action::Dispatch { plugin, batch, capacity } = &self.schedule.spec.action else { return Ok(()) };
        let name = &self.schedule.spec.name;
        let mut cursor = self.schedule.cursor.clone();
        for _ in 0..MAX_ROUNDS {
            let Some(limit) = self.room(name, *batch, *capacity).await? else { return Ok(()) };
            let generation = self.plugins.dispatcher(plugin).ok_or_else(|| PassError::NoDispatcher(plugin.clone()))?;
            let answer = generation
                .dispatch(limit, cursor.clone())
                .await
                .map_err(|failure| PassError::Dispatcher { code: failure.code, message: failure.message })?;
            let more = answer.more;
            let stuck = answer.tasks.is_empty() && answer.cursor == cursor;
            cursor.clone_from(&answer.cursor);
            let mut tasks = answer.tasks;
            for task in &mut tasks {
                task.source = Source::Schedule(name.clone());
            }
            let batch = Dispatched { schedule: name.clone(), pass: self.schedule.fired, tasks, cursor: answer.cursor };
            self.store.dispatched(batch, now()).await?;
            if !more {
                return Ok(());
            }
            if stuck {
                return Err(PassError::NoProgress);
            }
        }
        Ok(())
    }

    /// How many tasks may be asked for now: waits while `capacity` is full; nothing when stopping.
    async fn room(&self, name: &str, batch: u32, capacity: u32) -> Result<Option<u32>, StoreError> {
        let mut wakeups = self.store.wakeups();
        loop {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            wakeups.mark_unchanged();
            let room = capacity.saturating_sub(self.store.outstanding(name).await?).min(batch);
            if room > 0 {
                return Ok(Some(room));
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                _ = wakeups.changed() => {}
            }
        }
    }
}
