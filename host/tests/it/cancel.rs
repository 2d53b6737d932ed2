//! Stopping tasks.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Home, TestHost, answer, attempts};

#[tokio::test]
async fn a_queued_task_is_cancelled_at_once_and_never_runs() {
    let host = Home::new().built("echo").start().await;
    let id = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 3_600_000 })).await;
    let (status, task) = host.cancel(&id).await;
    assert_eq!(status, StatusCode::OK, "{task:#}");
    assert_eq!(task["state"], "cancelled", "{task:#}");
    assert_eq!(task["cancel"]["stopped_by"], "queue", "{task:#}");
    assert!(attempts(&task).is_empty());
    host.stop().await;
}

#[tokio::test]
async fn a_sleeping_guest_wakes_and_stops() {
    let host = Home::new().built("echo").start().await;
    let mut events = host.events().await;
    let id = host.enqueue("echo", &json!({ "sleep_ms": 600_000 })).await;
    events.task(&id, "task.started").await;
    let asked = Instant::now();
    let (status, task) = host.cancel(&id).await;
    assert_eq!((status, &task["state"]), (StatusCode::ACCEPTED, &json!("cancelling")), "{task:#}");
    let ended = events.task(&id, "task.cancelled").await;
    assert_eq!(ended.data["stopped_by"], "guest", "{ended:?}");
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "cancelled", "{task:#}");
    assert!(task["cancel"]["acknowledged_at"].is_string(), "{task:#}");
    assert_eq!(attempts(&task)[0]["outcome"], "cancelled");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    host.stop().await;
}

#[tokio::test]
async fn a_guest_that_never_looks_up_is_stopped_too() {
    let host = TestHost::with(&["spin"]).await;
    let mut events = host.events().await;
    let id = host.enqueue("spin", &json!({})).await;
    events.task(&id, "task.started").await;
    let asked = Instant::now();
    // It answers when the guest has had its grace and is gone.
    let request = host.request(reqwest::Method::POST, &format!("/v1/tasks/{id}/cancel"));
    let (status, task) = answer(request.header("prefer", "wait=60")).await;
    assert_eq!((status, &task["state"]), (StatusCode::OK, &json!("cancelled")), "{task:#}");
    assert_eq!(task["cancel"]["stopped_by"], "host", "{task:#}");
    assert_eq!(attempts(&task)[0]["outcome"], "killed", "{task:#}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    host.stop().await;
}

#[tokio::test]
async fn cancelling_what_has_ended_changes_nothing() {
    let host = Home::new().built("echo").start().await;
    let task = host.run("echo", &json!({})).await;
    let (_, after) = host.cancel(task["id"].as_str().unwrap()).await;
    let after = if after["state"].is_string() { after } else { host.task(task["id"].as_str().unwrap()).await };
    assert_eq!(after["state"], "succeeded", "{after:#}");
    host.stop().await;
}

#[tokio::test]
async fn c7_cancelling_what_there_is_not_is_not_found() {
    let host = Home::new().built("echo").start().await;
    for id in ["01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90", "nonsense", "..%2f..%2fetc"] {
        let (status, problem) = host.cancel(id).await;
        assert!(matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST), "{id}: {status} {problem:#}");
        assert!(problem["code"].is_string(), "{problem:#}");
    }
    host.stop().await;
}
