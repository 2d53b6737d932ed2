//! A task from its creation to its end.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::events::Event;
use crate::support::{Home, TestHost, answer, attempts, list};

async fn echo_host() -> TestHost {
    Home::new().built("echo").start().await
}

/// Retries at once, so that no test waits for a backoff.
fn failing(kind: &str, fail: &str, max_attempts: u32) -> Value {
    let backoff = json!({ "base_ms": 1, "cap_ms": 1 });
    json!({ "kind": kind, "input": { "fail": fail }, "max_attempts": max_attempts, "backoff": backoff })
}

#[tokio::test]
async fn a_task_succeeds_and_its_output_is_its_input() {
    let host = echo_host().await;
    let task = host.run("echo", &json!({ "hello": ["wörld", 1.5, null] })).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    assert_eq!(task["output"], json!({ "hello": ["wörld", 1.5, null] }));
    assert_eq!(attempts(&task).len(), 1);
    assert_eq!(attempts(&task)[0]["outcome"], "succeeded");
    host.stop().await;
}

#[tokio::test]
async fn i7_the_attempt_records_the_digest_of_the_live_generation() {
    let host = echo_host().await;
    let plugin = host.plugin("echo").await.unwrap();
    let task = host.run("echo", &json!({})).await;
    let digest = attempts(&task)[0]["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    assert!(plugin.to_string().contains(digest), "{plugin:#}");
    host.stop().await;
}

#[tokio::test]
async fn a_failing_task_is_tried_as_often_as_it_may_and_keeps_the_last_cause() {
    let host = echo_host().await;
    let mut events = host.events().await;
    let id = host.create(&failing("echo", "retry", 3)).await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "failed", "{task:#}");
    assert_eq!(task["failures"], 3);
    let numbers: Vec<_> = attempts(&task).iter().map(|attempt| attempt["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(attempts(&task).iter().all(|attempt| attempt["outcome"] == "failed"), "{task:#}");
    let seen = events.until(|event| event.name == "task.failed" && event.task() == id).await;
    let retries = seen.iter().filter(|event| event.name == "task.retrying" && event.task() == id).count();
    assert_eq!(retries, 2, "one retry after each failure but the last");
    host.stop().await;
}

#[tokio::test]
async fn a_retry_waits_for_its_backoff() {
    let host = echo_host().await;
    let mut events = host.events().await;
    let mut request = failing("echo", "retry", 2);
    request["backoff"] = json!({ "base_ms": 200, "cap_ms": 200 });
    let id = host.create(&request).await;
    events.task(&id, "task.retrying").await;
    let task = host.wait_task(&id).await;
    let times: Vec<_> = attempts(&task)
        .iter()
        .map(|attempt| (instant(&attempt["started_at"]), instant(&attempt["ended_at"])))
        .collect();
    let pause = times[1].0 - times[0].1;
    assert!((100..=20_000).contains(&pause), "half of the backoff at least, found {pause} ms");
    host.stop().await;
}

#[tokio::test]
async fn a_fatal_failure_is_not_tried_again() {
    let host = echo_host().await;
    let id = host.create(&failing("echo", "fatal", 5)).await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "failed", "{task:#}");
    assert_eq!(attempts(&task).len(), 1);
    assert!(task["error"]["code"].is_string(), "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn v15_input_that_does_not_match_the_schema_is_refused_with_a_json_pointer() {
    let host = Home::new().built("video-cut").start().await;
    let input = json!({ "media": "x", "start": 0, "end": 1, "accuracy": "roughly" });
    let (status, problem) = host.post("/v1/tasks", &json!({ "kind": "video.cut", "input": input })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem:#}");
    assert!(problem["code"].is_string(), "{problem:#}");
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert!(pointers.iter().any(|pointer| pointer.as_str().unwrap().ends_with("/accuracy")), "{problem:#}");
    assert!(list(&host.get("/v1/tasks").await).is_empty(), "nothing was created");
    host.stop().await;
}

#[tokio::test]
async fn an_unknown_kind_is_refused_with_the_kinds_that_there_are() {
    let host = echo_host().await;
    let (status, problem) = host.post("/v1/tasks", &json!({ "kind": "no.such", "input": {} })).await;
    assert!(matches!(status, StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY), "{status}");
    assert!(problem.to_string().contains("\"echo\""), "{problem:#}");
    host.stop().await;
}

#[tokio::test]
async fn l19_bodies_that_are_empty_huge_or_not_json_are_refused_each_in_its_own_words() {
    let host = echo_host().await;
    let huge = format!(r#"{{"kind":"echo","input":"{}"}}"#, "x".repeat(4 << 20));
    let cases = [("", 400), ("{", 400), ("\"text\"", 400), ("{\"kind\":\"echo\",\"extra\":1}", 422), (&huge, 413)];
    let mut codes = Vec::new();
    for (body, expected) in cases {
        let request = host.request(Method::POST, "/v1/tasks").header("content-type", "application/json");
        let (status, problem) = answer(request.body(body.to_owned())).await;
        let head: String = body.chars().take(40).collect();
        // A body of the wrong shape may be a bad request or an unprocessable one.
        assert!(status == expected || (expected < 423 && status == 422), "{head:?}: {status} {problem:#}");
        codes.push(problem["code"].as_str().unwrap_or_else(|| panic!("a code in {problem:#}")).to_owned());
    }
    assert_ne!(codes[1], codes[4]);
    assert!(list(&host.get("/v1/tasks").await).is_empty(), "nothing was created");
    host.stop().await;
}

#[tokio::test]
async fn a_failed_task_can_be_retried_by_hand_and_its_attempt_numbers_go_on() {
    let host = echo_host().await;
    let id = host.create(&failing("echo", "fatal", 1)).await;
    host.wait_task(&id).await;
    let (status, task) = host.post(&format!("/v1/tasks/{id}/retry"), &Value::Null).await;
    assert!(status.is_success(), "{status} {task:#}");
    let task = host.wait_task(&id).await;
    assert_eq!(task["attempt"], 2, "{task:#}");
    assert_eq!(task["state"], "failed");
    host.stop().await;
}

#[tokio::test]
async fn i1_a_live_task_cannot_be_retried() {
    let host = echo_host().await;
    let id = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 3_600_000 })).await;
    let (status, problem) = host.post(&format!("/v1/tasks/{id}/retry"), &Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem:#}");
    assert_eq!(host.task(&id).await["state"], "queued");
    host.stop().await;
}

#[tokio::test]
async fn a_unique_key_names_one_live_task() {
    let host = echo_host().await;
    let request = json!({ "kind": "echo", "input": {}, "unique_key": "nightly", "delay_ms": 3_600_000 });
    let first = host.create(&request).await;
    assert_eq!(host.create(&request).await, first, "the live task answers");
    host.cancel(&first).await;
    assert_ne!(host.create(&request).await, first, "the key is free again");
    host.stop().await;
}

#[tokio::test]
async fn l16_higher_priorities_run_first() {
    let host = Home::new().built("echo").configure(|config| config.runner.concurrency = 1).start().await;
    let mut events = host.events().await;
    let blocker = host.enqueue("echo", &json!({ "sleep_ms": 60_000 })).await;
    events.task(&blocker, "task.started").await;
    let mut ids = Vec::new();
    for priority in [0, 4, 9] {
        ids.push(host.create(&json!({ "kind": "echo", "input": {}, "priority": priority })).await);
    }
    host.cancel(&blocker).await;
    let seen = events.until(|event| event.name == "task.succeeded" && event.task() == ids[0]).await;
    let started: Vec<_> = seen.iter().filter(|event| event.name == "task.started").map(Event::task).collect();
    assert_eq!(started, [ids[2].as_str(), &ids[1], &ids[0]]);
    host.stop().await;
}

#[tokio::test]
async fn a_task_does_not_run_before_its_time() {
    let host = echo_host().await;
    let id = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 300 })).await;
    let task = host.wait_task(&id).await;
    let waited = instant(&attempts(&task)[0]["started_at"]) - instant(&task["created_at"]);
    assert!((300..20_000).contains(&waited), "started {waited} ms after its creation");
    host.stop().await;
}

#[tokio::test]
async fn what_a_guest_logs_is_in_the_log_of_its_task() {
    let host = TestHost::with(&["flood"]).await;
    let task = host.run("flood", &json!({})).await;
    let id = task["id"].as_str().unwrap();
    let logs = host.get(&format!("/v1/tasks/{id}/logs")).await;
    assert!(!list(&logs).is_empty(), "{logs:#}");
    let log = &attempts(&task)[0]["log"];
    for counted in ["lines", "bytes", "dropped_lines", "dropped_bytes"] {
        assert!(log[counted].as_u64().is_some_and(|count| count > 0), "{counted}: {task:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_task_that_its_guest_puts_off_comes_back_and_loses_nothing() {
    let host = TestHost::with(&["snooze"]).await;
    let mut events = host.events().await;
    let id = host.create(&json!({ "kind": "snooze", "input": [1], "max_attempts": 1 })).await;
    let snoozed = events.task(&id, "task.snoozed").await;
    assert!(snoozed.data["due_at"].is_string(), "{snoozed:?}");
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["output"], &task["failures"]), (&json!("succeeded"), &json!([1]), &json!(0)));
    let [put_off, done] = attempts(&task) else { panic!("{task:#}") };
    assert_eq!((&put_off["outcome"], &put_off["times"], &put_off["number"]), (&json!("snoozed"), &json!(2), &json!(2)));
    assert_eq!((&done["outcome"], &done["number"]), (&json!("succeeded"), &json!(3)));
    host.stop().await;
}

/// Milliseconds since the epoch of an RFC 3339 text.
fn instant(text: &Value) -> i64 {
    text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[tokio::test]
async fn a_long_poll_answers_when_its_time_is_over() {
    let host = echo_host().await;
    let id = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 3_600_000 })).await;
    let asked = Instant::now();
    let (status, task) = answer(host.request(Method::GET, &format!("/v1/tasks/{id}")).header("prefer", "wait=1")).await;
    assert_eq!((status, &task["state"]), (StatusCode::OK, &json!("queued")));
    assert!((1..20).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
    host.stop().await;
}
