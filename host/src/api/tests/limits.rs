//! Limits, queues and kinds: declared, seen, changed by who saw them, refused with what is wrong and where.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::harness::{Answer, Api};

async fn send(api: &Api, method: Method, uri: &str, etag: &str, body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    if !etag.is_empty() {
        request = request.header("if-match", etag);
    }
    api.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

const TENANT: &str = r#"{"kinds":["echo"],"key":"attributes.tenant","concurrency":1,
    "rate":{"tasks":10,"per_ms":60000,"burst":5}}"#;

#[tokio::test]
async fn a_limit_is_put_seen_in_use_changed_and_deleted() {
    let api = Api::new().await;
    assert_eq!(api.get("/v1/limits").await.json(), json!({"limits": []}));
    let created = send(&api, Method::PUT, "/v1/limits/tenant", "", TENANT).await;
    assert_eq!((created.status, created.header("etag")), (StatusCode::CREATED, "\"1\""));
    for tenant in ["a", "a", "b"] {
        let body = format!(r#"{{"kind":"echo","input":{{}},"attributes":{{"tenant":"{tenant}"}}}}"#);
        assert_eq!(api.post_json("/v1/tasks", body).await.status, StatusCode::CREATED);
    }
    let (first, second) = (api.claim("echo").await, api.claim("echo").await);
    assert_ne!(first, second);
    let expected = json!({
        "name": "tenant", "kinds": ["echo"], "key": "attributes.tenant", "concurrency": 1,
        "rate": {"tasks": 10, "per_ms": 60_000, "burst": 5}, "declared_by": "client", "running": 2, "held": 1, "values": 2,
        "busiest": [
            {"value": "a", "running": 1, "held": 1, "tokens": 4}, {"value": "b", "running": 1, "held": 0, "tokens": 4},
        ],
    });
    let read = api.get("/v1/limits/tenant").await;
    assert_eq!((read.json(), read.header("etag")), (expected.clone(), "\"1\""));
    assert_eq!(api.get("/v1/limits").await.json(), json!({"limits": [expected]}));

    let all = r#"{"concurrency":7}"#;
    send(&api, Method::PUT, "/v1/limits/tenant", "", all).await.is_problem(
        428,
        r#"{"type":"urn:taskhost:problem:precondition-required","title":"If-Match is missing","status":428,"detail":"send the ETag of the limit that you have seen as If-Match","code":"precondition-required"}"#,
    );
    assert_eq!(send(&api, Method::PUT, "/v1/limits/tenant", "\"9\"", all).await.status.as_u16(), 412);
    assert_eq!(send(&api, Method::PUT, "/v1/limits/none", "\"1\"", all).await.status.as_u16(), 412);
    let put = send(&api, Method::PUT, "/v1/limits/tenant", "\"1\"", all).await;
    assert_eq!((put.status, put.header("etag")), (StatusCode::OK, "\"2\""));
    let expected = json!({"name": "tenant", "concurrency": 7, "declared_by": "client", "running": 2, "held": 0});
    assert_eq!(put.json(), expected);
    assert_eq!(send(&api, Method::DELETE, "/v1/limits/tenant", "\"1\"", "").await.status.as_u16(), 412);
    assert_eq!(send(&api, Method::DELETE, "/v1/limits/tenant", "\"2\"", "").await.status.as_u16(), 204);
    api.get("/v1/limits/tenant").await.is_problem(
        404,
        r#"{"type":"urn:taskhost:problem:limit-not-found","title":"Not found","status":404,"detail":"there is no limit \"tenant\"","code":"limit-not-found"}"#,
    );
}

#[tokio::test]
async fn every_mistake_of_a_limit_is_refused_with_its_place() {
    let api = Api::new().await;
    let refused = async |body: &str| -> Vec<(String, String)> {
        let answer = send(&api, Method::PUT, "/v1/limits/l", "", body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
        let text = |error: &Value, field: &str| error[field].as_str().unwrap().to_owned();
        let errors = answer.json()["errors"].as_array().unwrap().clone();
        errors.iter().map(|error| (text(error, "pointer"), text(error, "message"))).collect()
    };
    let pointers = async |body: &str| -> Vec<String> { refused(body).await.into_iter().map(|(at, _)| at).collect() };
    assert!(refused("{}").await[0].1.starts_with("says nothing: how many at the same time"));
    let types = r#"{"name":"m","queues":"a","kinds":[1],"key":1,"concurrency":-1,"rate":{"task":1},"burst":1}"#;
    assert_eq!(pointers(types).await, ["/name", "/queues", "/kinds", "/key", "/concurrency", "/rate/task", "/burst"]);
    let values = r#"{"queues":[],"kinds":["echo","B"],"key":"tenant","concurrency":0,"rate":{"tasks":0,"per_ms":0}}"#;
    assert_eq!(pointers(values).await, ["/queues", "/kinds/1", "/key", "/concurrency", "/rate/tasks", "/rate/per_ms"]);
    let key = refused(r#"{"key":"input.a","concurrency":1}"#).await;
    assert_eq!(key[0].1, "a key is `attributes.NAME` or a JSON Pointer into the input, such as `/customer/id`");
    assert_eq!(send(&api, Method::PUT, "/v1/limits/A", "", "{}").await.status, StatusCode::BAD_REQUEST);
    for at in 0..64 {
        let put = send(&api, Method::PUT, &format!("/v1/limits/l{at}"), "", r#"{"concurrency":1}"#).await;
        assert_eq!(put.status, StatusCode::CREATED);
    }
    let put = send(&api, Method::PUT, "/v1/limits/one-more", "", r#"{"concurrency":1}"#).await;
    assert_eq!((put.status, put.json()["code"].as_str()), (StatusCode::CONFLICT, Some("too-many-limits")));
}

#[tokio::test]
async fn queues_and_kinds_are_listed_paused_and_resumed() {
    let api = Api::new().await;
    api.enqueue(r#"{"kind":"echo","input":{},"queue":"slow"}"#).await;
    let listed = api.get("/v1/queues").await.json();
    assert_eq!((&listed["queues"][0]["name"], &listed["queues"][0]["queued"]), (&json!("slow"), &json!(1)));
    assert!(listed["queues"][0]["oldest_wait_ms"].is_u64(), "{listed}");
    let paused = api.post_json("/v1/queues/slow/pause", r#"{"reason":"full disk"}"#).await.json();
    assert_eq!((&paused["paused"]["reason"], &paused["queued"]), (&json!("full disk"), &json!(1)));
    let resumed = api.post_json("/v1/queues/slow/resume", Body::empty()).await.json();
    assert_eq!(resumed["paused"], Value::Null);
    let paused = api.post_json("/v1/kinds/echo/pause", Body::empty()).await.json();
    assert_eq!((&paused["name"], &paused["paused"]["reason"]), (&json!("echo"), &json!("asked for")));
    assert_eq!(api.get("/v1/kinds").await.json()["kinds"][0]["paused"]["reason"], "asked for");
    assert_eq!(api.post_json("/v1/kinds/echo/resume", Body::empty()).await.status, StatusCode::OK);
    api.post_json("/v1/queues/A%20b/pause", Body::empty()).await.is_problem(
        400,
        r#"{"type":"urn:taskhost:problem:invalid-id","title":"The request cannot be read","status":400,"detail":"\"A b\" is not a queue: lower-case letters, digits, -, _ and .","code":"invalid-id"}"#,
    );
    let wrong = api.post_json("/v1/kinds/echo/pause", r#"{"reasons":"x"}"#).await;
    assert_eq!((wrong.status.as_u16(), wrong.json()["errors"][0]["pointer"].as_str()), (422, Some("/reasons")));
}
