//! The event stream: resumed without a gap or a duplicate.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use super::harness::Api;
use super::stream::Stream;
use crate::store::{Keep, Retention};
use crate::task::{Outcome, Progress};
use crate::time::now;

#[tokio::test]
async fn events_follow_live_and_say_what_changed() {
    let api = Api::new().await;
    let mut stream = Stream::open(&api, "/v1/events", None).await;
    let hello = stream.next().await;
    assert_eq!((hello.name.as_str(), hello.id.as_str()), ("hello", format!("{:08x}-0", api.store.epoch()).as_str()));

    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    api.claim("echo").await;
    let progress = Progress { done: 1, total: Some(4), unit: "frames".to_owned(), message: None };
    let beat = crate::store::Heartbeat {
        id,
        attempt: 1,
        lease_until: now().plus_millis(9_000),
        progress: Some(progress),
        saw_cancel: false,
    };
    api.store.heartbeat(beat, now()).await.unwrap();
    api.finish(id, Outcome::Succeeded { output: "1".to_owned(), outbox: Vec::new() }).await;

    let queued = stream.next().await;
    let expected = json!({
        "seq": 1, "at": queued.data["at"], "type": "task.queued", "task": id.to_string(), "kind": "echo", "queue": "default", "attempt": 0,
        "due_at": queued.data["at"],
    });
    assert_eq!((queued.name.as_str(), queued.data), ("task.queued", expected));
    assert_eq!(stream.next().await.name, "task.started");
    let progress = stream.next().await;
    let expected = json!({"done": 1, "total": 4, "unit": "frames", "percent": 25});
    assert_eq!((progress.name.as_str(), &progress.data["progress"]), ("task.progress", &expected));
    assert_eq!(stream.next().await.name, "task.succeeded");
}

