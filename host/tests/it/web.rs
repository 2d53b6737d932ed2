//! What plugins ask of the web: only what the manifest grants, and within its bounds.

mod bounds;
mod cancel;
mod hostile;
mod secrets;
mod tls;
mod wasi;
mod webhook;

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::folder::tester;
use crate::support::web::{PUBLIC, SILENT, TestNetwork, WebServer};
use crate::support::{Home, TestHost, attempts, list};

/// A host whose plugin `web-probe` has this manifest.
async fn host_with(manifest: &str, network: &Arc<TestNetwork>) -> TestHost {
    home_with(manifest, network).start().await
}

fn home_with(manifest: &str, network: &Arc<TestNetwork>) -> Home {
    let home = Home::new().network(Arc::clone(network) as _);
    home.plugins().put("web-probe", &tester("web-probe"), Some(manifest));
    home
}

/// A network in which `api.test` is a public name.
fn network() -> Arc<TestNetwork> {
    TestNetwork::with(&[("api.test", &[&[PUBLIC]])])
}

/// A rule for `http://api.test` at this port, and more lines of the manifest.
fn rule(port: u16, more: &str) -> String {
    format!("[[grant.http]]\nscheme = \"http\"\nhost = \"api.test\"\nports = [{port}]\n{more}\n")
}

/// Runs a task of `web.raw` and answers what became of its only request.
async fn raw(host: &TestHost, input: &Value) -> Value {
    let task = host.run("web.raw", input).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    task["output"][0].clone()
}

/// Runs a task of `web.ask` once and answers its output, or the code of its failure.
async fn ask(host: &TestHost, input: &Value) -> Result<Value, String> {
    let id = host.create(&json!({ "kind": "web.ask", "input": input, "max_attempts": 1 })).await;
    let task = host.wait_task(&id).await;
    if task["state"] == "succeeded" {
        return Ok(task["output"].clone());
    }
    Err(attempts(&task)[0]["error"]["code"].as_str().unwrap().to_owned())
}

/// The lines of a task's log.
async fn log(host: &TestHost, id: &str) -> String {
    let page = host.get(&format!("/v1/tasks/{id}/logs?max_bytes=1048576")).await;
    list(&page).iter().map(|line| format!("{}\n", line["message"].as_str().unwrap_or_default())).collect()
}

