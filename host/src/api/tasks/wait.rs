//! Waiting for a task to end: by notification, never by polling.

use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::broadcast::error::RecvError;

use super::find;
use crate::api::AppState;
use crate::api::problem::Problem;
use crate::event::{Change, Event, TaskChange};
use crate::task::{Task, TaskId};

/// A request waits this long at most, in seconds.
pub const MAX_WAIT_S: u32 = 60;

/// The seconds of `Prefer: wait=N`, at most [`MAX_WAIT_S`]; what is not understood is no preference.
pub fn preferred(headers: &HeaderMap) -> Option<u32> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split([',', ';']));
    let mut waits = preferences.filter_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
    });
    waits.next().map(|seconds| seconds.min(MAX_WAIT_S))
}

/// The task when it has ended, or as it stands after `seconds` or when the host stops.
pub async fn until_ended(state: &AppState, id: TaskId, seconds: u32) -> Result<Task, Problem> {
    // Interest first, question second: an end between the two is not missed.
    let mut events = state.store.subscribe();
    let ended = async {
        loop {
            let task = find(&*state.store, id).await?;
            if task.status.state.is_terminal() {
                return Ok(task);
            }
            loop {
                match events.recv().await {
                    Ok(batch) if !batch.iter().any(|event| may_end(event, id)) => {}
                    // Lagged: the end may be among what was missed.
                    Ok(_) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Ok(task),
                }
            }
        }
    };
    let patience = tokio::time::sleep(Duration::from_secs(u64::from(seconds)));
    tokio::select! {
        task = ended => return task,
        () = patience => {}
        () = state.stop.cancelled() => {}
    }
    find(&*state.store, id).await
}

/// Whether a task has ended, or is gone, with an event.
pub(super) fn may_end(event: &Event, task: TaskId) -> bool {
    let Change::Task { id, change, .. } = &event.change else { return false };
    match change {
        TaskChange::Succeeded | TaskChange::Failed(_) | TaskChange::Cancelled { .. } | TaskChange::Purged => {
            *id == task
        }
        TaskChange::Queued { .. }
        | TaskChange::Started { .. }
        | TaskChange::Progress(_)
        | TaskChange::CancelRequested
        | TaskChange::CancelAcknowledged
        | TaskChange::Snoozed { .. }
        | TaskChange::Retrying { .. }
        | TaskChange::Waiting { .. }
        | TaskChange::WorkStarted
        | TaskChange::Attached { .. }
        | TaskChange::Detached
        | TaskChange::CalledBack
        | TaskChange::Exporting => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::preferred;

    #[test]
    fn understands_the_preference() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", text.parse().unwrap());
            preferred(&headers)
        };
        assert_eq!(of("wait=5"), Some(5));
        assert_eq!(of("respond-async, Wait = \"7\"; x=y"), Some(7));
        assert_eq!(of("wait=3600"), Some(60));
        for text in ["wait", "wait=-1", "wait=soon", "waiting=5", ""] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(preferred(&HeaderMap::new()), None);
    }
}
