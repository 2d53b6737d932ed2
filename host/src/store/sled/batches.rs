//! Batches: their members are counted, and their callbacks created, in the commit of each end.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use super::codec::KnownRecord;
use super::core::{Core, Halt, Verdict};
use super::keys;
use crate::event::{BatchChange, Change};
use crate::store::batches::{Batch, CreatedBatch, MAX_BATCH_PAGE, NewBatch};
use crate::store::flow::LinkedTask;
use crate::store::request::{Page, Retention, TakenKey};
use crate::store::{Obstacle, StoreError};
use crate::task::{BatchId, BatchSpec, BatchTally, Failure, Fate, Milestone, NewTask, Source, Spec, State, TaskId};
use crate::time::Timestamp;

/// Batches without members that one prune looks at.
const MAX_SWEEP: usize = 256;

/// What happened to a batch.
enum Happened {
    /// It was created.
    Created,
    /// A member has ended like this.
    Ended(State),
    /// A member that had ended like this lives again.
    Revived(State),
    /// A member is not kept any more.
    Forgotten,
}

/// Batches of live members, in memory; rebuilt when the store opens.
#[derive(Default)]
pub(super) struct Batches {
    live: HashMap<BatchId, BTreeSet<TaskId>>,
    /// Room that is kept for the callbacks of batches that are not complete.
    reserved: u64,
    /// Since the latest commit, in its order.
    happened: VecDeque<(BatchId, Happened, Timestamp)>,
    swept_after: Option<BatchId>,
}

impl Batches {
    /// Tasks that will be created without anybody asking for room.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Whether something that has happened is not counted yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.happened.is_empty()
    }
}

/// A state without what may be large.
fn bare(state: &State) -> State {
    match state {
        State::Succeeded { at, .. } => State::Succeeded { at: *at, output: String::new() },
        State::Failed { at, .. } => State::Failed { at: *at, failure: Failure::new("", "") },
        State::Waiting | State::Queued { .. } | State::Running { .. } | State::Cancelled { .. } => state.clone(),
    }
}

impl Core {
    /// See [`crate::store::Store::create_batch`].
    pub(super) fn create_batch(&mut self, new: NewBatch, now: Timestamp) -> Verdict<CreatedBatch> {
        let NewBatch { name, mut tasks, callbacks, idempotency } = new;
        if let Some(request) = &idempotency
            && let Some(known) = self.trees.request.get(&keys::batch_request(&request.key))?
        {
            if known.fingerprint != request.fingerprint {
                return Err(Obstacle::Exists.because("another batch was created with this idempotency key").into());
            }
            let id = BatchId::from_u128(known.id.as_u128());
            return Ok(CreatedBatch { id, tasks: Vec::new(), duplicate: true });
        }
        self.require_new(&tasks, now)?;
        self.check_callback_room(tasks.len() as u64, callbacks.count())?;
        let id = BatchId::generate();
        for task in &mut tasks {
            task.new.batch = Some(id);
        }
        let members = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        let enqueued = self.enqueue_linked(tasks, now)?;
        self.batches.reserved += u64::from(callbacks.count());
        if let Some(request) = &idempotency {
            let known = KnownRecord { id: TaskId::from_u128(id.as_u128()), fingerprint: request.fingerprint };
            self.trees.request.put(&keys::batch_request(&request.key), &known)?;
        }
        let spec = BatchSpec { name, members, callbacks, idempotency, created_at: now };
        self.trees.batch.put(&keys::batch(id), &spec)?;
        self.trees.batch_tally.put(&keys::batch(id), &BatchTally::default())?;
        self.emit(now, Change::Batch { id, change: BatchChange::Created });
        self.batches.happened.push_back((id, Happened::Created, now));
        Ok(CreatedBatch { id, tasks: enqueued.into_iter().map(|one| one.id).collect(), duplicate: false })
    }

    /// Members are new, each of them.
    fn require_new(&self, tasks: &[LinkedTask], now: Timestamp) -> Verdict<()> {
        let mut seen = BTreeSet::new();
        for (at, LinkedTask { new, .. }) in tasks.iter().enumerate() {
            if let Some(key) = new.unique_key.as_deref() {
                let held = self.holding(key, now)?;
                let is_free = held.is_none_or(|(_, holding)| new.unique.fate(holding) == Fate::Create);
                if !is_free || !seen.insert((TakenKey::Unique as u8, key)) {
                    let holder = held.map(|(holder, _)| holder);
                    return Err(StoreError::Taken { at, key: TakenKey::Unique, holder }.into());
                }
            }
            if let Some(request) = new.idempotency.last() {
                let known = self.known_request(&request.key)?;
                if known.is_some() || !seen.insert((TakenKey::Idempotency as u8, request.key.as_str())) {
                    let holder = known.map(|(holder, _)| holder);
                    return Err(StoreError::Taken { at, key: TakenKey::Idempotency, holder }.into());
                }
            }
        }
        Ok(())
    }

