//! A task and what may happen to it: plain data and pure transitions.
//!
//! Everything here derives its persisted form; a change of a field is a change of the store's
//! record version (see `store/sled/codec`), and of the export's (`store/dump`). The HTTP form lives in `api`.

mod attempt;
mod batch;
pub mod flow;
mod id;
pub mod rules;
mod status;
pub(crate) mod text;
mod unique;
pub mod urgency;
mod work;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::attempt::{AddedFile, AttemptEnd, AttemptRecord, AttemptReport, Left, LogSize, Outcome, StoppedBy};
pub use self::batch::{BatchSpec, BatchTally, Callbacks, MAX_BATCH_NAME_LEN, Milestone};
pub use self::flow::{MAX_PARENTS, OnParentFailure, PARENT_FAILED};
pub use self::id::{BatchId, BootId, Digest, InvalidBatchId, InvalidTaskId, TaskId};
pub use self::status::{Cancel, Lease, POISON, Reported, Stale, Status};
pub use self::unique::{BadPaths, Fate, Holding, STATE_NAMES, StateSet, UniqueMode, UniqueRule, key_of_paths};
pub use self::work::{CALLBACK_PACE_MS, MAX_HANDLE_BYTES, Work, WorkPhase, Works};
use crate::retry::Backoff;
use crate::time::Timestamp;

/// Attempts that a task gets when its creator does not say.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 5;
/// Priority of a task when its creator does not say (0 to 9, higher runs first).
pub const DEFAULT_PRIORITY: u8 = 4;
/// The highest priority.
pub const MAX_PRIORITY: u8 = 9;
/// A task whose attempts took the guest or the host down this often is parked as poison.
pub const MAX_CRASHES: u32 = 3;
/// A task may be put off by its guest this often in a row; the next time is a failed attempt.
pub const MAX_SNOOZES: u32 = 10_000;
/// The shortest time, in milliseconds, for which a guest puts its task off: less is rounded up.
pub const MIN_SNOOZE_MS: u64 = 1_000;
/// Attempts that a task remembers; the oldest are forgotten first.
pub const HISTORY_LEN: usize = 16;
/// Bytes of a kind's name.
pub const MAX_KIND_LEN: usize = 128;
/// The queue of a task whose creator does not say.
pub const DEFAULT_QUEUE: &str = "default";
/// Bytes of a queue's name.
pub const MAX_QUEUE_LEN: usize = 64;
/// Idempotency keys that a task remembers; it has several when it was replaced.
pub const MAX_IDEMPOTENCY_KEYS: usize = 8;

/// What a task may be called by [`Status::name`], in the order of its life.
pub const STATUS_NAMES: [&str; 7] = ["waiting", "queued", "running", "cancelling", "succeeded", "failed", "cancelled"];

/// Who created a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A client, over HTTP.
    Client,
    /// The dispatcher or the enqueue action of this schedule.
    Schedule(String),
    /// An executor, through its outbox: the task's parent in the tree.
    Task(TaskId),
    /// A batch, as one of its callbacks.
    Batch(BatchId),
}

/// Makes a repeated request harmless: a second one with the same key is answered with the first
/// one's task, as long as that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// Of the request: one with the same key and another fingerprint is a mistake.
    pub fingerprint: [u8; 16],
}

/// A task to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTask {
    /// What sort of task.
    pub kind: String,
    /// JSON text, already checked against the kind's schema.
    pub input: String,
    /// 0 to [`MAX_PRIORITY`], higher runs first.
    pub priority: u8,
    /// Failures after which the task is given up; at least 1.
    pub max_attempts: u32,
    /// Wall time that one attempt may take, in milliseconds; the plugin's limit when absent.
    pub timeout_ms: Option<u64>,
    /// Delay between attempts.
    pub backoff: Backoff,
    /// Not before this instant; at once when absent.
    pub run_at: Option<Timestamp>,
    /// A task whose first attempt has not begun by then fails as `expired`.
    pub deadline: Option<Timestamp>,
    /// The lane that it waits in.
    pub queue: String,
    /// While a task holds this key, a second one is subject to its rule.
    pub unique_key: Option<String>,
    /// How the key is held, and what becomes of the task when another one holds it.
    pub unique: UniqueRule,
    /// Keys of the requests that made it what it is, the latest last; at most [`MAX_IDEMPOTENCY_KEYS`].
    pub idempotency: Vec<Idempotency>,
    /// Free-form labels.
    pub attributes: Vec<(String, String)>,
    /// Who creates it.
    pub source: Source,
    /// Tasks that end before this one is queued; each once, at most [`MAX_PARENTS`].
    pub after: Vec<TaskId>,
    /// What becomes of it when one of those does not succeed.
    pub on_parent_failure: OnParentFailure,
    /// The batch that it is a member of.
    pub batch: Option<BatchId>,
}

