//! Unique keys and idempotency keys: what becomes of a second task.

use super::{Harness, MANY, add, at, claim, claim_one, failure, finish, new_task, state_of, success};
use crate::store::request::{Enqueued, Keep, Retention, TakenKey};
use crate::store::{Store, StoreError};
use crate::task::{Idempotency, NewTask, Outcome, State, StateSet, TaskId, UniqueMode, UniqueRule};

fn keyed(mode: UniqueMode, input: &str) -> NewTask {
    let unique = UniqueRule { mode, ..UniqueRule::default() };
    NewTask { unique_key: Some("k".to_owned()), unique, input: input.to_owned(), ..new_task() }
}

fn requested(key: &str, fingerprint: u8) -> NewTask {
    let request = Idempotency { key: key.to_owned(), fingerprint: [fingerprint; 16] };
    NewTask { idempotency: vec![request], ..new_task() }
}

async fn input_of(store: &dyn Store, id: TaskId) -> String {
    store.task(id).await.unwrap().unwrap().spec.new.input.clone()
}

async fn one(store: &dyn Store, new: NewTask, now: u64) -> Enqueued {
    store.enqueue(vec![new], at(now)).await.unwrap()[0]
}

pub(crate) async fn v14_a_repeated_request_is_answered_with_its_task(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, requested("a", 1), 0).await;
    assert_eq!(one(&*store, requested("a", 1), 1).await, Enqueued { id, duplicate: true });
    let other = store.enqueue(vec![new_task(), requested("a", 2)], at(1)).await;
    let refused = |at, holder| StoreError::Taken { at, key: TakenKey::Idempotency, holder };
    assert_eq!(format!("{other:?}"), format!("Err({:?})", refused(1, Some(id))));
    let same = store.enqueue(vec![requested("b", 1), requested("b", 2)], at(1)).await;
    assert_eq!(format!("{same:?}"), format!("Err({:?})", refused(1, None)));
    assert_eq!(store.events(0, 100).await.unwrap().last, 1, "nothing is half written");
    let twice = store.enqueue(vec![requested("b", 1), requested("b", 1)], at(1)).await.unwrap();
    assert_eq!(twice[1], Enqueued { id: twice[0].id, duplicate: true });

    // Also after it has ended, and after a restart, as long as it is kept.
    let attempt = claim_one(&*store, 2).await;
    finish(&*store, attempt, success(), 3).await.unwrap();
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(3));
    assert_eq!(one(&*store, requested("a", 1), 4).await, Enqueued { id, duplicate: true });
    assert_eq!(store.known_request("a").await.unwrap(), Some((id, [1; 16])));
    let none = Retention::uniform(Keep { max_tasks: 0, ..Keep::ALL }, 1_000);
    assert_eq!(store.prune(none, at(9)).await.unwrap().forgotten, [id]);
    assert_eq!(store.known_request("a").await.unwrap(), None);
    assert!(!one(&*store, requested("a", 2), 9).await.duplicate, "the key expires with its task");
}

pub(crate) async fn v14_a_request_that_found_another_task_is_answered_with_it_again(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let with = |request: &str, fingerprint, mode| NewTask {
        idempotency: requested(request, fingerprint).idempotency,
        ..keyed(mode, "{}")
    };
    let existing = |request: &str, fingerprint| with(request, fingerprint, UniqueMode::Existing);
    let id = add(&*store, existing("first", 1), 0).await;
    let attempt = claim_one(&*store, 0).await;
    let same = |id| Enqueued { id, duplicate: true };
    assert_eq!(one(&*store, existing("second", 2), 1).await, same(id), "also while it runs");
    // Two of one call are one request, or two that do not agree.
    let twice = store.enqueue(vec![existing("third", 3), existing("third", 3)], at(1)).await.unwrap();
    assert_eq!(twice, [same(id), same(id)]);
    let other = store.enqueue(vec![existing("fourth", 4), existing("fourth", 5)], at(1)).await;
    assert!(matches!(other, Err(StoreError::Taken { at: 1, key: TakenKey::Idempotency, .. })), "{other:?}");
    assert_eq!(store.known_request("fourth").await.unwrap(), None);
    let refused = store.enqueue(vec![with("fifth", 5, UniqueMode::Reject)], at(1)).await;
    assert!(matches!(refused, Err(StoreError::Taken { key: TakenKey::Unique, .. })), "{refused:?}");
    assert_eq!(store.known_request("fifth").await.unwrap(), None, "what is refused may be tried again");

    // The key is free, but the requests have had their answer.
    finish(&*store, attempt, success(), 2).await.unwrap();
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(3));
    for (request, fingerprint) in [("first", 1), ("second", 2), ("third", 3)] {
        assert_eq!(one(&*store, existing(request, fingerprint), 4).await, same(id), "{request}");
    }
    let other = store.enqueue(vec![existing("second", 9)], at(4)).await;
    assert!(matches!(other, Err(StoreError::Taken { holder: Some(holder), .. }) if holder == id), "{other:?}");
    let next = one(&*store, existing("sixth", 6), 5).await;
    assert!(!next.duplicate, "another request makes another task");
    // So many are remembered, and all of them go with their task.
    for request in 10..19 {
        assert_eq!(one(&*store, existing(&request.to_string(), request), 6).await, same(next.id));
    }
    assert_eq!(store.known_request("sixth").await.unwrap(), None);
    assert_eq!(store.known_request("11").await.unwrap(), Some((next.id, [11; 16])));
    store.request_cancel(next.id, at(7)).await.unwrap();
    let none = Retention::uniform(Keep { max_tasks: 0, ..Keep::ALL }, 1_000);
    assert_eq!(store.prune(none, at(9)).await.unwrap().forgotten, [id, next.id]);
    for request in ["first", "second", "third", "11", "18"] {
        assert_eq!(store.known_request(request).await.unwrap(), None, "{request}");
    }
}

