//! Claims that wait until there is something to claim.

use tokio_util::sync::CancellationToken;

use super::{Harness, LEASE_MS, MANY, add, at, claim, claim_one, failure, finish, new_task, request, state_of};
use crate::store::request::Claim;
use crate::store::{Store, StoreError};
use crate::task::{NewTask, State, TaskId};

/// A claim of kind `echo` that waits, made at `now`.
async fn wait(store: &dyn Store, limit: u32, now: u64, due: Option<u64>) -> Result<Claim, StoreError> {
    let until = CancellationToken::new();
    store.claim_or_wait(request(&["echo"], limit, now), due.map(at), at(now), &until).await
}

fn ids(claim: &Claim) -> Vec<TaskId> {
    claim.claimed.iter().map(|one| one.id).collect()
}

pub(crate) async fn what_is_there_is_claimed_at_once(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, new_task(), 0).await;
    assert_eq!(ids(&wait(&*store, 5, 1, None).await.unwrap()), [id]);
    assert_eq!(state_of(&*store, id).await, "running");
}

pub(crate) async fn i1_a_waiting_claim_is_served_in_the_commit_that_creates_its_task(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let mut events = store.subscribe();
    let create = async { store.enqueue(vec![new_task(), new_task(), new_task()], at(50)).await.unwrap() };
    let (first, second, created) = tokio::join!(wait(&*store, 1, 0, None), wait(&*store, 1, 0, None), create);
    let created: Vec<_> = created.iter().map(|one| one.id).collect();
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((ids(&first), ids(&second)), (vec![created[0]], vec![created[1]]), "within the limits, in turn");
    let State::Running { lease_until, started_at, .. } = first.claimed[0].status.state else { panic!("it runs") };
    assert_eq!((started_at, lease_until), (at(50), at(50 + LEASE_MS)), "the lease begins with the claim");

    let changes = |batch: &[crate::event::Event]| -> Vec<&'static str> {
        batch.iter().map(|event| event.change.name()).collect()
    };
    let batch = events.recv().await.unwrap();
    let expected = ["task.queued", "task.queued", "task.queued", "task.started", "task.started"];
    assert_eq!(changes(&batch), expected, "one commit");
    assert_eq!(ids(&claim(&*store, 5, 60).await), [created[2]]);
}

pub(crate) async fn a_waiting_claim_is_served_by_whatever_brings_a_task_back(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, new_task(), 0).await;
    let attempt = claim_one(&*store, 0).await;
    let end = finish(&*store, attempt, failure(0), 10);
    let (claim, ended) = tokio::join!(wait(&*store, 1, 5, None), end);
    assert_eq!((ids(&claim.unwrap()), ended.is_ok()), (vec![id], true));

    let reclaim = store.reclaim_expired(at(10 + LEASE_MS));
    let (claim, count) = tokio::join!(wait(&*store, 1, 20, None), reclaim);
    let claim = claim.unwrap();
    assert_eq!((ids(&claim), claim.claimed[0].status.attempt, count.unwrap()), (vec![id], 3, 1));
}

pub(crate) async fn a_withdrawn_claim_is_answered_and_claims_nothing_more(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let until = CancellationToken::new();
    let waiting = store.claim_or_wait(request(&["echo"], 5, 0), None, at(0), &until);
    let (claim, ()) = tokio::join!(waiting, async { until.cancel() });
    assert_eq!(ids(&claim.unwrap()), []);
    let id = add(&*store, new_task(), 0).await;
    assert_eq!(state_of(&*store, id).await, "queued");
    // Withdrawn before it is made: what is there is claimed, but it does not wait.
    let waiting = store.claim_or_wait(request(&["echo"], 5, 0), None, at(0), &until);
    assert_eq!(ids(&waiting.await.unwrap()), [id]);
    let waiting = store.claim_or_wait(request(&["echo"], 5, 0), None, at(0), &until);
    assert_eq!(ids(&waiting.await.unwrap()), []);
}

pub(crate) async fn i4_no_task_is_lost_between_a_withdrawal_and_a_commit(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    for round in 0..50 {
        let until = CancellationToken::new();
        let waiting = store.claim_or_wait(request(&["echo"], 5, round), None, at(round), &until);
        let create = async {
            let created = store.enqueue(vec![new_task()], at(round));
            let (created, ()) = tokio::join!(created, async { until.cancel() });
            created.unwrap()[0].id
        };
        let (claim, id) = tokio::join!(waiting, create);
        let claimed = ids(&claim.unwrap());
        let expected = if claimed.is_empty() { "queued" } else { "running" };
        assert_eq!(state_of(&*store, id).await, expected, "it is told of exactly what it was given");
        let attempt = if claimed.is_empty() { claim_one(&*store, round).await } else { (id, 1) };
        finish(&*store, attempt, super::success(), round).await.unwrap();
    }
}

pub(crate) async fn a_claim_that_nobody_waits_for_claims_nothing(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    {
        let mut waiting = std::pin::pin!(wait(&*store, 5, 0, None));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    }
    let id = add(&*store, new_task(), 1).await;
    assert_eq!(state_of(&*store, id).await, "queued");
}

pub(crate) async fn an_earlier_due_time_is_told(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let due = |millis| NewTask { run_at: Some(at(millis)), ..new_task() };
    add(&*store, due(50), 0).await;
    let claim = wait(&*store, 5, 0, None).await.unwrap();
    assert_eq!((ids(&claim), claim.next_due), (vec![], Some(at(50))), "the caller waits for it");
    let (claim, _) = tokio::join!(wait(&*store, 5, 0, Some(50)), add(&*store, due(40), 1));
    let claim = claim.unwrap();
    assert_eq!((ids(&claim), claim.next_due), (vec![], Some(at(40))));
    let later = async {
        add(&*store, due(45), 1).await;
        add(&*store, new_task(), 2).await
    };
    let (claim, id) = tokio::join!(wait(&*store, 5, 0, Some(40)), later);
    assert_eq!(ids(&claim.unwrap()), [id], "a later one is no news");
}

pub(crate) async fn a_waiting_claim_ends_with_the_store(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let (claim, ()) = tokio::join!(wait(&*store, 5, 0, None), store.close());
    assert!(matches!(claim, Err(StoreError::Closed)));
}
