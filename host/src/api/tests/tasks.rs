//! Tasks through their routes.

use axum::http::{Request, StatusCode};
use serde_json::json;

use super::harness::{Api, DIGEST};
use crate::task::{Failure, Outcome};

#[tokio::test]
async fn a_task_is_created_read_and_its_input_passes_unchanged() {
    let api = Api::new().await;
    let body = r#"{"kind":"echo","input":{"b" : 1.0, "a": [ ]},"attributes":{"x":"y"},"unique_key":"k"}"#;
    let created = api.post_json("/v1/tasks", body).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.header("location"), format!("/v1/tasks/{id}"));
    assert!(created.text().contains(r#""input":{"b" : 1.0, "a": [ ]}"#), "{created:?}");

    let read = api.get(&format!("/v1/tasks/{id}")).await;
    assert_eq!((read.status, read.text()), (StatusCode::OK, created.text()), "the answer is what was committed");
    let at = read.json()["created_at"].clone();
    let expected = json!({
        "id": id, "kind": "echo", "state": "queued", "input": {"b": 1.0, "a": []}, "due_at": at, "attempt": 0,
        "failures": 0, "crashes": 0, "max_attempts": 5, "queue": "default", "priority": 4, "cancel_requested": false, "created_at": at,
        "backoff": {"kind": "exponential", "jitter": "equal", "base_ms": 1_000, "cap_ms": 3_600_000},
        "unique_key": "k", "unique": {"mode": "existing", "states": ["waiting", "queued", "running"]}, "attributes": {"x": "y"},
        "source": {"type": "client"}, "attempts": [],
    });
    assert_eq!(read.json(), expected);
}

#[tokio::test]
async fn a_held_unique_key_answers_the_task_that_holds_it() {
    let api = Api::new().await;
    let body = r#"{"kind":"echo","unique_key":"k"}"#;
    let first = api.post_json("/v1/tasks", body).await;
    let second = api.post_json("/v1/tasks", body).await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first.text(), second.text());
    assert_eq!(first.header("location"), second.header("location"));
}