impl NewTask {
    /// A task of `kind` with JSON `input` and every default.
    pub fn new(kind: impl Into<String>, input: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            input: input.into(),
            priority: DEFAULT_PRIORITY,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            timeout_ms: None,
            backoff: Backoff::default(),
            run_at: None,
            deadline: None,
            queue: DEFAULT_QUEUE.to_owned(),
            unique_key: None,
            unique: UniqueRule::default(),
            idempotency: Vec::new(),
            attributes: Vec::new(),
            source: Source::Client,
            after: Vec::new(),
            on_parent_failure: OnParentFailure::default(),
            batch: None,
        }
    }

    /// When a task that is created or released at `now` is due. Never in the past: it would overtake those that
    /// wait already.
    pub fn first_due(&self, now: Timestamp) -> Timestamp {
        let due_at = self.run_at.map_or(now, |run_at| run_at.max(now));
        match self.unique.mode {
            UniqueMode::Debounce(window_ms) if self.unique_key.is_some() => due_at.max(now.plus_millis(window_ms)),
            UniqueMode::Debounce(_)
            | UniqueMode::Existing
            | UniqueMode::Reject
            | UniqueMode::Replace
            | UniqueMode::Throttle(_)
            | UniqueMode::KeepLast => due_at,
        }
    }
}

/// What was asked for: fixed when the task is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The request.
    pub new: NewTask,
    /// When the task was created.
    pub created_at: Timestamp,
    /// The number of the event that told so: its history begins here.
    pub first_event: u64,
}

/// How far an attempt has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, when known.
    pub total: Option<u64>,
    /// What is counted: `percent`, `bytes`, `frames`.
    pub unit: String,
    /// A word for people.
    pub message: Option<String>,
}

/// Why an attempt or a task did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable kebab-case, fit for a metric label.
    pub code: String,
    /// For people.
    pub message: String,
    /// JSON text.
    pub details: Option<String>,
}

impl Failure {
    /// A failure without details.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: None }
    }
}

/// Where a task stands. Exactly one of these, always (invariant I1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waits for `due_at` and a free permit.
    Queued {
        /// Not before.
        due_at: Timestamp,
    },
    /// An attempt runs under a lease.
    Running {
        /// The host start that holds the lease.
        boot: BootId,
        /// Without a heartbeat the lease ends here.
        lease_until: Timestamp,
        /// When the attempt was claimed.
        started_at: Timestamp,
        /// The generation that runs it.
        digest: Digest,
    },
    /// Done.
    Succeeded {
        /// When.
        at: Timestamp,
        /// JSON text.
        output: String,
    },
    /// Given up: the dead-letter set.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        failure: Failure,
    },
    /// Stopped because somebody asked.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// Waits for the end of other tasks.
    Waiting,
}

impl State {
    /// Whether nothing follows by itself.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Waiting | Self::Queued { .. } | Self::Running { .. } => false,
            Self::Succeeded { .. } | Self::Failed { .. } | Self::Cancelled { .. } => true,
        }
    }

    /// When it ended, if it has.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting | Self::Queued { .. } | Self::Running { .. } => None,
            Self::Succeeded { at, .. } | Self::Failed { at, .. } | Self::Cancelled { at } => Some(*at),
        }
    }

    /// The state's stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued { .. } => "queued",
            Self::Running { .. } => "running",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

/// A task as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// What was asked for.
    pub spec: Arc<Spec>,
    /// How it stands.
    pub status: Status,
}

/// Whether `queue` may name a queue: lower-case letters, digits, `-`, `_` and `.`.
pub fn is_valid_queue(queue: &str) -> bool {
    (1..=MAX_QUEUE_LEN).contains(&queue.len())
        && queue.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

/// Whether `kind` may name a sort of task: lower-case words joined by dots, such as `video.cut`.
pub fn is_valid_kind(kind: &str) -> bool {
    !kind.is_empty()
        && kind.len() <= MAX_KIND_LEN
        && kind.split('.').all(|word| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        })
}
