//! No-op tasks from the first claim to the last durable completion, against the store alone.

use std::sync::Arc;
use std::time::Duration;

use taskhost::store::{ClaimRequest, Finish, GenerationRoom, Store};
use taskhost::task::{AttemptReport, BootId, Digest, NewTask, Outcome};
use taskhost::time::now;
use tokio::time::Instant;

use crate::report::Report;
use crate::rig::{Ends, Rig, fixture, rate, runtime};

const TASKS: usize = 20_000;
/// Attempts at the same time: the host's default.
const CONCURRENCY: u32 = 128;
/// Tasks that one call enqueues.
const ENQUEUE: usize = 500;
const ROUNDS: usize = 3;
const KIND: &str = "ok";
/// A guest that takes its memory back after every call, so that it may stay, and its limits.
const STAYS: (&str, &str) = ("calls", "attempts_per_instance = 1000\n");

async fn enqueue(store: &dyn Store, kind: &str) {
    for _ in 0..TASKS / ENQUEUE {
        let tasks = (0..ENQUEUE).map(|_| NewTask::new(kind, "{}")).collect();
        store.enqueue(tasks, now()).await.unwrap();
    }
}

/// Claims a group, finishes its members at the same time, and so on: the whole life but the guest.
async fn drain(store: &Arc<dyn Store>) {
    let mut left = TASKS;
    while left > 0 {
        let room = GenerationRoom { kinds: vec![KIND.to_owned()], room: CONCURRENCY, digest: Digest([7; 32]) };
        let lease_until = now().plus_millis(30_000);
        let request = ClaimRequest { rooms: vec![room], limit: CONCURRENCY, boot: BootId(1), lease_until };
        let claim = store.claim(request, now()).await.unwrap();
        left -= claim.claimed.len();
        let finishes = claim.claimed.into_iter().map(|claimed| {
            let outcome = Outcome::Succeeded { output: "{}".to_owned(), outbox: Vec::new() };
            let finish = Finish {
                id: claimed.id,
                attempt: claimed.status.attempt,
                outcome,
                jitter: 0.0,
                report: AttemptReport::default(),
            };
            store.finish(finish, now())
        });
        for finished in futures_util::future::join_all(finishes).await {
            finished.unwrap();
        }
    }
}

/// The store alone: the whole life, and without the enqueueing.
async fn store_alone() -> (Duration, Duration) {
    let rig = Rig::new(&[], 1, |_| {}).await;
    let begin = Instant::now();
    enqueue(&*rig.store, KIND).await;
    let enqueued = Instant::now();
    drain(&rig.store).await;
    let times = (begin.elapsed(), enqueued.elapsed());
    rig.stop().await;
    times
}

/// A runner on `fixture`, with its limits.
async fn pipeline(fixture_name: &str, limits: &str) -> Duration {
    let manifest = format!("[limits]\nconcurrency = 128\n{limits}");
    let rig = Rig::new(&[(fixture_name, fixture(fixture_name), &manifest)], 0, |_| {}).await;
    enqueue(&*rig.store, fixture_name).await;
    let mut ends = Ends::of(&rig.store);
    let begin = Instant::now();
    let (shutdown, runner) = rig.runner(CONCURRENCY);
    ends.all(TASKS).await.unwrap();
    let took = begin.elapsed();
    shutdown.stop.cancel();
    runner.await.unwrap();
    rig.stop().await;
    took
}

/// The best round of each side: what is left is the code, not the neighbours.
pub(crate) fn run(report: &mut Report) {
    let runtime = runtime();
    let (mut best, mut warm, mut whole, mut half) = (Duration::MAX, Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let (lifecycle, without_enqueue) = runtime.block_on(store_alone());
        (whole, half) = (whole.min(lifecycle), half.min(without_enqueue));
        best = best.min(runtime.block_on(pipeline(KIND, "")));
        warm = warm.min(runtime.block_on(pipeline(STAYS.0, STAYS.1)));
    }
    let (pipeline, lifecycle, drained) = (rate(TASKS, best), rate(TASKS, whole), rate(TASKS, half));
    report.add("pipeline", "store_lifecycle", lifecycle, "1/s", None);
    report.add("pipeline", "store_claim_finish", drained, "1/s", None);
    report.add("pipeline", "tasks", pipeline, "1/s", Some((pipeline / lifecycle, "store lifecycle")));
    report.add(
        "pipeline",
        "tasks_of_claim_finish",
        pipeline,
        "1/s",
        Some((pipeline / drained, "store claim and finish")),
    );
    let warm = rate(TASKS, warm);
    report.add("pipeline", "tasks_with_instance_reuse", warm, "1/s", Some((warm / lifecycle, "store lifecycle")));
}
