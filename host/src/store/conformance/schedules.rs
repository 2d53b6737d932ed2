//! Schedules.

use super::{Harness, MANY, at, new_task, request};
use crate::schedule::{Action, Overlap, Schedule, ScheduleSpec};
use crate::store::request::Dispatched;
use crate::store::{Backfill, Backfilled, DueQuery, FiredDue, Store, StoreError};
use crate::task::{Failure, NewTask, Outcome, Source};

fn enqueuing(name: &str, every_ms: u64) -> ScheduleSpec {
    let action = Action::Enqueue { kind: "echo".to_owned(), input: "{}".to_owned() };
    ScheduleSpec::every(name, every_ms, action)
}

fn dispatching(name: &str) -> ScheduleSpec {
    let action = Action::Dispatch { plugin: "clear".to_owned(), batch: 2, capacity: 4 };
    ScheduleSpec::every(name, 100, action)
}

async fn fire(store: &dyn Store, now: u64) -> FiredDue {
    store.fire_due(DueQuery { busy: Vec::new(), limit: 100 }, at(now)).await.unwrap()
}

async fn only(store: &dyn Store) -> Schedule {
    let page = store.schedules(None, 10).await.unwrap();
    let [schedule] = &page.items[..] else { panic!("one schedule") };
    schedule.clone()
}

async fn names_of_events(store: &dyn Store) -> Vec<&'static str> {
    store.events(0, 100).await.unwrap().events.iter().map(|event| event.change.name()).collect()
}

pub(crate) async fn declaring_keeps_progress_and_drops_the_rest(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let three = vec![enqueuing("a", 100), enqueuing("b", 100), enqueuing("c", 1_000)];
    store.declare_schedules(three, at(50)).await.unwrap();
    store.create_schedule(enqueuing("mine", 1_000), at(50)).await.unwrap();
    fire(&*store, 120).await;
    store.record_pass("b", Some("no such plugin".to_owned()), at(120)).await.unwrap();
    drop(store);
    let store = harness.open(2, MANY, at(130));
    let three = vec![enqueuing("a", 100), enqueuing("b", 1_000), enqueuing("d", 100)];
    store.declare_schedules(three, at(150)).await.unwrap();
    let schedules = store.schedules(None, 10).await.unwrap().items;
    let seen: Vec<_> =
        schedules.iter().map(|s| (s.spec.name.as_str(), s.next_at.unwrap(), s.fired, s.last_error.is_some())).collect();
    let expected =
        [("a", at(200), 1, false), ("b", at(1_000), 1, true), ("d", at(200), 0, false), ("mine", at(1_000), 0, false)];
    assert_eq!(seen, expected);
    let page = store.schedules(Some("a"), 1).await.unwrap();
    assert_eq!((page.items[0].spec.name.as_str(), page.next.as_deref()), ("b", Some("b")));
    let twice = vec![enqueuing("a", 100), enqueuing("a", 200)];
    assert!(matches!(store.declare_schedules(twice, at(150)).await, Err(StoreError::Conflict(_))));
    assert!(matches!(store.record_pass("c", None, at(150)).await, Err(StoreError::NotFound)));
}

