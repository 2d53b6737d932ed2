//! What becomes of attempts that run while their plugin is replaced or removed.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::admin::Admin;
use crate::support::folder::{fixture, variant};
use crate::support::{Home, TestHost, attempts};

/// Wakes up a second after the replacement at the latest, and is interrupted soon after that.
const BRISK: &str = "[reload]\ndrain = \"200ms\"\nyield_grace = \"300ms\"\n";

/// The sleep of the fixture `resume`, and a sleep from which it yields when the host wants that.
const SLEEP: &str = "(drop (call $sleep (i64.const 3600000)))";
const SLEEP_OR_YIELD: &str = "(if (i32.eq (call $sleep (i64.const 3600000)) (i32.const 2)) (then
    (i32.store8 (i32.const 512) (i32.const 1)) (i32.store8 (i32.const 520) (i32.const 4)) (return (i32.const 512))))";

/// Saves a checkpoint, then sleeps for an hour or until it is to yield. With a checkpoint it returns its input.
fn yielding() -> Vec<u8> {
    variant("resume", SLEEP, SLEEP_OR_YIELD)
}

/// The same code with another digest.
fn renewed(component: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    // A custom section: id 0, its size, the length of its name, its name.
    bytes.extend_from_slice(&[0, 5, 4, b'n', b'o', b't', b'e']);
    bytes
}

fn digest(plugin: &Value) -> String {
    plugin["live"]["digest"].as_str().unwrap_or_default().to_owned()
}

/// A host with one plugin, a task that has started on it, and the plugin as it stood then.
async fn running(name: &str, component: &[u8], manifest: &str) -> (TestHost, String, Value) {
    let home = Home::new();
    home.plugins().put(name, component, Some(manifest));
    let host = home.start().await;
    let plugin = host.plugin(name).await.unwrap();
    let mut events = host.events().await;
    let task = host.enqueue(name, &json!({ "n": 1 })).await;
    events.task(&task, "task.started").await;
    (host, task, plugin)
}

#[tokio::test]
async fn after_the_drain_an_attempt_yields_and_goes_on_from_its_checkpoint_on_the_new_generation() {
    let (host, task, old) = running("resume", &yielding(), BRISK).await;
    let mut events = host.events().await;
    // It has its checkpoint once it has reported.
    while host.task(&task).await["progress"].is_null() {
        events.task(&task, "task.progress").await;
    }
    host.plugins().put("resume", &renewed(&yielding()), None);
    let ended = host.wait_task(&task).await;
    assert_eq!((&ended["state"], &ended["output"]), (&json!("succeeded"), &json!({ "n": 1 })), "{ended:#}");
    let [first, second] = attempts(&ended) else { panic!("two attempts: {ended:#}") };
    assert_eq!((&first["outcome"], &first["digest"]), (&json!("returned"), &json!(digest(&old))));
    assert_eq!(
        (&second["outcome"], &second["digest"]),
        (&json!("succeeded"), &json!(digest(&host.plugin("resume").await.unwrap())))
    );
    assert_ne!(first["digest"], second["digest"]);
    host.stop().await;
}

#[tokio::test]
async fn a_guest_that_does_not_yield_is_interrupted_and_that_is_no_failure() {
    let (host, task, old) = running("spin", &fixture("spin"), &format!("{BRISK}[limits]\ncpu = \"1h\"\n")).await;
    let mut events = host.events().await;
    host.plugins().put("spin", &renewed(&fixture("spin")), None);
    // Returned, not counted, and running again on the new generation.
    let again = events.task(&task, "task.started").await;
    assert_ne!(again.data["digest"], json!(digest(&old)), "{again:?}");
    let running = host.task(&task).await;
    assert_eq!(attempts(&running)[0]["outcome"], "returned", "{running:#}");
    assert!(attempts(&running)[0]["error"].is_null(), "{running:#}");
    host.plugin_until("spin", |plugin| plugin["draining"] == json!([])).await;
    host.cancel(&task).await;
    assert_eq!(host.wait_task(&task).await["state"], "cancelled");
    host.stop().await;
}

#[tokio::test]
async fn attempts_of_a_removed_plugin_are_interrupted_and_wait_for_it() {
    let (host, task, _) = running("wait", &fixture("wait"), BRISK).await;
    let mut events = host.events().await;
    host.plugins().delete("wait");
    events.task(&task, "task.retrying").await;
    let waiting = host.task(&task).await;
    assert_eq!((&waiting["state"], &attempts(&waiting)[0]["outcome"]), (&json!("queued"), &json!("returned")));
    assert_eq!(waiting["parked"]["reason"], "no plugin executes the kind");
    host.stop().await;
}

