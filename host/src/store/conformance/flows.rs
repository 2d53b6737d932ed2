//! Flows and batches beyond what plans reach: many children, retention, restarts.

use super::{Harness, MANY, add, at, claim, claim_one, finish, new_task, state_of, success};
use crate::store::{Keep, LinkedTask, NewBatch, Retention, Store, StoreError, TaskQuery};
use crate::task::{BatchId, Callbacks, Failure, NewTask, Outcome, TaskId, UniqueMode, UniqueRule};

fn after(parents: &[TaskId]) -> NewTask {
    NewTask { after: parents.to_vec(), ..new_task() }
}

async fn count(store: &dyn Store, state: &str) -> usize {
    let mut query = TaskQuery { states: vec![state.to_owned()], limit: 1_000, ..TaskQuery::default() };
    let mut count = 0;
    loop {
        let page = store.tasks(query.clone()).await.unwrap();
        count += page.items.len();
        let Some(next) = page.next else { return count };
        query.before = Some(next.parse().unwrap());
    }
}

pub(crate) async fn i8_very_many_children_are_told_in_slices_and_all_are(harness: &impl Harness) {
    let store = harness.open(1, 10_000, at(0));
    let good = add(&*store, NewTask { priority: 9, ..new_task() }, 0).await;
    let bad = add(&*store, NewTask { priority: 8, ..new_task() }, 0).await;
    store.enqueue(vec![after(&[good]); 2_500], at(1)).await.unwrap();
    store.enqueue(vec![after(&[bad]); 2_500], at(1)).await.unwrap();
    let attempt = claim_one(&*store, 2).await;
    assert_eq!(attempt.0, good);
    finish(&*store, attempt, success(), 3).await.unwrap();
    let attempt = claim_one(&*store, 4).await;
    // A claim that waits for the rest is served by the commits that follow.
    finish(&*store, attempt, Outcome::Fatal(Failure::new("code", "m")), 5).await.unwrap();
    store.close().await;
    drop(store);
    let store = harness.open(2, 10_000, at(6));
    let mut rounds = 0;
    while count(&*store, "waiting").await > 0 {
        rounds += 1;
        assert!(rounds < 100, "somebody is never told");
    }
    assert_eq!((count(&*store, "queued").await, count(&*store, "failed").await), (2_500, 2_501));
}

pub(crate) async fn parents_are_kept_for_those_that_come_after_them(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let parent = add(&*store, new_task(), 0).await;
    let attempt = claim_one(&*store, 0).await;
    finish(&*store, attempt, success(), 1).await.unwrap();
    let child = add(&*store, after(&[parent]), 2).await;
    assert_eq!(state_of(&*store, child).await, "queued");
    let nothing = Retention::uniform(Keep { max_age_ms: 0, max_tasks: 0, max_bytes: 0 }, 1_000);
    assert_eq!(store.prune(nothing, at(100)).await.unwrap().forgotten, []);
    let attempt = claim_one(&*store, 100).await;
    finish(&*store, attempt, success(), 101).await.unwrap();
    assert_eq!(store.prune(nothing, at(200)).await.unwrap().forgotten, [parent, child]);
    let refused = store.enqueue(vec![new_task(), after(&[parent])], at(201)).await;
    assert!(matches!(refused, Err(StoreError::NoParent { at: 1, parent: missing }) if missing == parent));
    let own = add(&*store, new_task(), 202).await;
    let unique = UniqueRule { mode: UniqueMode::Replace, ..UniqueRule::default() };
    let replacing = NewTask { unique_key: Some("k".to_owned()), unique, ..after(&[own]) };
    assert!(matches!(store.enqueue(vec![replacing], at(203)).await, Err(StoreError::Conflict(_))));
}

#[expect(clippy::unnecessary_wraps, reason = "what the field takes")]
fn callback(kind: &str) -> Option<NewTask> {
    Some(NewTask { kind: kind.to_owned(), ..new_task() })
}

