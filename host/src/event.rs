//! What the outside is told: one event a committed change, in commit order.

mod name;

use serde::{Deserialize, Serialize};

pub use self::name::TYPES;

use crate::task::{AttemptEnd, BatchId, Digest, Failure, Progress, State, Status, StoppedBy, TaskId};
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
        /// The lane that it waits in.
        queue: String,
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
    /// A nominal time of a schedule.
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
    /// A schedule as such.
    ScheduleState {
        /// Which.
        name: String,
        /// Of its declaration, after the change; of a deleted one, the last.
        revision: u64,
        /// How.
        change: ScheduleChange,
    },
    /// A queue.
    Queue {
        /// Which.
        name: String,
        /// How.
        change: PauseChange,
    },
    /// A kind.
    Kind {
        /// Which.
        name: String,
        /// How.
        change: PauseChange,
    },
    /// A limit.
    Limit {
        /// Which.
        name: String,
        /// After the change; of a deleted one, the last.
        revision: u64,
        /// How.
        change: LimitChange,
    },
    /// The host is shared by another key, or by other weights.
    Shares {
        /// The key; `None` when it is no longer shared.
        key: Option<String>,
    },
    /// A plugin.
    Plugin(PluginNews),
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
    /// The guest has seen that it is to stop.
    CancelAcknowledged,
    /// The guest put the task off: not counted as an attempt.
    Snoozed {
        /// Not before.
        due_at: Timestamp,
    },
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
    Cancelled {
        /// Who brought it to its end.
        by: StoppedBy,
    },
    /// Forgotten on request, with its log and its checkpoint. What is forgotten by age, number or
    /// bytes has no event.
    Purged,
    /// Created or put back by hand; waits for other tasks.
    Waiting {
        /// How many of them live.
        parents: u32,
    },
    /// The attempt has started work outside of the host, and its handle is kept.
    WorkStarted,
    /// Outside work is looked after again: the attempt goes on.
    Attached {
        /// The generation that looks after it.
        digest: Digest,
    },
    /// Nobody looks after the attempt's outside work for now.
    Detached,
    /// Somebody outside has news about the attempt's work.
    CalledBack,
    /// Outside work has succeeded; its results are being brought home.
    Exporting,
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

/// What happened to a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleChange {
    /// It is new.
    Declared,
    /// It was declared anew, otherwise.
    Changed,
    /// It is gone; its tasks stay.
    Deleted,
    /// It fires no more, by hand or after failures.
    Paused {
        /// For people.
        reason: String,
    },
    /// It fires again.
    Resumed {
        /// Nominal times that passed meanwhile.
        skipped: u64,
    },
    /// Somebody asked for a firing.
    Triggered,
    /// Nominal times were made up for.
    Backfilled {
        /// Tasks that were created.
        tasks: u64,
    },
    /// Nominal times passed while the host was down or late, and were left out.
    Missed {
        /// So many.
        times: u64,
    },
}

/// What happened to a queue or a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseChange {
    /// Its tasks begin no more.
    Paused {
        /// For people.
        reason: String,
    },
    /// They begin again.
    Resumed,
}

/// What happened to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitChange {
    /// It is new.
    Declared,
    /// It says something else.
    Changed,
    /// It is gone.
    Deleted,
}

/// A plugin to which something has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginNews {
    /// Which.
    pub name: String,
    /// The component that it is about; absent when that could not be read.
    pub digest: Option<Digest>,
    /// How it changed.
    pub change: PluginChange,
}

/// What happened to a plugin. It changes outside of the store: the event follows the change, and a crash between the two
/// costs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginChange {
    /// A generation has gone live.
    Live {
        /// Why.
        cause: PluginCause,
    },
    /// The file in the folder does not go live; what was live stays so.
    Refused {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Nothing runs any more on a generation that was replaced or removed.
    Drained,
    /// It is gone from the folder.
    Removed,
}

/// Why a generation has gone live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginCause {
    /// A file in the folder was new or had changed.
    File,
    /// It was uploaded.
    Upload,
    /// Somebody went back to it.
    Rollback,
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

impl PluginCause {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Upload => "upload",
            Self::Rollback => "rollback",
        }
    }
}

impl TaskChange {
    /// What the end of an attempt comes to; `None` for a task that runs.
    pub fn of_end(status: &Status) -> Option<Self> {
        let last = status.history.last().map(|attempt| &attempt.end);
        Some(match &status.state {
            State::Waiting | State::Running { .. } => return None,
            State::Queued { due_at } => match last {
                Some(AttemptEnd::Snoozed { .. }) => Self::Snoozed { due_at: *due_at },
                Some(AttemptEnd::Failed(failure) | AttemptEnd::Crashed(failure)) => {
                    Self::Retrying { due_at: *due_at, failure: Some(failure.clone()) }
                }
                Some(AttemptEnd::Succeeded | AttemptEnd::Cancelled | AttemptEnd::Killed | AttemptEnd::Returned)
                | None => Self::Retrying { due_at: *due_at, failure: None },
            },
            State::Succeeded { .. } => Self::Succeeded,
            State::Failed { failure, .. } => Self::Failed(failure.clone()),
            State::Cancelled { .. } => Self::cancelled(status),
        })
    }

    /// The end of a task that was cancelled.
    pub fn cancelled(status: &Status) -> Self {
        Self::Cancelled { by: status.cancel.and_then(|cancel| cancel.stopped_by).unwrap_or(StoppedBy::Queue) }
    }
}
