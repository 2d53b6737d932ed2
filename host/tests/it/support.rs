//! The harness: the real host on a temporary directory and a free port, and a client for it.

pub(crate) mod admin;
pub(crate) mod binary;
pub(crate) mod bomb;
pub(crate) mod component;
pub(crate) mod events;
pub(crate) mod folder;
pub(crate) mod frame;
pub(crate) mod video;
pub(crate) mod web;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use taskhost::config::Config;
use taskhost::host::Host;
use taskhost::plugin::outside::NetworkPort;
use taskhost::store::Store;
use tempfile::TempDir;
use tokio::time::timeout;

use self::events::{Events, PATIENCE};
use self::folder::Folder;

/// Seconds that one long poll asks for.
const POLL_SECONDS: u64 = 20;

/// A directory with everything that outlives a host, and how a host on it is configured.
pub(crate) struct Home {
    dir: Arc<TempDir>,
    config: Config,
    network: Option<Arc<dyn NetworkPort>>,
}

impl Home {
    /// An empty one. Nothing happens by itself: the built-in schedule is switched off.
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = Config { data: dir.path().join("data"), schedules: Vec::new(), ..Config::default() };
        config.plugins.dir = dir.path().join("plugins");
        config.plugins.compiler = Some(env!("CARGO_BIN_EXE_taskhost").into());
        config.server.listen = ([127, 0, 0, 1], 0).into();
        config.runner.shutdown_grace_ms = 5_000;
        config.media.min_free_bytes = 0;
        config.store.min_free_bytes = 0;
        config.ffmpeg.threads = 1;
        std::fs::create_dir(&config.plugins.dir).unwrap();
        Self { dir: Arc::new(dir), config, network: None }
    }

    /// The plugins folder.
    pub(crate) fn plugins(&self) -> Folder {
        Folder::new(self.dir.path().join("plugins"), self.dir.path().join("staged"))
    }

    /// Changes the configuration.
    pub(crate) fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Gives plugins another way to resolve names and to connect.
    pub(crate) fn network(mut self, network: Arc<dyn NetworkPort>) -> Self {
        self.network = Some(network);
        self
    }

    /// Adds a component text fixture under its own name.
    pub(crate) fn fixture(self, name: &str) -> Self {
        self.plugins().put(name, &folder::fixture(name), None);
        self
    }

    /// Adds a plugin that `cargo xtask plugins` has built.
    pub(crate) fn built(self, name: &str) -> Self {
        let (component, manifest) = folder::built(name);
        self.plugins().put(name, &component, manifest.as_deref());
        self
    }

    /// Starts a host here.
    pub(crate) async fn start(self) -> TestHost {
        let started = match &self.network {
            Some(network) => Box::pin(Host::start_on(self.config.clone(), Arc::clone(network))).await,
            None => Box::pin(Host::start(self.config.clone())).await,
        };
        let host = started.expect("the host starts");
        let base = format!("http://{}", host.addr());
        TestHost { home: self, host: Some(host), client: client(), base }
    }
}

/// A client that opens a connection of its own when it has to, and never waits for ever.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().connect_timeout(PATIENCE).no_proxy().build().unwrap()
}

/// A running host.
pub(crate) struct TestHost {
    home: Home,
    host: Option<Host>,
    client: reqwest::Client,
    base: String,
}

impl TestHost {
    /// A host with these fixtures.
    pub(crate) async fn with(fixtures: &[&str]) -> Self {
        fixtures.iter().fold(Home::new(), |home, name| home.fixture(name)).start().await
    }

    /// The plugins folder.
    pub(crate) fn plugins(&self) -> Folder {
        self.home.plugins()
    }

