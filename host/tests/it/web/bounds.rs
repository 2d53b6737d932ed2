//! Bytes, time and numbers.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{host_with, log, network, raw, rule};
use crate::support::attempts;
use crate::support::events::PATIENCE;
use crate::support::web::WebServer;

fn to(port: u16, path: &str) -> Value {
    json!({ "scheme": "http", "authority": format!("api.test:{port}"), "path": path })
}

#[tokio::test]
async fn a_response_beyond_its_bound_is_cut_off_with_a_code() {
    let (server, network) = (WebServer::plain().await, network());
    let limits = "[grant.http_limits]\nresponse_bytes = \"64KiB\"\n";
    let host = host_with(&rule(server.port, limits), &network).await;
    let fits = raw(&host, &to(server.port, "/big?65536")).await;
    assert_eq!(fits, json!({ "status": 200, "bytes": 65_536, "broken": null }));
    // Announced: refused at once. Not announced: at the byte that is too much.
    let announced = raw(&host, &to(server.port, "/big?65537")).await;
    assert_eq!(announced, json!({ "error": "HttpResponseBodySize" }));
    let broken = raw(&host, &to(server.port, "/chunks?1000")).await;
    assert_eq!(broken["broken"], json!({ "error": "HttpResponseBodySize" }), "{broken}");
    assert!(broken["bytes"].as_u64().unwrap() <= 65_536, "{broken}");
    host.stop().await;
}

#[tokio::test]
async fn a_request_beyond_its_bound_is_not_sent_on() {
    let (server, network) = (WebServer::plain().await, network());
    let limits = "methods = [\"POST\"]\n[grant.http_limits]\nrequest_bytes = \"64KiB\"\n";
    let host = host_with(&rule(server.port, limits), &network).await;
    let with = |bytes: u64, announced: bool| {
        let mut input = to(server.port, "/");
        input["method"] = json!("POST");
        input["body_bytes"] = json!(bytes);
        if announced {
            input["headers"] = json!([["content-length", bytes.to_string()]]);
        }
        input
    };
    for announced in [true, false] {
        assert_eq!(raw(&host, &with(65_536, announced)).await["status"], 200);
        let refused = raw(&host, &with(65_537, announced)).await;
        assert_eq!(refused, json!({ "error": "HttpRequestBodySize" }));
    }
    let sizes: Vec<_> = server.seen.requests().iter().map(|seen| seen["body_bytes"].clone()).collect();
    assert_eq!(sizes.iter().filter(|bytes| **bytes == 65_536).count(), 2, "{sizes:?}");
    host.stop().await;
}

#[tokio::test]
async fn requests_are_counted_and_bounded_side_by_side() {
    let (server, network) = (WebServer::plain().await, network());
    let limits = "[grant.http_limits]\nrequests = 5\nconcurrency = 2\n";
    let host = host_with(&rule(server.port, limits), &network).await;
    let mut input = to(server.port, "/");
    input["times"] = json!(7);
    let task = host.run("web.raw", &input).await;
    let outcomes: Vec<_> = task["output"].as_array().unwrap().clone();
    let of = |name: &str| outcomes.iter().filter(|outcome| outcome["error"] == name).count();
    assert_eq!((of("ConnectionLimitReached"), of("HttpRequestDenied")), (3, 2), "{outcomes:?}");
    assert_eq!(server.seen.requests().len(), 2);
    let log = log(&host, task["id"].as_str().unwrap()).await;
    assert!(log.contains("raise `requests` under [grant.http_limits]"), "{log}");
    assert!(log.contains("http: 5 requests, bodies of 0B sent"), "{log}");
    host.stop().await;
}

#[tokio::test]
async fn a_server_that_is_slow_costs_no_more_than_was_said() {
    let (server, network) = (WebServer::plain().await, network());
    let limits = "[grant.http_limits]\ntimeout = \"200ms\"\n";
    let host = host_with(&rule(server.port, limits), &network).await;
    assert_eq!(raw(&host, &to(server.port, "/never")).await, json!({ "error": "HttpResponseTimeout" }));
    let drip = raw(&host, &to(server.port, "/drip")).await;
    assert_eq!(drip, json!({ "status": 200, "bytes": 5, "broken": { "error": "HttpResponseTimeout" } }));
    // What the guest says counts when it is less.
    let mut input = to(server.port, "/never");
    input["timeout_ns"] = json!(20_000_000);
    assert_eq!(raw(&host, &input).await, json!({ "error": "ConnectionReadTimeout" }));
    input["path"] = json!("/drip");
    let drip = raw(&host, &input).await;
    assert_eq!(drip["broken"], json!({ "error": "ConnectionReadTimeout" }), "{drip}");
    host.stop().await;
}

#[tokio::test]
async fn the_attempts_deadline_comes_first() {
    let (server, network) = (WebServer::plain().await, network());
    let host = host_with(&rule(server.port, ""), &network).await;
    let input = to(server.port, "/never");
    let task = json!({ "kind": "web.raw", "input": input, "max_attempts": 1, "timeout_ms": 300 });
    let task = host.wait_task(&host.create(&task).await).await;
    let code = attempts(&task)[0]["error"]["code"].as_str();
    assert!(task["state"] == "succeeded" || code == Some("timed-out"), "{task:#}");
    timeout(PATIENCE, server.seen.given_up.notified()).await.expect("the request ends with its attempt");
    host.stop().await;
}

#[tokio::test]
async fn a_cancelled_attempt_takes_its_request_with_it() {
    let (server, network) = (WebServer::plain().await, network());
    let host = host_with(&rule(server.port, "[limits]\nwall = \"10m\"\n"), &network).await;
    let id = host.enqueue("web.raw", &to(server.port, "/never")).await;
    timeout(PATIENCE, server.seen.waiting.notified()).await.expect("the request arrives");
    let asked = Instant::now();
    host.cancel(&id).await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "cancelled", "{task:#}");
    timeout(PATIENCE, server.seen.given_up.notified()).await.expect("the request is given up");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    host.stop().await;
}
