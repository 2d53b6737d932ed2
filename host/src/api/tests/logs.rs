//! A log that is followed while it is written.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use super::harness::Api;
use super::stream::Stream;
use crate::limiter::Class;
use crate::task::{Outcome, TaskId};

async fn running(api: &Api) -> TaskId {
    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    api.claim("echo").await;
    id
}

async fn end(api: &Api, id: TaskId) {
    api.finish(id, Outcome::Succeeded { output: "1".to_owned(), outbox: Vec::new() }).await;
}

#[tokio::test]
async fn a_log_is_followed_line_by_line_until_its_task_has_ended() {
    let api = Api::new().await;
    let id = running(&api).await;
    api.logs.append(id, "before");
    let mut stream = Stream::open(&api, &format!("/v1/tasks/{id}/logs?follow=true"), None).await;
    assert_eq!(api.state.limiter.gauge(Class::Watch).in_use, 1);
    let before = stream.next().await;
    assert_eq!((before.name.as_str(), &before.data["message"]), ("line", &json!("before")));
    let mut ids = vec![before.id];
    for message in ["one", "two"] {
        api.logs.append(id, message);
        let line = stream.next().await;
        assert_eq!(line.data["message"], message);
        ids.push(line.id);
    }
    api.logs.append(id, "last");
    end(&api, id).await;
    assert_eq!(stream.next().await.data["message"], "last");
    let ended = stream.next().await;
    assert_eq!((ended.name.as_str(), &ended.data), ("end", &json!({"state": "succeeded"})));
    assert!(stream.block().await.is_none());
    assert_eq!(api.state.limiter.gauge(Class::Watch).in_use, 0);

    // Whoever was cut off goes on behind the last line that was seen; the header is newer than the address.
    let uri = format!("/v1/tasks/{id}/logs?offset=0");
    let request = Request::get(&uri).header("accept", "text/event-stream").header("last-event-id", &ids[1]);
    let request = request.header("host", "localhost").body(Body::empty()).unwrap();
    let mut again = Stream::of(&api, request).await;
    let seen = [again.next().await, again.next().await, again.next().await];
    assert_eq!([&seen[0].data["message"], &seen[1].data["message"]], ["two", "last"]);
    assert_eq!((&seen[0].id, seen[2].name.as_str(), &seen[2].id), (&ids[2], "end", &ended.id));
    assert!(again.block().await.is_none());
}

#[tokio::test]
async fn i8_c4_a_follower_is_told_what_a_full_log_drops() {
    let api = Api::new().await;
    let id = running(&api).await;
    let message = "x".repeat(30_000);
    while api.logs.append(id, &message) {}
    let mut stream = Stream::open(&api, &format!("/v1/tasks/{id}/logs?follow=true&max_bytes=1"), None).await;
    let mut lines = 0;
    let dropped = loop {
        let block = stream.block().await.unwrap();
        match block.strip_prefix("event: dropped\ndata: ") {
            Some(count) => break count.to_owned(),
            None => lines += 1,
        }
    };
    assert!(lines > 30, "{lines}");
    assert_eq!(dropped, r#"{"lines":1}"#);
    api.logs.append(id, &message);
    assert_eq!(stream.block().await.unwrap(), "event: dropped\ndata: {\"lines\":2}");
    api.logs.append(id, &message);
    end(&api, id).await;
    let last = stream.next().await;
    assert_eq!(last.data["message"], "the log is full: 3 further lines were dropped");
    assert_eq!(stream.next().await.name, "end");
}

#[tokio::test]
async fn a_follower_waits_through_retries_and_goes_with_its_task_or_its_host() {
    let api = Api::new().await;
    let id = running(&api).await;
    let uri = format!("/v1/tasks/{id}/logs?follow=true");
    let mut stream = Stream::open(&api, &uri, None).await;
    let failure = crate::task::Failure::new("busy", "later");
    api.finish(id, Outcome::Retry { failure, after_ms: Some(60_000) }).await;
    api.logs.append(id, "still there");
    assert_eq!(stream.next().await.data["message"], "still there");
    let mut other = Stream::open(&api, &format!("{uri}&attempt=2"), None).await;
    api.post(&format!("/v1/tasks/{id}/cancel")).await;
    for stream in [&mut stream, &mut other] {
        let ended = stream.next().await;
        assert_eq!((ended.name.as_str(), &ended.data["state"]), ("end", &json!("cancelled")));
    }
    let next = api.enqueue(r#"{"kind":"echo"}"#).await;
    let mut stream = Stream::open(&api, &format!("/v1/tasks/{next}/logs?follow=true"), None).await;
    api.state.stop.cancel();
    assert!(stream.block().await.is_none(), "a stop ends it");
}

#[tokio::test]
async fn what_cannot_be_followed_is_told() {
    let api = Api::new().await;
    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    for query in ["follow=1", "follow=", "follow=true&follow=true", "follow=true&offset=-1", "follow=true&attempt=0"] {
        let answer = api.get(&format!("/v1/tasks/{id}/logs?{query}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(answer.json()["code"], "invalid-query", "{query}");
    }
    for wrong in ["x", "-1", "0a1b2c3d-1", "99999999999999999999"] {
        let request = Request::get(format!("/v1/tasks/{id}/logs?follow=true")).header("last-event-id", wrong);
        let answer = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid-header"))
        );
    }
    let none = TaskId::generate();
    assert_eq!(api.get(&format!("/v1/tasks/{none}/logs?follow=true")).await.status, StatusCode::NOT_FOUND);
    // Who accepts a stream and wants none has a page.
    let request = Request::get(format!("/v1/tasks/{id}/logs?follow=false")).header("accept", "text/event-stream");
    assert_eq!(api.send(request.body(Body::empty()).unwrap()).await.json()["eof"], json!(true));
}
