//! Plugins in four languages: the same small job in each against a bare loop, and a start with all of them.

use crate::guest::{Subject, compare};
use crate::idle::starts;
use crate::report::Report;
use crate::rig::{built, built_language, runtime};

/// What `taskhost plugin new` writes, and calls of one round.
const ADDERS: [(&str, u32); 4] = [("add-rust", 2_000), ("add-c", 2_000), ("add-js", 400), ("add-python", 200)];

/// The attempts, then the starts with the examples: the first compiles, the others find everything in the cache.
pub(crate) fn run(report: &mut Report) {
    let one = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    one.block_on(async {
        for (kind, calls) in ADDERS {
            let (component, manifest) = built_language(kind);
            let subject = Subject { kind, component, manifest, input: r#"{"a":1,"b":2}"#, calls };
            compare(report, "languages", subject).await;
        }
    });
    drop(one);
    let examples = ["text-stats", "video-poster", "checksum"].map(|name| (name, built_language(name)));
    let plugins: Vec<_> = examples.into_iter().chain([("echo", built("echo"))]).collect();
    runtime().block_on(starts(report, "languages", &plugins));
}
