//! Tasks that come after others: who waits for whom, and what follows from the end of a parent.
//!
//! What a waiting task waits for is not stored: it waits while one of its parents lives, so it can be
//! derived when the store opens. The end of a parent is told to its children in the same commit, a
//! slice at a time when there are many; then commits follow until everybody knows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::core::{Core, Halt, Verdict};
use super::history::Ended;
use super::keys::{self, Link};
use crate::event::TaskChange;
use crate::store::flow::{LinkedTask, MAX_EDGES};
use crate::store::request::Enqueued;
use crate::store::{Obstacle, StoreError};
use crate::task::{MAX_PARENTS, NewTask, OnParentFailure, Spec, State, Status, TaskId};
use crate::time::Timestamp;

/// Children that one commit tells of the end of their parents.
const MAX_TOLD: usize = 1_024;

/// A parent that has ended or lives again, and who is to be told.
enum Touched {
    /// Its children, those after this one.
    All(TaskId, Option<TaskId>),
    /// A child that was created later.
    One(TaskId, TaskId),
}

/// Flows of live tasks, in memory; rebuilt when the store opens.
#[derive(Default)]
pub(super) struct Flow {
    /// Of each waiting task, the parents that live, as far as it was told; sorted.
    waiting: HashMap<TaskId, Vec<TaskId>>,
    /// How many live tasks come after each task. It is kept for them.
    needed: HashMap<TaskId, u32>,
    /// The sum of them.
    edges: u64,
    touched: VecDeque<Touched>,
}

/// How a task stands among its parents.
enum Standing {
    /// All of them have ended.
    Free,
    /// These live.
    Waits(Vec<TaskId>),
    /// This one did not succeed, and that ends the task.
    Lost(TaskId),
}

impl Flow {
    /// Whether a live task comes after this one.
    pub(super) fn is_needed(&self, id: TaskId) -> bool {
        self.needed.contains_key(&id)
    }

    /// Whether this task waits for others.
    pub(super) fn waits(&self, id: TaskId) -> bool {
        self.waiting.contains_key(&id)
    }

    /// Whether somebody is still to be told of an end.
    pub(super) fn is_behind(&self) -> bool {
        !self.touched.is_empty()
    }

    fn touch(&mut self, parent: TaskId) {
        self.touched.push_back(Touched::All(parent, None));
    }

    fn enter(&mut self, parents: &[TaskId]) {
        for parent in parents {
            *self.needed.entry(*parent).or_default() += 1;
        }
        self.edges += parents.len() as u64;
    }

    /// Answers the parents that nobody needs any more.
    fn leave(&mut self, id: TaskId, parents: &[TaskId]) -> Vec<TaskId> {
        self.waiting.remove(&id);
        self.edges = self.edges.saturating_sub(parents.len() as u64);
        let mut free = Vec::new();
        for parent in parents {
            let Some(count) = self.needed.get_mut(parent) else { continue };
            *count -= 1;
            if *count == 0 {
                self.needed.remove(parent);
                free.push(*parent);
            }
        }
        free
    }

    fn wait(&mut self, id: TaskId, mut lives: Vec<TaskId>) {
        lives.sort_unstable();
        self.waiting.insert(id, lives);
    }

    /// A parent lives again.
    fn reopen(&mut self, id: TaskId, parent: TaskId) {
        if let Some(lives) = self.waiting.get_mut(&id)
            && let Err(at) = lives.binary_search(&parent)
        {
            lives.insert(at, parent);
        }
    }

    /// A parent has ended. Whether it was the last one.
    fn close(&mut self, id: TaskId, parent: TaskId) -> bool {
        let Some(lives) = self.waiting.get_mut(&id) else { return false };
        if let Ok(at) = lives.binary_search(&parent) {
            lives.remove(at);
        }
        lives.is_empty()
    }
}

impl Core {
    /// See [`crate::store::Store::enqueue_linked`].
    pub(super) fn enqueue_linked(&mut self, tasks: Vec<LinkedTask>, now: Timestamp) -> Verdict<Vec<Enqueued>> {
        for (at, task) in tasks.iter().enumerate() {
            if task.earlier.iter().any(|earlier| *earlier >= at) {
                return Err(Obstacle::Unfit.because(format!("task {at} comes after one that is not earlier")).into());
            }
            if !task.earlier.is_empty() {
                require_no_place(&task.new)?;
            }
        }
        let edges: usize = tasks.iter().map(|task| task.earlier.len() + task.new.after.len()).sum();
        self.check_edges(edges)?;
        self.check_room(tasks.iter().map(|task| &task.new), None, now)?;
        self.create_linked(tasks, now)
    }

    /// Creates tasks that were checked.
    fn create_linked(&mut self, tasks: Vec<LinkedTask>, now: Timestamp) -> Verdict<Vec<Enqueued>> {
        let mut enqueued: Vec<Enqueued> = Vec::with_capacity(tasks.len());
        for LinkedTask { mut new, earlier } in tasks {
            for parent in earlier.into_iter().filter_map(|at| enqueued.get(at)) {
                if !new.after.contains(&parent.id) {
                    new.after.push(parent.id);
                }
            }
            enqueued.push(self.create(new, now)?);
        }
        Ok(enqueued)
    }

