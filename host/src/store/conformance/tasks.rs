//! Creating, ending, listing and forgetting tasks.

use super::{Harness, MANY, add, at, claim, claim_one, failure, finish, new_task, state_of, success};
use crate::event::{Change, TaskChange};
use crate::store::request::{Enqueued, Keep, RedriveQuery, Redriven, Retention, TaskQuery};
use crate::store::{Store, StoreError};
use crate::task::{NewTask, Outcome, Source, State, TaskId};

fn keyed(key: &str) -> NewTask {
    NewTask { unique_key: Some(key.to_owned()), ..new_task() }
}

pub(crate) async fn i1_an_outbox_is_created_with_the_end_of_its_task(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let mut batches = store.subscribe();
    let id = add(&*store, keyed("a"), 0).await;
    let attempt = claim_one(&*store, 1).await;
    batches.recv().await.unwrap();
    batches.recv().await.unwrap();
    let from = |new: NewTask| NewTask { source: Source::Task(id), ..new };
    let outbox = vec![from(keyed("a")), from(keyed("b")), from(keyed("b"))];
    finish(&*store, attempt, Outcome::Succeeded { output: "1".to_owned(), outbox }, 2).await.unwrap();
    let batch = batches.recv().await.unwrap();
    let changes: Vec<_> = batch.iter().map(|event| event.change.name()).collect();
    assert_eq!(changes, ["task.succeeded", "task.queued", "task.queued"], "one batch a commit");
    let live = claim(&*store, 9, 3).await.claimed;
    assert_eq!(live.len(), 2, "the parent's key is free again, the doubled one is not");
    assert!(live.iter().all(|one| one.spec.new.source == Source::Task(id)));
    let task = store.task(id).await.unwrap().unwrap();
    assert_eq!(task.status.state, State::Succeeded { at: at(2), output: "1".to_owned() });
}

pub(crate) async fn i8_enqueue_is_all_or_none(harness: &impl Harness) {
    let store = harness.open(1, 3, at(0));
    let first = add(&*store, keyed("a"), 0).await;
    let refused = store.enqueue(vec![new_task(), new_task(), new_task()], at(1)).await;
    assert!(matches!(refused, Err(StoreError::Full(_))));
    assert_eq!(store.events(0, 100).await.unwrap().last, 1, "nothing happened");
    let added = store.enqueue(vec![keyed("a"), keyed("b"), keyed("b"), new_task()], at(1)).await.unwrap();
    assert_eq!(added[0], Enqueued { id: first, duplicate: true });
    assert_eq!(added[2], Enqueued { id: added[1].id, duplicate: true });
    assert!(matches!(store.enqueue(vec![new_task()], at(1)).await, Err(StoreError::Full(_))));
    let attempt = claim_one(&*store, 2).await;
    let two = Outcome::Succeeded { output: String::new(), outbox: vec![new_task(), new_task()] };
    assert!(matches!(finish(&*store, attempt, two, 3).await, Err(StoreError::Full(_))));
    assert_eq!(state_of(&*store, attempt.0).await, "running");
    let one = Outcome::Succeeded { output: String::new(), outbox: vec![new_task()] };
    finish(&*store, attempt, one, 3).await.unwrap();
    assert!(matches!(store.redrive(attempt.0, at(4)).await, Err(StoreError::Full(_))));
}

pub(crate) async fn i8_history_is_pruned_by_count_and_age(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let mut ids = Vec::new();
    for now in 0..6 {
        ids.push(add(&*store, new_task(), now).await);
        let attempt = claim_one(&*store, now).await;
        finish(&*store, attempt, success(), now * 10).await.unwrap();
    }
    let live = add(&*store, new_task(), 6).await;
    let keep = Keep { max_age_ms: 1_000, max_tasks: 10, max_bytes: u64::MAX };
    let all = |keep| Retention::uniform(keep, 1_000);
    assert_eq!(store.prune(all(keep), at(100)).await.unwrap().forgotten, []);
    assert_eq!(store.prune(all(Keep { max_tasks: 4, ..keep }), at(100)).await.unwrap().forgotten, ids[..2]);
    assert_eq!(store.prune(all(Keep { max_age_ms: 60, ..keep }), at(100)).await.unwrap().forgotten, ids[2..4]);
    assert_eq!(store.task(ids[0]).await.unwrap(), None);
    let left = store.tasks(TaskQuery { limit: 100, ..TaskQuery::default() }).await.unwrap();
    assert_eq!(left.items.iter().map(|task| task.id).collect::<Vec<_>>(), [live, ids[5], ids[4]]);
    assert!(matches!(store.redrive(ids[0], at(100)).await, Err(StoreError::NotFound)));
    // The count survives a restart.
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(100));
    assert_eq!(store.prune(all(Keep { max_tasks: 1, ..keep }), at(100)).await.unwrap().forgotten, [ids[4]]);
}

