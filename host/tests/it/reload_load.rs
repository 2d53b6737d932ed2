//! Thirty reloads while tasks run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::reload::sha256;
use crate::support::folder::variant;
use crate::support::{Home, TestHost, attempts};

const RELOADS: usize = 30;
const WRITERS: usize = 4;

/// Version `number` of the fixture, whose output says which it is.
fn version(number: usize) -> (Vec<u8>, Value) {
    let output = format!("v{number:02}");
    (variant("version", OUTPUT, &output), json!(output))
}

/// What the fixture answers, as it stands in its text.
const OUTPUT: &str = "v00";

async fn write(host: &TestHost, done: &AtomicBool) -> Vec<String> {
    let mut ids = Vec::new();
    while !done.load(Ordering::Relaxed) {
        ids.push(host.enqueue("version", &json!({})).await);
    }
    ids
}

/// Every task succeeded, in one attempt, with the output of the very component whose digest it recorded.
async fn check(host: &TestHost, ids: &[String], outputs: &HashMap<String, Value>) {
    let mut used = HashMap::<String, usize>::new();
    for id in ids {
        let task = host.wait_task(id).await;
        assert_eq!(task["state"], "succeeded", "{task:#}");
        assert_eq!(attempts(&task).len(), 1, "{task:#}");
        let digest = attempts(&task)[0]["digest"].as_str().unwrap();
        assert_eq!(Some(&task["output"]), outputs.get(digest), "{task:#}");
        *used.entry(digest.to_owned()).or_default() += 1;
    }
    assert!(used.len() > RELOADS / 2, "most generations have run something: {used:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_thirty_reloads_under_load_lose_fail_and_mix_nothing() {
    let versions: Vec<_> = (0..=RELOADS).map(version).collect();
    let outputs = versions.iter().map(|(bytes, output)| (sha256(bytes), output.clone())).collect();
    let home = Home::new();
    home.plugins().put("version", &versions[0].0, None);
    let host = home.start().await;
    let done = AtomicBool::new(false);
    let reloads = async {
        for (bytes, _) in &versions[1..] {
            let digest = sha256(bytes);
            // Half of the file first, then the whole: neither may be seen half.
            host.plugins().overwrite("version", &bytes[..bytes.len() / 2]);
            host.plugins().put("version", bytes, None);
            host.plugin_until("version", |plugin| plugin["live"]["digest"] == digest.as_str()).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let writers = futures_util::future::join_all((0..WRITERS).map(|_| write(&host, &done)));
    let (ids, ()) = tokio::join!(writers, reloads);
    let ids: Vec<_> = ids.into_iter().flatten().collect();
    check(&host, &ids, &outputs).await;
    host.stop().await;
}