pub(crate) async fn i12_a_nominal_time_fires_once_with_its_task(harness: &impl Harness) {
    let store = harness.open(1, 2, at(0));
    store.declare_schedules(vec![enqueuing("a", 100)], at(0)).await.unwrap();
    assert_eq!(fire(&*store, 99).await.next_at, Some(at(100)), "not due");
    assert_eq!(fire(&*store, 100).await.next_at, Some(at(200)));
    let fired = only(&*store).await;
    assert_eq!((fired.next_at, fired.last_fired_at, fired.fired), (Some(at(200)), Some(at(100)), 1));
    fire(&*store, 150).await;
    drop(store);
    let store = harness.open(2, 2, at(160));
    fire(&*store, 160).await;
    fire(&*store, 20).await;
    assert_eq!((only(&*store).await.fired, store.outstanding("a").await.unwrap()), (1, 1), "nor after a restart");
    fire(&*store, 300).await;
    assert_eq!(only(&*store).await.missed, 1);
    assert!(fire(&*store, 400).await.full.is_some());
    let schedule = only(&*store).await;
    assert_eq!((schedule.next_at, schedule.fired), (Some(at(400)), 2), "neither the task nor the firing");
    let claimed = store.claim(request(&["echo"], 9, 400), at(400)).await.unwrap().claimed;
    for (one, nominal) in claimed.iter().zip(["1970-01-01T00:00:00.100Z", "1970-01-01T00:00:00.300Z"]) {
        assert_eq!(one.spec.new.source, Source::Schedule("a".to_owned()));
        let found = one.spec.new.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        assert_eq!(found.collect::<Vec<_>>(), [("schedule", "a"), ("nominal", nominal), ("backfilled", "false")]);
    }
    let fired = ["schedule.fired", "task.queued"];
    let expected =
        [&["schedule.declared"][..], &fired, &["schedule.missed"], &fired, &["task.started", "task.started"]];
    assert_eq!(names_of_events(&*store).await, expected.concat());
}

pub(crate) async fn overlapping_firings_wait_are_left_out_or_cancel_the_others(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let with = |name: &str, overlap| ScheduleSpec { overlap, ..enqueuing(name, 100) };
    let wakeups = store.schedule_wakeups();
    store.create_schedule(with("one", Overlap::QueueOne), at(0)).await.unwrap();
    for now in [100, 200, 300] {
        fire(&*store, now).await;
    }
    let waits = only(&*store).await;
    assert_eq!((waits.fired, waits.waiting.len(), waits.overlapped), (1, 1, 1));
    assert_eq!(store.outstanding("one").await.unwrap(), 1);
    drop(store);
    assert!(wakeups.has_changed().is_err(), "the store is closed");
    let store = harness.open(1, MANY, at(310));
    let mut wakeups = store.schedule_wakeups();
    wakeups.mark_unchanged();
    let (id, attempt) = super::claim_one(&*store, 320).await;
    assert!(!fire(&*store, 330).await.more, "the first one runs");
    super::finish(&*store, (id, attempt), super::success(), 340).await.unwrap();
    assert!(wakeups.has_changed().unwrap(), "the ticker is told");
    fire(&*store, 350).await;
    let released = only(&*store).await;
    assert_eq!((released.fired, released.waiting.len(), released.last_fired_at), (2, 0, Some(at(200))));
    store.delete_schedule("one", released.revision, at(355)).await.unwrap();

    store.create_schedule(with("cancel", Overlap::CancelOther), at(360)).await.unwrap();
    fire(&*store, 400).await;
    assert!(fire(&*store, 500).await.more, "a queued task ends at once");
    fire(&*store, 500).await;
    let cancel = only(&*store).await;
    assert_eq!((cancel.fired, cancel.last_fired_at, store.outstanding("cancel").await.unwrap()), (2, Some(at(500)), 1));
}

pub(crate) async fn a_client_changes_what_it_saw_and_never_what_the_configuration_declares(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    store.declare_schedules(vec![enqueuing("fixed", 1_000)], at(0)).await.unwrap();
    let first = store.create_schedule(enqueuing("mine", 100), at(0)).await.unwrap();
    assert!(matches!(store.create_schedule(enqueuing("mine", 200), at(0)).await, Err(StoreError::Conflict(_))));
    fire(&*store, 100).await;
    let second = store.replace_schedule(enqueuing("mine", 1_000), first.revision, at(100)).await.unwrap();
    assert_eq!((second.next_at, second.fired), (Some(at(1_000)), 1));
    let stale = store.replace_schedule(enqueuing("mine", 300), first.revision, at(100)).await;
    assert!(matches!(stale, Err(StoreError::Stale)));
    assert!(matches!(store.delete_schedule("mine", first.revision, at(110)).await, Err(StoreError::Stale)));
    assert!(matches!(store.delete_schedule("fixed", 1, at(110)).await, Err(StoreError::Conflict(_))));
    assert!(matches!(store.replace_schedule(enqueuing("fixed", 9_000), 1, at(0)).await, Err(StoreError::Conflict(_))));
    store.delete_schedule("mine", second.revision, at(110)).await.unwrap();
    assert_eq!(store.schedule("mine").await.unwrap(), None);
    assert!(matches!(store.pause_schedule("mine", String::new(), at(0)).await, Err(StoreError::NotFound)));
    assert_eq!(fire(&*store, 999).await.next_at, Some(at(1_000)), "nothing is left of it");
}

