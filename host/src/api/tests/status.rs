//! Health, plugins, schedules, and what every answer carries.

use axum::http::StatusCode;
use serde_json::json;

use super::harness::{Api, DIGEST};
use crate::schedule::{Action, ScheduleSpec};
use crate::time::Timestamp;

#[tokio::test]
async fn health_needs_no_store_and_readiness_names_its_problems() {
    let api = Api::new().await;
    api.store.close().await;
    assert_eq!(api.get("/healthz").await.json(), json!({"status": "ok"}));
    assert_eq!(api.get("/readyz").await.json(), json!({"status": "ready"}));

    api.state.readiness.set("plugins", Some("still loading".to_owned()));
    api.state.stop.cancel();
    let answer = api.get("/readyz").await;
    answer.is_problem(
        503,
        r#"{"type":"urn:taskhost:problem:not-ready","title":"Not available now","status":503,"detail":"plugins: still loading; host: it is stopping","code":"not-ready","errors":[{"part":"plugins","message":"still loading"},{"part":"host","message":"it is stopping"}]}"#,
    );
    api.state.readiness.set("plugins", None);
    assert_eq!(api.get("/readyz").await.json()["errors"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn version_says_what_runs() {
    let api = Api::new().await;
    let expected = json!({
        "name": "taskhost", "version": "1.2.3", "api": "v1", "wasmtime": "48.0.0", "boot": "0000000000000007",
        "started_at": "1970-01-01T00:00:01.000Z",
    });
    assert_eq!(api.get("/version").await.json(), expected);
}

#[tokio::test]
async fn plugins_are_shown_live_or_with_what_is_wrong() {
    let api = Api::new().await;
    let digest = DIGEST.to_string();
    let expected = json!({"plugins": [
        {"name": "echo", "live": {
            "digest": digest, "version": "1.0.0", "summary": "Echo", "roles": ["executor"],
            "kinds": [{
                "name": "echo", "summary": "Returns its input", "input_schema": {"type": "object"}, "concurrency": 4,
            }],
            "grants": ["log"], "loaded_at": "1970-01-01T00:00:01.000Z",
            "compiled": { "cached": false, "took_ms": 40 }, "running": 1,
        }, "draining": [{
            "digest": digest, "running": 2, "since": "1970-01-01T00:00:00.001Z",
            "yield_at": "1970-01-01T00:00:30.001Z", "interrupt_at": "1970-01-01T00:00:40.001Z",
        }]},
        {"name": "bad", "live": null, "draining": [],
         "error": {"at": "1970-01-01T00:00:02.000Z", "message": "half a file"}},
    ]});
    assert_eq!(api.get("/v1/plugins").await.json(), expected);
}

#[tokio::test]
async fn a_plugin_shows_what_holds_for_it_and_where_that_comes_from() {
    let api = Api::new().await;
    let echo = api.get("/v1/plugins/echo").await.json();
    assert_eq!((&echo["name"], &echo["live"]["version"]), (&json!("echo"), &json!("1.0.0")));
    let effective = &echo["live"]["effective"];
    let said = json!({"value": 1_000, "text": "1s", "origin": "manifest", "file": "echo.toml", "line": 2});
    assert_eq!(effective["limits"]["cpu"], said);
    assert_eq!(effective["limits"]["handles"], json!({"value": 1_024, "origin": "default"}));
    assert_eq!(effective["grant"]["state"]["granted"]["line"], 4);
    assert_eq!(effective["grant"]["queue"]["granted"], json!({"value": false, "origin": "default"}));
    assert_eq!(api.get("/v1/plugins/bad").await.json()["error"]["message"], "half a file");
    api.get("/v1/plugins/Echo").await.is_problem(
        404,
        r#"{"type":"urn:taskhost:problem:plugin-not-found","title":"Not found","status":404,"detail":"there is no plugin \"Echo\" in the plugins folder","code":"plugin-not-found"}"#,
    );
}

#[tokio::test]
async fn schedules_are_shown() {
    let api = Api::new().await;
    let dispatch = Action::Dispatch { plugin: "video-clear".to_owned(), batch: 8, capacity: 32 };
    let enqueue = Action::Enqueue { kind: "echo".to_owned(), input: r#"{"n":1}"#.to_owned() };
    let specs =
        [("clear", dispatch), ("hello", enqueue)].map(|(name, action)| ScheduleSpec::every(name, 60_000, action));
    api.store.declare_schedules(specs.into(), Timestamp::from_millis(1)).await.unwrap();
    let expected = json!({"schedules": [
        {"name": "clear", "every_ms": 60_000, "next_at": "1970-01-01T00:01:00.000Z", "fired": 0, "overlapped": 0,
         "missed": 0, "skipped": 0, "by_hand": 0, "backfilled": 0, "buffered": 0, "overlap": "skip", "jitter_ms": 0,
         "catch_up": "latest", "declared_by": "config", "action": {"type": "dispatch", "plugin": "video-clear", "batch": 8, "capacity": 32}},
        {"name": "hello", "every_ms": 60_000, "next_at": "1970-01-01T00:01:00.000Z", "fired": 0, "overlapped": 0,
         "missed": 0, "skipped": 0, "by_hand": 0, "backfilled": 0, "buffered": 0, "overlap": "allow", "jitter_ms": 0,
         "catch_up": "latest", "declared_by": "config", "action": {"type": "enqueue", "kind": "echo", "input": {"n": 1}}},
    ]});
    assert_eq!(api.get("/v1/schedules").await.json(), expected);
}

#[tokio::test]
async fn s13_c10_answers_carry_what_keeps_browsers_honest() {
    let api = Api::new().await;
    for uri in ["/v1/tasks", "/nowhere", "/healthz"] {
        let answer = api.get(uri).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
    }
}
