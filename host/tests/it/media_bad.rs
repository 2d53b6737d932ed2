//! Files that are not what they say, ids that are none, uploads that break off: nothing is left behind.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::events::PATIENCE;
use crate::support::{Home, TestHost, answer, expect_json, list};

/// Files of the library, whole and half.
fn stored(host: &TestHost) -> Vec<PathBuf> {
    host.files("media")
}

/// Waits until the library holds so many files: a client that left is noticed a moment later.
async fn settle(host: &TestHost, expected: usize) {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let settled = async {
        while stored(host).len() != expected {
            pace.tick().await;
        }
    };
    assert!(timeout(PATIENCE, settled).await.is_ok(), "{expected} are awaited: {:?}", stored(host));
}

async fn cut_of(host: &TestHost, name: &str, bytes: &str) -> Value {
    let media = host.upload(name, bytes.to_owned()).await;
    let before = stored(host);
    let input = json!({ "media": media["id"], "start": 0, "end": 1, "accuracy": "exact" });
    let task = host.run("video.cut", &input).await;
    assert_eq!(task["state"], "failed", "{task:#}");
    assert!(task["error"]["message"].as_str().unwrap().len() > 10, "says what is wrong: {task:#}");
    assert_eq!(stored(host), before, "nothing is left behind");
    task
}

#[tokio::test]
async fn text_named_mp4_fails_with_a_clear_error() {
    let host = Home::new().built("video-cut").start().await;
    let task = cut_of(&host, "essay.mp4", "This is an essay, not a film.\n").await;
    assert_eq!(task["attempts"].as_array().unwrap().len(), 1, "trying again would not help: {task:#}");
    host.stop().await;
}

#[tokio::test]
async fn l18_a_playlist_named_mp4_cannot_reach_files() {
    let host = Home::new().built("video-cut").start().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), crate::support::video::clip()).unwrap();
    for uri in [secret.path().display().to_string(), format!("file://{}", secret.path().display())] {
        let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6.0,\n{uri}\n#EXT-X-ENDLIST\n");
        cut_of(&host, "list.mp4", &playlist).await;
    }
    let concat = format!("ffconcat version 1.0\nfile '{}'\n", secret.path().display());
    cut_of(&host, "concat.mp4", &concat).await;
    host.stop().await;
}

#[tokio::test]
async fn s12_l18_a_playlist_named_mp4_cannot_reach_the_network() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = Home::new().built("video-cut").start().await;
    let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6.0,\nhttp://{address}/x.ts\n#EXT-X-ENDLIST\n");
    tokio::select! {
        _ = cut_of(&host, "list.mp4", &playlist) => {}
        _ = listener.accept() => panic!("ffmpeg followed a URL in an uploaded file"),
    }
    host.stop().await;
}

