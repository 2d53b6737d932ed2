//! Bytes, time and numbers.

use serde_json::{Value, json};
use tokio::time::timeout;

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
        // The end of a body that was announced and is not taken is an error, too.
        let refused = raw(&host, &with(65_537, announced)).await;
        let code = refused.as_object().unwrap().values().next().unwrap();
        assert_eq!(code, "HttpRequestBodySize", "{refused}");
    }
    let sizes: Vec<_> = server.seen.requests().iter().map(|seen| seen["body_bytes"].clone()).collect();
    assert_eq!(sizes.iter().filter(|bytes| **bytes == 65_536).count(), 2, "{sizes:?}");
    host.stop().await;
}

#[tokio::test]
async fn requests_are_counted_and_wait_for_each_other() {
    let (server, network) = (WebServer::plain().await, network());
    let limits = "[grant.http_limits]\nrequests = 5\nconcurrency = 2\ntimeout = \"2s\"\n";
    let host = host_with(&rule(server.port, limits), &network).await;
    let mut input = to(server.port, "/together");
    input["times"] = json!(7);
    let task = host.run("web.raw", &input).await;
    let outcomes: Vec<_> = task["output"].as_array().unwrap().clone();
    let ok = outcomes.iter().filter(|outcome| outcome["status"] == 200).count();
    let refused = outcomes.iter().filter(|outcome| outcome["error"] == "ConnectionLimitReached").count();
    assert_eq!((ok, refused), (5, 2), "{outcomes:?}");
    assert!(server.seen.requests().len() == 5 && server.seen.most() <= 2, "{}", server.seen.most());
    let lines = log(&host, task["id"].as_str().unwrap()).await;
    assert!(lines.contains("raise `requests` under [grant.http_limits] in plugins/web-probe.toml"), "{lines}");
    assert!(lines.contains("http: 5 requests, bodies of 0B sent"), "{lines}");

    // One that has no place until its time is up is told so.
    input = to(server.port, "/never");
    input["times"] = json!(3);
    let task = host.run("web.raw", &input).await;
    let errors: Vec<_> = task["output"].as_array().unwrap().iter().map(|outcome| &outcome["error"]).collect();
    // It may get the place of another one in its last moment.
    let of = |name: &str| errors.iter().filter(|error| **error == name).count();
    assert!(
        of("HttpResponseTimeout") >= 2 && of("HttpResponseTimeout") + of("ConnectionLimitReached") == 3,
        "{errors:?}"
    );
    if of("ConnectionLimitReached") > 0 {
        let lines = log(&host, task["id"].as_str().unwrap()).await;
        assert!(lines.contains("raise `concurrency` under [grant.http_limits]"), "{lines}");
    }
    host.stop().await;
}

#[tokio::test]
async fn answers_that_are_not_read_yet_keep_nobody_waiting() {
    let (server, network) = (WebServer::plain().await, network());
    let host = host_with(&rule(server.port, "[grant.http_limits]\nconcurrency = 1\n"), &network).await;
    let mut input = to(server.port, "/big?100000");
    (input["times"], input["heads_first"]) = (json!(10), json!(true));
    let task = host.run("web.raw", &input).await;
    let outcomes = task["output"].as_array().unwrap();
    assert!(outcomes.len() == 10 && outcomes.iter().all(|outcome| outcome["bytes"] == 100_000), "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_a_queue() {
    let (server, network) = (WebServer::plain().await, network());
    let limits = "[limits]\nhandles = 8192\n[grant.http_limits]\nrequests = 1000\nconcurrency = 64\n";
    let host = host_with(&rule(server.port, limits), &network).await;
    let mut input = to(server.port, "/together");
    input["times"] = json!(1000);
    let task = host.run("web.raw", &input).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    let outcomes = task["output"].as_array().unwrap();
    assert!(outcomes.len() == 1000 && outcomes.iter().all(|outcome| outcome["status"] == 200), "{outcomes:?}");
    assert!((1..=64).contains(&server.seen.most()), "{}", server.seen.most());
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
