//! The real binary with hostile plugins beside a good one, watched from outside.

use std::pin::pin;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::binary::{Place, Served};
use crate::support::events::PATIENCE;
use crate::support::{expect_json, list, wait_task};

/// The longest that a task which does nothing may take beside anything; a busy machine is part of it.
const SLOWEST_OTHER: Duration = Duration::from_secs(3);
/// Memory that a hostile guest or file may cost the host for a while, over what guests may have.
const MORE_MEMORY_KIB: u64 = 64 << 10;

/// Bounds that every hostile plugin gets.
pub(super) const MANIFEST: &str = "\
[limits]
cpu = \"300ms\"
memory = \"8MiB\"
wall = \"10s\"
hostcall_bytes = \"2MiB\"
[grant]
state = { quota = \"1MiB\" }
library = true
queue = true
[config]
key = \"value\"
";

pub(super) struct Scene {
    pub(super) place: Place,
    pub(super) served: Served,
}

/// What something cost the host.
pub(super) struct Cost {
    pub(super) wall: Duration,
    pub(super) memory_kib: u64,
}

impl Scene {
    /// Starts over a folder that has the good plugin.
    pub(super) async fn start(prepare: impl FnOnce(&Place)) -> Self {
        let place = Place::with(&["ok"]);
        prepare(&place);
        let served = place.start().await;
        Self { place, served }
    }

    fn client(&self) -> &Client {
        &self.served.client
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let answer = self.client().get(format!("{}{path}", self.served.base)).timeout(PATIENCE).send().await;
        expect_json(answer.expect("the host answers")).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        let answer =
            self.client().post(format!("{}{path}", self.served.base)).json(body).timeout(PATIENCE).send().await;
        expect_json(answer.expect("the host answers")).await
    }

    /// Creates a task that is tried once.
    pub(super) async fn create(&self, kind: &str) -> String {
        let task =
            self.post("/v1/tasks", &json!({ "kind": kind, "input": { "hostile": true }, "max_attempts": 1 })).await;
        task["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn wait(&self, id: &str) -> Value {
        wait_task(self.client(), &self.served.base, id).await
    }

    /// Whether no task is waiting or running.
    pub(super) async fn is_idle(&self) -> bool {
        let tasks = self.get("/v1/tasks?state=queued,running&limit=1").await;
        list(&tasks).is_empty()
    }

    /// Runs a task of the good plugin; fails when that takes long.
    pub(super) async fn other(&self) {
        let done = timeout(SLOWEST_OTHER, async { self.wait(&self.create("ok").await).await }).await;
        assert_eq!(done.expect("other tasks go on")["state"], "succeeded");
    }

    /// The entry of a plugin once it is live or refused.
    pub(super) async fn judged(&self, name: &str) -> Value {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let judged = async {
            loop {
                pace.tick().await;
                let plugins = self.get("/v1/plugins").await;
                let plugin = list(&plugins).iter().find(|plugin| plugin["name"] == name);
                // A busy host asks again.
                let is_judged = |plugin: &&Value| {
                    let message = plugin["error"]["message"].as_str().unwrap_or_default();
                    plugin["loading"].is_null() && !message.contains("too busy")
                };
                if let Some(plugin) = plugin.filter(is_judged) {
                    return plugin.clone();
                }
            }
        };
        timeout(PATIENCE, judged).await.unwrap_or_else(|_| panic!("{name} is neither live nor refused"))
    }

    /// Waits for something beside other tasks, of which at least one goes on, and tells what it cost.
    pub(super) async fn beside_others<T>(&self, something: impl Future<Output = T>) -> (T, Cost) {
        let before = self.memory("VmRSS");
        self.forget_peak();
        let began = Instant::now();
        let mut something = pin!(something);
        let (done, wall) = loop {
            tokio::select! {
                done = &mut something => break (done, began.elapsed()),
                () = self.other() => {}
            }
        };
        self.other().await;
        (done, Cost { wall, memory_kib: self.memory("VmHWM").saturating_sub(before) })
    }

    /// Memory of the host, in KiB, as the system counts it.
    pub(super) fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.served.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.served.pid()), "5").unwrap();
    }

    /// Asks the host to stop; it must do so cleanly.
    pub(super) async fn stop(self) {
        assert!(self.served.terminate().await.success());
    }
}

impl Cost {
    /// Fails when it was more than `wall` or than memory allows.
    pub(super) fn check(&self, what: &str, wall: Duration) {
        assert!(self.wall <= wall, "{what}: {:?}", self.wall);
        assert!(self.memory_kib <= MORE_MEMORY_KIB, "{what}: {} KiB more", self.memory_kib);
    }
}
