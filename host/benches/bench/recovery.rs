//! The real binary is killed with tasks running: how long after its restart they run again.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::child::{install, start};
use crate::report::Report;
use crate::rig::{built, millis, quantile, runtime, scratch};

const ROUNDS: usize = 5;
const TASKS: usize = 64;

/// Measured from the start of the process to the moment at which all run their next attempt.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let (mut all, mut ready) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (took, until_ready) = round().await;
            all.push(took);
            ready.push(until_ready);
        }
        report.add("recovery", "restart_to_ready_p50", millis(quantile(&mut ready, 0.5)), "ms", None);
        report.add("recovery", "restart_to_all_running_p50", millis(quantile(&mut all, 0.5)), "ms", None);
        report.add("recovery", "restart_to_all_running_max", millis(quantile(&mut all, 1.0)), "ms", None);
    });
}

async fn round() -> (Duration, Duration) {
    let dir = scratch();
    let (component, manifest) = built("echo");
    install(dir.path(), "echo", &component, &manifest);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let child = start(dir.path(), &[]).await;
    let base = format!("http://{}", child.address);
    let task = json!({ "kind": "echo", "input": { "sleep_ms": 600_000 } });
    let batch = json!({ "tasks": vec![task; TASKS] });
    client.post(format!("{base}/v1/tasks/batch")).json(&batch).send().await.unwrap().error_for_status().unwrap();
    running(&client, &base, 1).await;
    // The guard kills it without a word.
    drop(child);
    let begin = Instant::now();
    let child = start(dir.path(), &[]).await;
    running(&client, &format!("http://{}", child.address), 2).await;
    (begin.elapsed(), child.ready)
}

/// Waits until every task runs its attempt of this number.
async fn running(client: &reqwest::Client, base: &str, attempt: u64) {
    let mut pace = tokio::time::interval(Duration::from_millis(2));
    loop {
        pace.tick().await;
        let answer = client.get(format!("{base}/v1/tasks?state=running&limit=1000")).send().await.unwrap();
        let page: Value = answer.json().await.unwrap();
        let tasks = page["tasks"].as_array().unwrap();
        if tasks.iter().filter(|task| task["attempt"] == attempt).count() == TASKS {
            return;
        }
    }
}
