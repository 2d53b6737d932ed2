//! Verbs on many tasks, a slice at a time, and forgetting on request.

use std::ops::Bound;

use super::core::{Core, MAX_SCAN, Verdict};
use super::keys;
use super::tasks::Found;
use super::trees::Table;
use crate::event::TaskChange;
use crate::store::bulk::{CancelledMany, PurgedMany, TaskFilter};
use crate::store::{Obstacle, StoreError};
use crate::task::{Status, TaskId};
use crate::time::Timestamp;

/// Tasks that one call changes at most.
const MAX_CHANGED: usize = 1_000;

impl Core {
    /// See [`crate::store::Store::cancel_matching`].
    pub(super) fn cancel_matching(&mut self, filter: &TaskFilter, now: Timestamp) -> Verdict<CancelledMany> {
        let (ids, next) = self.matching(&self.trees.live, filter)?;
        let mut many = CancelledMany { next, ..CancelledMany::default() };
        for id in ids {
            let task = self.request_cancel(id, now)?;
            let list = if task.status.state.is_terminal() { &mut many.ended } else { &mut many.asked };
            list.push(id);
        }
        Ok(many)
    }

    /// See [`crate::store::Store::purge`].
    pub(super) fn purge(&mut self, id: TaskId, now: Timestamp) -> Verdict<()> {
        let task = match self.find(id)?.ok_or(StoreError::NotFound)? {
            Found::Live(task) => {
                let text =
                    format!("the task is {}: only an ended one can be purged; cancel it first", task.status.name());
                return Err(Obstacle::TaskLives.because(text).into());
            }
            Found::Ended(task) => task,
        };
        if self.flow.is_needed(id) {
            let text = "a task that comes after it has not ended: its result is needed until then";
            return Err(Obstacle::TaskNeeded.because(text).into());
        }
        self.forget(id, now)?;
        self.emit_task(now, id, (&task.spec, task.status.attempt), TaskChange::Purged);
        Ok(())
    }

    /// See [`crate::store::Store::purge_matching`].
    pub(super) fn purge_matching(&mut self, filter: &TaskFilter, now: Timestamp) -> Verdict<PurgedMany> {
        let (mut ids, next) = self.matching(&self.trees.done, filter)?;
        ids.retain(|id| !self.flow.is_needed(*id));
        for id in &ids {
            self.purge(*id, now)?;
        }
        Ok(PurgedMany { ids, next })
    }

    /// Tasks of one tree that a filter selects, oldest first, and where the search goes on.
    fn matching(&self, tree: &Table<Status>, filter: &TaskFilter) -> Verdict<(Vec<TaskId>, Option<TaskId>)> {
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX).clamp(1, MAX_CHANGED);
        let from = filter.after.map(keys::task);
        let from = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let (mut ids, mut latest) = (Vec::new(), None);
        for (examined, record) in tree.range(from, Bound::Unbounded).enumerate() {
            if ids.len() >= limit || examined >= MAX_SCAN {
                return Ok((ids, latest));
            }
            let (key, value) = record?;
            let Some(id) = keys::task_of(&key) else { continue };
            latest = Some(id);
            if filter.accepts_status(&tree.decode(&value)?) && filter.accepts_spec(&self.trees.spec(id)?) {
                ids.push(id);
            }
        }
        Ok((ids, None))
    }
}
