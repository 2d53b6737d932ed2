//! The real binary is killed: what it had promised is kept.

use std::os::unix::process::ExitStatusExt;

use serde_json::{Value, json};

use crate::support::binary::{Place, Served};
use crate::support::events::Events;
use crate::support::{attempts, expect_json, wait_task};

async fn create(host: &Served, body: &Value) -> String {
    let answer = host.client.post(format!("{}/v1/tasks", host.base)).json(body).send().await.unwrap();
    expect_json(answer).await["id"].as_str().unwrap().to_owned()
}

async fn events(host: &Served) -> Events {
    Events::of(host.client.get(format!("{}/v1/events", host.base)).send().await.unwrap())
}

#[tokio::test]
async fn i4_l10_leases_of_a_killed_host_are_requeued_at_once() {
    let place = Place::with(&[]).built("echo");
    let host = place.start().await;
    let mut stream = events(&host).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let id = create(&host, &json!({ "kind": "echo", "input": { "sleep_ms": 4_000 } })).await;
        stream.task(&id, "task.started").await;
        ids.push(id);
    }
    host.kill().await;
    let host = place.start().await;
    for id in &ids {
        // The lease would have lasted for thirty seconds; the harness waits, and so does the clock of the record.
        let task = wait_task(&host.client, &host.base, id).await;
        assert_eq!(task["state"], "succeeded", "{task:#}");
        assert_eq!(task["attempt"], 2, "{task:#}");
        assert_eq!(task["crashes"], 1, "{task:#}");
        assert_eq!(attempts(&task)[0]["outcome"], "crashed", "{task:#}");
        assert_eq!(attempts(&task)[1]["outcome"], "succeeded", "{task:#}");
    }
    host.kill().await;
}

#[tokio::test]
async fn i5_a_task_that_runs_whenever_the_host_dies_is_parked_as_poison() {
    let place = Place::with(&[]).built("echo");
    let mut id = None;
    for _ in 0..3 {
        let host = place.start().await;
        let mut stream = events(&host).await;
        let task = if let Some(id) = &id {
            expect_json(host.client.get(format!("{}/v1/tasks/{id}", host.base)).send().await.unwrap()).await
        } else {
            let backoff = json!({ "base_ms": 0, "cap_ms": 0 });
            let body = json!({ "kind": "echo", "input": { "sleep_ms": 600_000 }, "backoff": backoff });
            let new = create(&host, &body).await;
            json!({ "id": id.insert(new), "state": "queued" })
        };
        if task["state"] != "running" {
            stream.task(task["id"].as_str().unwrap(), "task.started").await;
        }
        host.kill().await;
    }
    let host = place.start().await;
    let task = wait_task(&host.client, &host.base, &id.unwrap()).await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("poison")), "{task:#}");
    host.kill().await;
}

#[tokio::test]
async fn c13_a_second_host_on_the_same_directory_is_refused_and_told_by_whom() {
    let place = Place::with(&[]);
    let host = place.start().await;
    let (success, said) = place.spawn().ended().await;
    assert!(!success);
    let expected = format!("another taskhost (pid {}) is using", host.pid());
    assert!(said.contains(&expected), "{expected:?} in {said}");
    assert!(said.contains(&place.path("data").display().to_string()), "{said}");
    host.kill().await;
    place.start().await.kill().await;
}

#[tokio::test]
async fn i14_v16_l21_c16_sigterm_ends_the_host_with_success() {
    let place = Place::with(&[]).built("echo");
    let host = place.start().await;
    let mut stream = events(&host).await;
    let id = create(&host, &json!({ "kind": "echo", "input": { "sleep_ms": 2_000 } })).await;
    stream.task(&id, "task.started").await;
    let status = host.terminate().await;
    assert!(status.success(), "{status}, signal {:?}", status.signal());
    let host = place.start().await;
    let task = wait_task(&host.client, &host.base, &id).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    assert_eq!(task["crashes"], 0, "{task:#}");
    host.kill().await;
}
