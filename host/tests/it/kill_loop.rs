//! The real binary is killed again and again under load, and compared with a model of what it had promised.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::binary::{Place, Served};
use crate::support::{attempts, expect_json, wait_task};

/// Rounds when `TASKHOST_KILL_ROUNDS` does not say.
const ROUNDS: u32 = 30;
const WRITERS: u64 = 4;
/// Tasks that one round may acknowledge, so that the last check stays short.
const MAX_PER_WRITER: u64 = 25;
/// The longest life of a host, in milliseconds.
const MAX_LIFE_MS: u64 = 400;

/// A task whose creation was acknowledged.
struct Promise {
    id: String,
    /// Its input, which it must give back.
    input: Value,
}

fn rounds() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "the number of rounds is for whoever runs the tests")]
    let rounds = std::env::var("TASKHOST_KILL_ROUNDS");
    rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("TASKHOST_KILL_ROUNDS is a number"))
}

/// Creates tasks until the host is gone.
async fn write(client: reqwest::Client, base: String, writer: u64, round: u32) -> Vec<Promise> {
    let mut promises = Vec::new();
    for number in 0..MAX_PER_WRITER {
        // Some sleep, so that the kill finds attempts that run.
        let input = json!({ "writer": writer, "round": round, "number": number, "sleep_ms": (number % 5) * 10 });
        let body = json!({ "kind": "echo", "input": input, "backoff": { "base_ms": 1, "cap_ms": 1 } });
        let sent = client.post(format!("{base}/v1/tasks")).json(&body).send().await;
        let Ok(answer) = sent else { break };
        if !answer.status().is_success() {
            break;
        }
        let Ok(task) = answer.json::<Value>().await else { break };
        promises.push(Promise { id: task["id"].as_str().unwrap().to_owned(), input });
    }
    promises
}

/// One life: load, then death at a random moment.
async fn live_and_die(mut host: Served, round: u32) -> Vec<Promise> {
    let writers = (0..WRITERS).map(|writer| write(host.client.clone(), host.base.clone(), writer, round));
    let mut writing = tokio::task::JoinSet::new();
    for writer in writers {
        writing.spawn(writer);
    }
    host.live_for(Duration::from_millis(fastrand::u64(0..MAX_LIFE_MS))).await;
    host.kill().await;
    writing.join_all().await.into_iter().flatten().collect()
}

/// An ended task's record, against what was promised; answers whether it had been running at a death.
fn check(task: &Value, promise: &Promise) -> bool {
    assert_eq!(task["input"], promise.input, "{task:#}");
    let outcomes: Vec<_> = attempts(task).iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
    let numbers: Vec<_> = attempts(task).iter().map(|attempt| attempt["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "attempt numbers rise: {task:#}");
    assert_eq!(numbers.last(), Some(&task["attempt"].as_u64().unwrap()), "the last attempt decided: {task:#}");
    // A task that ran at three deaths is parked by rule (I5); it is not lost, but it has not succeeded.
    if task["error"]["code"] == "poison" {
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == "crashed").count(), 3, "{task:#}");
        return true;
    }
    assert_eq!(task["state"], "succeeded", "{task:#}");
    assert_eq!(task["output"], promise.input, "{task:#}");
    let successes = outcomes.iter().filter(|outcome| **outcome == "succeeded").count();
    assert_eq!(successes, 1, "exactly once in the record: {task:#}");
    assert_eq!(outcomes.last(), Some(&"succeeded"), "nothing follows a success: {task:#}");
    assert!(outcomes[..outcomes.len() - 1].iter().all(|outcome| *outcome == "crashed"), "{task:#}");
    outcomes.len() > 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_i3_acknowledged_tasks_survive_kills_and_succeed_once() {
    let place = Place::with(&[]).built("echo");
    let mut promises: Vec<Promise> = Vec::new();
    let rounds = rounds();
    for round in 0..rounds {
        promises.extend(live_and_die(place.start().await, round).await);
    }
    assert!(promises.len() > rounds as usize, "only {} tasks were acknowledged: no load", promises.len());
    let host = place.start().await;
    let mut interrupted = 0;
    for promise in &promises {
        let task = wait_task(&host.client, &host.base, &promise.id).await;
        interrupted += u32::from(check(&task, promise));
        // A stale attempt of an earlier life has nothing to say any more: the record is final.
        let again = host.client.get(format!("{}/v1/tasks/{}", host.base, promise.id)).send().await.unwrap();
        assert_eq!(expect_json(again).await, task);
    }
    assert!(interrupted > 0, "no kill found an attempt that ran: no load");
    let distinct: HashSet<_> = promises.iter().map(|promise| &promise.id).collect();
    assert_eq!(distinct.len(), promises.len(), "an id was given out twice");
    host.kill().await;
}
