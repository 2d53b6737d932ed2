//! The stream server, its limiter, and the pages.

use std::time::Duration;

use reqwest::{Body, Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::Home;
use crate::support::binary::Place;
use crate::support::events::PATIENCE;

/// A line of `/proc/PID/status`, in bytes.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn s6_an_upload_does_not_pass_through_the_memory() {
    const CHUNK: usize = 256 << 10;
    const CHUNKS: usize = 256;
    let place = Place::with(&[]);
    let host = place.start().await;
    // The highest mark begins anew.
    std::fs::write(format!("/proc/{}/clear_refs", host.pid()), "5").unwrap();
    let before = memory(host.pid(), "VmRSS");
    let uploads = (0..2).map(|number| {
        let chunks = futures_util::stream::iter((0..CHUNKS).map(|_| Ok::<_, std::io::Error>(vec![7_u8; CHUNK])));
        let request = host.client.post(format!("{}/v1/media?name={number}.bin", host.base));
        request.body(Body::wrap_stream(chunks)).send()
    });
    for answer in futures_util::future::join_all(uploads).await {
        assert_eq!(answer.unwrap().status(), StatusCode::CREATED);
    }
    let grown = memory(host.pid(), "VmHWM").saturating_sub(before);
    assert!(grown < 32 << 20, "{} MiB for two uploads of 64 MiB", grown >> 20);
    host.kill().await;
}

#[tokio::test]
async fn s7_a_file_is_not_there_until_it_is_whole() {
    let host = Home::new().start().await;
    let (more, chunks) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let chunks = tokio_stream::wrappers::ReceiverStream::new(chunks);
    let upload = host.request(Method::POST, "/v1/media?name=a.bin").body(Body::wrap_stream(chunks)).send();
    let meanwhile = async {
        more.send(Ok(vec![7; 100_000])).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while host.files("media/tmp").is_empty() {
            pace.tick().await;
        }
        let listed = host.get("/v1/media").await;
        assert_eq!(listed["media"], json!([]), "half of a file is not listed");
        let half = host.files("media/tmp").pop().unwrap();
        let name = half.file_name().unwrap().to_string_lossy().into_owned();
        for id in [name.split('.').next().unwrap(), &name] {
            let answer = host.request(Method::GET, &format!("/v1/media/{id}/content")).send().await.unwrap();
            assert!(answer.status().is_client_error(), "{id}: {}", answer.status());
        }
        more.send(Ok(vec![7; 100_000])).await.unwrap();
        drop(more);
    };
    let (uploaded, ()) = tokio::join!(upload, meanwhile);
    let media: serde_json::Value = uploaded.unwrap().json().await.unwrap();
    assert_eq!(media["size"], 200_000);
    host.stop().await;
}

#[tokio::test]
async fn s9_a_header_makes_nobody_somebody() {
    // There are no users: what such headers say changes nothing, and none is trusted to skip a check.
    let host = Home::new().built("echo").start().await;
    let forged = |request: reqwest::RequestBuilder| {
        let names = [
            "x-user-name",
            "x-session-id",
            "x-forwarded-user",
            "x-forwarded-host",
            "x-original-url",
            "x-http-method-override",
        ];
        names.iter().fold(request, |request, name| request.header(*name, "DELETE"))
    };
    let media = host.upload("a.bin", "some bytes").await;
    let id = media["id"].as_str().unwrap();
    let answer = forged(host.request(Method::GET, &format!("/v1/media/{id}"))).send().await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), media);
    let foreign =
        forged(host.request(Method::DELETE, &format!("/v1/media/{id}"))).header("origin", "https://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let misdirected = forged(host.request(Method::GET, "/v1/tasks")).header("host", "evil.example");
    assert_eq!(misdirected.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(host.content(id).await, b"some bytes");
    host.stop().await;
}

#[tokio::test]
async fn s12_the_host_is_no_proxy() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret", elsewhere.local_addr().unwrap());
    let host = Home::new().built("echo").start().await;
    let address = host.base().trim_start_matches("http://").to_owned();
    let asked = async {
        for head in [
            format!("GET {url} HTTP/1.1\r\nhost: localhost\r\n"),
            format!("CONNECT {} HTTP/1.1\r\nhost: localhost\r\n", elsewhere.local_addr().unwrap()),
            format!("GET /v1/tasks HTTP/1.1\r\nhost: localhost\r\nx-original-url: {url}\r\n"),
        ] {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
            let mut text = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap().unwrap();
            assert!(!text.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&text));
        }
        // What the pages' server took: a URL, a method, a body.
        let body = json!({ "url": url, "method": "GET", "req_body": "" });
        assert_eq!(host.post("/api", &body).await.0, StatusCode::NOT_FOUND);
        let task = host.run("echo", &json!({ "url": url, "media": url })).await;
        assert_eq!(task["state"], "succeeded");
        let (status, _) = host.post(&format!("/v1/media?name=x&url={url}"), &json!({ "url": url })).await;
        assert!(status.is_client_error(), "{status}");
    };
    tokio::select! {
        () = asked => {}
        _ = elsewhere.accept() => panic!("the host asked another server on behalf of a client"),
    }
    host.stop().await;
}

#[tokio::test]
async fn s13_s14_a_file_is_served_as_what_it_is_and_runs_in_no_page() {
    let host = Home::new().start().await;
    let script = "<img src=x onerror=alert(1)>";
    for (name, content_type, served) in [
        ("a.html", "text/html", "attachment"),
        ("a.svg", "image/svg+xml", "inline"),
        ("a.webm", "video/webm", "inline"),
        ("a.mp4", "video/mp4", "inline"),
    ] {
        let request =
            host.request(Method::POST, &format!("/v1/media?name={name}")).header("content-type", content_type);
        let media: serde_json::Value = request.body(script).send().await.unwrap().json().await.unwrap();
        assert_eq!(media["content_type"], content_type);
        let path = format!("/v1/media/{}/content", media["id"].as_str().unwrap());
        let answer = host.request(Method::GET, &path).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-disposition").starts_with(served), "{name}: {}", header("content-disposition"));
        assert_eq!(header("x-content-type-options"), "nosniff", "{name}");
        assert_eq!(header("content-security-policy"), "sandbox", "{name}");
    }
    // Names come back as JSON, never as a part of a page.
    let request = host.request(Method::POST, "/v1/media?name=%3Cimg%20src=x%20onerror=alert(1)%3E");
    let answer = request.body("x").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["name"], script);
    host.stop().await;
}
