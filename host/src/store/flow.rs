//! What the store's verbs on flows take and answer: tasks that come after others, and who created whom.

use crate::task::{NewTask, State, Task, TaskId};
use crate::time::Timestamp;

/// Tasks that live tasks come after, each counted once a child, at most.
pub const MAX_EDGES: u64 = 4_000_000;

/// Tasks around a task that are counted, at most.
pub const MAX_COUNTED: usize = 1_000;
/// Tasks of one answer of [`super::Store::tree`], at most.
pub const MAX_TREE_NODES: usize = 1_000;
/// Levels below the first task of it, at most.
pub const MAX_TREE_DEPTH: usize = 32;

/// A task to be created that may come after others of the same call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedTask {
    /// The task.
    pub new: NewTask,
    /// Earlier tasks of the call that it comes after, besides [`NewTask::after`].
    pub earlier: Vec<usize>,
}

/// A task in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// What sort.
    pub kind: String,
    /// Its state by name.
    pub state: &'static str,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The code of its failure.
    pub code: Option<String>,
}

impl From<&Task> for Brief {
    fn from(task: &Task) -> Self {
        let (ended_at, code) = match &task.status.state {
            State::Succeeded { at, .. } | State::Cancelled { at } => (Some(*at), None),
            State::Failed { at, failure } => (Some(*at), Some(failure.code.clone())),
            State::Waiting | State::Queued { .. } | State::Running { .. } => (None, None),
        };
        Self { kind: task.spec.new.kind.clone(), state: task.status.state.name(), ended_at, code }
    }
}

/// A task that another one comes after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Which.
    pub id: TaskId,
    /// What it is; absent when it is forgotten.
    pub brief: Option<Brief>,
}

/// Who is around a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relations {
    /// Tasks that it comes after.
    pub parents: Vec<Parent>,
    /// Tasks that come after it, counted up to a bound.
    pub dependents: u32,
    /// Tasks that it created, counted up to a bound.
    pub children: u32,
}

/// A task of a tree, which created those below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// Which.
    pub id: TaskId,
    /// What it is; absent when it is forgotten.
    pub brief: Option<Brief>,
    /// Tasks that it comes after.
    pub after: Vec<TaskId>,
    /// Those that it created, oldest first.
    pub children: Vec<Self>,
    /// It created more than there are here.
    pub truncated: bool,
}
