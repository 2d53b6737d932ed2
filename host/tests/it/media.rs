//! The media library over HTTP: in, out, hidden, back, gone.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use taskhost::schedule::{Action, ScheduleSpec};

use crate::support::{Home, TestHost, answer, expect_json, list};

const BYTES: &[u8] = b"0123456789abcdef";

async fn shelf() -> (TestHost, String) {
    let host = Home::new().start().await;
    let media = host.upload("a.bin", BYTES).await;
    let id = media["id"].as_str().unwrap().to_owned();
    (host, id)
}

/// Asks for a content with these headers: status, headers, body.
async fn fetch(host: &TestHost, id: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let request = host.request(Method::GET, &format!("/v1/media/{id}/content"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    (answer.status(), answer.headers().clone(), answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn a_raw_upload_comes_back_as_it_was() {
    let (host, id) = shelf().await;
    let (status, headers, body) = fetch(&host, &id, &[]).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, BYTES));
    assert_eq!(headers["content-length"], "16");
    assert_eq!(headers["accept-ranges"], "bytes");
    let listed = host.get("/v1/media").await;
    assert_eq!((list(&listed)[0]["name"].as_str(), list(&listed)[0]["size"].as_u64()), (Some("a.bin"), Some(16)));
    host.stop().await;
}

#[tokio::test]
async fn a_multipart_upload_keeps_its_name_and_bytes() {
    let host = Home::new().start().await;
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let part =
        reqwest::multipart::Part::bytes(large.clone()).file_name("wörk \"a\".mp4").mime_str("video/mp4").unwrap();
    let form = reqwest::multipart::Form::new().part("file", part);
    let media = expect_json(host.request(Method::POST, "/v1/media").multipart(form).send().await.unwrap()).await;
    assert_eq!(media["name"], "wörk \"a\".mp4", "{media:#}");
    assert!(host.content(media["id"].as_str().unwrap()).await == large, "the same twelve megabytes");
    host.stop().await;
}

#[tokio::test]
async fn s7_an_upload_never_replaces_another_of_the_same_name() {
    let (host, first) = shelf().await;
    let second = host.upload("a.bin", "other").await;
    assert_ne!(second["id"], first.as_str());
    assert_eq!(host.content(&first).await, BYTES);
    host.stop().await;
}

#[tokio::test]
async fn ranges_are_served_exactly() {
    let (host, id) = shelf().await;
    let cases = [
        ("bytes=0-0", "0", "0-0"),
        ("bytes=4-7", "4567", "4-7"),
        ("bytes=10-", "abcdef", "10-15"),
        ("bytes=-3", "def", "13-15"),
        ("bytes=8-999", "89abcdef", "8-15"),
    ];
    for (range, expected, content_range) in cases {
        let (status, headers, body) = fetch(&host, &id, &[("range", range)]).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(body, expected.as_bytes(), "{range}");
        assert_eq!(headers["content-range"], format!("bytes {content_range}/16"), "{range}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_range_beyond_the_end_is_not_satisfiable_and_one_that_is_none_is_ignored() {
    let (host, id) = shelf().await;
    let (status, headers, _) = fetch(&host, &id, &[("range", "bytes=16-")]).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(headers["content-range"], "bytes */16");
    for range in ["lines=1-2", "bytes=x", "bytes=7-4"] {
        let (status, _, body) = fetch(&host, &id, &[("range", range)]).await;
        assert_eq!((status, body.as_slice()), (StatusCode::OK, BYTES), "{range}");
    }
    host.stop().await;
}

#[tokio::test]
async fn s5_validators_are_stable_and_if_range_resumes() {
    let (host, id) = shelf().await;
    let (_, headers, _) = fetch(&host, &id, &[]).await;
    let etag = headers["etag"].to_str().unwrap().to_owned();
    assert!(etag.starts_with('"'), "a strong validator, not {etag}");
    let host = host.restart().await;
    let (_, again, _) = fetch(&host, &id, &[]).await;
    assert_eq!(again["etag"], etag, "the same after a restart");
    let (status, _, body) = fetch(&host, &id, &[("range", "bytes=4-7"), ("if-range", &etag)]).await;
    assert_eq!((status, body.as_slice()), (StatusCode::PARTIAL_CONTENT, &BYTES[4..8]));
    let (status, _, body) = fetch(&host, &id, &[("range", "bytes=4-7"), ("if-range", "\"other\"")]).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, BYTES), "another version is sent whole");
    let (status, _, body) = fetch(&host, &id, &[("if-none-match", &etag)]).await;
    assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
    host.stop().await;
}

#[tokio::test]
async fn head_has_the_headers_and_no_body() {
    let (host, id) = shelf().await;
    let answer = host.request(Method::HEAD, &format!("/v1/media/{id}/content")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-length"], "16");
    assert!(answer.headers().contains_key("etag"));
    assert!(answer.bytes().await.unwrap().is_empty());
    host.stop().await;
}

#[tokio::test]
async fn a_trashed_file_is_hidden_at_once_and_can_be_brought_back() {
    let (host, id) = shelf().await;
    let (status, _) = answer(host.request(Method::DELETE, &format!("/v1/media/{id}?grace=600"))).await;
    assert!(status.is_success(), "{status}");
    let (status, _, _) = fetch(&host, &id, &[]).await;
    assert!(matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE), "{status}");
    assert!(list(&host.get("/v1/media").await).is_empty(), "it is not listed");
    assert_eq!(list(&host.get("/v1/media?trashed=true").await).len(), 1, "it is in the trash");
    let (status, media) = answer(host.request(Method::POST, &format!("/v1/media/{id}/restore"))).await;
    assert!(status.is_success(), "{status} {media:#}");
    assert_eq!(host.content(&id).await, BYTES);
    host.stop().await;
}

#[tokio::test]
async fn v11_a_trashed_file_is_cleared_by_the_ticker_and_the_plugin_even_across_a_restart() {
    let action = Action::Dispatch { plugin: "video-clear".to_owned(), batch: 2, capacity: 3 };
    let clear = ScheduleSpec::every("clear", 500, action);
    let host = Home::new().built("video-clear").configure(|config| config.schedules = vec![clear]).start().await;
    let mut doomed = Vec::new();
    for number in 0..7 {
        let media = host.upload(&format!("{number}.bin"), BYTES).await;
        doomed.push(media["id"].as_str().unwrap().to_owned());
    }
    let kept = host.upload("kept.bin", BYTES).await;
    for id in &doomed {
        let (status, _) = answer(host.request(Method::DELETE, &format!("/v1/media/{id}?grace=0"))).await;
        assert!(status.is_success(), "{status}");
    }
    let host = host.restart().await;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
    let cleared = async {
        loop {
            pace.tick().await;
            let mut left = 0;
            for id in &doomed {
                let (status, _) = answer(host.request(Method::GET, &format!("/v1/media/{id}"))).await;
                left += u32::from(status != StatusCode::NOT_FOUND);
            }
            if left == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(crate::support::events::PATIENCE, cleared).await.expect("the files are purged in time");
    assert_eq!(host.content(kept["id"].as_str().unwrap()).await, BYTES);
    let host = host.restart().await;
    assert_eq!(list(&host.get("/v1/media").await).len(), 1);
    host.stop().await;
}

#[tokio::test]
async fn a_file_within_its_grace_is_not_cleared() {
    let (host, id) = shelf().await;
    let trash = || host.request(Method::DELETE, &format!("/v1/media/{id}?grace=3600"));
    let (_, first) = answer(trash()).await;
    let (status, second) = answer(trash()).await;
    assert!(status.is_success() || status == StatusCode::NOT_FOUND, "{status}");
    if status.is_success() {
        assert_eq!(first["purge_after"], second["purge_after"], "trashing again keeps the first date");
    }
    let (status, _) = answer(host.request(Method::DELETE, &format!("/v1/media/{id}?grace=-1"))).await;
    assert!(status.is_client_error(), "{status}");
    host.stop().await;
}
