//! What the store's verbs take and answer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use super::work::{AttachRequest, Attached, WorkRecord};
use crate::event::Event;
use crate::task::{AttemptReport, BatchId, BootId, Digest, NewTask, Outcome, Progress, Spec, Status, TaskId};
use crate::time::Timestamp;

/// The answer to one [`NewTask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The task, new or found.
    pub id: TaskId,
    /// No task was created: this one held the unique key (and may have become what was asked for),
    /// or was created by an earlier request with the same idempotency key.
    pub duplicate: bool,
}

/// How many attempts of one generation may start.
#[derive(Clone, Debug)]
pub struct GenerationRoom {
    /// The kinds that it executes.
    pub kinds: Vec<String>,
    /// Claims of these kinds together, at most.
    pub room: u32,
    /// The generation that will run them.
    pub digest: Digest,
}

/// What somebody else's task holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenKey {
    /// A unique key whose rule says that a second task is refused.
    Unique,
    /// An idempotency key, for another request.
    Idempotency,
}

/// Asks for due tasks.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Generations that can run something now; tasks of other kinds wait.
    pub rooms: Vec<GenerationRoom>,
    /// Claims in all, at most.
    pub limit: u32,
    /// The host start that takes the leases.
    pub boot: BootId,
    /// When the leases end without a heartbeat.
    pub lease_until: Timestamp,
}

/// One claimed attempt.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The task.
    pub id: TaskId,
    /// What was asked for.
    pub spec: Arc<Spec>,
    /// How it stands, running.
    pub status: Status,
}

/// The answer to a [`ClaimRequest`].
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Attempts to run.
    pub claimed: Vec<Claimed>,
    /// When the next task of the asked kinds is due, if one is queued for later. Absent also when
    /// more is due now than was asked for.
    pub next_due: Option<Timestamp>,
}

/// Proof of life of an attempt.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The task.
    pub id: TaskId,
    /// The attempt; another one is stale.
    pub attempt: u32,
    /// New end of the lease.
    pub lease_until: Timestamp,
    /// How far it has come; `None` keeps what is known.
    pub progress: Option<Progress>,
    /// The guest has seen that it is to stop.
    pub saw_cancel: bool,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The task.
    pub id: TaskId,
    /// The attempt; another one is stale.
    pub attempt: u32,
    /// What happened.
    pub outcome: Outcome,
    /// Spreads the retry, in `[0, 1)`.
    pub jitter: f64,
    /// What the attempt leaves besides.
    pub report: AttemptReport,
}

/// A dispatcher's answer.
#[derive(Clone, Debug)]
pub struct Dispatched {
    /// The schedule.
    pub schedule: String,
    /// The pass that asked; another one is stale.
    pub pass: u64,
    /// Tasks to create.
    pub tasks: Vec<NewTask>,
    /// Where the dispatcher goes on; absent starts over.
    pub cursor: Option<Vec<u8>>,
}

/// Selects tasks; filters are joined by "and".
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// State names ([`crate::task::STATUS_NAMES`]); empty means all.
    pub states: Vec<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this queue.
    pub queue: Option<String>,
    /// Only those that are around something.
    pub related: Option<Related>,
    /// Only tasks older than this id.
    pub before: Option<TaskId>,
    /// Answers at most.
    pub limit: u32,
}

impl TaskQuery {
    /// Whether a task is among those that are asked for, as far as it says itself.
    pub(super) fn selects(&self, spec: &Spec, status: &Status) -> bool {
        (self.states.is_empty() || self.states.iter().any(|name| name == status.state.name()))
            && self.kind.as_ref().is_none_or(|kind| *kind == spec.new.kind)
            && self.queue.as_ref().is_none_or(|queue| *queue == spec.new.queue)
    }
}

/// What tasks are around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Related {
    /// Those that this task created.
    CreatedBy(TaskId),
    /// Those that come after this task.
    After(TaskId),
    /// The members of this batch.
    MemberOf(BatchId),
}

/// A slice of a longer list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The slice.
    pub items: Vec<T>,
    /// There is more: where it goes on.
    pub next: Option<String>,
}

/// Live tasks of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindCount {
    /// The kind.
    pub kind: String,
    /// Due or not, without those that wait for other tasks.
    pub queued: u64,
    /// Under a lease.
    pub running: u64,
}

