//! Logs whose tasks are gone: a crash came between the end of a record and that of its log.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::logs::TaskLogs;
use crate::store::Store;
use crate::task::TaskId;

/// Looks once at every log, one question after the other: nobody waits for it.
pub(super) async fn sweep(store: Arc<dyn Store>, logs: Arc<TaskLogs>, stop: CancellationToken) {
    for folder in 0..=u8::MAX {
        let names = Arc::clone(&logs);
        let found = match tokio::task::spawn_blocking(move || names.tasks_in(folder)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%error, folder, "logs without a task are not looked for");
                continue;
            }
            Err(_) => return,
        };
        let mut orphans = Vec::new();
        for id in found {
            if stop.is_cancelled() {
                return;
            }
            match store.task(id).await {
                // Ids are not used again: what is gone stays gone.
                Ok(None) => orphans.push(id),
                Ok(Some(_)) => {}
                Err(_) => return,
            }
        }
        remove(&logs, orphans).await;
    }
}

/// Removes the logs of tasks that are gone.
pub(super) async fn remove(logs: &Arc<TaskLogs>, tasks: Vec<TaskId>) {
    if tasks.is_empty() {
        return;
    }
    let logs = Arc::clone(logs);
    let removal = tokio::task::spawn_blocking(move || {
        for id in tasks {
            if let Err(error) = logs.remove(id) {
                tracing::warn!(task = %id, %error, "the log of a forgotten task stays on the disk until the next start");
            }
        }
    });
    if let Err(error) = removal.await {
        tracing::error!(%error, "removing task logs panicked");
    }
}
