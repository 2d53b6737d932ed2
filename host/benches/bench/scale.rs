//! A long queue: what claims cost, what the host weighs, and how soon it is back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use taskhost::store::sled::{Settings, SledStore};
use taskhost::store::{ClaimRequest, Finish, GenerationRoom, Store};
use taskhost::task::{AttemptReport, BootId, Digest, NewTask, Outcome};
use taskhost::time::now;
use tempfile::TempDir;
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

/// A store whose queue keeps its length while tasks are claimed and ended.
struct Line {
    store: Arc<SledStore>,
    claiming: Duration,
    living: Duration,
    _dir: TempDir,
}

impl Line {
    async fn of(queued: usize) -> Self {
        let dir = scratch();
        let settings = Settings { max_live_tasks: ROOM, ..Settings::new(dir.path(), BootId(1)) };
        let store = SledStore::open(settings, now()).unwrap();
        for _ in 0..queued / BATCH {
            add(&store, BATCH).await;
        }
        Self { store, claiming: Duration::ZERO, living: Duration::ZERO, _dir: dir }
    }

    /// Claims a group and ends it, while as many tasks take their places.
    async fn turn(&mut self) {
        let begin = Instant::now();
        let limit = u32::try_from(GROUP).unwrap();
        let rooms = vec![GenerationRoom { kinds: vec![KIND.to_owned()], room: limit, digest: Digest([7; 32]) }];
        let request = ClaimRequest { rooms, limit, boot: BootId(1), lease_until: now().plus_millis(60_000) };
        let claimed = self.store.claim(request, now()).await.unwrap().claimed;
        self.claiming += begin.elapsed();
        assert_eq!(claimed.len(), GROUP);
        let ends = claimed.into_iter().map(|one| {
            let outcome = Outcome::Succeeded { output: "{}".to_owned(), outbox: Vec::new() };
            self.store.finish(
                Finish {
                    id: one.id,
                    attempt: one.status.attempt,
                    outcome,
                    jitter: 0.0,
                    report: AttemptReport::default(),
                },
                now(),
            )
        });
        let (ended, ()) = tokio::join!(join_all(ends), add(&self.store, GROUP));
        assert!(ended.iter().all(Result::is_ok));
        self.living += begin.elapsed();
    }
}

/// A short and a long queue in turns, so that a busy machine slows both.
async fn claims(report: &mut Report) {
    let (mut few, mut many) = (Line::of(FEW).await, Line::of(MANY).await);
    for _ in 0..TURNS {
        few.turn().await;
        many.turn().await;
    }
    let rates = |line: &Line| (rate(TURNS * GROUP, line.claiming), rate(TURNS * GROUP, line.living));
    let ((few_claims, few_lives), (many_claims, many_lives)) = (rates(&few), rates(&many));
    report.add("scale", "claims_of_1000", few_claims, "1/s", None);
    report.add("scale", "claims_of_1000000", many_claims, "1/s", Some((many_claims / few_claims, "of 1000")));
    report.add("scale", "lifecycle_of_1000", few_lives, "1/s", None);
    report.add("scale", "lifecycle_of_1000000", many_lives, "1/s", Some((many_lives / few_lives, "of 1000")));
    few.store.close().await;
    many.store.close().await;
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

/// Two measurements, one after the other.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        claims(report).await;
        host(report).await;
    });
}
