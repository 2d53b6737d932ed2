//! The body of every error, whole: codes and texts are part of the interface.

use axum::body::Body;
use axum::http::{Method, Request};

use super::harness::{Answer, Api};
use crate::api::Settings;
use crate::api::problem::Problem;
use crate::limiter::{Class, Limits};
use crate::store::Obstacle;
use crate::task::TaskId;

async fn post(api: &Api, content_type: &str, body: &'static str) -> Answer {
    let request = Request::post("/v1/tasks").header("content-type", content_type);
    api.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let api = Api::with(Settings { max_body_bytes: 64, max_input_bytes: 16, ..Settings::default() }).await;
    post(&api, "application/json", "").await.is_problem(
        400,
        r#"{"type":"urn:taskhost:problem:empty-body","title":"The request cannot be read","status":400,"detail":"the body is empty; a JSON object is expected","code":"empty-body"}"#,
    );
    let nothing = api.post("/v1/tasks").await;
    assert_eq!(nothing.json()["code"], serde_json::json!("empty-body"), "also without a content type");
    post(&api, "application/json; charset=utf-8", "{\"kind\":\n nope}").await.is_problem(
        400,
        r#"{"type":"urn:taskhost:problem:invalid-json","title":"The request cannot be read","status":400,"detail":"the body is not JSON: expected ident at line 2 column 3","code":"invalid-json"}"#,
    );
    post(&api, "text/plain", "{}").await.is_problem(
        415,
        r#"{"type":"urn:taskhost:problem:unsupported-media-type","title":"Content type not supported","status":415,"detail":"the Content-Type is \"text/plain\"; send application/json","code":"unsupported-media-type"}"#,
    );
    let untyped = api.send(Request::post("/v1/tasks").body(Body::from("{}")).unwrap()).await;
    untyped.is_problem(
        415,
        r#"{"type":"urn:taskhost:problem:unsupported-media-type","title":"Content type not supported","status":415,"detail":"there is no Content-Type; send application/json","code":"unsupported-media-type"}"#,
    );
    let too_large = r#"{"type":"urn:taskhost:problem:body-too-large","title":"Too large","status":413,"detail":"the body is larger than 64 bytes","code":"body-too-large"}"#;
    api.post_json("/v1/tasks", "x".repeat(65)).await.is_problem(413, too_large);
    let chunks = futures_util::stream::iter([(); 7].map(|()| Ok::<_, std::io::Error>("0123456789")));
    api.post_json("/v1/tasks", Body::from_stream(chunks)).await.is_problem(413, too_large);
    api.post_json("/v1/tasks", r#"{"kind":"echo","input":"0123456789abcdef"}"#).await.is_problem(
        413,
        r#"{"type":"urn:taskhost:problem:input-too-large","title":"Too large","status":413,"detail":"/input: has 18 bytes; an input has at most 16","code":"input-too-large"}"#,
    );
    let broken = futures_util::stream::iter([Ok("{"), Err(std::io::Error::other("gone"))]);
    api.post_json("/v1/tasks", Body::from_stream(broken)).await.is_problem(
        400,
        r#"{"type":"urn:taskhost:problem:body-incomplete","title":"The request cannot be read","status":400,"detail":"the body ended before it was complete","code":"body-incomplete"}"#,
    );
}

