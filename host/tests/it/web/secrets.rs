//! Secrets are filled in by the host, and nobody else has them.

use serde_json::{Value, json};
use taskhost::secret::Secret;

use super::{ask, home_with, host_with, log, network, raw, rule};
use crate::support::web::{PUBLIC, TestNetwork, WebServer};
use crate::support::{Home, attempts, files};

const VALUE: &str = "k3y/of+everything";

fn knows(home: Home) -> Home {
    home.configure(|config| {
        config.secrets = [("API_KEY".to_owned(), Secret::new(VALUE).unwrap())].into();
    })
}

#[tokio::test]
async fn a_secret_is_filled_in_only_where_the_manifest_says() {
    let server = WebServer::plain().await;
    let network = TestNetwork::with(&[("api.test", &[&[PUBLIC]]), ("other.test", &[&[PUBLIC]])]);
    let port = server.port;
    let manifest = format!(
        "{}{}",
        rule(port, "methods = [\"POST\"]\nsecrets = [\"API_KEY\"]"),
        rule(port, "").replace("api.test", "other.test").replace("ports", "methods = [\"POST\"]\nports"),
    );
    let host = knows(home_with(&manifest, &network)).start().await;
    let input = |name: &str| {
        json!({
            "method": "POST", "url": format!("http://{name}:{port}/?q={{API_KEY}}"), "secrets": ["API_KEY"],
            "headers": [["authorization", "Bearer {API_KEY}"]], "body": "{API_KEY}",
        })
    };
    let output = ask(&host, &input("api.test")).await.unwrap();
    let placeholder = output["placeholders"][0].as_str().unwrap().to_owned();
    let seen = &server.seen.requests()[0];
    assert_eq!(seen["headers"]["authorization"], format!("Bearer {VALUE}"));
    assert_eq!(seen["body"], placeholder, "bodies are not named");
    assert_eq!(seen["target"], format!("/?q={placeholder}"));

    let other = ask(&host, &input("other.test")).await.unwrap();
    let seen = &server.seen.requests()[1];
    assert_eq!(seen["headers"]["authorization"], format!("Bearer {}", other["placeholders"][0].as_str().unwrap()));
    assert_ne!(other["placeholders"][0], placeholder, "each attempt has its own");
    assert!(!other.to_string().contains(VALUE));
    host.stop().await;
}

#[tokio::test]
async fn paths_queries_and_bodies_are_filled_in_when_they_are_named() {
    let server = WebServer::plain().await;
    let places = "methods = [\"POST\"]\nsecrets = [\"API_KEY\"]\nreplace_in = [\"path\", \"query\", \"body\"]";
    let host = knows(home_with(&rule(server.port, places), &network())).start().await;
    let url = format!("http://api.test:{}/x/{{API_KEY}}?k={{API_KEY}}", server.port);
    let headers = json!([["authorization", "{API_KEY}"]]);
    let input = json!({
        "method": "POST", "url": url, "headers": headers, "secrets": ["API_KEY"], "body": "{\"k\":\"{API_KEY}\"}",
    });
    ask(&host, &input).await.unwrap();
    let seen = &server.seen.requests()[0];
    assert_eq!(seen["target"], "/x/k3y%2Fof%2Beverything?k=k3y%2Fof%2Beverything");
    assert_eq!(seen["body"], format!("{{\"k\":\"{VALUE}\"}}"));
    assert!(!seen["headers"]["authorization"].as_str().unwrap().contains(VALUE));
    host.stop().await;
}

#[tokio::test]
async fn a_placeholder_that_comes_in_pieces_is_filled_in_as_a_whole() {
    let server = WebServer::plain().await;
    let places = "methods = [\"POST\"]\nsecrets = [\"API_KEY\"]\nreplace_in = [\"body\"]";
    let host = knows(home_with(&rule(server.port, places), &network())).start().await;
    let authority = format!("api.test:{}", server.port);
    let input = json!({ "method": "POST", "scheme": "http", "authority": authority, "split_secret": "API_KEY" });
    assert_eq!(raw(&host, &input).await["status"], 200);
    let seen = &server.seen.requests()[0];
    assert_eq!((&seen["body"], &seen["headers"]["content-length"]), (&json!(VALUE), &json!(VALUE.len().to_string())));
    host.stop().await;
}

