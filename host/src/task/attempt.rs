//! One run of a task: what happened in it, and what is remembered of it.

use serde::{Deserialize, Serialize};

use super::{Digest, Failure, NewTask, Progress};
use crate::time::Timestamp;

/// What happened in an attempt. What follows is decided by [`super::Status::settle`].
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
    /// The guest says: not now, again after so many milliseconds. Not counted, within
    /// [`super::MAX_SNOOZES`].
    Snoozed {
        /// At least [`super::MIN_SNOOZE_MS`] are waited.
        after_ms: u64,
    },
    /// The guest stopped because cancellation was asked for.
    Cancelled,
    /// Cancellation was asked for and the guest did not stop in time: the host stopped it.
    Killed,
    /// Gave way because the host asked: requeued at once, not counted.
    Yielded,
    /// The host shut down: requeued at once, not counted (invariant I14).
    Interrupted,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptEnd {
    /// The guest returned an output.
    Succeeded,
    /// The guest or the host says that it failed.
    Failed(Failure),
    /// The guest or the host went down.
    Crashed(Failure),
    /// The guest stopped on request.
    Cancelled,
    /// The host stopped it: it had been asked to and did not.
    Killed,
    /// Gave way at a checkpoint, or the host shut down: not counted.
    Returned,
    /// Put off by the guest: not counted. Several in a row are one record, that of the last.
    Snoozed {
        /// How many in a row.
        times: u32,
    },
}

/// Who brought a cancelled task to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoppedBy {
    /// Nobody had to: it waited in its queue.
    Queue,
    /// Its guest, which stopped by itself.
    Guest,
    /// The host, after the grace.
    Host,
}

/// What an attempt has logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSize {
    /// Lines that were kept.
    pub lines: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Lines beyond the bound.
    pub dropped_lines: u64,
    /// Bytes beyond the bounds, of dropped lines and of those that were cut.
    pub dropped_bytes: u64,
}

/// What an attempt leaves beside its outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptReport {
    /// Its last progress, unless it is known already.
    pub progress: Option<Progress>,
    /// What it logged; `None` when nobody knows.
    pub log: Option<LogSize>,
    /// The generation that ended it, when that may be another one than began it.
    pub digest: Option<Digest>,
    /// What may go on outside.
    pub left: Left,
    /// Files that it adds to the library when it succeeds: they are durable, and get their records with its end.
    pub files: Vec<AddedFile>,
}

/// Outside work that an attempt leaves to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Left {
    /// None.
    #[default]
    Nothing,
    /// Its work could not be stopped, or nobody can look after it any more: it may go on.
    Abandoned,
    /// Its start has not answered: the work may have begun. Whether it did, the next start says.
    Unanswered,
}

/// A file that an attempt adds to the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedFile {
    /// Its opaque id.
    pub id: String,
    /// For people.
    pub name: String,
    /// MIME type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
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
    /// What it logged; `None` when the host went down before it was counted.
    pub log: Option<LogSize>,
}
