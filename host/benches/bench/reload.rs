//! From a file's rename into the plugins folder to the new generation taking tasks.

use std::time::Duration;

use tokio::time::Instant;

use crate::live::Live;
use crate::report::Report;
use crate::rig::{built, fixture, millis, quantile, runtime};

const SAMPLES: u8 = 20;

/// Replaces a plugin by the same code with another digest, again and again.
async fn replace(live: &Live, name: &str, component: &[u8]) -> Vec<Duration> {
    let mut samples = Vec::new();
    let mut changed = live.host.plugins().changed();
    for number in 0..SAMPLES {
        let mut bytes = component.to_vec();
        // A custom section: id 0, its size, the length of its name, its name, its content.
        bytes.extend_from_slice(&[0, 3, 1, b'n', number]);
        let staged = live.scratch().join("staged");
        std::fs::write(&staged, &bytes).unwrap();
        let executor = || live.host.plugins().executor(name).map(|generation| generation.digest());
        let before = executor();
        let begin = Instant::now();
        std::fs::rename(&staged, live.plugins().join(format!("{name}.wasm"))).unwrap();
        changed.wait_for(|_| executor() != before).await.unwrap();
        samples.push(begin.elapsed());
    }
    samples
}

/// A tiny component, and the real echo, which has to be compiled.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let (echo, manifest) = built("echo");
        let plugins = [("ok", fixture("ok"), String::new()), ("echo", echo, manifest)];
        let live = Live::start(&plugins).await;
        for (name, component, _) in &plugins {
            let mut samples = replace(&live, name, component).await;
            for (metric, share) in [("p50", 0.5), ("max", 1.0)] {
                report.add("reload", &format!("{name}_{metric}"), millis(quantile(&mut samples, share)), "ms", None);
            }
        }
        live.stop().await;
    });
}
