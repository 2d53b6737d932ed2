//! Hostile guest 24, and servers that are no better.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{host_with, network, raw, rule};
use crate::support::attempts;
use crate::support::events::PATIENCE;
use crate::support::web::WebServer;

async fn asked(change: impl Fn(&mut Value)) -> (Value, usize) {
    let (server, network) = (WebServer::plain().await, network());
    let host = host_with(&rule(server.port, "methods = [\"GET\", \"POST\"]\n"), &network).await;
    let mut input = json!({ "scheme": "http", "authority": format!("api.test:{}", server.port), "path": "/" });
    change(&mut input);
    let outcome = raw(&host, &input).await;
    host.stop().await;
    (outcome, server.seen.requests().len())
}

#[tokio::test]
async fn forty_thousand_headers_cost_the_guest_its_attempt_and_nobody_else_anything() {
    let (server, network) = (WebServer::plain().await, network());
    let host = host_with(&rule(server.port, ""), &network).await;
    let mut input = json!({ "scheme": "http", "authority": format!("api.test:{}", server.port) });
    input["more_headers"] = json!(40_000);
    let id = host.create(&json!({ "kind": "web.raw", "input": input, "max_attempts": 1 })).await;
    let task = host.wait_task(&id).await;
    let error = &attempts(&task)[0]["error"];
    assert_eq!(error["code"], "contract-violation", "{task:#}");
    assert!(error["message"].as_str().unwrap().contains("total size of fields exceeds limit"), "{task:#}");
    // What is less, but too much for a request, is an answer.
    input["more_headers"] = json!(200);
    assert_eq!(raw(&host, &input).await, json!({ "error": "HttpRequestHeaderSectionSize" }));
    input["more_headers"] = json!(90);
    assert_eq!(raw(&host, &input).await["status"], 200);
    host.stop().await;
}

#[tokio::test]
async fn what_frames_a_message_is_not_the_guests() {
    for name in ["Host", "connection", "transfer-encoding", "Upgrade", "keep-alive", "proxy-connection", "te", "expect"]
    {
        let outcome = asked(|input| input["headers"] = json!([[name, "x"]])).await;
        assert_eq!(outcome, (json!({ "header": "Forbidden" }), 0), "{name}");
    }
    for headers in [json!([["content-length", "5"], ["content-length", "6"]]), json!([["content-length", "-1"]])] {
        let outcome = asked(|input| input["headers"] = headers.clone()).await;
        assert_eq!(outcome, (json!({ "header": "InvalidSyntax" }), 0), "{headers}");
    }
    let split = asked(|input| input["headers"] = json!([["x", "a\r\nhost: b"]])).await;
    assert_eq!(split, (json!({ "header": "InvalidSyntax" }), 0));
}

#[tokio::test]
async fn a_length_that_is_not_kept_is_told() {
    let length = |body: Option<u64>| {
        move |input: &mut Value| {
            input["method"] = json!("POST");
            input["headers"] = json!([["content-length", "5"]]);
            input["body_bytes"] = json!(body);
        }
    };
    assert_eq!(asked(length(None)).await, (json!({ "handle": "HttpRequestBodySize" }), 0));
    assert_eq!(asked(length(Some(3))).await.0, json!({ "body": "HttpRequestBodySize" }));
    assert_eq!(asked(length(Some(9))).await.0, json!({ "body": "HttpRequestBodySize" }));
    assert_eq!(asked(length(Some(5))).await.0["status"], 200);
}

#[tokio::test]
async fn times_of_nothing_are_times() {
    for nanos in [0, 1, u64::MAX] {
        let (outcome, _) = asked(|input| input["timeout_ns"] = json!(nanos)).await;
        let timed_out = ["ConnectionTimeout", "ConnectionReadTimeout"].map(|name| json!({ "error": name }));
        let in_time = outcome["status"] == 200;
        assert!(in_time || (nanos < 2 && timed_out.contains(&outcome)), "{nanos}: {outcome}");
    }
}

#[tokio::test]
async fn a_target_that_can_be_read_in_two_ways_is_refused() {
    let error = |name: &str| json!({ "error": name });
    for authority in [
        "user@api.test",
        "user:pass@api.test",
        "api.test@evil.test",
        "api.test:",
        "api.test.",
        "a..b",
        "api%2etest",
        "api.test:99999",
        "api.test:0",
        "api.test:80:80",
        "b\u{fc}cher.test",
        "api\u{3002}test",
        "api.test\r\nhost: evil.test",
        "api.test evil.test",
        "api.test/x",
        "api.test#x",
        "api.test\\@evil.test",
    ] {
        let (outcome, sent) = asked(|input| input["authority"] = json!(authority)).await;
        let refused = [error("HttpRequestUriInvalid"), error("HttpRequestDenied"), json!({ "set": "authority" })];
        assert!(refused.contains(&outcome) && sent == 0, "{authority}: {outcome}");
    }
    for path in ["http://api.test/", "//evil.test/ x", "/ HTTP/1.1\r\nhost: evil.test\r\n", "/\0", "*"] {
        let (outcome, sent) = asked(|input| input["path"] = json!(path)).await;
        assert_eq!((outcome, sent), (json!({ "set": "path" }), 0), "{path}");
    }
    for method in ["GET / HTTP/1.1\r\n", "G T", ""] {
        let (outcome, sent) = asked(|input| input["method"] = json!(method)).await;
        assert_eq!((outcome, sent), (json!({ "set": "method" }), 0), "{method:?}");
    }
    let (outcome, _) = asked(|input| input["path"] = json!(format!("/{}", "x".repeat(9_000)))).await;
    assert_eq!(outcome, error("HttpRequestUriTooLong"));
    let (outcome, _) = asked(|input| input["scheme"] = json!("ftp")).await;
    assert_eq!(outcome, json!({ "handle": "HttpProtocolError" }));
    let (outcome, _) = asked(|input| input["method"] = json!("CONNECT")).await;
    assert_eq!(outcome, error("HttpRequestDenied"));
    let (outcome, _) = asked(|input| input["authority"] = Value::Null).await;
    assert!(outcome.get("handle").is_some(), "{outcome}");
}

