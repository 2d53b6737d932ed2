//! A batch as JSON.

use serde::Serialize;

use crate::api::tasks::wire::{Rfc3339, Text};
use crate::store::Batch;
use crate::task::{BatchId, NewTask, TaskId};

/// A task that follows, and which one it became.
#[derive(Debug, Serialize)]
struct CallbackWire<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Text<TaskId>>,
}

impl<'a> CallbackWire<'a> {
    fn new(new: Option<&'a NewTask>, task: Option<TaskId>) -> Option<Self> {
        Some(Self { kind: &new?.kind, task: task.map(Text) })
    }
}

/// Members by how they stand.
#[derive(Debug, Serialize)]
struct CountsWire {
    waiting: u32,
    queued: u32,
    running: u32,
    succeeded: u32,
    failed: u32,
    cancelled: u32,
}

/// A batch as it stands.
#[derive(Debug, Serialize)]
pub(super) struct BatchWire<'a> {
    id: Text<BatchId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// `running` until every member has ended; then `succeeded` when all of them have, else `failed`.
    state: &'static str,
    members: u32,
    counts: CountsWire,
    created_at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_success: Option<CallbackWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_failure: Option<CallbackWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_complete: Option<CallbackWire<'a>>,
}

impl<'a> From<&'a Batch> for BatchWire<'a> {
    fn from(batch: &'a Batch) -> Self {
        let Batch { id, spec, tally, waiting, queued, running } = batch;
        let state = if tally.ended() < spec.members {
            "running"
        } else if tally.succeeded == spec.members {
            "succeeded"
        } else {
            "failed"
        };
        Self {
            id: Text(*id),
            name: spec.name.as_deref(),
            state,
            members: spec.members,
            counts: CountsWire {
                waiting: *waiting,
                queued: *queued,
                running: *running,
                succeeded: tally.succeeded,
                failed: tally.failed,
                cancelled: tally.cancelled,
            },
            created_at: Rfc3339(spec.created_at),
            failing_at: tally.failing_at.map(Rfc3339),
            succeeded_at: tally.succeeded_at.map(Rfc3339),
            completed_at: tally.completed_at.map(Rfc3339),
            on_success: CallbackWire::new(spec.callbacks.on_success.as_ref(), tally.on_success),
            on_failure: CallbackWire::new(spec.callbacks.on_failure.as_ref(), tally.on_failure),
            on_complete: CallbackWire::new(spec.callbacks.on_complete.as_ref(), tally.on_complete),
        }
    }
}
