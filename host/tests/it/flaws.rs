//! What went wrong in older systems of this sort, over the whole host; the names say which.

mod crontab;
mod queue;
mod scheduler;
mod server;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use taskhost::schedule::{Action, ScheduleSpec};
use tokio::time::timeout;

use crate::support::events::PATIENCE;
use crate::support::folder::fixture;
use crate::support::{Home, TestHost, answer, attempts, list};

fn echo_home(concurrency: u32) -> Home {
    Home::new().built("echo").configure(|config| config.runner.concurrency = concurrency)
}

async fn echo_host(concurrency: u32) -> TestHost {
    echo_home(concurrency).start().await
}

fn enqueue(kind: &str, input: &str) -> Action {
    Action::Enqueue { kind: kind.to_owned(), input: input.to_owned() }
}

fn dispatch(plugin: &str, batch: u32, capacity: u32) -> Action {
    Action::Dispatch { plugin: plugin.to_owned(), batch, capacity }
}

/// A home with one schedule of the dispatcher `count`, which emits tasks with rising numbers.
fn count_home(schedule: ScheduleSpec) -> Home {
    let home = Home::new().fixture("ok");
    home.plugins().put("count", &fixture("count"), Some("[grant]\nqueue = { kinds = [\"ok\"] }\n"));
    home.configure(|config| config.schedules = vec![schedule])
}

