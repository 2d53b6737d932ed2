//! Nothing of an attempt is left behind: no byte for the next one, no place, no memory, however it ends.

use std::sync::Arc;

use super::bench::{Bench, hostile, job};
use crate::plugin::control::{Control, Directive};
use crate::plugin::limits::Limits;
use crate::plugin::link::{FfmpegGrant, Grants, StateGrant};
use crate::task::Outcome;

/// Lines that `calls-everything` logs, one before each call.
const CALLS: u32 = 13;

#[tokio::test]
async fn i7_no_byte_of_an_attempt_is_seen_by_the_next() {
    // Two memories each, so that there is one place for both plugins to take in turn.
    let bench = Bench::with(|settings| settings.max_instances = 2);
    let load = |name| bench.link(&hostile(name), Limits::default(), Grants::default()).unwrap();
    let (writes, looks) = (load("canary-writes"), load("canary-looks"));
    for round in 0..50 {
        let ends = bench.run(&writes).await;
        assert!(matches!(ends, Outcome::Succeeded { .. }), "{ends:?}");
        // The same plugin and another one.
        let found = bench.run(if round % 2 == 0 { &looks } else { &writes }).await;
        assert!(matches!(found, Outcome::Succeeded { .. }), "{found:?}");
        let found = bench.run(&looks).await;
        assert!(matches!(found, Outcome::Succeeded { .. }), "round {round}: {found:?}");
    }
    assert_eq!(bench.sandbox.memory_used(), 0);
}

#[tokio::test]
async fn an_attempt_that_is_cancelled_at_any_call_of_the_host_leaves_nothing() {
    let grants = Grants {
        state: Some(StateGrant { quota_bytes: 1 << 20 }),
        ffmpeg: Some(FfmpegGrant::default()),
        ..Grants::default()
    };
    let bench = Bench::with(|settings| settings.max_instances = 2);
    let limits = Limits { cpu_ms: 60_000, ..Limits::default() };
    let linked = bench.link(&hostile("calls-everything"), limits, grants).unwrap();
    for line in 0..=CALLS {
        let control = Arc::new(Control::default());
        if line < CALLS {
            *bench.recorder.at_line.lock().unwrap() = Some((line, Arc::clone(&control)));
        }
        let attempt = linked.execute(job("{}"), Arc::clone(&control), 60_000);
        let steer = async {
            // Without a line to be cancelled at, it is cancelled while the tool runs.
            if line == CALLS {
                bench.recorder.cutting.notified().await;
                control.direct(Directive::Cancel);
            }
        };
        let (outcome, ()) = tokio::join!(attempt, steer);
        // By itself, or by the host after the grace.
        assert!(matches!(outcome, Outcome::Cancelled | Outcome::Killed), "line {line}: {outcome:?}");
        bench.all_places_are_free().await;
        assert_eq!(bench.sandbox.memory_used(), 0, "line {line}");
    }
}
