//! The event log, and what is forgotten.

use std::ops::Bound;

use super::core::{Core, EVENTS_A_RECORD, Verdict};
use super::keys;
use crate::event::Event;
use crate::store::request::{EventPage, Retention};
use crate::task::{State, TaskId};
use crate::time::Timestamp;

/// Events that one page holds at most.
const MAX_EVENTS: usize = 4_096;
/// Records that one prune looks at, of each sort.
const MAX_PRUNE: usize = 1_024;

impl Core {
    /// See [`crate::store::Store::events`].
    pub(super) fn events(&self, after: u64, limit: usize) -> Verdict<EventPage> {
        let limit = limit.min(MAX_EVENTS);
        let mut page = EventPage { events: Vec::new(), last: self.commit.last_event, gap: false };
        if after >= page.last {
            return Ok(page);
        }
        // The record that holds the first wanted event starts at most this many events earlier.
        let start = keys::event((after + 1).saturating_sub(EVENTS_A_RECORD as u64));
        let mut gap_checked = false;
        'records: for record in self.trees.event.range(Bound::Excluded(&start), Bound::Unbounded) {
            let (key, value) = record?;
            let Some(first) = keys::event_of(&key) else { continue };
            if !gap_checked {
                // Nothing is missing when the record at hand or an earlier one covers `after + 1`.
                gap_checked = true;
                page.gap = first > after + 1;
            }
            for (seq, (at, change)) in (first..).zip(self.trees.event.decode(&value)?) {
                if page.events.len() >= limit {
                    break 'records;
                }
                if seq > after {
                    page.events.push(Event { seq, at, change });
                }
            }
        }
        // Without any record left, everything between was forgotten.
        page.gap |= !gap_checked;
        Ok(page)
    }

    /// See [`crate::store::Store::prune`].
    pub(super) fn prune(&mut self, retention: Retention, now: Timestamp) -> Verdict<Vec<TaskId>> {
        let excess = self.commit.ended.saturating_sub(retention.max_tasks);
        let mut gone = self.oldest_ended(usize::try_from(excess).unwrap_or(usize::MAX).min(MAX_PRUNE))?;
        for id in &gone {
            self.forget(*id)?;
        }
        let aged = self.aged(retention.max_age_ms, MAX_PRUNE - gone.len(), now)?;
        for id in &aged {
            self.forget(*id)?;
        }
        gone.extend(aged);
        self.prune_events(retention.max_events)?;
        self.sweep_state(now)?;
        Ok(gone)
    }

    fn oldest_ended(&self, limit: usize) -> Verdict<Vec<TaskId>> {
        let mut ids = Vec::new();
        for record in self.trees.done.range(Bound::Unbounded, Bound::Unbounded).take(limit) {
            ids.extend(keys::task_of(&record?.0));
        }
        Ok(ids)
    }

    /// Ended tasks that are too old. Ids sort by creation, not by end, so every call looks at the
    /// next slice, round and round.
    fn aged(&mut self, max_age_ms: u64, limit: usize, now: Timestamp) -> Verdict<Vec<TaskId>> {
        let from = self.aged_after.take().map(keys::task);
        let from = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let mut ids = Vec::new();
        let mut latest = None;
        let mut examined = 0;
        for record in self.trees.done.range(from, Bound::Unbounded).take(limit) {
            let (key, value) = record?;
            let status = self.trees.done.decode(&value)?;
            latest = keys::task_of(&key);
            examined += 1;
            let ended_at = match status.state {
                State::Succeeded { at, .. } | State::Failed { at, .. } | State::Cancelled { at } => at,
                State::Queued { .. } | State::Running { .. } => continue,
            };
            if now.millis_since(ended_at) > max_age_ms {
                ids.extend(latest);
            }
        }
        self.aged_after = latest.filter(|_| examined == limit);
        Ok(ids)
    }

    fn forget(&mut self, id: TaskId) -> Verdict<()> {
        if self.trees.done.remove(&keys::task(id))? {
            self.commit.ended = self.commit.ended.saturating_sub(1);
        }
        if let Some(spec) = self.trees.body.take(&keys::task(id))? {
            self.give_up_key(id, &spec)?;
            for request in &spec.new.idempotency {
                self.trees.request.remove(request.key.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Removes records all of whose events are beyond the bound.
    fn prune_events(&mut self, max_events: u64) -> Verdict<()> {
        let oldest_kept = (self.commit.last_event + 1).saturating_sub(max_events);
        let Some(first) = self.trees.event.first_key()?.and_then(|key| keys::event_of(&key)) else { return Ok(()) };
        if first >= oldest_kept {
            return Ok(());
        }
        let mut before: Option<u64> = None;
        let mut gone = Vec::new();
        for record in self.trees.event.range(Bound::Unbounded, Bound::Unbounded).take(MAX_PRUNE) {
            let Some(first) = keys::event_of(&record?.0) else { continue };
            // A record ends where the next one starts.
            if first > oldest_kept {
                break;
            }
            gone.extend(before.replace(first));
        }
        for first in gone {
            self.trees.event.remove(&keys::event(first))?;
        }
        Ok(())
    }
}
