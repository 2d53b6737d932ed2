//! What becomes of attempts: progress, checkpoints, snoozes, cancels; and forgetting.

use super::{Harness, MANY, add, at, claim_one, failure, finish, new_task, success};
use crate::event::{Change, TaskChange};
use crate::store::request::{Finish, Heartbeat, TaskQuery};
use crate::store::{Store, StoreError, TaskFilter};
use crate::task::{AttemptEnd, AttemptReport, LogSize, NewTask, Outcome, Progress, Reported, State, StoppedBy, TaskId};

fn progress(done: u64) -> Progress {
    Progress { done, total: None, unit: "frames".to_owned(), message: None }
}

fn beat((id, attempt): (TaskId, u32), done: Option<u64>, saw_cancel: bool) -> Heartbeat {
    Heartbeat { id, attempt, lease_until: at(900), progress: done.map(progress), saw_cancel }
}

async fn told(store: &dyn Store, after: u64) -> Vec<TaskChange> {
    let change = |change| {
        let Change::Task { change, .. } = change else { panic!("{change:?}") };
        change
    };
    store.events(after, 100).await.unwrap().events.into_iter().map(|event| change(event.change)).collect()
}

async fn last(store: &dyn Store) -> u64 {
    store.events(u64::MAX, 0).await.unwrap().last
}

pub(crate) async fn progress_and_checkpoints_outlive_retries_restarts_and_failure(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, NewTask { max_attempts: 2, ..new_task() }, 0).await;
    let attempt = claim_one(&*store, 0).await;
    store.heartbeat(beat(attempt, Some(3), false), at(1)).await.unwrap();
    store.save_checkpoint(id, attempt.1, vec![3, 3]).await.unwrap();
    // The last report, which no heartbeat has carried, and the size of the log come with the end.
    let log = LogSize { lines: 1, bytes: 10, dropped_lines: 2, dropped_bytes: 20 };
    let report = AttemptReport { progress: Some(progress(4)), log: Some(log), ..AttemptReport::default() };
    let end = Finish { id, attempt: attempt.1, outcome: failure(0), jitter: 0.5, report };
    let task = store.finish(end, at(2)).await.unwrap();
    let reported = Some(Reported { attempt: 1, at: at(2), progress: progress(4) });
    assert_eq!((&task.status.progress, task.status.history[0].log), (&reported, Some(log)));

    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(3));
    let attempt = claim_one(&*store, 3).await;
    let running = store.task(id).await.unwrap().unwrap();
    assert_eq!(running.status.progress, reported, "known until this attempt reports");
    store.heartbeat(beat(attempt, Some(4), false), at(4)).await.unwrap();
    let again = store.task(id).await.unwrap().unwrap().status.progress;
    assert_eq!(again, Some(Reported { attempt: 2, at: at(4), progress: progress(4) }));
    assert_eq!(store.checkpoint(id).await.unwrap(), Some(vec![3, 3]));

    let task = finish(&*store, attempt, failure(0), 5).await.unwrap();
    assert_eq!((task.status.state.name(), task.status.checkpoint_bytes), ("failed", 2));
    store.redrive(id, at(6)).await.unwrap();
    assert_eq!(store.checkpoint(id).await.unwrap(), Some(vec![3, 3]), "it goes on where it failed");
    let attempt = claim_one(&*store, 6).await;
    let task = finish(&*store, attempt, success(), 7).await.unwrap();
    assert_eq!(task.status.checkpoint_bytes, 0);
    assert_eq!(store.checkpoint(id).await.unwrap(), None);
}

pub(crate) async fn a_cancel_is_acknowledged_and_says_who_ended_the_task(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, new_task(), 0).await;
    let attempt = claim_one(&*store, 0).await;
    store.request_cancel(id, at(1)).await.unwrap();
    let from = last(&*store).await;
    assert!(store.heartbeat(beat(attempt, None, true), at(2)).await.unwrap());
    assert!(store.heartbeat(beat(attempt, None, true), at(3)).await.unwrap());
    let seen = store.task(id).await.unwrap().unwrap();
    assert_eq!((seen.status.name(), seen.status.cancel.unwrap().acknowledged_at), ("cancelling", Some(at(2))));
    let cancelling = TaskQuery { states: vec!["cancelling".to_owned()], limit: 9, ..TaskQuery::default() };
    assert_eq!(store.tasks(cancelling).await.unwrap().items.len(), 1);
    let task = finish(&*store, attempt, Outcome::Cancelled, 4).await.unwrap();
    assert_eq!(task.status.cancel.unwrap().stopped_by, Some(StoppedBy::Guest));
    let changes = told(&*store, from).await;
    assert_eq!(changes, [TaskChange::CancelAcknowledged, TaskChange::Cancelled { by: StoppedBy::Guest }]);

    let id = add(&*store, new_task(), 5).await;
    let attempt = claim_one(&*store, 5).await;
    store.request_cancel(id, at(6)).await.unwrap();
    let task = finish(&*store, attempt, Outcome::Killed, 7).await.unwrap();
    let cancel = task.status.cancel.unwrap();
    assert_eq!((cancel.acknowledged_at, cancel.stopped_by), (Some(at(7)), Some(StoppedBy::Host)));
    assert_eq!(task.status.history[0].end, AttemptEnd::Killed);

    let id = add(&*store, new_task(), 8).await;
    let cancel = store.request_cancel(id, at(9)).await.unwrap().status.cancel.unwrap();
    assert_eq!((cancel.acknowledged_at, cancel.stopped_by), (Some(at(9)), Some(StoppedBy::Queue)));
}

