//! Nothing of an attempt is left behind: no byte for the next one, no place, no memory, however it ends.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::bench::{Bench, hostile, job};
use crate::plugin::control::{Control, Directive};
use crate::plugin::limits::Limits;
use crate::plugin::link::{FfmpegGrant, Grants, LibraryGrant, Linked, QueueGrant, StateGrant};
use crate::task::Outcome;

/// Calls of `calls-everything`, with a line in the log before each.
const CALLS: u32 = 29;

/// A guest that calls everything, and that may.
fn caller(bench: &Bench) -> Arc<Linked> {
    let grants = Grants {
        state: Some(StateGrant { quota_bytes: 1 << 20 }),
        queue: Some(QueueGrant { kinds: vec!["*".to_owned()], per_second: None, burst: None }),
        library: Some(LibraryGrant { add: false, write: true }),
        ffmpeg: Some(FfmpegGrant::default()),
        ..Grants::default()
    };
    let limits = Limits { cpu_ms: 60_000, ..Limits::default() };
    bench.link(&hostile("calls-everything"), limits, grants).unwrap()
}

#[test]
fn everything_of_the_contract_is_called() {
    let text = include_str!("../../../../tests/fixtures/hostile/calls-everything.wat");
    assert_eq!(text.matches("(call $line)").count(), CALLS as usize + 1, "one more before it spins");
}

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
    let bench = Bench::with(|settings| settings.max_instances = 2);
    let linked = caller(&bench);
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

/// Polls a future until it has waited `waits` times, and drops it there. Whether it got that far.
async fn dropped_after<T>(future: impl Future<Output = T>, waits: u32) -> bool {
    let mut future = pin!(future);
    let mut left = waits;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending if left == 0 => Poll::Ready(true),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn an_attempt_that_is_dropped_wherever_it_waits_leaves_nothing() {
    let bench = Bench::with(|settings| settings.max_instances = 2);
    let linked = caller(&bench);
    // Every call that may wait does.
    bench.recorder.waits.store(true, Ordering::Relaxed);
    let mut waits = 0;
    loop {
        let (attempt, recorder) = (Arc::clone(&linked), Arc::clone(&bench.recorder));
        // On the guests' own thread: there the attempt is no task of its own, and each of its waits is one of ours.
        let dropped = bench.sandbox.runtime().spawn(async move {
            tokio::select! {
                biased;
                dropped = dropped_after(attempt.execute(job("{}"), Arc::default(), 60_000), waits) => dropped,
                // The tool runs until it is dropped: there is no later place.
                () = recorder.cutting.notified() => false,
            }
        });
        let dropped = dropped.await.unwrap();
        bench.all_places_are_free().await;
        assert_eq!(bench.sandbox.memory_used(), 0, "after {waits} waits");
        if !dropped {
            break;
        }
        waits += 1;
    }
    assert_eq!(*bench.recorder.cuts_dropped.lock().unwrap(), 1);
    assert!(waits > CALLS / 2, "{waits} waits only: the calls did not wait");
    // And it is as good as new.
    bench.recorder.waits.store(false, Ordering::Relaxed);
    let control = Arc::new(Control::default());
    control.direct(Directive::Cancel);
    assert!(matches!(linked.execute(job("{}"), control, 60_000).await, Outcome::Cancelled | Outcome::Killed));
}
