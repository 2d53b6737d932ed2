//! A store as plain as can be.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::flow::Flow;
use crate::event::{Change, Event, TaskChange};
use crate::store::request::{ClaimRequest, Enqueued, TakenKey};
use crate::store::{LinkedTask, StoreError};
use crate::task::urgency::urgency;
use crate::task::{Failure, Lease, Outcome, Spec, State, Status, Task, TaskId, UniqueMode};
use crate::time::Timestamp;

/// Waiting, queued and running tasks at most: few, so that plans reach the bound.
pub(crate) const MAX_LIVE: u64 = 12;

/// What stores do by default.
const AGING_MS: u64 = 60_000;

/// Everything in one map.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) checkpoints: BTreeMap<TaskId, Vec<u8>>,
    pub(crate) events: Vec<Event>,
    /// Who holds each unique key; entries of ended tasks are stale.
    pub(crate) keys: BTreeMap<String, TaskId>,
    pub(crate) requests: BTreeMap<String, (TaskId, [u8; 16])>,
    pub(super) flow: Flow,
}

impl Model {
    pub(crate) fn emit(&mut self, id: TaskId, now: Timestamp, change: TaskChange) {
        let task = &self.tasks[&id];
        let (kind, queue, attempt) = (task.spec.new.kind.clone(), task.spec.new.queue.clone(), task.status.attempt);
        let seq = self.events.len() as u64 + 1;
        self.events.push(Event { seq, at: now, change: Change::Task { id, kind, queue, attempt, change } });
    }

