//! Creating tasks over HTTP, durably, against the store alone with the same callers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use taskhost::store::Store;
use taskhost::store::sled::{Settings, SledStore};
use taskhost::task::{BootId, NewTask};
use taskhost::time::now;
use tokio::time::Instant;

use crate::live::Live;
use crate::report::Report;
use crate::rig::{built, rate, runtime, scratch};
use crate::wire::{Connection, post};

/// Tasks of one batch.
pub(crate) const BATCH: usize = 1_000;
/// Batches that are under way at the same time.
const BATCH_CLIENTS: usize = 4;
const BATCHES: usize = 100;
const SINGLE_CLIENTS: usize = 64;
const SINGLES: usize = 40_000;
const ROUNDS: usize = 3;
/// A real plugin with a schema: each input is checked.
pub(crate) const KIND: &str = "echo";
/// Tasks that are not due: what is measured is the intake.
pub(crate) const LATER_MS: u64 = 3_600_000;
/// Bytes of a task's input, as JSON text.
const INPUT_BYTES: usize = 200;

fn input() -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(INPUT_BYTES - 11))
}

/// One task as a client writes it.
pub(crate) fn body(delay_ms: u64) -> String {
    format!("{{\"kind\":\"{KIND}\",\"delay_ms\":{delay_ms},\"input\":{}}}", input())
}

/// A batch of [`BATCH`] tasks as a client writes it.
pub(crate) fn batch(delay_ms: u64) -> String {
    format!("{{\"tasks\":[{}]}}", vec![body(delay_ms); BATCH].join(","))
}

fn task() -> NewTask {
    NewTask { run_at: Some(now().plus_millis(LATER_MS)), ..NewTask::new(KIND, input()) }
}

/// Sends `request` `count` times over so many connections, from a thread of its own.
pub(crate) async fn flood(address: SocketAddr, request: Vec<u8>, (clients, count): (usize, usize)) -> Duration {
    let client = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (request, left) = (Arc::new(request), Arc::new(AtomicUsize::new(count)));
            let mut connections = join_all((0..clients).map(|_| Connection::open(address))).await;
            let begin = Instant::now();
            let each = connections.iter_mut().map(async |connection| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    assert_eq!(connection.send(&request).await, 201, "{}", connection.body());
                }
            });
            join_all(each).await;
            begin.elapsed()
        })
    };
    tokio::task::spawn_blocking(client).await.unwrap()
}

/// Batches and then single tasks, over HTTP.
async fn over_http() -> (Duration, Duration) {
    let (component, manifest) = built(KIND);
    let live = Live::start(&[(KIND, component, manifest)]).await;
    let address = live.host.addr();
    let batches = flood(address, post(address, "/v1/tasks/batch", &batch(LATER_MS)), (BATCH_CLIENTS, BATCHES)).await;
    let singles = flood(address, post(address, "/v1/tasks", &body(LATER_MS)), (SINGLE_CLIENTS, SINGLES)).await;
    live.stop().await;
    (batches, singles)
}

/// So many calls of `size` tasks from so many callers.
async fn callers(store: &SledStore, size: usize, (clients, count): (usize, usize)) -> Duration {
    let begin = Instant::now();
    let each = (0..clients).map(async |_| {
        for _ in 0..count / clients {
            store.enqueue((0..size).map(|_| task()).collect(), now()).await.unwrap();
        }
    });
    join_all(each).await;
    begin.elapsed()
}

/// The same without HTTP.
async fn store_alone() -> (Duration, Duration) {
    let dir = scratch();
    let store = SledStore::open(Settings::new(dir.path(), BootId(1)), now()).unwrap();
    let batches = callers(&store, BATCH, (BATCH_CLIENTS, BATCHES)).await;
    let singles = callers(&store, 1, (SINGLE_CLIENTS, SINGLES)).await;
    store.close().await;
    (batches, singles)
}

/// The best round of each side: what is left is the code, not the neighbours.
pub(crate) fn run(report: &mut Report) {
    let runtime = runtime();
    let (mut alone, mut http) = ((Duration::MAX, Duration::MAX), (Duration::MAX, Duration::MAX));
    for _ in 0..ROUNDS {
        let (batches, singles) = runtime.block_on(store_alone());
        alone = (alone.0.min(batches), alone.1.min(singles));
        let (batches, singles) = runtime.block_on(over_http());
        http = (http.0.min(batches), http.1.min(singles));
    }
    let (store, tasks) = (rate(BATCH * BATCHES, alone.0), rate(BATCH * BATCHES, http.0));
    report.add("intake", "store_batches_of_1000", store, "1/s", None);
    report.add("intake", "http_batches_of_1000", tasks, "1/s", Some((tasks / store, "store")));
    let (store, tasks) = (rate(SINGLES, alone.1), rate(SINGLES, http.1));
    report.add("intake", "store_singles_of_64_callers", store, "1/s", None);
    report.add("intake", "http_singles_of_64_clients", tasks, "1/s", Some((tasks / store, "store")));
}
