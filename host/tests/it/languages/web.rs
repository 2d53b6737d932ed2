//! The web, from languages that have it over `wasi:http`.

use serde_json::{Value, json};

use super::{component, error, logs, once, ready};
use crate::support::Home;
use crate::support::web::{PUBLIC, TestNetwork, WebServer};

/// A plugin asks what it is granted and what it is not, and does not load without a grant.
async fn asks_what_is_granted(plugin: &str) {
    let server = WebServer::plain().await;
    let network = TestNetwork::with(&[("api.test", &[&[PUBLIC]])]);
    let home = Home::new().network(network.clone());
    let rule = format!("scheme = \"http\"\nhost = \"api.test\"\nports = [{}]\n", server.port);
    let manifest = format!("[[grant.http]]\n{rule}methods = [\"GET\", \"POST\"]\n");
    home.plugins().put(plugin, &component(plugin), Some(&manifest));
    let host = ready(home).await;
    let kind = format!("{plugin}.ask");
    let url = format!("http://api.test:{}/one?two=3", server.port);
    for input in [json!({ "url": url }), json!({ "url": url, "method": "POST", "body": "x".repeat(10_000) })] {
        let task = once(&host, &kind, input.clone()).await;
        assert_eq!(task["output"]["status"], 200, "{task:#}");
        let seen: Value = serde_json::from_str(task["output"]["body"].as_str().unwrap()).unwrap();
        let body = input["body"].as_str().unwrap_or_default();
        assert_eq!((&seen["target"], &seen["body_bytes"]), (&json!("/one?two=3"), &json!(body.len())), "{seen:#}");
        assert!(logs(&host, &task).await.contains("http: 1 requests"), "{task:#}");
    }

    let url = format!("http://other.test:{}/", server.port);
    let task = once(&host, &kind, json!({ "url": url })).await;
    let message = error(&task)["message"].as_str().unwrap();
    assert!(message.contains("HttpRequestDenied") || message.contains("NetworkError"), "{task:#}");
    let log = logs(&host, &task).await;
    let line = format!("add to plugins/{plugin}.toml: [[grant.http]] scheme = \"http\", host = \"other.test\"");
    assert!(log.contains(&line), "{log}");
    assert_eq!(network.connected(), [PUBLIC, PUBLIC]);

    host.plugins().put(plugin, &component(plugin), Some(""));
    let refused = host.plugin_until(plugin, |plugin| plugin["error"].is_object()).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("imports wasi:http/") && message.contains("`[[grant.http]] host = "), "{message}");
    host.stop().await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn python_asks_the_web_that_it_is_granted() {
    Box::pin(asks_what_is_granted("web-python")).await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn javascript_asks_the_web_that_it_is_granted() {
    Box::pin(asks_what_is_granted("web-js")).await;
}
