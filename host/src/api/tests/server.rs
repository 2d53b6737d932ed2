//! The accept loop on real sockets.

use std::net::SocketAddr;

use axum::http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::harness::Api;
use crate::api::serve::{Drained, Settings, serve};
use crate::limiter::{Class, Limits};

/// Serves an API on a free port.
async fn start(api: &Api, settings: Settings) -> (SocketAddr, JoinHandle<Drained>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the handle is awaited by every test")]
    let server = tokio::spawn(serve(listener, api.router.clone(), settings, api.state.stop.clone()));
    (address, server)
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Files of uploads that have begun and not ended.
fn temporary_files(api: &Api) -> usize {
    std::fs::read_dir(api.dir.path().join("media/tmp")).unwrap().count()
}

/// Reads until `end` appears or the other side closes.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        text.extend_from_slice(&buffer[..read]);
        let so_far = String::from_utf8_lossy(&text);
        if read == 0 || so_far.contains(end) {
            return so_far.into_owned();
        }
    }
}

#[tokio::test]
async fn serves_until_the_stop_and_ends_idle_connections_and_streams() {
    let api = Api::new().await;
    let (address, server) = start(&api, Settings::default()).await;
    let mut idle = connect(address, &get("/healthz")).await;
    assert!(read_until(&mut idle, "{\"status\":\"ok\"}").await.starts_with("HTTP/1.1 200 OK\r\n"));
    let silent = TcpStream::connect(address).await.unwrap();
    let mut events = connect(address, &get("/v1/events")).await;
    read_until(&mut events, "event: hello").await;

    api.state.stop.cancel();
    assert_eq!(server.await.unwrap(), Drained { cut_off: 0 });
    assert!(read_until(&mut events, "never").await.ends_with("0\r\n\r\n"), "the stream ended in good order");
    assert_eq!(read_until(&mut idle, "never").await, "");
    drop(silent);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_at_the_deadline() {
    let api = Api::new().await;
    let (address, server) = start(&api, Settings { drain_ms: 50, ..Settings::default() }).await;
    let head = "POST /v1/media HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc";
    let upload = connect(address, head).await;
    while temporary_files(&api) == 0 {
        tokio::task::yield_now().await;
    }
    api.state.stop.cancel();
    assert_eq!(server.await.unwrap(), Drained { cut_off: 1 });
    assert_eq!(api.state.limiter.gauge(Class::Upload).in_use, 0);
    drop(upload);
    assert_eq!(temporary_files(&api), 0, "nothing is left behind");
}

#[tokio::test]
async fn s4_clients_that_send_no_head_are_cut_off() {
    let api = Api::new().await;
    let (address, server) = start(&api, Settings { header_timeout_ms: 50, ..Settings::default() }).await;
    for start in ["", "P", "PRI * HT", "GET / HTTP/1.1\r\nHost: loc"] {
        let mut slow = connect(address, start).await;
        let answer = read_until(&mut slow, "never").await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{start}: {answer}");
    }
    api.state.stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let api = Api::new().await;
    let (address, server) = start(&api, Settings { max_connections: 1, ..Settings::default() }).await;
    let mut first = connect(address, &get("/healthz")).await;
    read_until(&mut first, "ok").await;
    let mut second = connect(address, &get("/version")).await;
    // The first is still served while the second waits: a third answer on the first connection proves it.
    first.write_all(get("/readyz").as_bytes()).await.unwrap();
    read_until(&mut first, "ready").await;
    drop(first);
    assert!(read_until(&mut second, "wasmtime").await.starts_with("HTTP/1.1 200 OK"));
    api.state.stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn s4_slow_viewers_keep_nobody_else_out_and_give_their_place_back() {
    let limits = Limits { max_watchers: 2, ..Limits::default() };
    let api = Api::with(crate::api::Settings { limits, ..crate::api::Settings::default() }).await;
    let (address, server) = start(&api, Settings::default()).await;
    let mut viewers = Vec::new();
    for _ in 0..2 {
        let mut viewer = connect(address, &get("/v1/events")).await;
        read_until(&mut viewer, "hello").await;
        viewers.push(viewer);
    }
    let mut third = connect(address, &get("/v1/events")).await;
    let refused = read_until(&mut third, "}").await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert_eq!(api.call(Method::GET, "/v1/tasks").await.status, StatusCode::OK);

    viewers.pop();
    while api.state.limiter.gauge(Class::Watch).in_use == 2 {
        tokio::task::yield_now().await;
    }
    let mut again = connect(address, &get("/v1/events")).await;
    read_until(&mut again, "hello").await;
    api.state.stop.cancel();
    assert_eq!(server.await.unwrap(), Drained { cut_off: 0 });
}

#[tokio::test]
async fn s7_an_upload_that_breaks_off_leaves_nothing() {
    let api = Api::new().await;
    let (address, server) = start(&api, Settings::default()).await;
    let head = "POST /v1/media HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc";
    let upload = connect(address, head).await;
    while temporary_files(&api) == 0 {
        tokio::task::yield_now().await;
    }
    drop(upload);
    while api.state.limiter.gauge(Class::Upload).in_use == 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(temporary_files(&api), 0);
    api.state.stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_the_answer() {
    let api = Api::new().await;
    let (address, server) = start(&api, Settings::default()).await;
    let size = 8 << 20;
    let head = "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut client = connect(address, &format!("{head}Content-Length: {size}\r\n\r\n")).await;
    client.write_all(&vec![b' '; size]).await.unwrap();
    let answer = read_until(&mut client, "}").await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body-too-large"), "{answer}");

    let head = format!("{head}Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n");
    let mut asking = connect(address, &head).await;
    assert!(read_until(&mut asking, "}").await.starts_with("HTTP/1.1 413 "), "refused before it sends anything");
    api.state.stop.cancel();
    server.await.unwrap();
}
