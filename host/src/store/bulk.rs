//! Verbs on many tasks at once: which ones, and what became of them.

use crate::task::{Spec, Status, TaskId};
use crate::time::Timestamp;

/// Selects tasks, oldest first; filters are joined by "and".
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Names of states ([`crate::task::STATUS_NAMES`]); empty means all that the verb can do something about.
    pub states: Vec<String>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this queue.
    pub queue: Option<String>,
    /// Only tasks with all of these attributes.
    pub attributes: Vec<(String, String)>,
    /// Only tasks that have ended before this instant.
    pub ended_before: Option<Timestamp>,
    /// Only tasks newer than this id.
    pub after: Option<TaskId>,
    /// Tasks at most.
    pub limit: u32,
}

impl TaskFilter {
    /// Whether a task that stands like this is meant; `after` and `limit` are the store's to see to.
    pub fn accepts_status(&self, status: &Status) -> bool {
        let has_ended = |before| status.state.ended_at().is_some_and(|at| at < before);
        (self.states.is_empty() || self.states.iter().any(|name| name == status.name()))
            && self.ended_before.is_none_or(has_ended)
    }

    /// Whether a task that was asked for like this is meant.
    pub fn accepts_spec(&self, spec: &Spec) -> bool {
        let new = &spec.new;
        self.kind.as_ref().is_none_or(|kind| *kind == new.kind)
            && self.queue.as_ref().is_none_or(|queue| *queue == new.queue)
            && self.attributes.iter().all(|wanted| new.attributes.contains(wanted))
    }
}

/// What became of a request to cancel many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CancelledMany {
    /// Ended at once, oldest first.
    pub ended: Vec<TaskId>,
    /// Running: asked to stop, now or before.
    pub asked: Vec<TaskId>,
    /// There may be more: where it goes on.
    pub next: Option<TaskId>,
}

/// What became of a request to purge many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgedMany {
    /// Forgotten, oldest first.
    pub ids: Vec<TaskId>,
    /// There may be more: where it goes on.
    pub next: Option<TaskId>,
}
