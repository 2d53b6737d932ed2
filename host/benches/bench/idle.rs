//! The real binary with nothing to do: how soon it is ready, and what it weighs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::report::Report;
use crate::rig::{built, millis, quantile, runtime, scratch};

const STARTS: usize = 10;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the binary and waits until it says that it is ready.
async fn start(dir: &Path, client: &reqwest::Client) -> (Process, Duration) {
    let address = dir.join("data/address");
    // Of the start before.
    let _ = std::fs::remove_file(&address);
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
        let Ok(address) = std::fs::read_to_string(&address) else { continue };
        let answer = client.get(format!("http://{}/readyz", address.trim())).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return (process, begin.elapsed());
        }
    }
}

fn resident_bytes(process: &Process, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

/// The first start compiles the plugins; the others find them in the cache.
pub(crate) async fn starts(report: &mut Report, bench: &str, plugins: &[(&str, (Vec<u8>, String))]) {
    let dir = scratch();
    let folder = dir.path().join("plugins");
    std::fs::create_dir(&folder).unwrap();
    for (name, (component, manifest)) in plugins {
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
    report.add(bench, "start_cold", millis(cold), "ms", None);
    report.add(bench, "start_warm_p50", millis(quantile(&mut warm, 0.5)), "ms", None);
    report.add(bench, "start_warm_max", millis(quantile(&mut warm, 1.0)), "ms", None);
    report.add(bench, "resident", resident_bytes(&process, "VmRSS"), "MiB", None);
    report.add(bench, "resident_peak", resident_bytes(&process, "VmHWM"), "MiB", None);
}

/// A host with the plugins that come along.
pub(crate) fn run(report: &mut Report) {
    let plugins = ["video-cut", "video-clear"].map(|name| (name, built(name)));
    runtime().block_on(starts(report, "idle", &plugins));
}
