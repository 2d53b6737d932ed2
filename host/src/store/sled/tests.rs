//! The sled store under the common suite, and what only it has: the directory.

mod crash;
mod faults;
mod power;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::mark::{Mark, Position};
use super::{OpenError, Settings, SledStore};
use crate::store::conformance::{self, Harness, MANY, add, at, clock, limited, new_task, plan};
use crate::store::{Obstacle, Store, StoreError};
use crate::task::{BootId, NewTask};
use crate::time::Timestamp;

/// A temporary directory.
pub(in crate::store::sled) struct Directory {
    dir: tempfile::TempDir,
    max_growth_bytes: i64,
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), max_growth_bytes: i64::MAX }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Harness for Directory {
    fn open(&self, boot: u64, max_live: u64, now: Timestamp) -> Arc<dyn Store> {
        let max_growth_bytes = self.max_growth_bytes;
        let settings =
            Settings { max_live_tasks: max_live, max_growth_bytes, ..Settings::new(self.path(), BootId(boot)) };
        SledStore::open(settings, now).unwrap()
    }
}

conformance::conformance_tests!(Directory::new());

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i12_a_clock_that_is_set_by_hours_is_survived(plan in clock::plan()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(clock::is_survived(&Directory::new(), &plan));
    }

    #[test]
    fn i1_i3_i4_agrees_with_a_plain_model(plan in plan::plan()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(conformance::model::agrees(&Directory::new(), &plan));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i6_permits_in_use_are_running_leases_and_nobody_who_may_begin_waits(plan in limited::plan(), fair in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(limited::obeys(&Directory::new(), &plan, fair));
    }
}

#[tokio::test]
async fn i6_thousands_over_their_limit_write_nothing_and_are_not_moved() {
    use crate::limit::Declaration;
    let dir = Directory::new();
    let store = open(dir.path()).unwrap();
    let key = Some("attributes.tenant".to_owned());
    let rule = Declaration { concurrency: Some(1), key, ..Declaration::default() }.check("tenant").unwrap();
    store.declare_limits(vec![rule], None, at(0)).await.unwrap();
    let of = |at: usize| vec![("tenant".to_owned(), (at % 100).to_string())];
    let tasks = (0..5_000).map(|at| NewTask { attributes: of(at), ..new_task() }).collect();
    store.enqueue(tasks, at(0)).await.unwrap();
    let claimed = conformance::claim(&*store, 1_000, 1).await.claimed;
    assert_eq!(claimed.len(), 100);
    let (before, mut events, mut wakeups) =
        (store.events(0, 1).await.unwrap().last, store.subscribe(), store.wakeups());
    wakeups.mark_unchanged();
    for now in 2..50 {
        let claim = conformance::claim(&*store, 1_000, now).await;
        assert_eq!((claim.claimed.len(), claim.next_due), (0, None));
    }
    assert_eq!(store.events(0, 1).await.unwrap().last, before);
    assert!(events.try_recv().is_err() && !wakeups.has_changed().unwrap());
    store.close().await;
    let mark = Mark::read(dir.path()).unwrap().unwrap();
    assert_eq!(mark.seq, 3, "one commit to declare the rule, one to create the tasks, one to claim");
}