pub(crate) async fn a_snoozed_task_waits_and_loses_nothing(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let id = add(&*store, NewTask { max_attempts: 1, ..new_task() }, 0).await;
    let from = last(&*store).await;
    let mut now = 0;
    for number in 1..=20 {
        let attempt = claim_one(&*store, now).await;
        store.save_checkpoint(id, attempt.1, vec![number]).await.unwrap();
        let task = finish(&*store, attempt, Outcome::Snoozed { after_ms: 5 }, now).await.unwrap();
        assert_eq!(task.status.state, State::Queued { due_at: at(now + 1_000) }, "a second at least");
        assert_eq!((task.status.failures, task.status.crashes), (0, 0));
        let [record] = &task.status.history[..] else { panic!("one record: {:?}", task.status.history) };
        assert_eq!(
            (record.number, &record.end),
            (u32::from(number), &AttemptEnd::Snoozed { times: u32::from(number) })
        );
        now += 1_000;
    }
    assert_eq!(told(&*store, from).await[1], TaskChange::Snoozed { due_at: at(1_000) });
    assert_eq!(store.checkpoint(id).await.unwrap(), Some(vec![20]));
    let attempt = claim_one(&*store, now).await;
    let task = finish(&*store, attempt, success(), now).await.unwrap();
    assert_eq!((task.status.state.name(), task.status.snoozes), ("succeeded", 0));
}

pub(crate) async fn tasks_are_cancelled_by_filter(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let labelled = |value: &str| vec![("tenant".to_owned(), value.to_owned())];
    let run = add(&*store, NewTask { attributes: labelled("a"), ..new_task() }, 0).await;
    claim_one(&*store, 0).await;
    let a = add(&*store, NewTask { attributes: labelled("a"), ..new_task() }, 1).await;
    let b = add(&*store, NewTask { attributes: labelled("b"), queue: "slow".to_owned(), ..new_task() }, 1).await;
    let c = add(&*store, NewTask { attributes: labelled("a"), ..new_task() }, 1).await;
    let filter = TaskFilter { attributes: labelled("a"), limit: 2, ..TaskFilter::default() };
    let first = store.cancel_matching(filter.clone(), at(2)).await.unwrap();
    assert_eq!((first.asked, first.ended), (vec![run], vec![a]));
    let rest = store.cancel_matching(TaskFilter { after: first.next, ..filter }, at(3)).await.unwrap();
    assert_eq!((rest.asked, rest.ended, rest.next), (vec![], vec![c], None));
    let filter = TaskFilter { states: vec!["queued".to_owned()], limit: 9, ..TaskFilter::default() };
    let none = TaskFilter { queue: Some("other".to_owned()), ..filter.clone() };
    assert_eq!(store.cancel_matching(none, at(4)).await.unwrap().ended, []);
    assert_eq!(store.cancel_matching(filter, at(4)).await.unwrap().ended, [b]);
}

pub(crate) async fn ended_tasks_are_purged_with_all_that_they_hold(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let keyed = || NewTask { unique_key: Some("k".to_owned()), ..new_task() };
    let id = add(&*store, keyed(), 0).await;
    let attempt = claim_one(&*store, 0).await;
    store.save_checkpoint(id, attempt.1, vec![1]).await.unwrap();
    let error = store.purge(id, at(1)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Conflict(why) if why.state.contains("running")), "{error:?}");
    finish(&*store, attempt, Outcome::Fatal(crate::task::Failure::new("no", "no")), 1).await.unwrap();
    let from = last(&*store).await;
    store.purge(id, at(2)).await.unwrap();
    assert_eq!(told(&*store, from).await, [TaskChange::Purged]);
    assert_eq!((store.task(id).await.unwrap(), store.checkpoint(id).await.unwrap()), (None, None));
    assert!(matches!(store.purge(id, at(2)).await, Err(StoreError::NotFound)));

    let mut ids = Vec::new();
    for now in 3..8 {
        let id = add(&*store, new_task(), now).await;
        store.request_cancel(id, at(now)).await.unwrap();
        ids.push(id);
    }
    let live = add(&*store, new_task(), 8).await;
    let filter = TaskFilter { ended_before: Some(at(6)), limit: 2, ..TaskFilter::default() };
    let first = store.purge_matching(filter.clone(), at(9)).await.unwrap();
    assert_eq!(first.ids, ids[..2]);
    let rest = store.purge_matching(TaskFilter { after: first.next, ..filter }, at(9)).await.unwrap();
    assert_eq!((rest.ids, rest.next), (vec![ids[2]], None));
    let all = TaskFilter { limit: 9, ..TaskFilter::default() };
    assert_eq!(store.purge_matching(all, at(9)).await.unwrap().ids, ids[3..]);
    assert_eq!(store.task(live).await.unwrap().unwrap().status.name(), "queued");
}
