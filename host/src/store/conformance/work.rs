//! Work that lives outside of the host: kept, let go of, taken up again, called back about, brought home.

use std::sync::Arc;

use super::{Harness, LEASE_MS, MANY, add, at, claim, claim_one, digest, failure, finish, new_task, request, success};
use crate::event::{Change, TaskChange};
use crate::limit::Declaration;
use crate::store::request::{AttachRequest, Attached, ClaimRequest, Finish, GenerationRoom, Heartbeat, WorkRecord};
use crate::store::{Store, StoreError};
use crate::task::{
    AddedFile, AttemptEnd, AttemptReport, BootId, CALLBACK_PACE_MS, Digest, Left, MAX_HANDLE_BYTES, Outcome, State,
    StoppedBy, Task, TaskId, WorkPhase,
};

fn attach_request(limit: u32, boot: u64, now: u64) -> AttachRequest {
    let ClaimRequest { rooms, lease_until, .. } = request(&["echo"], 0, now);
    AttachRequest { rooms, limit, boot: BootId(boot), lease_until }
}

async fn attach(store: &dyn Store, limit: u32, boot: u64, now: u64) -> Vec<(TaskId, u32)> {
    let Attached { claimed, more } = store.attach(attach_request(limit, boot, now), at(now)).await.unwrap();
    assert!(!more);
    claimed.into_iter().map(|one| (one.id, one.status.attempt)).collect()
}

async fn told(store: &dyn Store, after: u64) -> Vec<TaskChange> {
    let change = |change| if let Change::Task { change, .. } = change { Some(change) } else { None };
    store.events(after, 100).await.unwrap().events.into_iter().filter_map(|event| change(event.change)).collect()
}

async fn last(store: &dyn Store) -> u64 {
    store.events(u64::MAX, 0).await.unwrap().last
}

/// A task whose first attempt has outside work with the handle `7`.
async fn working(store: &dyn Store, now: u64) -> (TaskId, u32) {
    add(store, new_task(), now).await;
    let attempt = claim_one(store, now).await;
    store.keep_work(attempt.0, attempt.1, vec![7], at(now)).await.unwrap();
    attempt
}

async fn reopen(harness: &impl Harness, store: Arc<dyn Store>, boot: u64, now: u64) -> Arc<dyn Store> {
    store.close().await;
    drop(store);
    harness.open(boot, MANY, at(now))
}

pub(crate) async fn i4_l10_outside_work_outlives_the_host_and_goes_on_as_the_same_attempt(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let (id, number) = working(&*store, 5).await;
    assert_eq!(store.work(id).await.unwrap(), Some(WorkRecord { handle: vec![7], output: None }));
    let again = store.keep_work(id, number, vec![8], at(6)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "an attempt has one: {again:?}");
    assert_eq!(attach(&*store, 9, 1, 6).await, [], "somebody looks after it");
    let from = last(&*store).await;

    let store = reopen(harness, store, 2, 10).await;
    let task = store.task(id).await.unwrap().unwrap();
    assert!(task.status.is_detached());
    assert_eq!((task.status.state.name(), task.status.crashes, task.status.attempt), ("running", 0, number));
    assert_eq!(task.status.history, []);
    // Nobody holds a lease, so nothing ends, and what comes from the older start is refused.
    assert_eq!(store.reclaim_expired(at(10_000)).await.unwrap(), 0);
    assert!(matches!(finish(&*store, (id, number), success(), 11).await, Err(StoreError::Stale)));
    assert_eq!(claim(&*store, 9, 11).await.claimed.len(), 0);

    let none = store.attach(attach_request(0, 2, 12), at(12)).await.unwrap();
    assert_eq!((none.claimed.len(), none.more), (0, true), "no permit, no lease");
    assert_eq!(attach(&*store, 9, 2, 12).await, [(id, number)]);
    assert_eq!(attach(&*store, 9, 2, 12).await, []);
    let State::Running { started_at, lease_until, boot, .. } = store.task(id).await.unwrap().unwrap().status.state
    else {
        panic!("it runs")
    };
    assert_eq!((started_at, lease_until, boot), (at(5), at(12 + LEASE_MS), BootId(2)), "it began when it began");
    let beat = Heartbeat { id, attempt: number, lease_until: at(900), progress: None, saw_cancel: false };
    assert!(!store.heartbeat(beat, at(20)).await.unwrap());

    let task = finish(&*store, (id, number), success(), 30).await.unwrap();
    assert_eq!((task.status.state.name(), task.status.works.ended, task.status.works.current), ("succeeded", 1, None));
    assert_eq!(task.status.history.len(), 1);
    assert_eq!(store.work(id).await.unwrap(), None);
    let attached = TaskChange::Attached { digest: digest() };
    assert_eq!(told(&*store, from).await, [TaskChange::Detached, attached, TaskChange::Succeeded]);
}

