//! Guests that load and then mean harm: each with the end that it must come to, in bounded time and memory, while
//! other tasks go on.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{MANIFEST, Scene};
use crate::support::attempts;
use crate::support::folder::hostile;

/// How an attempt ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It fails, for one of these reasons.
    Fails(&'static [&'static str]),
    Succeeds,
    /// Either: it depends on how fast the machine is.
    MayFail(&'static [&'static str]),
}
use End::{Fails, MayFail, Succeeds};

const CONTRACT: End = Fails(&["contract-violation"]);
const MEMORY: End = Fails(&["out-of-memory"]);
const CPU: End = Fails(&["cpu-limit"]);
const TIME: End = Fails(&["timed-out"]);

/// By the number of the attack.
const CASES: [(u8, &str, End); 40] = [
    (1, "spin", CPU),
    (3, "realloc-spins", CPU),
    (3, "post-return-spins", CPU),
    (4, "poll-spins", Fails(&["cpu-limit", "timed-out"])),
    (5, "blocks-for-ever", TIME),
    (5, "sleeps-for-ever", TIME),
    (6, "grow", MEMORY),
    (7, "memories-grow", MEMORY),
    (8, "tables-grow", MEMORY),
    (10, "recurse", Fails(&["stack-overflow"])),
    (11, "resources-own", CONTRACT),
    (11, "resources-host", CONTRACT),
    (12, "log-beyond-memory", CONTRACT),
    (12, "log-beyond-call", CONTRACT),
    (12, "log-many-fields", CONTRACT),
    (12, "flood", MayFail(&["cpu-limit"])),
    (13, "print", MayFail(&["cpu-limit"])),
    (14, "answer-outside-memory", CONTRACT),
    (14, "answer-too-long", CONTRACT),
    (14, "answer-not-utf8", CONTRACT),
    (14, "answer-unknown-case", CONTRACT),
    (14, "answer-unaligned", CONTRACT),
    (14, "answer-deep", CONTRACT),
    (15, "trap", Fails(&["trap"])),
    (15, "exit", Fails(&["exited"])),
    (15, "quit", CONTRACT),
    (16, "enters-itself", Fails(&["trap"])),
    (20, "progress-floods", MayFail(&["cpu-limit"])),
    (21, "checkpoint-large", CONTRACT),
    (21, "checkpoint-floods", TIME),
    (22, "state-keys", Succeeds),
    (22, "state-fills", Succeeds),
    (23, "library-guesses", Succeeds),
    (24, "sockets", Succeeds),
    (24, "random-floods", CONTRACT),
    (26, "answers-after-cancel", TIME),
    (26, "sleeps-after-cancel", TIME),
    (26, "wait", TIME),
    (27, "canary-writes", Succeeds),
    (27, "canary-looks", Succeeds),
];

/// The wall limit, and room for a busy machine.
const LONGEST: Duration = Duration::from_secs(12);

async fn scene() -> Scene {
    let scene = Scene::start(|place| {
        for (_, name, end) in CASES {
            // Those that wait would make the test long; those that compute share the machine with others.
            let waits = matches!(end, Fails(codes) if codes.contains(&"timed-out"));
            let manifest =
                if waits { MANIFEST.replace("wall = \"10s\"", "wall = \"1s\"") } else { MANIFEST.to_owned() };
            place.plugins().put(name, &hostile(name), Some(&manifest));
        }
    });
    let scene = scene.await;
    for (_, name, _) in CASES {
        let plugin = scene.judged(name).await;
        assert!(plugin["live"].is_object(), "{name}: {plugin:#}");
    }
    scene
}

/// What is wrong with the end of a task.
fn wrong(number: u8, name: &str, end: End, task: &Value) -> Option<String> {
    let code = attempts(task).last().map(|attempt| attempt["error"]["code"].clone()).unwrap_or_default();
    let succeeded = task["state"] == "succeeded";
    let failed = |codes: &[&str]| task["state"] == "failed" && codes.iter().any(|wanted| code == **wanted);
    let fits = match end {
        Succeeds => succeeded,
        Fails(codes) => failed(codes),
        MayFail(codes) => succeeded || failed(codes),
    };
    (!fits).then(|| format!("{number} {name}: {end:?}, not {} {}", task["state"], task["attempts"]))
}

#[tokio::test]
async fn i8_hostile_guests_cost_an_attempt_and_nobody_else_anything() {
    let scene = scene().await;
    let mut found = Vec::new();
    // One after the other, to see what each costs.
    for (number, name, end) in CASES {
        let attempt = async { scene.wait(&scene.create(name).await).await };
        let (task, cost) = scene.beside_others(attempt).await;
        found.extend(wrong(number, name, end, &task));
        cost.check(name, LONGEST);
    }
    assert!(found.is_empty(), "{found:#?}");
    // All at once: they share two threads.
    let together = async {
        let mut ids = Vec::new();
        for (_, name, _) in CASES {
            ids.push(scene.create(name).await);
        }
        for id in &ids {
            scene.wait(id).await;
        }
    };
    let ((), cost) = scene.beside_others(together).await;
    cost.check("all at once", LONGEST * 5);
    scene.stop().await;
}

#[tokio::test]
async fn hostile_guests_that_do_not_heed_a_cancellation_are_ended_or_keep_what_they_did() {
    let manifest = MANIFEST.replace("wall = \"10s\"", "wall = \"60s\"").replace("cpu = \"300ms\"", "cpu = \"60s\"");
    let names = ["spin", "poll-spins", "blocks-for-ever", "sleeps-after-cancel", "answers-after-cancel"];
    let scene = Scene::start(|place| {
        for name in names {
            place.plugins().put(name, &hostile(name), Some(&manifest));
        }
    });
    let scene = scene.await;
    for name in names {
        let cancelled = async {
            let id = scene.create(name).await;
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            while scene.get(&format!("/v1/tasks/{id}")).await["state"] != "running" {
                pace.tick().await;
            }
            scene.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await;
            scene.wait(&id).await
        };
        let (task, cost) = scene.beside_others(cancelled).await;
        let kept = name == "answers-after-cancel";
        assert_eq!(task["state"], if kept { "succeeded" } else { "cancelled" }, "{name}: {task:#}");
        cost.check(name, LONGEST);
    }
    scene.stop().await;
}
