//! A kind whose tasks take the guest down is left alone, until there is reason to try again.

use serde_json::{Value, json};

use crate::support::folder::{built, variant};
use crate::support::{Home, TestHost, attempts};

/// A host whose plugin `echo` goes down in every attempt, where one poisoned task opens the breaker.
async fn host_that_goes_down(cool_down_ms: u64) -> TestHost {
    let home = Home::new().configure(|config| {
        config.runner.breaker.poisoned = 1;
        config.runner.breaker.cool_down_ms = cool_down_ms;
    });
    home.plugins().put("echo", &variant("trap", "\"trap\"", "\"echo\""), None);
    home.start().await
}

async fn create(host: &TestHost) -> String {
    let backoff = json!({ "base_ms": 1, "cap_ms": 1 });
    host.create(&json!({ "kind": "echo", "input": [1], "max_attempts": 100, "backoff": backoff })).await
}

fn breaker(plugin: &Value) -> &Value {
    &plugin["live"]["kinds"][0]["breaker"]
}

#[tokio::test]
async fn i5_a_kind_that_goes_down_is_parked_until_a_new_digest_comes() {
    let host = host_that_goes_down(3_600_000).await;
    let plugin = host.plugin("echo").await.unwrap();
    let poisoned = create(&host).await;
    let task = host.wait_task(&poisoned).await;
    assert_eq!(task["error"]["code"], "poison", "{task:#}");
    assert_eq!(task["error"]["details"]["digest"], plugin["live"]["digest"], "the plugin is named");

    let waiting = create(&host).await;
    let open = host.plugin_until("echo", |plugin| !breaker(plugin).is_null()).await;
    assert_eq!((&breaker(&open)["state"], &breaker(&open)["poisoned"]), (&json!("open"), &json!(1)));
    let task = host.task(&waiting).await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("queued"), &json!(0)), "{task:#}");
    assert!(task["parked"]["reason"].as_str().unwrap().contains("took the plugin down"), "{task:#}");

    let (component, manifest) = built("echo");
    host.plugins().put("echo", &component, manifest.as_deref());
    let task = host.wait_task(&waiting).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 1), "{task:#}");
    assert!(breaker(&host.plugin("echo").await.unwrap()).is_null());
    host.stop().await;
}

#[tokio::test]
async fn i5_after_a_pause_one_attempt_at_a_time_is_let_through() {
    let host = host_that_goes_down(30).await;
    let first = create(&host).await;
    host.wait_task(&first).await;
    let mut events = host.events().await;
    let ids = [create(&host).await, create(&host).await];
    for id in &ids {
        let task = host.wait_task(id).await;
        assert_eq!((&task["error"]["code"], attempts(&task).len()), (&json!("poison"), 3), "{task:#}");
    }
    let mut running = 0;
    for _ in 0..14 {
        match events.next().await.unwrap().name.as_str() {
            "task.started" => running += 1,
            "task.retrying" | "task.failed" => running -= 1,
            _ => {}
        }
        assert!(running <= 1, "a probe is alone");
    }
    host.stop().await;
}