pub(crate) async fn i3_l4_a_lost_lease_fences_whoever_looked_after_the_work(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let old = working(&*store, 0).await;
    assert_eq!(store.reclaim_expired(at(LEASE_MS)).await.unwrap(), 1);
    let beat = Heartbeat { id: old.0, attempt: old.1, lease_until: at(900), progress: None, saw_cancel: false };
    assert!(matches!(store.heartbeat(beat, at(150)).await, Err(StoreError::Stale)));
    store.call_back(old.0, old.1, at(150)).await.expect("the outside knows no other attempt");
    assert!(matches!(store.call_back(old.0, old.1 + 2, at(150)).await, Err(StoreError::Stale)));
    let new = attach(&*store, 9, 1, 160).await;
    assert_eq!(new, [(old.0, old.1 + 1)]);
    assert!(matches!(finish(&*store, old, success(), 170).await, Err(StoreError::Stale)));
    let output = "1".to_owned();
    assert!(matches!(store.begin_export(old.0, old.1, output, at(170)).await, Err(StoreError::Stale)));
    let task = finish(&*store, new[0], failure(0), 180).await.unwrap();
    assert_eq!((task.status.failures, task.status.crashes, task.status.works.ended), (1, 0, 1));
    assert!(matches!(finish(&*store, new[0], success(), 190).await, Err(StoreError::Stale)), "one end");
    // The next attempt starts other work.
    let next = claim_one(&*store, 200).await;
    assert_eq!(next, (old.0, old.1 + 2));
    store.keep_work(next.0, next.1, vec![8], at(200)).await.unwrap();
    assert_eq!(store.work(next.0).await.unwrap().unwrap().handle, [8]);
}

pub(crate) async fn work_is_let_go_of_and_taken_up_by_another_generation(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let (id, number) = working(&*store, 0).await;
    let task = finish(&*store, (id, number), Outcome::Interrupted, 10).await.unwrap();
    assert!(task.status.is_detached());
    assert!(matches!(store.keep_work(id, number, vec![1], at(10)).await, Err(StoreError::Stale)));
    let rooms = vec![GenerationRoom { kinds: vec!["other".to_owned()], room: 0, digest: Digest([9; 32]) }];
    let other = AttachRequest { rooms, ..attach_request(9, 1, 20) };
    assert_eq!(store.attach(other, at(20)).await.unwrap().claimed.len(), 0, "nobody can look after it");
    let rooms = vec![GenerationRoom { kinds: vec!["echo".to_owned()], room: 0, digest: Digest([9; 32]) }];
    let attached = store.attach(AttachRequest { rooms, ..attach_request(9, 1, 20) }, at(20)).await.unwrap();
    let [one] = &attached.claimed[..] else { panic!("{attached:?}") };
    assert!(matches!(one.status.state, State::Running { digest: Digest(of), .. } if of == [9; 32]));
    assert_eq!((one.id, one.status.attempt), (id, number), "nobody was lost");

    // More than there are permits for: the rest is told of.
    let second = working(&*store, 30).await;
    finish(&*store, (id, number), Outcome::Yielded, 40).await.unwrap();
    finish(&*store, second, Outcome::Interrupted, 40).await.unwrap();
    let some = store.attach(attach_request(1, 1, 50), at(50)).await.unwrap();
    assert_eq!((some.claimed.len(), some.claimed[0].id, some.more), (1, id, true));
    assert_eq!(attach(&*store, 1, 1, 50).await, [second]);
}

/// An end that leaves something outside.
async fn finish_leaving(store: &dyn Store, (id, attempt): (TaskId, u32), outcome: Outcome, left: Left) -> Task {
    let report = AttemptReport { left, ..AttemptReport::default() };
    store.finish(Finish { id, attempt, outcome, jitter: 0.5, report }, at(50)).await.unwrap()
}