#[tokio::test]
async fn a_server_that_lies_is_an_error_of_the_request() {
    let many: String = (0..500).map(|number| format!("x-{number}: v\r\n")).collect();
    let long = format!("x: {}\r\n", "v".repeat(100_000));
    for (head, outcome) in [
        ("content-length: 5\r\ncontent-length: 6\r\n", "HttpProtocolError"),
        ("content-length: x\r\n", "HttpProtocolError"),
        (&*many, "HttpResponseHeaderSectionSize"),
        (&*long, "HttpResponseHeaderSectionSize"),
    ] {
        let server = WebServer::answering(format!("HTTP/1.1 200 OK\r\n{head}\r\nhello").into_bytes()).await;
        let host = host_with(&rule(server.port, ""), &network()).await;
        let input = json!({ "scheme": "http", "authority": format!("api.test:{}", server.port) });
        assert_eq!(raw(&host, &input).await, json!({ "error": outcome }), "{}", &head[..head.len().min(60)]);
        host.stop().await;
    }
    for (answer, outcome) in [("HTTP/1.1 2", "HttpResponseIncomplete"), ("SSH-2.0-x\r\n", "HttpProtocolError")] {
        let server = WebServer::answering(answer.into()).await;
        let host = host_with(&rule(server.port, ""), &network()).await;
        let input = json!({ "scheme": "http", "authority": format!("api.test:{}", server.port) });
        assert_eq!(raw(&host, &input).await, json!({ "error": outcome }), "{answer:?}");
        host.stop().await;
    }
    let server = WebServer::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello".to_vec()).await;
    let host = host_with(&rule(server.port, ""), &network()).await;
    let input = json!({ "scheme": "http", "authority": format!("api.test:{}", server.port) });
    let cut_off = raw(&host, &input).await;
    // The end of the connection may come as one in order or as a reset.
    let ends = ["HttpResponseIncomplete", "ConnectionTerminated"].map(|name| json!({ "error": name }));
    assert!(ends.contains(&cut_off["broken"]), "{cut_off}");
    host.stop().await;
}

/// What a server that goes on for ever with these bytes gets.
async fn endless(head: &str, piece: &'static [u8], pause: Duration, limits: &str) -> Value {
    let server = WebServer::repeating(head.as_bytes().to_vec(), piece, pause).await;
    let host = host_with(&rule(server.port, &format!("[grant.http_limits]\n{limits}\n")), &network()).await;
    let outcome = raw(&host, &json!({ "scheme": "http", "authority": format!("api.test:{}", server.port) })).await;
    timeout(PATIENCE, server.seen.given_up.notified()).await.expect("the connection is closed");
    host.stop().await;
    outcome
}

#[tokio::test]
async fn a_server_without_an_end_is_cut_off() {
    let (at_once, slowly) = (Duration::ZERO, Duration::from_millis(5));
    let timed_out = json!({ "error": "HttpResponseTimeout" });
    let outcome = endless("HTTP/1.1 200 OK\r\n", b"x: y\r\n", at_once, "").await;
    assert_eq!(outcome, json!({ "error": "HttpResponseHeaderSectionSize" }));
    // Slowloris, the other way round.
    let outcome = endless("HTTP/1.1 200 OK\r\nx: ", b"y", slowly, "timeout = \"300ms\"").await;
    assert_eq!(outcome, timed_out);
    let outcome = endless("", b"HTTP/1.1 100 Continue\r\n\r\n", at_once, "timeout = \"300ms\"").await;
    assert_eq!(outcome, timed_out);
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let outcome = endless(head, &[b'x'; 1024], at_once, "response_bytes = \"256KiB\"").await;
    assert_eq!(outcome["broken"], json!({ "error": "HttpResponseBodySize" }), "{outcome}");
    let outcome = endless(head, b"x", slowly, "timeout = \"300ms\"").await;
    assert_eq!(outcome["broken"], timed_out, "{outcome}");
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;";
    let outcome = endless(head, &[b'x'; 1024], at_once, "timeout = \"2s\"").await;
    assert_eq!(outcome["broken"], json!({ "error": "ConnectionTerminated" }), "{outcome}");
}

#[tokio::test]
async fn what_is_compressed_stays_so() {
    const BOMB: usize = 32;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {BOMB}\r\n\r\n");
    let body = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; BOMB - 10]].concat();
    let server = WebServer::answering([head.as_bytes(), &body].concat()).await;
    let host = host_with(&rule(server.port, ""), &network()).await;
    let outcome = raw(&host, &json!({ "scheme": "http", "authority": format!("api.test:{}", server.port) })).await;
    assert_eq!(outcome, json!({ "status": 200, "bytes": BOMB, "broken": null }));
    assert!(!server.seen.requests()[0].as_str().unwrap().to_lowercase().contains("accept-encoding"));
    host.stop().await;
}

#[tokio::test]
async fn a_connection_does_not_change_its_protocol() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello".to_vec();
    let server = WebServer::answering(answer).await;
    let host = host_with(&rule(server.port, ""), &network()).await;
    let outcome = raw(&host, &json!({ "scheme": "http", "authority": format!("api.test:{}", server.port) })).await;
    assert!(outcome["status"].is_null() || outcome["bytes"] == 0, "{outcome}");
    host.stop().await;
}
