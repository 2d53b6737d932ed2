//! Ended tasks: what is kept of them, what is forgotten, and what is put back.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::codec::Account;
use super::core::{Core, Halt, MAX_SCAN, Verdict};
use super::events::MAX_PRUNE;
use super::keys;
use crate::store::StoreError;
use crate::store::request::{Keep, Pruned, RedriveQuery, Redriven, Retention};
use crate::task::{AttemptEnd, Failure, Spec, State, Status, TaskId};
use crate::time::Timestamp;

/// Records that one prune looks at in search of the oldest of a state.
const MAX_SEARCH: usize = 16_384;
/// Tasks that one call puts back at most.
const MAX_REDRIVE: usize = 1_000;
/// What a record weighs beside its texts, in bytes.
const RECORD_BYTES: usize = 256;
/// What an attempt weighs beside its texts, in bytes.
const ATTEMPT_BYTES: usize = 64;

/// A state in which tasks end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Succeeded,
    Failed,
    Cancelled,
}

impl Ended {
    /// Every one; the place of each is its number.
    pub(super) const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The one that a task is in, and since when.
    pub(super) fn of(state: &State) -> Option<(Self, Timestamp)> {
        match state {
            State::Succeeded { at, .. } => Some((Self::Succeeded, *at)),
            State::Failed { at, .. } => Some((Self::Failed, *at)),
            State::Cancelled { at } => Some((Self::Cancelled, *at)),
            State::Waiting | State::Queued { .. } | State::Running { .. } => None,
        }
    }

    fn keep(self, retention: &Retention) -> Keep {
        match self {
            Self::Succeeded => retention.succeeded,
            Self::Failed => retention.failed,
            Self::Cancelled => retention.cancelled,
        }
    }
}

/// What an ended task takes with its log and its checkpoint, roughly, in bytes. Depends on nothing but what is stored, so that what
/// was added is what is taken away.
pub(super) fn weight(spec: &Spec, status: &Status) -> u64 {
    let failure = |failure: &Failure| {
        failure.code.len() + failure.message.len() + failure.details.as_ref().map_or(0, String::len)
    };
    let end = match &status.state {
        State::Succeeded { output, .. } => output.len(),
        State::Failed { failure: why, .. } => failure(why),
        State::Waiting | State::Queued { .. } | State::Running { .. } | State::Cancelled { .. } => 0,
    };
    let attempt = |end: &AttemptEnd| match end {
        AttemptEnd::Failed(why) | AttemptEnd::Crashed(why) => ATTEMPT_BYTES + failure(why),
        AttemptEnd::Succeeded
        | AttemptEnd::Cancelled
        | AttemptEnd::Killed
        | AttemptEnd::Returned
        | AttemptEnd::Snoozed { .. } => ATTEMPT_BYTES,
    };
    let attempts: usize = status.history.iter().map(|record| attempt(&record.end)).sum();
    let logs: u64 = status.history.iter().filter_map(|record| record.log).map(|log| log.bytes).sum();
    let labels: usize = spec.new.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    let parents = spec.new.after.len() * size_of::<TaskId>();
    let texts = RECORD_BYTES + spec.new.kind.len() + spec.new.input.len() + labels + parents + end + attempts;
    texts as u64 + logs + status.checkpoint_bytes
}

/// Counts a task in if it has ended.
pub(super) fn count(accounts: &mut [Account; 3], spec: &Spec, status: &Status) {
    let Some((ended, _)) = Ended::of(&status.state) else { return };
    if let Some(account) = accounts.get_mut(ended as usize) {
        account.count += 1;
        account.bytes += weight(spec, status);
    }
}

/// What is to be forgotten of a state, and what was found of that.
struct Excess {
    tasks: u64,
    bytes: u64,
    limit: usize,
    ids: Vec<TaskId>,
}

impl Excess {
    fn is_left(&self) -> bool {
        self.tasks > 0 || self.bytes > 0
    }

    fn goes_on(&self) -> bool {
        self.is_left() && self.ids.len() < self.limit
    }
}

impl Core {
    /// A task has ended: it counts from here on.
    pub(super) fn count_in(&mut self, id: TaskId, spec: &Spec, status: &Status) {
        let Some((ended, _)) = Ended::of(&status.state) else { return };
        count(&mut self.commit.ended, spec, status);
        self.pass(id, ended);
    }

