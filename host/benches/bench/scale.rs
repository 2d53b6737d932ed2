//! A long queue: what claims cost, what the host weighs, and how soon it is back.

use std::time::Duration;

use futures_util::future::join_all;
use taskhost::store::sled::{Settings, SledStore};
use taskhost::store::{ClaimRequest, Finish, GenerationRoom, Store};
use taskhost::task::{BootId, Digest, NewTask, Outcome};
use taskhost::time::now;
use tokio::time::Instant;

use crate::child::{install, start};
use crate::intake::{BATCH, KIND, LATER_MS, batch, flood};
use crate::report::Report;
use crate::rig::{built, millis, rate, runtime, scratch};
use crate::wire::post;

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
/// Tasks that are claimed and ended while as many take their places.
const TURNS: usize = 150;
const GROUP: usize = 128;
/// The bound on live tasks leaves room for a group that is created before one has ended.
const ROOM: u64 = 1_010_000;

async fn add(store: &SledStore, count: usize) {
    let tasks = (0..count).map(|_| NewTask::new(KIND, "{}")).collect();
    store.enqueue(tasks, now()).await.unwrap();
}

/// Tasks a second, claimed alone and through their whole lives, while the queue keeps its length.
async fn claims(queued: usize) -> (f64, f64) {
    let dir = scratch();
    let settings = Settings { max_live_tasks: ROOM, ..Settings::new(dir.path(), BootId(1)) };
    let store = SledStore::open(settings, now()).unwrap();
    for _ in 0..queued / BATCH {
        add(&store, BATCH).await;
    }
    let (begin, mut claiming) = (Instant::now(), Duration::ZERO);
    for _ in 0..TURNS {
        let room = GenerationRoom { kinds: vec![KIND.to_owned()], room: u32::MAX, digest: Digest([7; 32]) };
        let limit = u32::try_from(GROUP).unwrap();
        let lease_until = now().plus_millis(60_000);
        let asked = Instant::now();
        let request = ClaimRequest { rooms: vec![room], limit, boot: BootId(1), lease_until };
        let claim = store.claim(request, now()).await.unwrap();
        claiming += asked.elapsed();
        assert_eq!(claim.claimed.len(), GROUP);
        let ends = claim.claimed.into_iter().map(|one| {
            let outcome = Outcome::Succeeded { output: "{}".to_owned(), outbox: Vec::new() };
            store.finish(Finish { id: one.id, attempt: one.status.attempt, outcome, jitter: 0.0 }, now())
        });
        let (ended, ()) = tokio::join!(join_all(ends), add(&store, GROUP));
        assert!(ended.iter().all(Result::is_ok));
    }
    let rates = (rate(TURNS * GROUP, claiming), rate(TURNS * GROUP, begin.elapsed()));
    store.close().await;
    rates
}

/// A host with a million tasks that are due later: its weight, and the way back after a `kill -9`.
async fn host(report: &mut Report) {
    let dir = scratch();
    let (component, manifest) = built(KIND);
    install(dir.path(), KIND, &component, &manifest);
    let child = start(dir.path(), &[]).await;
    let address = child.address;
    let took = flood(address, post(address, "/v1/tasks/batch", &batch(LATER_MS)), (4, MANY / BATCH)).await;
    report.add("scale", "http_batches_to_1000000", rate(MANY, took), "1/s", None);
    report.add("scale", "resident_with_1000000", child.resident("VmRSS"), "MiB", None);
    report.add("scale", "resident_peak", child.resident("VmHWM"), "MiB", None);
    drop(child);
    let child = start(dir.path(), &[]).await;
    report.add("scale", "ready_with_1000000", millis(child.ready), "ms", None);
    report.add("scale", "resident_after_restart", child.resident("VmRSS"), "MiB", None);
}

/// The best of the rounds at each length: what is left is the code, not the neighbours.
pub(crate) fn run(report: &mut Report) {
    let runtime = runtime();
    let best = |one: (f64, f64), two: (f64, f64)| (one.0.max(two.0), one.1.max(two.1));
    let mut few = runtime.block_on(claims(FEW));
    let many = runtime.block_on(claims(MANY));
    few = best(few, runtime.block_on(claims(FEW)));
    report.add("scale", "claims_of_1000", few.0, "1/s", None);
    report.add("scale", "claims_of_1000000", many.0, "1/s", Some((many.0 / few.0, "of 1000")));
    report.add("scale", "lifecycle_of_1000", few.1, "1/s", None);
    report.add("scale", "lifecycle_of_1000000", many.1, "1/s", Some((many.1 / few.1, "of 1000")));
    runtime.block_on(host(report));
}
