//! Five million tasks through a host whose queue and history are bounded: neither its memory nor its
//! disk may grow. Takes minutes, so it only runs by name.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::child::{install, start};
use crate::intake::BATCH;
use crate::report::Report;
use crate::rig::{fixture, rate, runtime, scratch};
use crate::wire::{Connection, post};

const MILLIONS: usize = 5;
const MILLION: usize = 1_000_000;
const KIND: &str = "ok";
/// A full queue has room again after a few commits.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// Small enough for a steady state long before the first million.
const BOUNDS: [(&str, &str); 4] = [
    ("TASKHOST_STORE__MAX_LIVE_TASKS", "20000"),
    ("TASKHOST_HISTORY__SUCCEEDED_MAX_TASKS", "20000"),
    ("TASKHOST_HISTORY__MAX_EVENTS", "100000"),
    ("TASKHOST_LOG__LEVEL", "warn"),
];

/// What the files below `path` take on the disk, in MiB.
fn on_disk(path: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt as _;
    fn blocks(path: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(path) else { return 0 };
        // Files come and go meanwhile.
        let size = |entry: std::fs::DirEntry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => blocks(&entry.path()),
            Ok(metadata) => metadata.blocks(),
            Err(_) => 0,
        };
        entries.flatten().map(size).sum()
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let blocks = blocks(path) as f64;
    blocks / 2048.0
}

/// Creates a million tasks; waits whenever the queue is full.
async fn million(connection: &mut Connection, request: &[u8]) {
    let mut left = MILLION / BATCH;
    while left > 0 {
        match connection.send(request).await {
            201 => left -= 1,
            429 | 503 => tokio::time::sleep(FULL_PAUSE).await,
            status => panic!("{status}: {}", connection.body()),
        }
    }
}

/// Everything over HTTP, against the real binary.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let dir = scratch();
        install(dir.path(), KIND, &fixture(KIND), "[limits]\nconcurrency = 128\n");
        let child = start(dir.path(), &BOUNDS).await;
        let body = format!("{{\"tasks\":[{}]}}", vec![format!("{{\"kind\":\"{KIND}\"}}"); BATCH].join(","));
        let request = post(child.address, "/v1/tasks/batch", &body);
        let mut connection = Connection::open(child.address).await;
        for number in 1..=MILLIONS {
            let begin = Instant::now();
            million(&mut connection, &request).await;
            let name = |what: &str| format!("{what}_at_{number}_million");
            report.add("churn", &name("tasks"), rate(MILLION, begin.elapsed()), "1/s", None);
            report.add("churn", &name("resident"), child.resident("VmRSS"), "MiB", None);
            report.add("churn", &name("disk"), on_disk(dir.path()), "MiB", None);
        }
    });
}