    /// What an ended task could go on from goes when it has succeeded.
    pub(crate) fn keep_checkpoint(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.status.state.is_terminal()) else { return };
        if matches!(task.status.state, State::Succeeded { .. }) {
            self.checkpoints.remove(&id);
        }
        task.status.checkpoint_bytes = self.checkpoints.get(&id).map_or(0, |kept| kept.len() as u64);
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(|task| !task.status.state.is_terminal())
    }

    pub(crate) fn is_live(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| !task.status.state.is_terminal())
    }

    pub(crate) fn holder(&self, key: Option<&String>) -> Option<TaskId> {
        self.keys.get(key?).copied().filter(|id| self.is_live(*id))
    }

    /// Creates the tasks in a copy of the truth, so that all or none is plain to see.
    pub(crate) fn enqueue(
        &mut self,
        tasks: &[LinkedTask],
        now: Timestamp,
        mut next: impl FnMut() -> TaskId,
    ) -> Result<Vec<Enqueued>, StoreError> {
        let mut added: Vec<Enqueued> = Vec::new();
        let mut is_full = false;
        let known = self.tasks.clone();
        for (at, LinkedTask { new, earlier }) in tasks.iter().enumerate() {
            if let Some(parent) = new.after.iter().find(|parent| !known.contains_key(parent)) {
                return Err(StoreError::NoParent { at, parent: *parent });
            }
            let taken = |key, holder| Err(StoreError::Taken { at, key, holder: Some(holder) });
            let request = new.idempotency.last();
            if let Some((request, (id, fingerprint))) = request.and_then(|it| Some((it, self.requests.get(&it.key)?))) {
                if *fingerprint != request.fingerprint {
                    return taken(TakenKey::Idempotency, *id);
                }
                added.push(Enqueued { id: *id, duplicate: true });
                continue;
            }
            let due_at = new.run_at.map_or(now, |run_at| run_at.max(now));
            let holder = self.holder(new.unique_key.as_ref());
            let replaced =
                holder.filter(|id| matches!(self.tasks[id].status.state, State::Waiting | State::Queued { .. }));
            let id = match (holder, new.unique.mode, replaced) {
                (Some(id), UniqueMode::Existing, _) => {
                    if let Some(request) = request {
                        self.requests.insert(request.key.clone(), (id, request.fingerprint));
                        let task = self.tasks.get_mut(&id).unwrap();
                        Arc::make_mut(&mut task.spec).new.idempotency.push(request.clone());
                    }
                    added.push(Enqueued { id, duplicate: true });
                    continue;
                }
                (Some(id), UniqueMode::Reject, _) => return taken(TakenKey::Unique, id),
                (Some(_), _, Some(id)) => id,
                _ => next(),
            };
            let (mut status, mut created_at, mut new) = (Status::queued(due_at), now, new.clone());
            let mut first_event = self.events.len() as u64 + 1;
            for parent in earlier.iter().map(|at| added[*at].id) {
                if !new.after.contains(&parent) {
                    new.after.push(parent);
                }
            }
            if let Some(old) = self.tasks.get(&id) {
                status = old.status.clone();
                assert!(status.replace(due_at));
                (created_at, first_event) = (old.spec.created_at, old.spec.first_event);
                new.idempotency = old.spec.new.idempotency.iter().cloned().chain(new.idempotency).collect();
                self.checkpoints.remove(&id);
                self.flow.forget(id);
            } else {
                is_full |= self.live().count() as u64 >= MAX_LIVE;
            }
            self.keys.extend(new.unique_key.clone().map(|key| (key, id)));
            self.requests.extend(new.idempotency.last().map(|it| (it.key.clone(), (id, it.fingerprint))));
            self.tasks.insert(id, Task { id, spec: Arc::new(Spec { new, created_at, first_event }), status });
            self.enter(id, now);
            added.push(Enqueued { id, duplicate: replaced.is_some() });
        }
        if is_full { Err(StoreError::Full(String::new())) } else { Ok(added) }
    }

    pub(crate) fn expire(&mut self, now: Timestamp) {
        let deadline = |task: &Task| Some((task.spec.new.deadline.filter(|at| *at <= now)?, task.id));
        let mut overdue: Vec<_> = self.live().filter_map(deadline).collect();
        overdue.sort_unstable();
        for (deadline, id) in overdue {
            let status = &mut self.tasks.get_mut(&id).unwrap().status;
            if status.expire(deadline, now) {
                let State::Failed { failure, .. } = status.state.clone() else { panic!("expired") };
                self.emit(id, now, TaskChange::Failed(failure));
                self.ended(id);
            }
        }
    }

    /// A task that comes back to the queue takes its key again, or gives way to who has it.
    pub(crate) fn recheck(&mut self, id: TaskId, now: Timestamp) {
        let task = &self.tasks[&id];
        let Some(key) = task.spec.new.unique_key.clone().filter(|_| !task.status.state.is_terminal()) else { return };
        match self.holder(Some(&key)).filter(|holder| *holder != id) {
            Some(holder) => self.tasks.get_mut(&id).unwrap().status.supersede(holder, now),
            None => drop(self.keys.insert(key, id)),
        }
    }

    pub(crate) fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> (Vec<TaskId>, Option<Timestamp>) {
        self.expire(now);
        let room = &request.rooms[0];
        let limit = room.room.min(request.limit) as usize;
        let queued = |task: &Task| match task.status.state {
            State::Queued { due_at } if room.kinds.contains(&task.spec.new.kind) => {
                Some((urgency(task.spec.new.priority, due_at, AGING_MS), due_at, task.id))
            }
            State::Waiting
            | State::Queued { .. }
            | State::Running { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => None,
        };
        let mut waiting: Vec<_> = self.live().filter_map(queued).collect();
        waiting.sort_unstable_by_key(|(urgency, _, id)| (*urgency, *id));
        let later = waiting.iter().map(|(_, due_at, _)| *due_at).filter(|due_at| *due_at > now).min();
        let ids: Vec<_> =
            waiting.iter().filter(|(_, due_at, _)| *due_at <= now).take(limit).map(|(_, _, id)| *id).collect();
        let lease = Lease { boot: request.boot, until: request.lease_until, digest: room.digest };
        for id in &ids {
            self.tasks.get_mut(id).unwrap().status.claim(lease, now).unwrap();
            self.emit(*id, now, TaskChange::Started { digest: room.digest });
        }
        let next_due = if ids.len() == limit { None } else { later };
        (ids, next_due)
    }

    pub(crate) fn finish(
        &mut self,
        id: TaskId,
        attempt: u32,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let task = self.tasks.get_mut(&id).ok_or(StoreError::NotFound)?;
        let spec = Arc::clone(&task.spec);
        task.status.settle(&spec, attempt, outcome, (now, 0.5)).map_err(|_| StoreError::Stale)?;
        self.recheck(id, now);
        let task = &self.tasks[&id];
        let change = TaskChange::of_end(&task.status).expect("it does not run");
        self.keep_checkpoint(id);
        let ended = self.tasks[&id].status.state.is_terminal();
        self.emit(id, now, change);
        if ended {
            self.ended(id);
        }
        Ok(())
    }

    /// Running tasks by the end of their leases.
    pub(crate) fn leases(&self) -> Vec<(Timestamp, TaskId)> {
        let lease = |task: &Task| match task.status.state {
            State::Running { lease_until, .. } => Some((lease_until, task.id)),
            State::Waiting
            | State::Queued { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => None,
        };
        let mut leases: Vec<_> = self.live().filter_map(lease).collect();
        leases.sort_unstable();
        leases
    }

    pub(crate) fn crash(&mut self, id: TaskId, failure: Failure, now: Timestamp) {
        let attempt = self.tasks[&id].status.attempt;
        self.finish(id, attempt, &Outcome::Crashed(failure), now).unwrap();
    }

    pub(crate) fn prune(&mut self, max_tasks: u64, max_age_ms: u64, now: Timestamp) -> Vec<TaskId> {
        let ended = |task: &Task| match task.status.state {
            State::Succeeded { at, .. } | State::Failed { at, .. } | State::Cancelled { at } => {
                Some((task.status.state.name(), task.id, at))
            }
            State::Waiting | State::Queued { .. } | State::Running { .. } => None,
        };
        let mut by_state: BTreeMap<&str, Vec<(TaskId, Timestamp)>> = BTreeMap::new();
        for (name, id, at) in self.tasks.values().filter_map(ended) {
            by_state.entry(name).or_default().push((id, at));
        }
        let mut gone = Vec::new();
        for mut ended in by_state.into_values() {
            let excess = ended.len().saturating_sub(usize::try_from(max_tasks).unwrap());
            ended.retain(|(id, _)| !self.is_needed(*id));
            let is_gone = |(at, (_, ended_at)): &(usize, (TaskId, Timestamp))| {
                *at < excess || now.millis_since(*ended_at) > max_age_ms
            };
            gone.extend(ended.into_iter().enumerate().filter(is_gone).map(|(_, (id, _))| id));
        }
        gone.sort_unstable();
        self.forget(&gone);
        gone
    }

    pub(crate) fn forget(&mut self, gone: &[TaskId]) {
        self.checkpoints.retain(|id, _| !gone.contains(id));
        self.tasks.retain(|id, _| !gone.contains(id));
        self.requests.retain(|_, (id, _)| !gone.contains(id));
    }
}