pub(crate) async fn i15_what_was_acknowledged_is_there_after_a_restart(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let (epoch, mut all) = (store.epoch(), Vec::new());
    for priority in 0..5 {
        all.push(add(&*store, NewTask { priority, ..keyed(&priority.to_string()) }, 0).await);
    }
    let attempt = claim_one(&*store, 1).await;
    finish(&*store, attempt, failure(50), 2).await.unwrap();
    let attempt = claim_one(&*store, 3).await;
    finish(&*store, attempt, success(), 4).await.unwrap();
    let query = TaskQuery { limit: 100, ..TaskQuery::default() };
    let seen = (store.tasks(query.clone()).await.unwrap().items, store.events(0, 100).await.unwrap().events);
    // Without `close`: dropping is as good.
    drop(store);

    let store = harness.open(2, MANY, at(5));
    assert_eq!((store.tasks(query).await.unwrap().items, store.events(0, 100).await.unwrap().events), seen);
    assert_eq!(store.epoch(), epoch);
    let order: Vec<_> = claim(&*store, 9, 100).await.claimed.iter().map(|one| one.id).collect();
    assert_eq!(order, [all[4], all[2], all[1], all[0]]);
    assert!(store.enqueue(vec![keyed("2")], at(100)).await.unwrap()[0].duplicate, "keys are known again");
}

pub(crate) async fn a_cancelled_task_ends_or_is_asked_to(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let queued = add(&*store, NewTask { run_at: Some(at(500)), ..keyed("a") }, 0).await;
    let running = add(&*store, new_task(), 0).await;
    let attempt = claim_one(&*store, 0).await;
    assert_eq!(attempt.0, running);

    let task = store.request_cancel(queued, at(1)).await.unwrap();
    assert_eq!(task.status.state, State::Cancelled { at: at(1) });
    assert!(!store.enqueue(vec![keyed("a")], at(1)).await.unwrap()[0].duplicate, "its key is free");
    assert_eq!(claim(&*store, 9, 1_000).await.claimed.len(), 1, "it never runs, the new one does");

    let last = store.events(0, 100).await.unwrap().last;
    assert!(store.request_cancel(running, at(2)).await.unwrap().status.cancel.is_some());
    assert!(store.request_cancel(running, at(2)).await.unwrap().status.cancel.is_some());
    let asked = store.events(last, 100).await.unwrap().events;
    let [event] = &asked[..] else { panic!("asked once, told {} times", asked.len()) };
    assert!(matches!(event.change, Change::Task { change: TaskChange::CancelRequested, .. }));
    let beat = crate::store::Heartbeat {
        id: running,
        attempt: attempt.1,
        lease_until: at(900),
        progress: None,
        saw_cancel: false,
    };
    assert!(store.heartbeat(beat, at(3)).await.unwrap());
    let task = finish(&*store, attempt, Outcome::Interrupted, 4).await.unwrap();
    assert_eq!(task.status.state, State::Cancelled { at: at(4) });
    assert_eq!(store.request_cancel(running, at(5)).await.unwrap(), task, "ended ones stay");
    assert!(matches!(store.request_cancel(TaskId::from_u128(1), at(5)).await, Err(StoreError::NotFound)));
}

pub(crate) async fn a_checkpoint_belongs_to_the_attempt_and_goes_with_the_task(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, new_task(), 0).await;
    let attempt = claim_one(&*store, 0).await;
    store.save_checkpoint(id, attempt.1, vec![1, 2]).await.unwrap();
    finish(&*store, attempt, Outcome::Yielded, 1).await.unwrap();
    assert_eq!(store.checkpoint(id).await.unwrap(), Some(vec![1, 2]), "the next attempt goes on from it");
    let attempt = claim_one(&*store, 2).await;
    store.save_checkpoint(id, attempt.1, vec![3]).await.unwrap();
    finish(&*store, attempt, success(), 3).await.unwrap();
    assert_eq!(store.checkpoint(id).await.unwrap(), None);
}

