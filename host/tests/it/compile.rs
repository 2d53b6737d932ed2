//! Compiling: by a child with limits, once a digest, and visible while it goes on.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::bomb;
use crate::support::{Home, TestHost};

fn message(plugin: &Value) -> &str {
    plugin["error"]["message"].as_str().unwrap_or_default()
}

fn entries(home: &TestHost) -> Vec<PathBuf> {
    let found = home.files("cache").into_iter();
    found.filter(|path| path.extension().is_some_and(|end| end == "code")).collect()
}

async fn is_cached(host: &TestHost) -> bool {
    let plugin = host.plugin("ok").await.unwrap();
    plugin["live"]["compiled"]["cached"].as_bool().unwrap_or_else(|| panic!("{plugin:#}"))
}

#[tokio::test]
async fn i11_a_component_that_takes_too_long_to_compile_never_replaces_a_good_one() {
    let home = Home::new().fixture("ok").fixture("log").configure(|config| config.plugins.compile_time_ms = 1_500);
    let host = home.start().await;
    let good = host.plugin("ok").await.unwrap();
    host.plugins().put("ok", &bomb::long_function(3_000_000), None);
    let compiling = host.plugin_until("ok", |plugin| plugin["loading"]["stage"] == "compiling").await;
    assert_ne!(compiling["loading"]["digest"], good["live"]["digest"]);
    assert!(compiling["loading"]["since"].is_string(), "{compiling:#}");
    // Everybody goes on meanwhile, and whoever comes now waits for its turn only.
    assert_eq!(host.run("ok", &json!({})).await["state"], "succeeded");
    assert_eq!(host.run("log", &json!({})).await["state"], "succeeded");
    let refused = host.plugin_until("ok", |plugin| !message(plugin).is_empty()).await;
    assert!(message(&refused).contains("longer than 1.5 s (`plugins.compile_time`)"), "{refused:#}");
    assert_eq!(refused["live"]["digest"], good["live"]["digest"]);
    assert!(refused["loading"].is_null(), "{refused:#}");
    assert_eq!(host.run("ok", &json!({})).await["state"], "succeeded");
    host.stop().await;
}

#[tokio::test]
async fn a_component_that_takes_too_much_memory_to_compile_is_refused() {
    let home = Home::new().fixture("ok").configure(|config| config.plugins.compile_memory_bytes = 512 << 20);
    let host = home.start().await;
    host.plugins().put("ok", &bomb::long_function(2_000_000), None);
    let refused = host.plugin_until("ok", |plugin| !message(plugin).is_empty()).await;
    assert!(message(&refused).contains("(`plugins.compile_memory`)"), "{refused:#}");
    assert_eq!(host.run("ok", &json!({})).await["state"], "succeeded");
    host.stop().await;
}

#[tokio::test]
async fn a_component_that_is_exchanged_or_removed_while_it_is_compiled_is_given_up() {
    let host = Home::new().start().await;
    host.plugins().put("ok", &bomb::long_function(3_000_000), None);
    host.plugin_until("ok", |plugin| plugin["loading"]["stage"] == "compiling").await;
    host.plugins().put("ok", &crate::support::folder::fixture("ok"), None);
    host.plugin_until("ok", |plugin| plugin["live"].is_object() && plugin["loading"].is_null()).await;
    host.plugins().put("bomb", &bomb::long_function(3_000_000), None);
    host.plugin_until("bomb", |plugin| plugin["loading"]["stage"] == "compiling").await;
    // Stopping does not wait for the compiler.
    host.stop().await;
}

#[tokio::test]
async fn a_second_start_is_warm_and_code_that_was_tampered_with_is_compiled_again() {
    let host = TestHost::with(&["ok"]).await;
    assert!(!is_cached(&host).await);
    let mut host = host.restart().await;
    assert!(is_cached(&host).await);
    let [entry] = <[PathBuf; 1]>::try_from(entries(&host)).unwrap();
    let whole = std::fs::read(&entry).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for bytes in [changed, whole[..whole.len() - 1].to_vec(), b"\x7fELF of somebody else".to_vec(), Vec::new()] {
        let home = host.stop().await;
        std::fs::write(&entry, bytes).unwrap();
        host = home.start().await;
        assert!(!is_cached(&host).await);
        assert_eq!(host.run("ok", &json!({})).await["state"], "succeeded");
        assert_eq!(std::fs::read(&entry).unwrap().len(), whole.len(), "it was written anew");
        host = host.restart().await;
        assert!(is_cached(&host).await);
    }
    host.stop().await;
}