/// A schedule, as soon as `wanted` accepts it. What its counters count has no event of its own.
async fn schedule_until(host: &TestHost, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(10));
    let found = async {
        loop {
            pace.tick().await;
            let schedule = host.get(&format!("/v1/schedules/{name}")).await;
            if wanted(&schedule) {
                return schedule;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{name} did not become what was awaited"))
}

/// Milliseconds since the epoch of an RFC 3339 text.
fn instant(text: &Value) -> i64 {
    text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// A task that fails, is tried again at once, and is given up after `max_attempts`.
fn failing(fail: &str, max_attempts: u32) -> Value {
    let backoff = json!({ "kind": "fixed", "jitter": "none", "base_ms": 1, "cap_ms": 1 });
    json!({ "kind": "echo", "input": { "fail": fail }, "max_attempts": max_attempts, "backoff": backoff })
}

/// Creates tasks in one request.
async fn create_all(host: &TestHost, tasks: &[Value]) -> Vec<String> {
    let (status, created) = host.post("/v1/tasks/batch", &json!({ "tasks": tasks })).await;
    assert_eq!(status, StatusCode::CREATED, "{created:#}");
    list(&created).iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn v4_tasks_that_always_fail_keep_nobody_waiting() {
    let host = echo_host(2).await;
    let mut bad = failing("retry", 4);
    bad["priority"] = json!(9);
    let mut tasks = vec![bad; 20];
    tasks.extend(vec![json!({ "kind": "echo", "input": [1], "priority": 0 }); 10]);
    let ids = create_all(&host, &tasks).await;
    for id in &ids[20..] {
        assert_eq!(host.wait_task(id).await["state"], "succeeded");
    }
    for id in &ids[..20] {
        let task = host.wait_task(id).await;
        assert_eq!((&task["state"], attempts(&task).len()), (&json!("failed"), 4), "{task:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn l2_l3_no_task_is_lost_between_the_queue_and_its_end() {
    // Far more than there is room for, some of which fail first and come back.
    let host = echo_host(1).await;
    let tasks: Vec<_> = (0..30)
        .map(|at| if at % 3 == 0 { failing("retry", 2) } else { json!({ "kind": "echo", "input": at }) })
        .collect();
    let ids = create_all(&host, &tasks).await;
    // Some are between two states when the host stops.
    let host = host.restart().await;
    for (at, id) in ids.iter().enumerate() {
        let expected = if at % 3 == 0 { "failed" } else { "succeeded" };
        assert_eq!(host.wait_task(id).await["state"], expected, "{at}");
    }
    assert_eq!(list(&host.get("/v1/tasks?state=queued,running").await), [] as [Value; 0]);
    host.stop().await;
}

#[tokio::test]
async fn l5_attempts_are_counted_over_restarts_and_come_to_an_end() {
    let host = echo_host(4).await;
    let mut task = failing("retry", 3);
    task["backoff"] = json!({ "kind": "fixed", "jitter": "none", "base_ms": 300, "cap_ms": 300 });
    let mut events = host.events().await;
    let id = host.create(&task).await;
    events.task(&id, "task.retrying").await;
    let host = host.restart().await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["failures"]), (&json!("failed"), &json!(3)), "{task:#}");
    assert_eq!(attempts(&task).len(), 3);
    host.stop().await;
}

#[tokio::test]
async fn v10_l12_an_attempt_that_takes_too_long_is_tried_again_and_given_up() {
    let host = echo_host(4).await;
    let mut task = failing("retry", 2);
    task["input"] = json!({ "sleep_ms": 60_000 });
    task["timeout_ms"] = json!(60);
    let id = host.create(&task).await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["error"]["code"]), (&json!("failed"), &json!("timed-out")), "{task:#}");
    assert_eq!(attempts(&task).len(), 2, "each attempt has the whole time");
    host.stop().await;
}

#[tokio::test]
async fn l12_a_task_that_waits_beyond_its_deadline_never_runs() {
    let host = echo_host(1).await;
    let mut events = host.events().await;
    let blocker = host.enqueue("echo", &json!({ "sleep_ms": 60_000 })).await;
    events.task(&blocker, "task.started").await;
    let soon = jiff::Timestamp::now() + std::time::Duration::from_millis(200);
    let late = host.create(&json!({ "kind": "echo", "input": 1, "deadline": soon.to_string() })).await;
    let task = host.wait_task(&late).await;
    assert_eq!((&task["error"]["code"], attempts(&task).len()), (&json!("expired"), 0), "{task:#}");
    host.cancel(&blocker).await;
    host.stop().await;
}

#[tokio::test]
async fn l13_only_failures_that_may_pass_are_tried_again() {
    let host = echo_host(4).await;
    for (fail, expected) in [("fatal", 1), ("retry", 3)] {
        let id = host.create(&failing(fail, 3)).await;
        let task = host.wait_task(&id).await;
        assert_eq!((&task["state"], attempts(&task).len()), (&json!("failed"), expected), "{task:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn l22_a_task_that_is_put_back_starts_anew_and_keeps_its_history() {
    let host = echo_host(1).await;
    let ids = create_all(&host, &[failing("fatal", 3), failing("retry", 2)]).await;
    for id in &ids {
        host.wait_task(id).await;
    }
    let mut events = host.events().await;
    let blocker = host.enqueue("echo", &json!({ "sleep_ms": 60_000 })).await;
    events.task(&blocker, "task.started").await;
    let (status, answer) = host.post("/v1/tasks/redrive", &json!({ "kind": "echo" })).await;
    assert_eq!((status, &answer["redriven"]), (StatusCode::OK, &json!(ids)), "{answer:#}");
    let task = host.task(&ids[1]).await;
    assert_eq!((&task["state"], &task["failures"], &task["error"]), (&json!("queued"), &json!(0), &Value::Null));
    assert_eq!(attempts(&task).len(), 2);
    host.cancel(&blocker).await;
    let task = host.wait_task(&ids[1]).await;
    let numbers: Vec<_> = attempts(&task).iter().map(|attempt| attempt["number"].clone()).collect();
    assert_eq!((&task["state"], numbers), (&json!("failed"), vec![json!(1), json!(2), json!(3), json!(4)]));
    host.stop().await;
}

#[tokio::test]
async fn v14_clients_that_race_with_one_key_get_one_task() {
    let host = echo_host(4).await;
    let requests = (0..12).map(|_| {
        let request = host.request(Method::POST, "/v1/tasks").header("idempotency-key", "order-1");
        answer(request.json(&json!({ "kind": "echo", "input": { "a": 1 } })))
    });
    let answers = futures_util::future::join_all(requests).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count(), 1);
    assert!(answers.iter().all(|(_, task)| task["id"] == answers[0].1["id"]), "{answers:?}");
    let id = answers[0].1["id"].as_str().unwrap().to_owned();
    host.wait_task(&id).await;
    // It is known after it has ended, and after a restart.
    let host = host.restart().await;
    let request = host.request(Method::POST, "/v1/tasks").header("idempotency-key", "order-1");
    let (status, task) = answer(request.json(&json!({ "kind": "echo", "input": { "a": 1 } }))).await;
    assert_eq!((status, &task["id"], &task["state"]), (StatusCode::OK, &json!(id), &json!("succeeded")));
    let request = host.request(Method::POST, "/v1/tasks").header("idempotency-key", "order-1");
    let (status, problem) = answer(request.json(&json!({ "kind": "echo", "input": { "a": 2 } }))).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("idempotency-mismatch")));
    host.stop().await;
}
