//! Instances that serve more than one attempt, when their manifest says so.

use std::sync::Arc;

use super::bench::{Bench, job};
use crate::plugin::control::{Control, Directive};
use crate::plugin::limits::Limits;
use crate::plugin::link::Linked;
use crate::task::Outcome;

fn limits(attempts_per_instance: u32) -> Limits {
    Limits { attempts_per_instance, ..Limits::default() }
}

/// What the fixture `calls` answers: how often its instance was called. Empty when it went down.
async fn count(linked: &Linked, input: &str) -> String {
    let outcome = linked.execute(job(input), Arc::default(), u64::MAX).await;
    if let Outcome::Succeeded { output, .. } = outcome { output } else { String::new() }
}

#[tokio::test]
async fn i7_an_instance_is_fresh_unless_the_manifest_opts_in_and_then_serves_so_many() {
    let bench = Bench::new();
    let fresh = bench.load("calls", Limits::default());
    assert_eq!([count(&fresh, "{}").await, count(&fresh, "{}").await], ["1", "1"]);
    bench.all_places_are_free().await;

    let stays = bench.load("calls", limits(3));
    let mut counts = Vec::new();
    for _ in 0..7 {
        counts.push(count(&stays, "{}").await);
    }
    assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1"]);
    assert_eq!(count(&fresh, "{}").await, "1", "an instance belongs to one generation");
}

#[tokio::test]
async fn after_an_end_that_is_not_a_good_one_the_next_attempt_is_fresh() {
    let bench = Bench::new();
    let stays = bench.load("calls", Limits { cpu_ms: 60_000, ..limits(100) });
    assert_eq!([count(&stays, "{}").await, count(&stays, "{}").await], ["1", "2"]);
    assert_eq!(count(&stays, "\"trap\"").await, "");
    assert_eq!(count(&stays, "{}").await, "1", "after a trap");

    let control = Arc::new(Control::default());
    let spinning = stays.execute(job("\"spinon\""), Arc::clone(&control), 60_000);
    let steer = async {
        // The idle one is taken first: while it spins, another attempt has another instance.
        while count(&stays, "{}").await != "1" {}
        control.direct(Directive::Cancel);
    };
    let (outcome, ()) = tokio::join!(spinning, steer);
    assert_eq!(outcome, Outcome::Killed);
    assert_eq!(count(&stays, "{}").await, "2", "the other one stayed, the cancelled one went");
    let directed = Arc::new(Control::default());
    directed.direct(Directive::Yield);
    assert!(matches!(stays.execute(job("{}"), directed, 60_000).await, Outcome::Succeeded { .. }));
    assert_eq!(count(&stays, "{}").await, "1", "one that was told to stop does not stay");
}

#[tokio::test]
async fn idle_instances_give_way_and_go_with_their_generation() {
    let bench = Bench::with(|settings| settings.max_instances = 1);
    let (one, two) = (bench.load("calls", limits(100)), bench.load("calls", limits(100)));
    assert_eq!(count(&one, "{}").await, "1");
    assert!(bench.sandbox.memory_used() > 0, "it stays");
    assert_eq!(count(&two, "{}").await, "1", "the only place was given up");
    assert_eq!(count(&two, "{}").await, "2");
    assert_eq!(count(&one, "{}").await, "1");

    one.retire();
    bench.all_places_are_free().await;
    assert_eq!(bench.sandbox.memory_used(), 0);
    assert_eq!([count(&one, "{}").await, count(&one, "{}").await], ["1", "1"], "what still runs of it leaves nothing");
    assert_eq!(count(&two, "{}").await, "1");
    drop(two);
    bench.all_places_are_free().await;
}

#[tokio::test]
async fn memory_of_idle_instances_is_there_for_those_that_run() {
    const PAGE: u64 = 64 * 1024;
    let bench = Bench::with(|settings| settings.memory_total_bytes = PAGE + PAGE / 2);
    let (one, two) = (bench.load("calls", limits(100)), bench.load("calls", limits(100)));
    assert_eq!(count(&one, "{}").await, "1");
    assert_eq!(count(&two, "{}").await, "1");
    assert_eq!(count(&two, "{}").await, "2");
    assert_eq!(count(&one, "{}").await, "1", "it had given way");
}
