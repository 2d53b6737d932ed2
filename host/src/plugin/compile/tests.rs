//! Code is compiled once, one component at a time, and a bad cache costs nothing but time.

mod generated;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Digest as _;
use tokio::sync::Notify;

use super::*;
use crate::plugin::check::absent;
use crate::plugin::guest::tests::bench::{settings, text};
use crate::plugin::ports::Ports;

/// Compiles when it is let, and counts.
#[derive(Default)]
struct Gate {
    open: Notify,
    entered: Notify,
    inside: AtomicUsize,
    most: AtomicUsize,
    calls: AtomicUsize,
}

#[async_trait]
impl CompilePort for Gate {
    async fn compile(&self, component: Arc<[u8]>) -> Result<Vec<u8>, CompileError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(self.inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.entered.notify_one();
        self.open.notified().await;
        self.inside.fetch_sub(1, Ordering::Relaxed);
        InProcess.compile(component).await
    }
}

fn sandbox(dir: &tempfile::TempDir, compiler: Arc<dyn CompilePort>) -> Arc<Sandbox> {
    Sandbox::start(&settings(dir), Ports { compiler, ..absent::ports() }).unwrap()
}

fn component(fixture: &str) -> (Digest, Vec<u8>) {
    let bytes = text(fixture);
    (Digest(sha2::Sha256::digest(&bytes).into()), bytes)
}

async fn effort(sandbox: &Arc<Sandbox>, fixture: &str) -> Effort {
    let (digest, bytes) = component(fixture);
    sandbox.code(digest, bytes.into(), &|_| {}).await.unwrap().1
}

#[tokio::test]
async fn a_second_start_finds_what_the_first_one_compiled() {
    let dir = tempfile::tempdir().unwrap();
    let first = sandbox(&dir, Arc::new(InProcess));
    assert!(!effort(&first, "ok").await.cached);
    assert!(effort(&first, "ok").await.cached);
    let gate = Arc::new(Gate::default());
    let second = sandbox(&dir, Arc::clone(&gate) as _);
    assert!(effort(&second, "ok").await.cached);
    assert_eq!(gate.calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_entry_that_is_not_what_was_kept_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(&dir, Arc::new(InProcess));
    let [good, other] = [component("ok"), component("log")];
    for (digest, bytes) in [good.clone(), other.clone()] {
        sandbox.code(digest, bytes.into(), &|_| {}).await.unwrap();
    }
    let cache = &sandbox.compiler.cache;
    // An authentic entry that is no code for this engine: as after an update that forgot to change its name.
    for code in [&b"not code"[..], &[], b"\x7fELF"] {
        cache.put(good.0, code);
        assert!(!effort(&sandbox, "ok").await.cached, "{code:?}");
        assert!(effort(&sandbox, "ok").await.cached);
    }
}

#[tokio::test]
async fn one_component_at_a_time_is_compiled_and_the_others_are_told_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let sandbox = sandbox(&dir, Arc::clone(&gate) as _);
    let stages = Mutex::new(Vec::new());
    let load = async |fixture: &'static str| {
        let (digest, bytes) = component(fixture);
        let on_stage = |stage| stages.lock().unwrap().push((fixture, stage));
        sandbox.code(digest, bytes.into(), &on_stage).await.unwrap().1
    };
    let steer = async {
        gate.entered.notified().await;
        // One compiles, two are in line.
        while stages.lock().unwrap().len() < 4 {
            tokio::task::yield_now().await;
        }
        gate.open.notify_one();
        gate.entered.notified().await;
        gate.open.notify_one();
    };
    // The same component twice is compiled once.
    let (ok, log, same, ()) = tokio::join!(load("ok"), load("log"), load("log"), steer);
    assert!(!ok.cached && log.cached != same.cached);
    assert_eq!((gate.most.load(Ordering::Relaxed), gate.calls.load(Ordering::Relaxed)), (1, 2));
    let seen = stages.into_inner().unwrap();
    assert_eq!(seen.iter().filter(|(_, stage)| *stage == Stage::Queued).count(), 3);
    assert_eq!(seen.iter().filter(|(_, stage)| *stage == Stage::Compiling).count(), 2);
}

#[tokio::test]
async fn a_compilation_that_is_given_up_leaves_the_place_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let sandbox = sandbox(&dir, Arc::clone(&gate) as _);
    let (digest, bytes) = component("ok");
    tokio::select! {
        _ = sandbox.code(digest, bytes.into(), &|_| {}) => panic!("the gate is closed"),
        () = gate.entered.notified() => {}
    }
    gate.open.notify_one();
    assert!(!effort(&sandbox, "log").await.cached);
}
