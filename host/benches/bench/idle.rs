//! The real binary with nothing to do: how soon it is ready, and what it weighs.

use crate::child::{install, start};
use crate::report::Report;
use crate::rig::{built, millis, quantile, runtime, scratch};

const STARTS: usize = 10;

/// Starts with `(name, (component, manifest))`: the first compiles the plugins, the others find them in the cache.
pub(crate) async fn starts(report: &mut Report, bench: &str, plugins: &[(&str, (Vec<u8>, String))]) {
    let dir = scratch();
    for (name, (component, manifest)) in plugins {
        install(dir.path(), name, component, manifest);
    }
    let cold = start(dir.path(), &[]).await.ready;
    let mut warm = Vec::new();
    for _ in 0..STARTS {
        warm.push(start(dir.path(), &[]).await.ready);
    }
    let child = start(dir.path(), &[]).await;
    report.add(bench, "start_cold", millis(cold), "ms", None);
    report.add(bench, "start_warm_p50", millis(quantile(&mut warm, 0.5)), "ms", None);
    report.add(bench, "start_warm_max", millis(quantile(&mut warm, 1.0)), "ms", None);
    report.add(bench, "resident", child.resident("VmRSS"), "MiB", None);
    report.add(bench, "resident_peak", child.resident("VmHWM"), "MiB", None);
}

/// A host with the plugins that come along.
pub(crate) fn run(report: &mut Report) {
    let plugins = ["video-cut", "video-clear"].map(|name| (name, built(name)));
    runtime().block_on(starts(report, "idle", &plugins));
}
