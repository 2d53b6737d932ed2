//! Live tasks in memory: who is due, who runs, who holds a key.
//!
//! A queued task costs one entry of some 32 bytes here; its record stays in the trees until it is
//! claimed. A running one is here in full. Rebuilt when the store opens.

mod lanes;
mod limits;
mod slab;
mod tally;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use self::lanes::Lanes;
pub(super) use self::lanes::{Charged, Waiting};
pub(super) use self::limits::Count;
use self::tally::Tallies;
pub(super) use self::tally::Tally;
use crate::store::request::{GenerationRoom, KindCount};
use crate::task::{Digest, Source, Spec, State, Status, TaskId, UniqueMode, WorkPhase};
use crate::time::Timestamp;

/// A running task.
pub(super) struct Run {
    /// What was asked for.
    pub(super) spec: Arc<Spec>,
    /// How it stands; its lease may be newer than the durable one, which nobody needs: a lease
    /// does not outlive the host's start.
    pub(super) status: Status,
    /// What it occupies of the limits, see [`Lanes`].
    pub(super) buckets: Box<[u32]>,
}

/// A queued task that was chosen.
pub(super) struct Pick {
    /// Which.
    pub(super) task: Waiting,
    /// The generation that will run it.
    pub(super) digest: Digest,
    /// For [`Run::buckets`].
    pub(super) buckets: Box<[u32]>,
}

/// The live task that holds a unique key.
struct Holder {
    id: TaskId,
    /// It answers for others until then only.
    until: Option<Timestamp>,
}

/// A queued task that waits for the end of another one.
struct Follower {
    id: TaskId,
    spec: Arc<Spec>,
    status: Status,
}

/// See the module.
#[derive(Default)]
pub(super) struct Index {
    lanes: Lanes,
    kinds: Tallies,
    queues: Tallies,
    running: HashMap<TaskId, Run>,
    leases: BTreeSet<(Timestamp, TaskId)>,
    /// Of waiting and queued tasks that have not begun yet.
    deadlines: BTreeSet<(Timestamp, TaskId)>,
    unique: HashMap<String, Holder>,
    /// Followers by whom they follow.
    followers: HashMap<TaskId, Follower>,
    /// The inverse.
    followed: HashMap<TaskId, TaskId>,
    outstanding: HashMap<String, BTreeSet<TaskId>>,
    live: u64,
}

impl Index {
    /// An empty one, where a waiting task gains a level of priority every `aging_ms` milliseconds.
    pub(super) fn new(aging_ms: u64) -> Self {
        Self { lanes: Lanes::new(aging_ms), ..Self::default() }
    }

    /// Waiting, queued and running tasks.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// The live task that holds a unique key at `now`.
    pub(super) fn holder(&self, key: &str, now: Timestamp) -> Option<TaskId> {
        self.unique.get(key).filter(|holder| holder.until.is_none_or(|until| now < until)).map(|holder| holder.id)
    }

    /// The task that waits for the end of this one.
    pub(super) fn follower(&self, id: TaskId) -> Option<TaskId> {
        self.followers.get(&id).map(|follower| follower.id)
    }

    /// The next deadline of a task that has not begun.
    pub(super) fn next_deadline(&self) -> Option<(Timestamp, TaskId)> {
        self.deadlines.first().copied()
    }

    /// Live tasks that a schedule created.
    pub(super) fn outstanding(&self, schedule: &str) -> u32 {
        self.outstanding.get(schedule).map_or(0, |ids| u32::try_from(ids.len()).unwrap_or(u32::MAX))
    }

    /// The live tasks that a schedule created, oldest first.
    pub(super) fn of_schedule(&self, schedule: &str) -> Vec<TaskId> {
        self.outstanding.get(schedule).into_iter().flatten().copied().collect()
    }

    /// A running task.
    pub(super) fn running(&self, id: TaskId) -> Option<&Run> {
        self.running.get(&id)
    }

    /// Live tasks by kind.
    pub(super) fn counts(&self) -> Vec<KindCount> {
        let count = |(kind, tally): (String, Tally)| KindCount { kind, queued: tally.queued, running: tally.running };
        self.kinds.all().into_iter().map(count).collect()
    }

    fn count(&mut self, spec: &Spec, change: impl Fn(&mut Tally)) {
        self.kinds.count(&spec.new.kind, &change);
        self.queues.count(&spec.new.queue, &change);
    }