    fn check_callback_room(&self, members: u64, callbacks: u32) -> Verdict<()> {
        let wanted = members + u64::from(callbacks);
        if self.index.live() + self.batches.reserved + wanted > self.max_live_tasks {
            let text = format!("the queue is full: {wanted} tasks do not fit below {}", self.max_live_tasks);
            return Err(StoreError::Full(text).into());
        }
        Ok(())
    }

    /// A member has become live. `before` is how it had ended, if it had.
    pub(super) fn enter_batch(&mut self, id: TaskId, spec: &Spec, before: Option<&State>, now: Timestamp) {
        let Some(batch) = spec.new.batch else { return };
        self.batches.live.entry(batch).or_default().insert(id);
        if let Some(state) = before.filter(|state| state.is_terminal()) {
            self.batches.happened.push_back((batch, Happened::Revived(bare(state)), now));
        }
    }

    /// A member has ended.
    pub(super) fn leave_batch(&mut self, id: TaskId, spec: &Spec, state: &State, now: Timestamp) {
        let Some(batch) = spec.new.batch else { return };
        if let Some(live) = self.batches.live.get_mut(&batch) {
            live.remove(&id);
            if live.is_empty() {
                self.batches.live.remove(&batch);
            }
        }
        self.batches.happened.push_back((batch, Happened::Ended(bare(state)), now));
    }

    /// An ended member is not kept any more.
    pub(super) fn forget_in_batch(&mut self, spec: &Spec, now: Timestamp) {
        if let Some(batch) = spec.new.batch {
            self.batches.happened.push_back((batch, Happened::Forgotten, now));
        }
    }

    /// Counts what has happened, and creates what follows. Part of the same commit.
    pub(super) fn settle_batches(&mut self) -> Verdict<()> {
        while let Some((id, happened, at)) = self.batches.happened.pop_front() {
            let key = keys::batch(id);
            let (Some(spec), Some(mut tally)) = (self.trees.batch.get(&key)?, self.trees.batch_tally.get(&key)?) else {
                return Err(Halt::Broken(format!("batch {id} is missing")));
            };
            self.count(id, (&spec, &mut tally), (&happened, at))?;
            // Its members come one after the other: only the last count is written.
            while let Some((_, happened, at)) = self.batches.happened.pop_front_if(|(other, _, _)| *other == id) {
                self.count(id, (&spec, &mut tally), (&happened, at))?;
            }
            if spec.members > 0 && tally.forgotten >= spec.members {
                self.forget_batch(id, &spec)?;
            } else {
                self.trees.batch_tally.put(&key, &tally)?;
            }
        }
        Ok(())
    }

    fn count(
        &mut self,
        id: BatchId,
        (spec, tally): (&BatchSpec, &mut BatchTally),
        (happened, at): (&Happened, Timestamp),
    ) -> Verdict<()> {
        match happened {
            Happened::Created => {}
            Happened::Ended(state) => tally.count(state),
            Happened::Revived(state) => tally.uncount(state),
            Happened::Forgotten => tally.forgotten += 1,
        }
        let was_open = tally.completed_at.is_none();
        for milestone in tally.reach(spec.members, at) {
            let (change, word) = match milestone {
                Milestone::Failing => (BatchChange::Failing, "failure"),
                Milestone::Succeeded => (BatchChange::Succeeded, "success"),
                Milestone::Completed => (BatchChange::Completed, "complete"),
            };
            self.emit(at, Change::Batch { id, change });
            if let Some(new) = spec.callbacks.of(milestone) {
                let followed = self.insert(callback(new, id, word), at)?;
                tally.followed(milestone, followed.id);
                if was_open {
                    self.batches.reserved = self.batches.reserved.saturating_sub(1);
                }
            }
        }
        if was_open && tally.completed_at.is_some() {
            self.batches.reserved = self.batches.reserved.saturating_sub(uncalled(spec, tally));
        }
        Ok(())
    }

