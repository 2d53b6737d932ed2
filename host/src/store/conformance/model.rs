//! A run that compares a store with a plain one, verb by verb.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::plain::{MAX_LIVE, Model};
use super::plan::{KINDS, Step, progress};
use super::{Harness, LEASE_MS, at, digest};
use crate::event::{Change, TaskChange};
use crate::store::request::{ClaimRequest, Finish, GenerationRoom, Heartbeat, Keep, KindCount, Retention, TaskQuery};
use crate::store::{LinkedTask, Related, Store, StoreError};
use crate::task::{AttemptReport, BootId, Failure, NewTask, Outcome, Source, State, Task, TaskId};

/// The store under test beside the model.
struct Run<'a, H: Harness> {
    harness: &'a H,
    store: Arc<dyn Store>,
    model: Model,
    boot: u64,
    now: u64,
}

/// Carries a plan out on an empty store and on the model.
pub(crate) async fn agrees(harness: &impl Harness, plan: &[Step]) {
    let store = harness.open(1, MAX_LIVE, at(0));
    let mut run = Run { harness, store, model: Model::default(), boot: 1, now: 0 };
    for step in plan {
        run.step(step).await;
    }
    run.compare().await;
    run.step(&Step::Reopen).await;
    run.compare().await;
}

impl<H: Harness> Run<'_, H> {
    fn pick(&self, index: proptest::sample::Index) -> TaskId {
        let ids: Vec<_> = self.model.tasks.keys().copied().collect();
        if ids.is_empty() { TaskId::from_u128(1) } else { *index.get(&ids) }
    }

    fn attempt(&self, id: TaskId, stale: bool) -> u32 {
        let current = self.model.tasks.get(&id).map_or(0, |task| task.status.attempt);
        if stale { current + 1 } else { current }
    }

    async fn step(&mut self, step: &Step) {
        let now = at(self.now);
        match step {
            Step::Enqueue(drafts) => {
                let known: Vec<_> = self.model.tasks.keys().copied().collect();
                let linked = drafts.iter().enumerate().map(|(at, draft)| draft.linked(self.now, at, &known));
                self.enqueue(linked.collect()).await;
            }
            Step::Claim { kinds, room, limit } => self.claim(kinds, *room, *limit).await,
            Step::Beat { task, stale, lease_ms, done } => {
                let id = self.pick(*task);
                self.beat(id, self.attempt(id, *stale), self.now + lease_ms, *done).await;
            }
            Step::Finish { task, stale, end } => {
                let id = self.pick(*task);
                self.finish(id, self.attempt(id, *stale), end.at(self.now)).await;
            }
            Step::Cancel(task) => self.cancel(self.pick(*task)).await,
            Step::Redrive(task) => self.redrive(self.pick(*task)).await,
            Step::Purge(task) => self.purge(self.pick(*task)).await,
            Step::Checkpoint { task, stale, byte } => {
                let id = self.pick(*task);
                let attempt = self.attempt(id, *stale);
                let saved = self.store.save_checkpoint(id, attempt, vec![*byte]).await;
                assert_eq!(saved.is_ok(), self.is_current(id, attempt));
                if saved.is_ok() {
                    self.model.checkpoints.insert(id, vec![*byte]);
                }
            }
            Step::Reclaim => {
                let expired = self.model.leases().into_iter().filter(|(until, _)| *until <= now);
                let expired: Vec<_> = expired.map(|(_, id)| id).collect();
                assert_eq!(self.store.reclaim_expired(now).await.unwrap(), expired.len());
                for id in expired {
                    let text = "the attempt gave no sign of life until its lease ended";
                    self.model.crash(id, Failure::new("lease-expired", text), now);
                }
            }
            Step::Expire => {
                let next = self.store.expire_overdue(now).await.unwrap();
                self.model.expire(now);
                let waits = |task: &&Task| {
                    task.status.attempt == 0 && matches!(task.status.state, State::Waiting | State::Queued { .. })
                };
                assert_eq!(next, self.model.live().filter(waits).filter_map(|task| task.spec.new.deadline).min());
            }
            Step::Prune { max_tasks, max_age_ms } => {
                let keep = Keep { max_age_ms: *max_age_ms, max_tasks: *max_tasks, max_bytes: u64::MAX };
                let keep = Retention::uniform(keep, u64::MAX);
                let mut gone = self.store.prune(keep, now).await.unwrap().forgotten;
                gone.sort_unstable();
                assert_eq!(gone, self.model.prune(*max_tasks, *max_age_ms, now));
            }
            Step::Wait { millis } => self.now += millis,
            Step::SetClock { millis } => self.now = self.now.saturating_add_signed(*millis),
            Step::Reopen => self.reopen().await,
        }
        self.model.settle();
    }

    async fn enqueue(&mut self, tasks: Vec<LinkedTask>) {
        let now = at(self.now);
        let answer = if tasks.iter().any(|task| !task.earlier.is_empty()) {
            self.store.enqueue_linked(tasks.clone(), now).await
        } else {
            self.store.enqueue(tasks.iter().map(|task| task.new.clone()).collect(), now).await
        };
        let new: Vec<_> = answer.iter().flatten().filter(|one| !one.duplicate).map(|one| one.id).collect();
        let mut ids = new.into_iter();
        let known = self.model.clone();
        let expected = self.model.enqueue(&tasks, now, || ids.next().unwrap_or_else(TaskId::generate));
        let name = |error: StoreError| std::mem::discriminant(&error);
        if expected.is_err() {
            self.model = known;
        }
        assert_eq!(answer.map_err(name), expected.map_err(name));
    }

    async fn claim(&mut self, kinds: &[usize], room: u32, limit: u32) {
        let now = at(self.now);
        let kinds = kinds.iter().map(|at| KINDS[*at].to_owned()).collect();
        let rooms = vec![GenerationRoom { kinds, room, digest: digest() }];
        let request = ClaimRequest { rooms, limit, boot: BootId(self.boot), lease_until: at(self.now + LEASE_MS) };
        let claim = self.store.claim(request.clone(), now).await.unwrap();
        let (ids, next_due) = self.model.claim(&request, now);
        assert_eq!(claim.claimed.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
        assert_eq!(claim.next_due, next_due);
        for one in claim.claimed {
            let task = &self.model.tasks[&one.id];
            assert_eq!((&one.spec, &one.status), (&task.spec, &task.status));
        }
    }

    async fn beat(&mut self, id: TaskId, attempt: u32, until: u64, done: Option<u64>) {
        let beat = Heartbeat { id, attempt, lease_until: at(until), progress: done.map(progress), saw_cancel: false };
        let answer = self.store.heartbeat(beat, at(self.now)).await;
        assert_eq!(answer.is_ok(), self.is_current(id, attempt));
        if let Ok(cancelled) = answer {
            let status = &mut self.model.tasks.get_mut(&id).unwrap().status;
            assert_eq!(cancelled, status.cancel.is_some());
            status.beat(attempt, at(until)).unwrap();
            if done.is_some_and(|done| status.advance(&progress(done), at(self.now))) {
                self.model.emit(id, at(self.now), TaskChange::Progress(progress(done.unwrap())));
            }
        }
    }

    async fn finish(&mut self, id: TaskId, attempt: u32, mut outcome: Outcome) {
        let now = at(self.now);
        if let Outcome::Succeeded { outbox, .. } = &mut outcome {
            outbox.iter_mut().for_each(|new| new.source = Source::Task(id));
        }
        let last = self.model.events.len() as u64;
        let answer = self
            .store
            .finish(
                Finish { id, attempt, outcome: outcome.clone(), jitter: 0.5, report: AttemptReport::default() },
                now,
            )
            .await;
        let known = self.model.clone();
        let mut expected = self.model.finish(id, attempt, &outcome, now);
        if let (Ok(()), Outcome::Succeeded { outbox, .. }) = (&expected, &outcome) {
            let told = self.store.events(last + 1, 100).await.unwrap().events;
            // One that was there, or is replaced by a later one, is told of again.
            let mut seen: BTreeSet<_> = self.model.tasks.keys().copied().collect();
            let mut new = told.into_iter().filter_map(|event| {
                let Change::Task { id, change: TaskChange::Queued { .. }, .. } = event.change else { return None };
                seen.insert(id).then_some(id)
            });
            let outbox: Vec<_> =
                outbox.iter().map(|new| LinkedTask { new: new.clone(), earlier: Vec::new() }).collect();
            let added = self.model.enqueue(&outbox, now, || new.next().unwrap_or_else(TaskId::generate));
            expected = added.map(drop);
        }
        match expected {
            Ok(()) => assert_eq!(answer.unwrap(), self.model.tasks[&id]),
            Err(expected) => {
                let name = |error: &StoreError| std::mem::discriminant(error);
                assert_eq!(name(&answer.unwrap_err()), name(&expected));
                self.model = known;
            }
        }
    }

    async fn cancel(&mut self, id: TaskId) {
        let now = at(self.now);
        let answer = self.store.request_cancel(id, now).await;
        let Some(task) = self.model.tasks.get_mut(&id) else {
            assert!(matches!(answer, Err(StoreError::NotFound)));
            return;
        };
        if task.status.request_cancel(now) {
            let ended = TaskChange::of_end(&task.status);
            self.model.keep_checkpoint(id);
            let has_ended = ended.is_some();
            self.model.emit(id, now, ended.unwrap_or(TaskChange::CancelRequested));
            if has_ended {
                self.model.ended(id);
            }
        }
        assert_eq!(answer.ok().as_ref(), self.model.tasks.get(&id));
    }

    async fn redrive(&mut self, id: TaskId) {
        let now = at(self.now);
        let answer = self.store.redrive(id, now).await;
        let full = self.model.live().count() as u64 >= MAX_LIVE;
        let Some(task) = self.model.tasks.get(&id) else {
            assert!(matches!(answer, Err(StoreError::NotFound)));
            return;
        };
        let taken = self.model.holder(task.spec.new.unique_key.as_ref()).is_some();
        if !task.status.state.is_terminal() || taken {
            assert!(matches!(answer, Err(StoreError::Conflict(_))));
        } else if full {
            assert!(matches!(answer, Err(StoreError::Full(_))));
        } else if !self.model.may_be_put_back(id) {
            assert!(matches!(answer, Err(StoreError::Conflict(_))));
        } else {
            self.model.redrive(id, now);
            assert_eq!(answer.ok().as_ref(), self.model.tasks.get(&id));
        }
    }

    async fn purge(&mut self, id: TaskId) {
        let now = at(self.now);
        let answer = self.store.purge(id, now).await;
        match self.model.tasks.get(&id).map(|task| task.status.state.is_terminal()) {
            None => assert!(matches!(answer, Err(StoreError::NotFound))),
            Some(ended) if !ended || self.model.is_needed(id) => {
                assert!(matches!(answer, Err(StoreError::Conflict(_))));
            }
            Some(_) => {
                answer.unwrap();
                self.model.emit(id, now, TaskChange::Purged);
                self.model.forget(&[id]);
            }
        }
    }

    async fn reopen(&mut self) {
        self.store.close().await;
        self.boot += 1;
        self.store = self.harness.open(self.boot, MAX_LIVE, at(self.now));
        let mut orphans: Vec<_> = self.model.leases().into_iter().map(|(_, id)| id).collect();
        orphans.sort_unstable();
        for id in orphans {
            let failure = Failure::new("host-crashed", "the host stopped while the attempt was running");
            self.model.crash(id, failure, at(self.now));
        }
    }

    fn is_current(&self, id: TaskId, attempt: u32) -> bool {
        self.model
            .tasks
            .get(&id)
            .is_some_and(|task| matches!(task.status.state, State::Running { .. }) && task.status.attempt == attempt)
    }

    /// Everything that can be asked.
    async fn compare(&self) {
        let (store, model) = (&self.store, &self.model);
        let listed = store.tasks(TaskQuery { limit: 1_000, ..TaskQuery::default() }).await.unwrap();
        assert_eq!(listed.items, model.tasks.values().rev().cloned().collect::<Vec<_>>());
        assert_eq!(store.events(0, 4_096).await.unwrap().events, model.events);
        for id in model.tasks.keys() {
            assert_eq!(store.task(*id).await.unwrap().as_ref(), model.tasks.get(id));
            assert_eq!(store.checkpoint(*id).await.unwrap().as_ref(), model.checkpoints.get(id));
            self.compare_around(*id).await;
        }
        let mut counts: BTreeMap<&str, KindCount> = BTreeMap::new();
        for task in model.live().filter(|task| task.status.state != State::Waiting) {
            let kind = task.spec.new.kind.as_str();
            let count = counts.entry(kind).or_insert(KindCount { kind: kind.to_owned(), queued: 0, running: 0 });
            if matches!(task.status.state, State::Running { .. }) { count.running += 1 } else { count.queued += 1 }
        }
        assert_eq!(store.live_counts().await.unwrap(), counts.into_values().collect::<Vec<_>>());
    }

    /// Who is around a task.
    async fn compare_around(&self, id: TaskId) {
        assert_eq!(self.store.relations(id).await.unwrap(), self.model.relations(id));
        let tree = self.store.tree(id).await.unwrap();
        for (related, expected) in [
            (Related::CreatedBy(id), &(|new: &NewTask| new.source == Source::Task(id)) as &dyn Fn(&NewTask) -> bool),
            (Related::After(id), &|new: &NewTask| new.after.contains(&id)),
        ] {
            let query = TaskQuery { related: Some(related), limit: 1_000, ..TaskQuery::default() };
            let found: Vec<_> = self.store.tasks(query).await.unwrap().items.iter().map(|task| task.id).collect();
            let tasks = self.model.tasks.values().rev().filter(|task| expected(&task.spec.new));
            assert_eq!(found, tasks.map(|task| task.id).collect::<Vec<_>>());
            if matches!(related, Related::CreatedBy(_)) {
                assert!(tree.children.iter().rev().map(|child| child.id).eq(found));
            }
        }
    }
}