#[tokio::test]
async fn i8_limits_that_change_faster_than_tasks_can_be_put_in_order_are_refused() {
    use crate::limit::Declaration;
    const TASKS: usize = 40_000;
    let dir = Directory::new();
    let store = open(dir.path()).unwrap();
    let task = NewTask { attributes: vec![("tenant".to_owned(), "t".to_owned())], ..new_task() };
    for _ in 0..4 {
        store.enqueue(vec![task.clone(); TASKS / 4], at(0)).await.unwrap();
    }
    let rule = |number: usize| {
        let key = Some("attributes.tenant".to_owned());
        Declaration { concurrency: Some(3), key, ..Declaration::default() }.check(&format!("l{number}")).unwrap()
    };
    let put = futures_util::future::join_all((0..12).map(|number| store.put_limit(rule(number), None, at(1)))).await;
    let refused: Vec<_> = put.iter().filter_map(|put| put.as_ref().err()).collect();
    assert!((1..=4).contains(&refused.len()), "{refused:?}");
    let is_told =
        |error: &&StoreError| matches!(error, StoreError::Conflict(why) if why.obstacle == Obstacle::LimitsSettling);
    assert!(refused.iter().all(is_told), "{refused:?}");
    assert_eq!(store.limits(at(1)).await.unwrap().limits.len(), put.len() - refused.len(), "nothing half-written");
    // Each verb finds them a slice further; then another change is taken, and every task has its place.
    let mut tries = 0..1_000;
    while store.put_limit(rule(99), None, at(1)).await.is_err() {
        tries.next().expect("it catches up");
    }
    let mut claimed = 0;
    while claimed < 3 {
        tries.next().expect("it catches up");
        claimed += conformance::claim(&*store, 1_000, 1).await.claimed.len();
    }
    assert_eq!(conformance::claim(&*store, 1_000, 1).await.claimed.len(), 0);
    let queue = store.queues(at(1)).await.unwrap().remove(0);
    assert_eq!((claimed, queue.running, queue.queued), (3, 3, TASKS as u64 - 3));
    store.close().await;
}

#[tokio::test]
async fn i1_a_store_that_outgrows_its_memory_goes_on() {
    // Every few tasks, the database is reopened below.
    let dir = Directory { max_growth_bytes: 2_000, ..Directory::new() };
    let store = dir.open(1, MANY, at(0));
    for round in 0..30 {
        let id = add(&*store, new_task(), round).await;
        let attempt = conformance::claim_one(&*store, round).await;
        conformance::finish(&*store, attempt, conformance::success(), round).await.unwrap();
        assert_eq!(conformance::state_of(&*store, id).await, "succeeded");
    }
    let events = store.events(0, 1_000).await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=90).collect::<Vec<_>>());
}

pub(in crate::store::sled) fn open(dir: &Path) -> Result<Arc<SledStore>, OpenError> {
    SledStore::open(Settings::new(dir, BootId(9)), at(0))
}

/// Copies a directory as a crash at this moment would leave it, or a backup.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let dir = Directory::new();
    let store = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    let expected = format!("another taskhost (pid {}) is using {}", std::process::id(), dir.path().display());
    assert_eq!(error.to_string(), expected);
    drop(store);
    drop(open(dir.path()).unwrap());
}

#[tokio::test]
async fn i15_a_database_that_ends_before_the_mark_is_refused() {
    let (dir, old) = (Directory::new(), Directory::new());
    let store = open(dir.path()).unwrap();
    add(&*store, new_task(), 0).await;
    store.close().await;
    copy(&dir.path().join("sled"), &old.path().join("sled"));
    let store = open(dir.path()).unwrap();
    add(&*store, new_task(), 0).await;
    store.close().await;
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy(&old.path().join("sled"), &dir.path().join("sled"));

    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::DataLoss { mark: 2, found: 1, .. }), "{error}");
    assert!(error.to_string().contains("--accept-data-loss"), "{error}");
    let accepting = Settings { accept_data_loss: true, ..Settings::new(dir.path(), BootId(9)) };
    drop(SledStore::open(accepting, at(0)).unwrap());
    drop(open(dir.path()).unwrap());

    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    for _ in 0..2 {
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::DataLoss { mark: 1, found: 0, .. }), "an empty database: {error}");
    }
}

