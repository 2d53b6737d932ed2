//! Live tasks in memory: who is due, who runs, who holds a key.
//!
//! A queued task costs one entry of some 32 bytes here; its record stays in the trees until it is
//! claimed. A running one is here in full. Rebuilt when the store opens.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use crate::store::request::{GenerationRoom, KindCount};
use crate::task::{Digest, Source, Spec, State, Status, TaskId};
use crate::time::Timestamp;

/// A running task.
pub(super) struct Run {
    /// What was asked for.
    pub(super) spec: Arc<Spec>,
    /// How it stands; its lease may be newer than the durable one, which nobody needs: a lease
    /// does not outlive the host's start.
    pub(super) status: Status,
}

/// A queued task that was chosen.
pub(super) struct Pick {
    /// Which.
    pub(super) id: TaskId,
    /// Since when it is due.
    pub(super) due_at: Timestamp,
    /// Its status is that of a task just created: no need to read it.
    pub(super) fresh: bool,
    /// The generation that will run it.
    pub(super) digest: Digest,
}

/// Due now: higher priority first (a lower rank), then by due time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    rank: u8,
    due_at: Timestamp,
    id: TaskId,
    fresh: bool,
}

/// Due later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Later {
    due_at: Timestamp,
    rank: u8,
    id: TaskId,
    fresh: bool,
}

