//! Every route that changes something, asked for what cannot be.

use reqwest::Method;
use serde_json::{Value, json};

use super::{MIB, TestHost, echo, written};
use crate::support::{Home, answer};

const UNKNOWN: &str = "01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90";

/// Sends a request that must be refused without a trace; answers the status, the code, and the first mistake's place.
async fn refusal(host: &TestHost, method: &str, path: &str, body: &str) -> String {
    let before = (written(host).await, others(host).await);
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = host.request(method, path);
    if !body.is_empty() {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let (status, problem) = answer(request).await;
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{path} {body:.200}: {problem:#}");
    assert!(problem.to_string().len() < 20_000, "an answer repeats little of what it was sent");
    assert_eq!((written(host).await, others(host).await), before, "{path} {body:.200}: something was written");
    let error = &problem["errors"][0];
    let place = ["pointer", "parameter", "header"].iter().find_map(|of| error[of].as_str());
    let code = problem["code"].as_str().unwrap();
    format!("{} {code} {}", status.as_u16(), place.unwrap_or("-"))
}

/// What a host keeps besides tasks, events and schedules.
async fn others(host: &TestHost) -> Vec<Value> {
    let mut found = Vec::new();
    for path in ["/v1/limits", "/v1/batches", "/v1/media"] {
        found.push(host.get(path).await);
    }
    found
}

/// Compares all at once, so that one run names every difference.
async fn refuses(host: &TestHost, cases: &[(&str, &str, &str, &str)]) {
    let mut different = Vec::new();
    for (method, path, body, expected) in cases {
        let found = refusal(host, method, path, body).await;
        if found != *expected {
            different.push(format!("{method} {path:.100} {body:.100}: {found:?}, not {expected:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

async fn host() -> TestHost {
    Home::new().built("echo").configure(|config| config.server.max_body_bytes = 4 << 20).start().await
}

#[tokio::test]
async fn limits_queues_and_kinds_that_cannot_be() {
    let host = host().await;
    let huge = "k".repeat(MIB);
    let reason = format!(r#"{{"reason":"{huge}"}}"#);
    let key = format!(r#"{{"key":"/{huge}","concurrency":1}}"#);
    let named = format!("/v1/limits/{}", "l".repeat(1_000));
    refuses(
        &host,
        &[
            ("PUT", "/v1/limits/l", "", "400 empty-body -"),
            ("PUT", "/v1/limits/l", "[]", "422 invalid-body "),
            ("PUT", "/v1/limits/l", "{}", "422 invalid-limit "),
            ("PUT", "/v1/limits/l", &key, "422 invalid-limit /key"),
            ("PUT", "/v1/limits/l", r#"{"concurrency":0}"#, "422 invalid-limit /concurrency"),
            ("PUT", "/v1/limits/l", r#"{"concurrency":1e18}"#, "422 invalid-limit /concurrency"),
            ("PUT", "/v1/limits/l", r#"{"concurrency":1,"concurrency":2}"#, "422 invalid-limit /concurrency"),
            (
                "PUT",
                "/v1/limits/l",
                r#"{"rate":{"tasks":1,"per_ms":1000000000000000000}}"#,
                "422 invalid-limit /rate/per_ms",
            ),
            ("PUT", "/v1/limits/l", r#"{"rate":{"tasks":1,"per_ms":1000,"burst":0}}"#, "422 invalid-limit /rate/burst"),
            ("PUT", &named, r#"{"concurrency":1}"#, "400 invalid-id -"),
            ("PUT", "/v1/limits/L%2Fx", r#"{"concurrency":1}"#, "400 invalid-id -"),
            ("DELETE", "/v1/limits/l", "", "404 limit-not-found -"),
            ("POST", "/v1/limits/l", "{}", "405 method-not-allowed -"),
            ("POST", "/v1/queues/Q/pause", "{}", "400 invalid-id -"),
            ("POST", "/v1/queues/q/pause", "5", "422 invalid-body "),
            ("POST", "/v1/queues/q/pause", r#"{"reason":5}"#, "422 invalid-pause /reason"),
            ("POST", "/v1/queues/q/pause", &reason, "422 invalid-pause /reason"),
            ("POST", "/v1/queues/q/pause", r#"{"until":"10000-01-01T00:00:00Z"}"#, "422 invalid-pause /until"),
            ("POST", "/v1/queues/Q/resume", "", "400 invalid-id -"),
            ("POST", "/v1/kinds/K!/pause", "{}", "400 invalid-id -"),
            ("POST", "/v1/kinds/echo/pause", &reason, "422 invalid-pause /reason"),
            ("POST", "/v1/kinds/K!/resume", "", "400 invalid-id -"),
        ],
    )
    .await;
    host.stop().await;
}

#[tokio::test]
async fn schedules_that_cannot_be_changed_or_made_up_for() {
    let host = host().await;
    let spec = json!({ "name": "s", "every_ms": 3_600_000, "action": { "type": "enqueue", "kind": "echo" } });
    answer(host.request(Method::POST, "/v1/schedules").json(&spec)).await;
    let again = spec.to_string();
    let nameless = again.replacen(r#""name":"s","#, "", 1);
    refuses(
        &host,
        &[
            ("POST", "/v1/schedules", &again, "409 schedule-exists -"),
            ("PUT", "/v1/schedules/s", &nameless, "428 precondition-required -"),
            ("PUT", "/v1/schedules/none", &nameless, "404 schedule-not-found -"),
            ("PATCH", "/v1/schedules/s", r#"{"every_ms":0}"#, "428 precondition-required -"),
            ("PATCH", "/v1/schedules/none", "{}", "404 schedule-not-found -"),
            ("DELETE", "/v1/schedules/s", "", "428 precondition-required -"),
            ("DELETE", "/v1/schedules/none", "", "404 schedule-not-found -"),
            ("POST", "/v1/schedules/none/pause", "", "404 schedule-not-found -"),
            ("POST", "/v1/schedules/none/resume", "", "404 schedule-not-found -"),
            ("POST", "/v1/schedules/none/trigger", "", "404 schedule-not-found -"),
            ("POST", "/v1/schedules/S!/trigger", "", "400 invalid-id -"),
            ("POST", "/v1/schedules/s/backfill", "{}", "422 invalid-backfill /start"),
            (
                "POST",
                "/v1/schedules/s/backfill",
                r#"{"start":"2030-01-01T00:00:00Z","end":"2020-01-01T00:00:00Z"}"#,
                "422 invalid-backfill /end",
            ),
            (
                "POST",
                "/v1/schedules/s/backfill",
                r#"{"start":"2020-01-01T00:00:00Z","end":"10000-01-01T00:00:00Z"}"#,
                "422 invalid-backfill /end",
            ),
            (
                "POST",
                "/v1/schedules/none/backfill",
                r#"{"start":"2020-01-01T00:00:00Z","end":"2020-01-02T00:00:00Z"}"#,
                "404 schedule-not-found -",
            ),
        ],
    )
    .await;
    host.stop().await;
}

#[tokio::test]
async fn tasks_and_batches_that_there_are_not_or_that_do_not_allow_it() {
    let host = host().await;
    let live = host.create(&json!({ "kind": "echo", "delay_ms": 3_600_000 })).await;
    let of = |id: &str, rest: &str| format!("/v1/tasks/{id}{rest}");
    let (own, retry) = (of(&live, ""), of(&live, "/retry"));
    let (gone, cancel, again) = (of(UNKNOWN, ""), of(UNKNOWN, "/cancel"), of(UNKNOWN, "/retry"));
    let batch = format!("/v1/batches/{UNKNOWN}/cancel");
    let nested = format!(r#"{{"tasks":[{}],"on_complete":{{"kind":"none"}}}}"#, echo(r#""priority":1"#));
    let first = format!(r#"{{"tasks":[{},{{"kind":"echo","priority":10}}]}}"#, echo(r#""priority":1"#));
    refuses(
        &host,
        &[
            ("DELETE", &own, "", "409 task-live -"),
            ("POST", &retry, "", "409 task-live -"),
            ("DELETE", &gone, "", "404 task-not-found -"),
            ("POST", &cancel, "", "404 task-not-found -"),
            ("POST", &again, "", "404 task-not-found -"),
            ("POST", "/v1/tasks/1/cancel", "", "400 invalid-id -"),
            ("POST", "/v1/tasks/cancel", "", "400 empty-body -"),
            ("POST", "/v1/tasks/cancel", r#"{"states":["failed"]}"#, "422 invalid-filter /states"),
            ("POST", "/v1/tasks/cancel", "{}", "422 invalid-filter /states"),
            ("POST", "/v1/tasks/cancel", r#"{"kind":"echo","limit":0}"#, "422 invalid-filter /limit"),
            ("POST", "/v1/tasks/cancel", r#"{"kind":"K!"}"#, "422 invalid-filter /kind"),
            ("POST", "/v1/tasks/purge", r#"{"states":["queued"]}"#, "422 invalid-filter /states"),
            (
                "POST",
                "/v1/tasks/purge",
                r#"{"ended_before":"10000-01-01T00:00:00Z"}"#,
                "422 invalid-filter /ended_before",
            ),
            ("POST", "/v1/tasks/purge", r#"{"states":["failed"],"cursor":"nonsense"}"#, "422 invalid-filter /cursor"),
            ("POST", "/v1/tasks/redrive", r#"{"limit":1000000000}"#, "422 invalid-filter /limit"),
            ("POST", "/v1/tasks/redrive", r#"{"since":"10000-01-01T00:00:00Z"}"#, "422 invalid-filter /since"),
            ("POST", "/v1/tasks/redrive", r#"{"code":""}"#, "422 invalid-filter /code"),
            ("POST", "/v1/tasks/redrive", r#"{"kinds":"echo"}"#, "422 invalid-filter /kinds"),
            ("POST", "/v1/tasks/redrive", "null", "422 invalid-body "),
            ("POST", "/v1/batches", "{}", "422 invalid-batch /tasks"),
            ("POST", "/v1/batches", r#"{"tasks":5}"#, "422 invalid-batch /tasks"),
            ("POST", "/v1/batches", &nested, "422 invalid-batch /on_complete/kind"),
            ("POST", "/v1/batches", &first, "422 invalid-batch /tasks/1/priority"),
            ("POST", "/v1/batches", r#"{"tasks":[],"on_succes":{"kind":"echo"}}"#, "422 invalid-batch /on_succes"),
            ("POST", &batch, "", "404 batch-not-found -"),
            ("POST", "/v1/batches/1/cancel", "", "400 invalid-id -"),
            ("PUT", "/v1/tasks", "{}", "405 method-not-allowed -"),
        ],
    )
    .await;
    host.stop().await;
}

#[tokio::test]
async fn media_and_streams_that_there_are_not_or_that_do_not_allow_it() {
    let host = host().await;
    let media = host.upload("a.bin", "some bytes").await;
    let id = media["id"].as_str().unwrap();
    let of = |rest: &str| format!("/v1/media/{id}{rest}");
    let (wrong, long, unknown) = (of("?grace=soon"), of("?grace=99999999999999999999"), of("?graces=1"));
    let logs = format!("/v1/tasks/{UNKNOWN}/logs?follow=true");
    refuses(
        &host,
        &[
            ("DELETE", "/v1/media/none", "", "404 media-not-found -"),
            ("DELETE", "/v1/media/..%2f..%2fetc%2fpasswd", "", "400 invalid-id -"),
            ("DELETE", &wrong, "", "422 invalid-query grace"),
            ("DELETE", &long, "", "422 invalid-query grace"),
            ("DELETE", &unknown, "", "422 invalid-query graces"),
            ("POST", "/v1/media/none/restore", "", "404 media-not-found -"),
            ("GET", "/v1/media/none/content", "", "404 media-not-found -"),
            ("GET", "/v1/events?type=task.exploded", "", "422 invalid-query type"),
            ("GET", "/v1/events?from=yesterday", "", "422 invalid-query from"),
            ("GET", &logs, "", "404 task-not-found -"),
            ("GET", "/v1/tasks?limit=0", "", "422 invalid-query limit"),
            ("GET", "/v1/tasks?state=lost", "", "422 invalid-query state"),
            ("GET", "/v1/nothing", "", "404 unknown-route -"),
        ],
    )
    .await;
    host.stop().await;
}
