//! The event log and its subscribers.

use super::{Harness, MANY, add, at, claim_one, finish, new_task, success};
use crate::event::{Change, Event, LimitChange, PauseChange, PluginCause, PluginChange, PluginNews, ScheduleChange};
use crate::limit::{Declaration, Fairness, LimitRule};
use crate::schedule::{Action, ScheduleSpec};
use crate::store::request::{Keep, Retention};
use crate::store::{Backfill, DueQuery, Pausable, Store};
use crate::task::{Digest, Failure, NewTask, Outcome};

/// The changes after the event `after`, each with its instant; what happens to tasks is left out.
async fn changes(store: &dyn Store, after: u64) -> Vec<(u64, Change)> {
    let told = store.events(after, 100).await.unwrap().events;
    let change = |event: Event| (event.at.as_millis(), event.change);
    told.into_iter().map(change).filter(|(_, change)| !change.name().starts_with("task.")).collect()
}

pub(crate) async fn i2_whatever_is_done_with_a_schedule_is_told(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let action = || Action::Enqueue { kind: "echo".to_owned(), input: "{}".to_owned() };
    let spec = |name: &str, every_ms| ScheduleSpec::every(name, every_ms, action());
    store.declare_schedules(vec![spec("a", 100), spec("b", 100)], at(1)).await.unwrap();
    store.declare_schedules(vec![spec("a", 100), spec("b", 100)], at(2)).await.unwrap();
    store.declare_schedules(vec![spec("a", 200)], at(3)).await.unwrap();
    let state = |name: &str, revision, change| Change::ScheduleState { name: name.to_owned(), revision, change };
    let expected = [
        (1, state("a", 1, ScheduleChange::Declared)),
        (1, state("b", 1, ScheduleChange::Declared)),
        (3, state("b", 1, ScheduleChange::Deleted)),
        (3, state("a", 2, ScheduleChange::Changed)),
    ];
    assert_eq!(changes(&*store, 0).await, expected, "what stays as it is is not told");

    let seen = store.events(0, 0).await.unwrap().last;
    let mine = ScheduleSpec { pause_on_failure: Some(1), ..spec("mine", 1_000) };
    store.create_schedule(mine.clone(), at(10)).await.unwrap();
    store.replace_schedule(mine, 1, at(11)).await.unwrap();
    let by_hand = || ScheduleChange::Paused { reason: "by hand".to_owned() };
    for now in [12, 13] {
        store.pause_schedule("mine", "by hand".to_owned(), at(now)).await.unwrap();
    }
    for now in [2_500, 2_501] {
        store.resume_schedule("mine", at(now)).await.unwrap();
    }
    store.trigger_schedule("mine", at(2_600)).await.unwrap();
    store.fire_due(DueQuery { busy: vec!["a".to_owned()], limit: 9 }, at(2_600)).await.unwrap();
    let span = Backfill { name: "mine".to_owned(), from: at(1_000), until: at(2_000), limit: 9 };
    store.backfill(span, at(2_601)).await.unwrap();
    let attempt = claim_one(&*store, 2_700).await;
    finish(&*store, attempt, Outcome::Fatal(Failure::new("no", "no")), 2_701).await.unwrap();
    let paused = store.schedule("mine").await.unwrap().unwrap();
    store.delete_schedule("mine", paused.revision, at(2_800)).await.unwrap();
    let mut told = changes(&*store, seen).await;
    told.retain(|(_, change)| matches!(change, Change::ScheduleState { name, .. } if name == "mine"));
    let failed = ScheduleChange::Paused { reason: "1 in a row failed".to_owned() };
    let expected = [
        (10, 1, ScheduleChange::Declared),
        (11, 2, ScheduleChange::Changed),
        (12, 3, by_hand()),
        (2_500, 4, ScheduleChange::Resumed { skipped: 2 }),
        (2_600, 4, ScheduleChange::Triggered),
        (2_601, 4, ScheduleChange::Backfilled { tasks: 2 }),
        (2_701, 5, failed),
        (2_800, 5, ScheduleChange::Deleted),
    ];
    assert_eq!(told, expected.map(|(now, revision, change)| (now, state("mine", revision, change))));
}

pub(crate) async fn i2_pauses_and_limits_are_told_and_outlive_a_restart(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let most = |name: &str, concurrency| -> LimitRule {
        Declaration { concurrency: Some(concurrency), ..Declaration::default() }.check(name).unwrap()
    };
    let shares = Fairness::check("attributes.tenant", std::collections::BTreeMap::new()).unwrap();
    for now in [1, 2] {
        store.declare_limits(vec![most("config", 1)], Some(shares.clone()), at(now)).await.unwrap();
    }
    store.put_limit(most("mine", 1), None, at(3)).await.unwrap();
    store.put_limit(most("mine", 1), Some(1), at(4)).await.unwrap();
    store.put_limit(most("mine", 2), Some(1), at(5)).await.unwrap();
    store.delete_limit("mine", 2, at(6)).await.unwrap();
    store.declare_limits(Vec::new(), None, at(7)).await.unwrap();
    let (queue, kind) = (Pausable::Queue("q".to_owned()), Pausable::Kind("k".to_owned()));
    for line in [&queue, &kind] {
        store.pause(line.clone(), "full".to_owned(), at(8)).await.unwrap();
        store.pause(line.clone(), "again".to_owned(), at(9)).await.unwrap();
        store.resume(line.clone(), at(10)).await.unwrap();
        store.resume(line.clone(), at(11)).await.unwrap();
    }
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(12));
    let limit = |name: &str, revision, change| Change::Limit { name: name.to_owned(), revision, change };
    let paused = || PauseChange::Paused { reason: "full".to_owned() };
    let on_queue = |change| Change::Queue { name: "q".to_owned(), change };
    let on_kind = |change| Change::Kind { name: "k".to_owned(), change };
    let expected = [
        (1, Change::Shares { key: Some("attributes.tenant".to_owned()) }),
        (1, limit("config", 1, LimitChange::Declared)),
        (3, limit("mine", 1, LimitChange::Declared)),
        (5, limit("mine", 2, LimitChange::Changed)),
        (6, limit("mine", 2, LimitChange::Deleted)),
        (7, Change::Shares { key: None }),
        (7, limit("config", 1, LimitChange::Deleted)),
        (8, on_queue(paused())),
        (10, on_queue(PauseChange::Resumed)),
        (8, on_kind(paused())),
        (10, on_kind(PauseChange::Resumed)),
    ];
    assert_eq!(changes(&*store, 0).await, expected);
}

pub(crate) async fn i2_news_of_plugins_are_told_in_one_commit_and_outlive_a_restart(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let mut batches = store.subscribe();
    let news = |digest, change| PluginNews { name: "p".to_owned(), digest, change };
    let told = vec![
        news(Some(Digest([1; 32])), PluginChange::Live { cause: PluginCause::File }),
        news(None, PluginChange::Refused { reason: "it is empty".to_owned() }),
        news(Some(Digest([1; 32])), PluginChange::Removed),
        news(Some(Digest([1; 32])), PluginChange::Drained),
    ];
    store.tell_plugins(told.clone(), at(1)).await.unwrap();
    assert_eq!(batches.recv().await.unwrap().len(), told.len());
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(2));
    let expected: Vec<_> = told.into_iter().map(|news| (1, Change::Plugin(news))).collect();
    assert_eq!(changes(&*store, 0).await, expected);
}

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
