//! The host stops: streams end, work is given back, nothing is lost.

use serde_json::json;

use crate::support::{Home, TestHost, attempts};

async fn echo_host(grace_ms: u64) -> TestHost {
    Home::new().built("echo").configure(|config| config.runner.shutdown_grace_ms = grace_ms).start().await
}

#[tokio::test]
async fn i14_l21_an_interrupted_attempt_is_not_counted_and_succeeds_after_the_restart() {
    let host = echo_host(200).await;
    let mut events = host.events().await;
    let id = host.create(&json!({ "kind": "echo", "input": { "sleep_ms": 1_500 }, "max_attempts": 1 })).await;
    events.task(&id, "task.started").await;
    let host = host.restart().await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    assert_eq!((&task["failures"], &task["crashes"]), (&json!(0), &json!(0)));
    let outcomes: Vec<_> = attempts(&task).iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["returned", "succeeded"]);
    host.stop().await;
}

#[tokio::test]
async fn i14_a_guest_that_does_not_listen_is_interrupted_too() {
    let home = Home::new().fixture("spin").configure(|config| config.runner.shutdown_grace_ms = 200);
    let host = home.start().await;
    let mut events = host.events().await;
    let id = host.enqueue("spin", &json!({})).await;
    events.task(&id, "task.started").await;
    let host = host.restart().await;
    let mut events = host.events_of(&format!("?task={id}"), None).await;
    if host.task(&id).await["state"] != "running" {
        events.task(&id, "task.started").await;
    }
    let task = host.task(&id).await;
    assert_eq!(attempts(&task)[0]["outcome"], "returned", "{task:#}");
    host.cancel(&id).await;
    assert_eq!(host.wait_task(&id).await["state"], "cancelled");
    host.stop().await;
}

#[tokio::test]
async fn a_short_attempt_may_end_within_the_grace() {
    let host = echo_host(5_000).await;
    let mut events = host.events().await;
    let id = host.enqueue("echo", &json!({ "sleep_ms": 300 })).await;
    events.task(&id, "task.started").await;
    let host = host.restart().await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn l21_event_streams_and_long_polls_end_with_the_host() {
    let host = echo_host(1_000).await;
    let mut events = host.events().await;
    let id = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 3_600_000 })).await;
    events.task(&id, "task.queued").await;
    let poll = host.request(reqwest::Method::GET, &format!("/v1/tasks/{id}")).header("prefer", "wait=60");
    // `stop` of the harness fails beyond the grace and a second.
    let (home, polled, rest) = tokio::join!(host.stop(), poll.send(), events.drain());
    drop((polled, rest));
    let host = home.start().await;
    assert_eq!(host.task(&id).await["state"], "queued");
    host.stop().await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let host = echo_host(1_000).await;
    let done = host.run("echo", &json!({ "a": 1 })).await;
    let waiting = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 3_600_000 })).await;
    let media = host.upload("a.bin", "some bytes").await;
    let host = host.restart().await;
    assert_eq!(host.task(done["id"].as_str().unwrap()).await, done);
    assert_eq!(host.task(&waiting).await["state"], "queued");
    assert_eq!(host.content(media["id"].as_str().unwrap()).await, b"some bytes");
    host.stop().await;
}

#[tokio::test]
async fn i14_many_guests_that_never_look_up_do_not_delay_the_end() {
    let home = Home::new().fixture("spin").configure(|config| config.runner.shutdown_grace_ms = 300);
    let host = home.start().await;
    let mut events = host.events().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(host.enqueue("spin", &json!({})).await);
    }
    events.task(&ids[19], "task.started").await;
    // `stop` of the harness fails beyond the grace and a second.
    let home = host.stop().await;
    home.plugins().delete("spin");
    let host = home.start().await;
    for id in &ids {
        let task = host.task(id).await;
        assert_eq!(task["state"], "queued", "{task:#}");
        assert_eq!((&task["failures"], &task["crashes"]), (&json!(0), &json!(0)), "{task:#}");
    }
    host.stop().await;
}