#[tokio::test]
async fn bodies_that_are_not_acceptable() {
    let api = Api::new().await;
    let refuse =
        async |body: &'static str, expected: &str| api.post_json("/v1/tasks", body).await.is_problem(422, expected);
    refuse(
        "[1]",
        r#"{"type":"urn:taskhost:problem:invalid-body","title":"The request is not acceptable","status":422,"detail":"must be a JSON object with text keys","code":"invalid-body","errors":[{"pointer":"","message":"must be a JSON object with text keys"}]}"#,
    )
    .await;
    refuse(
        r#"{"priority":10}"#,
        r#"{"type":"urn:taskhost:problem:invalid-task","title":"The request is not acceptable","status":422,"detail":"2 things are wrong; see errors","code":"invalid-task","errors":[{"pointer":"/kind","message":"is missing; it says what sort of task, such as \"video.cut\""},{"pointer":"/priority","message":"10 is not a whole number from 0 to 9"}]}"#,
    )
    .await;
    refuse(
        r#"{"kind":"nope"}"#,
        r#"{"type":"urn:taskhost:problem:unknown-kind","title":"The request is not acceptable","status":422,"detail":"/kind: no plugin executes the kind \"nope\"; known kinds are in `kinds`","code":"unknown-kind","errors":[{"pointer":"/kind","message":"no plugin executes the kind \"nope\"; known kinds are in `kinds`"}],"kinds":["echo","video.cut"]}"#,
    )
    .await;
    refuse(
        r#"{"kind":"video.cut","input":{"media":5}}"#,
        r#"{"type":"urn:taskhost:problem:invalid-input","title":"The request is not acceptable","status":422,"detail":"/input/media: is not of type \"string\"","code":"invalid-input","errors":[{"pointer":"/input/media","message":"is not of type \"string\""}]}"#,
    )
    .await;
    refuse(
        r#"{"kind":"echo","input":1e999}"#,
        r#"{"type":"urn:taskhost:problem:invalid-input","title":"The request is not acceptable","status":422,"detail":"/input: number out of range at line 1 column 5","code":"invalid-input","errors":[{"pointer":"/input","message":"number out of range at line 1 column 5"}]}"#,
    )
    .await;
    assert!(
        api.store.tasks(crate::store::TaskQuery { limit: 9, ..Default::default() }).await.unwrap().items.is_empty()
    );
}

#[tokio::test]
async fn s14_ids_and_routes_that_name_nothing() {
    let api = Api::new().await;
    let absent = TaskId::from_u128(1);
    let unknown = format!(
        r#"{{"type":"urn:taskhost:problem:task-not-found","title":"Not found","status":404,"detail":"there is no task {absent}; ended tasks are forgotten in time","code":"task-not-found"}}"#
    );
    for (method, tail) in [("GET", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/logs")] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        api.call(method, &format!("/v1/tasks/{absent}{tail}")).await.is_problem(404, &unknown);
    }
    api.get("/v1/tasks/42").await.is_problem(
        400,
        r#"{"type":"urn:taskhost:problem:invalid-id","title":"The request cannot be read","status":400,"detail":"\"42\": a task id is a UUID such as 01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90","code":"invalid-id"}"#,
    );
    api.get("/v1/media/none").await.is_problem(
        404,
        r#"{"type":"urn:taskhost:problem:media-not-found","title":"Not found","status":404,"detail":"there is no such media, or it is trashed","code":"media-not-found"}"#,
    );
    let not_an_id = r#"{"type":"urn:taskhost:problem:invalid-id","title":"The request cannot be read","status":400,"detail":"\"../etc\" is not an id: ids are letters, digits, - and _","code":"invalid-id"}"#;
    for id in ["..%2Fetc", "%2e%2e%2fetc"] {
        api.get(&format!("/v1/tasks/{id}")).await.is_problem(400, not_an_id);
        api.get(&format!("/v1/media/{id}/content")).await.is_problem(400, not_an_id);
        api.call(Method::DELETE, &format!("/v1/media/{id}")).await.is_problem(400, not_an_id);
    }
    for id in ["%00", "a%00b", "%ff", "%2e%2e", "..%5Cx", &"x".repeat(10_240), "%F0%9F%98%80", "."] {
        let answer = api.get(&format!("/v1/media/{id}")).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (400, Some("invalid-id")), "{answer:?}");
        assert!(answer.body.len() < 400 && !answer.text().contains('\0'), "{answer:?}");
    }
    let escape = api.get("/v1/media/../tasks").await;
    escape.is_problem(
        404,
        r#"{"type":"urn:taskhost:problem:unknown-route","title":"Not found","status":404,"detail":"there is nothing at \"/v1/media/../tasks\"","code":"unknown-route"}"#,
    );
    let wrong = api.call(Method::PUT, "/v1/tasks").await;
    wrong.is_problem(
        405,
        r#"{"type":"urn:taskhost:problem:method-not-allowed","title":"Method not allowed","status":405,"detail":"PUT cannot be used on \"/v1/tasks\"; Allow names what can","code":"method-not-allowed"}"#,
    );
    assert_eq!(wrong.header("allow"), "GET,HEAD,POST");
}