#[tokio::test]
async fn a_database_whose_files_were_cut_short_is_called_damaged() {
    let dir = Directory::new();
    let store = open(dir.path()).unwrap();
    add(&*store, new_task(), 0).await;
    store.close().await;
    drop(store);
    for file in fs::read_dir(dir.path().join("sled/metadata")).unwrap() {
        let file = fs::File::options().write(true).open(file.unwrap().path()).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
}

#[tokio::test]
async fn closing_moves_the_mark_to_the_latest_commit() {
    let dir = Directory::new();
    let store = open(dir.path()).unwrap();
    for _ in 0..3 {
        add(&*store, new_task(), 0).await;
    }
    store.close().await;
    let expected = Position { epoch: store.epoch(), seq: 3 };
    assert_eq!(Mark::read(dir.path()).unwrap(), Some(expected));
}

#[tokio::test]
async fn i8_waiting_calls_are_bounded() {
    let dir = Directory::new();
    let settings = Settings { max_waiting: 4, ..Settings::new(dir.path(), BootId(9)) };
    let store = SledStore::open(settings, at(0)).unwrap();
    // Far more than a flush takes to send, polled before any is awaited.
    let calls = (0..2_000).map(|_| store.enqueue(vec![new_task()], at(0)));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().any(|answer| matches!(answer, Err(StoreError::Full(_)))));
    let added = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    let counts = store.live_counts().await.unwrap();
    assert_eq!(counts[0].queued, added, "every acknowledged one is there, no other");
}

#[tokio::test]
async fn a_heartbeat_without_news_writes_nothing() {
    let dir = Directory::new();
    let store = open(dir.path()).unwrap();
    let id = add(&*store, new_task(), 0).await;
    let (_, attempt) = conformance::claim_one(&*store, 0).await;
    for until in 200..210 {
        let beat = crate::store::Heartbeat { id, attempt, lease_until: at(until), progress: None, saw_cancel: false };
        store.heartbeat(beat, at(1)).await.unwrap();
    }
    assert_eq!(store.reclaim_expired(at(208)).await.unwrap(), 0);
    store.close().await;
    let mark = Mark::read(dir.path()).unwrap().unwrap();
    assert_eq!(mark.seq, 2, "one commit to create it, one to claim it");
}

#[test]
fn a_newer_format_is_left_alone() {
    use super::base::Place;
    use super::codec::Format;
    use super::keys;
    use super::trees::Unchecked;

    let dir = Directory::new();
    drop(open(dir.path()).unwrap());
    let path = dir.path().join("sled");
    let rewrite = move || {
        let place = Place { path, cache_bytes: 1 << 20, max_growth_bytes: i64::MAX };
        let database = Unchecked::open(place).unwrap();
        database.format.put(keys::FORMAT, &Format { format: 99, epoch: 1 }).unwrap();
        database.trees().unwrap().flush().unwrap();
    };
    std::thread::Builder::new().stack_size(super::STACK_BYTES).spawn(rewrite).unwrap().join().unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 99, known: 1 }), "{error}");
}

#[tokio::test]
async fn i8_a_group_is_closed_by_its_bytes() {
    let dir = Directory::new();
    let settings = Settings { max_group_bytes: 1, max_live_tasks: MANY, ..Settings::new(dir.path(), BootId(9)) };
    let store = SledStore::open(settings, at(0)).unwrap();
    let calls = (0..10).map(|_| store.enqueue(vec![new_task()], at(0)));
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
    store.close().await;
    assert_eq!(Mark::read(dir.path()).unwrap().unwrap().seq, 10, "one commit each");
}

#[tokio::test]
async fn an_empty_tree_survives_a_small_cache() {
    // A page that was never written cannot be read again: none may be paged out.
    let dir = Directory::new();
    for boot in 1..=2 {
        let settings = Settings { cache_bytes: 1, ..Settings::new(dir.path(), BootId(boot)) };
        let store = SledStore::open(settings, at(0)).unwrap();
        // Enough pages that each part of the cache sees some.
        for _ in 0..15 {
            let added = store.enqueue(vec![new_task(); 1_000], at(0)).await.unwrap();
            // The cache hears of accesses in packs of 32.
            for one in &added[..40] {
                assert_eq!(store.checkpoint(one.id).await.unwrap(), None);
                assert_eq!(store.media("none").await.unwrap(), None);
            }
        }
        store.close().await;
    }
}