#[tokio::test]
async fn who_drains_is_told_with_since_when_and_until_when() {
    let (host, task, old) = running("wait", &fixture("wait"), "[reload]\ndrain = \"1h\"\n").await;
    host.plugins().put("wait", &renewed(&fixture("wait")), Some("[reload]\ndrain = \"30m\"\nyield_grace = \"1m\"\n"));
    let plugin = host.plugin_until("wait", |plugin| digest(plugin) != digest(&old)).await;
    let draining = &plugin["draining"][0];
    assert_eq!((&draining["digest"], &draining["running"]), (&json!(digest(&old)), &json!(1)), "{plugin:#}");
    let at = |key: &str| draining[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    // As the new manifest says, not the old one.
    assert_eq!((at("yield_at") - at("since"), at("interrupt_at") - at("yield_at")), (1_800_000, 60_000));
    host.cancel(&task).await;
    assert_eq!(host.wait_task(&task).await["state"], "cancelled");
    host.plugin_until("wait", |plugin| plugin["draining"] == json!([])).await;
    host.stop().await;
}

/// Starts a task and waits until its attempt has begun: its id and the digest that it runs on.
async fn started(host: &TestHost, kind: &str) -> (String, Value) {
    let mut events = host.events().await;
    let task = host.enqueue(kind, &json!({ "n": 1 })).await;
    let begun = events.task(&task, "task.started").await;
    (task, begun.data["digest"].clone())
}

#[tokio::test]
async fn a_rollback_while_the_generation_before_drains_lets_both_drain() {
    let (host, first, old) = running("wait", &fixture("wait"), "[reload]\ndrain = \"1h\"\n").await;
    let admin = Admin::of(&host);
    assert_eq!(admin.put("wait", renewed(&fixture("wait"))).await.0, StatusCode::OK);
    let (second, new) = started(&host, "wait").await;
    let (status, told) = admin.roll_back("wait").await;
    assert_eq!((status, &told["before"]), (StatusCode::OK, &new), "{told:#}");
    let (third, digest_of_third) = started(&host, "wait").await;
    assert_eq!(digest_of_third, digest(&old));
    assert_eq!(admin.roll_back("wait").await.0, StatusCode::CONFLICT, "there is nothing before it");

    let told = async || {
        let history = host.get("/v1/plugins/wait/history").await;
        let told = |it: &Value| (it["end"].clone(), it["draining"]["running"].clone(), it["restores"].clone());
        history["generations"].as_array().unwrap().iter().map(told).collect::<Vec<_>>()
    };
    let (live, back, gone) = (Value::Null, json!("rolled-back"), json!("replaced"));
    let drain = |of_second: Value, of_first: Value| {
        vec![
            (live.clone(), Value::Null, json!(1)),
            (back.clone(), of_second, Value::Null),
            (gone.clone(), of_first, Value::Null),
        ]
    };
    assert_eq!(told().await, drain(json!(1), json!(1)), "two generations of the same digest, and the one between");
    let plugin = host.plugin("wait").await.unwrap();
    assert_eq!(
        (&plugin["live"]["running"], plugin["draining"].as_array().unwrap().len()),
        (&json!(1), 2),
        "{plugin:#}"
    );
    for (task, left) in [(&first, drain(json!(1), Value::Null)), (&second, drain(Value::Null, Value::Null))] {
        host.cancel(task).await;
        host.wait_task(task).await;
        let draining = left.iter().filter(|(_, running, _)| !running.is_null()).count();
        host.plugin_until("wait", |plugin| plugin["draining"].as_array().unwrap().len() == draining).await;
        assert_eq!(told().await, left);
    }
    host.cancel(&third).await;
    for (task, digest) in [(first, digest(&old)), (second, new.as_str().unwrap().to_owned()), (third, digest(&old))] {
        let ended = host.wait_task(&task).await;
        let [attempt] = attempts(&ended) else { panic!("one attempt: {ended:#}") };
        assert_eq!((&ended["state"], &attempt["digest"]), (&json!("cancelled"), &json!(digest)), "{ended:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn i14_attempts_that_rollbacks_interrupt_are_not_counted_and_none_is_lost() {
    let (host, first, _) = running("resume", &yielding(), BRISK).await;
    let admin = Admin::of(&host);
    let mut tasks = vec![first];
    for turn in 0..6 {
        let (status, told) = match turn % 2 {
            0 => admin.put("resume", renewed(&yielding())).await,
            _ => admin.roll_back("resume").await,
        };
        assert_eq!(status, StatusCode::OK, "{turn}: {told:#}");
        tasks.push(started(&host, "resume").await.0);
    }
    // Those of the last generation yield, too.
    assert_eq!(admin.put("resume", renewed(&renewed(&yielding()))).await.0, StatusCode::OK);
    for task in tasks {
        let ended = host.wait_task(&task).await;
        assert_eq!((&ended["state"], &ended["output"]), (&json!("succeeded"), &json!({ "n": 1 })), "{ended:#}");
        let outcomes: Vec<_> = attempts(&ended).iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
        let (last, before) = outcomes.split_last().unwrap();
        assert!(*last == "succeeded" && before.iter().all(|outcome| *outcome == "returned"), "{ended:#}");
    }
    host.plugin_until("resume", |plugin| plugin["draining"] == json!([])).await;
    host.stop().await;
}