#[tokio::test]
async fn what_is_granted_is_sent_as_asked_with_the_host_header() {
    let (server, network) = (WebServer::plain().await, network());
    let methods = "methods = [\"GET\", \"PUT\"]\n";
    let host = host_with(&rule(server.port, methods), &network).await;
    let url = format!("http://API.test:{}/a%20b?c=d&e", server.port);
    let output = ask(&host, &json!({ "url": url, "headers": [["x-one", "1"]] })).await.unwrap();
    assert_eq!(output["status"], 200);
    let put = ask(&host, &json!({ "method": "PUT", "url": url, "body": "hello" })).await.unwrap();
    let seen: Value = serde_json::from_str(put["body"].as_str().unwrap()).unwrap();
    assert_eq!((seen["body"].as_str(), seen["headers"]["content-length"].as_str()), (Some("hello"), Some("5")));
    let first = &server.seen.requests()[0];
    assert_eq!((first["method"].as_str(), first["target"].as_str()), (Some("GET"), Some("/a%20b?c=d&e")));
    assert_eq!(first["headers"]["host"], format!("api.test:{}", server.port));
    assert_eq!(first["headers"]["x-one"], "1");
    assert_eq!(network.connected(), [PUBLIC, PUBLIC]);
    host.stop().await;
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_the_log_names_the_line() {
    let (server, network) = (WebServer::plain().await, network());
    let port = server.port;
    let host = host_with(&rule(port, "path = \"/v1\"\n"), &network).await;
    for (method, url, words) in [
        ("GET", format!("http://other.test:{port}/v1"), "[[grant.http]] scheme = \"http\", host = \"other.test\""),
        ("GET", format!("https://api.test:{port}/v1"), "scheme = \"https\", host = \"api.test\""),
        ("GET", "http://api.test:1/v1".to_owned(), "add 1 to `ports`"),
        ("POST", format!("http://api.test:{port}/v1"), "add \"POST\" to `methods`"),
        ("GET", format!("http://api.test:{port}/v1/../v2"), "widen `path`"),
    ] {
        let input = json!({ "method": method, "url": url });
        let id = host.create(&json!({ "kind": "web.ask", "input": input, "max_attempts": 1 })).await;
        let task = host.wait_task(&id).await;
        assert_eq!(attempts(&task)[0]["error"]["code"], "denied", "{task:#}");
        let log = log(&host, &id).await;
        assert!(log.contains(words) && log.contains("plugins/web-probe.toml"), "{words}: {log}");
    }
    assert!(server.seen.requests().is_empty() && network.connected().is_empty());
    host.stop().await;
}

#[tokio::test]
async fn a_component_that_imports_http_needs_the_grant() {
    let host = host_with("", &network()).await;
    let plugin = host.plugin_until("web-probe", |plugin| plugin["error"].is_object()).await;
    let message = plugin["error"]["message"].as_str().unwrap();
    assert!(message.contains("imports wasi:http/") && message.contains("`[[grant.http]] host = "), "{message}");
    host.stop().await;
}

#[tokio::test]
async fn private_addresses_need_their_own_word_and_some_are_never_reached() {
    let server = WebServer::plain().await;
    let addresses: [(&str, &[&[IpAddr]]); 1] = [("here.test", &[&[IpAddr::from([127, 0, 0, 1])]])];
    let network = TestNetwork::with(&addresses);
    let hosts = ["here.test", "127.0.0.1", "::1", "::ffff:7f00:1", "169.254.169.254", "fd00:ec2::254", "0.0.0.0"];
    let manifest = |private: bool| {
        let rule = |host: &&str| {
            let port = server.port;
            format!("[[grant.http]]\nscheme = \"http\"\nhost = \"{host}\"\nports = [{port}]\nprivate = {private}\n")
        };
        hosts.iter().map(rule).collect::<String>()
    };
    let host = host_with(&manifest(false), &network).await;
    let outcome = async |name: &str| {
        let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        raw(&host, &json!({ "scheme": "http", "authority": format!("{name}:{}", server.port) })).await
    };
    for name in hosts {
        assert_eq!(outcome(name).await, json!({ "error": "DestinationIpProhibited" }), "{name}");
    }
    assert!(network.connected().is_empty());
    host.stop().await;

    let host = host_with(&manifest(true), &network).await;
    let outcome = async |name: &str| {
        let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
        raw(&host, &json!({ "scheme": "http", "authority": format!("{name}:{}", server.port) })).await
    };
    assert_eq!(outcome("here.test").await["status"], 200);
    assert_eq!(outcome("127.0.0.1").await["status"], 200);
    for name in &hosts[3..] {
        assert_eq!(outcome(name).await, json!({ "error": "DestinationIpProhibited" }), "{name}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_name_leads_only_where_its_addresses_may_be_reached() {
    let server = WebServer::plain().await;
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let bad = [
        ("loopback.test", "127.0.0.1"),
        ("loopback6.test", "::1"),
        ("mapped.test", "::ffff:169.254.169.254"),
        ("mapped-loopback.test", "::ffff:127.0.0.1"),
        ("zero.test", "0.0.0.0"),
        ("metadata.test", "169.254.169.254"),
        ("nat64.test", "64:ff9b::a9fe:a9fe"),
        ("private.test", "10.0.0.7"),
        ("broadcast.test", "255.255.255.255"),
    ];
    let addresses = bad.map(|(name, address)| (name, [ip(address)]));
    let answers: Vec<(&str, [&[IpAddr]; 1])> = addresses.iter().map(|(name, ips)| (*name, [&ips[..]])).collect();
    let mut names: Vec<(&str, &[&[IpAddr]])> = answers.iter().map(|(name, answers)| (*name, &answers[..])).collect();
    // One good address among bad ones is the one that is taken.
    let mixed: [&[IpAddr]; 1] = [&[ip("127.0.0.1"), ip("::ffff:7f00:1"), PUBLIC]];
    names.push(("mixed.test", &mixed));
    let network = TestNetwork::with(&names);
    let manifest: String = names.iter().map(|(name, _)| rule(server.port, "").replace("api.test", name)).collect();
    let host = host_with(&manifest, &network).await;
    for (name, address) in bad {
        let input = json!({ "scheme": "http", "authority": format!("{name}:{}", server.port) });
        let task = host.run("web.raw", &input).await;
        assert_eq!(task["output"][0], json!({ "error": "DestinationIpProhibited" }), "{name}");
        let lines = log(&host, task["id"].as_str().unwrap()).await;
        let private = ["127.0.0.1", "::1", "10.0.0.7"].contains(&address);
        assert_eq!(lines.contains("`private = true` in the [[grant.http]] of host"), private, "{name}: {lines}");
        assert_eq!(lines.contains("never allowed"), !private, "{name}: {lines}");
    }
    assert!(network.connected().is_empty() && server.seen.requests().is_empty());
    let input = json!({ "scheme": "http", "authority": format!("mixed.test:{}", server.port) });
    assert_eq!(raw(&host, &input).await["status"], 200);
    assert_eq!(network.connected(), [PUBLIC]);
    host.stop().await;
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_followed_by_the_next() {
    let server = WebServer::plain().await;
    let network = TestNetwork::with(&[("api.test", &[&[SILENT, PUBLIC]])]);
    let host = host_with(&rule(server.port, ""), &network).await;
    let outcome = raw(&host, &json!({ "scheme": "http", "authority": format!("api.test:{}", server.port) })).await;
    assert_eq!((&outcome["status"], network.connected()), (&json!(200), vec![SILENT, PUBLIC]));
    host.stop().await;
}

#[tokio::test]
async fn an_address_in_another_spelling_is_no_host() {
    let (server, network) = (WebServer::plain().await, network());
    let host = host_with(&rule(server.port, ""), &network).await;
    let spellings = [
        "2130706433",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7F000001",
        "127.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1%25lo]",
        "[::1",
    ];
    for name in spellings {
        let input = json!({ "scheme": "http", "authority": format!("{name}:{}", server.port) });
        let outcome = raw(&host, &input).await;
        let refused = [json!({ "error": "HttpRequestUriInvalid" }), json!({ "set": "authority" })];
        assert!(refused.contains(&outcome), "{name}: {outcome}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_name_that_is_bound_anew_leads_nowhere_else() {
    let server = WebServer::plain().await;
    let here = IpAddr::from([127, 0, 0, 1]);
    // Each request asks once: were it asked again before connecting, the second answer would be taken.
    let network = TestNetwork::with(&[("api.test", &[&[PUBLIC], &[here]])]);
    let host = host_with(&rule(server.port, ""), &network).await;
    let url = format!("http://api.test:{}/", server.port);
    assert_eq!(ask(&host, &json!({ "url": url })).await.unwrap()["status"], 200);
    assert_eq!(ask(&host, &json!({ "url": url })).await, Err("denied".to_owned()));
    assert_eq!(network.connected(), [PUBLIC]);
    host.stop().await;
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_where_it_leads_is_asked_anew() {
    let (server, network) = (WebServer::plain().await, network());
    let host = host_with(&rule(server.port, ""), &network).await;
    let inside = format!("http://127.0.0.1:{}/secret", server.port);
    let url = format!("http://api.test:{}/redirect?{inside}", server.port);
    let output = ask(&host, &json!({ "url": url })).await.unwrap();
    assert_eq!((&output["status"], output["location"].as_str()), (&json!(302), Some(inside.as_str())));
    assert_eq!(ask(&host, &json!({ "url": inside })).await, Err("denied".to_owned()));
    assert_eq!(server.seen.requests().len(), 1);
    host.stop().await;
}
