//! The event log and its subscribers.

use super::{Harness, MANY, add, at, claim_one, finish, new_task, success};
use crate::event::Event;
use crate::store::request::{Keep, Retention};
use crate::task::NewTask;

pub(crate) async fn i2_events_follow_the_order_of_commits_and_only_after_them(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let mut batches = store.subscribe();
    // Concurrent callers share commits; the order is that of the log all the same.
    let enqueue = |now| store.enqueue(vec![new_task(), NewTask::new("other", "{}")], at(now));
    let (a, b, c) = tokio::join!(enqueue(1), enqueue(2), enqueue(3));
    for added in [a, b, c] {
        added.unwrap();
    }
    let attempt = claim_one(&*store, 4).await;
    finish(&*store, attempt, success(), 5).await.unwrap();
    let mut told: Vec<Event> = Vec::new();
    while told.len() < 8 {
        let batch = batches.recv().await.unwrap();
        let logged = store.events(batch[0].seq - 1, batch.len()).await.unwrap();
        assert_eq!(logged.events, *batch, "what is told is in the log");
        told.extend(batch.iter().cloned());
    }
    assert_eq!(told.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    assert_eq!(store.events(0, 100).await.unwrap().events, told);
}

pub(crate) async fn i2_a_reader_resumes_and_is_told_of_a_gap(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    assert_eq!(store.events(0, 10).await.unwrap().last, 0);
    // More than one record of any chunking.
    store.enqueue(vec![new_task(); 600], at(0)).await.unwrap();
    add(&*store, new_task(), 1).await;
    for after in [0, 1, 255, 256, 257, 511, 512, 513, 599, 600] {
        let page = store.events(after, 1).await.unwrap();
        assert_eq!((page.events[0].seq, page.last, page.gap), (after + 1, 601, false));
    }
    let page = store.events(250, 300).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.seq).collect::<Vec<_>>(), (251..=550).collect::<Vec<_>>());
    for after in [601, 700] {
        let page = store.events(after, 10).await.unwrap();
        assert_eq!((page.events.len(), page.last, page.gap), (0, 601, false));
    }
    let keep = Retention::uniform(Keep { max_age_ms: 1_000, max_tasks: 10, max_bytes: u64::MAX }, 10);
    store.prune(keep, at(1)).await.unwrap();
    let page = store.events(0, 1_000).await.unwrap();
    assert!(page.gap && page.events.len() >= 10 && page.events.len() < 601, "{} are left", page.events.len());
    assert_eq!(page.events.last().unwrap().seq, 601);
    assert!(!store.events(page.events[0].seq - 1, 10).await.unwrap().gap);
    drop(store);
    let store = harness.open(2, MANY, at(2));
    let id = add(&*store, new_task(), 3).await;
    let event = store.events(601, 10).await.unwrap().events.remove(0);
    assert_eq!(event.seq, 602, "numbers go on after a restart");
    assert!(matches!(event.change, crate::event::Change::Task { id: told, .. } if told == id));
}