    /// An ended task that was needed is needed no more.
    pub(super) fn reconsider(&mut self, id: TaskId) -> Verdict<()> {
        if self.searched.iter().all(|searched| searched.is_none_or(|searched| searched < id)) {
            return Ok(());
        }
        let status = self.trees.done.get(&keys::task(id))?;
        if let Some((ended, _)) = status.and_then(|status| Ended::of(&status.state)) {
            self.pass(id, ended);
        }
        Ok(())
    }

    /// A task may be forgotten that was not there, or was needed, when a search came by.
    fn pass(&mut self, id: TaskId, ended: Ended) {
        let (Some(searched), Some(passed)) =
            (self.searched.get_mut(ended as usize), self.passed.get_mut(ended as usize))
        else {
            return;
        };
        if searched.is_none_or(|searched| searched < id) {
            return;
        }
        passed.insert(id);
        if passed.len() > MAX_SEARCH {
            // Rather than remember all of them, the search begins at the oldest one again.
            let oldest = passed.first().and_then(|oldest| oldest.as_u128().checked_sub(1));
            *searched = oldest.map(TaskId::from_u128);
            passed.clear();
        }
    }

    /// An ended task is forgotten or lives again.
    pub(super) fn count_out(&mut self, spec: &Spec, status: &Status) {
        let Some((ended, _)) = Ended::of(&status.state) else { return };
        if let Some(account) = self.commit.ended.get_mut(ended as usize) {
            account.count = account.count.saturating_sub(1);
            account.bytes = account.bytes.saturating_sub(weight(spec, status));
        }
    }

    /// See [`crate::store::Store::prune`].
    pub(super) fn prune(&mut self, retention: Retention, now: Timestamp) -> Verdict<Pruned> {
        let mut pruned = Pruned::default();
        for ended in Ended::ALL {
            let (excess, more) = self.excess(ended, ended.keep(&retention), MAX_PRUNE - pruned.forgotten.len())?;
            self.forget_all(&excess, now)?;
            pruned.forgotten.extend(excess);
            pruned.more |= more;
        }
        let aged = self.aged(&retention, MAX_PRUNE - pruned.forgotten.len(), now)?;
        self.forget_all(&aged, now)?;
        pruned.forgotten.extend(aged);
        pruned.more |= self.prune_events(retention.max_events)?;
        self.keep_tokens(now)?;
        self.sweep_state(now)?;
        self.sweep_batches(&retention, now)?;
        Ok(pruned)
    }

    fn forget_all(&mut self, ids: &[TaskId], now: Timestamp) -> Verdict<()> {
        ids.iter().try_for_each(|id| self.forget(*id, now))
    }

    /// The oldest tasks of a state that are beyond its bounds in number or bytes, and whether there may be more. What
    /// was searched in vain is not searched again: other states may fill the front, and what could not be
    /// forgotten then is remembered when it can.
    fn excess(&mut self, ended: Ended, keep: Keep, limit: usize) -> Verdict<(Vec<TaskId>, bool)> {
        let account = self.commit.ended.get(ended as usize).copied().unwrap_or_default();
        let mut excess = Excess {
            tasks: account.count.saturating_sub(keep.max_tasks),
            bytes: account.bytes.saturating_sub(keep.max_bytes),
            limit,
            ids: Vec::new(),
        };
        while excess.goes_on()
            && let Some(id) = self.passed.get_mut(ended as usize).and_then(BTreeSet::pop_first)
        {
            if let Some(status) = self.trees.done.get(&keys::task(id))? {
                self.take_excess(ended, id, &status, &mut excess)?;
            }
        }
        let mut searched = self.searched.get(ended as usize).copied().flatten();
        let from = searched.map(keys::task);
        let from = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let mut examined = 0;
        for record in self.trees.done.range(from, Bound::Unbounded).take(MAX_SEARCH) {
            if !excess.goes_on() {
                break;
            }
            let (key, value) = record?;
            examined += 1;
            let Some(id) = keys::task_of(&key) else { continue };
            let status = self.trees.done.decode(&value)?;
            searched = Some(id);
            self.take_excess(ended, id, &status, &mut excess)?;
        }
        if let Some(known) = self.searched.get_mut(ended as usize) {
            *known = searched;
        }
        let more = excess.is_left() && (examined == MAX_SEARCH || excess.ids.len() >= limit);
        Ok((excess.ids, more))
    }