pub(crate) async fn abandoned_work_ends_and_its_task_goes_back_to_the_queue(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let first = working(&*store, 0).await;
    let task = finish_leaving(&*store, first, Outcome::Interrupted, Left::Abandoned).await;
    assert_eq!((task.status.state.name(), task.status.failures, task.status.crashes), ("queued", 0, 0));
    assert_eq!((task.status.works.current, task.status.works.ended, task.status.works.abandoned), (None, 1, 1));
    assert_eq!(store.work(first.0).await.unwrap(), None);
    assert_eq!(attach(&*store, 9, 1, 60).await, [], "nobody takes it up again");
    let next = claim_one(&*store, 60).await;
    assert_eq!(next, (first.0, first.1 + 1));
    store.keep_work(next.0, next.1, vec![8], at(60)).await.unwrap();
    store.request_cancel(next.0, at(61)).await.unwrap();
    let task = finish_leaving(&*store, next, Outcome::Killed, Left::Abandoned).await;
    assert_eq!((task.status.name(), task.status.works.abandoned), ("cancelled", 2));
}

pub(crate) async fn a_start_without_an_answer_is_remembered_until_the_next_one_answers(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    add(&*store, new_task(), 0).await;
    let first = claim_one(&*store, 0).await;
    let task = finish_leaving(&*store, first, failure(0), Left::Unanswered).await;
    let standing = |task: &Task| (task.status.works.unanswered, task.status.works.ended, task.status.works.abandoned);
    assert_eq!(standing(&task), (true, 0, 0), "the next start has the same key");
    let store = reopen(harness, store, 2, 60).await;
    let second = claim_one(&*store, 60).await;
    let task = finish(&*store, second, failure(0), 60).await.unwrap();
    assert_eq!(standing(&task), (true, 0, 0), "the guest says that it could not start, not that nothing goes on");
    let third = claim_one(&*store, 70).await;
    store.keep_work(third.0, third.1, vec![7], at(70)).await.unwrap();
    let task = finish(&*store, third, success(), 80).await.unwrap();
    assert_eq!(standing(&task), (false, 1, 0));
}

pub(crate) async fn i6_what_is_brought_home_occupies_no_limit_and_survives_a_restart(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let one = Declaration { concurrency: Some(1), ..Declaration::default() }.check("one").unwrap();
    store.declare_limits(vec![one.clone()], None, at(0)).await.unwrap();
    let (id, number) = working(&*store, 0).await;
    let next = add(&*store, new_task(), 1).await;
    assert_eq!(claim(&*store, 9, 2).await.claimed.len(), 0, "the outside work counts");
    let store = reopen(harness, store, 2, 3).await;
    store.declare_limits(vec![one.clone()], None, at(0)).await.unwrap();
    assert_eq!(claim(&*store, 9, 4).await.claimed.len(), 0, "also while nobody looks after it");
    assert_eq!(attach(&*store, 9, 2, 4).await, [(id, number)]);

    store.begin_export(id, number, "[1]".to_owned(), at(5)).await.unwrap();
    assert!(matches!(store.begin_export(id, number, "[2]".to_owned(), at(5)).await, Err(StoreError::Stale)), "once");
    let (second, attempt) = claim_one(&*store, 6).await;
    assert_eq!(second, next, "its place is free");

    let store = reopen(harness, store, 3, 7).await;
    store.declare_limits(vec![one], None, at(0)).await.unwrap();
    let record = store.work(id).await.unwrap().unwrap();
    assert_eq!((record.handle.as_slice(), record.output.as_deref()), (&[7][..], Some("[1]")));
    let again = claim_one(&*store, 8).await;
    assert_eq!(again, (second, attempt + 1), "what is brought home still occupies nothing");
    assert_eq!(attach(&*store, 0, 3, 9).await, [(id, number)], "and needs no permit");
    let task = store.task(id).await.unwrap().unwrap();
    assert_eq!(task.status.work_phase(), Some(WorkPhase::Exporting));
    finish(&*store, (id, number), success(), 10).await.unwrap();
    finish(&*store, again, success(), 10).await.unwrap();
    let limits = store.limits(at(11)).await.unwrap().limits;
    assert_eq!(limits[0].running, 0, "nothing was given back twice");
}

