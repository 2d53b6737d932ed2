//! Tasks that come after others, run by real guests.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{TestHost, list};

/// Creates tasks in one request and answers their ids.
async fn batch(host: &TestHost, tasks: Value) -> Vec<String> {
    let (status, answer) = host.post("/v1/tasks/batch", &json!({ "tasks": tasks })).await;
    assert_eq!(status, StatusCode::CREATED, "{answer:#}");
    list(&answer).iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_chain_runs_in_its_order_and_hands_results_on() {
    let host = TestHost::with(&["ok", "parents"]).await;
    let ids = batch(
        &host,
        json!([
            {"kind": "parents", "ref": "c", "after": ["#b"]},
            {"kind": "ok", "ref": "a", "input": {"n": 1}},
            {"kind": "parents", "ref": "b", "after": ["#a"]},
        ]),
    )
    .await;
    let last = host.wait_task(&ids[0]).await;
    assert_eq!((&last["state"], &last["output"]), (&json!("succeeded"), &json!([[{"n": 1}]])), "{last:#}");
    assert_eq!(last["parents"][0]["id"], ids[2].as_str());
    let ended = |task: &Value| task["ended_at"].as_str().unwrap().to_owned();
    let started = last["attempts"][0]["started_at"].as_str().unwrap().to_owned();
    assert!(ended(&host.task(&ids[2]).await) <= started);
}

#[tokio::test]
async fn a_flow_fans_out_and_in_and_its_results_outlive_a_restart() {
    let host = TestHost::with(&["ok", "wait", "parents"]).await;
    let mut tasks = vec![json!({"kind": "ok", "ref": "root", "input": {"n": 0}})];
    let names: Vec<_> = (1..=20).map(|n| format!("#part-{n}")).collect();
    tasks.extend(
        (1..=20).map(|n| json!({"kind": "ok", "ref": format!("part-{n}"), "after": ["#root"], "input": {"n": n}})),
    );
    tasks.push(json!({"kind": "parents", "after": names}));
    let ids = batch(&host, json!(tasks)).await;
    let sum = host.wait_task(&ids[21]).await;
    let expected: Vec<_> = (1..=20).map(|n| json!({ "n": n })).collect();
    assert_eq!(sum["output"], json!(expected), "in the order of `after`");

    // One that waits for a running task goes on waiting after a restart.
    let busy = host.enqueue("wait", &json!({})).await;
    let after = host.create(&json!({"kind": "parents", "after": [ids[1], busy], "on_parent_failure": "run"})).await;
    let host = host.restart().await;
    assert_eq!(host.task(&after).await["state"], "waiting");
    host.cancel(&busy).await;
    let ended = host.wait_task(&after).await;
    assert_eq!((&ended["state"], &ended["output"]), (&json!("succeeded"), &json!([{"n": 1}, null])), "{ended:#}");
}

#[tokio::test]
async fn each_rule_decides_what_a_failed_parent_means() {
    let host = TestHost::with(&["trap", "ok", "parents"]).await;
    let ids = batch(
        &host,
        json!([
            {"kind": "trap", "ref": "bad", "max_attempts": 1},
            {"kind": "ok", "ref": "fails", "after": ["#bad"]},
            {"kind": "parents", "after": ["#bad"], "on_parent_failure": "run"},
            {"kind": "ok", "after": ["#bad"], "on_parent_failure": "cancel"},
            {"kind": "ok", "after": ["#fails"]},
        ]),
    )
    .await;
    let mut ended = Vec::new();
    for id in &ids {
        ended.push(host.wait_task(id).await);
    }
    let states: Vec<_> = ended.iter().map(|task| task["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "failed", "succeeded", "cancelled", "failed"]);
    assert_eq!(ended[2]["output"], json!([null]));
    assert_eq!(ended[4]["error"]["code"], "parent-failed");
    assert_eq!(ended[4]["error"]["details"]["parent"], ids[1].as_str());
    assert_eq!(ended[1]["attempt"], 0, "it never began");
}

#[tokio::test]
async fn cycles_are_refused_and_nothing_is_created() {
    let host = TestHost::with(&["ok"]).await;
    let tasks = json!([{"kind": "ok", "ref": "x", "after": ["#y"]}, {"kind": "ok", "ref": "y", "after": ["#x"]}]);
    let (status, problem) = host.post("/v1/tasks/batch", &json!({ "tasks": tasks })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["pointer"], "/tasks/0/after");
    assert_eq!(problem["errors"][0]["message"], "a cycle: #x comes after #y comes after #x");
    assert!(list(&host.get("/v1/tasks").await).is_empty());
}