/// How long tasks that ended in one state are kept: what is beyond any of these is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Since they ended, in milliseconds.
    pub max_age_ms: u64,
    /// Tasks; the oldest go first.
    pub max_tasks: u64,
    /// Their inputs, outputs and histories together, in bytes; the oldest go first.
    pub max_bytes: u64,
}

impl Keep {
    /// Everything.
    pub const ALL: Self = Self { max_age_ms: u64::MAX, max_tasks: u64::MAX, max_bytes: u64::MAX };
}

/// What one slice of forgetting came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Tasks that are gone: what is kept of them elsewhere may go, too.
    pub forgotten: Vec<TaskId>,
    /// More is known to be beyond the bounds.
    pub more: bool,
}

/// How long ended tasks and old events are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Of tasks that succeeded.
    pub succeeded: Keep,
    /// Of those that failed: the dead-letter set.
    pub failed: Keep,
    /// Of those that were cancelled.
    pub cancelled: Keep,
    /// Events at most.
    pub max_events: u64,
}

impl Retention {
    /// The same for every state.
    pub fn uniform(keep: Keep, max_events: u64) -> Self {
        Self { succeeded: keep, failed: keep, cancelled: keep, max_events }
    }
}

/// Selects tasks of the dead-letter set; filters are joined by "and".
#[derive(Clone, Debug, Default)]
pub struct RedriveQuery {
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this queue.
    pub queue: Option<String>,
    /// Only those that failed with this code.
    pub code: Option<String>,
    /// Only those that failed at this instant or later.
    pub since: Option<Timestamp>,
    /// Only tasks newer than this id.
    pub after: Option<TaskId>,
    /// Tasks that are put back, at most.
    pub limit: u32,
}

/// What became of a [`RedriveQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Put back, oldest first.
    pub ids: Vec<TaskId>,
    /// Left alone, because their unique key is another one's.
    pub held: Vec<TaskId>,
    /// There may be more: where it goes on.
    pub next: Option<TaskId>,
}

/// Whether a file is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaStatus {
    /// Visible.
    Live,
    /// Hidden, restorable until it is purged.
    Trashed {
        /// Since when.
        at: Timestamp,
        /// May be purged from here on.
        purge_after: Timestamp,
    },
}

/// A file about to enter the library.
#[derive(Clone, Debug)]
pub struct NewMedia {
    /// Its opaque id.
    pub id: String,
    /// For people.
    pub name: String,
    /// MIME type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// The task that produced it.
    pub task: Option<TaskId>,
}

/// A file of the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRecord {
    /// Its opaque id.
    pub id: String,
    /// For people.
    pub name: String,
    /// MIME type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// The task that produced it.
    pub task: Option<TaskId>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Whether it is visible.
    pub status: MediaStatus,
}

impl MediaRecord {
    /// Whether it is trashed and its grace has passed.
    pub fn is_purgeable(&self, now: Timestamp) -> bool {
        matches!(self.status, MediaStatus::Trashed { purge_after, .. } if purge_after <= now)
    }
}

/// Selects media records.
#[derive(Clone, Debug, Default)]
pub struct MediaQuery {
    /// `Some(true)`: only trashed; `Some(false)`: only live.
    pub trashed: Option<bool>,
    /// Only trashed ones whose `purge_after` is at or before this instant.
    pub purgeable_at: Option<Timestamp>,
    /// Only ids greater than this.
    pub after: Option<String>,
    /// Answers at most.
    pub limit: u32,
}

/// A value that a plugin keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The value.
    #[serde(with = "crate::task::text::bytes")]
    pub value: Vec<u8>,
    /// Raised by every write of the namespace, so that a version is never used twice.
    pub version: u64,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// What a write of plugin state expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// No entry.
    Absent,
    /// An entry of this version.
    Version(u64),
}

/// A write of plugin state.
#[derive(Clone, Debug)]
pub struct StateWrite {
    /// The namespace.
    pub plugin: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Lives until.
    pub expires_at: Option<Timestamp>,
    /// Condition.
    pub expected: Expected,
    /// Bytes of keys and values that the namespace may hold.
    pub quota_bytes: u64,
}

/// The answer to a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// Written under this version.
    Stored(u64),
    /// The condition did not hold: this is there instead.
    Stale(Option<StateEntry>),
}

/// A slice of the event sequence.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Event>,
    /// The sequence number of the latest durable event; 0 when there is none.
    pub last: u64,
    /// Events between the asked position and the first one here are no longer kept.
    pub gap: bool,
}
