//! A generation does a task of which nothing stays before it goes live.

use serde_json::json;

use crate::support::Home;
use crate::support::folder::{fixture, variant};

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
