//! Bringing results home.

use serde_json::json;
use tokio::time::Duration;

use super::{home, told, work};
use crate::support::attempts;

#[tokio::test]
async fn i6_an_export_holds_no_permit_and_a_cancel_of_it_leaves_no_file() {
    let host = home().built("echo").configure(|config| config.runner.concurrency = 1).start().await;
    let mut events = host.events().await;
    let slow = host.enqueue("outside", &json!({ "looks": 1, "collect_ms": 600_000 })).await;
    events.task(&slow, "task.exporting").await;
    // It has written its file by then.
    events.task(&slow, "task.progress").await;
    assert_eq!(host.run("echo", &json!({})).await["state"], "succeeded", "its permit is free");
    assert_eq!(host.run("outside", &json!({ "looks": 1 })).await["state"], "succeeded");
    assert_eq!(host.files("media").len(), 2, "{:?}", host.files("media"));
    host.cancel(&slow).await;
    let task = host.wait_task(&slow).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("cancelled"), 1), "{task:#}");
    assert_eq!(work(&host, &slow).await["stops"], 1, "the outside may forget the results");
    assert_eq!(host.files("media").len(), 1, "{:?}", host.files("media"));
    host.stop().await;
}

#[tokio::test]
async fn an_export_is_tried_again_without_starting_the_work_again() {
    let host = home().start().await;
    let backoff = json!({ "base_ms": 0, "cap_ms": 0 });
    let run = async |input| {
        let body = json!({ "kind": "outside", "input": input, "max_attempts": 3, "backoff": backoff });
        host.wait_task(&host.create(&body).await).await
    };
    let task = run(json!({ "looks": 1, "collect_fails": 2 })).await;
    assert_eq!((&task["state"], &task["output"]["collects"]), (&json!("succeeded"), &json!(3)), "{task:#}");
    assert_eq!((attempts(&task).len(), &task["output"]["found"]["starts"]), (1, &json!(1)), "{task:#}");
    assert_eq!(host.files("media").len(), 1, "one success, one file");

    let task = run(json!({ "looks": 1, "collect_fails": 9 })).await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("asked-to")), "{task:#}");
    let task = run(json!({ "looks": 1, "trap": "collect" })).await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("trap")), "{task:#}");
    assert_eq!(work(&host, task["id"].as_str().unwrap()).await["collects"], 3);
    assert_eq!(host.files("media").len(), 1, "no success, no file");
    host.stop().await;
}

#[tokio::test]
async fn i14_an_export_goes_on_after_a_restart() {
    let home = home().configure(|config| config.runner.shutdown_grace_ms = 500);
    let host = home.start().await;
    let mut events = host.events().await;
    let id = host.enqueue("outside", &json!({ "looks": 1, "collect_ms": 50_000 })).await;
    events.task(&id, "task.progress").await;
    let host = tokio::time::timeout(Duration::from_secs(20), host.restart()).await.unwrap();
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["output"]["collects"]), (&json!("succeeded"), &json!(2)), "{task:#}");
    assert_eq!((attempts(&task).len(), &task["crashes"]), (1, &json!(0)), "{task:#}");
    let expected = ["queued", "started", "work-started", "exporting", "detached", "attached", "succeeded"];
    assert_eq!(told(&host, &id).await, expected);
    assert_eq!(host.files("media").len(), 1, "{:?}", host.files("media"));
    host.stop().await;
}
