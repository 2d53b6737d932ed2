//! Hosts and plugins come and go; the work goes on.

use serde_json::{Value, json};

use super::{begun, endless, home, told, work};
use crate::support::binary::{Place, Served};
use crate::support::events::{Events, PATIENCE};
use crate::support::{TestHost, attempts, expect_json, folder, wait_task};

/// A directory for real processes, with the plugin.
fn place() -> Place {
    let place = Place::with(&[]);
    let (component, manifest) = folder::outside();
    place.plugins().put("outside", &component, Some(manifest));
    place
}

async fn create(host: &Served, input: Value) -> (Events, String) {
    let stream = Events::of(host.client.get(format!("{}/v1/events", host.base)).send().await.unwrap());
    let body = json!({ "kind": "outside", "input": input });
    let answer = host.client.post(format!("{}/v1/tasks", host.base)).json(&body).send().await.unwrap();
    (stream, expect_json(answer).await["id"].as_str().unwrap().to_owned())
}

/// Waits until an attempt has logged, which it does when the outside work has begun.
async fn has_logged(host: &Served, id: &str) {
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(10));
    let logged = async {
        loop {
            pace.tick().await;
            let request = host.client.get(format!("{}/v1/tasks/{id}/logs?attempt=1", host.base));
            if expect_json(request.send().await.unwrap()).await["lines"] != json!([]) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, logged).await.expect("a line in the log");
}

#[tokio::test]
async fn l10_a_kill_before_the_handle_is_kept_asks_again_with_the_same_key() {
    let place = place();
    let host = place.start().await;
    let (_stream, id) = create(&host, json!({ "looks": 1, "start_ms": 50_000 })).await;
    has_logged(&host, &id).await;
    host.kill().await;
    let host = place.start().await;
    let task = wait_task(&host.client, &host.base, &id).await;
    assert_eq!((&task["state"], &task["crashes"]), (&json!("succeeded"), &json!(1)), "{task:#}");
    let found = &task["output"]["found"];
    assert_eq!((&found["key"], &found["starts"]), (&json!(id), &json!(2)), "the plugin was told: {task:#}");
    assert_eq!(attempts(&task).len(), 2, "{task:#}");
    host.kill().await;
}

#[tokio::test]
async fn i4_l10_a_kill_while_the_work_goes_on_or_is_brought_home_starts_nothing_again() {
    let place = place();
    let mut host = place.start().await;
    let (mut stream, id) = create(&host, json!({ "looks": 3, "poll_after_ms": 0, "collect_ms": 50_000 })).await;
    for name in ["task.work-started", "task.exporting"] {
        let seen = stream.task(&id, name).await.id;
        host.kill().await;
        host = place.start().await;
        let request = host.client.get(format!("{}/v1/events?task={id}", host.base)).header("last-event-id", seen);
        stream = Events::of(request.send().await.unwrap());
    }
    let task = wait_task(&host.client, &host.base, &id).await;
    assert_eq!((&task["state"], &task["crashes"], attempts(&task).len()), (&json!("succeeded"), &json!(0), 1));
    assert_eq!(task["output"]["found"]["starts"], 1, "{task:#}");
    host.kill().await;
}

async fn parked(host: &TestHost, id: &str) -> Value {
    let task = host.task(id).await;
    assert_eq!((&task["state"], &task["work"]["attached"]), (&json!("running"), &json!(false)), "{task:#}");
    task["parked"]["reason"].clone()
}

#[tokio::test]
async fn i14_work_goes_on_over_restarts_and_removed_and_replaced_plugins() {
    let host = home().start().await;
    let (id, seen) = begun(&host, json!({ "looks": 40, "poll_after_ms": 0 })).await;
    let host = host.restart().await;
    let old = host.plugin("outside").await.unwrap()["live"]["digest"].clone();

    // The plugin goes: nobody can look, and the task says so.
    let mut events = host.events_of(&format!("?task={id}"), Some(&seen)).await;
    events.task(&id, "task.attached").await;
    host.plugins().delete("outside");
    events.task(&id, "task.detached").await;
    assert!(parked(&host, &id).await.is_string());

    // Another version comes.
    let (mut component, manifest) = folder::outside();
    component.extend_from_slice(&[0, 5, 4, b'n', b'o', b't', b'e']);
    host.plugins().put("outside", &component, Some(manifest));
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 1), "{task:#}");
    assert_eq!((&task["output"]["found"]["starts"], &task["crashes"]), (&json!(1), &json!(0)), "{task:#}");
    assert_ne!(attempts(&task)[0]["digest"], old, "the one that ended it");
    host.stop().await;
}

#[tokio::test]
async fn a_cancel_while_the_plugin_is_gone_reaches_the_work_when_it_is_back() {
    let host = home().start().await;
    let mut events = host.events().await;
    let id = host.enqueue("outside", &json!({ "poll_after_ms": 0 })).await;
    events.task(&id, "task.work-started").await;
    host.plugins().delete("outside");
    events.task(&id, "task.detached").await;
    let (_, task) = host.cancel(&id).await;
    assert_eq!(task["state"], "cancelling", "{task:#}");
    let (component, manifest) = folder::outside();
    host.plugins().put("outside", &component, Some(manifest));
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["cancel"]["stopped_by"]), (&json!("cancelled"), &json!("guest")), "{task:#}");
    assert_eq!(work(&host, &id).await["stopped"], true);
    host.stop().await;
}

#[tokio::test]
async fn i6_after_a_restart_work_is_taken_up_as_far_as_permits_go_and_before_anything_new() {
    let host = home().built("echo").start().await;
    let first = endless(&host, json!({ "poll_after_ms": 0 })).await;
    let (second, seen) = begun(&host, json!({ "poll_after_ms": 0 })).await;
    let host = host.stop().await.configure(|config| config.runner.concurrency = 1).start().await;
    let mut events = host.events_of("", Some(&seen)).await;
    events.task(&first, "task.attached").await;
    let echo = host.enqueue("echo", &json!({})).await;
    parked(&host, &second).await;
    host.cancel(&first).await;
    assert_eq!(host.wait_task(&first).await["state"], "cancelled");
    events.task(&second, "task.attached").await;
    assert_eq!(host.task(&echo).await["state"], "queued", "outside work comes first");
    host.cancel(&second).await;
    assert_eq!(host.wait_task(&echo).await["state"], "succeeded");
    assert_eq!(told(&host, &second).await.iter().filter(|name| *name == "attached").count(), 1);
    host.stop().await;
}
