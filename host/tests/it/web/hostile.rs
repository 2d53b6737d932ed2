//! Hostile guest 24, and servers that are no better.

use serde_json::{Value, json};

use super::{host_with, network, raw, rule};
use crate::support::attempts;
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
    input["more_headers"] = json!(100);
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
    for authority in ["user@api.test", "api.test:", "api.test.", "a..b", "api%2etest"] {
        let (outcome, sent) = asked(|input| input["authority"] = json!(authority)).await;
        let refused = [error("HttpRequestUriInvalid"), error("HttpRequestDenied"), json!({ "set": "authority" })];
        assert!(refused.contains(&outcome) && sent == 0, "{authority}: {outcome}");
    }
    let (outcome, _) = asked(|input| input["path"] = json!("http://api.test/")).await;
    assert_eq!(outcome, json!({ "set": "path" }));
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
    for (answer, outcome) in [("", "HttpResponseIncomplete"), ("SSH-2.0-x\r\n", "HttpProtocolError")] {
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
    assert_eq!(cut_off["broken"], json!({ "error": "HttpResponseIncomplete" }), "{cut_off}");
    host.stop().await;
}
