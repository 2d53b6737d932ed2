//! The real binary with nothing to do: how soon it is ready, and what it weighs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::report::Report;
use crate::rig::{built, millis, quantile, runtime, scratch};

const STARTS: usize = 10;
/// Where a host says where it listens.
const ADDRESS: &str = "data/address";

/// A process that is killed when it is dropped.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the binary and waits until it says that it is ready.
pub(crate) async fn start(dir: &Path, client: &reqwest::Client) -> (Process, Duration) {
    // Of the start before.
    let _ = std::fs::remove_file(dir.join(ADDRESS));
    let begin = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_taskhost"))
        .arg("serve")
        .arg("--data")
        .arg(dir.join("data"))
        .arg("--plugins")
        .arg(dir.join("plugins"))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process(child);
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    loop {
        pace.tick().await;
        let address = address(dir);
        if address.is_empty() {
            continue;
        }
        let answer = client.get(format!("http://{address}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return (process, begin.elapsed());
        }
    }
}

/// Where the process of this directory listens; empty when it does not yet.
pub(crate) fn address(dir: &Path) -> String {
    std::fs::read_to_string(dir.join(ADDRESS)).unwrap_or_default().trim().to_owned()
}

fn resident_bytes(process: &Process, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// The first start compiles the plugins; the others find them in the cache.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let dir = scratch();
        let folder = dir.path().join("plugins");
        std::fs::create_dir(&folder).unwrap();
        for name in ["video-cut", "video-clear"] {
            let (component, manifest) = built(name);
            std::fs::write(folder.join(format!("{name}.toml")), manifest).unwrap();
            std::fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
        }
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (process, cold) = start(dir.path(), &client).await;
        drop(process);
        let mut warm = Vec::new();
        for _ in 0..STARTS {
            warm.push(start(dir.path(), &client).await.1);
        }
        let (process, _) = start(dir.path(), &client).await;
        report.add("idle", "start_cold", millis(cold), "ms", None);
        report.add("idle", "start_warm_p50", millis(quantile(&mut warm, 0.5)), "ms", None);
        report.add("idle", "start_warm_max", millis(quantile(&mut warm, 1.0)), "ms", None);
        report.add("idle", "resident", resident_bytes(&process, "VmRSS"), "MiB", None);
        report.add("idle", "resident_peak", resident_bytes(&process, "VmHWM"), "MiB", None);
    });
}