pub(crate) async fn a_closed_store_says_so(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, new_task(), 0).await;
    let enqueued = store.enqueue(vec![new_task()], at(0));
    let (enqueued, ()) = tokio::join!(enqueued, store.close());
    enqueued.unwrap();
    assert!(matches!(store.task(id).await, Err(StoreError::Closed)));
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(1));
    let left = store.tasks(TaskQuery { limit: 100, ..TaskQuery::default() }).await.unwrap();
    assert_eq!(left.items.len(), 2, "what was queued was committed");
}

pub(crate) async fn a_redriven_task_starts_over(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, NewTask { max_attempts: 1, ..keyed("a") }, 0).await;
    assert!(matches!(store.redrive(id, at(0)).await, Err(StoreError::Conflict(_))));
    let attempt = claim_one(&*store, 0).await;
    finish(&*store, attempt, failure(0), 1).await.unwrap();
    assert_eq!(state_of(&*store, id).await, "failed");
    let other = add(&*store, keyed("a"), 2).await;
    assert!(matches!(store.redrive(id, at(2)).await, Err(StoreError::Conflict(_))), "the key is taken");
    store.request_cancel(other, at(2)).await.unwrap();
    let task = store.redrive(id, at(3)).await.unwrap();
    assert_eq!((task.status.state.clone(), task.status.failures), (State::Queued { due_at: at(3) }, 0));
    assert_eq!(claim_one(&*store, 3).await, (id, 2), "the attempt number keeps rising");
}

pub(crate) async fn a_unique_key_is_held_while_its_task_lives(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, keyed("a"), 0).await;
    let attempt = claim_one(&*store, 0).await;
    assert_eq!(store.enqueue(vec![keyed("a")], at(0)).await.unwrap(), [Enqueued { id, duplicate: true }]);
    finish(&*store, attempt, failure(10), 1).await.unwrap();
    assert!(store.enqueue(vec![keyed("a")], at(1)).await.unwrap()[0].duplicate);
    let attempt = claim_one(&*store, 20).await;
    finish(&*store, attempt, success(), 21).await.unwrap();
    assert_ne!(add(&*store, keyed("a"), 22).await, id);
}

pub(crate) async fn listings_are_newest_first_and_go_on(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let mut ids = Vec::new();
    for at in 0..7 {
        let kind = if at % 2 == 0 { "echo" } else { "other" };
        ids.push(add(&*store, NewTask { kind: kind.to_owned(), ..new_task() }, 0).await);
    }
    for _ in 0..2 {
        let attempt = claim_one(&*store, 0).await;
        finish(&*store, attempt, success(), 1).await.unwrap();
    }
    let running = claim_one(&*store, 0).await.0;
    assert_eq!(running, ids[4]);
    let query = TaskQuery { limit: 100, ..TaskQuery::default() };
    let all = pages(&*store, TaskQuery { limit: 2, ..query.clone() }).await;
    assert_eq!(all, ids.iter().rev().copied().collect::<Vec<_>>());
    let states = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let some = pages(&*store, TaskQuery { states: states(&["running", "succeeded"]), ..query.clone() }).await;
    assert_eq!(some, [ids[4], ids[2], ids[0]]);
    let some = pages(&*store, TaskQuery { kind: Some("other".to_owned()), limit: 1, ..query.clone() }).await;
    assert_eq!(some, [ids[5], ids[3], ids[1]]);
    let some = pages(&*store, TaskQuery { states: states(&["failed"]), ..query }).await;
    assert_eq!(some, []);
}

async fn pages(store: &dyn Store, mut query: TaskQuery) -> Vec<TaskId> {
    let mut ids = Vec::new();
    loop {
        let page = store.tasks(query.clone()).await.unwrap();
        ids.extend(page.items.iter().map(|task| task.id));
        let Some(next) = page.next else { return ids };
        query.before = Some(next.parse().unwrap());
    }
}

pub(crate) async fn wakeups_announce_work(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let mut wakeups = store.wakeups();
    wakeups.mark_unchanged();
    add(&*store, new_task(), 0).await;
    assert!(wakeups.has_changed().unwrap());
    wakeups.mark_unchanged();
    let attempt = claim_one(&*store, 0).await;
    assert!(!wakeups.has_changed().unwrap());
    finish(&*store, attempt, success(), 0).await.unwrap();
    assert!(wakeups.has_changed().unwrap());
}

