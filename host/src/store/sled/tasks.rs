//! Verbs on tasks: each checks first and writes then, so that a refused one changes nothing.

use std::sync::Arc;

use super::core::{Core, Halt, Verdict};
use super::index::{Pick, Run};
use super::keys;
use crate::event::TaskChange;
use crate::store::request::{Claim, ClaimRequest, Claimed, Finish, Heartbeat};
use crate::store::{Obstacle, StoreError};
use crate::task::{Failure, Lease, Left, NewTask, Outcome, Spec, State, Status, Task, TaskId};
use crate::time::Timestamp;

/// Attempts that one claim takes at most.
const MAX_CLAIM: usize = 1_024;
/// Expired leases that one call reclaims at most.
const MAX_RECLAIM: usize = 1_024;

/// A task, wherever it is.
pub(super) enum Found {
    /// Queued or running.
    Live(Task),
    /// Ended.
    Ended(Task),
}

impl Core {
    /// See [`crate::store::Store::claim`].
    pub(super) fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> Verdict<Claim> {
        while self.expire(now)? == MAX_RECLAIM {}
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX).min(MAX_CLAIM);
        let (picks, next_due) = self.index.pick(&request.rooms, limit, now);
        let claimed: Vec<_> = picks.into_iter().map(|pick| self.start(pick, request, now)).collect::<Verdict<_>>()?;
        if !claimed.is_empty() {
            self.keep_tokens(now)?;
        }
        Ok(Claim { claimed, next_due })
    }

    fn start(&mut self, pick: Pick, request: &ClaimRequest, now: Timestamp) -> Verdict<Claimed> {
        let id = pick.task.id;
        let mut status = if pick.task.fresh { Status::queued(pick.task.due_at) } else { self.queued_status(id)? };
        let lease = Lease { boot: request.boot, until: request.lease_until, digest: pick.digest };
        let attempt = status.claim(lease, now).map_err(|_| Halt::Broken(format!("task {id} is not due")))?;
        let spec = Arc::new(self.trees.spec(id)?);
        self.trees.live.put(&keys::task(id), &status)?;
        self.index.begin(id, Run { spec: Arc::clone(&spec), status: status.clone(), buckets: pick.buckets });
        self.emit_task(now, id, (&spec, attempt), TaskChange::Started { digest: pick.digest });
        Ok(Claimed { id, spec, status })
    }

    /// How a task that waits stands.
    pub(super) fn queued_status(&self, id: TaskId) -> Verdict<Status> {
        self.trees.live.get(&keys::task(id))?.ok_or_else(|| Halt::Broken(format!("task {id} has no status")))
    }

    /// See [`crate::store::Store::heartbeat`].
    pub(super) fn heartbeat(&mut self, beat: Heartbeat, now: Timestamp) -> Verdict<bool> {
        let (spec, mut status) = self.attempt(beat.id, beat.attempt)?;
        status.beat(beat.attempt, beat.lease_until).map_err(|_| StoreError::Stale)?;
        let told = (&*spec, beat.attempt);
        let mut is_news = false;
        if beat.saw_cancel && status.acknowledge_cancel(now) {
            is_news = true;
            self.emit_task(now, beat.id, told, TaskChange::CancelAcknowledged);
        }
        if let Some(progress) = beat.progress.filter(|progress| status.advance(progress, now)) {
            is_news = true;
            self.emit_task(now, beat.id, told, TaskChange::Progress(progress));
        }
        if is_news {
            self.trees.live.put(&keys::task(beat.id), &status)?;
        }
        let cancelled = status.cancel.is_some();
        // A lease alone stays in memory: leases of older starts are void, so it need not be durable.
        self.index.restate(beat.id, status);
        Ok(cancelled)
    }

    /// See [`crate::store::Store::finish`].
    pub(super) fn finish(&mut self, finish: Finish, now: Timestamp) -> Verdict<Task> {
        let Finish { id, attempt, mut outcome, jitter, mut report } = finish;
        let (spec, before) = self.attempt(id, attempt)?;
        let goes_on = before.works.current.is_some() && report.left != Left::Abandoned;
        if goes_on && matches!(outcome, Outcome::Yielded | Outcome::Interrupted) {
            return self.let_go(id, false, now);
        }
        let outbox = match &mut outcome {
            Outcome::Succeeded { outbox, .. } => std::mem::take(outbox),
            Outcome::Retry { .. }
            | Outcome::Fatal(_)
            | Outcome::Crashed(_)
            | Outcome::Snoozed { .. }
            | Outcome::Cancelled
            | Outcome::Killed
            | Outcome::Yielded
            | Outcome::Interrupted => Vec::new(),
        };
        if !outbox.is_empty() {
            self.check_room(&outbox, Some(id), now)?;
        }
        let mut status = before.clone();
        status.settle(&spec, attempt, &outcome, (now, jitter)).map_err(|_| StoreError::Stale)?;
        let files = std::mem::take(&mut report.files);
        status.note(&report, now);
        self.recheck_key(id, &spec, &mut status, now);
        if matches!(status.state, State::Succeeded { .. }) {
            self.adopt_files(id, files, now)?;
        }
        self.end_attempt(id, &spec, (&before, &mut status), now)?;
        for new in outbox {
            self.create(new, now)?;
        }
        Ok(Task { id, spec, status })
    }

    /// Moves a task whose attempt ended to where its status says.
    pub(super) fn end_attempt(
        &mut self,
        id: TaskId,
        spec: &Arc<Spec>,
        (before, after): (&Status, &mut Status),
        now: Timestamp,
    ) -> Verdict<()> {
        let change = TaskChange::of_end(after);
        let change = change.ok_or_else(|| Halt::Broken(format!("task {id} runs after the end of its attempt")))?;
        if after.state.is_terminal() {
            self.retire(id, spec, (before, after), now)?;
        } else {
            self.forget_work(id, before)?;
            self.trees.live.put(&keys::task(id), after)?;
            self.index.requeue(id, spec, (before, after));
        }
        self.emit_task(now, id, (spec, after.attempt), change);
        self.wake();
        Ok(())
    }

    /// A live task has ended. What it could go on from is kept unless it has succeeded.
    pub(super) fn retire(
        &mut self,
        id: TaskId,
        spec: &Spec,
        (before, after): (&Status, &mut Status),
        now: Timestamp,
    ) -> Verdict<()> {
        self.forget_work(id, before)?;
        self.trees.live.remove(&keys::task(id))?;
        if matches!(after.state, State::Succeeded { .. }) {
            self.trees.checkpoint.remove(&keys::task(id))?;
        } else {
            let kept = self.trees.checkpoint.get(&keys::task(id))?;
            after.checkpoint_bytes = kept.map_or(0, |checkpoint| checkpoint.len() as u64);
        }
        self.trees.done.put(&keys::task(id), after)?;
        self.index.leave(id, spec, before);
        self.leave_flow(id, spec)?;
        self.leave_batch(id, spec, &after.state, now);
        self.touch(id);
        self.keep_key(id, spec, &after.state, now)?;
        self.count_in(id, spec, after);
        self.schedule_task_ended(spec, &after.state, now)
    }

    /// See [`crate::store::Store::expire_overdue`].
    pub(super) fn expire_overdue(&mut self, now: Timestamp) -> Verdict<Option<Timestamp>> {
        self.expire(now)?;
        Ok(self.index.next_deadline().map(|(deadline, _)| deadline))
    }

    /// Ends one slice of what is overdue; answers how many.
    fn expire(&mut self, now: Timestamp) -> Verdict<usize> {
        for count in 0..MAX_RECLAIM {
            let Some((deadline, id)) = self.index.next_deadline().filter(|(deadline, _)| *deadline <= now) else {
                return Ok(count);
            };
            let (spec, before) = (self.trees.spec(id)?, self.queued_status(id)?);
            let mut status = before.clone();
            if !status.expire(deadline, now) {
                return Err(Halt::Broken(format!("task {id} has a deadline but does not wait")));
            }
            self.retire(id, &spec, (&before, &mut status), now)?;
            if let State::Failed { failure, .. } = status.state {
                self.emit_task(now, id, (&spec, status.attempt), TaskChange::Failed(failure));
            }
            self.wake();
        }
        Ok(MAX_RECLAIM)
    }

    /// See [`crate::store::Store::request_cancel`].
    pub(super) fn request_cancel(&mut self, id: TaskId, now: Timestamp) -> Verdict<Task> {
        let mut task = match self.find(id)?.ok_or(StoreError::NotFound)? {
            Found::Live(task) => task,
            Found::Ended(task) => return Ok(task),
        };
        let before = task.status.clone();
        if !task.status.request_cancel(now) {
            return Ok(task);
        }
        let change = if task.status.state.is_terminal() {
            self.retire(id, &task.spec, (&before, &mut task.status), now)?;
            self.wake();
            TaskChange::cancelled(&task.status)
        } else {
            self.trees.live.put(&keys::task(id), &task.status)?;
            self.index.restate(id, task.status.clone());
            TaskChange::CancelRequested
        };
        self.emit_task(now, id, (&task.spec, task.status.attempt), change);
        Ok(task)
    }

    /// See [`crate::store::Store::redrive`].
    pub(super) fn redrive(&mut self, id: TaskId, now: Timestamp) -> Verdict<Task> {
        let mut task = match self.find(id)?.ok_or(StoreError::NotFound)? {
            Found::Live(task) => {
                let text = format!("the task is {}: only an ended one can be put back", task.status.state.name());
                return Err(Obstacle::TaskLives.because(text).into());
            }
            Found::Ended(task) => task,
        };
        if let Some(key) = task.spec.new.unique_key.as_deref()
            && let Some((holder, _)) = self.holding(key, now)?.filter(|(holder, _)| *holder != id)
        {
            return Err(Obstacle::KeyHeld.because(format!("the task {holder} holds the unique key")).into());
        }
        if self.index.live() + self.batches.reserved() >= self.max_live_tasks {
            return Err(StoreError::Full(format!("the queue is full: {} tasks", self.max_live_tasks)).into());
        }
        self.check_parents_of_ended(&task.spec)?;
        self.check_edges(task.spec.new.after.len())?;
        self.count_out(&task.spec, &task.status);
        self.enter_batch(id, &task.spec, Some(&task.status.state), now);
        task.status.redrive(now);
        self.hold_back(&task.spec, &mut task.status)?;
        self.give_up_key(id, &task.spec)?;
        if task.spec.new.deadline.is_some() {
            // It has passed, or has done its part.
            task.spec = Arc::new(Spec { new: NewTask { deadline: None, ..task.spec.new.clone() }, ..*task.spec });
            self.trees.body.put(&keys::task(id), &task.spec)?;
        }
        self.trees.done.remove(&keys::task(id))?;
        self.trees.live.put(&keys::task(id), &task.status)?;
        self.index.enter(id, &task.spec, &task.status);
        self.enter_flow(id, &task.spec, &task.status, now)?;
        self.touch(id);
        Ok(task)
    }

    /// See [`crate::store::Store::reclaim_expired`].
    pub(super) fn reclaim_expired(&mut self, now: Timestamp) -> Verdict<usize> {
        let expired = self.index.expired(now, MAX_RECLAIM);
        for id in &expired {
            let failure = Failure::new("lease-expired", "the attempt gave no sign of life until its lease ended");
            self.crash(*id, failure, now, false)?;
        }
        Ok(expired.len())
    }

    /// Ends the attempt of a running task whose host or runner is gone; the next one may follow
    /// `at_once`, without a backoff.
    pub(super) fn crash(&mut self, id: TaskId, failure: Failure, now: Timestamp, at_once: bool) -> Verdict<()> {
        let Some(run) = self.index.running(id) else { return Ok(()) };
        let (spec, before) = (Arc::clone(&run.spec), run.status.clone());
        if before.works.current.is_some() {
            // Whoever looked after it in an older start is gone; in this one it may still be there.
            return self.let_go(id, !at_once, now).map(drop);
        }
        let mut status = before.clone();
        let outcome = Outcome::Crashed(failure);
        if status.settle(&spec, before.attempt, &outcome, (now, jitter(id))).is_ok() {
            if let State::Queued { due_at } = &mut status.state
                && at_once
            {
                *due_at = now;
            }
            self.recheck_key(id, &spec, &mut status, now);
            self.end_attempt(id, &spec, (&before, &mut status), now)?;
        }
        Ok(())
    }

    /// See [`crate::store::Store::save_checkpoint`].
    pub(super) fn save_checkpoint(&mut self, id: TaskId, attempt: u32, data: &Vec<u8>) -> Verdict<()> {
        self.attempt(id, attempt)?;
        self.trees.checkpoint.put(&keys::task(id), data)
    }

    /// See [`crate::store::Store::checkpoint`].
    pub(super) fn checkpoint(&self, id: TaskId) -> Verdict<Option<Vec<u8>>> {
        self.trees.checkpoint.get(&keys::task(id))
    }

    /// The running task, if `attempt` is its current attempt.
    pub(super) fn attempt(&self, id: TaskId, attempt: u32) -> Verdict<(Arc<Spec>, Status)> {
        match self.index.running(id) {
            Some(run) if run.status.is_current(attempt) => Ok((Arc::clone(&run.spec), run.status.clone())),
            Some(_) => Err(StoreError::Stale.into()),
            None if self.trees.body.contains(&keys::task(id))? => Err(StoreError::Stale.into()),
            None => Err(StoreError::NotFound.into()),
        }
    }

    /// The task, wherever it is.
    pub(super) fn find(&self, id: TaskId) -> Verdict<Option<Found>> {
        if let Some(run) = self.index.running(id) {
            let task = Task { id, spec: Arc::clone(&run.spec), status: run.status.clone() };
            return Ok(Some(Found::Live(task)));
        }
        if let Some(status) = self.trees.live.get(&keys::task(id))? {
            return Ok(Some(Found::Live(Task { id, spec: Arc::new(self.trees.spec(id)?), status })));
        }
        if let Some(status) = self.trees.done.get(&keys::task(id))? {
            return Ok(Some(Found::Ended(Task { id, spec: Arc::new(self.trees.spec(id)?), status })));
        }
        Ok(None)
    }

    /// See [`crate::store::Store::task`].
    pub(super) fn task(&self, id: TaskId) -> Verdict<Option<Task>> {
        Ok(self.find(id)?.map(|found| match found {
            Found::Live(task) | Found::Ended(task) => task,
        }))
    }
}

/// Spreads retries without a source of chance: the low bits of an id are random.
fn jitter(id: TaskId) -> f64 {
    let [.., high, low] = id.as_u128().to_be_bytes();
    f64::from(u16::from_be_bytes([high, low])) / 65_536.0
}
