//! Batches, through the routes.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::harness::{Answer, Api};
use crate::task::{Failure, Outcome, TaskId};

fn success() -> Outcome {
    Outcome::Succeeded { output: "1".to_owned(), outbox: Vec::new() }
}

fn failure() -> Outcome {
    Outcome::Fatal(Failure::new("broken", "no"))
}

/// `/v1/batches/ID` and the members.
async fn batch(api: &Api, body: Value) -> (String, Vec<TaskId>) {
    let answer = api.post_json("/v1/batches", body.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let json = answer.json();
    let ids = json["tasks"].as_array().into_iter().flatten().map(|id| id.as_str().unwrap().parse().unwrap());
    (answer.header("location").to_owned(), ids.collect())
}

/// Names and kinds of the callbacks that were created.
async fn called(api: &Api, at: &str) -> Vec<String> {
    let batch = api.get(at).await.json();
    let names = ["on_failure", "on_success", "on_complete"];
    names.into_iter().filter(|name| batch[name]["task"].is_string()).map(str::to_owned).collect()
}

fn callbacks(members: usize) -> Value {
    let callback = json!({"kind": "echo", "priority": 0});
    json!({"name": "b", "tasks": vec![json!({"kind": "video.cut", "input": {"media": "m"}}); members],
        "on_success": callback, "on_failure": callback, "on_complete": callback})
}

#[tokio::test]
async fn callbacks_follow_the_ends_of_the_members_each_once() {
    let api = Api::new().await;
    let (at, ids) = batch(&api, callbacks(3)).await;
    let shown = api.get(&at).await.json();
    assert_eq!((&shown["state"], &shown["members"], &shown["name"]), (&json!("running"), &json!(3), &json!("b")));
    for _ in 0..3 {
        api.claim("video.cut").await;
    }
    assert_eq!(api.get(&at).await.json()["counts"]["running"], 3);
    api.finish(ids[0], success()).await;
    assert!(called(&api, &at).await.is_empty());
    api.finish(ids[1], failure()).await;
    assert_eq!(called(&api, &at).await, ["on_failure"]);
    api.finish(ids[2], success()).await;
    assert_eq!(called(&api, &at).await, ["on_failure", "on_complete"]);
    let shown = api.get(&at).await.json();
    assert_eq!((&shown["state"], &shown["counts"]["failed"]), (&json!("failed"), &json!(1)));
    assert_eq!(api.get("/v1/batches").await.json()["batches"][0], shown);

    // Put back, it succeeds in the end; nothing is called twice.
    let complete = shown["on_complete"]["task"].clone();
    api.post(&format!("/v1/tasks/{}/retry", ids[1])).await;
    assert_eq!(api.get(&at).await.json()["state"], "running");
    api.claim("video.cut").await;
    api.finish(ids[1], success()).await;
    let shown = api.get(&at).await.json();
    assert_eq!((&shown["state"], &shown["on_complete"]["task"]), (&json!("succeeded"), &complete));
    assert_eq!(called(&api, &at).await.len(), 3);
    let id = at.rsplit('/').next().unwrap();
    let callback = api.get(&format!("/v1/tasks/{}", complete.as_str().unwrap())).await.json();
    assert_eq!(callback["attributes"], json!({"batch": id, "callback": "complete"}));
    assert_eq!(callback["source"], json!({"type": "batch", "batch": id}));
    let members = api.get(&format!("/v1/tasks?batch={id}&state=succeeded")).await.json();
    assert_eq!(members["tasks"].as_array().unwrap().len(), 3);
    assert_eq!(api.get("/v1/tasks?kind=echo").await.json()["tasks"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn an_empty_batch_is_complete_at_once_and_a_cancelled_one_fails() {
    let api = Api::new().await;
    let (at, ids) = batch(&api, callbacks(0)).await;
    assert!(ids.is_empty());
    assert_eq!(called(&api, &at).await, ["on_success", "on_complete"]);
    assert_eq!(api.get(&at).await.json()["state"], "succeeded");

    let (at, ids) = batch(&api, callbacks(3)).await;
    let running = api.claim("video.cut").await;
    let cancelled = api.post(&format!("{at}/cancel")).await.json();
    assert_eq!((&cancelled["counts"]["cancelled"], &cancelled["counts"]["running"]), (&json!(2), &json!(1)));
    assert_eq!(called(&api, &at).await, ["on_failure"]);
    assert!(ids.contains(&running));
    api.finish(running, Outcome::Cancelled).await;
    assert_eq!(called(&api, &at).await, ["on_failure", "on_complete"]);
}

#[tokio::test]
async fn a_batch_is_refused_as_a_whole_with_each_mistake() {
    let api = Api::new().await;
    let pointers = |answer: &Answer| {
        let json = answer.json();
        let errors = json["errors"].as_array().unwrap_or_else(|| panic!("{json:#}"));
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let body = json!({"name": "", "tasks": [{"kind": "echo", "after": ["#x"]}], "on_succes": {},
        "on_failure": {"kind": "nobody"}, "on_complete": {"kind": "echo", "after": [], "unique_key": "k"}});
    let answer = api.post_json("/v1/batches", body.to_string()).await;
    let expected = ["/name", "/on_failure/kind", "/on_complete/unique_key", "/on_succes", "/tasks/0/after/0"];
    assert_eq!((answer.status.as_u16(), pointers(&answer)), (422, expected.map(str::to_owned).to_vec()), "{answer:?}");
    api.enqueue(r#"{"kind":"echo","unique_key":"k"}"#).await;
    let taken = r#"{"tasks":[{"kind":"echo"},{"kind":"echo","unique_key":"k"}]}"#;
    let answer = api.post_json("/v1/batches", taken).await;
    assert_eq!((answer.status.as_u16(), pointers(&answer)), (409, vec!["/tasks/1".to_owned()]), "{answer:?}");
    assert_eq!(api.post_json("/v1/batches", "{}").await.status.as_u16(), 422);
    assert_eq!(api.get("/v1/tasks").await.json()["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/batches").await.json()["batches"], json!([]));
    assert_eq!(api.get(&format!("/v1/batches/{}", TaskId::generate())).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn v14_the_same_batch_is_answered_with_the_one_that_is_there() {
    let api = Api::new().await;
    let post = async |body: &'static str| {
        let request = Request::post("/v1/batches").header("content-type", "application/json");
        api.send(request.header("idempotency-key", "k").body(Body::from(body)).unwrap()).await
    };
    let first = post(r#"{"tasks":[{"kind":"echo"}]}"#).await;
    let second = post(r#"{ "tasks" : [{"kind":"echo"}] }"#).await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first.json()["id"], second.json()["id"]);
    let other = post(r#"{"tasks":[]}"#).await;
    assert_eq!((other.status, &other.json()["code"]), (StatusCode::CONFLICT, &json!("idempotency-mismatch")));
}
