//! Creating tasks: what is checked for all of a call before the first of them is written, and what
//! becomes of those whose key is held.

use std::collections::HashMap;
use std::sync::Arc;

use super::codec::{HeldRecord, KnownRecord};
use super::core::{Core, Halt, Verdict};
use super::index::answers_until;
use super::keys;
use crate::store::StoreError;
use crate::store::request::{Enqueued, TakenKey};
use crate::task::{Fate, Holding, Idempotency, MAX_IDEMPOTENCY_KEYS, NewTask, Spec, State, Status, TaskId, UniqueMode};
use crate::time::Timestamp;

/// The tasks of one call, as far as they were looked at.
#[derive(Default)]
struct Looked<'a> {
    /// Who holds each key, once the tasks before are created; `None` for one of them.
    keys: HashMap<&'a str, (Option<TaskId>, Holding)>,
    requests: HashMap<&'a str, [u8; 16]>,
}

impl<'a> Looked<'a> {
    /// The request has its task, a new one or another one's.
    fn remember(&mut self, new: &'a NewTask) {
        if let Some(request) = new.idempotency.last() {
            self.requests.insert(&request.key, request.fingerprint);
        }
    }
}

impl Core {
    /// See [`crate::store::Store::enqueue`].
    pub(super) fn enqueue(&mut self, tasks: Vec<NewTask>, now: Timestamp) -> Verdict<Vec<Enqueued>> {
        self.check_room(&tasks, None, now)?;
        tasks.into_iter().map(|new| self.create(new, now)).collect()
    }