pub(crate) async fn callbacks_are_told_at_a_pace_and_only_of_the_attempt_that_works(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let unknown = store.call_back(TaskId::from_u128(1), 1, at(0)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
    let early = add(&*store, new_task(), 0).await;
    assert!(matches!(store.call_back(early, 1, at(0)).await, Err(StoreError::Stale)), "nothing has begun");
    let attempt = claim_one(&*store, 0).await;
    store.call_back(early, attempt.1, at(0)).await.expect("the outside may be faster than the answer of `start`");
    finish(&*store, attempt, success(), 0).await.unwrap();
    let (id, number) = working(&*store, 0).await;
    let from = last(&*store).await;
    for now in [1, 2, CALLBACK_PACE_MS, CALLBACK_PACE_MS + 1, CALLBACK_PACE_MS + 2] {
        store.call_back(id, number, at(now)).await.unwrap();
    }
    assert_eq!(told(&*store, from).await, [TaskChange::CalledBack, TaskChange::CalledBack]);
    assert!(matches!(store.call_back(id, number + 1, at(9)).await, Err(StoreError::Stale)));
    store.begin_export(id, number, "1".to_owned(), at(10)).await.unwrap();
    let from = last(&*store).await;
    store.call_back(id, number, at(20_000)).await.unwrap();
    assert_eq!(told(&*store, from).await, [], "its end is known");
    finish(&*store, (id, number), success(), 11).await.unwrap();
    assert!(matches!(store.call_back(id, number, at(30_000)).await, Err(StoreError::Stale)));
}

pub(crate) async fn a_cancel_waits_for_outside_work_unless_nobody_can_stop_it(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let (id, number) = working(&*store, 0).await;
    finish(&*store, (id, number), Outcome::Interrupted, 10).await.unwrap();
    let task = store.request_cancel(id, at(20)).await.unwrap();
    assert_eq!(task.status.name(), "cancelling");
    // A look after it: it goes on as what is to be stopped.
    assert_eq!(attach(&*store, 9, 1, 30).await, [(id, number)]);
    assert!(store.request_cancel(id, at(100_000)).await.unwrap().status.cancel.is_some());
    assert_eq!(store.task(id).await.unwrap().unwrap().status.name(), "cancelling", "somebody is at it");
    finish(&*store, (id, number), Outcome::Interrupted, 100_001).await.unwrap();

    assert_eq!(store.request_cancel(id, at(60_019)).await.unwrap().status.name(), "cancelling", "too early");
    let task = store.request_cancel(id, at(60_020)).await.unwrap();
    assert_eq!((task.status.name(), task.status.works.abandoned), ("cancelled", 1), "and says that it may go on");
    assert_eq!(task.status.cancel.unwrap().stopped_by, Some(StoppedBy::Host));
    assert_eq!(task.status.history.last().map(|last| &last.end), Some(&AttemptEnd::Killed));
    assert_eq!(store.work(id).await.unwrap(), None);
    store.purge(id, at(60_021)).await.unwrap();
}

pub(crate) async fn i8_a_handle_is_bounded_and_belongs_to_the_attempt(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, new_task(), 0).await;
    assert!(matches!(store.keep_work(id, 0, vec![1], at(0)).await, Err(StoreError::Stale)), "it does not run");
    let attempt = claim_one(&*store, 0).await;
    let large = store.keep_work(id, attempt.1, vec![0; MAX_HANDLE_BYTES + 1], at(1)).await;
    assert!(matches!(large, Err(StoreError::Conflict(_))));
    assert!(matches!(store.keep_work(id, attempt.1 + 1, vec![1], at(1)).await, Err(StoreError::Stale)));
    assert!(matches!(store.begin_export(id, attempt.1, "1".to_owned(), at(1)).await, Err(StoreError::Stale)));
    store.keep_work(id, attempt.1, vec![0; MAX_HANDLE_BYTES], at(1)).await.unwrap();
    assert!(matches!(store.work(TaskId::from_u128(1)).await, Ok(None)));
}

pub(crate) async fn i1_files_of_an_attempt_get_their_records_with_its_success(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let file = |id: &str| AddedFile {
        id: id.to_owned(),
        name: "n".to_owned(),
        content_type: "text/plain".to_owned(),
        size: 3,
    };
    let end = |(id, attempt), outcome, name: &str| {
        let report = AttemptReport { files: vec![file(name)], ..AttemptReport::default() };
        store.finish(Finish { id, attempt, outcome, jitter: 0.5, report }, at(1))
    };
    let id = add(&*store, new_task(), 0).await;
    let first = claim_one(&*store, 0).await;
    end(first, failure(0), "a").await.unwrap();
    assert_eq!(store.media("a").await.unwrap(), None, "it did not succeed");
    let second = claim_one(&*store, 1).await;
    end(second, success(), "b").await.unwrap();
    let record = store.media("b").await.unwrap().unwrap();
    assert_eq!((record.task, record.size), (Some(id), 3));
    assert!(matches!(end(second, success(), "c").await, Err(StoreError::Stale)));
    assert_eq!(store.media("c").await.unwrap(), None);
}