#[tokio::test]
async fn s14_l19_ids_that_are_paths_are_not_found_or_refused() {
    let host = Home::new().built("video-cut").start().await;
    let long = "a".repeat(10_000);
    let ids = ["..%2F..%2Fetc%2Fpasswd", "%2e%2e", "%2e%2e%2f%2e%2e%2fx", "a%00b", "%ff", "..%5C..%5Cx", "%20", &long];
    for id in ids {
        for (method, path) in [
            (Method::GET, format!("/v1/media/{id}/content")),
            (Method::HEAD, format!("/v1/media/{id}/content")),
            (Method::DELETE, format!("/v1/media/{id}")),
            (Method::POST, format!("/v1/media/{id}/restore")),
            (Method::GET, format!("/v1/tasks/{id}")),
            (Method::GET, format!("/v1/tasks/{id}/logs")),
        ] {
            let head: String = path.chars().take(60).collect();
            let (status, _) = answer(host.request(method.clone(), &path)).await;
            assert!(status.is_client_error(), "{method} {head}: {status}");
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn l19_raw_paths_with_dots_do_not_leave_the_library() {
    let host = Home::new().start().await;
    let address = host.base().trim_start_matches("http://").to_owned();
    for path in [
        "/v1/media/../../../../etc/passwd",
        "/v1/media/../etc/passwd/content",
        "/../../etc/passwd",
        "/v1/media/\0/content",
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(text.starts_with("HTTP/1.1 40") && !text.contains("root:"), "{path:?}: {text}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_task_with_a_path_as_its_media_fails_and_says_so() {
    let host = Home::new().built("video-cut").start().await;
    for media in ["../../etc/passwd", "/etc/passwd", "http://127.0.0.1/", "a\0b", "", "concat:a|b"] {
        let input = json!({ "media": media, "start": 0, "end": 1, "accuracy": "exact" });
        let (status, body) = host.post("/v1/tasks", &json!({ "kind": "video.cut", "input": input })).await;
        if status.is_success() {
            let task = host.wait_task(body["id"].as_str().unwrap()).await;
            assert_eq!(task["state"], "failed", "{task:#}");
        } else {
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body:#}");
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn i8_s7_an_upload_beyond_the_limit_is_refused_declared_or_not() {
    let host = Home::new().configure(|config| config.media.max_upload_bytes = 100_000).start().await;
    let declared = host.request(Method::POST, "/v1/media?name=a.bin").body(vec![7_u8; 100_001]);
    // A host that refuses before it has read everything may reset the connection that still sends.
    if let Ok(answer) = declared.send().await {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    let chunks = futures_util::stream::iter((0..200).map(|_| Ok::<_, std::io::Error>(vec![7_u8; 1_000])));
    let undeclared = host.request(Method::POST, "/v1/media?name=a.bin").body(Body::wrap_stream(chunks));
    if let Ok(answer) = undeclared.send().await {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/problem+json"));
    }
    settle(&host, 0).await;
    let exact = host.request(Method::POST, "/v1/media?name=a.bin").body(vec![7_u8; 100_000]);
    expect_json(exact.send().await.unwrap()).await;
    assert_eq!(list(&host.get("/v1/media").await).len(), 1);
    host.stop().await;
}

#[tokio::test]
async fn s7_an_upload_that_breaks_off_leaves_nothing() {
    let host = Home::new().start().await;
    let address = host.base().trim_start_matches("http://").to_owned();
    for head in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!(
            "POST /v1/media?name=a.mp4 HTTP/1.1\r\nhost: localhost\r\ncontent-type: video/mp4\r\n{head}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(b"4000\r\n").await.unwrap();
        stream.write_all(&[7; 0x4000]).await.unwrap();
        stream.flush().await.unwrap();
        settle(&host, 1).await;
        drop(stream);
        settle(&host, 0).await;
    }
    assert!(list(&host.get("/v1/media").await).is_empty());
    host.stop().await;
}

#[tokio::test]
async fn a_full_disk_refuses_the_upload_and_leaves_nothing() {
    let host = Home::new().configure(|config| config.media.min_free_bytes = 1 << 50).start().await;
    let request = host.request(Method::POST, "/v1/media?name=a.bin").body(vec![7_u8; 10_000]);
    let (status, problem) = answer(request).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{problem:#}");
    assert!(problem["code"].is_string(), "{problem:#}");
    settle(&host, 0).await;
    host.stop().await;
}

#[tokio::test]
async fn a_multipart_body_without_a_file_is_refused() {
    let host = Home::new().start().await;
    let form = reqwest::multipart::Form::new().text("note", "no file here");
    let (status, problem) = answer(host.request(Method::POST, "/v1/media").multipart(form)).await;
    assert!(status.is_client_error(), "{status} {problem:#}");
    let broken = host.request(Method::POST, "/v1/media").header("content-type", "multipart/form-data; boundary=x");
    let (status, problem) = answer(broken.body("--x\r\nnonsense")).await;
    assert!(status.is_client_error(), "{status} {problem:#}");
    settle(&host, 0).await;
    host.stop().await;
}

#[tokio::test]
async fn a_reader_of_a_file_that_is_trashed_meanwhile_reads_it_to_its_end() {
    let host = Home::new().start().await;
    let bytes = vec![9_u8; 8 << 20];
    let media = host.upload("a.bin", bytes.clone()).await;
    let id = media["id"].as_str().unwrap();
    let answer = host.request(Method::GET, &format!("/v1/media/{id}/content")).send().await.unwrap();
    let mut body = answer.bytes_stream();
    let mut read = body.next().await.unwrap().unwrap().len();
    host.request(Method::DELETE, &format!("/v1/media/{id}?grace=0")).send().await.unwrap();
    while let Some(chunk) = body.next().await {
        read += chunk.unwrap().len();
    }
    assert_eq!(read, bytes.len());
    host.stop().await;
}
