//! Cancel, timeout and failure of outside work.

use serde_json::json;

use super::{endless, told, work};
use crate::support::{Home, attempts};

fn impatient() -> Home {
    super::home().configure(|config| config.runner.stop_grace_ms = 400)
}

#[tokio::test]
async fn a_cancel_stops_outside_work_gracefully_then_at_once_then_gives_it_up() {
    let host = impatient().start().await;
    // How many ways of stopping it is deaf to; who stopped it, calls of `stop`, whether it may go on.
    for (deaf, stopped_by, stops, abandoned) in [(0, "guest", 1, None), (1, "host", 2, None), (2, "host", 2, Some(1))] {
        let id = endless(&host, json!({ "deaf": deaf })).await;
        host.cancel(&id).await;
        let task = host.wait_task(&id).await;
        assert_eq!((&task["state"], &task["cancel"]["stopped_by"]), (&json!("cancelled"), &json!(stopped_by)));
        assert_eq!(work(&host, &id).await["stops"], stops, "deaf {deaf}");
        assert_eq!(task["work"]["abandoned"].as_u64(), abandoned, "{task:#}");
        assert!(task["cancel"]["acknowledged_at"].is_string(), "{task:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn work_that_a_failing_or_trapping_stop_cannot_reach_is_given_up() {
    let host = impatient().start().await;
    for how in ["trap", "fail"] {
        let id = endless(&host, json!({ how: "stop", "deaf": 2 })).await;
        host.cancel(&id).await;
        let task = host.wait_task(&id).await;
        assert_eq!((&task["state"], &task["work"]["abandoned"]), (&json!("cancelled"), &json!(1)), "{task:#}");
        assert_eq!(work(&host, &id).await["stops"], 6, "each way is tried a few times");
    }
    host.stop().await;
}

#[tokio::test]
async fn l12_outside_work_that_takes_too_long_is_stopped_and_tried_again_as_other_work() {
    let host = impatient().start().await;
    let backoff = json!({ "base_ms": 0, "cap_ms": 0 });
    let input = json!({ "poll_after_ms": 0 });
    let body = json!({ "kind": "outside", "input": input, "timeout_ms": 600, "max_attempts": 2, "backoff": backoff });
    let id = host.create(&body).await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("timed-out")), "{task:#}");
    assert_eq!((attempts(&task).len(), &task["work"]["ended"]), (2, &json!(2)), "{task:#}");
    for key in [id.clone(), format!("{id}.1")] {
        let work = work(&host, &key).await;
        assert_eq!((&work["starts"], &work["stops"], &work["stopped"]), (&json!(1), &json!(1), &json!(true)), "{work}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_timeout_or_a_cancel_during_the_start_waits_for_the_handle_and_stops_the_work() {
    let host = impatient().start().await;
    let input = json!({ "start_ms": 1_500 });
    let body = json!({ "kind": "outside", "input": input, "timeout_ms": 200, "max_attempts": 1 });
    let late = host.create(&body).await;
    let mut events = host.events().await;
    let unwanted = host.enqueue("outside", &json!({ "start_ms": 1_500 })).await;
    events.task(&unwanted, "task.started").await;
    host.cancel(&unwanted).await;
    let task = host.wait_task(&late).await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("timed-out")), "{task:#}");
    let task = host.wait_task(&unwanted).await;
    assert_eq!(task["state"], "cancelled", "{task:#}");
    assert_eq!(work(&host, &late).await["stopped"], true);
    // A cancel that came before the start has started nothing.
    if told(&host, &unwanted).await.contains(&"work-started".to_owned()) {
        assert_eq!(work(&host, &unwanted).await["stopped"], true);
    }
    host.stop().await;
}

#[tokio::test]
async fn what_has_ended_otherwise_is_a_failure_of_its_attempt() {
    let host = impatient().start().await;
    let backoff = json!({ "base_ms": 0, "cap_ms": 0 });
    for (end, ended) in [("retry", 2), ("fatal", 1)] {
        let body =
            json!({ "kind": "outside", "input": { "looks": 1, "end": end }, "max_attempts": 2, "backoff": backoff });
        let id = host.create(&body).await;
        let task = host.wait_task(&id).await;
        assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("asked-to")), "{task:#}");
        assert_eq!((&task["work"]["ended"], attempts(&task).len()), (&json!(ended), ended), "{task:#}");
    }
    // A handle that is too large is a breach of the contract.
    let body = json!({ "kind": "outside", "input": { "padding": 20_000 }, "max_attempts": 2, "backoff": backoff });
    let id = host.create(&body).await;
    let task = host.wait_task(&id).await;
    let code = &task["error"]["code"];
    assert_eq!((&task["state"], code), (&json!("failed"), &json!("contract-violation")), "{task:#}");
    assert_eq!(task["work"]["abandoned"], 1, "it has begun, and nobody has its handle: {task:#}");
    host.stop().await;
}

#[tokio::test]
async fn a_look_that_fails_says_nothing_about_the_work() {
    let host = impatient().start().await;
    let trapping = host.enqueue("outside", &json!({ "looks": 3, "trap": "status", "trap_looks": 2 })).await;
    let failing = host.enqueue("outside", &json!({ "looks": 3, "fail": "status", "trap_looks": 2 })).await;
    for id in [trapping, failing] {
        let task = host.wait_task(&id).await;
        assert_eq!((&task["state"], &task["crashes"], &task["failures"]), (&json!("succeeded"), &json!(0), &json!(0)));
        assert_eq!(task["output"]["found"]["looks"], 3, "{task:#}");
    }
    host.stop().await;
}
