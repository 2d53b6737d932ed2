//! The crontab of masters and workers: occurrences, logs, kills.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use taskhost::schedule::{Overlap, ScheduleSpec};
use tokio::time::timeout;

use super::{count_home, dispatch, echo_home, enqueue, schedule_until};
use crate::support::binary::{Place, Served};
use crate::support::events::{Events, PATIENCE};
use crate::support::folder::variant;
use crate::support::{answer, expect_json, list, wait_task};

async fn get(host: &Served, path: &str) -> Value {
    expect_json(host.client.get(format!("{}{path}", host.base)).send().await.unwrap()).await
}

async fn post(host: &Served, path: &str, body: &Value) -> Value {
    expect_json(host.client.post(format!("{}{path}", host.base)).json(body).send().await.unwrap()).await
}

/// A guest that logs a line and then spins.
fn talks_and_spins() -> Vec<u8> {
    let call = "(call $log (i32.const 2) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0))";
    variant("log", call, &format!("{call} (loop $spin (br $spin))"))
}

#[tokio::test]
async fn c4_c5_a_log_is_read_while_the_attempt_runs_and_kept_when_it_is_killed() {
    let place = Place::with(&[]);
    place.plugins().put("log", &talks_and_spins(), Some("[limits]\ncpu = \"5m\"\n"));
    let host = place.start().await;
    let id = post(&host, "/v1/tasks", &json!({ "kind": "log" })).await["id"].as_str().unwrap().to_owned();
    let mut interval = tokio::time::interval(Duration::from_millis(10));
    let line = async {
        loop {
            interval.tick().await;
            let logs = get(&host, &format!("/v1/tasks/{id}/logs")).await;
            if let Some(line) = list(&logs).first() {
                return line.clone();
            }
        }
    };
    let line = timeout(PATIENCE, line).await.expect("the line is there while the guest runs");
    assert_eq!((&line["message"], &line["attempt"]), (&json!("log"), &json!(1)), "{line:#}");
    assert_eq!(get(&host, &format!("/v1/tasks/{id}")).await["state"], "running");
    // Not even the death of the host takes it away.
    host.kill().await;
    let host = place.start().await;
    let logs = get(&host, &format!("/v1/tasks/{id}/logs")).await;
    assert_eq!(list(&logs)[0], line);
    post(&host, &format!("/v1/tasks/{id}/cancel"), &Value::Null).await;
    let task = wait_task(&host.client, &host.base, &id).await;
    assert_eq!(task["state"], "cancelled", "{task:#}");
    let logs = get(&host, &format!("/v1/tasks/{id}/logs")).await;
    assert_eq!(list(&logs)[0], line, "and a cancel does not, either");
    host.kill().await;
}

#[tokio::test]
async fn c7_a_cancel_is_done_although_the_host_dies_before_it_is() {
    let place = Place::with(&["spin"]);
    let host = place.start().await;
    let mut events = Events::of(host.client.get(format!("{}/v1/events", host.base)).send().await.unwrap());
    let id = post(&host, "/v1/tasks", &json!({ "kind": "spin" })).await["id"].as_str().unwrap().to_owned();
    events.task(&id, "task.started").await;
    let asked = post(&host, &format!("/v1/tasks/{id}/cancel"), &Value::Null).await;
    assert_eq!(asked["state"], "cancelling", "{asked:#}");
    host.kill().await;
    let host = place.start().await;
    let task = wait_task(&host.client, &host.base, &id).await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("cancelled"), &json!(1)), "{task:#}");
    host.kill().await;
}

#[tokio::test]
async fn c9_a_schedule_that_has_no_next_time_fires_no_more() {
    let twice = ScheduleSpec { max_fires: Some(2), ..ScheduleSpec::every("twice", 100, enqueue("echo", "2")) };
    let beat = ScheduleSpec::every("beat", 100, enqueue("echo", "3"));
    let host = echo_home(4).configure(|config| config.schedules = vec![twice, beat]).start().await;
    let soon = (jiff::Timestamp::now() + Duration::from_millis(1_500)).to_string();
    let once = json!({ "name": "once", "at": [soon], "action": { "type": "enqueue", "kind": "echo", "input": 1 } });
    assert_eq!(host.post("/v1/schedules", &once).await.0.as_u16(), 201);
    schedule_until(&host, "once", |once| once["fired"] == 1).await;
    let beats = host.get("/v1/schedules/beat").await["fired"].as_u64().unwrap();
    schedule_until(&host, "beat", |beat| beat["fired"].as_u64() > Some(beats + 8)).await;
    for (name, fired) in [("once", 1), ("twice", 2)] {
        let schedule = host.get(&format!("/v1/schedules/{name}")).await;
        assert_eq!((&schedule["fired"], &schedule["next_at"]), (&json!(fired), &Value::Null), "{schedule:#}");
    }
    let tasks = host.get("/v1/tasks?limit=1000").await;
    let of = |input: u32| list(&tasks).iter().filter(|task| task["input"] == input).count();
    assert_eq!((of(1), of(2)), (1, 2));
    host.stop().await;
}