pub(crate) async fn pauses_hands_and_backfills(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let spec = ScheduleSpec { pause_on_failure: Some(2), ..enqueuing("a", 100) };
    store.create_schedule(spec, at(0)).await.unwrap();
    store.pause_schedule("a", "by hand".to_owned(), at(10)).await.unwrap();
    assert_eq!(fire(&*store, 1_000).await.next_at, None);
    store.trigger_schedule("a", at(1_010)).await.unwrap();
    fire(&*store, 1_010).await;
    assert_eq!((only(&*store).await.fired, store.outstanding("a").await.unwrap()), (1, 1));
    drop(store);
    let store = harness.open(1, MANY, at(1_020));
    assert!(only(&*store).await.paused.is_some());
    let resumed = store.resume_schedule("a", at(1_050)).await.unwrap();
    assert_eq!((resumed.next_at, resumed.skipped), (Some(at(1_100)), 10));
    let span = |limit| Backfill { name: "a".to_owned(), from: at(200), until: at(9_000), limit };
    let expected = Backfilled { created: 3, duplicates: 0, next: Some(at(500)) };
    assert_eq!(store.backfill(span(3), at(1_060)).await.unwrap(), expected);
    let expected = Backfilled { created: 6, duplicates: 3, next: None };
    assert_eq!(store.backfill(span(100), at(1_060)).await.unwrap(), expected, "nothing that is still to come");
    let claimed = super::claim(&*store, 3, 1_070).await.claimed;
    for one in &claimed {
        let fatal = Outcome::Fatal(Failure::new("no", "not today"));
        super::finish(&*store, (one.id, one.status.attempt), fatal, 1_071).await.unwrap();
    }
    let paused = only(&*store).await;
    assert_eq!(paused.paused.unwrap().reason, "2 in a row failed");
    assert_eq!(fire(&*store, 2_000).await.next_at, None);
}

pub(crate) async fn i13_a_cursor_and_its_tasks_are_one_commit(harness: &impl Harness) {
    let store = harness.open(1, 3, at(0));
    store.declare_schedules(vec![dispatching("d")], at(0)).await.unwrap();
    let pass = fire(&*store, 100).await.passes[0].fired;
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
    let schedule = only(&*store).await;
    assert_eq!(schedule.cursor, Some(vec![1]), "refused batches moved nothing");
    assert_eq!(store.outstanding("d").await.unwrap(), 2);
    let added = store.dispatched(batch(pass, &["b", "c"], 2), at(104)).await.unwrap();
    assert_eq!(added.iter().map(|one| one.duplicate).collect::<Vec<_>>(), [true, false]);
    let end = Dispatched { schedule: "d".to_owned(), pass, tasks: Vec::new(), cursor: None };
    store.dispatched(end, at(105)).await.unwrap();
    assert_eq!(only(&*store).await.cursor, None);
    assert_eq!(store.outstanding("d").await.unwrap(), 3);
    for one in store.claim(request(&["echo"], 9, 106), at(106)).await.unwrap().claimed {
        super::finish(&*store, (one.id, one.status.attempt), super::success(), 107).await.unwrap();
    }
    assert_eq!(store.outstanding("d").await.unwrap(), 0);
}