#[tokio::test]
async fn queries_that_are_not_acceptable() {
    let api = Api::new().await;
    api.get("/v1/tasks?state=done").await.is_problem(
        422,
        r#"{"type":"urn:taskhost:problem:invalid-query","title":"The request is not acceptable","status":422,"detail":"state: \"done\" is not one of waiting, queued, running, cancelling, succeeded, failed, cancelled","code":"invalid-query","errors":[{"parameter":"state","message":"\"done\" is not one of waiting, queued, running, cancelling, succeeded, failed, cancelled"}]}"#,
    );
    api.get("/v1/media?cursor=t1_00").await.is_problem(
        422,
        r#"{"type":"urn:taskhost:problem:invalid-query","title":"The request is not acceptable","status":422,"detail":"cursor: is not a cursor of this list: use next_cursor as it was given","code":"invalid-query","errors":[{"parameter":"cursor","message":"is not a cursor of this list: use next_cursor as it was given"}]}"#,
    );
    let grace = api.call(Method::DELETE, "/v1/media/x?grace=315360001").await;
    grace.is_problem(
        422,
        r#"{"type":"urn:taskhost:problem:invalid-query","title":"The request is not acceptable","status":422,"detail":"grace: 315360001 is not a whole number from 0 to 315360000","code":"invalid-query","errors":[{"parameter":"grace","message":"315360001 is not a whole number from 0 to 315360000"}]}"#,
    );
    for query in ["limit=0", "limit=1001", "limit=-1", "limit=ten", "kind=A", "cursor=x", "cursor=t1_61", "nope=1"] {
        assert_eq!(api.get(&format!("/v1/tasks?{query}")).await.json()["code"], "invalid-query", "{query}");
    }
    assert_eq!(api.get("/v1/tasks?kind=%ff").await.json()["code"], "invalid-query");
    assert_eq!(api.get("/v1/events?last_event_id=7").await.json()["code"], "invalid-query");
    let header = Request::get("/v1/events").header("last-event-id", "x").body(Body::empty()).unwrap();
    api.send(header).await.is_problem(
        422,
        r#"{"type":"urn:taskhost:problem:invalid-header","title":"The request is not acceptable","status":422,"detail":"Last-Event-ID: is not the id of an event: use an id as it was given","code":"invalid-header","errors":[{"header":"Last-Event-ID","message":"is not the id of an event: use an id as it was given"}]}"#,
    );
}

#[test]
fn each_obstacle_has_a_code_of_its_own() {
    for (obstacle, code) in [
        (Obstacle::TaskLives, "task-live"),
        (Obstacle::TaskNeeded, "task-needed"),
        (Obstacle::ParentLost, "parent-lost"),
        (Obstacle::KeyHeld, "unique-held"),
        (Obstacle::LimitsSettling, "limits-settling"),
        (Obstacle::Declared, "declared-in-config"),
        (Obstacle::Exists, "exists"),
        (Obstacle::NotPurgeable, "not-purgeable"),
        (Obstacle::Unfit, "conflict"),
    ] {
        let problem = Problem::from(obstacle.because("so it stands"));
        assert_eq!((problem.status().as_u16(), problem.code()), (409, code));
    }
}

