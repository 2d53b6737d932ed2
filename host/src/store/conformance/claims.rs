//! Claiming, leases and the ends of attempts.

use super::{
    Harness, LEASE_MS, MANY, add, at, claim, claim_one, digest, failure, finish, new_task, request, state_of, success,
};
use crate::store::StoreError;
use crate::store::request::{ClaimRequest, GenerationRoom, Heartbeat};
use crate::task::{AttemptEnd, BootId, Digest, Failure, NewTask, Outcome, Progress, State};

pub(crate) async fn i3_l1_l4_c2_a_stale_attempt_changes_nothing(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, new_task(), 0).await;
    let old = claim_one(&*store, 0).await;
    assert_eq!(old, (id, 1));
    assert_eq!(store.reclaim_expired(at(LEASE_MS)).await.unwrap(), 1);
    let new = claim_one(&*store, LEASE_MS).await;
    assert_eq!(new, (id, 2));

    let before = (store.task(id).await.unwrap(), store.events(0, 100).await.unwrap().events);
    assert!(matches!(finish(&*store, old, success(), 150).await, Err(StoreError::Stale)));
    let beat = Heartbeat { id, attempt: 1, lease_until: at(900), progress: None, saw_cancel: false };
    assert!(matches!(store.heartbeat(beat, at(150)).await, Err(StoreError::Stale)));
    assert!(matches!(store.save_checkpoint(id, 1, vec![1]).await, Err(StoreError::Stale)));
    assert_eq!(store.checkpoint(id).await.unwrap(), None);
    assert_eq!((store.task(id).await.unwrap(), store.events(0, 100).await.unwrap().events), before);

    finish(&*store, new, success(), 160).await.unwrap();
    assert!(matches!(finish(&*store, new, success(), 170).await, Err(StoreError::Stale)), "ended");
    let unknown = (crate::task::TaskId::from_u128(1), 1);
    assert!(matches!(finish(&*store, unknown, success(), 170).await, Err(StoreError::NotFound)));
}

pub(crate) async fn i4_an_expired_lease_requeues_and_a_heartbeat_keeps_it(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, new_task(), 0).await;
    claim_one(&*store, 0).await;
    let progress = Some(Progress { done: 1, total: Some(2), unit: "frames".to_owned(), message: None });
    let beat = Heartbeat { id, attempt: 1, lease_until: at(300), progress, saw_cancel: false };
    let events = store.events(0, 100).await.unwrap().last;
    assert!(!store.heartbeat(beat.clone(), at(50)).await.unwrap());
    assert!(!store.heartbeat(Heartbeat { lease_until: at(400), ..beat }, at(60)).await.unwrap());
    assert_eq!(store.events(0, 100).await.unwrap().last, events + 1, "the same progress is told once");
    assert_eq!(store.reclaim_expired(at(399)).await.unwrap(), 0);
    assert_eq!(store.reclaim_expired(at(400)).await.unwrap(), 1);
    let task = store.task(id).await.unwrap().unwrap();
    assert_eq!((task.status.state.name(), task.status.crashes, task.status.failures), ("queued", 1, 0));
    assert!(matches!(&task.status.history[0].end, AttemptEnd::Crashed(failure) if failure.code == "lease-expired"));
    assert_eq!(store.reclaim_expired(at(400)).await.unwrap(), 0);
}

pub(crate) async fn i4_i5_attempts_of_an_older_start_are_taken_back_as_crashes(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let running = add(&*store, NewTask::new("echo", "{}"), 0).await;
    claim_one(&*store, 0).await;
    let cancelled = add(&*store, new_task(), 0).await;
    claim_one(&*store, 0).await;
    store.request_cancel(cancelled, at(1)).await.unwrap();
    let queued = add(&*store, new_task(), 0).await;
    store.close().await;
    drop(store);

    let store = harness.open(2, MANY, at(10));
    let task = store.task(running).await.unwrap().unwrap();
    assert_eq!(task.status.state, State::Queued { due_at: at(10) }, "at once, without a backoff");
    assert_eq!((task.status.crashes, task.status.attempt), (1, 1));
    assert!(matches!(&task.status.history[0].end, AttemptEnd::Crashed(failure) if failure.code == "host-crashed"));
    assert_eq!(state_of(&*store, cancelled).await, "cancelled");
    assert_eq!(state_of(&*store, queued).await, "queued");
    assert_eq!(claim(&*store, 9, 10).await.claimed.iter().map(|one| one.id).collect::<Vec<_>>(), [queued, running]);
}

pub(crate) async fn i5_the_third_crash_parks_a_task(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, NewTask { max_attempts: 99, ..new_task() }, 0).await;
    for round in 1..=3 {
        let attempt = claim_one(&*store, round).await;
        let crash = Outcome::Crashed(Failure::new("trap", "unreachable"));
        finish(&*store, attempt, crash, round).await.unwrap();
    }
    let task = store.task(id).await.unwrap().unwrap();
    assert!(matches!(&task.status.state, State::Failed { failure, .. } if failure.code == "poison"));
    assert_eq!(claim(&*store, 9, 1_000).await.claimed.len(), 0);
}

