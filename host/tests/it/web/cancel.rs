//! A cancelled attempt takes its request with it, whatever the request waits for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{home_with, rule};
use crate::support::events::PATIENCE;
use crate::support::web::{PUBLIC, SILENT, TestNetwork, WebServer};

/// Cancels a task whose request waits.
async fn cancelled(network: &Arc<TestNetwork>, port: u16, input: Value, waiting: &Notify, given_up: Option<&Notify>) {
    let names = ["api.test", "never.test", "silent.test"];
    let rules = |scheme: &str| {
        names.map(|name| {
            let rule = rule(port, "methods = [\"GET\", \"POST\"]").replace("api.test", name);
            rule.replace("scheme = \"http\"", &format!("scheme = \"{scheme}\""))
        })
    };
    let manifest = format!(
        "[limits]\nwall = \"10m\"\nmemory = \"256MiB\"\n[grant.http_limits]\nrequest_bytes = \"64MiB\"\n{}{}",
        rules("http").concat(),
        rules("https").concat()
    );
    let host = home_with(&manifest, network).start().await;
    let id = host.enqueue("web.raw", &input).await;
    timeout(PATIENCE, waiting.notified()).await.expect("the request comes that far");
    let asked = Instant::now();
    host.cancel(&id).await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "cancelled", "{input}: {task:#}");
    if let Some(given_up) = given_up {
        timeout(PATIENCE, given_up.notified()).await.expect("the request is given up");
    }
    assert!(asked.elapsed() < Duration::from_secs(10), "{input}: {:?}", asked.elapsed());
    host.stop().await;
}

fn network() -> Arc<TestNetwork> {
    TestNetwork::with(&[("api.test", &[&[PUBLIC]]), ("silent.test", &[&[SILENT]])])
}

fn get(scheme: &str, name: &str, port: u16, path: &str) -> Value {
    json!({ "scheme": scheme, "authority": format!("{name}:{port}"), "path": path })
}

#[tokio::test]
async fn while_the_name_is_looked_up() {
    let network = network();
    let input = get("http", "never.test", 80, "/");
    cancelled(&network, 80, input, &network.waiting, Some(&network.given_up)).await;
}

#[tokio::test]
async fn while_it_connects() {
    let network = network();
    let input = get("http", "silent.test", 80, "/");
    cancelled(&network, 80, input, &network.waiting, Some(&network.given_up)).await;
}

#[tokio::test]
async fn during_the_handshake() {
    let (server, network) = (WebServer::stalling(Vec::new()).await, network());
    let input = get("https", "api.test", server.port, "/");
    cancelled(&network, server.port, input, &server.seen.waiting, Some(&server.seen.given_up)).await;
}

#[tokio::test]
async fn while_the_body_goes_out() {
    let (server, network) = (WebServer::deaf().await, network());
    let mut input = get("http", "api.test", server.port, "/");
    input["method"] = json!("POST");
    input["body_bytes"] = json!(32 << 20);
    cancelled(&network, server.port, input, &server.seen.waiting, None).await;
}

#[tokio::test]
async fn while_the_answer_is_awaited() {
    let (server, network) = (WebServer::plain().await, network());
    let input = get("http", "api.test", server.port, "/never");
    cancelled(&network, server.port, input, &server.seen.waiting, Some(&server.seen.given_up)).await;
}

#[tokio::test]
async fn while_the_answer_comes_in() {
    for begun in ["HTTP/1.1 200 OK\r\nx: y", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"] {
        let (server, network) = (WebServer::stalling(begun.into()).await, network());
        let input = get("http", "api.test", server.port, "/");
        cancelled(&network, server.port, input, &server.seen.waiting, Some(&server.seen.given_up)).await;
    }
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_ends_with_its_attempt_also_when_the_instance_stays() {
    let (server, network) = (WebServer::plain().await, network());
    let manifest = rule(server.port, "[limits]\nattempts_per_instance = 10");
    let host = home_with(&manifest, &network).start().await;
    for _ in 0..2 {
        let mut input = get("http", "api.test", server.port, "/never");
        input["abandon"] = json!(true);
        let task = host.run("web.raw", &input).await;
        assert_eq!(task["state"], "succeeded", "{task:#}");
        assert_eq!(host.run("web.raw", &get("http", "api.test", server.port, "/")).await["output"][0]["status"], 200);
    }
    timeout(PATIENCE, server.seen.all_given_up()).await.expect("nothing is left of them");
    host.stop().await;
}