#[tokio::test]
async fn i2_a_client_that_resumes_sees_every_event_once() {
    let api = Api::new().await;
    for _ in 0..3 {
        api.enqueue(r#"{"kind":"echo"}"#).await;
    }
    let from = format!("{:08x}-1", api.store.epoch());
    for (uri, header) in
        [("/v1/events".to_owned(), Some(from.as_str())), (format!("/v1/events?last_event_id={from}"), None)]
    {
        let mut stream = Stream::open(&api, &uri, header).await;
        let before: u64 = stream.next().await.data["seq"].as_u64().unwrap();
        assert_eq!(before, 2);
        api.enqueue(r#"{"kind":"echo"}"#).await;
        let last = api.store.events(u64::MAX, 0).await.unwrap().last;
        for seq in 3..=last {
            assert_eq!(stream.next().await.data["seq"], json!(seq));
        }
    }
}

#[tokio::test]
async fn l15_a_client_that_cannot_go_on_is_told_to_read_again() {
    let api = Api::new().await;
    for _ in 0..5 {
        api.enqueue(r#"{"kind":"echo"}"#).await;
    }
    let epoch = api.store.epoch();
    let retention = Retention::uniform(Keep::ALL, 1);
    api.store.prune(retention, now()).await.unwrap();
    let other = format!("{:08x}-1", epoch.wrapping_add(1));
    let ahead = format!("{epoch:08x}-99");
    let old = format!("{epoch:08x}-1");
    for (last, reason) in [(other, "other-epoch"), (ahead, "other-epoch"), (old, "expired")] {
        let mut stream = Stream::open(&api, "/v1/events", Some(&last)).await;
        let reset = stream.next().await;
        assert_eq!((reset.name.as_str(), &reset.data), ("reset", &json!({"reason": reason})), "{last}");
        let id = api.enqueue(r#"{"kind":"echo"}"#).await;
        assert_eq!(stream.next().await.data["task"], json!(id.to_string()), "and follows from there");
    }
}

#[tokio::test]
async fn l15_a_client_that_takes_its_time_misses_nothing_or_is_told() {
    // More than the host keeps for those who listen, while these two do not.
    const COMMITS: u64 = 1_030;
    let api = Api::new().await;
    let (mut slow, mut slower) =
        (Stream::open(&api, "/v1/events", None).await, Stream::open(&api, "/v1/events", None).await);
    assert_eq!((slow.next().await.name.as_str(), slower.next().await.name.as_str()), ("hello", "hello"));
    for _ in 0..COMMITS {
        api.store.enqueue(vec![crate::task::NewTask::new("echo", "{}")], now()).await.unwrap();
    }
    for seq in 1..=COMMITS {
        let event = slow.next().await;
        assert_eq!((event.name.as_str(), &event.data["seq"]), ("task.queued", &json!(seq)));
    }
    // What the slower one missed is no longer kept either: it is told, and reads on from there.
    while !api.store.events(0, 1).await.unwrap().gap {
        api.store.prune(Retention::uniform(Keep::ALL, 10), now()).await.unwrap();
    }
    let reset = slower.next().await;
    assert_eq!((reset.name.as_str(), &reset.data), ("reset", &json!({"reason": "lagged"})));
    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    assert_eq!(slower.next().await.data["task"], json!(id.to_string()));
}

#[tokio::test]
async fn filters_select_by_task_and_kind() {
    let api = Api::new().await;
    let first = api.enqueue(r#"{"kind":"echo"}"#).await;
    let mut of_task = Stream::open(&api, &format!("/v1/events?task={first}"), None).await;
    let mut of_kind = Stream::open(&api, "/v1/events?kind=video.cut,other", None).await;
    assert_eq!((of_task.names(1).await, of_kind.names(1).await), (vec!["hello".to_owned()], vec!["hello".to_owned()]));
    api.enqueue(r#"{"kind":"echo"}"#).await;
    let cut = api.enqueue(r#"{"kind":"video.cut","input":{"media":"m"}}"#).await;
    api.post(&format!("/v1/tasks/{first}/cancel")).await;
    let seen = of_task.next().await;
    assert_eq!((seen.name.as_str(), &seen.data["task"]), ("task.cancelled", &json!(first.to_string())));
    assert_eq!(of_kind.next().await.data["task"], json!(cut.to_string()));
}

#[tokio::test]
async fn a_stop_ends_every_stream() {
    let api = Api::new().await;
    let mut stream = Stream::open(&api, "/v1/events", None).await;
    assert_eq!(stream.next().await.name, "hello");
    api.state.stop.cancel();
    assert!(stream.block().await.is_none());
    assert_eq!(api.state.limiter.gauge(crate::limiter::Class::Watch).in_use, 0);
}

#[tokio::test]
async fn a_stream_has_what_its_filter_selects() {
    let api = Api::new().await;
    let epoch = api.store.epoch();
    let (slow, fast) = (
        api.enqueue(r#"{"kind":"echo","queue":"slow"}"#).await,
        api.enqueue(r#"{"kind":"echo","queue":"fast"}"#).await,
    );
    api.post(&format!("/v1/tasks/{slow}/cancel")).await;
    api.post(&format!("/v1/tasks/{fast}/cancel")).await;
    let from = format!("{epoch:08x}-0");
    for (query, expected) in [
        ("?queue=slow", vec![1, 3]),
        ("?queue=slow,fast&type=task.cancelled", vec![3, 4]),
        (&format!("?task={fast}"), vec![2, 4]),
        ("?kind=echo&queue=fast", vec![2, 4]),
    ] {
        let mut stream = Stream::open(&api, &format!("/v1/events{query}"), Some(&from)).await;
        for seq in expected {
            let event = stream.next().await;
            assert_eq!(event.id, format!("{epoch:08x}-{seq}"), "{query}: {}", event.data);
        }
    }
    // A task's own stream is the same.
    let request = Request::get(format!("/v1/tasks/{slow}/events")).header("accept", "text/event-stream");
    let request = request.header("last-event-id", &from).header("host", "localhost").body(Body::empty()).unwrap();
    let mut stream = Stream::of(&api, request).await;
    assert_eq!(stream.next().await.data["task"], slow.to_string());
    let last = stream.next().await;
    assert_eq!((last.name.as_str(), &last.data["stopped_by"]), ("task.cancelled", &json!("queue")));
    // A queue as such is among what its name selects, a kind as well.
    for path in ["queues/slow/pause", "queues/slow/resume", "kinds/echo/pause", "kinds/echo/resume"] {
        assert_eq!(api.post(&format!("/v1/{path}")).await.status, StatusCode::OK, "{path}");
    }
    for (query, expected) in [
        ("?queue=slow", vec![(5, "queue.paused"), (6, "queue.resumed")]),
        ("?kind=echo", vec![(7, "kind.paused"), (8, "kind.resumed")]),
        ("?type=queue.resumed,kind.paused", vec![(6, "queue.resumed"), (7, "kind.paused")]),
    ] {
        let mut stream = Stream::open(&api, &format!("/v1/events{query}"), Some(&format!("{epoch:08x}-4"))).await;
        for (seq, name) in expected {
            let event = stream.next().await;
            assert_eq!((event.id, event.name.as_str()), (format!("{epoch:08x}-{seq}"), name), "{query}");
        }
    }
    for query in ["?queue=A", "?type=task.done", "?schedule=", "?media=x", "?kind="] {
        assert_eq!(api.get(&format!("/v1/events{query}")).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}
