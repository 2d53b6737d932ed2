//! A generation does a task of which nothing stays before it goes live.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::folder::{fixture, variant};
use crate::support::{Home, answer};

/// What the fixture answers, as it stands in its text.
const OUTPUT: &str = "v00";
/// The end of its execution, and one that goes down.
const END: &str = "(i32.store (i32.const 524) (i32.const 5))";
const TRAP: &str = "unreachable";

const CANARY: &str = "[reload]\ncanary = { kind = \"version\", input = '{\"n\": 1}', timeout = \"10s\" }\n";

#[tokio::test]
async fn a_generation_whose_canary_fails_does_not_go_live() {
    let home = Home::new();
    home.plugins().put("version", &fixture("version"), Some(CANARY));
    let host = home.start().await;
    let old = host.plugin("version").await.unwrap();
    assert!(old["live"]["digest"].is_string(), "its own canary went well: {old:#}");
    let mut events = host.events().await;

    host.plugins().put("version", &variant("version", END, TRAP), None);
    let refused = host.plugin_until("version", |plugin| plugin["error"]["message"].is_string()).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("the canary failed: trap: wasm trap"), "{message}");
    assert_eq!(refused["live"]["digest"], old["live"]["digest"]);
    assert_eq!(host.run("version", &json!({})).await["output"], OUTPUT);

    host.plugins().put("version", &variant("version", OUTPUT, "v01"), None);
    host.plugin_until("version", |plugin| plugin["error"].is_null()).await;
    assert_eq!(host.run("version", &json!({})).await["output"], "v01");
    // No task but the two that were asked for.
    let tasks = host.get("/v1/tasks").await;
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 2, "{tasks:#}");
    host.stop().await;
    let told = events.drain().await;
    assert!(told.iter().all(|event| event.name != "task.failed"), "{told:?}");
}

#[tokio::test]
async fn a_canary_that_the_plugin_cannot_do_is_told() {
    let host = Home::new().start().await;
    for (canary, reason) in [
        ("{ kind = \"other\", input = \"1\" }", "it does not execute \"other\", but version"),
        ("{ kind = \"version\", input = \"1\" }", ""),
    ] {
        host.plugins().put("version", &fixture("version"), Some(&format!("[reload]\ncanary = {canary}\n")));
        let wanted = |plugin: &serde_json::Value| match reason {
            "" => plugin["live"]["digest"].is_string(),
            reason => plugin["error"]["message"].as_str().is_some_and(|message| message.contains(reason)),
        };
        host.plugin_until("version", wanted).await;
    }
    host.stop().await;
}

#[tokio::test]
async fn nothing_that_a_canary_does_stays() {
    // It saves a checkpoint and would sleep for an hour: its time is over before.
    let home = Home::new();
    let canary = "[reload]\ncanary = { kind = \"resume\", input = \"1\", timeout = \"300ms\" }\n";
    home.plugins().put("resume", &fixture("resume"), Some(canary));
    let host = home.start().await;
    let refused = host.plugin_until("resume", |plugin| plugin["error"]["message"].is_string()).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("the canary failed: timed-out"), "{message}");
    assert!(refused["live"].is_null(), "{refused:#}");
    assert_eq!(host.get("/v1/tasks").await["tasks"], json!([]));
    assert!(host.files("logs").is_empty(), "it left a log");
    host.stop().await;
}

#[tokio::test]
async fn a_plugin_that_is_still_loaded_makes_its_kinds_come_later_instead_of_unknown() {
    let home = Home::new().fixture("ok");
    // Longer than a start waits for it.
    let canary = "[reload]\ncanary = { kind = \"resume\", input = \"1\", timeout = \"2m\" }\n";
    home.plugins().put("resume", &fixture("resume"), Some(canary));
    let host = home.start().await;
    let (status, problem) = answer(host.request(Method::GET, "/readyz")).await;
    assert_eq!((status, &problem["errors"][0]["part"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("plugins")));
    assert_eq!(problem["errors"][0]["message"], "still being loaded: resume");

    let task = json!({ "kind": "resume", "input": 1 });
    let later = host.request(Method::POST, "/v1/tasks").json(&task).send().await.unwrap();
    assert_eq!(
        (later.status(), later.headers()["retry-after"].as_bytes()),
        (StatusCode::SERVICE_UNAVAILABLE, &b"5"[..])
    );
    let (status, problem) = host.post("/v1/tasks/batch", &json!({ "tasks": [task, task] })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("plugins-loading")), "{problem:#}");
    // What is wrong for good is told at once.
    let wrong = json!({ "tasks": [task, { "kind": "resume" , "nonsense": 1 }] });
    assert_eq!(host.post("/v1/tasks/batch", &wrong).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(host.run("ok", &json!({})).await["state"], "succeeded");

    host.plugins().delete("resume");
    host.until_ready().await;
    assert_eq!(host.post("/v1/tasks", &task).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    host.stop().await;
}