pub(crate) async fn v14_two_racing_requests_make_one_task(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let calls = (0..20).map(|_| store.enqueue(vec![requested("a", 1)], at(0)));
    let answers = futures_util::future::join_all(calls).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()[0]).collect();
    assert_eq!(answers.iter().filter(|one| !one.duplicate).count(), 1);
    assert!(answers.iter().all(|one| one.id == answers[0].id));
}

pub(crate) async fn a_refusing_key_names_its_holder_and_nothing_of_the_call_is_written(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, keyed(UniqueMode::Existing, "1"), 0).await;
    let refused = store.enqueue(vec![new_task(), keyed(UniqueMode::Reject, "2")], at(1)).await;
    let Err(StoreError::Taken { at: 1, key: TakenKey::Unique, holder }) = refused else { panic!("{refused:?}") };
    assert_eq!(holder, Some(id));
    assert_eq!(store.events(0, 100).await.unwrap().last, 1);
    let attempt = claim_one(&*store, 2).await;
    finish(&*store, attempt, success(), 3).await.unwrap();
    assert!(!one(&*store, keyed(UniqueMode::Reject, "2"), 4).await.duplicate);
}

pub(crate) async fn a_waiting_holder_is_replaced_and_a_running_one_loses_its_key(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, keyed(UniqueMode::Replace, "1"), 0).await;
    let later = NewTask { run_at: Some(at(50)), priority: 9, ..keyed(UniqueMode::Replace, "2") };
    assert_eq!(one(&*store, later, 1).await, Enqueued { id, duplicate: true });
    assert_eq!(input_of(&*store, id).await, "2");
    let none = claim(&*store, 9, 49).await;
    assert_eq!((none.claimed.len(), none.next_due), (0, Some(at(50))));
    let attempt = claim_one(&*store, 50).await;
    assert_eq!(attempt, (id, 1));

    let second = one(&*store, keyed(UniqueMode::Replace, "3"), 51).await;
    assert!(!second.duplicate && second.id != id, "what runs keeps running");
    finish(&*store, attempt, failure(0), 52).await.unwrap();
    let State::Failed { failure, .. } = store.task(id).await.unwrap().unwrap().status.state else { panic!("ended") };
    assert_eq!(failure.code, "superseded", "a transition looks at the key again");
    assert_eq!(claim_one(&*store, 53).await.0, second.id);
    assert!(matches!(store.redrive(id, at(54)).await, Err(StoreError::Conflict(_))));
}

pub(crate) async fn a_debounced_task_runs_once_its_requests_have_ceased(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let debounced = |input: &str| keyed(UniqueMode::Debounce(30), input);
    let id = add(&*store, debounced("1"), 0).await;
    assert!(one(&*store, debounced("2"), 20).await.duplicate);
    assert!(one(&*store, debounced("3"), 45).await.duplicate);
    let none = claim(&*store, 9, 74).await;
    assert_eq!((none.claimed.len(), none.next_due), (0, Some(at(75))));
    assert_eq!(claim_one(&*store, 75).await.0, id);
    assert_eq!(input_of(&*store, id).await, "3");
}

pub(crate) async fn a_throttled_task_answers_for_its_window_however_it_stands(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let throttled = || keyed(UniqueMode::Throttle(100), "{}");
    let id = add(&*store, throttled(), 0).await;
    let attempt = claim_one(&*store, 1).await;
    finish(&*store, attempt, success(), 2).await.unwrap();
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(3));
    assert_eq!(one(&*store, throttled(), 99).await, Enqueued { id, duplicate: true });
    let second = one(&*store, throttled(), 100).await;
    assert!(!second.duplicate);
    let third = one(&*store, throttled(), 200).await;
    assert!(!third.duplicate, "the window of the second is over, though it still waits");
    let both = claim(&*store, 9, 201).await.claimed.len();
    assert_eq!(both, 2);
}