#[tokio::test]
async fn every_state_is_shown_with_what_belongs_to_it() {
    let api = Api::new().await;
    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    let uri = format!("/v1/tasks/{id}");
    assert_eq!(api.claim("echo").await, id);
    let running = api.get(&uri).await.json();
    assert_eq!((&running["state"], &running["attempt"]), (&json!("running"), &json!(1)));
    assert_eq!(running["digest"], json!(DIGEST.to_string()));
    assert!(running["lease_until"].is_string() && running["started_at"].is_string() && running["due_at"].is_null());

    let failure = Failure { details: Some(r#"{"n":1}"#.to_owned()), ..Failure::new("bad", "it went wrong") };
    api.finish(id, Outcome::Fatal(failure)).await;
    let failed = api.get(&uri).await.json();
    let error = json!({"code": "bad", "message": "it went wrong", "details": {"n": 1}});
    assert_eq!((&failed["state"], &failed["error"]), (&json!("failed"), &error));
    let attempt = &failed["attempts"][0];
    assert_eq!((&attempt["number"], &attempt["outcome"]), (&json!(1), &json!("failed")));
    assert_eq!((&attempt["error"], &attempt["ended_at"]), (&error, &failed["ended_at"]));

    let retried = api.post(&format!("{uri}/retry")).await;
    assert_eq!((retried.status, &retried.json()["state"]), (StatusCode::OK, &json!("queued")));
    api.claim("echo").await;
    api.finish(id, Outcome::Succeeded { output: "[1,  2]".to_owned(), outbox: Vec::new() }).await;
    let done = api.get(&uri).await;
    assert!(done.text().contains(r#""output":[1,  2]"#), "{done:?}");
}

#[tokio::test]
async fn cancel_ends_a_queued_task_and_asks_a_running_one() {
    let api = Api::new().await;
    let queued = api.enqueue(r#"{"kind":"echo","delay_ms":60000}"#).await;
    let answer = api.post(&format!("/v1/tasks/{queued}/cancel")).await;
    assert_eq!((answer.status, &answer.json()["state"]), (StatusCode::OK, &json!("cancelled")));

    let running = api.enqueue(r#"{"kind":"echo"}"#).await;
    api.claim("echo").await;
    let answer = api.post(&format!("/v1/tasks/{running}/cancel")).await.json();
    assert_eq!((&answer["state"], &answer["cancel_requested"]), (&json!("cancelling"), &json!(true)));
}

#[tokio::test]
async fn lists_are_filtered_and_paged_newest_first() {
    let api = Api::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(api.enqueue(r#"{"kind":"echo"}"#).await.to_string());
    }
    let other = api.enqueue(r#"{"kind":"video.cut","input":{"media":"m"}}"#).await;
    api.post(&format!("/v1/tasks/{}/cancel", ids[0])).await;
    ids.reverse();

    let mut seen = Vec::new();
    let mut uri = "/v1/tasks?kind=echo&limit=2".to_owned();
    loop {
        let page = api.get(&uri).await;
        let json = page.json();
        seen.extend(json["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = json["next_cursor"].as_str() else { break };
        uri = format!("/v1/tasks?kind=echo&limit=2&cursor={cursor}");
        assert_eq!(page.header("link"), format!("<{uri}>; rel=\"next\""));
    }
    assert_eq!(seen, ids);
    let cancelled = api.get("/v1/tasks?state=cancelled,failed").await.json();
    assert_eq!(cancelled["tasks"][0]["id"], json!(ids[4]));
    assert_eq!(cancelled["tasks"].as_array().unwrap().len(), 1);
    let cuts = api.get("/v1/tasks?kind=video.cut&state=queued").await.json();
    assert_eq!((&cuts["tasks"][0]["id"], &cuts["next_cursor"]), (&json!(other.to_string()), &json!(null)));
}

#[tokio::test]
async fn a_page_of_large_tasks_ends_early_and_goes_on() {
    let api = Api::new().await;
    let input = "x".repeat(200_000);
    for _ in 0..50 {
        let body = format!(r#"{{"kind":"echo","input":"{input}"}}"#);
        assert_eq!(api.post_json("/v1/tasks", body).await.status, StatusCode::CREATED);
    }
    let page = api.get("/v1/tasks").await;
    let first = page.json()["tasks"].as_array().unwrap().len();
    assert!(page.body.len() < 9 << 20 && first < 50, "{first}");
    let cursor = page.json()["next_cursor"].as_str().unwrap().to_owned();
    let rest = api.get(&format!("/v1/tasks?cursor={cursor}")).await.json();
    assert_eq!((first + rest["tasks"].as_array().unwrap().len(), &rest["next_cursor"]), (50, &json!(null)));
}

#[tokio::test]
async fn waiting_answers_when_the_task_ends() {
    let api = Api::new().await;
    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    api.claim("echo").await;
    let wait = |seconds: &str| {
        let request = Request::get(format!("/v1/tasks/{id}")).header("prefer", format!("wait={seconds}"));
        api.send(request.body(axum::body::Body::empty()).unwrap())
    };
    let at_once = wait("0").await;
    assert_eq!((&at_once.json()["state"], at_once.header("preference-applied")), (&json!("running"), "wait=0"));

    let end = async {
        // The waiting request holds its place from the moment it is admitted.
        let class = crate::limiter::Class::Watch;
        while api.state.limiter.gauge(class).in_use == 0 {
            tokio::task::yield_now().await;
        }
        api.finish(id, Outcome::Succeeded { output: "1".to_owned(), outbox: Vec::new() }).await
    };
    let (answer, _) = tokio::join!(wait("60"), end);
    assert_eq!((&answer.json()["state"], answer.header("preference-applied")), (&json!("succeeded"), "wait=60"));

    let live = api.enqueue(r#"{"kind":"echo"}"#).await;
    api.state.stop.cancel();
    let request = Request::get(format!("/v1/tasks/{live}")).header("prefer", "wait=60");
    let answer = api.send(request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(answer.json()["state"], json!("queued"), "a stop ends the wait");
}

#[tokio::test]
async fn logs_are_read_page_by_page() {
    let api = Api::new().await;
    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    for text in ["one", "two", "three"] {
        api.logs.append(id, text);
    }
    let uri = format!("/v1/tasks/{id}/logs");
    let all = api.get(&uri).await.json();
    assert_eq!((&all["lines"][2]["message"], &all["eof"]), (&json!("three"), &json!(true)));
    let first = api.get(&format!("{uri}?max_bytes=10")).await.json();
    assert_eq!((first["lines"].as_array().unwrap().len(), &first["eof"]), (1, &json!(false)));

    let rest = format!("{uri}?offset={}", first["next_offset"]);
    let request = Request::get(rest).header("accept", "application/x-ndjson");
    let answer = api.send(request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(answer.header("x-next-offset"), all["next_offset"].to_string());
    let lines: Vec<serde_json::Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, all["lines"].as_array().unwrap()[1..]);
}