#[tokio::test]
async fn c11_deleting_a_schedule_ends_its_firings_and_says_nothing_to_what_runs() {
    let host = echo_home(4).start().await;
    let mut events = host.events().await;
    let action = json!({ "type": "enqueue", "kind": "echo", "input": { "sleep_ms": 1_000 } });
    let body = json!({ "name": "beat", "every_ms": 100, "overlap": "skip", "action": action });
    assert_eq!(host.post("/v1/schedules", &body).await.0.as_u16(), 201);
    let started = events.until(|event| event.name == "task.started").await.pop().unwrap();
    let deletion = host.request(Method::DELETE, "/v1/schedules/beat").header("if-match", "*");
    assert_eq!(answer(deletion).await.0.as_u16(), 204);
    assert_eq!(host.wait_task(started.task()).await["state"], "succeeded", "what runs goes on to its end");
    assert_eq!(list(&host.get("/v1/tasks").await).len(), 1, "nothing follows");
    host.stop().await;
}

#[tokio::test]
async fn c12_changes_of_schedules_are_followed_at_once_one_after_the_other() {
    let host = echo_home(4).start().await;
    for round in 0..5 {
        let action = json!({ "type": "enqueue", "kind": "echo", "input": round });
        let far = json!({ "name": "job", "every_ms": 36_000_000, "action": action });
        assert_eq!(host.post("/v1/schedules", &far).await.0.as_u16(), 201);
        // The ticker sleeps towards something far away; the change reaches it all the same.
        let patch = host.request(Method::PATCH, "/v1/schedules/job").header("if-match", "*");
        let (status, job) = answer(patch.json(&json!({ "every_ms": 100 }))).await;
        assert_eq!(status.as_u16(), 200, "{job:#}");
        schedule_until(&host, "job", |job| job["fired"].as_u64() >= Some(2)).await;
        let deletion = host.request(Method::DELETE, "/v1/schedules/job").header("if-match", "*");
        assert_eq!(answer(deletion).await.0.as_u16(), 204);
        let created = host.get("/v1/tasks?limit=1000").await;
        assert!(list(&created).iter().any(|task| task["input"] == round), "{created:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn c15_a_firing_that_goes_wrong_does_not_keep_the_next_one_out() {
    let spec = |name: &str, input: &str| {
        let every = ScheduleSpec::every(name, 100, enqueue("echo", input));
        ScheduleSpec { overlap: Overlap::Skip, ..every }
    };
    let schedules = vec![spec("fails", r#"{"fail":"fatal"}"#), spec("hangs", r#"{"sleep_ms":600000}"#)];
    let mut host = echo_home(4).configure(|config| config.schedules = schedules).start().await;
    schedule_until(&host, "fails", |fails| fails["fired"].as_u64() >= Some(3)).await;
    for round in 1..=3 {
        // Cancelled, and once more after a restart that gives the attempt back.
        let hangs = schedule_until(&host, "hangs", |hangs| hangs["fired"].as_u64() >= Some(round)).await;
        assert_eq!(hangs["fired"], round, "one at a time: {hangs:#}");
        if round == 2 {
            host = host.restart().await;
        }
        let live = host.get("/v1/tasks?state=queued,running&limit=1000").await;
        let hanging: Vec<_> = list(&live).iter().filter(|task| !task["input"]["sleep_ms"].is_null()).collect();
        assert_eq!(hanging.len(), 1, "{live:#}");
        let id = hanging[0]["id"].as_str().unwrap();
        host.cancel(id).await;
        assert_eq!(host.wait_task(id).await["state"], "cancelled");
    }
    schedule_until(&host, "hangs", |hangs| hangs["fired"].as_u64() >= Some(4)).await;
    host.stop().await;
}

#[tokio::test]
async fn c15_a_pass_that_a_restart_interrupts_is_followed_by_another() {
    let spec = ScheduleSpec::every("count", 100, dispatch("count", 1, 1));
    let home = count_home(spec).built("echo").configure(|config| config.runner.concurrency = 1);
    let host = home.start().await;
    let mut events = host.events().await;
    let blocker = host.create(&json!({ "kind": "echo", "input": { "sleep_ms": 600_000 }, "priority": 9 })).await;
    events.task(&blocker, "task.started").await;
    let held = schedule_until(&host, "count", |count| count["overlapped"].as_u64() >= Some(1)).await;
    let host = host.restart().await;
    host.cancel(&blocker).await;
    schedule_until(&host, "count", |count| count["fired"].as_u64() > held["fired"].as_u64()).await;
    host.stop().await;
}
