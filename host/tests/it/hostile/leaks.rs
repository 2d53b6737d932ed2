//! Attempts, sound and hostile, leave nothing behind in the host's memory.

use serde_json::{Value, json};

use super::scene::{MANIFEST, Scene};
use crate::support::folder::hostile;

/// Attempts when `TASKHOST_ATTEMPTS` does not say.
const ATTEMPTS: usize = 2_000;
const BATCH: usize = 500;
/// What the host's memory may grow by after its first tenth, which fills buffers and caches.
const MORE_MEMORY_KIB: u64 = 32 << 10;
/// Each tenth attempt goes down.
const HOSTILE: [&str; 4] = ["trap", "answer-outside-memory", "exit", "canary-writes"];

fn attempts() -> usize {
    #[expect(clippy::disallowed_methods, reason = "the number of attempts is for whoever runs the tests")]
    let attempts = std::env::var("TASKHOST_ATTEMPTS");
    attempts.map_or(ATTEMPTS, |attempts| attempts.parse().expect("TASKHOST_ATTEMPTS is a number"))
}

/// Creates a batch and waits until all of it has ended.
async fn batch(scene: &Scene, number: usize) {
    let task = |at: usize| {
        let hostile = at.is_multiple_of(10);
        let kind = if hostile { HOSTILE[(number + at / 10) % HOSTILE.len()] } else { "ok" };
        json!({ "kind": kind, "input": { "at": at }, "max_attempts": 1 })
    };
    let tasks: Vec<Value> = (0..BATCH).map(task).collect();
    scene.post("/v1/tasks/batch", &json!({ "tasks": tasks })).await;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(10));
    while !scene.is_idle().await {
        pace.tick().await;
    }
}

#[tokio::test]
async fn i8_memory_stays_flat_over_many_attempts() {
    let scene = Scene::start(|place| {
        let config = place.path("taskhost.toml");
        let history = "[history]\nsucceeded_max_tasks = 1000\nfailed_max_tasks = 1000\nmax_events = 1000\n";
        let text = std::fs::read_to_string(&config).unwrap() + history;
        std::fs::write(config, text).unwrap();
        for name in HOSTILE {
            place.plugins().put(name, &hostile(name), Some(MANIFEST));
        }
    });
    let scene = scene.await;
    let batches = attempts().div_ceil(BATCH);
    let mut samples = Vec::new();
    for number in 0..batches {
        batch(&scene, number).await;
        samples.push(scene.memory("VmRSS"));
    }
    let settled = samples[batches / 10];
    let last = *samples.last().unwrap();
    assert!(last.saturating_sub(settled) <= MORE_MEMORY_KIB, "KiB after each {BATCH} attempts: {samples:?}");
    scene.stop().await;
}
