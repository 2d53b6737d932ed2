//! What the store's thread owns: the trees, what it keeps in memory about them, and the commit
//! in the making.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use super::agenda::Agenda;
use super::batches::Batches;
use super::codec::{CommitRecord, Namespace};
use super::flow::Flow;
use super::index::Index;
use super::keys;
use super::parked::Parked;
use super::trees::Trees;
use crate::event::{Change, Event, TaskChange};
use crate::store::StoreError;
use crate::task::{Spec, TaskId};
use crate::time::Timestamp;

/// Events a record, at most. More would make pages large, and the last one is rewritten with every
/// commit; fewer would make more records.
pub(super) const EVENTS_A_RECORD: usize = 16;
/// Records that one listing looks at before it answers with where to go on.
pub(super) const MAX_SCAN: usize = 4_096;
/// Items that one listing answers at most.
pub(super) const MAX_PAGE: usize = 1_000;

/// Why a verb did nothing, or why nothing goes on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    /// The caller's affair; nothing was changed.
    #[error(transparent)]
    Refused(#[from] StoreError),
    /// The database's affair; a write may be half done.
    #[error("{0}")]
    Broken(String),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What a verb comes to.
pub(super) type Verdict<T> = Result<T, Halt>;

/// Everything behind the verbs. Owned by one thread.
pub(super) struct Core {
    /// What is durable, and what becomes so with the next flush.
    pub(super) trees: Trees,
    /// Live tasks by what is asked about them.
    pub(super) index: Index,
    /// Batches of live members.
    pub(super) batches: Batches,
    /// Live tasks that come after others.
    pub(super) flow: Flow,
    /// Schedules by when they are due.
    pub(super) agenda: Agenda,
    /// The latest commit, and the one in the making.
    pub(super) commit: CommitRecord,
    /// Trashed files and when they may be purged.
    pub(super) trashed: BTreeMap<String, Timestamp>,
    /// Accounts of namespaces that were touched.
    pub(super) namespaces: HashMap<String, Namespace>,
    /// Up to where prunes have searched for the oldest ended tasks of each state.
    pub(super) searched: [Option<TaskId>; 3],
    /// Ended tasks of each state that a search has passed before they could be forgotten.
    pub(super) passed: [BTreeSet<TaskId>; 3],
    /// Where the next prune by age goes on.
    pub(super) aged_after: Option<TaskId>,
    /// Where the next sweep of expired state goes on.
    pub(super) swept_after: Option<Vec<u8>>,
    /// Waiting, queued and running tasks at most.
    pub(super) max_live_tasks: u64,
    /// Claims that wait, those that came first in front.
    pub(super) parked: Vec<Parked>,
    pending: Vec<Event>,
    wake: bool,
    wake_ticker: bool,
}

/// What the outside is told about a commit once it is durable.
pub(super) struct News {
    /// Its events.
    pub(super) events: Option<Arc<[Event]>>,
    /// A task may have become claimable.
    pub(super) wake: bool,
    /// A schedule may have become due.
    pub(super) wake_ticker: bool,
}

impl Core {
    /// Over trees whose content was read already.
    pub(super) fn new(trees: Trees, commit: CommitRecord, max_live_tasks: u64, aging_ms: u64) -> Self {
        Self {
            trees,
            index: Index::new(aging_ms),
            batches: Batches::default(),
            flow: Flow::default(),
            agenda: Agenda::default(),
            commit,
            trashed: BTreeMap::new(),
            namespaces: HashMap::new(),
            searched: [None; 3],
            passed: Default::default(),
            aged_after: None,
            swept_after: None,
            max_live_tasks,
            parked: Vec::new(),
            pending: Vec::new(),
            wake: false,
            wake_ticker: false,
        }
    }

    /// The same over a database that takes less memory. Nothing may wait for a flush.
    pub(super) fn reopen(self) -> io::Result<Self> {
        Ok(Self { trees: self.trees.reopen()?, ..self })
    }

    /// The one place where events come from: the change is part of the commit in the making.
    pub(super) fn emit(&mut self, at: Timestamp, change: Change) {
        self.commit.last_event += 1;
        self.pending.push(Event { seq: self.commit.last_event, at, change });
    }

    /// Whether the commit in the making has events.
    pub(super) fn has_events(&self) -> bool {
        !self.pending.is_empty()
    }

    /// An event about a task.
    pub(super) fn emit_task(&mut self, at: Timestamp, id: TaskId, (spec, attempt): (&Spec, u32), change: TaskChange) {
        let (kind, queue) = (spec.new.kind.clone(), spec.new.queue.clone());
        self.emit(at, Change::Task { id, kind, queue, attempt, change });
    }

    /// A task may have become claimable.
    pub(super) fn wake(&mut self) {
        self.wake = true;
    }

    /// Whether the commit in the making may have made a task claimable, and when that was if it is known.
    pub(super) fn woken(&self) -> Option<Option<Timestamp>> {
        self.wake.then(|| self.pending.iter().map(|event| event.at).max())
    }

    /// A schedule may have become due.
    pub(super) fn wake_ticker(&mut self) {
        self.wake_ticker = true;
    }

    /// Whether something is left to do that no verb asks for.
    pub(super) fn is_behind(&self) -> bool {
        self.flow.is_behind() || self.index.generations_behind() > 0
    }

    /// What follows from the ends of tasks and from other rules: part of the commit in the making.
    pub(super) fn follow_up(&mut self) -> Verdict<()> {
        self.relane()?;
        self.tell_children()?;
        self.settle_batches()
    }

    /// Whether a task may have become claimable without a commit.
    pub(super) fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake)
    }

    /// Writes what belongs to the commit as a whole. A flush follows.
    pub(super) fn seal(&mut self) -> Verdict<News> {
        self.commit.seq += 1;
        self.trees.commit.put(keys::COMMIT, &self.commit)?;
        let pending = std::mem::take(&mut self.pending);
        for chunk in pending.chunks(EVENTS_A_RECORD) {
            let first = chunk.first().map_or(0, |event| event.seq);
            let record: Vec<_> = chunk.iter().map(|event| (event.at, &event.change)).collect();
            self.trees.event.put_as(&keys::event(first), &record)?;
        }
        let wake = std::mem::take(&mut self.wake);
        let wake_ticker = std::mem::take(&mut self.wake_ticker);
        let events = if pending.is_empty() { None } else { Some(pending.into()) };
        Ok(News { events, wake, wake_ticker })
    }
}
