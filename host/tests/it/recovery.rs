//! The real binary is killed: what it had promised is kept.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::binary::{Place, Served};
use crate::support::events::{Events, PATIENCE};
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

/// From the moment before the process starts to the one at which the host has claimed the task again, both by the
/// clock of the machine. Nothing in between waits for a time to pass, so only a machine that is busy with
/// something else makes it longer: of some starts, the quickest one counts.
#[tokio::test]
async fn i4_tasks_of_a_killed_host_run_again_within_a_second_of_its_restart() {
    const STARTS: usize = 6;
    let place = Place::with(&[]).built("echo");
    let mut host = place.start().await;
    let mut took = Vec::new();
    while took.len() < STARTS {
        let mut stream = events(&host).await;
        let id = create(&host, &json!({ "kind": "echo", "input": { "sleep_ms": 600_000 } })).await;
        let seen = stream.task(&id, "task.started").await.id;
        host.kill().await;
        let killed_at = jiff::Timestamp::now();
        host = place.start().await;
        let request = host.client.get(format!("{}/v1/events?task={id}", host.base)).header("last-event-id", seen);
        let mut stream = Events::of(request.send().await.unwrap());
        let requeued = stream.task(&id, "task.retrying").await;
        assert_eq!(requeued.data["error"]["code"], "host-crashed");
        let started = stream.task(&id, "task.started").await;
        assert_eq!(started.data["attempt"], 2);
        let started_at: jiff::Timestamp = started.data["at"].as_str().unwrap().parse().unwrap();
        took.push(Duration::try_from(started_at.duration_since(killed_at)).expect("the clock does not go back"));
        if took.last() < Some(&Duration::from_secs(1)) {
            return host.kill().await;
        }
        host.client.post(format!("{}/v1/tasks/{id}/cancel", host.base)).send().await.unwrap();
        stream.task(&id, "task.cancelled").await;
    }
    panic!("none of {STARTS} starts took less than a second: {took:?}");
}

#[tokio::test]
async fn a_log_whose_task_is_gone_goes_with_the_next_start() {
    let place = Place::with(&["log"]);
    let host = place.start().await;
    let id = create(&host, &json!({ "kind": "log" })).await;
    wait_task(&host.client, &host.base, &id).await;
    host.kill().await;
    let log = |id: &str| place.path("data").join("logs").join(&id[id.len() - 2..]).join(format!("{id}.jsonl"));
    // A crash came between the purge of its task and this file.
    let orphan = log("01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90");
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::copy(log(&id), &orphan).unwrap();
    std::fs::copy(log(&id), orphan.with_extension("new")).unwrap();
    let host = place.start().await;
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let gone = async {
        while orphan.exists() || orphan.with_extension("new").exists() {
            pace.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it goes");
    assert!(log(&id).exists(), "others stay");
    host.kill().await;
}
