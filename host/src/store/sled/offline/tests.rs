//! Round trips, and stores that are not whole.

mod damage;

use std::path::Path;

use proptest::prelude::*;

use super::super::tests::Directory;
use super::super::{OpenError, Settings, keys};
use super::{Epoch, ExportError, ImportError, Offline, Report, check, export, import};
use crate::limit::declaration::RateDeclaration;
use crate::limit::{Declaration, Fairness};
use crate::schedule::{Action, ScheduleSpec};
use crate::store::conformance::{self, Harness, MANY, add, at, claim_one, finish, new_task, plan, success};
use crate::store::limits::Pausable;
use crate::store::request::{Expected, NewMedia, StateWrite};
use crate::store::sled::SledStore;
use crate::store::{DueQuery, Store};
use crate::task::{BootId, NewTask, Status, TaskId};

fn exported(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(dir, &mut bytes).unwrap();
    bytes
}

fn checked(dir: &Path) -> Report {
    let report = check(dir).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    report
}

/// Something of every sort, in every state.
async fn fill(store: &dyn Store) {
    let action = Action::Enqueue { kind: "late".to_owned(), input: "{}".to_owned() };
    let spec = ScheduleSpec::every("s", 100, action);
    store.declare_schedules(vec![spec], at(0)).await.unwrap();
    let due = DueQuery { busy: Vec::new(), limit: 9 };
    store.fire_due(due, at(120)).await.unwrap();
    let rate = RateDeclaration { tasks: Some(9), per_ms: Some(1_000), burst: None };
    let rule = Declaration { rate: Some(rate), ..Declaration::default() }.check("rate").unwrap();
    let fairness = Fairness::check("attributes.tenant", std::collections::BTreeMap::default()).unwrap();
    store.declare_limits(vec![rule], Some(fairness), at(0)).await.unwrap();
    store.pause(Pausable::Queue("slow".to_owned()), "by hand".to_owned(), at(1)).await.unwrap();
    let ended = add(store, new_task(), 1).await;
    let attempt = claim_one(store, 1).await;
    finish(store, attempt, success(), 2).await.unwrap();
    let failed = add(store, NewTask { max_attempts: 1, ..new_task() }, 3).await;
    let attempt = claim_one(store, 3).await;
    finish(store, attempt, conformance::failure(0), 4).await.unwrap();
    let cancelled = add(store, new_task(), 5).await;
    store.request_cancel(cancelled, at(6)).await.unwrap();
    let running = add(store, NewTask { unique_key: Some("k".to_owned()), ..new_task() }, 7).await;
    let (_, attempt) = claim_one(store, 7).await;
    store.save_checkpoint(running, attempt, vec![0, 1, 0xFF]).await.unwrap();
    add(store, NewTask { run_at: Some(at(9_999)), ..new_task() }, 8).await;
    for (id, state) in [(ended, "succeeded"), (failed, "failed"), (cancelled, "cancelled"), (running, "running")] {
        assert_eq!(conformance::state_of(store, id).await, state);
    }
    for (id, task) in [("a", None), ("b", Some(ended))] {
        let (name, content_type) = (format!("{id}.mp4"), "video/mp4".to_owned());
        let file = NewMedia { id: id.to_owned(), name, content_type, size: 9, task };
        store.add_media(file, at(9)).await.unwrap();
    }
    store.trash_media("b", at(50), at(10)).await.unwrap();
    for (plugin, key) in [("p", "a"), ("p", "b"), ("q", "a")] {
        let (plugin, key, value) = (plugin.to_owned(), key.to_owned(), vec![0, 0xFF]);
        let write = StateWrite { plugin, key, value, expires_at: None, expected: Expected::Any, quota_bytes: 99 };
        store.state_put(write, at(11)).await.unwrap();
    }
    store.state_delete("p", "b", at(12)).await.unwrap();
}

/// What clients see of a store, epoch apart.
async fn seen(store: &dyn Store) -> String {
    let tasks = store.tasks(conformance_query()).await.unwrap().items;
    let events = store.events(0, 4_096).await.unwrap().events;
    let media = store.list_media(crate::store::MediaQuery { limit: 99, ..Default::default() }).await.unwrap().items;
    let schedules = store.schedules(None, 99).await.unwrap().items;
    let limits = (store.limits(at(300)).await.unwrap(), store.queues(at(300)).await.unwrap());
    let state = store.state_scan("p", "", None, 99, at(0)).await.unwrap();
    let mut checkpoints = Vec::new();
    for task in &tasks {
        checkpoints.push(store.checkpoint(task.id).await.unwrap());
    }
    format!("{tasks:#?}{events:#?}{media:#?}{schedules:#?}{limits:#?}{state:#?}{checkpoints:?}")
}

