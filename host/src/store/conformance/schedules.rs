//! Schedules.

use super::{Harness, MANY, at, new_task, request};
use crate::schedule::{Action, ScheduleSpec};
use crate::store::StoreError;
use crate::store::request::Dispatched;
use crate::task::{NewTask, Source};

fn enqueuing(name: &str, every_ms: u64) -> ScheduleSpec {
    let action = Action::Enqueue { kind: "echo".to_owned(), input: "{}".to_owned() };
    ScheduleSpec { name: name.to_owned(), every_ms, action }
}

fn dispatching(name: &str) -> ScheduleSpec {
    let action = Action::Dispatch { plugin: "clear".to_owned(), batch: 2, capacity: 4 };
    ScheduleSpec { name: name.to_owned(), every_ms: 100, action }
}

pub(crate) async fn declaring_keeps_progress_and_drops_the_rest(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let three = vec![enqueuing("a", 100), enqueuing("b", 100), enqueuing("c", 100)];
    store.declare_schedules(three, at(50)).await.unwrap();
    store.fire("a", at(100), false, at(120)).await.unwrap();
    store.fire("b", at(100), false, at(120)).await.unwrap();
    store.record_pass("b", Some("no such plugin".to_owned())).await.unwrap();
    drop(store);
    let store = harness.open(2, MANY, at(130));
    let three = vec![enqueuing("a", 100), enqueuing("b", 1_000), enqueuing("d", 100)];
    store.declare_schedules(three, at(150)).await.unwrap();
    let schedules = store.schedules().await.unwrap();
    let seen: Vec<_> =
        schedules.iter().map(|s| (s.spec.name.as_str(), s.next_at, s.fired, s.last_error.is_some())).collect();
    assert_eq!(seen, [("a", at(200), 1, false), ("b", at(1_000), 1, true), ("d", at(200), 0, false)]);
    let twice = vec![enqueuing("a", 100), enqueuing("a", 200)];
    assert!(matches!(store.declare_schedules(twice, at(150)).await, Err(StoreError::Conflict(_))));
    assert!(matches!(store.record_pass("c", None).await, Err(StoreError::NotFound)));
}

pub(crate) async fn i12_a_nominal_time_fires_once_with_its_task(harness: &impl Harness) {
    let store = harness.open(1, 2, at(0));
    store.declare_schedules(vec![enqueuing("a", 100)], at(0)).await.unwrap();
    assert!(matches!(store.fire("a", at(100), false, at(99)).await, Err(StoreError::Stale)), "not due");
    let fired = store.fire("a", at(100), false, at(100)).await.unwrap();
    assert_eq!((fired.next_at, fired.last_fired_at, fired.fired), (at(200), Some(at(100)), 1));
    assert!(matches!(store.fire("a", at(100), false, at(150)).await, Err(StoreError::Stale)));
    drop(store);
    let store = harness.open(2, 2, at(160));
    assert!(matches!(store.fire("a", at(100), false, at(160)).await, Err(StoreError::Stale)), "nor after a restart");
    assert_eq!(store.outstanding("a").await.unwrap(), 1);
    let left_out = store.fire("a", at(200), true, at(200)).await.unwrap();
    assert_eq!((left_out.overlapped, left_out.fired), (1, 1));
    assert_eq!(store.outstanding("a").await.unwrap(), 1, "no task came of it");
    store.fire("a", at(300), false, at(300)).await.unwrap();
    assert!(matches!(store.fire("a", at(400), false, at(400)).await, Err(StoreError::Full(_))));
    let [schedule] = &store.schedules().await.unwrap()[..] else { panic!("one schedule") };
    assert_eq!((schedule.next_at, schedule.fired), (at(400), 2), "neither the task nor the firing");
    let claimed = store.claim(request(&["echo"], 9, 400), at(400)).await.unwrap().claimed;
    assert!(claimed.iter().all(|one| one.spec.new.source == Source::Schedule("a".to_owned())));
    assert!(matches!(store.fire("b", at(100), false, at(400)).await, Err(StoreError::NotFound)));
    let events = store.events(0, 100).await.unwrap().events;
    let names: Vec<_> = events.iter().map(|event| event.change.name()).collect();
    let fired = ["schedule.fired", "task.queued"];
    let expected = [&fired[..], &["schedule.overlapped"], &fired, &["task.started", "task.started"]].concat();
    assert_eq!(names, expected);
}

pub(crate) async fn i13_a_cursor_and_its_tasks_are_one_commit(harness: &impl Harness) {
    let store = harness.open(1, 3, at(0));
    store.declare_schedules(vec![dispatching("d")], at(0)).await.unwrap();
    let pass = store.fire("d", at(100), false, at(100)).await.unwrap().fired;
    assert_eq!(store.outstanding("d").await.unwrap(), 0);
    let keyed = |key: &str| NewTask { unique_key: Some(key.to_owned()), ..new_task() };
    let batch = |pass, keys: &[&str], cursor: u8| Dispatched {
        schedule: "d".to_owned(),
        pass,
        tasks: keys.iter().map(|key| keyed(key)).collect(),
        cursor: Some(vec![cursor]),
    };
    let added = store.dispatched(batch(pass, &["a", "b"], 1), at(101)).await.unwrap();
    assert_eq!(added.iter().filter(|one| one.duplicate).count(), 0);
    assert!(matches!(store.dispatched(batch(pass - 1, &["x"], 9), at(102)).await, Err(StoreError::Stale)));
    assert!(matches!(store.dispatched(batch(pass, &["x", "y"], 9), at(102)).await, Err(StoreError::Full(_))));
    drop(store);
    let store = harness.open(2, 3, at(103));
    let [schedule] = &store.schedules().await.unwrap()[..] else { panic!("one schedule") };
    assert_eq!(schedule.cursor, Some(vec![1]), "refused batches moved nothing");
    assert_eq!(store.outstanding("d").await.unwrap(), 2);
    let added = store.dispatched(batch(pass, &["b", "c"], 2), at(104)).await.unwrap();
    assert_eq!(added.iter().map(|one| one.duplicate).collect::<Vec<_>>(), [true, false]);
    let end = Dispatched { schedule: "d".to_owned(), pass, tasks: Vec::new(), cursor: None };
    store.dispatched(end, at(105)).await.unwrap();
    assert_eq!(store.schedules().await.unwrap()[0].cursor, None);
    assert_eq!(store.outstanding("d").await.unwrap(), 3);
    for one in store.claim(request(&["echo"], 9, 106), at(106)).await.unwrap().claimed {
        super::finish(&*store, (one.id, one.status.attempt), super::success(), 107).await.unwrap();
    }
    assert_eq!(store.outstanding("d").await.unwrap(), 0);
}