    /// Whether the tasks that `new` comes after are there, and their number is within the bound.
    pub(super) fn check_parents(&self, at: usize, new: &NewTask) -> Verdict<()> {
        if new.after.is_empty() {
            return Ok(());
        }
        require_no_place(new)?;
        if new.after.len() > MAX_PARENTS {
            return Err(Obstacle::Unfit.because(format!("a task comes after {MAX_PARENTS} others at most")).into());
        }
        for parent in &new.after {
            if !self.trees.body.contains(&keys::task(*parent))? {
                return Err(StoreError::NoParent { at, parent: *parent }.into());
            }
        }
        Ok(())
    }

    /// Whether live tasks may come after so many more.
    pub(super) fn check_edges(&self, more: usize) -> Verdict<()> {
        if self.flow.edges + more as u64 > MAX_EDGES {
            let text = format!("live tasks come after {} others, of {MAX_EDGES} at most", self.flow.edges);
            return Err(StoreError::Full(text).into());
        }
        Ok(())
    }

    fn standing(&self, new: &NewTask) -> Verdict<Standing> {
        let mut lives = Vec::new();
        for parent in &new.after {
            if self.trees.live.contains(&keys::task(*parent))? {
                lives.push(*parent);
            } else if new.on_parent_failure != OnParentFailure::Run
                && let Some(status) = self.trees.done.get(&keys::task(*parent))?
                && new.on_parent_failure.ends_with(&status.state)
            {
                return Ok(Standing::Lost(*parent));
            }
        }
        Ok(if lives.is_empty() { Standing::Free } else { Standing::Waits(lives) })
    }

    /// Whether an ended task may be put back as far as its parents are concerned.
    pub(super) fn check_parents_of_ended(&self, spec: &Spec) -> Verdict<()> {
        match self.standing(&spec.new)? {
            Standing::Free | Standing::Waits(_) => Ok(()),
            Standing::Lost(parent) => {
                let text =
                    format!("the task {parent}, which this one comes after, has not succeeded: put it back first");
                Err(Obstacle::ParentLost.because(text).into())
            }
        }
    }

    /// Whether a task that is about to enter the queue has to wait: then its status says so.
    pub(super) fn hold_back(&self, spec: &Spec, status: &mut Status) -> Verdict<()> {
        if !spec.new.after.is_empty() && !matches!(self.standing(&spec.new)?, Standing::Free) {
            status.wait();
        }
        Ok(())
    }

    /// A task has become live; its record is written. When a parent's end has decided already, it is
    /// told so with the commit.
    pub(super) fn enter_flow(&mut self, id: TaskId, spec: &Arc<Spec>, status: &Status, now: Timestamp) -> Verdict<()> {
        let new = &spec.new;
        self.flow.enter(&new.after);
        match &status.state {
            State::Queued { due_at } => {
                self.emit_task(now, id, (spec, status.attempt), TaskChange::Queued { due_at: *due_at });
            }
            State::Waiting => {
                let standing = self.standing(new)?;
                let parents = if let Standing::Waits(lives) = &standing { lives.len() } else { 0 };
                let change = TaskChange::Waiting { parents: u32::try_from(parents).unwrap_or(u32::MAX) };
                self.emit_task(now, id, (spec, status.attempt), change);
                match standing {
                    Standing::Waits(lives) => self.flow.wait(id, lives),
                    Standing::Lost(parent) => {
                        // Should it be put back before that, the others count.
                        let mut open = vec![parent];
                        for other in new.after.iter().filter(|other| **other != parent) {
                            if self.trees.live.contains(&keys::task(*other))? {
                                open.push(*other);
                            }
                        }
                        self.flow.wait(id, open);
                        self.flow.touched.push_back(Touched::One(parent, id));
                    }
                    Standing::Free => return Err(Halt::Broken(format!("task {id} waits for nothing"))),
                }
            }
            State::Running { .. } | State::Succeeded { .. } | State::Failed { .. } | State::Cancelled { .. } => {}
        }
        self.wake();
        Ok(())
    }

    /// A task lives no more, or becomes another one.
    pub(super) fn leave_flow(&mut self, id: TaskId, spec: &Spec) -> Verdict<()> {
        if spec.new.after.is_empty() {
            return Ok(());
        }
        for parent in self.flow.leave(id, &spec.new.after) {
            // It may be forgotten from now on, if it has ended.
            self.reconsider(parent)?;
        }
        Ok(())
    }

    /// A task has ended or lives again: those that come after it will be told.
    pub(super) fn touch(&mut self, id: TaskId) {
        if self.flow.is_needed(id) {
            self.flow.touch(id);
        }
    }

