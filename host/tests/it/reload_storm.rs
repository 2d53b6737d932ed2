//! A plugin is replaced again and again while tasks run: nothing is lost, done twice or done by the wrong code, and
//! nothing is left behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use taskhost::event::{Change, TaskChange};
use taskhost::store::Store;
use taskhost::task::{Digest, State, Task, TaskId};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::reload::sha256;
use crate::support::admin::Admin;
use crate::support::binary::{Place, Served};
use crate::support::folder::variant;
use crate::support::{Home, TestHost, expect_json, files, list};

/// Seconds of the storm when `TASKHOST_STORM_SECONDS` does not say.
const SECONDS: u64 = 3;
/// Reloads when `TASKHOST_RELOADS` does not say.
const RELOADS: u64 = 40;
/// Between two swaps.
const PACE: Duration = Duration::from_millis(50);
const WRITERS: usize = 4;
/// Tasks in one request of a writer.
const BATCH: usize = 20;
/// What the fixture answers, as it stands in its text.
const OUTPUT: &str = "v00";

fn asked_for(name: &str, default: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long a test goes on is for whoever runs the tests")]
    let asked = std::env::var(name);
    asked.map_or(default, |asked| asked.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Version `number` of the fixture, whose output says which it is.
fn version(number: u64) -> (Vec<u8>, String) {
    let output = format!("{:03x}", number % 0x1000);
    (variant("version", OUTPUT, &output), output)
}

async fn write(host: &TestHost, done: &AtomicBool) -> Vec<TaskId> {
    let mut ids = Vec::new();
    let tasks: Vec<_> = (0..BATCH).map(|_| json!({ "kind": "version", "input": {} })).collect();
    while !done.load(Ordering::Relaxed) {
        let (status, made) = host.post("/v1/tasks/batch", &json!({ "tasks": tasks })).await;
        assert!(status.is_success(), "{made:#}");
        ids.extend(list(&made).iter().map(|task| task["id"].as_str().unwrap().parse::<TaskId>().unwrap()));
    }
    ids
}

/// How often each task has succeeded, by the events; every change is among them.
async fn successes(store: &Arc<dyn Store>) -> HashMap<TaskId, u32> {
    let (mut counts, mut after) = (HashMap::new(), 0);
    loop {
        let page = store.events(after, 1_000).await.unwrap();
        let Some(last) = page.events.last() else { return counts };
        after = last.seq;
        for event in &page.events {
            if let Change::Task { id, change: TaskChange::Succeeded, .. } = &event.change {
                *counts.entry(*id).or_default() += 1;
            }
        }
    }
}

/// It succeeded at once, with the output of the very component whose digest it recorded.
fn check(task: &Task, outputs: &HashMap<Digest, String>) -> Digest {
    let State::Succeeded { output, .. } = &task.status.state else { panic!("{task:#?}") };
    let [attempt] = &task.status.history[..] else { panic!("one attempt: {task:#?}") };
    assert_eq!(*output, format!("{:?}", outputs[&attempt.digest]), "{task:#?}");
    attempt.digest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_storm_of_reloads_loses_doubles_and_mixes_nothing() {
    let swaps = asked_for("TASKHOST_STORM_SECONDS", SECONDS) * 1_000 / u64::try_from(PACE.as_millis()).unwrap();
    // What a long storm does is more than is kept unless asked for.
    let home = Home::new().configure(|config| {
        config.history.succeeded.max_tasks = 100_000_000;
        config.history.max_events = 100_000_000;
    });
    home.plugins().put("version", &version(0).0, None);
    let host = home.start().await;
    let done = AtomicBool::new(false);
    let storm = async {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 1..=swaps {
            let (bytes, _) = version(number);
            pace.tick().await;
            host.plugins().put("version", &bytes, None);
        }
        done.store(true, Ordering::Relaxed);
    };
    let writers = futures_util::future::join_all((0..WRITERS).map(|_| write(&host, &done)));
    let (ids, ()) = tokio::join!(writers, storm);
    let ids: Vec<TaskId> = ids.into_iter().flatten().collect();
    let (last, _) = version(swaps);
    host.plugin_until("version", |plugin| plugin["live"]["digest"] == sha256(&last)).await;
    let used = settle(&host, &ids, swaps).await;
    let history = host.get("/v1/plugins/version/history").await;
    let generations = history["generations"][0]["number"].as_u64().unwrap();
    tracing::info!(tasks = ids.len(), swaps, generations, used = used.len(), "the storm is over");
    #[expect(clippy::print_stderr, reason = "figures for whoever runs the long storm")]
    {
        eprintln!(
            "storm: {} tasks, {swaps} swaps, {generations} generations live, {} of them used",
            ids.len(),
            used.len()
        );
    }
    assert!(generations > swaps / 20, "the storm starves no reload: {generations} of {swaps}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_twenty_rollbacks_under_load_lose_double_and_mix_nothing() {
    const TURNS: u64 = 20;
    let host = Home::new().start().await;
    let admin = Admin::of(&host);
    assert_eq!(admin.put("version", version(0).0).await.0, StatusCode::CREATED);
    let done = AtomicBool::new(false);
    let turns = async {
        for turn in 0..TURNS {
            // The same one each time, or a new one: it drains beside generations of its own digest.
            let forth = version(1 + turn % 2 * turn).0;
            let (status, told) = admin.put("version", forth.clone()).await;
            assert_eq!((status, &told["digest"]), (StatusCode::OK, &json!(sha256(&forth))), "{turn}: {told:#}");
            let (status, told) = admin.roll_back("version").await;
            assert_eq!((status, &told["before"]), (StatusCode::OK, &json!(sha256(&forth))), "{turn}: {told:#}");
            assert_eq!(told["digest"], sha256(&version(0).0), "{turn}: {told:#}");
        }
        done.store(true, Ordering::Relaxed);
    };
    let (ids, ()) = tokio::join!(futures_util::future::join_all((0..WRITERS).map(|_| write(&host, &done))), turns);
    let ids: Vec<TaskId> = ids.into_iter().flatten().collect();
    let used = settle(&host, &ids, TURNS).await;
    assert!(used.len() > 1, "attempts ran on both sides: {used:?}");
    let history = host.get("/v1/plugins/version/history").await;
    let told: Vec<_> = list(&history).iter().map(|it| (it["end"].as_str(), it["cause"].as_str().unwrap())).collect();
    assert_eq!(told.len() as u64, 1 + 2 * TURNS, "{history:#}");
    assert_eq!(told[..3], [(None, "rollback"), (Some("rolled-back"), "upload"), (Some("replaced"), "rollback")]);
    assert!(list(&history).iter().all(|it| it["draining"].is_null()), "{history:#}");
    assert!(files(&host.data().join("generations")).len() <= 6, "five components and their history");
    host.stop().await;
}

/// Waits for the end of every task: each has succeeded once, by the code that it says. Answers what was used how often.
async fn settle(host: &TestHost, ids: &[TaskId], versions: u64) -> HashMap<Digest, u32> {
    host.wait_task(&ids.last().unwrap().to_string()).await;
    idle(host).await;
    let outputs: HashMap<Digest, String> = (0..=versions.min(0xfff))
        .map(|number| {
            let (bytes, output) = version(number);
            (sha256(&bytes).parse().unwrap(), output)
        })
        .collect();
    let store = host.store();
    let successes = successes(&store).await;
    let mut used = HashMap::<Digest, u32>::new();
    for id in ids {
        let task = store.task(*id).await.unwrap().expect("no task is lost");
        *used.entry(check(&task, &outputs)).or_default() += 1;
        assert_eq!(successes.get(id), Some(&1), "{task:#?}");
    }
    assert_eq!(successes.len(), ids.len());
    used
}

async fn idle(host: &TestHost) {
    let mut pace = interval(Duration::from_millis(20));
    let idle = async {
        while !list(&host.get("/v1/tasks?state=queued,running&limit=1").await).is_empty() {
            pace.tick().await;
        }
    };
    tokio::time::timeout(crate::support::events::PATIENCE, idle).await.expect("every task ends");
}

/// What a process holds, as the system counts it.
#[derive(Debug)]
struct Holds {
    resident_kib: u64,
    files: usize,
    threads: usize,
    cached: usize,
    kept: usize,
}

fn holds(place: &Place, served: &Served) -> Holds {
    let proc = std::path::PathBuf::from(format!("/proc/{}", served.pid()));
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let count = |folder: &str| std::fs::read_dir(proc.join(folder)).unwrap().count();
    Holds {
        resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        files: count("fd"),
        threads: count("task"),
        cached: files(&place.path("data").join("cache")).len(),
        kept: files(&place.path("data").join("generations")).len(),
    }
}

async fn live(served: &Served, digest: &str) {
    let mut pace = interval(Duration::from_millis(5));
    let began = Instant::now();
    loop {
        let answer = served.client.get(format!("{}/v1/plugins", served.base)).send().await.unwrap();
        let plugins: Value = expect_json(answer).await;
        if list(&plugins).iter().any(|plugin| plugin["live"]["digest"] == digest) {
            return;
        }
        assert!(began.elapsed() < crate::support::events::PATIENCE, "{plugins:#}");
        pace.tick().await;
    }
}

#[tokio::test]
async fn i8_reloads_leave_nothing_behind() {
    let reloads = asked_for("TASKHOST_RELOADS", RELOADS);
    let place = Place::with(&[]);
    place.plugins().put("version", &version(0).0, None);
    let served = place.start().await;
    let mut samples = Vec::new();
    for number in 1..=reloads {
        let (bytes, _) = version(number);
        place.plugins().put("version", &bytes, None);
        live(&served, &sha256(&bytes)).await;
        let body = json!({ "kind": "version", "input": {} });
        let made = served.client.post(format!("{}/v1/tasks", served.base)).json(&body).send().await.unwrap();
        let id = expect_json(made).await["id"].as_str().unwrap().to_owned();
        crate::support::wait_task(&served.client, &served.base, &id).await;
        if number.is_multiple_of((reloads / 4).max(1)) {
            samples.push(holds(&place, &served));
        }
    }
    #[expect(clippy::print_stderr, reason = "figures for whoever runs many reloads")]
    {
        eprintln!("{reloads} reloads: {samples:#?}");
    }
    let (first, last) = (&samples[0], samples.last().unwrap());
    // Each generation is some hundred KiB of code and tables.
    let allowed_kib = 16 << 10;
    assert!(last.resident_kib <= first.resident_kib + allowed_kib, "{samples:#?}");
    assert!(last.files <= first.files + 4, "{samples:#?}");
    assert!(last.threads <= first.threads + 4, "{samples:#?}");
    assert!(last.kept <= 6, "five components and their history: {samples:#?}");
    assert!(last.cached <= 514, "{samples:#?}");
    assert!(served.terminate().await.success());
}
