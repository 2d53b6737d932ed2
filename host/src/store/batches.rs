//! What the store's verbs on batches take and answer.

use super::flow::LinkedTask;
use crate::task::{BatchId, BatchSpec, BatchTally, Callbacks, Idempotency, TaskId};

/// Batches that one page has at most.
pub const MAX_BATCH_PAGE: usize = 100;

/// A batch to be created. Its members are new: one whose unique or idempotency key is another task's is
/// refused.
#[derive(Clone, Debug, Default)]
pub struct NewBatch {
    /// For people.
    pub name: Option<String>,
    /// The members; a batch without any is complete at once.
    pub tasks: Vec<LinkedTask>,
    /// What follows.
    pub callbacks: Callbacks,
    /// Of the request.
    pub idempotency: Option<Idempotency>,
}

/// What became of a [`NewBatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedBatch {
    /// The batch, new or found.
    pub id: BatchId,
    /// Its members in the order of the request; empty when it was found.
    pub tasks: Vec<TaskId>,
    /// The same request has created it before.
    pub duplicate: bool,
}

/// A batch as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which.
    pub id: BatchId,
    /// What was asked for.
    pub spec: BatchSpec,
    /// How its members ended.
    pub tally: BatchTally,
    /// Members that wait for other tasks.
    pub waiting: u32,
    /// Members that wait for a permit.
    pub queued: u32,
    /// Members that run.
    pub running: u32,
}
