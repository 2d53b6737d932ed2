//! Stopping, forgetting and the history of tasks.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::harness::Api;
use crate::store::{Keep, Retention};
use crate::task::{Failure, Outcome, TaskId};
use crate::time::now;

fn done() -> Outcome {
    Outcome::Succeeded { output: "1".to_owned(), outbox: Vec::new() }
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
}

async fn waiting_cancel(api: &Api, id: TaskId) -> super::harness::Answer {
    let request = Request::post(format!("/v1/tasks/{id}/cancel")).header("prefer", "wait=30");
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_cancel_says_whether_the_task_has_ended() {
    let api = Api::new().await;
    let queued = api.enqueue(r#"{"kind":"echo","delay_ms":60000}"#).await;
    let answer = waiting_cancel(&api, queued).await;
    let task = answer.json();
    assert_eq!((answer.status, &task["state"]), (StatusCode::OK, &json!("cancelled")));
    assert_eq!(task["cancel"]["stopped_by"], "queue");
    assert_eq!(task["cancel"]["acknowledged_at"], task["cancel"]["requested_at"]);

    let running = api.enqueue(r#"{"kind":"echo"}"#).await;
    api.claim("echo").await;
    let answer = api.post(&format!("/v1/tasks/{running}/cancel")).await;
    assert_eq!((answer.status, &answer.json()["state"]), (StatusCode::ACCEPTED, &json!("cancelling")));
    assert!(answer.json()["cancel"]["acknowledged_at"].is_null());
    let listed = api.get("/v1/tasks?state=cancelling").await.json();
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1);
    let ended = async {
        tokio::task::yield_now().await;
        api.finish(running, Outcome::Killed).await
    };
    let (answer, _) = tokio::join!(waiting_cancel(&api, running), ended);
    let task = answer.json();
    assert_eq!((answer.status, &task["cancel"]["stopped_by"]), (StatusCode::OK, &json!("host")), "{task:#}");
    assert_eq!(answer.header("preference-applied"), "wait=30");
    assert_eq!(task["attempts"][0]["outcome"], "killed");
    assert_eq!(api.post(&format!("/v1/tasks/{running}/cancel")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn many_are_cancelled_and_purged_by_filter() {
    let api = Api::new().await;
    let mut made = Vec::new();
    for queue in ["a", "a", "b"] {
        let body = format!(r#"{{"kind":"echo","queue":"{queue}","attributes":{{"tenant":"t"}}}}"#);
        let task = api.post_json("/v1/tasks", body).await.json();
        made.push(task["id"].as_str().unwrap().to_owned());
    }
    let first =
        api.post_json("/v1/tasks/cancel", r#"{"queue":"a","attributes":{"tenant":"t"},"limit":1}"#).await.json();
    assert_eq!((ids(&first["cancelled"]), ids(&first["cancelling"])), (vec![made[0].as_str()], vec![]));
    let next = format!(r#"{{"queue":"a","cursor":{}}}"#, first["next_cursor"]);
    let rest = api.post_json("/v1/tasks/cancel", next).await.json();
    assert_eq!((ids(&rest["cancelled"]), &rest["next_cursor"]), (vec![made[1].as_str()], &Value::Null));
    api.logs.append(made[0].parse().unwrap(), "a line");

    let live = api.call(Method::DELETE, &format!("/v1/tasks/{}", made[2])).await;
    assert_eq!(live.status, StatusCode::CONFLICT);
    assert!(live.json()["detail"].as_str().unwrap().contains("is queued"), "{live:?}");
    let uri = format!("/v1/tasks/{}", made[0]);
    assert_eq!(api.call(Method::DELETE, &uri).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.call(Method::DELETE, &uri).await.status, StatusCode::NOT_FOUND);
    let logs = api.dir.path().join("logs");
    let left = std::fs::read_dir(logs).unwrap().flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap()).count();
    assert_eq!(left, 0, "its log is gone, too");
    let none = api.post_json("/v1/tasks/purge", r#"{"states":["cancelled"],"older_than_ms":3600000}"#).await.json();
    assert_eq!(ids(&none["purged"]), Vec::<&str>::new());
    let purged = api.post_json("/v1/tasks/purge", r#"{"states":["cancelled"],"kind":"echo"}"#).await.json();
    assert_eq!(ids(&purged["purged"]), [made[1].as_str()]);
    assert_eq!(api.get("/v1/tasks").await.json()["tasks"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_filter_that_is_wrong_changes_nothing() {
    let api = Api::new().await;
    api.enqueue(r#"{"kind":"echo"}"#).await;
    for (uri, body, expected) in [
        ("cancel", "{}", "nothing is selected"),
        ("cancel", r#"{"states":["failed"]}"#, r#"\"failed\" is not one of waiting, queued, running, cancelling"#),
        ("cancel", r#"{"state":"queued"}"#, "unknown field"),
        ("cancel", r#"{"older_than_ms":1,"kind":"echo"}"#, "unknown field"),
        ("purge", r#"{"states":["queued"]}"#, "is not one of succeeded, failed, cancelled"),
        ("purge", r#"{"kind":"Echo"}"#, "names no kind"),
        ("purge", r#"{"older_than_ms":-1}"#, "is not a whole number"),
        ("purge", r#"{"older_than_ms":1,"ended_before":"2020-01-01T00:00:00Z"}"#, "give one of them"),
        ("purge", r#"{"kind":"echo","cursor":"c1_00"}"#, "is not a cursor of this list"),
        ("purge", r#"{"kind":"echo","limit":1001}"#, "from 1 to 1000"),
    ] {
        let answer = api.post_json(&format!("/v1/tasks/{uri}"), body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {answer:?}");
        assert!(answer.text().contains(expected), "{body}: {answer:?}");
    }
    assert_eq!(api.get("/v1/tasks?state=queued").await.json()["tasks"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_attempts_of_a_task_are_listed_with_the_one_that_runs() {
    let api = Api::new().await;
    let id = api.enqueue(r#"{"kind":"echo","backoff":{"base_ms":0,"cap_ms":0}}"#).await;
    api.claim("echo").await;
    api.finish(id, Outcome::Retry { failure: Failure::new("busy", "m"), after_ms: Some(0) }).await;
    api.claim("echo").await;
    let uri = format!("/v1/tasks/{id}/attempts");
    let list = api.get(&uri).await.json();
    let [first, second] = &list["attempts"].as_array().unwrap()[..] else { panic!("{list:#}") };
    assert_eq!(
        (&first["number"], &first["outcome"], &first["error"]["code"]),
        (&json!(1), &json!("failed"), &json!("busy"))
    );
    assert!(first["duration_ms"].is_u64() && first["log"].is_null(), "{first:#}");
    assert_eq!(
        (&second["number"], &second["outcome"], &second["ended_at"]),
        (&json!(2), &json!("running"), &Value::Null)
    );
    assert_eq!(list["forgotten"], 0);
    let missing = format!("/v1/tasks/{}/attempts", TaskId::from_u128(1));
    assert_eq!(api.get(&missing).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_events_of_a_task_are_listed_from_its_first_to_its_last() {
    let api = Api::new().await;
    api.enqueue(r#"{"kind":"echo","delay_ms":60000}"#).await;
    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    api.claim("echo").await;
    api.enqueue(r#"{"kind":"echo","delay_ms":60000}"#).await;
    api.finish(id, done()).await;
    api.enqueue(r#"{"kind":"echo","delay_ms":60000}"#).await;
    let uri = format!("/v1/tasks/{id}/events");
    let list = api.get(&uri).await.json();
    let types: Vec<_> = list["events"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(types, ["task.queued", "task.started", "task.succeeded"]);
    let epoch = format!("{:08x}", api.store.epoch());
    assert_eq!(list["last_event_id"], format!("{epoch}-5"), "what comes later is not looked at");
    assert_eq!((&list["more"], &list["truncated"]), (&json!(false), &json!(false)));

    let page = api.get(&format!("{uri}?limit=1")).await.json();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["more"]), (1, &json!(true)));
    let rest = api.get(&format!("{uri}?last_event_id={}", page["last_event_id"].as_str().unwrap())).await.json();
    assert_eq!(rest["events"][0]["type"], "task.started");
    let other = api.get(&format!("{uri}?last_event_id=00000000-1")).await;
    assert_eq!((other.status, &other.json()["code"]), (StatusCode::GONE, &json!("events-reset")));

    api.store.prune(Retention::uniform(Keep::ALL, 1), now()).await.unwrap();
    let list = api.get(&uri).await.json();
    assert_eq!((list["events"].as_array().unwrap().len(), &list["truncated"]), (0, &json!(true)), "{list:#}");
    let old = api.get(&format!("{uri}?last_event_id={epoch}-1")).await;
    assert_eq!(old.status, StatusCode::GONE, "{old:?}");
}
