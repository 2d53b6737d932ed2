//! Guests that never wait: how soon they are cancelled, and what others notice of twenty of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::live::Live;
use crate::report::Report;
use crate::rig::{fixture, millis, quantile, runtime};

const CANCELS: usize = 50;
const SPINNERS: usize = 20;
const SAMPLES: usize = 200;
/// So much computing time that only a cancel ends a spinning guest.
const MANIFEST: &str = "[limits]\ncpu = \"1h\"\nwall = \"1h\"\n";

/// Waits until so many tasks run.
pub(crate) async fn running(live: &Live, wanted: usize) {
    let store = live.host.store();
    let mut events = store.subscribe();
    loop {
        let counts = store.live_counts().await.unwrap();
        let now: u64 = counts.iter().map(|kind| kind.running).sum();
        if now == wanted as u64 {
            return;
        }
        // Missed events are as good a reason to look again.
        let _ = events.recv().await;
    }
}

/// From the request to the durable end.
async fn cancels(live: &Live) -> Vec<Duration> {
    let mut samples = Vec::new();
    for _ in 0..CANCELS {
        let id = live.enqueue("spin", &json!({})).await;
        running(live, 1).await;
        let begin = Instant::now();
        live.post(&format!("/v1/tasks/{id}/cancel"), &Value::Null).await;
        let task = live.wait(&id).await;
        samples.push(begin.elapsed());
        assert_eq!(task["state"], "cancelled", "{task:#}");
    }
    samples
}

/// Whole lives of small tasks, and plain requests, while others spin.
async fn beside_spinners(live: &Live) -> (Vec<Duration>, Vec<Duration>) {
    let mut spinning = Vec::new();
    for _ in 0..SPINNERS {
        spinning.push(live.enqueue("spin", &json!({})).await);
    }
    running(live, SPINNERS).await;
    let (mut tasks, mut requests) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let begin = Instant::now();
        let id = live.enqueue("ok", &json!({})).await;
        let task = live.wait(&id).await;
        tasks.push(begin.elapsed());
        assert_eq!(task["state"], "succeeded", "{task:#}");
        let begin = Instant::now();
        live.client.get(format!("{}/v1/tasks/{id}", live.base)).send().await.unwrap().bytes().await.unwrap();
        requests.push(begin.elapsed());
    }
    for id in &spinning {
        live.post(&format!("/v1/tasks/{id}/cancel"), &Value::Null).await;
    }
    for id in &spinning {
        assert_eq!(live.wait(id).await["state"], "cancelled");
    }
    (tasks, requests)
}

/// Everything over HTTP, as clients see it.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let plugins = [("ok", fixture("ok"), String::new()), ("spin", fixture("spin"), MANIFEST.to_owned())];
        let live = Live::start(&plugins).await;
        let mut cancels = cancels(&live).await;
        let (mut tasks, mut requests) = beside_spinners(&live).await;
        for (metric, samples) in
            [("cancel", &mut cancels), ("task_beside_20", &mut tasks), ("request_beside_20", &mut requests)]
        {
            for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
                report.add("spin", &format!("{metric}_{name}"), millis(quantile(samples, share)), "ms", None);
            }
        }
        live.stop().await;
    });
}
