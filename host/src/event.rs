//! What the outside is told: one event a committed change, in commit order.

use serde::{Deserialize, Serialize};

use crate::task::{BatchId, Digest, Failure, Progress, TaskId};
use crate::time::Timestamp;

/// A change that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the order of commits; strictly increasing, starts at 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub change: Change,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A task.
    Task {
        /// Which.
        id: TaskId,
        /// What sort.
        kind: String,
        /// The number of its latest attempt; 0 before the first.
        attempt: u32,
        /// How.
        change: TaskChange,
    },
    /// A file of the media library.
    Media {
        /// Which.
        id: String,
        /// How.
        change: MediaChange,
    },
    /// A schedule.
    Schedule {
        /// Which.
        name: String,
        /// The nominal time.
        nominal: Timestamp,
        /// The firing was left out because the pass before had not ended.
        overlapped: bool,
    },
    /// A batch.
    Batch {
        /// Which.
        id: BatchId,
        /// How.
        change: BatchChange,
    },
}

/// What happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskChange {
    /// Created, put back by hand, or released by the end of the last parent.
    Queued {
        /// Not before.
        due_at: Timestamp,
    },
    /// An attempt was claimed.
    Started {
        /// The generation that runs it.
        digest: Digest,
    },
    /// The attempt reported.
    Progress(Progress),
    /// Somebody asked a running attempt to stop.
    CancelRequested,
    /// The attempt did not succeed; the task waits for its next one.
    Retrying {
        /// Not before.
        due_at: Timestamp,
        /// Why; absent when the attempt gave way and is not counted.
        failure: Option<Failure>,
    },
    /// Done.
    Succeeded,
    /// Given up.
    Failed(Failure),
    /// Stopped on request, or because a parent did not succeed.
    Cancelled,
    /// Created or put back by hand; waits for other tasks.
    Waiting {
        /// How many of them live.
        parents: u32,
    },
}

/// What happened to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchChange {
    /// Created with its members.
    Created,
    /// A member did not succeed, for the first time.
    Failing,
    /// Every member has succeeded, for the first time.
    Succeeded,
    /// Every member has ended, for the first time.
    Completed,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaChange {
    /// Uploaded or produced.
    Added,
    /// Hidden; restorable.
    Trashed,
    /// Visible again.
    Restored,
    /// Deleted for good.
    Purged,
}

impl Change {
    /// The event's stable name, such as `task.succeeded`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Task { change, .. } => match change {
                TaskChange::Queued { .. } => "task.queued",
                TaskChange::Started { .. } => "task.started",
                TaskChange::Progress(_) => "task.progress",
                TaskChange::CancelRequested => "task.cancel-requested",
                TaskChange::Retrying { .. } => "task.retrying",
                TaskChange::Succeeded => "task.succeeded",
                TaskChange::Failed(_) => "task.failed",
                TaskChange::Cancelled => "task.cancelled",
                TaskChange::Waiting { .. } => "task.waiting",
            },
            Self::Media { change, .. } => match change {
                MediaChange::Added => "media.added",
                MediaChange::Trashed => "media.trashed",
                MediaChange::Restored => "media.restored",
                MediaChange::Purged => "media.purged",
            },
            Self::Schedule { overlapped: false, .. } => "schedule.fired",
            Self::Schedule { overlapped: true, .. } => "schedule.overlapped",
            Self::Batch { change, .. } => match change {
                BatchChange::Created => "batch.created",
                BatchChange::Failing => "batch.failing",
                BatchChange::Succeeded => "batch.succeeded",
                BatchChange::Completed => "batch.completed",
            },
        }
    }
}
