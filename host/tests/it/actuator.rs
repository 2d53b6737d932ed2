//! Work that lives elsewhere: `tests/guests/outside` plays both the plugin and what it steers.

mod callback;
mod crash;
mod end;
mod export;
mod reload;
mod remote_cut;
mod takeover;
mod unanswered;

use serde_json::{Value, json};
use taskhost::store::{Expected, StateWrite};
use taskhost::time::now;

use crate::support::{Home, TestHost, folder};

/// A host's directory with the plugin.
fn home() -> Home {
    let home = Home::new();
    let (component, manifest) = folder::outside();
    home.plugins().put("outside", &component, Some(manifest));
    home
}

/// A piece of outside work as its plugin knows it.
async fn work(host: &TestHost, key: &str) -> Value {
    let entry = host.store().state_get("outside", &format!("work/{key}"), taskhost::time::now()).await.unwrap();
    serde_json::from_slice(&entry.expect("the work has begun").value).unwrap()
}

/// The outside world changes a flag of a piece of work.
async fn change(host: &TestHost, key: &str, flag: &str) {
    let mut work = work(host, key).await;
    work[flag] = true.into();
    let value = serde_json::to_vec(&work).unwrap();
    let (plugin, key) = ("outside".to_owned(), format!("work/{key}"));
    let write = StateWrite { plugin, key, value, expected: Expected::Any, expires_at: None, quota_bytes: 1 << 20 };
    host.store().state_put(write, now()).await.unwrap();
}

/// Names of the events of a task, without progress.
async fn told(host: &TestHost, id: &str) -> Vec<String> {
    let told = host.get(&format!("/v1/tasks/{id}/events")).await;
    let names = told["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap());
    names.filter_map(|name| name.strip_prefix("task.")).filter(|name| *name != "progress").map(str::to_owned).collect()
}

/// A task whose work goes on until somebody stops it.
async fn endless(host: &TestHost, behaviour: Value) -> String {
    begun(host, behaviour).await.0
}

/// The same, and the event that says that it has begun.
async fn begun(host: &TestHost, behaviour: Value) -> (String, String) {
    let mut events = host.events().await;
    let id = host.enqueue("outside", &behaviour).await;
    let begun = events.task(&id, "task.work-started").await.id;
    (id, begun)
}

#[tokio::test]
async fn outside_work_is_started_looked_at_and_brought_home() {
    let host = home().start().await;
    let task = host.run("outside", &json!({ "looks": 3, "poll_after_ms": 0 })).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    let output = &task["output"];
    assert_eq!((&output["found"]["starts"], &output["found"]["looks"]), (&json!(1), &json!(3)), "{output}");
    assert_eq!(output["found"]["key"], task["id"], "{output}");
    assert_eq!(output["collects"], 1);
    let media = output["media"].as_str().unwrap();
    assert_eq!(host.content(media).await, b"looked at 3 times");
    let record = host.get(&format!("/v1/media/{media}")).await;
    assert_eq!((&record["task"], &record["name"]), (&task["id"], &json!("result.txt")), "{record:#}");
    assert_eq!(crate::support::attempts(&task).len(), 1, "{task:#}");
    assert_eq!((&task["work"]["ended"], &task["work"]["phase"]), (&json!(1), &Value::Null), "{task:#}");
    let id = task["id"].as_str().unwrap();
    assert_eq!(told(&host, id).await, ["queued", "started", "work-started", "exporting", "succeeded"]);
    host.stop().await;
}