/// Live tasks of one kind.
#[derive(Default)]
struct Lane {
    ready: BTreeSet<Ready>,
    later: BTreeSet<Later>,
    running: u64,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.later.is_empty() && self.running == 0
    }

    /// Moves what has become due, and moves back what has not (the wall clock was set back).
    fn advance(&mut self, now: Timestamp) {
        while let Some(first) = self.later.first().copied().filter(|first| first.due_at <= now) {
            self.later.remove(&first);
            let Later { due_at, rank, id, fresh } = first;
            self.ready.insert(Ready { rank, due_at, id, fresh });
        }
    }

    /// The next one that may be claimed at `now`.
    fn first(&mut self, now: Timestamp) -> Option<Ready> {
        while let Some(first) = self.ready.first().copied() {
            if first.due_at <= now {
                return Some(first);
            }
            self.ready.remove(&first);
            let Ready { rank, due_at, id, fresh } = first;
            self.later.insert(Later { due_at, rank, id, fresh });
        }
        None
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Index {
    lanes: HashMap<String, Lane>,
    running: HashMap<TaskId, Run>,
    leases: BTreeSet<(Timestamp, TaskId)>,
    unique: HashMap<String, TaskId>,
    outstanding: HashMap<String, BTreeSet<TaskId>>,
    live: u64,
}

impl Index {
    /// Queued and running tasks.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// The live task that holds a unique key.
    pub(super) fn holder(&self, key: &str) -> Option<TaskId> {
        self.unique.get(key).copied()
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
        let count = |(kind, lane): (&String, &Lane)| KindCount {
            kind: kind.clone(),
            queued: (lane.ready.len() + lane.later.len()) as u64,
            running: lane.running,
        };
        let mut counts: Vec<_> = self.lanes.iter().map(count).collect();
        counts.sort_by(|a, b| a.kind.cmp(&b.kind));
        counts
    }

    /// A task becomes live, queued or (when the store opens) running.
    pub(super) fn enter(&mut self, id: TaskId, spec: &Arc<Spec>, status: &Status) {
        self.live += 1;
        if let Some(key) = &spec.new.unique_key {
            self.unique.insert(key.clone(), id);
        }
        if let Source::Schedule(name) = &spec.new.source {
            self.outstanding.entry(name.clone()).or_default().insert(id);
        }
        self.place(id, spec, status);
    }

    /// A live task ends. `before` is how it stood.
    pub(super) fn leave(&mut self, id: TaskId, spec: &Spec, before: &Status) {
        self.displace(id, spec, before);
        self.live -= 1;
        if let Some(key) = &spec.new.unique_key {
            self.unique.remove(key);
        }
        if let Source::Schedule(name) = &spec.new.source
            && let Some(ids) = self.outstanding.get_mut(name)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.outstanding.remove(name);
            }
        }
    }

    /// A running task goes back to the queue.
    pub(super) fn requeue(&mut self, id: TaskId, spec: &Arc<Spec>, (before, after): (&Status, &Status)) {
        self.displace(id, spec, before);
        self.place(id, spec, after);
    }

    /// A picked task runs.
    pub(super) fn start(&mut self, id: TaskId, run: Run) {
        if let State::Running { lease_until, .. } = run.status.state {
            self.leases.insert((lease_until, id));
        }
        self.lanes.entry(run.spec.new.kind.clone()).or_default().running += 1;
        self.running.insert(id, run);
    }

    /// A running task's status changed; it keeps running.
    pub(super) fn restate(&mut self, id: TaskId, status: Status) {
        let Some(run) = self.running.get_mut(&id) else { return };
        if let State::Running { lease_until, .. } = run.status.state {
            self.leases.remove(&(lease_until, id));
        }
        if let State::Running { lease_until, .. } = status.state {
            self.leases.insert((lease_until, id));
        }
        run.status = status;
    }

    /// Running tasks in certain states.
    pub(super) fn all_running(&self, is_wanted: impl Fn(&State) -> bool) -> Vec<TaskId> {
        let mut ids: Vec<_> =
            self.running.iter().filter(|(_, run)| is_wanted(&run.status.state)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Running tasks whose lease ended at or before `now`.
    pub(super) fn expired(&self, now: Timestamp, limit: usize) -> Vec<TaskId> {
        self.leases.iter().take_while(|(until, _)| *until <= now).take(limit).map(|(_, id)| *id).collect()
    }

    /// Takes due tasks out of the queue, for [`Self::start`]. Answers also when the next task is
    /// due of a generation that has room left.
    pub(super) fn pick(
        &mut self,
        generations: &[GenerationRoom],
        limit: usize,
        now: Timestamp,
    ) -> (Vec<Pick>, Option<Timestamp>) {
        let mut rooms: Vec<u32> = generations.iter().map(|generation| generation.room).collect();
        let mut heads = BinaryHeap::new();
        for (at, generation) in generations.iter().enumerate().filter(|(_, generation)| generation.room > 0) {
            for kind in &generation.kinds {
                if let Some(lane) = self.lanes.get_mut(kind) {
                    lane.advance(now);
                    heads.extend(lane.first(now).map(|first| Reverse((first, at, kind))));
                }
            }
        }
        let mut picks = Vec::new();
        while picks.len() < limit
            && let Some(Reverse((head, at, kind))) = heads.pop()
        {
            let (Some(generation), Some(room)) = (generations.get(at), rooms.get_mut(at)) else { continue };
            let Some(lane) = self.lanes.get_mut(kind).filter(|_| *room > 0) else { continue };
            // A kind that was named twice has two heads; the second may be taken already.
            if lane.ready.remove(&head) {
                *room -= 1;
                let Ready { due_at, id, fresh, .. } = head;
                picks.push(Pick { id, due_at, fresh, digest: generation.digest });
            }
            heads.extend(lane.first(now).map(|first| Reverse((first, at, kind))));
        }
        if picks.len() >= limit {
            return (picks, None);
        }
        let with_room = generations.iter().zip(&rooms).filter(|(_, room)| **room > 0);
        let lanes = with_room.flat_map(|(generation, _)| &generation.kinds).filter_map(|kind| self.lanes.get(kind));
        let next_due = lanes.filter_map(|lane| lane.later.first()).map(|later| later.due_at).min();
        (picks, next_due)
    }

    fn place(&mut self, id: TaskId, spec: &Arc<Spec>, status: &Status) {
        let State::Queued { due_at } = status.state else {
            return self.start(id, Run { spec: Arc::clone(spec), status: status.clone() });
        };
        let lane = self.lanes.entry(spec.new.kind.clone()).or_default();
        let (rank, fresh) = (rank(spec), is_fresh(status, due_at));
        lane.later.insert(Later { due_at, rank, id, fresh });
    }

    fn displace(&mut self, id: TaskId, spec: &Spec, status: &Status) {
        let Some(lane) = self.lanes.get_mut(&spec.new.kind) else { return };
        match status.state {
            State::Queued { due_at } => {
                let (rank, fresh) = (rank(spec), is_fresh(status, due_at));
                if !lane.later.remove(&Later { due_at, rank, id, fresh }) {
                    lane.ready.remove(&Ready { rank, due_at, id, fresh });
                }
            }
            State::Running { .. } => {
                if let Some(run) = self.running.remove(&id) {
                    lane.running -= 1;
                    if let State::Running { lease_until, .. } = run.status.state {
                        self.leases.remove(&(lease_until, id));
                    }
                }
            }
            State::Succeeded { .. } | State::Failed { .. } | State::Cancelled { .. } => {}
        }
        if lane.is_empty() {
            self.lanes.remove(&spec.new.kind);
        }
    }
}

fn rank(spec: &Spec) -> u8 {
    u8::MAX - spec.new.priority
}

fn is_fresh(status: &Status, due_at: Timestamp) -> bool {
    *status == Status::queued(due_at)
}
