//! The event log.

use std::ops::Bound;

use super::core::{Core, EVENTS_A_RECORD, Verdict};
use super::keys;
use crate::event::{Change, Event, PluginNews};
use crate::store::request::EventPage;
use crate::time::Timestamp;

/// Events that one page holds at most.
const MAX_EVENTS: usize = 4_096;
/// Records that one prune looks at, of each sort.
pub(super) const MAX_PRUNE: usize = 1_024;

impl Core {
    /// See [`crate::store::Store::tell_plugins`].
    pub(super) fn tell_plugins(&mut self, news: Vec<PluginNews>, now: Timestamp) {
        news.into_iter().for_each(|news| self.emit(now, Change::Plugin(news)));
    }

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

    /// Removes records all of whose events are beyond the bound, one slice. Whether there are more.
    pub(super) fn prune_events(&mut self, max_events: u64) -> Verdict<bool> {
        let oldest_kept = (self.commit.last_event + 1).saturating_sub(max_events);
        let Some(first) = self.trees.event.first_key()?.and_then(|key| keys::event_of(&key)) else { return Ok(false) };
        if first >= oldest_kept {
            return Ok(false);
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
        for first in &gone {
            self.trees.event.remove(&keys::event(*first))?;
        }
        Ok(gone.len() + 1 == MAX_PRUNE)
    }
}
