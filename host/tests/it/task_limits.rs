//! Limits on tasks, over HTTP, with real guests.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Home, TestHost, list};

async fn add(host: &TestHost, kind: &str, tenant: &str) -> String {
    host.create(&json!({"kind": kind, "input": {}, "attributes": {"tenant": tenant}})).await
}

async fn put(host: &TestHost, name: &str, etag: Option<&str>, body: &Value) -> StatusCode {
    let mut request = host.request(Method::PUT, &format!("/v1/limits/{name}")).json(body);
    if let Some(etag) = etag {
        request = request.header("if-match", etag);
    }
    request.send().await.unwrap().status()
}

async fn limit(host: &TestHost, name: &str) -> Value {
    host.get(&format!("/v1/limits/{name}")).await
}

async fn running(host: &TestHost) -> usize {
    list(&host.get("/v1/tasks?state=running&limit=100").await).len()
}

#[tokio::test]
async fn i6_a_key_is_limited_and_others_pass_and_a_change_is_live() {
    // `wait` sleeps until it is cancelled, `ok` ends at once.
    let host = TestHost::with(&["wait", "ok"]).await;
    let tenant = json!({"key": "attributes.tenant", "concurrency": 2});
    assert_eq!(put(&host, "tenant", None, &tenant).await, StatusCode::CREATED);
    let mut events = host.events().await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(add(&host, "wait", "a").await);
    }
    for _ in 0..2 {
        events.until(|event| event.name == "task.started").await;
    }
    // Those behind the limit hold up nobody.
    let other = add(&host, "ok", "b").await;
    events.task(&other, "task.succeeded").await;
    let seen = limit(&host, "tenant").await;
    assert_eq!((&seen["running"], &seen["held"]), (&json!(2), &json!(3)), "{seen}");
    assert_eq!(running(&host).await, 2);
    // The end of one lets the next begin.
    host.post(&format!("/v1/tasks/{}/cancel", waiting[0]), &json!({})).await;
    // The oldest.
    events.task(&waiting[2], "task.started").await;
    assert_eq!(limit(&host, "tenant").await["running"], 2);
    // More are allowed: they begin without a restart.
    let more = json!({"key": "attributes.tenant", "concurrency": 4});
    assert_eq!(put(&host, "tenant", Some("\"1\""), &more).await, StatusCode::OK);
    for _ in 0..2 {
        events.until(|event| event.name == "task.started").await;
    }
    assert_eq!((limit(&host, "tenant").await["running"].clone(), running(&host).await), (json!(4), 4));
    host.stop().await;
}

#[tokio::test]
async fn a_rate_is_kept_to_and_its_tokens_wake_the_runner() {
    let host = TestHost::with(&["ok"]).await;
    let rate = json!({"rate": {"tasks": 10, "per_ms": 1_000, "burst": 2}});
    assert_eq!(put(&host, "slow", None, &rate).await, StatusCode::CREATED);
    let mut events = host.events().await;
    let started = tokio::time::Instant::now();
    for _ in 0..7 {
        add(&host, "ok", "a").await;
    }
    let mut ended = 0;
    while ended < 7 {
        events.until(|event| event.name == "task.succeeded").await;
        ended += 1;
    }
    assert!(started.elapsed().as_millis() >= 495, "two at once, five more at one every 100 ms");
    host.stop().await;
}

#[tokio::test]
async fn a_paused_queue_waits_over_a_restart_until_it_is_resumed() {
    let host = TestHost::with(&["ok"]).await;
    let (status, paused) = host.post("/v1/queues/slow/pause", &json!({"reason": "moving"})).await;
    assert_eq!((status, &paused["paused"]["reason"]), (StatusCode::OK, &json!("moving")));
    let task = host.create(&json!({"kind": "ok", "input": {}, "queue": "slow"})).await;
    let host = host.restart().await;
    let mut events = host.events().await;
    let other = host.create(&json!({"kind": "ok", "input": {}})).await;
    events.task(&other, "task.succeeded").await;
    let queues = host.get("/v1/queues").await;
    assert_eq!((&queues["queues"][0]["name"], &queues["queues"][0]["queued"]), (&json!("slow"), &json!(1)), "{queues}");
    host.post("/v1/queues/slow/resume", &json!({})).await;
    events.task(&task, "task.succeeded").await;
    host.stop().await;
}

#[tokio::test]
async fn limits_of_the_configuration_are_those_of_the_configuration() {
    let rule = taskhost::limit::Declaration { concurrency: Some(1), ..Default::default() }.check("one").unwrap();
    let home = Home::new().fixture("wait").configure(|config| config.limits = vec![rule]);
    let host = home.start().await;
    let mut events = host.events().await;
    for _ in 0..3 {
        add(&host, "wait", "a").await;
    }
    events.until(|event| event.name == "task.started").await;
    let seen = limit(&host, "one").await;
    assert_eq!((&seen["declared_by"], &seen["running"], &seen["held"]), (&json!("config"), &json!(1), &json!(2)));
    assert_eq!(put(&host, "one", Some("\"1\""), &json!({"concurrency": 2})).await, StatusCode::CONFLICT);
    let home = host.stop().await.configure(|config| config.limits = Vec::new());
    let host = home.start().await;
    assert_eq!(host.get("/v1/limits").await, json!({"limits": []}));
    host.stop().await;
}
