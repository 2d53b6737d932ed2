//! Cancelling, giving way, and running out of time.

use std::sync::Arc;

use super::bench::{Bench, job};
use crate::plugin::control::{Control, Directive};
use crate::plugin::limits::Limits;
use crate::task::Outcome;

/// Starts an attempt, directs it once it runs, and answers how it ended.
async fn directed(fixture: &str, directive: Directive) -> Outcome {
    let bench = Bench::new();
    let linked = bench.load(fixture, Limits { cpu_ms: 60_000, ..Limits::default() });
    let control = Arc::new(Control::default());
    let attempt = linked.execute(job("{}"), control.clone(), 60_000);
    let steer = async {
        bench.places_taken(1).await;
        control.direct(directive);
    };
    let (outcome, ()) = tokio::join!(attempt, steer);
    bench.all_places_are_free().await;
    outcome
}

#[tokio::test]
async fn a_sleeping_guest_hears_that_it_is_cancelled() {
    assert_eq!(directed("wait", Directive::Cancel).await, Outcome::Cancelled);
}

#[tokio::test]
async fn a_sleeping_guest_hears_that_it_should_give_way() {
    assert_eq!(directed("wait", Directive::Yield).await, Outcome::Yielded);
}

#[tokio::test]
async fn a_guest_that_does_not_listen_is_dropped_after_the_grace() {
    assert_eq!(directed("spin", Directive::Cancel).await, Outcome::Killed);
}

#[tokio::test]
async fn a_result_in_spite_of_a_cancellation_is_kept() {
    let bench = Bench::new();
    let ok = bench.load("ok", Limits::default());
    let control = Arc::new(Control::default());
    let attempt = ok.execute(job("{}"), control.clone(), 60_000);
    let outcome = attempt.await;
    control.direct(Directive::Cancel);
    assert!(matches!(outcome, Outcome::Succeeded { .. }));
}

#[tokio::test]
async fn a_guest_that_waits_too_long_has_timed_out() {
    let bench = Bench::new();
    let wait = bench.load("wait", Limits::default());
    let Outcome::Retry { failure, after_ms: None } = wait.execute(job("{}"), Arc::default(), 30).await else {
        panic!()
    };
    assert_eq!(failure.code, "timed-out");
    assert!(failure.message.contains("30 ms"), "{}", failure.message);
    bench.all_places_are_free().await;
}

#[tokio::test]
async fn nothing_is_left_of_an_attempt_that_is_dropped() {
    let bench = Bench::new();
    for fixture in ["wait", "spin"] {
        let linked = bench.load(fixture, Limits { cpu_ms: 60_000, ..Limits::default() });
        tokio::select! {
            outcome = bench.run(&linked) => panic!("{outcome:?}"),
            () = bench.places_taken(1) => {}
        }
        bench.all_places_are_free().await;
        assert_eq!(bench.sandbox.memory_used(), 0);
    }
}

#[tokio::test]
async fn a_guest_reads_what_its_parents_left() {
    let bench = Bench::new();
    let outcome = bench.run(&bench.load("parents", Limits::default())).await;
    let expected = format!("[[1],null,{}]", "3".repeat(1_000));
    assert_eq!(outcome, Outcome::Succeeded { output: expected, outbox: Vec::new() });
}
