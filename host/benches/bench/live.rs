//! A whole host in this process, over HTTP.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use taskhost::config::Config;
use taskhost::host::Host;
use tempfile::TempDir;

use crate::rig::scratch;

/// The host, a client, and the directory that is removed with them.
pub(crate) struct Live {
    /// The host.
    pub(crate) host: Host,
    /// A client with connections that stay open.
    pub(crate) client: Client,
    /// `http://ADDR`.
    pub(crate) base: String,
    dir: TempDir,
}

impl Live {
    /// Starts a host with `(name, component, manifest)`.
    pub(crate) async fn start(plugins: &[(&str, Vec<u8>, String)]) -> Self {
        let dir = scratch();
        let mut config = Config { data: dir.path().join("data"), schedules: Vec::new(), ..Config::default() };
        config.plugins.dir = dir.path().join("plugins");
        config.plugins.compiler = Some(env!("CARGO_BIN_EXE_taskhost").into());
        config.server.listen = ([127, 0, 0, 1], 0).into();
        config.runner.shutdown_grace_ms = 500;
        config.media.min_free_bytes = 0;
        std::fs::create_dir(&config.plugins.dir).unwrap();
        for (name, component, manifest) in plugins {
            std::fs::write(config.plugins.dir.join(format!("{name}.toml")), manifest).unwrap();
            std::fs::write(config.plugins.dir.join(format!("{name}.wasm")), component).unwrap();
        }
        let host = Host::start(config).await.unwrap();
        let base = format!("http://{}", host.addr());
        Self { host, client: Client::builder().no_proxy().build().unwrap(), base, dir }
    }

    /// The plugins folder.
    pub(crate) fn plugins(&self) -> std::path::PathBuf {
        self.dir.path().join("plugins")
    }

    /// Where a library's files and everything else lie.
    pub(crate) fn scratch(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// `POST` with JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(format!("{}{path}", self.base)).json(body).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    /// Creates a task.
    pub(crate) async fn enqueue(&self, kind: &str, input: &Value) -> String {
        let task = self.post("/v1/tasks", &json!({ "kind": kind, "input": input })).await;
        task["id"].as_str().unwrap_or_else(|| panic!("{task:#}")).to_owned()
    }

    /// Waits for a task's end.
    pub(crate) async fn wait(&self, id: &str) -> Value {
        loop {
            let request = self.client.get(format!("{}/v1/tasks/{id}", self.base)).header("prefer", "wait=60");
            let task: Value = request.send().await.unwrap().json().await.unwrap();
            if !matches!(task["state"].as_str(), Some("waiting" | "queued" | "running" | "cancelling")) {
                return task;
            }
        }
    }

    /// Stops the host.
    pub(crate) async fn stop(self) {
        tokio::time::timeout(Duration::from_secs(30), self.host.stop()).await.unwrap().unwrap();
    }
}