fn batch(members: usize) -> NewBatch {
    let member = LinkedTask { new: new_task(), earlier: Vec::new() };
    let callbacks = Callbacks { on_failure: callback("f"), on_success: callback("s"), on_complete: callback("c") };
    NewBatch { tasks: vec![member; members], callbacks, ..NewBatch::default() }
}

/// How many callbacks of each kind there are.
async fn called(store: &dyn Store) -> [usize; 3] {
    let tasks = store.tasks(TaskQuery { limit: 1_000, ..TaskQuery::default() }).await.unwrap().items;
    ["f", "s", "c"].map(|kind| tasks.iter().filter(|task| task.spec.new.kind == kind).count())
}

pub(crate) async fn a_batch_calls_back_once_whatever_restarts(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let created = store.create_batch(batch(3), at(0)).await.unwrap();
    let attempt = claim_one(&*store, 1).await;
    finish(&*store, attempt, success(), 2).await.unwrap();
    let dead = claim_one(&*store, 3).await;
    finish(&*store, dead, Outcome::Fatal(Failure::new("code", "m")), 4).await.unwrap();
    assert_eq!(called(&*store).await, [1, 0, 0]);
    let left = claim_one(&*store, 5).await;
    drop(store);
    let store = harness.open(2, MANY, at(6));
    let found = store.batch(created.id).await.unwrap().unwrap();
    assert_eq!((found.tally.ended(), found.queued, found.running), (2, 1, 0));
    let again = claim_one(&*store, 7).await;
    assert_eq!(again.0, left.0);
    finish(&*store, again, success(), 8).await.unwrap();
    assert_eq!(called(&*store).await, [1, 0, 1]);
    store.redrive(dead.0, at(9)).await.unwrap();
    let attempt = claim_one(&*store, 10).await;
    finish(&*store, attempt, success(), 11).await.unwrap();
    assert_eq!(called(&*store).await, [1, 1, 1]);
    store.redrive(dead.0, at(12)).await.unwrap();
    store.request_cancel(dead.0, at(13)).await.unwrap();
    assert_eq!(called(&*store).await, [1, 1, 1]);
    // It goes with its members.
    let nothing = Retention::uniform(Keep { max_age_ms: 0, max_tasks: 0, max_bytes: 0 }, 1_000);
    assert_eq!(store.prune(nothing, at(100)).await.unwrap().forgotten.len(), 3);
    assert_eq!(store.batch(created.id).await.unwrap(), None);
    assert_eq!(called(&*store).await, [1, 1, 1], "they are tasks of their own");
}

pub(crate) async fn i8_room_is_kept_for_callbacks_and_an_empty_batch_ages(harness: &impl Harness) {
    let store = harness.open(1, 5, at(0));
    assert!(matches!(store.create_batch(batch(3), at(0)).await, Err(StoreError::Full(_))));
    assert_eq!(store.events(0, 9).await.unwrap().last, 0, "nothing happened");
    store.create_batch(batch(2), at(0)).await.unwrap();
    assert!(matches!(store.enqueue(vec![new_task()], at(1)).await, Err(StoreError::Full(_))));
    for one in claim(&*store, 2, 1).await.claimed {
        finish(&*store, (one.id, 1), success(), 2).await.unwrap();
    }
    assert_eq!(called(&*store).await, [0, 1, 1]);
    assert!(store.enqueue(vec![new_task(); 3], at(3)).await.is_ok(), "nothing is kept free any more");
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(4));
    let empty = store.create_batch(batch(0), at(5)).await.unwrap();
    assert_eq!(called(&*store).await, [0, 2, 2]);
    let keep = Retention::uniform(Keep { max_age_ms: 50, ..Keep::ALL }, 1_000);
    store.prune(keep, at(55)).await.unwrap();
    assert!(store.batch(empty.id).await.unwrap().is_some());
    store.prune(keep, at(56)).await.unwrap();
    assert_eq!(store.batch(empty.id).await.unwrap(), None);
    assert!(matches!(store.cancel_batch(BatchId::from_u128(1), at(57)).await, Err(StoreError::NotFound)));
}
