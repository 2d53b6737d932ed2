//! Queued tasks of one kind: who is next.
//!
//! Due tasks wait in lanes, one a queue; only the first of each lane competes with the others. So a
//! claim costs the logarithm of what waits, and a lane can be left out as a whole.

use std::collections::{BTreeSet, HashMap};

use crate::task::TaskId;
use crate::task::urgency::{due_at, urgency};
use crate::time::Timestamp;

/// A queued task as the index sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Waiting {
    /// Which.
    pub(in super::super) id: TaskId,
    /// Since or from when it is due.
    pub(in super::super) due_at: Timestamp,
    /// 0 to 9.
    pub(in super::super) priority: u8,
    /// Its status is that of a task just created: no need to read it.
    pub(in super::super) fresh: bool,
}

/// Due now; the lowest is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    urgency: u64,
    id: TaskId,
    priority: u8,
    fresh: bool,
}

impl Ready {
    fn new(task: Waiting, aging_ms: u64) -> Self {
        let Waiting { id, due_at, priority, fresh } = task;
        Self { urgency: urgency(priority, due_at, aging_ms), id, priority, fresh }
    }

    fn waiting(self, aging_ms: u64) -> Waiting {
        let Self { urgency, id, priority, fresh } = self;
        Waiting { id, due_at: due_at(urgency, priority, aging_ms), priority, fresh }
    }
}

/// Due later, or not looked at since it became due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Later {
    due_at: Timestamp,
    id: TaskId,
    lane: u32,
    priority: u8,
    fresh: bool,
}

impl Later {
    fn new(task: Waiting, lane: u32) -> Self {
        let Waiting { id, due_at, priority, fresh } = task;
        Self { due_at, id, lane, priority, fresh }
    }

    fn waiting(self) -> Waiting {
        let Self { due_at, id, lane: _, priority, fresh } = self;
        Waiting { id, due_at, priority, fresh }
    }
}

/// The first of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head {
    ready: Ready,
    lane: u32,
}

struct Lane {
    queue: String,
    ready: BTreeSet<Ready>,
    /// Its tasks among those of the kind that are due later.
    later: usize,
}

/// Live tasks of one kind.
#[derive(Default)]
pub(super) struct Kind {
    aging_ms: u64,
    lanes: HashMap<u32, Lane>,
    by_queue: HashMap<String, u32>,
    next_lane: u32,
    heads: BTreeSet<Head>,
    later: BTreeSet<Later>,
    /// Queued, also those that follow another task.
    pub(super) queued: u64,
    /// Under a lease.
    pub(super) running: u64,
}

impl Kind {
    pub(super) fn new(aging_ms: u64) -> Self {
        Self { aging_ms, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued == 0 && self.running == 0
    }

    /// A task waits in a queue.
    pub(super) fn insert(&mut self, queue: &str, task: Waiting) {
        let at = match self.by_queue.get(queue) {
            Some(at) => *at,
            None => self.open(queue),
        };
        if let Some(lane) = self.lanes.get_mut(&at) {
            lane.later += 1;
            self.later.insert(Later::new(task, at));
        }
    }

    /// A task that waits in a queue does so no more.
    pub(super) fn remove(&mut self, queue: &str, task: Waiting) {
        let Some(at) = self.by_queue.get(queue).copied() else { return };
        if self.later.remove(&Later::new(task, at)) {
            if let Some(lane) = self.lanes.get_mut(&at) {
                lane.later -= 1;
            }
            self.close_if_empty(at);
        } else {
            self.take_ready(at, Ready::new(task, self.aging_ms));
        }
    }

    /// Moves what has become due into its lane.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some(first) = self.later.first().copied().filter(|first| first.due_at <= now) {
            self.later.remove(&first);
            let Some(lane) = self.lanes.get_mut(&first.lane) else { continue };
            let ready = Ready::new(first.waiting(), self.aging_ms);
            lane.later -= 1;
            let before = lane.ready.first().copied();
            lane.ready.insert(ready);
            if before.is_none_or(|before| ready < before) {
                if let Some(before) = before {
                    self.heads.remove(&Head { ready: before, lane: first.lane });
                }
                self.heads.insert(Head { ready, lane: first.lane });
            }
        }
    }

    /// The next one that may be claimed at `now`. What is not due any more (the wall clock was set
    /// back) waits again.
    pub(super) fn first(&mut self, now: Timestamp) -> Option<Head> {
        while let Some(head) = self.heads.first().copied() {
            let task = head.ready.waiting(self.aging_ms);
            if task.due_at <= now {
                return Some(head);
            }
            let queue = self.lanes.get(&head.lane).map(|lane| lane.queue.clone()).unwrap_or_default();
            self.take_ready(head.lane, head.ready);
            self.insert(&queue, task);
        }
        None
    }

    /// Takes what [`Self::first`] answered; `None` when it is gone.
    pub(super) fn take(&mut self, head: Head) -> Option<Waiting> {
        self.take_ready(head.lane, head.ready).then(|| head.ready.waiting(self.aging_ms))
    }

    /// When the next one is due that is not due yet.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|later| later.due_at)
    }

    fn open(&mut self, queue: &str) -> u32 {
        // Some four billion lanes later a number may be in use still.
        while self.lanes.contains_key(&self.next_lane) {
            self.next_lane = self.next_lane.wrapping_add(1);
        }
        let at = self.next_lane;
        self.next_lane = self.next_lane.wrapping_add(1);
        self.lanes.insert(at, Lane { queue: queue.to_owned(), ready: BTreeSet::new(), later: 0 });
        self.by_queue.insert(queue.to_owned(), at);
        at
    }

    fn take_ready(&mut self, at: u32, ready: Ready) -> bool {
        let Some(lane) = self.lanes.get_mut(&at) else { return false };
        if !lane.ready.remove(&ready) {
            return false;
        }
        if self.heads.remove(&Head { ready, lane: at }) {
            self.heads.extend(lane.ready.first().map(|first| Head { ready: *first, lane: at }));
        }
        self.close_if_empty(at);
        true
    }

    fn close_if_empty(&mut self, at: u32) {
        if self.lanes.get(&at).is_some_and(|lane| lane.ready.is_empty() && lane.later == 0)
            && let Some(lane) = self.lanes.remove(&at)
        {
            self.by_queue.remove(&lane.queue);
        }
    }
}
