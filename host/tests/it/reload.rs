//! Plugins come, change, break and go while the host runs.

use serde_json::{Value, json};

use crate::support::component::encode;
use crate::support::folder::{fixture, variant};
use crate::support::{Home, TestHost, attempts};

fn live_digest(plugin: &Value) -> Option<&str> {
    plugin["live"]["digest"].as_str()
}

fn message(plugin: &Value) -> &str {
    plugin["error"]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn v17_a_plugin_dropped_in_is_live_without_a_restart() {
    let host = Home::new().start().await;
    host.plugins().put("ok", &fixture("ok"), None);
    host.plugin_until("ok", |plugin| live_digest(plugin).is_some()).await;
    assert_eq!(host.run("ok", &json!({})).await["state"], "succeeded");
    host.stop().await;
}

#[tokio::test]
async fn a_replaced_plugin_serves_new_attempts_and_the_old_generation_drains() {
    let host = Home::new().built("echo").start().await;
    let old = host.plugin("echo").await.unwrap();
    let mut events = host.events().await;
    let running = host.enqueue("echo", &json!({ "sleep_ms": 4_000 })).await;
    events.task(&running, "task.started").await;
    let (component, manifest) = crate::support::folder::built("echo");
    host.plugins().put("echo", &with_custom_section(&component), manifest.as_deref());
    let new = host.plugin_until("echo", |plugin| live_digest(plugin) != live_digest(&old)).await;
    assert_eq!(new["draining"][0]["digest"], old["live"]["digest"], "{new:#}");
    let fresh = host.run("echo", &json!({})).await;
    assert_eq!(attempts(&fresh)[0]["digest"], new["live"]["digest"]);
    let finished = host.wait_task(&running).await;
    assert_eq!(finished["state"], "succeeded");
    let last = attempts(&finished).last().unwrap();
    assert_eq!(last["digest"], old["live"]["digest"], "it finished on the generation that it had begun with");
    host.plugin_until("echo", |plugin| plugin["draining"].as_array().is_some_and(Vec::is_empty)).await;
    host.stop().await;
}

/// The same code with another digest.
fn with_custom_section(component: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    // A custom section: id 0, its size, the length of its name, its name.
    bytes.extend_from_slice(&[0, 5, 4, b'n', b'o', b't', b'e']);
    bytes
}

#[tokio::test]
async fn i11_a_broken_file_changes_nothing_and_its_error_is_visible() {
    let host = TestHost::with(&["ok"]).await;
    let old = host.plugin("ok").await.unwrap();
    let good = fixture("ok");
    let cases: [(&str, Vec<u8>); 4] = [
        ("not a component", b"not a component at all".to_vec()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("a core module", wat::parse_str("(module)").unwrap()),
        ("a component of another world", encode("(component)")),
    ];
    for (what, bytes) in cases {
        host.plugins().put("ok", &bytes, None);
        let digest = sha256(&bytes);
        let plugin = host.plugin_until("ok", |plugin| plugin["error"]["digest"] == digest.as_str()).await;
        assert_eq!(live_digest(&plugin), live_digest(&old), "{what}");
        assert!(message(&plugin).len() > 10, "{what}: {plugin:#}");
        assert_eq!(host.run("ok", &json!({})).await["state"], "succeeded", "{what}");
    }
    host.plugins().put("ok", &good, None);
    host.plugin_until("ok", |plugin| plugin["error"].is_null()).await;
    host.stop().await;
}

#[tokio::test]
async fn i11_a_half_written_file_never_goes_live() {
    let host = TestHost::with(&["version"]).await;
    let old = host.plugin("version").await.unwrap();
    let whole = variant("version", "v00", "v01");
    for length in [1, 8, whole.len() / 3, whole.len() - 1] {
        host.plugins().overwrite("version", &whole[..length]);
        assert_eq!(host.run("version", &json!({})).await["state"], "succeeded");
        assert_eq!(live_digest(&host.plugin("version").await.unwrap()), live_digest(&old));
    }
    host.plugins().overwrite("version", &whole);
    let digest = sha256(&whole);
    host.plugin_until("version", |plugin| live_digest(plugin) == Some(&digest)).await;
    host.stop().await;
}

#[tokio::test]
async fn a_deleted_plugin_takes_no_new_tasks_and_its_running_ones_finish() {
    let host = Home::new().built("echo").start().await;
    let mut events = host.events().await;
    let running = host.enqueue("echo", &json!({ "sleep_ms": 1_000 })).await;
    events.task(&running, "task.started").await;
    let waiting = host.create(&json!({ "kind": "echo", "input": {}, "delay_ms": 10 })).await;
    host.wait_task(&waiting).await;
    host.plugins().delete("echo");
    let gone = async {
        while host.plugin("echo").await.is_some_and(|plugin| live_digest(&plugin).is_some()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::events::PATIENCE, gone).await.expect("the plugin goes");
    let (status, _) = host.post("/v1/tasks", &json!({ "kind": "echo", "input": {} })).await;
    assert!(status.is_client_error(), "{status}");
    assert_eq!(host.wait_task(&running).await["state"], "succeeded");
    host.stop().await;
}

#[tokio::test]
async fn tasks_of_a_plugin_that_is_gone_wait_for_it() {
    let host = TestHost::with(&["ok"]).await;
    let id = host.create(&json!({ "kind": "ok", "input": {}, "delay_ms": 3_600_000 })).await;
    let soon = host.create(&json!({ "kind": "ok", "input": {}, "delay_ms": 2_500 })).await;
    let component = fixture("ok");
    host.plugins().delete("ok");
    let home = host.stop().await;
    let host = home.start().await;
    let parked = host.task(&soon).await;
    assert_eq!(parked["state"], "queued");
    assert_eq!(parked["parked"]["reason"], "no plugin executes the kind", "{parked:#}");
    host.plugins().put("ok", &component, None);
    assert_eq!(host.wait_task(&soon).await["state"], "succeeded");
    let waiting = host.task(&id).await;
    assert_eq!((&waiting["state"], &waiting["parked"]), (&json!("queued"), &Value::Null));
    host.stop().await;
}

#[tokio::test]
async fn an_unknown_key_in_a_manifest_is_an_error_with_its_line() {
    let host = TestHost::with(&["ok"]).await;
    host.plugins().put("late", &fixture("spin"), Some("# limits of this plugin\n[limits]\nmemmory = \"1 MiB\"\n"));
    let plugin = host.plugin_until("late", |plugin| !message(plugin).is_empty()).await;
    assert!(live_digest(&plugin).is_none());
    assert!(message(&plugin).contains("memmory"), "{plugin:#}");
    assert!(message(&plugin).contains(":3") || message(&plugin).contains("line 3"), "{plugin:#}");
    host.stop().await;
}

#[tokio::test]
async fn an_import_that_was_not_granted_is_an_error_that_says_how_to_grant_it() {
    let host = Home::new().start().await;
    let (component, _) = crate::support::folder::built("video-cut");
    host.plugins().put("video-cut", &component, Some(""));
    let plugin = host.plugin_until("video-cut", |plugin| !message(plugin).is_empty()).await;
    assert!(live_digest(&plugin).is_none());
    assert!(message(&plugin).contains("ffmpeg"), "{plugin:#}");
    let (_, manifest) = crate::support::folder::built("video-cut");
    host.plugins().put("video-cut", &component, manifest.as_deref());
    host.plugin_until("video-cut", |plugin| live_digest(plugin).is_some()).await;
    host.stop().await;
}

#[tokio::test]
async fn a_kind_has_one_executor_and_the_first_keeps_it() {
    let host = TestHost::with(&["version"]).await;
    host.plugins().put("usurper", &variant("version", "v00", "v01"), None);
    let plugin = host.plugin_until("usurper", |plugin| !message(plugin).is_empty()).await;
    assert!(message(&plugin).contains("\"version\""), "{plugin:#}");
    assert_eq!(host.run("version", &json!({})).await["state"], "succeeded");
    host.stop().await;
}

/// The digest of some bytes as the API shows it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[tokio::test]
async fn i7_an_instance_that_stays_goes_with_its_generation() {
    let host = Home::new().start().await;
    let stays = |attempts: u32| format!("[limits]\nattempts_per_instance = {attempts}\nconcurrency = 1\n");
    host.plugins().put("calls", &fixture("calls"), Some(&stays(100)));
    let first = host.plugin_until("calls", |plugin| live_digest(plugin).is_some()).await;
    for expected in ["1", "2", "3"] {
        assert_eq!(host.run("calls", &json!({})).await["output"].to_string(), expected);
    }
    host.plugins().put("calls", &with_custom_section(&fixture("calls")), Some(&stays(2)));
    host.plugin_until("calls", |plugin| live_digest(plugin) != live_digest(&first)).await;
    for expected in ["1", "2", "1"] {
        assert_eq!(host.run("calls", &json!({})).await["output"].to_string(), expected);
    }
    host.stop().await;
}
