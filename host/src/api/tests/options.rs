//! What a task may be created with, through the routes.

use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::harness::{Answer, Api};
use crate::task::{Failure, NewTask, Outcome};
use crate::time::now;

/// Creates a task with an `Idempotency-Key`.
async fn post_as(api: &Api, uri: &str, key: &str, body: impl Into<axum::body::Body>) -> Answer {
    let request = Request::post(uri).header("content-type", "application/json").header("idempotency-key", key);
    api.send(request.body(body.into()).unwrap()).await
}

async fn count(api: &Api) -> usize {
    api.get("/v1/tasks?limit=1000").await.json()["tasks"].as_array().unwrap().len()
}

/// The code of a problem and the pointers of its errors.
fn problem(answer: &Answer) -> (u16, String, Vec<String>) {
    let json = answer.json();
    let errors = json["errors"].as_array().into_iter().flatten();
    let pointers = errors.map(|error| error["pointer"].as_str().unwrap_or_default().to_owned()).collect();
    (answer.status.as_u16(), json["code"].as_str().unwrap().to_owned(), pointers)
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str, pointers: &[&str]) {
    let pointers = pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
    assert_eq!(problem(answer), (status, code.to_owned(), pointers), "{answer:?}");
}

#[tokio::test]
async fn v14_the_same_request_is_answered_with_its_task_and_another_one_is_refused() {
    let api = Api::new().await;
    let deadline = now().plus_millis(40);
    let body = format!(r#"{{"kind":"echo","input":{{"a":1}},"deadline":"{deadline}"}}"#);
    let first = post_as(&api, "/v1/tasks", "k-1", body.clone()).await;
    assert_eq!((first.status, &first.json()["idempotency_key"]), (StatusCode::CREATED, &json!("k-1")));
    let second = post_as(&api, "/v1/tasks", "\"k-1\"", body.clone()).await;
    assert_eq!((second.status, second.text()), (StatusCode::OK, first.text()));
    let as_field = body.replace('{', "{ ").replacen('{', r#"{"idempotency_key":"k-1","#, 1);
    assert_eq!(api.post_json("/v1/tasks", as_field).await.json()["id"], first.json()["id"]);

    let other = post_as(&api, "/v1/tasks", "k-1", r#"{"kind":"echo","input":{"a":2}}"#).await;
    is_problem(&other, 409, "idempotency-mismatch", &[]);
    assert!(other.text().contains(first.json()["id"].as_str().unwrap()), "{other:?}");

    // Also when it has ended, and when the request would not be accepted any more.
    let id = first.json()["id"].as_str().unwrap().parse().unwrap();
    api.claim("echo").await;
    api.finish(id, Outcome::Succeeded { output: "1".to_owned(), outbox: Vec::new() }).await;
    while now() <= deadline {
        tokio::task::yield_now().await;
    }
    let late = post_as(&api, "/v1/tasks", "k-1", body).await;
    assert_eq!((late.status, &late.json()["state"]), (StatusCode::OK, &json!("succeeded")));
    assert_eq!(count(&api).await, 1);
}

#[tokio::test]
async fn v14_racing_requests_with_one_key_make_one_task() {
    let api = Api::new().await;
    let requests = (0..16).map(|_| post_as(&api, "/v1/tasks", "k", r#"{"kind":"echo"}"#));
    let answers = futures_util::future::join_all(requests).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);
    assert!(answers.iter().all(|answer| answer.json()["id"] == answers[0].json()["id"]));
    assert_eq!(count(&api).await, 1);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let api = Api::new().await;
    let long = "k".repeat(256);
    is_problem(&post_as(&api, "/v1/tasks", &long, r#"{"kind":"echo"}"#).await, 422, "invalid-idempotency-key", &[""]);
    let differs = post_as(&api, "/v1/tasks", "a", r#"{"kind":"echo","idempotency_key":"b"}"#).await;
    is_problem(&differs, 422, "invalid-task", &["/idempotency_key"]);
    let huge = format!(r#"{{"kind":"echo","unique_key":"{}"}}"#, "k".repeat(1 << 20));
    is_problem(&api.post_json("/v1/tasks", huge).await, 413, "body-too-large", &[]);
    let long = format!(r#"{{"kind":"echo","unique_key":"{}"}}"#, "k".repeat(257));
    is_problem(&api.post_json("/v1/tasks", long).await, 422, "invalid-task", &["/unique_key"]);
    assert_eq!(count(&api).await, 0);
}

#[tokio::test]
async fn a_batch_is_created_as_a_whole() {
    let api = Api::new().await;
    let body =
        r#"{"tasks":[{"kind":"echo","unique_key":"k"},{"kind":"echo","input":[2]},{"kind":"echo","unique_key":"k"}]}"#;
    let created = post_as(&api, "/v1/tasks/batch", "b", body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let tasks = created.json()["tasks"].clone();
    assert_eq!((&tasks[2]["id"], &tasks[2]["duplicate"]), (&tasks[0]["id"], &json!(true)));
    assert_eq!(tasks[1]["duplicate"], Value::Null);
    let again = post_as(&api, "/v1/tasks/batch", "b", body).await;
    assert_eq!((again.status, &again.json()["tasks"][1]["id"]), (StatusCode::OK, &tasks[1]["id"]));
    let other = post_as(&api, "/v1/tasks/batch", "b", r#"{"tasks":[{"kind":"echo"}]}"#).await;
    is_problem(&other, 409, "idempotency-mismatch", &["/tasks/0"]);
    assert_eq!(count(&api).await, 2);
}

#[tokio::test]
async fn a_batch_with_mistakes_creates_nothing_and_names_each() {
    let api = Api::new().await;
    let mut tasks = vec![json!({"kind": "video.cut", "input": {"media": "m"}}); 20];
    tasks[17]["input"]["media"] = json!(5);
    tasks[18] = json!({"kind": "echo", "priority": 10, "backoff": {"kind": "never"}});
    tasks[19] = json!("echo");
    let answer = api.post_json("/v1/tasks/batch", json!({ "tasks": tasks }).to_string()).await;
    let expected = ["/tasks/17/input/media", "/tasks/18/priority", "/tasks/18/backoff/kind", "/tasks/19"];
    is_problem(&answer, 422, "invalid-batch", &expected);
    let taken = r#"{"tasks":[{"kind":"echo"},{"kind":"echo","unique":{"key":"k"}},{"kind":"echo","unique":{"key":"k","mode":"reject"}}]}"#;
    is_problem(&api.post_json("/v1/tasks/batch", taken).await, 409, "unique-held", &["/tasks/2"]);
    for (body, pointer) in [("{}", "/tasks"), (r#"{"tasks":[]}"#, "/tasks"), (r#"{"tasks":1}"#, "/tasks")] {
        is_problem(&api.post_json("/v1/tasks/batch", body).await, 422, "invalid-batch", &[pointer]);
    }
    assert_eq!(count(&api).await, 0);
}

#[tokio::test]
async fn i8_a_batch_is_bounded_in_tasks_and_bytes() {
    let api = Api::new().await;
    let of = |count: usize| {
        let tasks = vec![r#"{"kind":"echo"}"#; count].join(",");
        format!(r#"{{"tasks":[{tasks}]}}"#)
    };
    is_problem(&api.post_json("/v1/tasks/batch", of(100_000)).await, 413, "too-many-tasks", &[]);
    let large = format!(r#"{{"tasks":[{{"kind":"echo","input":"{}"}}]}}"#, "x".repeat(16 << 20));
    is_problem(&api.post_json("/v1/tasks/batch", large).await, 413, "body-too-large", &[]);
    let input = format!(r#"{{"tasks":[{{"kind":"echo","input":"{}"}}]}}"#, "x".repeat(256 << 10));
    is_problem(&api.post_json("/v1/tasks/batch", input).await, 422, "invalid-batch", &["/tasks/0/input"]);
    let most = api.post_json("/v1/tasks/batch", of(10_000)).await;
    assert_eq!(most.json()["tasks"].as_array().unwrap().len(), 10_000);
}

#[tokio::test]
async fn l12_deadlines_in_the_past_and_absurd_delays_are_refused() {
    let api = Api::new().await;
    for (field, pointer) in [
        (r#""deadline":"2001-01-01T00:00:00Z""#, "/deadline"),
        (r#""deadline":"2001-01-01""#, "/deadline"),
        (r#""delay_ms":60000,"deadline":"{soon}""#, "/deadline"),
        (r#""run_at":"9999-12-30T00:00:00Z""#, "/run_at"),
        (r#""run_at":"10000-01-01T00:00:00Z""#, "/run_at"),
        (r#""delay_ms":999999999999999"#, "/delay_ms"),
        (r#""backoff":{"base_ms":999999999999999}"#, "/backoff/base_ms"),
        (r#""queue":"a/b""#, "/queue"),
        (r#""unique":{"paths":["/a/0","/b"]}"#, "/unique/paths/1"),
        (r#""unique":{"key":"k","states":["running"]}"#, "/unique/states"),
        (r#""unique":{"key":"k","states":["queued","gone"]}"#, "/unique/states"),
        (r#""unique":{"key":"k","mode":"debounce"}"#, "/unique/window_ms"),
        (r#""unique":{"key":"k","window_ms":5}"#, "/unique/window_ms"),
        (r#""unique":{"key":"k","mode":"maybe"}"#, "/unique/mode"),
        (r#""unique":{}"#, "/unique/key"),
        (r#""unique":{"key":"k"},"unique_key":"k""#, "/unique_key"),
    ] {
        let field = field.replace("{soon}", &now().plus_millis(30_000).to_string());
        let answer = api.post_json("/v1/tasks", format!(r#"{{"kind":"echo","input":{{"a":[1]}},{field}}}"#)).await;
        is_problem(&answer, 422, "invalid-task", &[pointer]);
    }
    assert_eq!(count(&api).await, 0);
}

#[tokio::test]
async fn l12_a_task_whose_deadline_passes_is_shown_as_expired() {
    let api = Api::new().await;
    let deadline = now().plus_millis(60_000);
    let created = api.post_json("/v1/tasks", format!(r#"{{"kind":"echo","deadline":"{deadline}"}}"#)).await.json();
    assert_eq!(created["deadline"], json!(deadline.to_string()));
    api.store.expire_overdue(deadline).await.unwrap();
    let task = api.get(&format!("/v1/tasks/{}", created["id"].as_str().unwrap())).await.json();
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("expired")));
}

#[tokio::test]
async fn a_unique_key_of_paths_is_what_is_there() {
    let api = Api::new().await;
    let create = async |input: &str, mode: &str| {
        let unique = format!(r#"{{"paths":["/media","/at"],"mode":"{mode}"}}"#);
        api.post_json("/v1/tasks", format!(r#"{{"kind":"echo","input":{input},"unique":{unique}}}"#)).await
    };
    let first = create(r#"{"media":"m","at":{"a":1,"b":2},"x":1}"#, "reject").await;
    assert_eq!(first.json()["unique"], json!({"mode": "reject", "states": ["waiting", "queued", "running"]}));
    let second = create(r#"{"media":"m","at":{"b":2,"a":1},"x":2}"#, "reject").await;
    is_problem(&second, 409, "unique-held", &[]);
    assert!(second.text().contains(first.json()["id"].as_str().unwrap()), "the holder is named: {second:?}");
    let replaced = create(r#"{"media":"m","at":{"b":2,"a":1},"x":3}"#, "replace").await;
    assert_eq!((replaced.status, &replaced.json()["id"]), (StatusCode::OK, &first.json()["id"]));
    assert_eq!(replaced.json()["input"]["x"], json!(3));
    assert_eq!(create(r#"{"media":"other","at":null}"#, "reject").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn lists_are_filtered_by_queue_and_parked_tasks_say_why() {
    let api = Api::new().await;
    let slow = api.enqueue(r#"{"kind":"echo","queue":"slow"}"#).await;
    api.enqueue(r#"{"kind":"echo"}"#).await;
    let listed = api.get("/v1/tasks?queue=slow").await.json();
    assert_eq!((listed["tasks"].as_array().unwrap().len(), &listed["tasks"][0]["id"]), (1, &json!(slow.to_string())));
    assert_eq!(listed["tasks"][0]["parked"], Value::Null);
    is_problem(&api.get("/v1/tasks?queue=A").await, 422, "invalid-query", &[""]);

    let gone = api.store.enqueue(vec![NewTask::new("gone", "{}")], now()).await.unwrap()[0].id;
    let task = api.get(&format!("/v1/tasks/{gone}")).await.json();
    assert_eq!((&task["state"], &task["parked"]["reason"]), (&json!("queued"), &json!("no plugin executes the kind")));
}

#[tokio::test]
async fn l22_failed_tasks_are_put_back_by_filter_with_a_fresh_budget() {
    let api = Api::new().await;
    let mut ids = Vec::new();
    for code in ["busy", "broken", "busy"] {
        let id = api.enqueue(r#"{"kind":"echo"}"#).await;
        api.claim("echo").await;
        api.finish(id, Outcome::Fatal(Failure::new(code, "no"))).await;
        ids.push(id.to_string());
    }
    for (body, pointer) in [
        (r#"{"kind":"A"}"#, "/kind"),
        (r#"{"limit":0}"#, "/limit"),
        (r#"{"since":"now"}"#, "/since"),
        (r#"{"cursor":"x"}"#, "/cursor"),
        (r#"{"state":"failed"}"#, "/state"),
    ] {
        is_problem(&api.post_json("/v1/tasks/redrive", body).await, 422, "invalid-filter", &[pointer]);
    }
    let first = api.post_json("/v1/tasks/redrive", r#"{"kind":"echo","code":"busy","limit":1}"#).await.json();
    assert_eq!(first["redriven"], json!([ids[0]]));
    let rest = json!({"code": "busy", "since": "2001-01-01T00:00:00Z", "cursor": first["next_cursor"]});
    let rest = api.post_json("/v1/tasks/redrive", rest.to_string()).await.json();
    assert_eq!(rest, json!({"redriven": [ids[2]], "held": []}));
    let task = api.get(&format!("/v1/tasks/{}", ids[2])).await.json();
    assert_eq!((&task["state"], &task["failures"], &task["error"]), (&json!("queued"), &json!(0), &Value::Null));
    assert_eq!(api.get(&format!("/v1/tasks/{}", ids[1])).await.json()["state"], json!("failed"));
}