    fn forget_batch(&mut self, id: BatchId, spec: &BatchSpec) -> Verdict<()> {
        self.trees.batch.remove(&keys::batch(id))?;
        self.trees.batch_tally.remove(&keys::batch(id))?;
        if let Some(request) = &spec.idempotency {
            self.trees.request.remove(&keys::batch_request(&request.key))?;
        }
        Ok(())
    }

    /// Forgets batches that never had members, when they are as old as tasks that succeeded may be.
    pub(super) fn sweep_batches(&mut self, retention: &Retention, now: Timestamp) -> Verdict<()> {
        let from = self.batches.swept_after.take().map(keys::batch);
        let from = from.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let (mut gone, mut latest, mut examined) = (Vec::new(), None, 0);
        for record in self.trees.batch.range(from, Bound::Unbounded).take(MAX_SWEEP) {
            let (key, value) = record?;
            let spec = self.trees.batch.decode(&value)?;
            latest = keys::batch_of(&key);
            examined += 1;
            if spec.members == 0 && now.millis_since(spec.created_at) > retention.succeeded.max_age_ms {
                gone.extend(latest.map(|id| (id, spec)));
            }
        }
        self.batches.swept_after = latest.filter(|_| examined == MAX_SWEEP);
        gone.iter().try_for_each(|(id, spec)| self.forget_batch(*id, spec))
    }

    /// See [`crate::store::Store::batch`].
    pub(super) fn batch(&self, id: BatchId) -> Verdict<Option<Batch>> {
        let key = keys::batch(id);
        let (Some(spec), Some(tally)) = (self.trees.batch.get(&key)?, self.trees.batch_tally.get(&key)?) else {
            return Ok(None);
        };
        let (mut waiting, mut queued, mut running) = (0, 0, 0);
        for member in self.batches.live.get(&id).into_iter().flatten() {
            if self.index.running(*member).is_some() {
                running += 1;
            } else if self.flow.waits(*member) {
                waiting += 1;
            } else {
                queued += 1;
            }
        }
        Ok(Some(Batch { id, spec, tally, waiting, queued, running }))
    }

    /// See [`crate::store::Store::batches`].
    pub(super) fn batches(&self, before: Option<BatchId>, limit: u32) -> Verdict<Page<Batch>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, MAX_BATCH_PAGE);
        let before = before.map(keys::batch);
        let to = before.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
        let mut page: Page<Batch> = Page { items: Vec::new(), next: None };
        for record in self.trees.batch.range(Bound::Unbounded, to).rev() {
            if page.items.len() == limit {
                page.next = page.items.last().map(|batch| batch.id.to_string());
                break;
            }
            let Some(id) = keys::batch_of(&record?.0) else { continue };
            page.items.extend(self.batch(id)?);
        }
        Ok(page)
    }

    /// See [`crate::store::Store::cancel_batch`].
    pub(super) fn cancel_batch(&mut self, id: BatchId, now: Timestamp) -> Verdict<Batch> {
        if !self.trees.batch.contains(&keys::batch(id))? {
            return Err(StoreError::NotFound.into());
        }
        let members: Vec<_> = self.batches.live.get(&id).into_iter().flatten().copied().collect();
        for member in members {
            self.request_cancel(member, now)?;
        }
        self.settle_batches()?;
        self.batch(id)?.ok_or_else(|| StoreError::NotFound.into())
    }

    /// Takes in the batches that are stored; live members are in already.
    pub(super) fn load_batches(&mut self) -> Verdict<()> {
        for record in self.trees.batch.range(Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = record?;
            let spec = self.trees.batch.decode(&value)?;
            let tally =
                self.trees.batch_tally.get(&key)?.ok_or_else(|| Halt::Broken("a batch has no tally".to_owned()))?;
            if tally.completed_at.is_none() {
                self.batches.reserved += uncalled(&spec, &tally);
            }
        }
        Ok(())
    }
}

/// Callbacks that were not called.
fn uncalled(spec: &BatchSpec, tally: &BatchTally) -> u64 {
    let called = [tally.on_failure, tally.on_success, tally.on_complete].into_iter().flatten().count();
    u64::from(spec.callbacks.count()).saturating_sub(called as u64)
}

/// The task that follows: it can tell which batch it is about.
fn callback(new: &NewTask, id: BatchId, word: &str) -> NewTask {
    let mut attributes = new.attributes.clone();
    attributes.retain(|(name, _)| name != "batch" && name != "callback");
    attributes.push(("batch".to_owned(), id.to_string()));
    attributes.push(("callback".to_owned(), word.to_owned()));
    NewTask { attributes, source: Source::Batch(id), ..new.clone() }
}