#[tokio::test]
async fn a_secret_adds_no_header_and_no_parameter() {
    let server = WebServer::plain().await;
    let manifest = rule(server.port, "secrets = [\"API_KEY\"]\nreplace_in = [\"headers\", \"query\"]");
    let home = home_with(&manifest, &network()).configure(|config| {
        let secret = Secret::new("k3y\r\nx-more: 1&admin=1 HTTP/1.1\r\n\r\nx").unwrap();
        config.secrets = [("API_KEY".to_owned(), secret)].into();
    });
    let host = home.start().await;
    let url = format!("http://api.test:{}/?k={{API_KEY}}", server.port);
    let input = json!({ "url": url, "secrets": ["API_KEY"] });
    assert_eq!(ask(&host, &input).await.unwrap()["status"], 200);
    let seen = server.seen.requests();
    assert_eq!(seen[0]["target"], "/?k=k3y%0D%0Ax-more%3A%201%26admin%3D1%20HTTP%2F1.1%0D%0A%0D%0Ax");
    let url = format!("http://api.test:{}/", server.port);
    let input = json!({ "url": url, "secrets": ["API_KEY"], "headers": [["x-key", "{API_KEY}"]] });
    assert_eq!(ask(&host, &input).await, Err("invalid-request".to_owned()));
    assert_eq!(server.seen.requests().len(), 1);
    host.stop().await;
}

/// A request to a server that sends the secret back.
fn echoing(port: u16, path: &str) -> Value {
    json!({
        "url": format!("http://api.test:{port}{path}"), "secrets": ["API_KEY"], "log": true, "success": true,
        "headers": [["authorization", "Bearer {API_KEY}"]],
    })
}

#[tokio::test]
async fn a_server_that_echoes_a_secret_does_not_bring_it_into_the_log() {
    let server = WebServer::plain().await;
    let host = knows(home_with(&rule(server.port, "secrets = [\"API_KEY\"]"), &network())).start().await;
    let id = host.enqueue("web.ask", &echoing(server.port, "/")).await;
    let task = host.wait_task(&id).await;
    // A host that is granted a secret may give it to the plugin: the output, which is the plugin's own, shows it.
    assert!(task["output"].to_string().contains(VALUE));
    assert!(!task["progress"].to_string().contains(VALUE), "{task:#}");
    let log = log(&host, &id).await;
    assert!(log.matches("Bearer [secret API_KEY]").count() >= 2 && !log.contains(VALUE), "{log}");
    for file in files(&host.data().join("logs")) {
        assert!(!String::from_utf8_lossy(&std::fs::read(file).unwrap()).contains(VALUE));
    }
    host.stop().await;
}

#[tokio::test]
async fn a_secret_that_comes_back_in_an_error_is_kept_nowhere() {
    let server = WebServer::plain().await;
    let host = knows(home_with(&rule(server.port, "secrets = [\"API_KEY\"]"), &network())).start().await;
    let mut events = host.events().await;
    let input = echoing(server.port, "/refuse");
    let id = host.create(&json!({ "kind": "web.ask", "input": input, "max_attempts": 1 })).await;
    let task = host.wait_task(&id).await;
    let message = attempts(&task)[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("not with Bearer [secret API_KEY]"), "{message}");
    let told = events.until(|event| event.name == "task.failed" && event.task() == id).await;
    assert!(!format!("{told:?}").contains(VALUE));
    let data = host.data();
    let _home = host.stop().await;
    for file in files(&data) {
        let bytes = std::fs::read(&file).unwrap();
        let shows = bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
        assert!(!shows, "{}", file.display());
    }
}

#[tokio::test]
async fn a_secret_that_the_host_does_not_have_keeps_the_plugin_out() {
    let host = host_with(&rule(80, "secrets = [\"API_KEY\"]"), &network()).await;
    let plugin = host.plugin_until("web-probe", |plugin| plugin["error"].is_object()).await;
    let message = plugin["error"]["message"].as_str().unwrap();
    assert!(message.contains("API_KEY = { env = \"VARIABLE\" }") && message.contains("[secrets]"), "{message}");
    host.stop().await;
}

#[tokio::test]
async fn a_secret_that_no_rule_lists_is_not_there() {
    let server = WebServer::plain().await;
    let host = knows(home_with(&rule(server.port, ""), &network())).start().await;
    let input: Value = json!({ "url": format!("http://api.test:{}/", server.port), "secrets": ["API_KEY"] });
    assert_eq!(ask(&host, &input).await, Err("denied".to_owned()));
    assert!(server.seen.requests().is_empty());
    host.stop().await;
}
