//! The real binary with nothing to do: how soon it is ready, and what it weighs.

use crate::child::{install, start};
use crate::report::Report;
use crate::rig::{built, millis, quantile, runtime, scratch};

const STARTS: usize = 10;

/// The first start compiles the plugins; the others find them in the cache.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let dir = scratch();
        for name in ["video-cut", "video-clear"] {
            let (component, manifest) = built(name);
            install(dir.path(), name, &component, &manifest);
        }
        let cold = start(dir.path(), &[]).await.ready;
        let mut warm = Vec::new();
        for _ in 0..STARTS {
            warm.push(start(dir.path(), &[]).await.ready);
        }
        let child = start(dir.path(), &[]).await;
        report.add("idle", "start_cold", millis(cold), "ms", None);
        report.add("idle", "start_warm_p50", millis(quantile(&mut warm, 0.5)), "ms", None);
        report.add("idle", "start_warm_max", millis(quantile(&mut warm, 1.0)), "ms", None);
        report.add("idle", "resident", child.resident("VmRSS"), "MiB", None);
        report.add("idle", "resident_peak", child.resident("VmHWM"), "MiB", None);
    });
}
