//! The light task scheduler: containers, retries, restarts, the cut service.

use std::time::Duration;

use serde_json::json;
use taskhost::task::NewTask;
use tokio::time::{Instant, timeout};

use super::{create_all, echo_host, failing};
use crate::support::binary::{Place, holding};
use crate::support::events::{Events, PATIENCE};
use crate::support::{Home, TestHost, attempts, expect_json, files, video, wait_task};

/// Waits until no process holds a file below `folder`.
async fn let_go(folder: &std::path::Path) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let gone = async {
        while holding(folder).iter().any(|name| name.starts_with("ffmpeg")) {
            pace.tick().await;
        }
    };
    assert!(timeout(Duration::from_secs(10), gone).await.is_ok(), "left: {:?}", holding(folder));
}

#[tokio::test]
async fn l1_l12_l18_an_attempt_that_times_out_takes_its_ffmpeg_and_its_output_with_it() {
    let host = Home::new().built("video-cut").start().await;
    let media = host.upload("heavy.mp4", video::heavy()).await;
    let mut events = host.events().await;
    let input = json!({ "media": media["id"], "start": 0, "end": 59, "accuracy": "exact" });
    let backoff = json!({ "kind": "fixed", "jitter": "none", "base_ms": 1, "cap_ms": 1 });
    let task =
        json!({ "kind": "video.cut", "input": input, "timeout_ms": 1_000, "max_attempts": 3, "backoff": backoff });
    let id = host.create(&task).await;
    for _ in 0..2 {
        events.task(&id, "task.retrying").await;
        events.task(&id, "task.started").await;
        // The one before is gone or dying; there are never three.
        let at_work = holding(&host.data()).iter().filter(|name| name.starts_with("ffmpeg")).count();
        assert!(at_work <= 2, "{at_work}");
    }
    let task = host.wait_task(&id).await;
    let codes: Vec<_> = attempts(&task).iter().map(|one| one["error"]["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["timed-out"; 3], "each attempt ran its own time: {task:#}");
    let_go(&host.data()).await;
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let only_the_source = async {
        while host.files("media").len() != 1 {
            pace.tick().await;
        }
    };
    assert!(timeout(PATIENCE, only_the_source).await.is_ok(), "{:?}", host.files("media"));
    host.stop().await;
}

#[tokio::test]
async fn l6_a_start_with_five_thousand_waiting_tasks_is_quick_and_leaves_none_out() {
    const TASKS: usize = 5_000;
    let host = Home::new().start().await;
    for _ in 0..5 {
        let tasks = (0..TASKS / 5).map(|_| NewTask::new("ok", "{}")).collect();
        host.store().enqueue(tasks, taskhost::time::now()).await.unwrap();
    }
    let home = host.stop().await.fixture("ok");
    let began = Instant::now();
    let host = home.start().await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let ended = async {
        let mut changes = host.store().wakeups();
        loop {
            changes.mark_unchanged();
            let counts = host.store().live_counts().await.unwrap();
            if counts.iter().all(|count| count.queued + count.running == 0) {
                return;
            }
            // The end of a task is no wakeup; an event is.
            let _ = timeout(Duration::from_millis(50), changes.changed()).await;
        }
    };
    timeout(PATIENCE * 2, ended).await.expect("every task ends");
    let mut events = host.events_of("", Some(&first_event(&host))).await;
    let mut succeeded = 0;
    while succeeded < TASKS {
        succeeded += usize::from(events.next().await.unwrap().name == "task.succeeded");
    }
    host.stop().await;
}

/// A position before every event of a host.
fn first_event(host: &TestHost) -> String {
    format!("{:08x}-0", host.store().epoch())
}

#[tokio::test]
async fn l7_a_task_that_is_put_back_runs_whatever_it_was_doing_when_it_was_stopped() {
    let host = echo_host(4).await;
    let mut events = host.events().await;
    let redrive = async |id: &str| {
        let (status, task) = host.post(&format!("/v1/tasks/{id}/retry"), &json!(null)).await;
        assert!(status.is_success(), "{status} {task:#}");
    };
    // It waits.
    let id = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 3_600_000 })).await;
    host.cancel(&id).await;
    redrive(&id).await;
    assert_eq!(host.wait_task(&id).await["state"], "succeeded");
    // It runs.
    let id = host.enqueue("echo", &json!({ "sleep_ms": 400 })).await;
    events.task(&id, "task.started").await;
    host.cancel(&id).await;
    assert_eq!(host.wait_task(&id).await["state"], "cancelled");
    redrive(&id).await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(2)), "{task:#}");
    // It waits for its next attempt.
    let mut task = failing("retry", 3);
    task["backoff"] = json!({ "kind": "fixed", "jitter": "none", "base_ms": 3_600_000, "cap_ms": 3_600_000 });
    let id = host.create(&task).await;
    events.task(&id, "task.retrying").await;
    host.cancel(&id).await;
    assert_eq!(host.wait_task(&id).await["state"], "cancelled");
    redrive(&id).await;
    events.task(&id, "task.retrying").await;
    assert_eq!(host.task(&id).await["attempt"], 2);
    // It is between the queue and its attempt.
    let ids = create_all(&host, &vec![json!({ "kind": "echo", "input": { "sleep_ms": 1 } }); 60]).await;
    let cancels = futures_util::future::join_all(ids.iter().map(|id| host.cancel(id)));
    cancels.await;
    let mut stopped = 0;
    for id in &ids {
        let task = host.wait_task(id).await;
        if task["state"] == "cancelled" {
            stopped += 1;
            redrive(id).await;
        }
    }
    assert!(stopped > 0, "no cancel came in time");
    for id in &ids {
        assert_eq!(host.wait_task(id).await["state"], "succeeded");
    }
    host.stop().await;
}

