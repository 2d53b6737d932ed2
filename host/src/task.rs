//! A task and what may happen to it: plain data and pure transitions.
//!
//! Everything here derives its persisted form; a change of a field is a change of the store's
//! record version (see `store/sled/codec`). The HTTP form lives in `api`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
/// Attempts that a task remembers; the oldest are forgotten first.
pub const HISTORY_LEN: usize = 16;
/// Bytes of a kind's name.
pub const MAX_KIND_LEN: usize = 128;

/// Identifies a task. Ids are UUID version 7, so they sort by the time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(u128);

impl TaskId {
    /// A new id; ids made by one process are strictly increasing.
    pub fn generate() -> Self {
        Self(Uuid::now_v7().as_u128())
    }

    /// The id as a number whose order is the order of creation.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The inverse of [`Self::as_u128`].
    pub fn from_u128(value: u128) -> Self {
        Self(value)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).as_hyphenated().fmt(f)
    }
}

/// Text that is not a task id.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a task id is a UUID such as 01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90")]
pub struct InvalidTaskId;

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the canonical form: a second spelling would be a second name for one task.
        let id = Uuid::try_parse(text).map_err(|_| InvalidTaskId)?;
        let id = Self(id.as_u128());
        if id.to_string() == text { Ok(id) } else { Err(InvalidTaskId) }
    }
}

/// SHA-256 of a component file: the identity of a plugin's generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Identifies one start of a host. Random, so that a lease of an older start is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootId(pub u64);

/// Who created a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A client, over HTTP.
    Client,
    /// The dispatcher or the enqueue action of this schedule.
    Schedule(String),
    /// An executor, through its outbox.
    Task(TaskId),
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
    /// While a live task holds this key, a second one is not created.
    pub unique_key: Option<String>,
    /// Free-form labels.
    pub attributes: Vec<(String, String)>,
    /// Who creates it.
    pub source: Source,
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
            unique_key: None,
            attributes: Vec::new(),
            source: Source::Client,
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
}

impl State {
    /// Whether nothing follows by itself.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Queued { .. } | Self::Running { .. } => false,
            Self::Succeeded { .. } | Self::Failed { .. } | Self::Cancelled { .. } => true,
        }
    }

    /// The state's stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Running { .. } => "running",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptEnd {
    /// The guest returned an output.
    Succeeded,
    /// The guest or the host says that it failed.
    Failed(Failure),
    /// The guest or the host went down.
    Crashed(Failure),
    /// Stopped on request.
    Cancelled,
    /// Gave way at a checkpoint, or the host shut down: not counted.
    Returned,
}

/// One run of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The attempt number: 1 is the first claim.
    pub number: u32,
    /// The generation that ran it (invariant I7).
    pub digest: Digest,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub end: AttemptEnd,
}

/// What changes while a task lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where it stands.
    pub state: State,
    /// Number of the latest claim; 0 before the first. Raised by every claim (fencing, invariant I3).
    pub attempt: u32,
    /// Attempts that failed and were counted.
    pub failures: u32,
    /// Attempts that took the guest or the host down.
    pub crashes: u32,
    /// Somebody asked to stop it.
    pub cancel_requested: bool,
    /// The last report of the attempt that runs or ran last.
    pub progress: Option<Progress>,
    /// The latest attempts, oldest first, at most [`HISTORY_LEN`].
    pub history: Vec<AttemptRecord>,
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

/// What happened in an attempt. What follows is decided by [`Status::settle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest returned an output.
    Succeeded {
        /// JSON text.
        output: String,
        /// Tasks that the guest put into its outbox: created in the same commit.
        outbox: Vec<NewTask>,
    },
    /// Failed; may be tried again.
    Retry {
        /// Why.
        failure: Failure,
        /// The guest's own wish for the delay, in milliseconds.
        after_ms: Option<u64>,
    },
    /// Failed for good (`fatal`, `invalid-input`).
    Fatal(Failure),
    /// The guest trapped, ran out of memory or broke the contract.
    Crashed(Failure),
    /// Stopped because cancellation was asked for.
    Cancelled,
    /// Gave way because the host asked: requeued at once, not counted.
    Yielded,
    /// The host shut down: requeued at once, not counted (invariant I14).
    Interrupted,
}

/// The lease that a claim takes.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The host start that takes it.
    pub boot: BootId,
    /// When it ends without a heartbeat.
    pub until: Timestamp,
    /// The generation that will run the attempt.
    pub digest: Digest,
}

/// A transition that does not apply: the task is elsewhere by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attempt is stale: the task has moved on")]
pub struct Stale;

impl Status {
    /// A task just created.
    pub fn queued(due_at: Timestamp) -> Self {
        Self {
            state: State::Queued { due_at },
            attempt: 0,
            failures: 0,
            crashes: 0,
            cancel_requested: false,
            progress: None,
            history: Vec::new(),
        }
    }