    fn take_excess(&self, ended: Ended, id: TaskId, status: &Status, excess: &mut Excess) -> Verdict<()> {
        let is_wanted = Ended::of(&status.state).is_some_and(|(found, _)| found == ended);
        if is_wanted && !self.flow.is_needed(id) {
            excess.tasks = excess.tasks.saturating_sub(1);
            excess.bytes = excess.bytes.saturating_sub(weight(&self.trees.spec(id)?, status));
            excess.ids.push(id);
        }
        Ok(())
    }

    /// Ended tasks that are too old. Ids sort by creation, not by end, so every call looks at the
    /// next slice, round and round.
    fn aged(&mut self, retention: &Retention, limit: usize, now: Timestamp) -> Verdict<Vec<TaskId>> {
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
            let Some((ended, ended_at)) = Ended::of(&status.state) else { continue };
            if now.millis_since(ended_at) > ended.keep(retention).max_age_ms {
                ids.extend(latest.filter(|id| !self.flow.is_needed(*id)));
            }
        }
        self.aged_after = latest.filter(|_| examined == limit);
        Ok(ids)
    }

    /// Forgets an ended task.
    pub(super) fn forget(&mut self, id: TaskId, now: Timestamp) -> Verdict<()> {
        let status = self.trees.done.take(&keys::task(id))?;
        if status.as_ref().is_some_and(|status| status.checkpoint_bytes > 0) {
            self.trees.checkpoint.remove(&keys::task(id))?;
        }
        let Some(spec) = self.trees.body.take(&keys::task(id))? else { return Ok(()) };
        if let Some(status) = status {
            self.count_out(&spec, &status);
        }
        self.give_up_key(id, &spec)?;
        self.forget_in_batch(&spec, now);
        for request in &spec.new.idempotency {
            self.trees.request.remove(request.key.as_bytes())?;
        }
        for link in keys::links(id, &spec.new) {
            self.trees.link.remove(&link)?;
        }
        Ok(())
    }

    /// See [`crate::store::Store::redrive_failed`].
    pub(super) fn redrive_failed(&mut self, query: &RedriveQuery, now: Timestamp) -> Verdict<Redriven> {
        let (ids, mut next) = self.failed(query)?;
        let mut redriven = Redriven::default();
        let mut before = query.after;
        for id in ids {
            match self.redrive(id, now) {
                Ok(_) => redriven.ids.push(id),
                Err(Halt::Refused(StoreError::Conflict(_))) => redriven.held.push(id),
                Err(Halt::Refused(StoreError::Full(_))) if !redriven.ids.is_empty() => {
                    next = before;
                    break;
                }
                Err(halt) => return Err(halt),
            }
            before = Some(id);
        }
        Ok(Redriven { next, ..redriven })
    }

    /// Failed tasks that a query selects, and where the search goes on.
    fn failed(&self, query: &RedriveQuery) -> Verdict<(Vec<TaskId>, Option<TaskId>)> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX).clamp(1, MAX_REDRIVE);
        let from = query.after.map(keys::task);
        let from = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let (mut ids, mut latest) = (Vec::new(), None);
        for (examined, record) in self.trees.done.range(from, Bound::Unbounded).enumerate() {
            if ids.len() >= limit || examined >= MAX_SCAN {
                return Ok((ids, latest));
            }
            let (key, value) = record?;
            let Some(id) = keys::task_of(&key) else { continue };
            latest = Some(id);
            let State::Failed { at, failure } = self.trees.done.decode(&value)?.state else { continue };
            if query.since.is_some_and(|since| at < since) || query.code.as_ref().is_some_and(|it| *it != failure.code)
            {
                continue;
            }
            let spec = self.trees.spec(id)?;
            let is_kind = query.kind.as_ref().is_none_or(|kind| *kind == spec.new.kind);
            if is_kind && query.queue.as_ref().is_none_or(|queue| *queue == spec.new.queue) {
                ids.push(id);
            }
        }
        Ok((ids, None))
    }
}
