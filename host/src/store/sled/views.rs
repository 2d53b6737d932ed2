//! Listings of tasks. They run between commits, so they see durable state only.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::base::Record;
use super::core::{Core, MAX_PAGE, MAX_SCAN, Verdict};
use super::keys;
use super::trees::Table;
use crate::store::request::{Page, TaskQuery};
use crate::task::{Spec, Status, Task, TaskId};

impl Core {
    /// See [`crate::store::Store::tasks`].
    pub(super) fn tasks(&self, query: &TaskQuery) -> Verdict<Page<Task>> {
        if let Some(related) = query.related {
            return self.related(related, query);
        }
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX).clamp(1, MAX_PAGE);
        let before = query.before.map(keys::task);
        let to = before.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let wanted = |names: &[&str]| {
            query.states.is_empty() || query.states.iter().any(|state| names.contains(&state.as_str()))
        };
        let live = wanted(&["waiting", "queued", "running", "cancelling"])
            .then(|| self.trees.live.range(Bound::Unbounded, to).rev());
        let done =
            wanted(&["succeeded", "failed", "cancelled"]).then(|| self.trees.done.range(Bound::Unbounded, to).rev());
        let mut newest =
            Newest { live: live.into_iter().flatten().peekable(), done: done.into_iter().flatten().peekable() };

        let mut page = Page { items: Vec::new(), next: None };
        let mut latest = None;
        for examined in 0.. {
            if page.items.len() == limit || examined == MAX_SCAN {
                // One more exists: the page says where it goes on.
                page.next = newest.next().and(latest).map(|id: TaskId| id.to_string());
                break;
            }
            let Some((is_live, record)) = newest.next() else { break };
            let (key, value) = record?;
            let Some(id) = keys::task_of(&key) else { continue };
            latest = Some(id);
            let table = if is_live { &self.trees.live } else { &self.trees.done };
            page.items.extend(self.selected(id, table, &value, query)?);
        }
        Ok(page)
    }

    fn selected(&self, id: TaskId, table: &Table<Status>, value: &[u8], query: &TaskQuery) -> Verdict<Option<Task>> {
        let is_kind = |spec: &Spec| {
            query.kind.as_ref().is_none_or(|kind| *kind == spec.new.kind)
                && query.queue.as_ref().is_none_or(|queue| *queue == spec.new.queue)
        };
        let is_state =
            |status: &Status| query.states.is_empty() || query.states.iter().any(|name| name == status.name());
        let (spec, status) = if let Some(run) = self.index.running(id) {
            (Arc::clone(&run.spec), run.status.clone())
        } else {
            let status = table.decode(value)?;
            if !is_state(&status) {
                return Ok(None);
            }
            (Arc::new(self.trees.spec(id)?), status)
        };
        Ok((is_state(&status) && is_kind(&spec)).then_some(Task { id, spec, status }))
    }
}

/// Merges the two trees of statuses, both newest first.
struct Newest<L: Iterator<Item = Record>, D: Iterator<Item = Record>> {
    live: std::iter::Peekable<L>,
    done: std::iter::Peekable<D>,
}

impl<L: Iterator<Item = Record>, D: Iterator<Item = Record>> Iterator for Newest<L, D> {
    /// Whether it is from `live`, and the record.
    type Item = (bool, Record);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.live.peek(), self.done.peek()) {
            (Some(Ok((live, _))), Some(Ok((done, _)))) => live.cmp(done),
            (Some(_), _) => Ordering::Greater,
            (None, _) => Ordering::Less,
        };
        if order.is_gt() { Some((true, self.live.next()?)) } else { Some((false, self.done.next()?)) }
    }
}