#[tokio::test]
async fn states_that_do_not_allow_it() {
    let api = Api::new().await;
    let id = api.enqueue(r#"{"kind":"echo"}"#).await;
    let answer = api.post(&format!("/v1/tasks/{id}/retry")).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (409, Some("task-live")));
    assert!(answer.json()["detail"].as_str().unwrap().contains("queued"), "{answer:?}");
    let answer = api.send(Request::delete(format!("/v1/tasks/{id}")).body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (409, Some("task-live")));

    api.store.close().await;
    let closed = api.get(&format!("/v1/tasks/{id}")).await;
    closed.is_problem(
        503,
        r#"{"type":"urn:taskhost:problem:stopping","title":"Not available now","status":503,"detail":"the host is stopping","code":"stopping"}"#,
    );
    assert_eq!(closed.header("retry-after"), "5");
}

#[tokio::test]
async fn s4_a_full_class_is_answered_at_once_with_retry_after() {
    let limits = Limits { max_api_requests: 1, ..Limits::default() };
    let api = Api::with(Settings { limits, ..Settings::default() }).await;
    let held = api.state.limiter.try_acquire(Class::Api);
    let refused = api.get("/v1/tasks").await;
    refused.is_problem(
        429,
        r#"{"type":"urn:taskhost:problem:too-many-requests","title":"Too many requests at the same time","status":429,"detail":"all 1 places for api requests are taken","code":"too-many-requests"}"#,
    );
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(api.get("/healthz").await.status.as_u16(), 200, "health is always answered");
    drop(held);
    assert_eq!(api.get("/v1/tasks").await.status.as_u16(), 200);
    assert_eq!(api.state.limiter.gauge(Class::Api).in_use, 0);
}

#[tokio::test]
async fn s3_a_handler_that_panics_is_answered_and_gives_its_permit_back() {
    let api = Api::new().await;
    api.post_json("/v1/tasks", r#"{"kind":"panic"}"#).await.is_problem(
        500,
        r#"{"type":"urn:taskhost:problem:internal","title":"The host failed","status":500,"detail":"the host could not do it; its log says why","code":"internal"}"#,
    );
    assert_eq!(api.state.limiter.gauge(Class::Api).in_use, 0);
}

#[tokio::test]
async fn s8_c10_requests_from_elsewhere_are_refused() {
    let api = Api::new().await;
    let from = async |name: &str, value: &str, method: Method| {
        let request = Request::builder().method(method).uri("/v1/tasks").header(name, value);
        api.send(request.body(Body::empty()).unwrap()).await
    };
    from("host", "evil.example:7420", Method::GET).await.is_problem(
        421,
        r#"{"type":"urn:taskhost:problem:misdirected","title":"Not for this host","status":421,"detail":"the Host \"evil.example\" is not a name of this host; use localhost or 127.0.0.1, or add the name to the configuration","code":"misdirected"}"#,
    );
    from("host", "", Method::GET).await.is_problem(
        400,
        r#"{"type":"urn:taskhost:problem:invalid-host","title":"The request cannot be read","status":400,"detail":"the request needs one Host header: a name and a port","code":"invalid-host"}"#,
    );
    from("origin", "https://evil.example", Method::POST).await.is_problem(
        403,
        r#"{"type":"urn:taskhost:problem:cross-origin","title":"Cross-origin request refused","status":403,"detail":"the Origin is \"https://evil.example\"; a web page of another origin may not change anything here","code":"cross-origin"}"#,
    );
    from("sec-fetch-site", "cross-site", Method::DELETE).await.is_problem(
        403,
        r#"{"type":"urn:taskhost:problem:cross-origin","title":"Cross-origin request refused","status":403,"detail":"Sec-Fetch-Site is cross-site; a web page of another origin may not change anything here","code":"cross-origin"}"#,
    );
    assert_eq!(from("sec-fetch-site", "cross-site", Method::GET).await.status.as_u16(), 200, "reading changes nothing");
}
