//! Executors that harm themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bench::{Bench, job, text};
use crate::plugin::limits::Limits;
use crate::plugin::link::Grants;
use crate::plugin::ports::LogSource;
use crate::task::Outcome;

const MIB: u64 = 1024 * 1024;

async fn end(fixture: &str) -> (&'static str, String, String) {
    end_of(&text(fixture)).await
}

/// The harmless fixture with a piece of its text replaced.
async fn end_changed(from: &str, to: &str) -> (&'static str, String, String) {
    let source = String::from_utf8(text("ok")).unwrap();
    assert!(source.contains(from));
    end_of(source.replacen(from, to, 1).as_bytes()).await
}

/// Runs a component beside attempts that behave, and tells how it ended: its outcome, code and message.
async fn end_of(component: &[u8]) -> (&'static str, String, String) {
    let bench = Bench::new();
    let limits = Limits { cpu_ms: 200, memory_bytes: 4 * MIB, ..Limits::default() };
    let hostile = bench.link(component, limits, Grants::default()).unwrap();
    let ok = bench.load("ok", Limits::default());
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
        outcome @ (Outcome::Succeeded { .. }
        | Outcome::Snoozed { .. }
        | Outcome::Cancelled
        | Outcome::Killed
        | Outcome::Yielded
        | Outcome::Interrupted) => panic!("{outcome:?}"),
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
async fn i8_names_of_functions_that_are_very_long_are_cut() {
    let long = "é".repeat(40_000);
    let source = String::from_utf8(text("recurse")).unwrap();
    let source = source.replace("$deeper", &format!("$\"{long}\""));
    let (_, code, message) = end_of(source.as_bytes()).await;
    assert_eq!(code, "stack-overflow");
    assert!(message.contains(" at éé") && message.len() < 3_000, "{} bytes", message.len());
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
        let Outcome::Crashed(failure) = ok.execute(job(input), Arc::default(), 60_000).await else { panic!() };
        assert_eq!((&*failure.code, &*failure.message), ("contract-violation", reason));
    }
}

#[tokio::test]
async fn a_guest_that_computes_for_ever_before_it_is_called_is_ended() {
    let start = "(func $start (loop $again (br $again))) (start $start) (func (export \"describe\")";
    let (name, code, _) = end_changed("(func (export \"describe\")", start).await;
    assert_eq!((name, &*code), ("retry", "cpu-limit"));
}

#[tokio::test]
async fn a_guest_that_computes_for_ever_while_it_takes_its_input_is_ended() {
    let (name, code, _) = end_changed("(global.set $free", "(loop $again (br $again)) (global.set $free").await;
    assert_eq!((name, &*code), ("retry", "cpu-limit"));
}

#[tokio::test]
async fn memory_that_is_asked_for_at_birth_counts() {
    let (name, code, message) = end_changed("(memory (export \"memory\") 1)", "(memory (export \"memory\") 65)").await;
    assert_eq!((name, &*code), ("crashed", "out-of-memory"));
    assert!(message.contains("the limit is 4194304 bytes"), "{message}");
}

#[tokio::test]
async fn memories_are_summed() {
    let many = "(memory (export \"memory\") 1) (memory 30) (memory 30) (memory 30)";
    let (name, code, _) = end_changed("(memory (export \"memory\") 1)", many).await;
    assert_eq!((name, &*code), ("crashed", "out-of-memory"));
}

#[tokio::test]
async fn tables_count_as_memory() {
    let table = "(table 90000 funcref) (table 90000 funcref) (table 90000 funcref) (table 90000 funcref) \
                 (table 90000 funcref) (table 90000 funcref) (memory (export \"memory\") 1)";
    let (name, code, _) = end_changed("(memory (export \"memory\") 1)", table).await;
    assert_eq!((name, &*code), ("crashed", "out-of-memory"));
}

#[tokio::test]
async fn an_answer_larger_than_a_call_may_carry_breaks_the_contract() {
    let bench = Bench::new();
    let ok = bench.load("ok", Limits { hostcall_bytes: 100, ..Limits::default() });
    let input = format!("\"{}\"", "a".repeat(200));
    let Outcome::Crashed(failure) = ok.execute(job(&input), Arc::default(), 60_000).await else { panic!() };
    assert_eq!(failure.code, "contract-violation");
    assert!(failure.message.contains("the limit of 100 bytes"), "{}", failure.message);
}

#[tokio::test]
async fn l23_a_panic_of_the_host_ends_one_attempt() {
    let bench = Bench::new();
    let flood = bench.load("flood", Limits::default());
    bench.recorder.panics.store(true, Ordering::Relaxed);
    let Outcome::Crashed(failure) = bench.run(&flood).await else { panic!() };
    assert_eq!(failure.code, "host-panic");
    assert!(failure.message.contains("no line today"), "{}", failure.message);
    bench.all_places_are_free().await;
}