    /// Where everything is kept.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.config.data.clone()
    }

    /// The host's store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.host.as_ref().expect("a running host").store())
    }

    /// `http://ADDR`.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Stops in two phases and gives back the directory. Fails when that takes longer than it may.
    pub(crate) async fn stop(mut self) -> Home {
        let grace = Duration::from_millis(self.home.config.runner.shutdown_grace_ms);
        let host = self.host.take().expect("a running host");
        let stopped = timeout(grace + Duration::from_secs(1), host.stop()).await;
        stopped.expect("the host did not stop within its grace and a second").expect("the host stops cleanly");
        self.home
    }

    /// Stops, and starts again on the same directory.
    pub(crate) async fn restart(self) -> Self {
        self.stop().await.start().await
    }

    /// A request to a path of this host.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).timeout(PATIENCE)
    }

    /// `GET path` and its JSON, which must be an answer of the class 2xx.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.expect("the host answers");
        expect_json(answer).await
    }

    /// `POST path` with JSON: the status and the JSON of the answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// Creates a task from the whole request and returns its id.
    pub(crate) async fn create(&self, body: &Value) -> String {
        let (status, task) = self.post("/v1/tasks", body).await;
        assert!(status.is_success(), "{status}: {task:#}");
        task["id"].as_str().unwrap_or_else(|| panic!("an id in {task:#}")).to_owned()
    }

    /// Creates a task of a kind with an input and returns its id.
    pub(crate) async fn enqueue(&self, kind: &str, input: &Value) -> String {
        self.create(&json!({ "kind": kind, "input": input })).await
    }

    /// A task as it stands.
    pub(crate) async fn task(&self, id: &str) -> Value {
        self.get(&format!("/v1/tasks/{id}")).await
    }

    /// Waits until a task has ended, by long polls.
    pub(crate) async fn wait_task(&self, id: &str) -> Value {
        wait_task(&self.client, &self.base, id).await
    }

    /// Creates a task and waits for its end.
    pub(crate) async fn run(&self, kind: &str, input: &Value) -> Value {
        let id = self.enqueue(kind, input).await;
        self.wait_task(&id).await
    }

    /// Asks to cancel a task.
    pub(crate) async fn cancel(&self, id: &str) -> (StatusCode, Value) {
        self.post(&format!("/v1/tasks/{id}/cancel"), &Value::Null).await
    }

    /// The events from now on.
    pub(crate) async fn events(&self) -> Events {
        self.events_of("", None).await
    }

    /// The events that `query` (with its `?`) selects, after the event `last`.
    pub(crate) async fn events_of(&self, query: &str, last: Option<&str>) -> Events {
        let mut request = self.client.get(format!("{}/v1/events{query}", self.base));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.expect("the host answers");
        assert_eq!(answer.status(), StatusCode::OK);
        let mut events = Events::of(answer);
        if last.is_none() {
            let first = events.next().await.expect("a stream that starts now says hello");
            assert_eq!(first.name, "hello", "{first:?}");
        }
        events
    }

    /// The entry of a plugin at `GET /v1/plugins`.
    pub(crate) async fn plugin(&self, name: &str) -> Option<Value> {
        let plugins = self.get("/v1/plugins").await;
        list(&plugins).iter().find(|plugin| plugin["name"] == name).cloned()
    }

    /// The entry of a plugin, as soon as `wanted` accepts it.
    /// Not every change of it has an event, so the list is asked again and again.
    pub(crate) async fn plugin_until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let found = async {
            loop {
                pace.tick().await;
                if let Some(plugin) = self.plugin(name).await.filter(|plugin| wanted(plugin)) {
                    return plugin;
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{name} did not become what was awaited"))
    }

    /// Waits until the host says that it is ready, which has no event.
    pub(crate) async fn until_ready(&self) {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let ready = async {
            while !self.request(Method::GET, "/readyz").send().await.expect("the host answers").status().is_success() {
                pace.tick().await;
            }
        };
        timeout(PATIENCE * 2, ready).await.expect("the host becomes ready");
    }

    /// Uploads a file and returns its record.
    pub(crate) async fn upload(&self, name: &str, bytes: impl Into<reqwest::Body>) -> Value {
        let request = self.request(Method::POST, &format!("/v1/media?name={name}"));
        let request = request.header("content-type", content_type(name)).body(bytes);
        expect_json(request.send().await.expect("the host answers")).await
    }

    /// The bytes of a file.
    pub(crate) async fn content(&self, id: &str) -> Vec<u8> {
        let answer = self.request(Method::GET, &format!("/v1/media/{id}/content")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap().to_vec()
    }

    /// Files under a folder of the data directory, to see what was left behind.
    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        files(&self.data().join(below))
    }
}

/// The array in a list's answer.
pub(crate) fn list(answer: &Value) -> &[Value] {
    let lists = answer.as_object().into_iter().flatten().find_map(|(_, value)| value.as_array());
    lists.unwrap_or_else(|| panic!("a list in {answer:#}"))
}

/// The attempts of a task.
pub(crate) fn attempts(task: &Value) -> &[Value] {
    task["attempts"].as_array().unwrap_or_else(|| panic!("attempts in {task:#}"))
}

/// Sends, and reads the status and the JSON of the answer.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("the host answers");
    let status = answer.status();
    let text = answer.text().await.expect("a whole answer");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The JSON of an answer that must be a success.
pub(crate) async fn expect_json(answer: Response) -> Value {
    let status = answer.status();
    let text = answer.text().await.expect("a whole answer");
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("JSON, not {text:?}"))
}

/// Waits until a task of the host at `base` has ended.
pub(crate) async fn wait_task(client: &reqwest::Client, base: &str, id: &str) -> Value {
    let ended = async {
        loop {
            let request = client.get(format!("{base}/v1/tasks/{id}")).header("prefer", format!("wait={POLL_SECONDS}"));
            let task = expect_json(request.send().await.expect("the host answers")).await;
            if !matches!(task["state"].as_str(), Some("waiting" | "queued" | "running" | "cancelling")) {
                return task;
            }
        }
    };
    timeout(PATIENCE * 2, ended).await.unwrap_or_else(|_| panic!("task {id} did not end"))
}

/// Every file below a folder.
pub(crate) fn files(below: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(below) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn content_type(name: &str) -> &'static str {
    if Path::new(name).extension().is_some_and(|end| end == "mp4") { "video/mp4" } else { "application/octet-stream" }
}