#[tokio::test]
async fn l9_l10_c16_a_cut_that_a_kill_interrupts_is_done_again_and_leaves_one_output() {
    let place = Place::with(&[]).built("video-cut");
    let host = place.start().await;
    let upload = host.client.post(format!("{}/v1/media?name=heavy.mp4", host.base));
    let media =
        expect_json(upload.header("content-type", "video/mp4").body(video::heavy()).send().await.unwrap()).await;
    let mut events = Events::of(host.client.get(format!("{}/v1/events", host.base)).send().await.unwrap());
    let input = json!({ "media": media["id"], "start": 0, "end": 5, "accuracy": "exact" });
    let body = json!({ "kind": "video.cut", "input": input });
    let task = expect_json(host.client.post(format!("{}/v1/tasks", host.base)).json(&body).send().await.unwrap()).await;
    let id = task["id"].as_str().unwrap().to_owned();
    events.task(&id, "task.progress").await;
    host.kill().await;
    let_go(&place.path("data")).await;
    let host = place.start().await;
    let task = wait_task(&host.client, &host.base, &id).await;
    assert_eq!(
        (&task["state"], &task["attempt"], &task["crashes"]),
        (&json!("succeeded"), &json!(2), &json!(1)),
        "{task:#}"
    );
    assert_eq!(attempts(&task)[0]["error"]["code"], "host-crashed", "{task:#}");
    let stored = files(&place.path("data/media"));
    assert_eq!(stored.len(), 2, "the source and one output: {stored:?}");
    host.kill().await;
}

/// The kill comes when the output is in the library, before or after the guest has kept what it was given.
#[tokio::test]
async fn l9_a_cut_whose_host_dies_right_behind_its_file_leaves_one_output() {
    const ROUNDS: usize = 8;
    let place = Place::with(&[]).built("video-cut");
    let mut host = place.start().await;
    let upload = host.client.post(format!("{}/v1/media?name=a.mp4", host.base));
    let upload = upload.header("content-type", "video/mp4").body(video::clip());
    let media = expect_json(upload.send().await.unwrap()).await;
    for round in 0..ROUNDS {
        let url = format!("{}/v1/events?type=media.added", host.base);
        let mut events = Events::of(host.client.get(url).send().await.unwrap());
        let body = json!({ "kind": "video.cut", "input": { "media": media["id"], "start": 0, "end": 1 } });
        let created = host.client.post(format!("{}/v1/tasks", host.base)).json(&body).send().await.unwrap();
        let id = expect_json(created).await["id"].as_str().unwrap().to_owned();
        let seen = events.until(|event| event.name == "media.added" && event.data["media"] != media["id"]).await;
        let output = seen.last().unwrap().data["media"].clone();
        host.kill().await;
        host = place.start().await;
        let task = wait_task(&host.client, &host.base, &id).await;
        assert_eq!((&task["state"], &task["output"]["media"]), (&json!("succeeded"), &output), "{task:#}");
        let stored = files(&place.path("data/media"));
        assert_eq!(stored.len(), 2 + round, "the source and one output a task: {stored:?}");
    }
    host.kill().await;
}