    /// Queued to running: raises the attempt number.
    pub fn claim(&mut self, lease: Lease, now: Timestamp) -> Result<u32, Stale> {
        let State::Queued { due_at } = self.state else { return Err(Stale) };
        if due_at > now {
            return Err(Stale);
        }
        self.attempt = self.attempt.saturating_add(1);
        self.progress = None;
        self.state =
            State::Running { boot: lease.boot, lease_until: lease.until, started_at: now, digest: lease.digest };
        Ok(self.attempt)
    }

    /// Proof of life of attempt `attempt`: moves the end of its lease and keeps its progress.
    pub fn beat(&mut self, attempt: u32, until: Timestamp, progress: Option<Progress>) -> Result<(), Stale> {
        let current = self.attempt;
        let State::Running { lease_until, .. } = &mut self.state else { return Err(Stale) };
        if current != attempt {
            return Err(Stale);
        }
        *lease_until = until;
        if progress.is_some() {
            self.progress = progress;
        }
        Ok(())
    }

    /// Somebody asks to stop the task: a queued one ends now, a running one is asked.
    ///
    /// Returns whether anything changed; a task that has ended is left alone.
    pub fn request_cancel(&mut self, now: Timestamp) -> bool {
        match self.state {
            State::Queued { .. } => {
                self.cancel_requested = true;
                self.state = State::Cancelled { at: now };
                true
            }
            State::Running { .. } => !std::mem::replace(&mut self.cancel_requested, true),
            State::Succeeded { .. } | State::Failed { .. } | State::Cancelled { .. } => false,
        }
    }

    /// Puts a task that ended back into the queue with a fresh budget; the attempt number keeps rising.
    pub fn redrive(&mut self, now: Timestamp) -> bool {
        if !self.state.is_terminal() {
            return false;
        }
        self.state = State::Queued { due_at: now };
        self.failures = 0;
        self.crashes = 0;
        self.cancel_requested = false;
        self.progress = None;
        true
    }

    /// The end of attempt `attempt`: decides what follows. Stale attempts change nothing (invariant I3).
    ///
    /// `jitter` in `[0, 1)` spreads the retry (see [`Backoff::delay_ms`]).
    pub fn settle(
        &mut self,
        spec: &Spec,
        attempt: u32,
        outcome: &Outcome,
        (now, jitter): (Timestamp, f64),
    ) -> Result<(), Stale> {
        let State::Running { started_at, digest, .. } = self.state else { return Err(Stale) };
        if self.attempt != attempt {
            return Err(Stale);
        }
        let end = match outcome {
            Outcome::Succeeded { .. } => AttemptEnd::Succeeded,
            Outcome::Retry { failure, .. } | Outcome::Fatal(failure) => AttemptEnd::Failed(failure.clone()),
            Outcome::Crashed(failure) => AttemptEnd::Crashed(failure.clone()),
            Outcome::Cancelled => AttemptEnd::Cancelled,
            Outcome::Yielded | Outcome::Interrupted => AttemptEnd::Returned,
        };
        if self.history.len() >= HISTORY_LEN {
            self.history.remove(0);
        }
        self.history.push(AttemptRecord { number: attempt, digest, started_at, ended_at: now, end });
        self.state = self.follow(&spec.new, outcome, now, jitter);
        Ok(())
    }

    fn follow(&mut self, new: &NewTask, outcome: &Outcome, now: Timestamp, jitter: f64) -> State {
        match outcome {
            // A result that arrived in spite of a cancel request is kept: the work is done.
            Outcome::Succeeded { output, .. } => State::Succeeded { at: now, output: output.clone() },
            Outcome::Cancelled => State::Cancelled { at: now },
            Outcome::Fatal(failure) => State::Failed { at: now, failure: failure.clone() },
            Outcome::Yielded | Outcome::Interrupted if self.cancel_requested => State::Cancelled { at: now },
            Outcome::Yielded | Outcome::Interrupted => State::Queued { due_at: now },
            Outcome::Retry { failure, after_ms } => {
                self.failures = self.failures.saturating_add(1);
                self.retry_or_give_up(new, failure, (now, jitter), *after_ms)
            }
            Outcome::Crashed(failure) => {
                self.crashes = self.crashes.saturating_add(1);
                self.retry_or_give_up(new, failure, (now, jitter), None)
            }
        }
    }

    fn retry_or_give_up(
        &self,
        new: &NewTask,
        failure: &Failure,
        (now, jitter): (Timestamp, f64),
        after_ms: Option<u64>,
    ) -> State {
        if self.cancel_requested {
            return State::Cancelled { at: now };
        }
        if self.crashes >= MAX_CRASHES {
            let message = format!("parked after {} crashes; the last: {}", self.crashes, failure.message);
            let failure = Failure { code: "poison".to_owned(), message, details: failure.details.clone() };
            return State::Failed { at: now, failure };
        }
        let tried = self.failures.saturating_add(self.crashes);
        if tried >= new.max_attempts {
            return State::Failed { at: now, failure: failure.clone() };
        }
        let delay_ms = after_ms.unwrap_or_else(|| new.backoff.delay_ms(tried, jitter));
        State::Queued { due_at: now.plus_millis(delay_ms) }
    }
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