    /// Hears of the time, so that what is due already is known to be so when it enters.
    pub(super) fn hear(&mut self, now: Timestamp) {
        self.lanes.hear(now);
    }

    /// A task becomes live: queued, waiting for others or (when the store opens) running. It takes its unique key, or
    /// follows the one that has it.
    pub(super) fn enter(&mut self, id: TaskId, spec: &Arc<Spec>, status: &Status) {
        self.live += 1;
        if let Source::Schedule(name) = &spec.new.source {
            self.outstanding.entry(name.clone()).or_default().insert(id);
        }
        if !matches!(status.state, State::Waiting | State::Queued { .. }) {
            self.hold(id, spec, &status.state);
        } else if let Some(key) = &spec.new.unique_key {
            let follows = spec.new.unique.mode == UniqueMode::KeepLast;
            if let Some(holder) = self.unique.get(key).filter(|_| follows).map(|holder| holder.id)
                && !self.followers.contains_key(&holder)
            {
                return self.follow(holder, Follower { id, spec: Arc::clone(spec), status: status.clone() });
            }
            self.unique.insert(key.clone(), Holder { id, until: answers_until(spec) });
        }
        self.place(id, spec, status);
    }

    /// A live task ends, or becomes another one. `before` is how it stood.
    pub(super) fn leave(&mut self, id: TaskId, spec: &Spec, before: &Status) {
        self.displace(id, spec, before);
        self.live -= 1;
        self.release(id, spec);
        if let Source::Schedule(name) = &spec.new.source
            && let Some(ids) = self.outstanding.get_mut(name)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.outstanding.remove(name);
            }
        }
        if let Some(Follower { id, spec, status }) = self.followers.remove(&id) {
            self.followed.remove(&id);
            self.count(&spec, |tally| tally.queued -= 1);
            self.hold(id, &spec, &status.state);
            self.place(id, &spec, &status);
        }
    }

    /// Takes the task's unique key, if it holds it in this state and nobody else does.
    fn hold(&mut self, id: TaskId, spec: &Spec, state: &State) {
        if let Some(key) = spec.new.unique_key.as_ref().filter(|_| spec.new.unique.holds(state)) {
            self.unique.entry(key.clone()).or_insert(Holder { id, until: answers_until(spec) });
        }
    }

    fn release(&mut self, id: TaskId, spec: &Spec) {
        if let Some(key) = &spec.new.unique_key
            && self.unique.get(key).is_some_and(|holder| holder.id == id)
        {
            self.unique.remove(key);
        }
    }

    fn follow(&mut self, holder: TaskId, follower: Follower) {
        self.count(&follower.spec, |tally| tally.queued += 1);
        self.note_deadline(follower.id, &follower.spec, &follower.status);
        self.followed.insert(follower.id, holder);
        self.followers.insert(holder, follower);
    }

    /// A running task goes back to the queue, or one that waited for others enters it.
    pub(super) fn requeue(&mut self, id: TaskId, spec: &Arc<Spec>, (before, after): (&Status, &Status)) {
        self.displace(id, spec, before);
        self.hold(id, spec, &after.state);
        self.place(id, spec, after);
    }

    /// A picked task runs.
    pub(super) fn begin(&mut self, id: TaskId, run: Run) {
        self.count(&run.spec, |tally| tally.queued -= 1);
        self.start(id, run);
    }

    fn start(&mut self, id: TaskId, run: Run) {
        self.deadlines.remove(&(run.spec.new.deadline.unwrap_or_default(), id));
        if !run.spec.new.unique.holds(&run.status.state) {
            self.release(id, &run.spec);
        }
        self.leases.extend(run.status.lease_until().map(|until| (until, id)));
        self.count(&run.spec, |tally| tally.running += 1);
        self.running.insert(id, run);
    }

    /// A running task's status changed; it keeps running.
    pub(super) fn restate(&mut self, id: TaskId, status: Status) {
        let Some(run) = self.running.get_mut(&id) else { return };
        if let Some(until) = run.status.lease_until() {
            self.leases.remove(&(until, id));
        }
        self.leases.extend(status.lease_until().map(|until| (until, id)));
        run.status = status;
    }

    /// What is asked for otherwise than by its place in the queue has changed.
    pub(super) fn respecify(&mut self, id: TaskId, spec: &Arc<Spec>) {
        if let Some(run) = self.running.get_mut(&id) {
            run.spec = Arc::clone(spec);
        }
    }

    /// Running tasks in certain states.
    pub(super) fn all_running(&self, is_wanted: impl Fn(&State) -> bool) -> Vec<TaskId> {
        let mut ids: Vec<_> =
            self.running.iter().filter(|(_, run)| is_wanted(&run.status.state)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Running tasks whose outside work nobody looks after.
    pub(super) fn detached(&self) -> Vec<TaskId> {
        let mut ids: Vec<_> =
            self.running.iter().filter(|(_, run)| run.status.is_detached()).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// A running task occupies nothing of the limits any more.
    pub(super) fn vacate(&mut self, id: TaskId) {
        if let Some(run) = self.running.get_mut(&id) {
            self.lanes.vacate(&std::mem::take(&mut run.buckets));
        }
    }

    /// Running tasks whose lease ended at or before `now`.
    pub(super) fn expired(&self, now: Timestamp, limit: usize) -> Vec<TaskId> {
        self.leases.iter().take_while(|(until, _)| *until <= now).take(limit).map(|(_, id)| *id).collect()
    }

    /// Takes due tasks out of the queue, for [`Self::begin`], as the limits allow. Answers also when the
    /// next one may be due of a generation that has room left.
    pub(super) fn pick(
        &mut self,
        generations: &[GenerationRoom],
        limit: usize,
        now: Timestamp,
    ) -> (Vec<Pick>, Option<Timestamp>) {
        self.lanes.pick(generations, limit, now)
    }

    fn place(&mut self, id: TaskId, spec: &Arc<Spec>, status: &Status) {
        if matches!(status.state, State::Waiting) {
            return self.note_deadline(id, spec, status);
        }
        let Some(task) = waiting(id, spec, status) else {
            let buckets = if occupies(status) { self.lanes.occupy(&spec.new) } else { Box::default() };
            return self.start(id, Run { spec: Arc::clone(spec), status: status.clone(), buckets });
        };
        self.note_deadline(id, spec, status);
        self.count(spec, |tally| tally.queued += 1);
        self.lanes.insert(&spec.new, task);
    }

    fn note_deadline(&mut self, id: TaskId, spec: &Spec, status: &Status) {
        if status.attempt == 0 {
            self.deadlines.extend(spec.new.deadline.map(|deadline| (deadline, id)));
        }
    }

    fn displace(&mut self, id: TaskId, spec: &Spec, status: &Status) {
        self.deadlines.remove(&(spec.new.deadline.unwrap_or_default(), id));
        let followed = self.followed.remove(&id).and_then(|holder| self.followers.remove(&holder));
        match status.state {
            State::Queued { .. } => {
                self.count(spec, |tally| tally.queued -= 1);
                if let Some(task) = waiting(id, spec, status).filter(|_| followed.is_none()) {
                    self.lanes.remove(&spec.new, task);
                }
            }
            State::Running { .. } => {
                if let Some(run) = self.running.remove(&id) {
                    self.count(spec, |tally| tally.running -= 1);
                    self.lanes.vacate(&run.buckets);
                    if let Some(until) = run.status.lease_until() {
                        self.leases.remove(&(until, id));
                    }
                }
            }
            State::Waiting | State::Succeeded { .. } | State::Failed { .. } | State::Cancelled { .. } => {}
        }
    }
}

/// A queued task as it waits; `None` in other states.
fn waiting(id: TaskId, spec: &Spec, status: &Status) -> Option<Waiting> {
    let State::Queued { due_at } = status.state else { return None };
    Some(Waiting { id, due_at, priority: spec.new.priority, fresh: *status == Status::queued(due_at) })
}

/// Whether a running task counts against the limits: not while its results are brought home.
pub(super) fn occupies(status: &Status) -> bool {
    status.work_phase() != Some(WorkPhase::Exporting)
}

/// Until when a task answers for others with its key, when that does not follow from its state.
pub(super) fn answers_until(spec: &Spec) -> Option<Timestamp> {
    match spec.new.unique.mode {
        UniqueMode::Throttle(window_ms) => Some(spec.created_at.plus_millis(window_ms)),
        UniqueMode::Existing
        | UniqueMode::Reject
        | UniqueMode::Replace
        | UniqueMode::Debounce(_)
        | UniqueMode::KeepLast => None,
    }
}