pub(crate) async fn i14_an_interrupted_attempt_is_not_counted(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, NewTask { max_attempts: 1, ..new_task() }, 0).await;
    for outcome in [Outcome::Interrupted, Outcome::Yielded] {
        let attempt = claim_one(&*store, 5).await;
        let task = finish(&*store, attempt, outcome, 5).await.unwrap();
        assert_eq!(task.status.state, State::Queued { due_at: at(5) });
        assert_eq!((task.status.failures, task.status.crashes), (0, 0));
    }
    let attempt = claim_one(&*store, 6).await;
    assert_eq!(attempt, (id, 3));
    finish(&*store, attempt, failure(0), 6).await.unwrap();
    assert_eq!(state_of(&*store, id).await, "failed");
}

pub(crate) async fn claims_go_by_priority_then_due_time_within_the_rooms(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let task = |kind: &str, priority, run_at| NewTask {
        kind: kind.to_owned(),
        priority,
        run_at: Some(at(run_at)),
        ..new_task()
    };
    let a_late = add(&*store, task("a", 4, 20), 0).await;
    let a_early = add(&*store, task("a", 4, 10), 0).await;
    let b_high = add(&*store, task("b", 9, 30), 0).await;
    let b_low = add(&*store, task("b", 0, 5), 0).await;
    let other = add(&*store, task("c", 9, 0), 0).await;
    let room =
        |kind: &str, room, byte| GenerationRoom { kinds: vec![kind.to_owned()], room, digest: Digest([byte; 32]) };
    let ask = |rooms, limit| ClaimRequest { rooms, limit, boot: BootId(1), lease_until: at(999) };

    let claim = store.claim(ask(vec![room("a", 1, 1), room("b", 5, 2)], 9), at(50)).await.unwrap();
    let claimed: Vec<_> = claim.claimed.iter().map(|one| one.id).collect();
    assert_eq!(claimed, [b_high, a_early, b_low]);
    let ran_by = |state: &State| match state {
        State::Running { digest, lease_until, started_at, .. } => Some((digest.0[0], *lease_until, *started_at)),
        State::Waiting
        | State::Queued { .. }
        | State::Succeeded { .. }
        | State::Failed { .. }
        | State::Cancelled { .. } => None,
    };
    let ran: Vec<_> = claim.claimed.iter().filter_map(|one| ran_by(&one.status.state)).collect();
    assert_eq!(ran, [(2, at(999), at(50)), (1, at(999), at(50)), (2, at(999), at(50))]);

    let claim =
        store.claim(ask(vec![room("a", 5, 1), room("c", 5, 1), room("unknown", 5, 1)], 1), at(50)).await.unwrap();
    assert_eq!(claim.claimed.iter().map(|one| one.id).collect::<Vec<_>>(), [other], "the limit counts over all kinds");
    let claim = store.claim(ask(vec![room("a", 5, 1)], 5), at(50)).await.unwrap();
    assert_eq!(claim.claimed.iter().map(|one| one.id).collect::<Vec<_>>(), [a_late]);
}

pub(crate) async fn kinds_of_one_generation_share_its_room(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    for kind in ["a", "b", "a", "b"] {
        add(&*store, NewTask { kind: kind.to_owned(), ..new_task() }, 0).await;
    }
    let claim = store.claim(ClaimRequest { limit: 9, ..request(&["a", "b"], 3, 0) }, at(0)).await.unwrap();
    assert_eq!(claim.claimed.len(), 3);
    assert!(claim.claimed.iter().all(|one| one.status.attempt == 1));
    assert_eq!(claim.next_due, None);
    let counts = store.live_counts().await.unwrap();
    let counts: Vec<_> = counts.iter().map(|count| (count.kind.as_str(), count.queued, count.running)).collect();
    assert_eq!(counts, [("a", 0, 2), ("b", 1, 1)]);
    assert_eq!(digest(), Digest([7; 32]));
}

pub(crate) async fn next_due_names_the_next_instant(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    assert_eq!(claim(&*store, 5, 0).await.next_due, None);
    add(&*store, NewTask { run_at: Some(at(70)), ..new_task() }, 0).await;
    add(&*store, NewTask { run_at: Some(at(50)), ..new_task() }, 0).await;
    add(&*store, NewTask { kind: "other".to_owned(), run_at: Some(at(10)), ..new_task() }, 0).await;
    let none = claim(&*store, 5, 49).await;
    assert_eq!((none.claimed.len(), none.next_due), (0, Some(at(50))));
    let one = claim(&*store, 5, 50).await;
    assert_eq!((one.claimed.len(), one.next_due), (1, Some(at(70))));
    let full = claim(&*store, 1, 70).await;
    assert_eq!((full.claimed.len(), full.next_due), (1, None));
}
