//! Schedules in memory: which is due when, and which waits for the end of a task.
//!
//! So a look costs what is due, however many schedules there are. Rebuilt when the store opens.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::schedule::{Action, Overlap, Schedule};
use crate::time::Timestamp;

/// What is known about a schedule.
#[derive(Default)]
struct Entry {
    due_at: Option<Timestamp>,
    /// A firing waits for the end of the one before.
    waits: bool,
    /// Failures of its tasks are counted.
    counts: bool,
}

/// What the end of a task means to its schedule.
pub(super) struct Interest {
    /// Its outcome counts.
    pub(super) counts: bool,
    /// A firing waits for it.
    pub(super) waits: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Agenda {
    entries: HashMap<Arc<str>, Entry>,
    due: BTreeSet<(Timestamp, Arc<str>)>,
    /// Something waits and may go on; dispatching ones as soon as their pass has ended.
    ready: BTreeSet<Arc<str>>,
}

impl Agenda {
    /// How many schedules there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes note of how a schedule stands; `live`: tasks of it live.
    pub(super) fn update(&mut self, schedule: &Schedule, live: bool) {
        let (name, before) = match self.entries.remove_entry(schedule.spec.name.as_str()) {
            Some((name, entry)) => (name, entry),
            None => (schedule.spec.name.as_str().into(), Entry::default()),
        };
        let due_at = schedule.due_at();
        if before.due_at != due_at {
            if let Some(before) = before.due_at {
                self.due.remove(&(before, Arc::clone(&name)));
            }
            self.due.extend(due_at.map(|due_at| (due_at, Arc::clone(&name))));
        }
        let is_held = schedule.paused.is_some();
        let waits = schedule.waiting.iter().any(|waiting| waiting.by_hand || !is_held);
        let dispatches = matches!(schedule.spec.action, Action::Dispatch { .. });
        if waits && (dispatches || !live || schedule.spec.overlap == Overlap::Allow) {
            self.ready.insert(Arc::clone(&name));
        } else {
            self.ready.remove(&name);
        }
        let counts = schedule.spec.pause_on_failure.is_some();
        self.entries.insert(name, Entry { due_at, waits, counts });
    }

    /// Forgets a schedule.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some((name, entry)) = self.entries.remove_entry(name) {
            self.ready.remove(&name);
            if let Some(due_at) = entry.due_at {
                self.due.remove(&(due_at, name));
            }
        }
    }

    /// What the end of one of its tasks means.
    pub(super) fn interest(&self, name: &str) -> Interest {
        let entry = self.entries.get(name);
        Interest { counts: entry.is_some_and(|entry| entry.counts), waits: entry.is_some_and(|entry| entry.waits) }
    }

    /// Nothing lives any more that a firing could wait for.
    pub(super) fn release(&mut self, name: &str) {
        if let Some((name, entry)) = self.entries.get_key_value(name)
            && entry.waits
        {
            self.ready.insert(Arc::clone(name));
        }
    }

    /// What is to be looked at, the earliest first, at most `limit`.
    pub(super) fn due(&self, now: Timestamp, busy: &[String], limit: usize) -> Vec<Arc<str>> {
        let waiting = self.ready.iter().filter(|name| !is_busy(busy, name));
        let timely = self.due.iter().take_while(|(due_at, _)| *due_at <= now).map(|(_, name)| name);
        let timely = timely.filter(|name| !self.ready.contains(*name) || is_busy(busy, name));
        waiting.chain(timely).take(limit).cloned().collect()
    }

    /// When the next one is due.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.due.first().map(|(due_at, _)| *due_at)
    }
}

fn is_busy(busy: &[String], name: &str) -> bool {
    busy.iter().any(|busy| busy == name)
}
