//! A plugin is replaced while it steers: whatever its manifest says of attempts that run, the work goes on and the new
//! generation looks after it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::callback::{call, token};
use super::{begun, change, endless, home, told, work};
use crate::support::events::PATIENCE;
use crate::support::{TestHost, answer, attempts, folder};

/// Attempts of an executor go on for an hour, are asked to yield at once, or are interrupted at once.
const POLICIES: [(&str, &str); 3] = [("1h", "1h"), ("0s", "1h"), ("0s", "0s")];

/// The manifest with a policy.
fn manifest((drain, grace): (&str, &str)) -> String {
    format!("{}\n[reload]\ndrain = \"{drain}\"\nyield_grace = \"{grace}\"\n", folder::outside().1)
}

/// Puts another version in, and waits until it is live. Answers its digest.
async fn replace(host: &TestHost, policy: (&str, &str)) -> Value {
    let old = host.plugin("outside").await.unwrap()["live"]["digest"].clone();
    let (mut component, _) = folder::outside();
    component.extend_from_slice(&[0, 5, 4, b'n', b'o', b't', b'e']);
    host.plugins().put("outside", &component, Some(&manifest(policy)));
    let plugin = host.plugin_until("outside", |plugin| plugin["live"]["digest"] != old).await;
    plugin["live"]["digest"].clone()
}

/// Waits until the outside work has got somewhere.
async fn until(host: &TestHost, key: &str, wanted: impl Fn(&Value) -> bool) {
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(10));
    let seen = async {
        while !wanted(&work(host, key).await) {
            pace.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("the work did not get there");
}

/// The work was started once and never stopped, and `digest` brought it to its end.
async fn is_handed_over(host: &TestHost, id: &str, digest: &Value) {
    let task = host.wait_task(id).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 1), "{task:#}");
    assert_eq!(&attempts(&task)[0]["digest"], digest, "{task:#}");
    let work = work(host, id).await;
    assert_eq!((&work["starts"], &work["stops"]), (&json!(1), &json!(0)), "{work}");
    host.plugin_until("outside", |plugin| plugin["draining"] == json!([])).await;
}

#[tokio::test]
async fn work_between_two_looks_is_handed_over_whatever_the_policy() {
    for policy in POLICIES {
        let host = home().start().await;
        let id = endless(&host, json!({ "poll_after_ms": 3_600_000 })).await;
        let token = token(&host, &id, 1).await;
        let digest = replace(&host, policy).await;
        change(&host, &id, "done").await;
        assert_eq!(call(&host, &id, &token).await.0, StatusCode::ACCEPTED);
        is_handed_over(&host, &id, &digest).await;
        let told = told(&host, &id).await;
        assert_eq!(told, ["queued", "started", "work-started", "called-back", "exporting", "succeeded"]);
        host.stop().await;
    }
}

#[tokio::test]
async fn a_start_and_a_look_under_way_are_finished_whatever_the_policy() {
    for policy in POLICIES {
        let host = home().start().await;
        let looking = endless(&host, json!({ "looks": 3, "poll_after_ms": 0, "look_ms": 60_000 })).await;
        until(&host, &looking, |work| work["looks"] == 1).await;
        let starting = host.enqueue("outside", &json!({ "looks": 1, "start_ms": 60_000 })).await;
        token(&host, &starting, 1).await;
        let digest = replace(&host, policy).await;
        for id in [&looking, &starting] {
            change(&host, id, "released").await;
        }
        for id in [&looking, &starting] {
            is_handed_over(&host, id, &digest).await;
            assert!(!told(&host, id).await.contains(&"detached".to_owned()));
        }
        assert_eq!(work(&host, &looking).await["looks"], 3, "no look was made twice");
        host.stop().await;
    }
}

#[tokio::test]
async fn a_rollback_while_the_old_generation_drains_hands_the_work_back() {
    let host = home().start().await;
    let (id, _) = begun(&host, json!({ "looks": 6, "poll_after_ms": 0, "look_ms": 60_000 })).await;
    until(&host, &id, |work| work["looks"] == 1).await;
    let old = host.plugin("outside").await.unwrap()["live"]["digest"].clone();
    let new = replace(&host, ("0s", "0s")).await;
    let draining = host.plugin("outside").await.unwrap()["draining"].clone();
    assert_eq!((&draining[0]["digest"], &draining[0]["running"]), (&old, &json!(1)), "its look goes on: {draining:#}");
    let token = std::fs::read_to_string(host.data().join("admin-token")).unwrap();
    let request = host.request(Method::POST, "/v1/plugins/outside/rollback").bearer_auth(token.trim());
    let (status, answer) = answer(request).await;
    assert!(status.is_success(), "{status}: {answer:#}");
    let plugin = host.plugin_until("outside", |plugin| plugin["live"]["digest"] != new).await;
    assert_eq!(plugin["live"]["digest"], old, "{plugin:#}");
    change(&host, &id, "released").await;
    is_handed_over(&host, &id, &old).await;
    host.stop().await;
}

#[tokio::test]
async fn results_on_their_way_home_are_fetched_again_by_the_new_generation_after_the_drain() {
    for policy in [("0s", "1h"), ("0s", "0s")] {
        let host = home().start().await;
        let mut events = host.events().await;
        let id = host.enqueue("outside", &json!({ "looks": 1, "collect_ms": 3_600_000 })).await;
        events.task(&id, "task.progress").await;
        let digest = replace(&host, policy).await;
        is_handed_over(&host, &id, &digest).await;
        assert_eq!(work(&host, &id).await["collects"], 2);
        assert_eq!(host.files("media").len(), 1, "{:?}", host.files("media"));
        host.stop().await;
    }
}
