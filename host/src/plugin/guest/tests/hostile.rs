//! Executors that harm themselves.

use super::bench::{Bench, job};
use crate::plugin::limits::Limits;
use crate::plugin::ports::LogSource;
use crate::task::Outcome;

const MIB: u64 = 1024 * 1024;

/// Runs a fixture beside attempts that behave, and tells how it ended: its outcome, code and message.
async fn end(fixture: &str) -> (&'static str, String, String) {
    let bench = Bench::new();
    let limits = Limits { cpu_ms: 200, memory_bytes: 4 * MIB, ..Limits::default() };
    let (hostile, ok) = (bench.load(fixture, limits), bench.load("ok", Limits::default()));
    let others = async {
        for _ in 0..20 {
            assert!(matches!(bench.run(&ok).await, Outcome::Succeeded { .. }));
        }
    };
    let (outcome, ()) = tokio::join!(bench.run(&hostile), others);
    bench.all_places_are_free().await;
    assert_eq!(bench.sandbox.memory_used(), 0);
    let (name, failure) = match outcome {
        Outcome::Crashed(failure) => ("crashed", failure),
        Outcome::Retry { failure, .. } => ("retry", failure),
        Outcome::Fatal(failure) => ("fatal", failure),
        outcome @ (Outcome::Succeeded { .. } | Outcome::Cancelled | Outcome::Yielded | Outcome::Interrupted) => {
            panic!("{outcome:?}")
        }
    };
    let lines = bench.lines();
    let told = lines.iter().any(|line| line.source == LogSource::Host && line.message.contains(&failure.code));
    assert!(told, "the task's log tells the end: {lines:?}");
    (name, failure.code, failure.message)
}

#[tokio::test]
async fn a_guest_that_computes_for_ever_is_ended() {
    let (name, code, message) = end("spin").await;
    assert_eq!((name, &*code), ("retry", "cpu-limit"));
    assert!(message.contains("the CPU limit is 200 ms"), "{message}");
}

#[tokio::test]
async fn a_trap_is_told_with_its_functions() {
    let (name, code, message) = end("trap").await;
    assert_eq!((name, &*code), ("crashed", "trap"));
    assert!(
        message.contains("unreachable") && message.contains("inner < ") && message.contains("outer < "),
        "{message}"
    );
}

#[tokio::test]
async fn a_guest_that_takes_all_memory_is_ended() {
    let (name, code, message) = end("grow").await;
    assert_eq!((name, &*code), ("crashed", "out-of-memory"));
    assert!(message.contains("the limit is 4194304 bytes"), "{message}");
}

#[tokio::test]
async fn endless_recursion_is_ended() {
    let (name, code, message) = end("recurse").await;
    assert_eq!((name, &*code), ("crashed", "stack-overflow"));
    assert!(message.contains("512 KiB"), "{message}");
}

#[tokio::test]
async fn an_unknown_case_breaks_the_contract() {
    let (name, code, message) = end("lie-discriminant").await;
    assert_eq!((name, &*code), ("crashed", "contract-violation"));
    assert!(message.contains("discriminant"), "{message}");
}

#[tokio::test]
async fn a_pointer_outside_of_memory_breaks_the_contract() {
    let (name, code, message) = end("lie-pointer").await;
    assert_eq!((name, &*code), ("crashed", "contract-violation"));
    assert!(message.contains("out of bounds"), "{message}");
}

#[tokio::test]
async fn stopping_unasked_breaks_the_contract() {
    let bench = Bench::new();
    let quit = bench.load("quit", Limits::default());
    let Outcome::Crashed(failure) = bench.run(&quit).await else { panic!() };
    assert_eq!(failure.code, "contract-violation");
}

#[tokio::test]
async fn exiting_is_not_returning() {
    let (name, code, message) = end("exit").await;
    assert_eq!((name, &*code), ("crashed", "exited"));
    assert!(message.contains("exit(0)"), "{message}");
}

#[tokio::test]
async fn an_output_is_json_of_a_bounded_size() {
    let bench = Bench::new();
    let ok = bench.load("ok", Limits { output_bytes: 10, ..Limits::default() });
    for (input, reason) in
        [("{", "the output is not JSON"), ("[1,2,3,4,5]", "the output has 11 bytes, the limit is 10")]
    {
        let Outcome::Crashed(failure) = ok.execute(job(input), std::sync::Arc::default(), 60_000).await else {
            panic!()
        };
        assert_eq!((&*failure.code, &*failure.message), ("contract-violation", reason));
    }
}
