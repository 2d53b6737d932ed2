//! Media files through their routes.

use std::fmt::Write as _;
use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::json;

use super::harness::{Answer, Api};
use crate::api::Settings;
use crate::limiter::Class;

const SIZE: usize = 200_000;

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// Uploads [`bytes`] as `é "x".mp4` and answers its id.
async fn uploaded(api: &Api) -> String {
    let request = Request::post("/v1/media?name=%C3%A9%20%22x%22.mp4").body(Body::from(bytes())).unwrap();
    let answer = api.send(request).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn content(api: &Api, id: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::get(format!("/v1/media/{id}/content"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    api.send(request.body(Body::empty()).unwrap()).await
}

fn files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[tokio::test]
async fn a_raw_upload_is_listed_read_and_served_whole() {
    let api = Api::new().await;
    let id = uploaded(&api).await;
    let record = api.get(&format!("/v1/media/{id}")).await.json();
    let expected = json!({
        "id": id, "name": "é \"x\".mp4", "content_type": "video/mp4", "size": SIZE, "state": "live",
        "created_at": record["created_at"],
    });
    assert_eq!(record, expected);
    assert_eq!(api.get("/v1/media").await.json(), json!({"media": [record]}));

    let answer = content(&api, &id, &[]).await;
    assert!(answer.status == StatusCode::OK && answer.body == bytes());
    for (name, value) in [
        ("content-length", SIZE.to_string().as_str()),
        ("content-type", "video/mp4"),
        ("accept-ranges", "bytes"),
        ("etag", &format!("\"{id}\"")),
        ("content-disposition", "inline; filename=\"_ _x_.mp4\"; filename*=UTF-8''%C3%A9%20%22x%22.mp4"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox"),
        ("cache-control", "private, no-cache"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let head = api.call(Method::HEAD, &format!("/v1/media/{id}/content")).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), SIZE.to_string());
    let request = Request::head(format!("/v1/media/{id}/content")).header("range", "bytes=0-9");
    let ranged = api.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((ranged.status, ranged.header("content-range")), (StatusCode::OK, ""), "a range is for GET");
    assert_eq!(ranged.header("content-length"), SIZE.to_string());
    assert_eq!(api.state.limiter.gauge(Class::Stream).in_use, 0, "bodies that ended gave their permits back");
}

#[tokio::test]
async fn s5_ranges_and_conditions_are_served() {
    let api = Api::new().await;
    let id = uploaded(&api).await;
    let etag = format!("\"{id}\"");
    for (range, start, end) in
        [("bytes=0-0", 0, 1), ("bytes=65530-131080", 65_530, 131_081), ("bytes=-5", SIZE - 5, SIZE)]
    {
        let answer = content(&api, &id, &[("range", range), ("if-range", &etag)]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{}/{SIZE}", end - 1));
        assert_eq!(answer.header("content-length"), (end - start).to_string());
        assert!(answer.body == bytes()[start..end], "{range}");
    }
    let other = content(&api, &id, &[("range", "bytes=0-0"), ("if-range", "\"other\"")]).await;
    assert_eq!((other.status, other.body.len()), (StatusCode::OK, SIZE));

    let beyond = content(&api, &id, &[("range", "bytes=200000-")]).await;
    beyond.is_problem(
        416,
        r#"{"type":"urn:taskhost:problem:range-not-satisfiable","title":"Range not satisfiable","status":416,"detail":"the range starts beyond the end; the file has 200000 bytes","code":"range-not-satisfiable"}"#,
    );
    assert_eq!(beyond.header("content-range"), "bytes */200000");

    let known = content(&api, &id, &[("if-none-match", &etag)]).await;
    assert_eq!((known.status, known.body.len(), known.header("etag")), (StatusCode::NOT_MODIFIED, 0, etag.as_str()));
    let modified = content(&api, &id, &[]).await.header("last-modified").to_owned();
    let known = content(&api, &id, &[("if-modified-since", &modified)]).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    let failed = content(&api, &id, &[("if-match", "\"other\"")]).await;
    assert_eq!((failed.status.as_u16(), failed.json()["code"].as_str()), (412, Some("precondition-failed")));
}

#[tokio::test]
async fn trash_hides_and_restore_brings_back() {
    let api = Api::new().await;
    let id = uploaded(&api).await;
    let uri = format!("/v1/media/{id}");
    let trashed = api.call(Method::DELETE, &format!("{uri}?grace=60")).await;
    let record = trashed.json();
    assert_eq!((trashed.status, &record["state"]), (StatusCode::OK, &json!("trashed")));
    let instant = |name: &str| record[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(instant("purge_after").as_second() - instant("trashed_at").as_second(), 60);
    assert_eq!(content(&api, &id, &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.get("/v1/media?trashed=false").await.json(), json!({"media": []}));
    assert_eq!(api.get("/v1/media?trashed=true").await.json(), json!({"media": [record]}));

    let restored = api.post(&format!("{uri}/restore")).await;
    assert_eq!((restored.status, &restored.json()["state"]), (StatusCode::OK, &json!("live")));
    assert_eq!(content(&api, &id, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn lists_are_paged_in_order() {
    let api = Api::new().await;
    let ids = [uploaded(&api).await, uploaded(&api).await, uploaded(&api).await];
    let first = api.get("/v1/media?limit=2").await.json();
    let rest = api.get(&format!("/v1/media?limit=2&cursor={}", first["next_cursor"].as_str().unwrap())).await.json();
    let media = first["media"].as_array().unwrap().iter().chain(rest["media"].as_array().unwrap());
    assert_eq!(media.map(|record| record["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    assert_eq!(rest["next_cursor"], json!(null));
    for wrong in ["m1_", "m1_00", "m1_2e2e2f", "t1_00"] {
        let refused = api.get(&format!("/v1/media?cursor={wrong}")).await;
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid-query"))
        );
    }
}

fn form(parts: &[(&str, &str)]) -> Request<Body> {
    let mut body = String::new();
    for (disposition, text) in parts {
        write!(
            body,
            "--X\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: video/webm\r\n\r\n{text}\r\n"
        )
        .unwrap();
    }
    body.push_str("--X--\r\n");
    Request::post("/v1/media").header("content-type", "multipart/form-data; boundary=X").body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn a_form_with_one_file_is_stored() {
    let api = Api::new().await;
    let answer = api.send(form(&[("name=\"file\"; filename=\"a.webm\"", "hello")])).await;
    let record = answer.json();
    assert_eq!((answer.status, &record["size"]), (StatusCode::CREATED, &json!(5)), "{answer:?}");
    assert_eq!((&record["name"], &record["content_type"]), (&json!("a.webm"), &json!("video/webm")));
    let id = record["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/v1/media/{id}"));
    assert_eq!(content(&api, id, &[]).await.text(), "hello");
}

#[tokio::test]
async fn s7_uploads_that_fail_leave_nothing_and_say_why() {
    let api = Api::with(Settings::default()).await;
    let raw = |body: Body| Request::post("/v1/media").body(body).unwrap();
    let file = "name=\"file\"; filename=\"a\"";
    let broken = futures_util::stream::iter([Ok("abc"), Err(std::io::Error::other("gone"))]);
    let cut = "--X\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nabc";
    let cut =
        Request::post("/v1/media").header("content-type", "multipart/form-data; boundary=X").body(Body::from(cut));
    let boundless = Request::post("/v1/media").header("content-type", "multipart/form-data").body(Body::from("x"));
    let large = Request::post("/v1/media").header("content-length", "99999999999999").body(Body::from("x"));
    for (request, status, code, detail) in [
        (raw(Body::empty()), 400, "empty-body", "the file is empty"),
        (raw(Body::from_stream(broken)), 400, "body-incomplete", "after 3 bytes"),
        (large.unwrap(), 413, "media-too-large", "larger than"),
        (form(&[]), 422, "invalid-form", "the form has no part"),
        (form(&[("name=\"video\"", "x")]), 422, "invalid-form", "has a part \\\"video\\\""),
        (form(&[(file, "x"), (file, "y")]), 422, "invalid-form", "more than one part"),
        (form(&[(file, "")]), 400, "empty-body", "the file is empty"),
        (cut.unwrap(), 400, "invalid-form", "the form cannot be read"),
        (boundless.unwrap(), 400, "invalid-form", "boundary"),
    ] {
        let answer = api.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (status, Some(code)), "{answer:?}");
        assert!(answer.text().contains(detail), "{answer:?}");
    }
    assert_eq!(api.get("/v1/media").await.json(), json!({"media": []}));
    assert_eq!(files(&api.dir.path().join("media")), 0);
    assert_eq!(api.state.limiter.gauge(Class::Upload).in_use, 0);
}
