//! The example `webhook`, as an operator would set it up.

use std::sync::Arc;

use serde_json::{Value, json};
use taskhost::secret::Secret;

use super::network;
use crate::support::folder::built;
use crate::support::web::WebServer;
use crate::support::{Home, attempts};

const TOKEN: &str = "whsec-0123456789";

/// A host whose webhooks go to this path of the server.
fn home(server: &WebServer, path: &str) -> Home {
    let (component, manifest) = built("webhook");
    let changed = [
        ("https://example.com/hook", format!("http://api.test:{}{path}", server.port)),
        ("# secret = \"WEBHOOK_TOKEN\"", "secret = \"WEBHOOK_TOKEN\"".to_owned()),
        ("host = \"example.com\"", format!("scheme = \"http\"\nports = [{}]\nhost = \"api.test\"", server.port)),
        ("path = \"/hook\"", format!("path = \"{}\"", path.split('?').next().unwrap_or(path))),
        ("# secrets = [\"WEBHOOK_TOKEN\"]", "secrets = [\"WEBHOOK_TOKEN\"]".to_owned()),
    ];
    let manifest = changed.iter().fold(manifest.expect("it has a manifest"), |text, (from, to)| {
        assert!(text.contains(from), "{from} in {text}");
        text.replace(from, to)
    });
    let home = Home::new().network(Arc::clone(&network()) as _).configure(|config| {
        config.secrets = [("WEBHOOK_TOKEN".to_owned(), Secret::new(TOKEN).unwrap())].into();
    });
    home.plugins().put("webhook", &component, Some(&manifest));
    home
}

#[tokio::test]
async fn an_event_is_posted_with_the_operators_token() {
    let server = WebServer::plain().await;
    let host = home(&server, "/hook").start().await;
    let task = host.run("webhook.post", &json!({ "order": 7 })).await;
    assert_eq!((&task["state"], &task["output"]), (&json!("succeeded"), &json!({ "status": 200 })), "{task:#}");
    let seen = &server.seen.requests()[0];
    assert_eq!(
        (&seen["method"], &seen["target"], &seen["body"]),
        (&json!("POST"), &json!("/hook"), &json!("{\"order\":7}"))
    );
    assert_eq!(seen["headers"]["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(seen["headers"]["content-type"], "application/json");
    assert!(seen["headers"]["webhook-id"].as_str().is_some_and(|id| !id.is_empty()), "{seen}");
    assert!(!task.to_string().contains(TOKEN));
    host.stop().await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_under_the_same_id_and_the_rest_fails() {
    let server = WebServer::plain().await;
    let host = home(&server, "/busy").start().await;
    let backoff = json!({ "kind": "fixed", "jitter": "none", "base_ms": 1, "cap_ms": 1 });
    let id = host.create(&json!({ "kind": "webhook.post", "max_attempts": 2, "backoff": backoff })).await;
    let task = host.wait_task(&id).await;
    let codes: Vec<_> = attempts(&task).iter().map(|attempt| &attempt["error"]["code"]).collect();
    assert_eq!(codes, ["http-status", "http-status"], "{task:#}");
    let seen = server.seen.requests();
    assert_eq!((seen.len(), &seen[0]["headers"]["webhook-id"]), (2, &seen[1]["headers"]["webhook-id"]));
    host.stop().await;

    // The other side says when.
    let host = home(&server, "/busy?7200").start().await;
    let mut events = host.events().await;
    let id = host.enqueue("webhook.post", &json!(null)).await;
    events.task(&id, "task.retrying").await;
    let task = host.task(&id).await;
    let at = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait = at(&task["due_at"]).duration_since(at(&attempts(&task)[0]["ended_at"]));
    assert_eq!(wait.as_secs(), 7_200, "{task:#}");
    host.stop().await;

    let host = home(&server, "/refuse").start().await;
    let task = host.run("webhook.post", &json!(null)).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("failed"), 1), "{task:#}");
    host.stop().await;
}
