//! The real binary is killed: what it had promised is kept.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::binary::{Place, Served};
use crate::support::events::Events;
use crate::support::folder::variant;
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

#[tokio::test]
async fn i4_i15_what_an_attempt_has_reached_outlives_its_host_and_its_plugin() {
    let place = Place::with(&["resume"]);
    let host = place.start().await;
    let mut stream = events(&host).await;
    let id = create(&host, &json!({ "kind": "resume", "input": { "n": 1 } })).await;
    stream.task(&id, "task.progress").await;
    host.kill().await;
    // Another version goes on from the checkpoint of the first.
    place.plugins().put("resume", &variant("resume", "parts", "steps"), None);
    let host = place.start().await;
    let task = wait_task(&host.client, &host.base, &id).await;
    assert_eq!((&task["state"], &task["output"]), (&json!("succeeded"), &json!({ "n": 1 })), "{task:#}");
    let [first, second] = attempts(&task) else { panic!("{task:#}") };
    assert_eq!((&first["outcome"], &second["outcome"]), (&json!("crashed"), &json!("succeeded")), "{task:#}");
    assert_ne!(first["digest"], second["digest"]);
    assert_eq!((&first["log"], &second["log"]["lines"]), (&Value::Null, &json!(0)), "{task:#}");
    // The second attempt has reported nothing, so the word of the first stands.
    let progress = &task["progress"];
    assert_eq!(
        (&progress["attempt"], &progress["percent"], &progress["unit"]),
        (&json!(1), &json!(70), &json!("parts"))
    );
    let get = async |path: &str| {
        expect_json(host.client.get(format!("{}/v1/tasks/{id}/{path}", host.base)).send().await.unwrap()).await
    };
    let logs = get("logs?attempt=1").await;
    assert_eq!(logs["lines"][0]["message"], "resume", "the line of the killed attempt is kept: {logs:#}");
    assert_eq!(get("logs?attempt=2").await["lines"], json!([]));
    let told = get("events").await;
    let types: Vec<_> =
        told["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected =
        ["queued", "started", "progress", "retrying", "started", "succeeded"].map(|name| format!("task.{name}"));
    assert_eq!(types, expected);
    host.kill().await;
}

#[tokio::test]
async fn i4_tasks_of_a_killed_host_run_again_soon_after_its_restart() {
    let place = Place::with(&[]).built("echo");
    let host = place.start().await;
    let mut stream = events(&host).await;
    let id = create(&host, &json!({ "kind": "echo", "input": { "sleep_ms": 600_000 } })).await;
    let seen = stream.task(&id, "task.started").await.id;
    host.kill().await;
    let begin = Instant::now();
    let host = place.start().await;
    let request = host.client.get(format!("{}/v1/events?task={id}", host.base)).header("last-event-id", seen);
    let mut stream = Events::of(request.send().await.unwrap());
    let started = stream.task(&id, "task.started").await;
    assert_eq!(started.data["attempt"], 2);
    // A second on an idle machine (`cargo xtask bench recovery` says); this one may be busy.
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    host.kill().await;
}
