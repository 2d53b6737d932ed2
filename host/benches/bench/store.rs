//! The store alone: what a commit costs, and how much of it callers share.

use std::time::Duration;

use futures_util::future::join_all;
use taskhost::store::sled::{Settings, SledStore};
use taskhost::store::{ClaimRequest, Claimed, Finish, GenerationRoom, Store};
use taskhost::task::{AttemptReport, BootId, Digest, NewTask, Outcome};
use taskhost::time::now;
use tokio::time::Instant;

use crate::report::Report;

/// Callers at once.
const GROUPS: [usize; 4] = [1, 16, 128, 512];
/// Tasks that are measured: enough for a steady state, few enough for a lone caller.
const TASKS: usize = 20_000;
/// Rounds at most.
const ROUNDS: usize = 1_000;
/// Bytes of a task's input, as JSON text.
const INPUT_BYTES: usize = 200;
/// The kind of the tasks.
const KIND: &str = "bench.noop";

/// Measures enqueueing and the full life of a task by the number of concurrent callers.
pub(crate) fn store(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    let mut alone = None;
    for group in GROUPS {
        let rounds = (TASKS / group).min(ROUNDS);
        let (rate, mut laps) =
            runtime.block_on(on_new_store(async |store: &SledStore| enqueue(store, group, rounds).await));
        report.add("store", &format!("enqueue by {group}"), rate, "tasks/s", None);
        laps.sort_unstable();
        let median = laps.get(laps.len() / 2).copied().unwrap_or_default();
        report.add("store", &format!("enqueue by {group}, p50"), median.as_secs_f64() * 1e3, "ms", None);
    }
    for group in GROUPS {
        let rounds = (TASKS / group).min(ROUNDS);
        let rate = runtime.block_on(on_new_store(async |store: &SledStore| lifecycle(store, group, rounds).await));
        let ratio = alone.map(|alone| (rate / alone, "lifecycle by 1"));
        report.add("store", &format!("lifecycle by {group}"), rate, "tasks/s", ratio);
        alone.get_or_insert(rate);
    }
}

/// Runs a measurement on an empty store in a temporary directory.
async fn on_new_store<T>(measure: impl AsyncFnOnce(&SledStore) -> T) -> T {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = SledStore::open(Settings::new(dir.path(), BootId(1)), now()).expect("an empty store opens");
    let measured = measure(&store).await;
    store.close().await;
    measured
}

fn task() -> NewTask {
    NewTask::new(KIND, format!("{{\"text\":\"{}\"}}", "x".repeat(INPUT_BYTES - 11)))
}

/// Tasks a second, and how long each round took.
async fn enqueue(store: &SledStore, group: usize, rounds: usize) -> (f64, Vec<Duration>) {
    let mut laps = Vec::with_capacity(rounds);
    let start = Instant::now();
    for _ in 0..rounds {
        let lap = Instant::now();
        add(store, group).await;
        laps.push(lap.elapsed());
    }
    (per_second(group * rounds, start), laps)
}

async fn add(store: &SledStore, group: usize) {
    let calls = (0..group).map(|_| store.enqueue(vec![task()], now()));
    for added in join_all(calls).await {
        added.expect("a task is added");
    }
}

/// Tasks a second from enqueueing to the durable end. The next group is enqueued while the one
/// before is finished, as it is in a host.
async fn lifecycle(store: &SledStore, group: usize, rounds: usize) -> f64 {
    let start = Instant::now();
    add(store, group).await;
    for round in 1..=rounds {
        let claimed = claim(store, group).await;
        assert_eq!(claimed.len(), group, "everything that was added is due");
        let next = if round < rounds { group } else { 0 };
        tokio::join!(end(store, claimed), add(store, next));
    }
    per_second(group * rounds, start)
}

async fn claim(store: &SledStore, group: usize) -> Vec<Claimed> {
    let limit = u32::try_from(group).unwrap_or(u32::MAX);
    let rooms = vec![GenerationRoom { kinds: vec![KIND.to_owned()], room: limit, digest: Digest([1; 32]) }];
    let lease_until = now().plus_millis(60_000);
    let request = ClaimRequest { rooms, limit, boot: BootId(1), lease_until };
    store.claim(request, now()).await.expect("a claim").claimed
}

async fn end(store: &SledStore, claimed: Vec<Claimed>) {
    let end = |one: Claimed| {
        let outcome = Outcome::Succeeded { output: "{}".to_owned(), outbox: Vec::new() };
        store.finish(
            Finish { id: one.id, attempt: one.status.attempt, outcome, jitter: 0.0, report: AttemptReport::default() },
            now(),
        )
    };
    for ended in join_all(claimed.into_iter().map(end)).await {
        ended.expect("an attempt ends");
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousands are exact in an f64")]
fn per_second(tasks: usize, start: Instant) -> f64 {
    tasks as f64 / start.elapsed().as_secs_f64()
}
