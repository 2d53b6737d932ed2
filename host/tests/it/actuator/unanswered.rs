//! A start that takes its guest down or takes too long has perhaps begun something, and nobody has a handle of it.

use serde_json::{Value, json};

use super::callback::token;
use super::{home, work};
use crate::support::{TestHost, attempts, folder};

const HOUR_MS: u64 = 3_600_000;
const GOES_ON: &str = "the outside work may have begun and may go on";

/// A host that gives an attempt some seconds.
async fn hasty() -> TestHost {
    let home = home();
    let (component, manifest) = folder::outside();
    home.plugins().put("outside", &component, Some(&manifest.replace("wall = \"2m\"", "wall = \"5s\"")));
    home.start().await
}

fn message(task: &Value) -> &str {
    attempts(task)[0]["error"]["message"].as_str().unwrap_or_else(|| panic!("a failure: {task:#}"))
}

#[tokio::test]
async fn a_start_that_goes_down_or_times_out_is_remembered_until_its_work_is_found_again() {
    let host = hasty().await;
    let cases = [
        (json!({ "trap": "start", "looks": 1 }), "crashed", "trap"),
        (json!({ "start_ms": HOUR_MS, "looks": 1 }), "failed", "timed-out"),
    ];
    for (input, outcome, code) in cases {
        let id = host.create(&json!({ "kind": "outside", "input": input, "max_attempts": 1 })).await;
        let task = host.wait_task(&id).await;
        let first = &attempts(&task)[0];
        assert_eq!((&task["state"], &first["outcome"]), (&json!("failed"), &json!(outcome)), "{task:#}");
        assert_eq!(first["error"]["code"], code, "{task:#}");
        assert!(message(&task).ends_with(GOES_ON), "{task:#}");
        assert_eq!(task["work"]["abandoned"], 1, "{task:#}");
        assert_eq!(work(&host, &id).await["stops"], 0, "nobody has a handle to stop it by");

        // Put back, it asks with the same key and finds what runs already.
        let (status, _) = host.post(&format!("/v1/tasks/{id}/retry"), &Value::Null).await;
        assert!(status.is_success(), "{status}");
        let task = host.wait_task(&id).await;
        assert_eq!((&task["state"], &task["output"]["found"]["starts"]), (&json!("succeeded"), &json!(2)), "{task:#}");
        assert_eq!((&task["work"]["abandoned"], &task["work"]["ended"]), (&Value::Null, &json!(1)), "{task:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_task_that_is_cancelled_before_its_next_start_still_says_what_may_go_on() {
    let host = hasty().await;
    let mut events = host.events().await;
    let backoff = json!({ "base_ms": HOUR_MS, "cap_ms": HOUR_MS });
    let id = host.create(&json!({ "kind": "outside", "input": { "trap": "start" }, "backoff": backoff })).await;
    events.task(&id, "task.retrying").await;
    assert_eq!(host.task(&id).await["work"]["abandoned"], 1);
    host.cancel(&id).await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["work"]["abandoned"]), (&json!("cancelled"), &json!(1)), "{task:#}");
    assert!(message(&task).ends_with(GOES_ON), "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn i14_a_start_that_the_end_of_the_host_cuts_off_is_found_again_after_the_restart() {
    let host = home().configure(|config| config.runner.shutdown_grace_ms = 300).start().await;
    let id = host.enqueue("outside", &json!({ "start_ms": 50_000, "looks": 1 })).await;
    token(&host, &id, 1).await;
    let host = host.restart().await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 2), "{task:#}");
    assert_eq!((&attempts(&task)[0]["outcome"], &task["work"]["abandoned"]), (&json!("returned"), &Value::Null));
    host.stop().await;
}
