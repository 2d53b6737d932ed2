//! Permits at the door: what is beyond them is told to come back, and they are given back.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use crate::support::events::PATIENCE;
use crate::support::{Home, TestHost, list};

/// Too much for the buffers between host and client, so that a reader who pauses holds its permit.
const LARGE: usize = 32 << 20;

async fn host_with_two_streams() -> (TestHost, String) {
    let host = Home::new().configure(|config| config.server.max_streams = 2).start().await;
    let media = host.upload("a.bin", vec![5_u8; LARGE]).await;
    let id = media["id"].as_str().unwrap().to_owned();
    (host, id)
}

async fn open(host: &TestHost, id: &str) -> Response {
    host.request(Method::GET, &format!("/v1/media/{id}/content")).send().await.unwrap()
}

/// Asks until there is a permit: a client that left is noticed a moment later.
async fn permitted(host: &TestHost, id: &str) -> Response {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let found = async {
        loop {
            pace.tick().await;
            let answer = open(host, id).await;
            if answer.status() == StatusCode::OK {
                return answer;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("a permit comes free")
}

#[tokio::test]
async fn s1_streams_beyond_the_limit_are_told_when_to_come_back() {
    let (host, id) = host_with_two_streams().await;
    let held = [open(&host, &id).await, open(&host, &id).await];
    let refused = open(&host, &id).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(refused.text().await.unwrap().contains("\"code\""));
    // What is no stream is served.
    host.get("/v1/tasks").await;
    drop(held);
    host.stop().await;
}

#[tokio::test]
async fn s3_a_permit_is_free_again_when_the_body_ends() {
    let (host, id) = host_with_two_streams().await;
    for _ in 0..5 {
        let (one, other) = (permitted(&host, &id).await, permitted(&host, &id).await);
        let (one, other) = tokio::join!(one.bytes(), other.bytes());
        assert_eq!((one.unwrap().len(), other.unwrap().len()), (LARGE, LARGE));
    }
    host.stop().await;
}

#[tokio::test]
async fn s3_a_permit_is_free_again_when_the_client_leaves() {
    let (host, id) = host_with_two_streams().await;
    for _ in 0..5 {
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut body = permitted(&host, &id).await.bytes_stream();
            body.next().await.unwrap().unwrap();
            held.push(body);
        }
        assert_eq!(open(&host, &id).await.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    host.stop().await;
}

#[tokio::test]
async fn event_clients_beyond_the_limit_are_refused_and_their_permits_come_back() {
    let host = Home::new().configure(|config| config.server.max_event_clients = 1).start().await;
    for _ in 0..3 {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let open = async {
            loop {
                pace.tick().await;
                let answer = host.request(Method::GET, "/v1/events").send().await.unwrap();
                if answer.status() == StatusCode::OK {
                    return answer;
                }
                assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            }
        };
        let held = timeout(PATIENCE, open).await.expect("a permit comes free");
        let refused = host.request(Method::GET, "/v1/events").send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        drop(held);
    }
    host.stop().await;
}

#[tokio::test]
async fn i6_c14_never_more_attempts_run_than_there_are_permits() {
    let host = Home::new().built("echo").configure(|config| config.runner.concurrency = 3).start().await;
    let mut events = host.events().await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(host.enqueue("echo", &json!({ "sleep_ms": 600_000 })).await);
    }
    for running in [&ids[0], &ids[1], &ids[2]] {
        events.task(running, "task.started").await;
    }
    assert_eq!(list(&host.get("/v1/tasks?state=running").await).len(), 3, "all permits are used, and no more");
    assert_eq!(list(&host.get("/v1/tasks?state=queued").await).len(), 3);
    host.cancel(&ids[1]).await;
    let between = events.until(|event| event.name == "task.started" && event.task() == ids[3]).await;
    let ended = between.iter().any(|event| event.name == "task.cancelled" && event.task() == ids[1]);
    assert!(ended, "a permit comes free with the end of an attempt, not before: {between:#?}");
    assert_eq!(list(&host.get("/v1/tasks?state=running").await).len(), 3);
    for id in &ids {
        host.cancel(id).await;
    }
    host.stop().await;
}

/// An end and the claim after it may be one commit, but never in the wrong order.
#[tokio::test]
async fn i6_the_store_never_has_more_leases_than_there_are_permits() {
    let host = Home::new().built("echo").configure(|config| config.runner.concurrency = 3).start().await;
    let tasks = vec![json!({ "kind": "echo" }); 200];
    let (_, created) = host.post("/v1/tasks/batch", &json!({ "tasks": tasks })).await;
    for task in list(&created) {
        assert_eq!(host.wait_task(task["id"].as_str().unwrap()).await["state"], "succeeded");
    }
    let told = host.store().events(0, 4_096).await.unwrap().events;
    let changes = told.iter().filter_map(|event| match event.change.name() {
        "task.started" => Some(1_i32),
        "task.succeeded" => Some(-1),
        _ => None,
    });
    let leases: Vec<i32> = changes
        .scan(0, |leases, change| {
            Some({
                *leases += change;
                *leases
            })
        })
        .collect();
    assert_eq!((leases.len(), leases.last(), leases.iter().max()), (400, Some(&0), Some(&3)));
    host.stop().await;
}

#[tokio::test]
async fn s4_uploads_beyond_the_limit_are_refused_while_streams_go_on() {
    let host = Home::new().configure(|config| config.server.max_uploads = 1).start().await;
    let media = host.upload("a.bin", "some bytes").await;
    let (more, chunks) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let chunks = tokio_stream::wrappers::ReceiverStream::new(chunks);
    let slow = host.request(Method::POST, "/v1/media?name=b.bin").body(reqwest::Body::wrap_stream(chunks));
    let others = async {
        more.send(Ok(vec![7; 1_000])).await.unwrap();
        // Its temporary file shows that the upload has its permit.
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while host.files("media/tmp").is_empty() {
            pace.tick().await;
        }
        let refused = host.request(Method::POST, "/v1/media?name=c.bin").body("x").send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(host.content(media["id"].as_str().unwrap()).await, b"some bytes");
        drop(more);
    };
    let (uploaded, ()) = tokio::join!(slow.send(), others);
    assert_eq!(uploaded.unwrap().status(), StatusCode::CREATED);
    host.upload("d.bin", "x").await;
    host.stop().await;
}
