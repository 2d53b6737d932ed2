//! Guests that misbehave, each with the end that it must come to while others go on.

pub(in crate::plugin) mod bench;
mod bounds;
mod dispatching;
mod hostile;
mod isolation;
mod linking;
mod reuse;
mod steering;

use bench::{Bench, job};

use crate::plugin::limits::Limits;
use crate::plugin::link::Role;
use crate::task::Outcome;

#[tokio::test]
async fn an_executor_returns_its_output() {
    let bench = Bench::new();
    let ok = bench.load("ok", Limits::default());
    assert_eq!(ok.roles(), [Role::Executor]);
    assert_eq!(bench.run(&ok).await, Outcome::Succeeded { output: "{}".to_owned(), outbox: Vec::new() });
    assert!(ok.peak_memory() >= 64 * 1024);
    bench.all_places_are_free().await;
    assert_eq!(bench.sandbox.memory_used(), 0);
}

#[tokio::test]
async fn a_plugin_describes_itself_and_takes_its_settings() {
    let bench = Bench::new();
    let ok = bench.load("ok", Limits::default());
    let descriptor = ok.describe().await.unwrap();
    assert_eq!(descriptor.name, "ok");
    assert_eq!(descriptor.kinds.len(), 1);
    assert_eq!(descriptor.kinds[0].name, "ok");
    ok.validate_config().await.unwrap();
}

#[tokio::test]
async fn a_stopped_sandbox_gives_attempts_back() {
    let bench = Bench::new();
    let wait = bench.load("wait", Limits::default());
    let (control, id) = (std::sync::Arc::default(), job("{}"));
    let attempt = wait.execute(id, control, 60_000);
    let stop = async {
        bench.places_taken(1).await;
        bench.sandbox.stop();
    };
    let (outcome, ()) = tokio::join!(attempt, stop);
    assert_eq!(outcome, Outcome::Interrupted);
    assert_eq!(bench.run(&wait).await, Outcome::Interrupted);
}
