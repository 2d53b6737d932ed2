//! `GET /v1/events`: order, resumption, filters, end.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::events::{Event, Events};
use crate::support::{Home, TestHost};

async fn echo_host() -> TestHost {
    Home::new().built("echo").start().await
}

/// Runs some tasks to their ends and returns their ids.
async fn traffic(host: &TestHost, tasks: u32) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..tasks {
        ids.push(host.enqueue("echo", &json!({ "number": number })).await);
    }
    for id in &ids {
        host.wait_task(id).await;
    }
    ids
}

/// Reads until each of these tasks has ended.
async fn all_ended(events: &mut Events, ids: &[String]) -> Vec<Event> {
    let mut seen: Vec<Event> = Vec::new();
    let mut left: Vec<_> = ids.to_vec();
    while !left.is_empty() {
        let event = events.next().await.expect("the stream goes on");
        if event.name == "task.succeeded" {
            left.retain(|id| id != event.task());
        }
        seen.push(event);
    }
    seen
}

fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().filter(|event| event.name != "reset").map(|event| event.id.as_str()).collect()
}

#[tokio::test]
async fn i2_l8_events_of_a_task_come_once_and_in_the_order_of_their_commits() {
    let host = echo_host().await;
    let mut events = host.events().await;
    let tasks = traffic(&host, 20).await;
    let seen = all_ended(&mut events, &tasks).await;
    for id in &tasks {
        let names: Vec<_> = seen.iter().filter(|event| event.task() == id).map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["task.queued", "task.started", "task.succeeded"]);
    }
    let unique: std::collections::HashSet<_> = ids(&seen).into_iter().collect();
    assert_eq!(unique.len(), seen.len(), "no event twice");
    host.stop().await;
}

#[tokio::test]
async fn i2_c12_a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let host = echo_host().await;
    let mut whole = host.events().await;
    let first = traffic(&host, 10).await;
    let mut all = all_ended(&mut whole, &first).await;
    let second = traffic(&host, 10).await;
    all.extend(all_ended(&mut whole, &second).await);
    for position in [0, 7, all.len() / 2, all.len() - 2] {
        let mut resumed = host.events_of("", Some(&all[position].id)).await;
        let rest = all.len() - position - 1;
        let mut seen = Vec::new();
        for _ in 0..rest {
            seen.push(resumed.next().await.unwrap());
        }
        assert_eq!(ids(&seen), ids(&all[position + 1..]), "after event {position}");
    }
    host.stop().await;
}

#[tokio::test]
async fn i15_events_can_be_resumed_across_a_restart() {
    let host = echo_host().await;
    let mut events = host.events().await;
    let tasks = traffic(&host, 5).await;
    let seen = all_ended(&mut events, &tasks).await;
    let host = host.restart().await;
    let mut resumed = host.events_of("", Some(&seen[2].id)).await;
    for expected in &seen[3..] {
        assert_eq!(resumed.next().await.unwrap().id, expected.id);
    }
    host.stop().await;
}

#[tokio::test]
async fn a_position_in_another_store_is_answered_with_a_reset() {
    let (one, other) = (echo_host().await, echo_host().await);
    let mut events = one.events().await;
    let tasks = traffic(&one, 3).await;
    let seen = all_ended(&mut events, &tasks).await;
    let foreign = &seen.last().unwrap().id;
    let mut resumed = other.events_of("", Some(foreign)).await;
    let first = resumed.next().await.unwrap();
    assert_eq!(first.name, "reset", "{first:?}");
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_client_sees_only_what_it_asked_for() {
    let host = echo_host().await;
    let wanted = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 3_600_000 })).await;
    let mut of_task = host.events_of(&format!("?task={wanted}"), None).await;
    traffic(&host, 3).await;
    host.cancel(&wanted).await;
    let seen = of_task.until(|event| event.name == "task.cancelled").await;
    assert!(seen.iter().all(|event| event.task() == wanted), "{seen:#?}");
    host.stop().await;
}

#[tokio::test]
async fn a_position_that_is_none_is_refused_or_reset() {
    let host = echo_host().await;
    for position in ["nonsense", "-1", "99999999999999999999999"] {
        let request = host.request(reqwest::Method::GET, "/v1/events").header("last-event-id", position);
        let answer = request.send().await.unwrap();
        if answer.status() == StatusCode::OK {
            let first = Events::of(answer).next().await.unwrap();
            assert_eq!(first.name, "reset", "{position}: {first:?}");
        } else {
            assert!(answer.status().is_client_error(), "{position}: {}", answer.status());
        }
    }
    host.stop().await;
}
