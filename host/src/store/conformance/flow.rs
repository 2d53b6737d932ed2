//! Flows of a plain store: who waits for whom, spelled out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::plain::Model;
use crate::event::TaskChange;
use crate::store::{Parent, Relations};
use crate::task::{Source, Spec, State, TaskId};
use crate::time::Timestamp;

/// What a plain store knows of flows.
#[derive(Clone, Default)]
pub(super) struct Flow {
    /// Of each waiting task, the parents whose end it was not told.
    open: BTreeMap<TaskId, BTreeSet<TaskId>>,
    /// Tasks that have ended or live again, and whose children do not know: all of them, or this one.
    touched: VecDeque<(TaskId, Option<TaskId>)>,
}

impl Flow {
    pub(super) fn forget(&mut self, id: TaskId) {
        self.open.remove(&id);
    }
}

impl Model {
    /// The parent whose end ends this task.
    fn lost(&self, id: TaskId) -> Option<TaskId> {
        let new = &self.tasks[&id].spec.new;
        let ends = |parent: &&TaskId| {
            self.tasks.get(parent).is_some_and(|parent| new.on_parent_failure.ends_with(&parent.status.state))
        };
        new.after.iter().find(ends).copied()
    }

    pub(super) fn may_be_put_back(&self, id: TaskId) -> bool {
        self.lost(id).is_none()
    }

    /// A live task comes after it.
    pub(super) fn is_needed(&self, id: TaskId) -> bool {
        self.live().any(|task| task.spec.new.after.contains(&id))
    }

    /// A queued task enters the queue, or waits, or ends at once.
    pub(super) fn enter(&mut self, id: TaskId, now: Timestamp) {
        let after = self.tasks[&id].spec.new.after.clone();
        let lives: BTreeSet<_> = after.into_iter().filter(|parent| self.is_live(*parent)).collect();
        let lost = self.lost(id);
        if lives.is_empty() && lost.is_none() {
            let State::Queued { due_at } = self.tasks[&id].status.state else { panic!("not queued") };
            return self.emit(id, now, TaskChange::Queued { due_at });
        }
        self.tasks.get_mut(&id).unwrap().status.wait();
        let parents = if lost.is_none() { lives.len() } else { 0 };
        self.emit(id, now, TaskChange::Waiting { parents: u32::try_from(parents).unwrap() });
        self.flow.open.insert(id, lives);
        self.flow.touched.extend(lost.map(|parent| (parent, Some(id))));
    }

    fn lose(&mut self, id: TaskId, parent: TaskId, now: Timestamp) {
        let task = self.tasks.get_mut(&id).unwrap();
        assert!(task.status.lose_parent(parent, task.spec.new.on_parent_failure, now));
        let change = match task.status.state.clone() {
            State::Failed { failure, .. } => TaskChange::Failed(failure),
            State::Waiting
            | State::Queued { .. }
            | State::Running { .. }
            | State::Succeeded { .. }
            | State::Cancelled { .. } => TaskChange::cancelled(&task.status),
        };
        self.emit(id, now, change);
        self.ended(id);
    }

    pub(super) fn ended(&mut self, id: TaskId) {
        self.keep_checkpoint(id);
        self.flow.forget(id);
        self.touch(id);
    }

    pub(super) fn touch(&mut self, id: TaskId) {
        if self.is_needed(id) {
            self.flow.touched.push_back((id, None));
        }
    }

    /// Tells everybody.
    pub(super) fn settle(&mut self) {
        while let Some((parent, only)) = self.flow.touched.pop_front() {
            let mut children: Vec<_> = self.flow.open.keys().copied().collect();
            children.retain(|child| only.is_none_or(|only| only == *child));
            for id in children {
                if self.tasks[&id].spec.new.after.contains(&parent) && self.flow.open.contains_key(&id) {
                    self.tell(id, parent);
                }
            }
        }
    }

    fn tell(&mut self, id: TaskId, parent: TaskId) {
        let at = match self.tasks[&parent].status.state {
            State::Succeeded { at, .. } | State::Failed { at, .. } | State::Cancelled { at } => at,
            State::Waiting | State::Queued { .. } | State::Running { .. } => {
                self.flow.open.get_mut(&id).unwrap().insert(parent);
                return;
            }
        };
        let open = self.flow.open.get_mut(&id).unwrap();
        open.remove(&parent);
        let is_last = open.is_empty();
        let task = self.tasks.get_mut(&id).unwrap();
        let ends = task.spec.new.on_parent_failure;
        if ends.ends_with(&self.tasks[&parent].status.state) {
            self.lose(id, parent, at);
        } else if is_last {
            self.flow.forget(id);
            let task = self.tasks.get_mut(&id).unwrap();
            let due_at = task.spec.new.first_due(at);
            assert!(task.status.release(due_at));
            self.emit(id, at, TaskChange::Queued { due_at });
        }
    }

    pub(super) fn relations(&self, id: TaskId) -> Relations {
        let count = |is_one: &dyn Fn(&Spec) -> bool| {
            u32::try_from(self.tasks.values().filter(|task| is_one(&task.spec)).count()).unwrap()
        };
        let parent = |id: &TaskId| Parent { id: *id, brief: self.tasks.get(id).map(Into::into) };
        Relations {
            parents: self.tasks[&id].spec.new.after.iter().map(parent).collect(),
            dependents: count(&|spec| spec.new.after.contains(&id)),
            children: count(&|spec| spec.new.source == Source::Task(id)),
        }
    }

    /// Puts back what may be put back.
    pub(super) fn redrive(&mut self, id: TaskId, now: Timestamp) {
        let task = self.tasks.get_mut(&id).unwrap();
        assert!(task.status.redrive(now));
        let new = crate::task::NewTask { deadline: None, ..task.spec.new.clone() };
        self.keys.extend(new.unique_key.clone().map(|key| (key, id)));
        task.spec = Arc::new(Spec { new, ..*task.spec });
        self.enter(id, now);
        self.touch(id);
    }
}
