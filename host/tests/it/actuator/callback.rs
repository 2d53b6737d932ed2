//! The outside calls back, rightly and wrongly.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{change, endless, home, told, work};
use crate::support::events::PATIENCE;
use crate::support::{TestHost, answer, attempts};

const HOUR_MS: u64 = 3_600_000;

pub(super) async fn call(host: &TestHost, id: &str, token: &str) -> (StatusCode, Value) {
    let request = host.request(Method::POST, &format!("/v1/tasks/{id}/callback"));
    answer(request.bearer_auth(token).body("anything")).await
}

/// The token that an attempt was told, as soon as it was told.
pub(super) async fn token(host: &TestHost, id: &str, attempt: u32) -> String {
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(10));
    let found = async {
        loop {
            pace.tick().await;
            let logs = host.get(&format!("/v1/tasks/{id}/logs?attempt={attempt}")).await;
            let mut messages = logs["lines"].as_array().unwrap().iter().filter_map(|line| line["message"].as_str());
            if let Some(token) = messages.find_map(|message| message.strip_prefix("token ")) {
                return token.to_owned();
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a token in the log")
}

#[tokio::test]
async fn a_callback_is_looked_at_at_once_and_only_with_the_token_of_the_attempt() {
    let host = home().start().await;
    // More than the longest pause that anybody can ask for.
    let id = endless(&host, json!({ "poll_after_ms": 10 * 365 * 24 * HOUR_MS })).await;
    let token = token(&host, &id, 1).await;
    let other = endless(&host, json!({ "poll_after_ms": HOUR_MS })).await;
    for (id, wrong) in [(&id, "1.00"), (&id, ""), (&other, &token)] {
        let (status, problem) = call(&host, id, wrong).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("wrong-token")), "{problem}");
    }
    let (status, _) = call(&host, &id, &token.replacen('1', "2", 1)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a token says its attempt and is signed");

    change(&host, &id, "done").await;
    for _ in 0..2 {
        let (status, _) = call(&host, &id, &token).await;
        assert!(matches!(status, StatusCode::ACCEPTED | StatusCode::CONFLICT), "{status}");
    }
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 1), "{task:#}");
    let (status, problem) = call(&host, &id, &token).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("stale-attempt")), "{problem}");
    assert_eq!(work(&host, &id).await["collects"], 1, "two callbacks, one end");
    assert_eq!(host.task(&other).await["state"], "running");
    host.stop().await;
}

#[tokio::test]
async fn a_callback_may_come_before_the_start_has_answered() {
    let host = home().start().await;
    let id = host.enqueue("outside", &json!({ "start_ms": 1_000, "poll_after_ms": HOUR_MS })).await;
    let token = token(&host, &id, 1).await;
    change(&host, &id, "done").await;
    assert_eq!(call(&host, &id, &token).await.0, StatusCode::ACCEPTED);
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["output"]["found"]["looks"]), (&json!("succeeded"), &json!(1)), "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn l1_the_token_of_an_earlier_attempt_is_refused() {
    let host = home().start().await;
    let input = json!({ "poll_after_ms": 0 });
    let backoff = json!({ "base_ms": 0, "cap_ms": 0 });
    let body = json!({ "kind": "outside", "input": input, "timeout_ms": 500, "max_attempts": 50, "backoff": backoff });
    let id = host.create(&body).await;
    let first = token(&host, &id, 1).await;
    let second = token(&host, &id, 2).await;
    let (status, problem) = call(&host, &id, &first).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("stale-attempt")), "{problem}");
    assert_ne!(first, second);
    host.cancel(&id).await;
    host.wait_task(&id).await;
    host.stop().await;
}

#[tokio::test]
async fn a_token_outlives_the_host_and_a_status_that_always_traps_ends_the_attempt() {
    let host = home().start().await;
    let id = endless(&host, json!({ "trap": "status" })).await;
    let token = token(&host, &id, 1).await;
    let host = host.restart().await;
    // Each makes the host look at once, so that nobody waits for its pauses between looks that fail.
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(250));
    let called = async {
        while call(&host, &id, &token).await.0 == StatusCode::ACCEPTED {
            pace.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, called).await.expect("an end of the attempt");
    host.cancel(&id).await;
    let task = host.wait_task(&id).await;
    let first = &attempts(&task)[0];
    assert_eq!((&first["outcome"], &task["crashes"]), (&json!("crashed"), &json!(1)), "{task:#}");
    assert!(work(&host, &id).await["looks"].as_u64().unwrap() >= 10, "it was looked at again and again");
    assert!(told(&host, &id).await.contains(&"attached".to_owned()));
    host.stop().await;
}