fn conformance_query() -> crate::store::TaskQuery {
    crate::store::TaskQuery { limit: 1_000, ..Default::default() }
}

#[tokio::test]
async fn an_import_has_everything_of_the_export() {
    let (dir, target) = (Directory::new(), Directory::new());
    let store = dir.open(1, MANY, at(0));
    fill(&*store).await;
    store.close().await;
    let counts = checked(dir.path()).counts;
    assert_eq!((counts.tasks, counts.schedules, counts.media), (6, 1, 2));
    assert_eq!((counts.state, counts.namespaces), (2, 2));
    assert_eq!((counts.limits, counts.tokens, counts.pauses), (2, 1, 1));
    let first = exported(dir.path());
    assert_eq!(exported(dir.path()), first, "an export changes nothing");

    assert_eq!(import(target.path(), &first[..], Epoch::Kept).unwrap(), counts);
    assert_eq!(exported(target.path()), first);
    checked(target.path());
    // The second start takes the running task back, here as there.
    let (old, new) = (dir.open(2, MANY, at(200)), target.open(2, MANY, at(200)));
    assert_eq!(seen(&*new).await, seen(&*old).await);
    assert_eq!(new.epoch(), old.epoch());
    let id = add(&*new, new_task(), 300).await;
    assert_eq!(conformance::state_of(&*new, id).await, "queued", "it goes on");
}

#[tokio::test]
async fn i2_an_imported_store_has_an_event_sequence_of_its_own() {
    let (dir, target) = (Directory::new(), Directory::new());
    let store = dir.open(1, MANY, at(0));
    fill(&*store).await;
    store.close().await;
    let first = exported(dir.path());
    import(target.path(), &first[..], Epoch::New).unwrap();
    assert_ne!(target.open(1, MANY, at(1)).epoch(), store.epoch());
    let second = exported(target.path());
    let lines =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let (first, second) = (lines(&first), lines(&second));
    let last = first.len() - 1;
    assert_eq!(first[1..last], second[1..last], "only the header and the digest differ");
}

#[test]
fn a_store_larger_than_its_memory_is_imported() {
    use super::super::super::dump::{Header, Line, TaskLine, Writer};
    let target = Directory::new();
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, Header::new(7, 1, 0)).unwrap();
    for number in 1..=100_u128 {
        let spec = crate::task::Spec {
            new: NewTask::new("echo", format!("{:?}", "x".repeat(1 << 20))),
            created_at: at(0),
            first_event: 1,
        };
        let (id, status) = (TaskId::from_u128(number), Status::queued(at(0)));
        writer.line(&Line::Task(Box::new(TaskLine { id, spec, status, checkpoint: None, work: None }))).unwrap();
    }
    writer.end().unwrap();
    assert!(bytes.len() > usize::try_from(super::MAX_GROWTH_BYTES).unwrap());
    import(target.path(), &bytes[..], Epoch::Kept).unwrap();
    assert!(exported(target.path()) == bytes, "not the same");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn export_import_export_is_the_same_bytes(plan in plan::plan()) {
        let (dir, target) = (Directory::new(), Directory::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(conformance::model::agrees(&dir, &plan));
        let report = checked(dir.path());
        let first = exported(dir.path());
        let counts = import(target.path(), &first[..], Epoch::Kept).unwrap();
        prop_assert_eq!(counts, report.counts);
        prop_assert!(exported(target.path()) == first);
        checked(target.path());
    }
}

#[tokio::test]
async fn a_wrong_export_leaves_nothing_behind() {
    let (dir, parent) = (Directory::new(), Directory::new());
    let store = dir.open(1, MANY, at(0));
    fill(&*store).await;
    store.close().await;
    let whole = exported(dir.path());
    let target = parent.path().join("store");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for wrong in [&whole[..whole.len() / 2], &flipped, b"", b"hello\n"] {
        let error = import(&target, wrong, Epoch::New).unwrap_err();
        assert!(matches!(error, ImportError::Read(_)), "{error}");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "{error}");
    }
    import(&target, &whole[..], Epoch::New).unwrap();
    let error = import(&target, &whole[..], Epoch::New).unwrap_err();
    assert!(matches!(&error, ImportError::NotEmpty(_)), "{error}");
    checked(&target);
}

