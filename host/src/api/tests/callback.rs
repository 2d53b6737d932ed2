//! Callbacks about work that lives elsewhere.

use axum::body::Body;
use axum::http::{Request, header};

use super::harness::{Answer, Api};
use crate::task::{Outcome, TaskId};
use crate::time::now;

async fn call(api: &Api, task: TaskId, token: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = Request::post(format!("/v1/tasks/{task}/callback"));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    api.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn a_callback_needs_the_token_of_the_attempt_that_works() {
    let api = Api::new().await;
    let id = api.enqueue(r#"{"kind": "echo", "input": {}}"#).await;
    let early = call(&api, id, Some("Bearer 1.right"), "").await;
    assert_eq!(early.status.as_u16(), 409, "no attempt has begun");
    api.claim("echo").await;
    let early = call(&api, id, Some("Bearer 1.right"), "").await;
    assert_eq!(early.status.as_u16(), 202, "the outside may be faster than the answer of `start`");
    api.store.keep_work(id, 1, vec![1], now()).await.unwrap();

    for body in ["", "{\"any\": \"thing\"}", "not JSON"] {
        let answer = call(&api, id, Some("Bearer 1.right"), body).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0), "{answer:?}");
    }
    assert_eq!(call(&api, id, Some("bearer 1.right"), "").await.status.as_u16(), 202);
    for wrong in [None, Some("Bearer 1.wrong"), Some("Bearer"), Some("Basic 1.right"), Some("1.right"), Some("")] {
        let answer = call(&api, id, wrong, "").await;
        assert_eq!(answer.status.as_u16(), 401, "{wrong:?}: {answer:?}");
        assert_eq!(
            (answer.json()["code"].as_str(), answer.header("www-authenticate")),
            (Some("wrong-token"), "Bearer")
        );
    }
    let unknown = call(&api, TaskId::from_u128(7), Some("Bearer 1.right"), "").await;
    assert_eq!((unknown.status.as_u16(), unknown.json()["code"].as_str()), (404, Some("task-not-found")));
    assert_eq!(call(&api, id, Some("Bearer 1.right"), vec![0; (64 << 10) + 1]).await.status.as_u16(), 413);

    let stale = call(&api, id, Some("Bearer 2.right"), "").await;
    assert_eq!((stale.status.as_u16(), stale.json()["code"].as_str()), (409, Some("stale-attempt")));
    let outcome = Outcome::Succeeded { output: "1".to_owned(), outbox: Vec::new() };
    api.finish(id, outcome).await;
    assert_eq!(call(&api, id, Some("Bearer 1.right"), "").await.status.as_u16(), 409, "it has ended");
    assert_eq!(api.get(&format!("/v1/tasks/{id}/callback")).await.status.as_u16(), 405);
}

#[tokio::test]
async fn a_task_shows_its_outside_work() {
    let api = Api::new().await;
    let id = api.enqueue(r#"{"kind": "echo", "input": {}}"#).await;
    let shown = async || api.get(&format!("/v1/tasks/{id}")).await.json()["work"].clone();
    assert!(shown().await.is_null(), "it never had any");
    api.claim("echo").await;
    api.store.keep_work(id, 1, vec![1], now()).await.unwrap();
    let work = shown().await;
    assert_eq!((&work["phase"], &work["attached"]), (&"running".into(), &true.into()), "{work}");
    api.store.begin_export(id, 1, "1".to_owned(), now()).await.unwrap();
    assert_eq!(shown().await["phase"], "exporting");
    api.finish(id, Outcome::Interrupted).await;
    let task = api.get(&format!("/v1/tasks/{id}")).await.json();
    assert_eq!((&task["state"], &task["work"]["attached"]), (&"running".into(), &false.into()), "{task:#}");
    assert!(task["lease_until"].is_null(), "{task:#}");
}