    /// Whether these tasks can be created, all of them, once `leaving` has ended.
    pub(super) fn check_room<'a>(
        &self,
        tasks: impl IntoIterator<Item = &'a NewTask>,
        leaving: Option<TaskId>,
        now: Timestamp,
    ) -> Verdict<()> {
        let mut looked = Looked::default();
        let (mut wanted, mut edges) = (0, 0);
        for (at, new) in tasks.into_iter().enumerate() {
            self.check_parents(at, new)?;
            edges += new.after.len();
            if self.is_known(at, new, &looked)? {
                continue;
            }
            let Some(key) = new.unique_key.as_deref() else {
                wanted += 1;
                looked.remember(new);
                continue;
            };
            let held = match looked.keys.get(key) {
                Some(held) => Some(*held),
                None => self.holding(key, now)?.filter(|(id, _)| leaving != Some(*id)).map(|(id, how)| (Some(id), how)),
            };
            let fate = held.map_or(Fate::Create, |(_, holding)| new.unique.fate(holding));
            match (fate, held) {
                (Fate::Reject, _) => {
                    let holder = held.and_then(|(holder, _)| holder);
                    return Err(StoreError::Taken { at, key: TakenKey::Unique, holder }.into());
                }
                (Fate::Create, Some((holder, Holding::Running { .. }))) if new.unique.mode == UniqueMode::KeepLast => {
                    wanted += 1;
                    looked.keys.insert(key, (holder, Holding::Running { followed: true }));
                }
                (Fate::Create, _) => {
                    wanted += 1;
                    looked.keys.insert(key, (None, Holding::Queued));
                }
                (Fate::Existing | Fate::Replace | Fate::ReplaceFollower, _) => {}
            }
            looked.remember(new);
        }
        let room = (self.max_live_tasks + u64::from(leaving.is_some()))
            .saturating_sub(self.index.live() + self.batches.reserved());
        if wanted > room {
            let text = format!("the queue is full: {wanted} tasks do not fit below {}", self.max_live_tasks);
            return Err(StoreError::Full(text).into());
        }
        self.check_edges(edges)
    }

    /// Whether an earlier request, perhaps of the same call, has made this task already.
    fn is_known(&self, at: usize, new: &NewTask, looked: &Looked<'_>) -> Verdict<bool> {
        let Some(request) = new.idempotency.last() else { return Ok(false) };
        let known = match looked.requests.get(request.key.as_str()) {
            Some(fingerprint) => Some((None, *fingerprint)),
            None => self.known_request(&request.key)?.map(|(id, fingerprint)| (Some(id), fingerprint)),
        };
        match known {
            Some((_, fingerprint)) if fingerprint == request.fingerprint => Ok(true),
            Some((holder, _)) => Err(StoreError::Taken { at, key: TakenKey::Idempotency, holder }.into()),
            None => Ok(false),
        }
    }

    /// See [`crate::store::Store::known_request`].
    pub(super) fn known_request(&self, key: &str) -> Verdict<Option<(TaskId, [u8; 16])>> {
        Ok(self.trees.request.get(key.as_bytes())?.map(|known| (known.id, known.fingerprint)))
    }

    /// Who holds a unique key at `now`, and how it stands.
    pub(super) fn holding(&self, key: &str, now: Timestamp) -> Verdict<Option<(TaskId, Holding)>> {
        if let Some(id) = self.index.holder(key, now) {
            let followed = self.index.follower(id).is_some();
            // A holder that waits for its next attempt and is followed is as good as running.
            let runs = followed || self.index.running(id).is_some();
            return Ok(Some((id, if runs { Holding::Running { followed } } else { Holding::Queued })));
        }
        let held = self.trees.held.get(key.as_bytes())?;
        let held = held.filter(|held| held.until.is_none_or(|until| now < until));
        Ok(held.map(|held| (held.id, Holding::Ended)))
    }

    /// Creates a task that was checked, or does what its rule says.
    pub(super) fn create(&mut self, new: NewTask, now: Timestamp) -> Verdict<Enqueued> {
        if let Some(request) = new.idempotency.last()
            && let Some((id, _)) = self.known_request(&request.key)?
        {
            return Ok(Enqueued { id, duplicate: true });
        }
        let held = match new.unique_key.as_deref() {
            Some(key) => self.holding(key, now)?,
            None => None,
        };
        let Some((holder, holding)) = held else { return self.insert(new, now) };
        let id = match new.unique.fate(holding) {
            Fate::Create => return self.insert(new, now),
            Fate::Existing | Fate::Reject => {
                self.answer_for(holder, new.idempotency)?;
                holder
            }
            Fate::Replace => self.replace(holder, new, now)?,
            Fate::ReplaceFollower => self.replace(self.index.follower(holder).unwrap_or(holder), new, now)?,
        };
        Ok(Enqueued { id, duplicate: true })
    }

    /// Creates a task, whatever holds its keys.
    pub(super) fn insert(&mut self, new: NewTask, now: Timestamp) -> Verdict<Enqueued> {
        let id = TaskId::generate();
        let due_at = new.first_due(now);
        let spec = Arc::new(Spec { new, created_at: now, first_event: self.commit.last_event + 1 });
        let mut status = Status::queued(due_at);
        self.hold_back(&spec, &mut status)?;
        self.write(id, &spec, &status, now)?;
        Ok(Enqueued { id, duplicate: false })
    }

    /// A task answers for requests that found it in their place: the same ones are answered with it again, as long as it
    /// is kept.
    fn answer_for(&mut self, id: TaskId, requests: Vec<Idempotency>) -> Verdict<()> {
        if requests.is_empty() {
            return Ok(());
        }
        let mut spec = self.trees.spec(id)?;
        spec.new.idempotency = self.join_requests(&spec.new.idempotency, requests)?;
        self.keep_request(id, &spec)?;
        self.trees.body.put(&keys::task(id), &spec)?;
        self.index.respecify(id, &Arc::new(spec));
        Ok(())
    }

    /// The requests of a task, the latest last; the oldest are forgotten when there are too many.
    fn join_requests(&mut self, old: &[Idempotency], new: Vec<Idempotency>) -> Verdict<Vec<Idempotency>> {
        let mut requests = old.to_vec();
        requests.extend(new);
        for forgotten in requests.drain(..requests.len().saturating_sub(MAX_IDEMPOTENCY_KEYS)) {
            self.trees.request.remove(forgotten.key.as_bytes())?;
        }
        Ok(requests)
    }

    /// The latest request of a task is known by it.
    fn keep_request(&self, id: TaskId, spec: &Spec) -> Verdict<()> {
        let Some(request) = spec.new.idempotency.last() else { return Ok(()) };
        self.trees.request.put(request.key.as_bytes(), &KnownRecord { id, fingerprint: request.fingerprint })
    }

    /// A waiting task becomes what `new` asks for.
    fn replace(&mut self, id: TaskId, mut new: NewTask, now: Timestamp) -> Verdict<TaskId> {
        let missing = || Halt::Broken(format!("task {id} has no status"));
        let before = self.trees.live.get(&keys::task(id))?.ok_or_else(missing)?;
        let old = self.trees.spec(id)?;
        let mut status = before.clone();
        if !status.replace(new.first_due(now)) {
            return Err(Halt::Broken(format!("task {id} does not wait")));
        }
        new.idempotency = self.join_requests(&old.new.idempotency, new.idempotency)?;
        // It stays a member of its batch, which waits for it.
        new.batch = old.new.batch;
        let spec = Arc::new(Spec { new, created_at: old.created_at, first_event: old.first_event });
        self.trees.checkpoint.remove(&keys::task(id))?;
        for link in keys::links(id, &old.new) {
            self.trees.link.remove(&link)?;
        }
        self.index.leave(id, &old, &before);
        self.leave_flow(id, &old)?;
        self.write(id, &spec, &status, now)?;
        Ok(id)
    }

    /// Writes a task that is new, or that has become another one.
    fn write(&mut self, id: TaskId, spec: &Arc<Spec>, status: &Status, now: Timestamp) -> Verdict<()> {
        self.trees.body.put(&keys::task(id), spec)?;
        self.trees.live.put(&keys::task(id), status)?;
        self.keep_request(id, spec)?;
        for link in keys::links(id, &spec.new) {
            self.trees.link.put(&link, &())?;
        }
        self.index.hear(now);
        self.index.enter(id, spec, status);
        self.enter_batch(id, spec, None, now);
        self.enter_flow(id, spec, status, now)
    }

    /// A task that comes back to the queue while another one holds its unique key ends instead.
    pub(super) fn recheck_key(&self, id: TaskId, spec: &Spec, status: &mut Status, now: Timestamp) {
        let holds = matches!(status.state, State::Queued { .. }) && answers_until(spec).is_none();
        if let Some(key) = spec.new.unique_key.as_deref().filter(|_| holds)
            && let Some(holder) = self.index.holder(key, now).filter(|holder| *holder != id)
        {
            status.supersede(holder, now);
        }
    }

    /// An ended task goes on to hold its unique key, if its rule says so and nobody else does.
    pub(super) fn keep_key(&mut self, id: TaskId, spec: &Spec, state: &State, now: Timestamp) -> Verdict<()> {
        if let Some((key, until)) = kept_key(spec, state)
            && until.is_none_or(|until| now < until)
            && self.index.holder(key, now).is_none()
        {
            self.trees.held.put(key.as_bytes(), &HeldRecord { id, until })?;
        }
        Ok(())
    }

    /// An ended task is forgotten or lives again: gives up what it holds as an ended one.
    pub(super) fn give_up_key(&mut self, id: TaskId, spec: &Spec) -> Verdict<()> {
        if let Some(key) = spec.new.unique_key.as_deref()
            && self.trees.held.get(key.as_bytes())?.is_some_and(|held| held.id == id)
        {
            self.trees.held.remove(key.as_bytes())?;
        }
        Ok(())
    }
}

/// The unique key that a task goes on to hold when it has ended like this, and until when.
pub(super) fn kept_key<'a>(spec: &'a Spec, state: &State) -> Option<(&'a str, Option<Timestamp>)> {
    let key = spec.new.unique_key.as_deref()?;
    let until = answers_until(spec);
    (until.is_some() || spec.new.unique.holds(state)).then_some((key, until))
}