#[tokio::test]
async fn a_store_in_use_or_without_content_is_refused() {
    let dir = Directory::new();
    assert!(matches!(check(dir.path()).unwrap_err(), OpenError::Missing { .. }));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "looking creates nothing");
    let store = dir.open(1, MANY, at(0));
    assert!(matches!(check(dir.path()).unwrap_err(), OpenError::Locked { .. }));
    let error = export(dir.path(), Vec::new()).unwrap_err();
    assert!(matches!(error, ExportError::Store(OpenError::Locked { .. })), "{error}");
    store.close().await;
    checked(dir.path());
}

#[test]
fn each_tree_is_exported_and_checked() {
    let opened = include_str!("../trees.rs").split("table(&db, &tally, \"").skip(1);
    let names: std::collections::BTreeSet<_> = opened.filter_map(|rest| rest.split('"').next()).collect();
    // The import makes `held`, `link` and `request` of the tasks.
    let known = [
        "batch",
        "body",
        "bucket",
        "checkpoint",
        "done",
        "event",
        "held",
        "limit",
        "link",
        "live",
        "media",
        "meta",
        "pause",
        "request",
        "schedule",
        "state",
        "tally",
        "work",
    ];
    // A tree that is new here has to be known to the export, the import and the check.
    assert_eq!(names.into_iter().collect::<Vec<_>>(), known);
}

/// Changes a store behind its back.
fn tamper(dir: &Path, change: impl FnOnce(&Offline) + Send) {
    super::on_a_large_stack(|| {
        let store = Offline::open(dir).unwrap();
        change(&store);
        store.trees.flush().unwrap();
    })
    .unwrap();
}

#[tokio::test]
async fn i1_what_does_not_agree_is_told_thing_by_thing() {
    let dir = Directory::new();
    let store = dir.open(1, MANY, at(0));
    fill(&*store).await;
    let a = add(&*store, NewTask { unique_key: Some("other".to_owned()), ..new_task() }, 0).await;
    let [b, c, d] =
        [add(&*store, new_task(), 0).await, add(&*store, new_task(), 0).await, add(&*store, new_task(), 0).await];
    store.close().await;
    checked(dir.path());
    let unknown = TaskId::from_u128(1);
    tamper(dir.path(), |store| {
        let trees = &store.trees;
        let mut spec = trees.body.get(&keys::task(a)).unwrap().unwrap();
        trees.body.put(&keys::task(b), &spec).unwrap();
        trees.live.remove(&keys::task(c)).unwrap();
        trees.body.remove(&keys::task(d)).unwrap();
        spec.new.unique_key = None;
        trees.body.put(&keys::task(unknown), &spec).unwrap();
        trees.done.put(&keys::task(unknown), &Status::queued(at(0))).unwrap();
        trees.checkpoint.put(&keys::task(unknown), &vec![1]).unwrap();
        trees.state.remove(&keys::state("q", "a")).unwrap();
        trees.event.remove(trees.event.first_key().unwrap().as_deref().unwrap()).unwrap();
        let commit = super::CommitRecord { last_event: 1, ended: Default::default(), ..store.commit };
        trees.commit.put(keys::COMMIT, &commit).unwrap();
    });
    let problems = check(dir.path()).unwrap().problems.join("\n");
    for expected in [
        format!("the live tasks {a} and {b} hold the same unique key"),
        format!("task {c} has a body and no status"),
        format!("task {d} has a status and no body"),
        format!("task {unknown} is queued and stored among the ended ones"),
        format!("the checkpoint of task {unknown} has 1 bytes, 0 are counted"),
        "the ended tasks are".to_owned(),
        "the state of plugin q has 0 bytes, 3 are counted".to_owned(),
        "1 is counted".to_owned(),
    ] {
        assert!(problems.contains(&expected), "{expected:?} in:\n{problems}");
    }
    let error = export(dir.path(), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("is not whole: `taskhost store check` says more"), "{error}");
}

#[tokio::test]
async fn i15_lost_commits_are_a_problem_and_are_not_exported() {
    use super::super::mark::{Mark, Position};
    let dir = Directory::new();
    let store = SledStore::open(Settings::new(dir.path(), BootId(9)), at(0)).unwrap();
    add(&*store, new_task(), 0).await;
    store.close().await;
    drop(Mark::create(dir.path(), Position { epoch: store.epoch(), seq: 5 }).unwrap());
    let report = check(dir.path()).unwrap();
    assert_eq!(report.problems, ["commit 5 was acknowledged, but the latest one is 1"]);
    let error = export(dir.path(), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("commit 5 was acknowledged"), "{error}");
}