pub(crate) async fn the_last_one_is_kept_while_its_holder_runs(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let kept = |input: &str| keyed(UniqueMode::KeepLast, input);
    let first = add(&*store, kept("1"), 0).await;
    let attempt = claim_one(&*store, 0).await;
    let second = one(&*store, kept("2"), 1).await;
    assert!(!second.duplicate);
    assert_eq!(one(&*store, kept("3"), 2).await, Enqueued { id: second.id, duplicate: true });
    assert_eq!(claim(&*store, 9, 3).await.claimed.len(), 0, "it waits for the end of the first");
    assert_eq!(store.live_counts().await.unwrap()[0].queued, 1);

    // A failed attempt is no end, and a restart changes nothing.
    finish(&*store, attempt, failure(0), 4).await.unwrap();
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(5));
    let attempt = claim_one(&*store, 5).await;
    assert_eq!(attempt, (first, 2));
    assert_eq!(claim(&*store, 9, 5).await.claimed.len(), 0);
    finish(&*store, attempt, success(), 6).await.unwrap();
    let attempt = claim_one(&*store, 7).await;
    assert_eq!((attempt.0, input_of(&*store, second.id).await.as_str()), (second.id, "3"));
    let third = one(&*store, kept("4"), 8).await.id;
    store.request_cancel(third, at(8)).await.unwrap();
    finish(&*store, attempt, success(), 9).await.unwrap();
    assert_eq!(claim(&*store, 9, 10).await.claimed.len(), 0, "the follower was cancelled");
    assert!(!one(&*store, kept("5"), 11).await.duplicate);
}

pub(crate) async fn a_key_may_be_held_beyond_the_end(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let states = StateSet::of(["queued", "running", "succeeded"]).unwrap();
    let unique = UniqueRule { states, mode: UniqueMode::Existing };
    let once = || NewTask { unique_key: Some("k".to_owned()), unique, ..new_task() };
    let failed = add(&*store, once(), 0).await;
    let attempt = claim_one(&*store, 0).await;
    finish(&*store, attempt, Outcome::Fatal(crate::task::Failure::new("no", "no")), 1).await.unwrap();
    let id = add(&*store, once(), 2).await;
    let attempt = claim_one(&*store, 2).await;
    finish(&*store, attempt, success(), 3).await.unwrap();
    assert_eq!(one(&*store, once(), 4).await, Enqueued { id, duplicate: true });
    assert!(matches!(store.redrive(failed, at(5)).await, Err(StoreError::Conflict(_))), "the key is taken");
    store.redrive(id, at(6)).await.unwrap();
    assert_eq!(state_of(&*store, id).await, "queued");
    assert_eq!(one(&*store, once(), 7).await.id, id);
    store.request_cancel(id, at(8)).await.unwrap();
    assert!(!one(&*store, once(), 9).await.duplicate);
}

pub(crate) async fn l12_overdue_tasks_end_and_never_begin(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let until = |deadline| NewTask { deadline: Some(at(deadline)), ..new_task() };
    let late = add(&*store, until(50), 0).await;
    let begun = add(&*store, NewTask { priority: 9, ..until(60) }, 0).await;
    let attempt = claim_one(&*store, 40).await;
    assert_eq!(attempt.0, begun);
    assert_eq!(store.expire_overdue(at(49)).await.unwrap(), Some(at(50)));
    // A claim that comes before the ticker does not begin it either.
    assert_eq!(claim(&*store, 9, 50).await.claimed.len(), 0);
    let State::Failed { failure, .. } = store.task(late).await.unwrap().unwrap().status.state else { panic!("ended") };
    assert_eq!(failure.code, "expired");
    finish(&*store, attempt, super::failure(0), 70).await.unwrap();
    assert_eq!(store.expire_overdue(at(80)).await.unwrap(), None, "what has begun in time goes on");
    assert_eq!(claim_one(&*store, 80).await, (begun, 2));

    let unasked = add(&*store, NewTask { kind: "gone".to_owned(), ..until(90) }, 80).await;
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(100));
    assert_eq!(store.expire_overdue(at(100)).await.unwrap(), None);
    assert_eq!(state_of(&*store, unasked).await, "failed", "also of a kind that nobody asks for");
    let task = store.redrive(late, at(101)).await.unwrap();
    assert_eq!(task.spec.new.deadline, None, "who puts it back wants it to run");
    assert_eq!(store.expire_overdue(at(102)).await.unwrap(), None);
}

pub(crate) async fn l16_waiting_tasks_of_all_queues_age_and_none_starves(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let minute = 60_000;
    let task = |queue: &str, priority, due: u64| NewTask {
        queue: queue.to_owned(),
        priority,
        run_at: Some(at(due)),
        ..new_task()
    };
    let low = add(&*store, task("a", 0, minute), 0).await;
    let mut high = Vec::new();
    for due in 1..=12 {
        high.push(add(&*store, task(if due % 2 == 0 { "b" } else { "c" }, 9, minute * due), 0).await);
    }
    let order: Vec<_> = claim(&*store, 99, 20 * minute).await.claimed.iter().map(|one| one.id).collect();
    assert_eq!(order.iter().position(|id| *id == low), Some(9), "overtaken by those of nine minutes, not more");
    let others: Vec<_> = order.into_iter().filter(|id| *id != low).collect();
    assert_eq!(others, high);
}
