//! Guests that mean harm: each costs an attempt with a reason, and nobody else anything.

mod calls;
mod dispatchers;
mod files;
mod guests;
mod leaks;
mod scene;

use serde_json::{Value, json};

use crate::support::folder::fixture;
use crate::support::{Home, TestHost, attempts, list};

/// Runs the fixture `name` once, beside tasks of a good plugin that must not notice.
async fn run_beside_others(name: &str) -> (TestHost, Value) {
    let home = Home::new().built("echo");
    home.plugins().put(name, &fixture(name), Some("[limits]\ncpu = \"300ms\"\nmemory = \"8MiB\"\n"));
    let host = home.start().await;
    let backoff = json!({ "base_ms": 1, "cap_ms": 1 });
    let kind = name.split('-').next();
    let id = host.create(&json!({ "kind": kind, "input": {}, "max_attempts": 1, "backoff": backoff })).await;
    for number in 0..20 {
        let task = host.run("echo", &json!({ "number": number })).await;
        assert_eq!(task["state"], "succeeded", "{task:#}");
    }
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "failed", "{task:#}");
    assert_eq!(attempts(&task).len(), 1, "{task:#}");
    // The host is as well as before.
    assert_eq!(host.run("echo", &json!([1])).await["output"], json!([1]));
    (host, task)
}

fn code(task: &Value) -> &str {
    attempts(task)[0]["error"]["code"].as_str().unwrap_or_else(|| panic!("a code in {task:#}"))
}

#[tokio::test]
async fn i8_a_guest_that_spins_runs_out_of_cpu_time() {
    let (host, task) = run_beside_others("spin").await;
    assert_eq!(code(&task), "cpu-limit", "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn v9_a_guest_that_traps_fails_its_attempt_with_a_backtrace() {
    let (host, task) = run_beside_others("trap").await;
    assert_eq!(code(&task), "trap", "{task:#}");
    assert_eq!(attempts(&task)[0]["outcome"], "crashed");
    host.stop().await;
}

#[tokio::test]
async fn i8_a_guest_that_grows_runs_out_of_memory() {
    let (host, task) = run_beside_others("grow").await;
    assert_eq!(code(&task), "out-of-memory", "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn i8_a_guest_that_recurses_runs_out_of_stack() {
    let (host, task) = run_beside_others("recurse").await;
    assert_eq!(code(&task), "stack-overflow", "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn a_guest_that_lies_about_its_output_has_broken_its_contract() {
    for name in ["lie-json", "lie-pointer", "lie-discriminant"] {
        let (host, task) = run_beside_others(name).await;
        assert_eq!(code(&task), "contract-violation", "{task:#}");
        host.stop().await;
    }
}

#[tokio::test]
async fn i8_c4_a_flood_of_log_lines_is_cut_off_and_counted() {
    let host = Home::new().built("echo").fixture("flood").start().await;
    let task = host.run("flood", &json!({})).await;
    assert!(task["state"] == "succeeded" || task["state"] == "failed", "{task:#}");
    let id = task["id"].as_str().unwrap();
    let (mut offset, mut bytes) = (0, 0);
    loop {
        let page = host.get(&format!("/v1/tasks/{id}/logs?offset={offset}")).await;
        let next = page["next_offset"].as_u64().unwrap();
        if list(&page).is_empty() || next == offset {
            break;
        }
        for line in list(&page) {
            bytes += line.to_string().len();
        }
        offset = next;
    }
    assert!(bytes < 4 << 20, "{bytes} bytes are kept");
    assert!(bytes > 0);
    host.stop().await;
}

#[tokio::test]
async fn i5_a_task_that_always_crashes_is_parked_as_poison() {
    let host = TestHost::with(&["trap"]).await;
    let backoff = json!({ "base_ms": 1, "cap_ms": 1 });
    let id = host.create(&json!({ "kind": "trap", "input": {}, "max_attempts": 100, "backoff": backoff })).await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "failed", "{task:#}");
    assert_eq!(task["error"]["code"], "poison", "{task:#}");
    assert_eq!((task["crashes"].as_u64(), task["failures"].as_u64()), (Some(3), Some(0)));
    host.stop().await;
}

#[tokio::test]
async fn l20_twenty_spinning_guests_leave_the_api_and_other_tasks_alone() {
    let host = Home::new().built("echo").fixture("spin").start().await;
    let mut events = host.events_of("?kind=spin", None).await;
    let mut spinning = Vec::new();
    for _ in 0..20 {
        let id = host.enqueue("spin", &json!({})).await;
        spinning.push(id);
    }
    events.task(&spinning[19], "task.started").await;
    for number in 0..20 {
        assert_eq!(host.run("echo", &json!(number)).await["state"], "succeeded");
    }
    for id in &spinning {
        host.cancel(id).await;
    }
    for id in &spinning {
        let task = host.wait_task(id).await;
        assert!(task["state"] == "cancelled" || code(&task) == "cpu-limit", "{task:#}");
    }
    host.stop().await;
}