pub(crate) async fn i8_each_state_is_pruned_by_its_own_bounds(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let mut ids = Vec::new();
    for number in 0..9_usize {
        ids.push(add(&*store, new_task(), 0).await);
        let attempt = claim_one(&*store, 0).await;
        let outcome = match number % 3 {
            0 => Outcome::Succeeded { output: "x".repeat(1_000), outbox: Vec::new() },
            1 => Outcome::Fatal(crate::task::Failure::new("no", "no")),
            _ => Outcome::Cancelled,
        };
        finish(&*store, attempt, outcome, 1).await.unwrap();
    }
    let keep = Retention::uniform(Keep::ALL, 1_000);
    let failed = Retention { failed: Keep { max_tasks: 1, ..Keep::ALL }, ..keep };
    assert_eq!(store.prune(failed, at(2)).await.unwrap().forgotten, [ids[1], ids[4]]);
    // Two outputs of a thousand bytes and what belongs to them fit, a third does not.
    let bytes = Keep { max_bytes: 2_900, ..Keep::ALL };
    assert_eq!(store.prune(Retention::uniform(bytes, 1_000), at(2)).await.unwrap().forgotten, [ids[0]]);
    // The accounts are right after a restart, and when a task lives again.
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(3));
    assert_eq!(store.prune(Retention::uniform(bytes, 1_000), at(3)).await.unwrap().forgotten, []);
    store.redrive(ids[3], at(3)).await.unwrap();
    let attempt = claim_one(&*store, 3).await;
    assert_eq!(attempt.0, ids[3]);
    let two = Retention { succeeded: Keep { max_tasks: 1, ..Keep::ALL }, ..keep };
    assert_eq!(store.prune(two, at(4)).await.unwrap().forgotten, [], "one has succeeded, the other runs");
    finish(&*store, attempt, success(), 5).await.unwrap();
    assert_eq!(store.prune(two, at(6)).await.unwrap().forgotten, [ids[3]], "older by creation");
    let cancelled = Retention { cancelled: Keep { max_age_ms: 1, ..Keep::ALL }, ..keep };
    assert_eq!(store.prune(cancelled, at(9)).await.unwrap().forgotten, [ids[2], ids[5], ids[8]]);
}

pub(crate) async fn v10_the_dead_letter_set_is_put_back_by_filter(harness: &impl Harness) {
    let store = harness.open(1, 5, at(0));
    let mut ids = Vec::new();
    for (number, (queue, code)) in [("a", "x"), ("b", "x"), ("a", "y"), ("a", "x"), ("a", "x")].into_iter().enumerate()
    {
        let new = if number == 3 { keyed("k") } else { new_task() };
        ids.push(add(&*store, NewTask { queue: queue.to_owned(), ..new }, 0).await);
        let attempt = claim_one(&*store, 0).await;
        let outcome = Outcome::Fatal(crate::task::Failure::new(code, "no"));
        finish(&*store, attempt, outcome, number as u64).await.unwrap();
    }
    let holder = add(&*store, keyed("k"), 9).await;
    let word = |text: &str| Some(text.to_owned());
    let query = RedriveQuery { queue: word("a"), code: word("x"), limit: 10, ..RedriveQuery::default() };
    let since = RedriveQuery { since: Some(at(5)), ..query.clone() };
    assert_eq!(store.redrive_failed(since, at(9)).await.unwrap(), Redriven::default());
    let other = RedriveQuery { kind: word("other"), ..query.clone() };
    assert_eq!(store.redrive_failed(other, at(9)).await.unwrap(), Redriven::default());
    let one = RedriveQuery { limit: 1, ..query.clone() };
    let first = store.redrive_failed(one, at(10)).await.unwrap();
    assert_eq!(first, Redriven { ids: vec![ids[0]], held: Vec::new(), next: Some(ids[0]) });
    let rest = RedriveQuery { after: first.next, ..query.clone() };
    let rest = store.redrive_failed(rest, at(10)).await.unwrap();
    assert_eq!(rest, Redriven { ids: vec![ids[4]], held: vec![ids[3]], next: None }, "a key that is taken stays so");
    assert_eq!(state_of(&*store, ids[3]).await, "failed");
    // Only as many as there is room for; where it goes on is told.
    store.request_cancel(holder, at(11)).await.unwrap();
    for _ in 0..2 {
        add(&*store, new_task(), 11).await;
    }
    let all = RedriveQuery { limit: 10, ..RedriveQuery::default() };
    let some = store.redrive_failed(all.clone(), at(12)).await.unwrap();
    assert_eq!(some, Redriven { ids: vec![ids[1]], held: Vec::new(), next: Some(ids[1]) });
    assert!(matches!(store.redrive_failed(all, at(12)).await, Err(StoreError::Full(_))));
}
