//! A kind becomes an executor's while its outside work goes on: the work is given up, and says so, and the executor does
//! the task.

use serde_json::{Value, json};

use super::{begun, endless, home, told, work};
use crate::support::component::{encode, text};
use crate::support::{TestHost, attempts};

const HOUR_MS: u64 = 3_600_000;

/// An executor of the kind `outside`: it answers its input.
fn executor() -> Vec<u8> {
    let text = text("ok").replace("\"ok\"", "\"outside\"");
    encode(&text.replace("\\02\\00\\00\\00\" (; name", "\\07\\00\\00\\00\" (; name"))
}

/// The task is done by the executor, and its record says what became of the work.
async fn is_taken_over(host: &TestHost, id: &str, input: &Value) {
    let task = host.wait_task(id).await;
    assert_eq!((&task["state"], &task["output"]), (&json!("succeeded"), input), "{task:#}");
    // A claim that waited for the actuator may have had it in between: that starts nothing.
    let [returned @ .., last] = attempts(&task) else { panic!("attempts: {task:#}") };
    assert!(!returned.is_empty() && returned.iter().all(|it| it["outcome"] == "returned"), "{task:#}");
    assert_eq!(last["outcome"], "succeeded", "{task:#}");
    assert_eq!((&task["work"]["abandoned"], &task["work"]["phase"]), (&json!(1), &Value::Null), "{task:#}");
    assert_eq!((&task["failures"], &task["crashes"]), (&json!(0), &json!(0)), "{task:#}");
    let work = work(host, id).await;
    assert_eq!((&work["starts"], &work["stops"]), (&json!(1), &json!(0)), "nobody could reach it: {work}");
}

#[tokio::test]
async fn work_of_a_kind_that_becomes_an_executors_is_abandoned_and_the_task_done() {
    let host = home().start().await;
    // Nobody looks for an hour: the change alone is told.
    let input = json!({ "poll_after_ms": HOUR_MS });
    let id = endless(&host, input.clone()).await;
    host.plugins().put("outside", &executor(), Some(""));
    is_taken_over(&host, &id, &input).await;
    let told = told(&host, &id).await;
    assert_eq!(told[..4], ["queued", "started", "work-started", "retrying"], "{told:?}");
    assert_eq!(told.iter().filter(|name| *name == "work-started").count(), 1, "{told:?}");
    host.stop().await;
}

#[tokio::test]
async fn work_that_nobody_looks_after_is_abandoned_when_another_plugin_executes_its_kind() {
    let host = home().start().await;
    let input = json!({ "poll_after_ms": HOUR_MS });
    let (id, seen) = begun(&host, input.clone()).await;
    let mut events = host.events_of(&format!("?task={id}"), Some(&seen)).await;
    host.plugins().delete("outside");
    events.task(&id, "task.detached").await;
    // A restart changes nothing.
    let host = host.restart().await;
    assert_eq!(host.task(&id).await["work"]["attached"], false);
    host.plugins().put("another", &executor(), None);
    is_taken_over(&host, &id, &input).await;
    host.stop().await;
}

#[tokio::test]
async fn a_task_that_was_cancelled_meanwhile_ends_without_an_attempt_of_the_executor() {
    let host = home().start().await;
    let (id, seen) = begun(&host, json!({ "poll_after_ms": HOUR_MS })).await;
    let mut events = host.events_of(&format!("?task={id}"), Some(&seen)).await;
    host.plugins().delete("outside");
    events.task(&id, "task.detached").await;
    assert_eq!(host.cancel(&id).await.1["state"], "cancelling");
    host.plugins().put("outside", &executor(), None);
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["cancel"]["stopped_by"]), (&json!("cancelled"), &json!("host")), "{task:#}");
    assert_eq!((&task["work"]["abandoned"], attempts(&task).len()), (&json!(1), 1), "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn results_on_their_way_home_are_given_up_too() {
    let host = home().start().await;
    let mut events = host.events().await;
    let input = json!({ "looks": 1, "trap": "collect" });
    let backoff = json!({ "base_ms": HOUR_MS, "cap_ms": HOUR_MS });
    let id = host.create(&json!({ "kind": "outside", "input": input, "backoff": backoff })).await;
    events.task(&id, "task.exporting").await;
    host.plugins().put("outside", &executor(), Some(""));
    is_taken_over(&host, &id, &input).await;
    assert_eq!(host.files("media").len(), 0, "{:?}", host.files("media"));
    host.stop().await;
}