    /// Tells one slice of children what became of their parents.
    pub(super) fn tell_children(&mut self) -> Verdict<()> {
        let mut left = MAX_TOLD;
        while left > 0
            && let Some(touched) = self.flow.touched.pop_front()
        {
            let (parent, children) = match touched {
                Touched::One(parent, child) => (parent, vec![child]),
                Touched::All(parent, after) => {
                    let children = self.dependents(parent, after, left)?;
                    if children.len() == left {
                        self.flow.touched.push_front(Touched::All(parent, children.last().copied()));
                    }
                    (parent, children)
                }
            };
            // A parent without children costs something, too.
            left -= children.len().max(1);
            let end = self.trees.done.get(&keys::task(parent))?;
            for child in children {
                if self.flow.waits(child) {
                    self.tell(child, parent, end.as_ref())?;
                }
            }
        }
        Ok(())
    }

    /// Tasks that come after this one, oldest first.
    fn dependents(&self, parent: TaskId, after: Option<TaskId>, limit: usize) -> Verdict<Vec<TaskId>> {
        let first = after.map_or(0, |after| after.as_u128().saturating_add(1));
        let key = |child: u128| Link::After.key(parent.as_u128(), TaskId::from_u128(child));
        let (from, to) = (key(first), key(u128::MAX));
        let mut children = Vec::new();
        for record in self.trees.link.range(Bound::Included(&from), Bound::Included(&to)).take(limit) {
            children.extend(keys::linked(&record?.0));
        }
        Ok(children)
    }

    /// Tells a waiting task that a parent has ended, or (without an `end`) that it lives.
    fn tell(&mut self, id: TaskId, parent: TaskId, end: Option<&Status>) -> Verdict<()> {
        let Some((_, at)) = end.and_then(|end| Ended::of(&end.state)) else {
            self.flow.reopen(id, parent);
            return Ok(());
        };
        let failed = end.is_some_and(|end| OnParentFailure::Fail.ends_with(&end.state));
        let is_last = self.flow.close(id, parent);
        if !failed && !is_last {
            return Ok(());
        }
        let spec = Arc::new(self.trees.spec(id)?);
        let before = self.queued_status(id)?;
        let mut status = before.clone();
        if failed && status.lose_parent(parent, spec.new.on_parent_failure, at) {
            return self.move_on(id, &spec, (&before, &mut status), at);
        }
        if is_last && status.release(spec.new.first_due(at)) {
            self.flow.waiting.remove(&id);
            self.recheck_key(id, &spec, &mut status, at);
            return self.move_on(id, &spec, (&before, &mut status), at);
        }
        Ok(())
    }

    /// A task that waited goes where its status says.
    fn move_on(
        &mut self,
        id: TaskId,
        spec: &Arc<Spec>,
        (before, after): (&Status, &mut Status),
        now: Timestamp,
    ) -> Verdict<()> {
        let change = match &after.state {
            State::Queued { due_at } => TaskChange::Queued { due_at: *due_at },
            State::Failed { failure, .. } => TaskChange::Failed(failure.clone()),
            State::Cancelled { .. } => TaskChange::cancelled(after),
            State::Waiting | State::Running { .. } | State::Succeeded { .. } => {
                return Err(Halt::Broken(format!("task {id} waited and is {}", after.state.name())));
            }
        };
        if after.state.is_terminal() {
            self.retire(id, spec, (before, after), now)?;
        } else {
            self.trees.live.put(&keys::task(id), after)?;
            self.index.requeue(id, spec, (before, after));
        }
        self.emit_task(now, id, (spec, after.attempt), change);
        self.wake();
        Ok(())
    }

    /// Takes in the live tasks that come after others, and whether each of them waits.
    pub(super) fn load_flow(&mut self, live: Vec<(TaskId, Vec<TaskId>, bool)>) -> Verdict<()> {
        live.iter().for_each(|(_, parents, _)| self.flow.enter(parents));
        let (mut ended, mut forgotten) = (Vec::new(), HashSet::new());
        for parent in self.flow.needed.keys() {
            let key = keys::task(*parent);
            if self.trees.live.contains(&key)? {
                continue;
            }
            if self.trees.done.contains(&key)? {
                ended.push(*parent);
            } else {
                forgotten.insert(*parent);
            }
        }
        for (id, mut parents, _) in live.into_iter().filter(|(_, _, waits)| *waits) {
            parents.retain(|parent| !forgotten.contains(parent));
            self.flow.wait(id, parents);
        }
        // What was told before is told again, and changes nothing.
        ended.sort_unstable();
        ended.into_iter().for_each(|parent| self.flow.touch(parent));
        Ok(())
    }
}

/// A task that comes after others must not take the place of another one, which may come before them.
fn require_no_place(new: &NewTask) -> Verdict<()> {
    if new.unique_key.is_some() && new.unique.mode.replaces() {
        let text = "a task that comes after others does not take the place of another one";
        return Err(Obstacle::Unfit.because(text).into());
    }
    Ok(())
}
