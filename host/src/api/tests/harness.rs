//! The router on a real store in a temporary folder; requests go in without a socket.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::api::{
    Admin, AppState, CallbackTokens, HostInfo, LogPage, LogReader, LogSlice, PluginControl, PluginDirectory, Settings,
    router,
};
use crate::limiter::{BreakerInfo, ConnectionLimiter};
use crate::logs::TaskLogs;
use crate::plugin::manifest::Manifest;
use crate::plugin::ports::{LogLevel, LogLine, LogPort as _, LogSource};
use crate::plugin::{
    Condition, Disobeyed, Draining, GenerationInfo, History, InputError, KindInfo, LoadFailure, Obeyed, PluginInfo,
    Upload,
};
use crate::store::{ClaimRequest, Finish, GenerationRoom, Store};
use crate::task::{AttemptReport, BootId, Digest, Outcome, Task, TaskId};
use crate::time::{Timestamp, now};

pub(in crate::api) const DIGEST: Digest = Digest([0xab; 32]);
const BOOT: BootId = BootId(7);

/// `echo` accepts anything, `video.cut` wants a text `media`, `panic` panics.
struct Directory;

#[async_trait]
impl PluginDirectory for Directory {
    fn check_input(&self, kind: &str, input: &str) -> Result<(), InputError> {
        let value: Value = serde_json::from_str(input).map_err(|error| InputError::NotJson(error.to_string()))?;
        match kind {
            "echo" => Ok(()),
            "panic" => panic!("a handler that goes down"),
            "video.cut" if value["media"].is_string() => Ok(()),
            "video.cut" => Err(InputError::Mismatch {
                kind: kind.to_owned(),
                violations: vec![("/media".to_owned(), "is not of type \"string\"".to_owned())],
            }),
            _ => Err(InputError::UnknownKind {
                kind: kind.to_owned(),
                known: vec!["echo".to_owned(), "video.cut".to_owned()],
            }),
        }
    }

    fn parked(&self, kind: &str) -> Option<String> {
        (kind == "gone").then(|| "no plugin executes the kind".to_owned())
    }

    fn breaker(&self, _: &str) -> Option<BreakerInfo> {
        None
    }

    async fn list(&self) -> Vec<PluginInfo> {
        let kind = KindInfo {
            name: "echo".to_owned(),
            summary: "Returns its input".to_owned(),
            input_schema: Some(r#"{"type": "object"}"#.to_owned()),
            output_schema: None,
            plugin: "echo".to_owned(),
            concurrency: 4,
        };
        let manifest = Manifest::parse("echo.toml", "[limits]\ncpu = \"1s\"\n[grant]\nstate = true\n").unwrap();
        let live = GenerationInfo {
            digest: DIGEST,
            version: "1.0.0".to_owned(),
            summary: "Echo".to_owned(),
            roles: vec!["executor"],
            kinds: vec![kind],
            grants: vec!["log".to_owned()],
            effective: Arc::new(manifest.effective("echo.toml")),
            signed: None,
            loaded_at: Timestamp::from_millis(1_000),
            compiled: crate::plugin::compile::Effort { cached: false, took_ms: 40 },
            running: 1,
        };
        let error = LoadFailure { at: Timestamp::from_millis(2_000), digest: None, message: "half a file".to_owned() };
        let at = Timestamp::from_millis;
        let draining =
            Draining { digest: DIGEST, running: 2, since: at(1), yield_at: at(30_001), interrupt_at: at(40_001) };
        let echo = PluginInfo {
            name: "echo".to_owned(),
            live: Some(live),
            draining: vec![draining],
            loading: None,
            error: None,
        };
        let bad =
            PluginInfo { name: "bad".to_owned(), live: None, draining: Vec::new(), loading: None, error: Some(error) };
        vec![echo, bad]
    }
}

/// What the administrator of these tests presents.
pub(in crate::api) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Takes no orders.
struct NoControl;

#[async_trait]
impl PluginControl for NoControl {
    async fn put(&self, _: &str, _: Upload, _: Condition) -> Result<Obeyed, Disobeyed> {
        Err(Disobeyed::Unsound("it is half a file".to_owned()))
    }

    async fn remove(&self, name: &str, _: Condition) -> Result<Obeyed, Disobeyed> {
        Err(Disobeyed::NotFound(name.to_owned()))
    }

    async fn roll_back(&self, _: &str, _: Condition) -> Result<Obeyed, Disobeyed> {
        Err(Disobeyed::NothingKept("no generation before this one is kept".to_owned()))
    }

    fn history(&self, _: &str) -> Option<History> {
        None
    }

    fn max_component_bytes(&self) -> u64 {
        1_000
    }
}

/// The real logs, read as the host reads them.
pub(in crate::api) struct Logs(TaskLogs);

impl Logs {
    /// Writes a line. Answers whether it was kept.
    pub(in crate::api) fn append(&self, task: TaskId, message: &str) -> bool {
        let at = Timestamp::from_millis(1_000);
        let (level, source) = (LogLevel::Info, LogSource::Log);
        let line = LogLine { at, attempt: 1, level, source, message: message.to_owned(), fields: Vec::new() };
        self.0.append(task, line)
    }
}

#[async_trait]
impl LogReader for Logs {
    async fn read(&self, task: TaskId, slice: LogSlice) -> std::io::Result<LogPage> {
        let LogSlice { offset, max_bytes, attempt, settled } = slice;
        let page = self.0.read(task, crate::logs::Slice { offset, max_bytes, attempt, settled })?;
        let crate::logs::LogPage { lines, ends, dropped, next_offset, eof } = page;
        Ok(LogPage { lines, ends, dropped, next_offset, eof })
    }

    fn follow(&self, task: TaskId) -> tokio::sync::watch::Receiver<()> {
        self.0.follow(task)
    }

    async fn remove(&self, tasks: Vec<TaskId>) -> std::io::Result<()> {
        tasks.into_iter().try_for_each(|task| self.0.remove(task))
    }
}

/// The tokens of every task are `1.right`, `2.right` and so on; what is real about them is tested where they are made.
struct Tokens;

impl CallbackTokens for Tokens {
    fn attempt(&self, _task: TaskId, token: &str) -> Option<u32> {
        token.strip_suffix(".right")?.parse().ok()
    }
}

pub(in crate::api) struct Api {
    pub(in crate::api) router: Router,
    pub(in crate::api) store: Arc<dyn Store>,
    pub(in crate::api) state: AppState,
    pub(in crate::api) logs: Arc<Logs>,
    pub(in crate::api) dir: tempfile::TempDir,
}

impl Api {
    pub(in crate::api) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(in crate::api) async fn with(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let store: Arc<dyn Store> = tokio::task::spawn_blocking(move || super::open_store(&path)).await.unwrap();
        let media = super::open_library(dir.path(), Arc::clone(&store)).await;
        let logs = Arc::new(Logs(TaskLogs::open(&dir.path().join("logs"), 1 << 20).unwrap()));
        let state = AppState {
            store: Arc::clone(&store),
            plugins: Arc::new(Directory),
            control: Arc::new(NoControl),
            admin: Arc::new(Admin::new(TOKEN)),
            media,
            logs: Arc::clone(&logs) as Arc<dyn LogReader>,
            callbacks: Arc::new(Tokens),
            limiter: ConnectionLimiter::new(settings.limits),
            settings,
            info: HostInfo {
                version: "1.2.3",
                wasmtime: "48.0.0",
                boot: BOOT,
                started_at: Timestamp::from_millis(1_000),
            },
            readiness: Arc::default(),
            stop: CancellationToken::new(),
        };
        Self { router: router(state.clone()), store, state, logs, dir }
    }

    /// Sends a request as a client on this machine would.
    pub(in crate::api) async fn send(&self, mut request: Request<Body>) -> Answer {
        if !request.headers().contains_key(header::HOST) && request.uri().authority().is_none() {
            request.headers_mut().insert(header::HOST, "localhost:7420".parse().unwrap());
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(in crate::api) async fn call(&self, method: Method, uri: &str) -> Answer {
        self.send(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await
    }

    pub(in crate::api) async fn get(&self, uri: &str) -> Answer {
        self.call(Method::GET, uri).await
    }

    pub(in crate::api) async fn post(&self, uri: &str) -> Answer {
        self.call(Method::POST, uri).await
    }

    pub(in crate::api) async fn post_json(&self, uri: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(uri).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Creates a task and answers its id.
    pub(in crate::api) async fn enqueue(&self, body: &'static str) -> TaskId {
        let answer = self.post_json("/v1/tasks", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// Claims one due task of `kind`, as a runner would.
    pub(in crate::api) async fn claim(&self, kind: &str) -> TaskId {
        let room = GenerationRoom { kinds: vec![kind.to_owned()], room: 1, digest: DIGEST };
        let lease_until = now().plus_millis(60_000);
        let request = ClaimRequest { rooms: vec![room], limit: 1, boot: BOOT, lease_until };
        self.store.claim(request, now()).await.unwrap().claimed[0].id
    }

    /// Ends the running attempt of a task.
    pub(in crate::api) async fn finish(&self, id: TaskId, outcome: Outcome) -> Task {
        let attempt = self.store.task(id).await.unwrap().unwrap().status.attempt;
        self.store
            .finish(Finish { id, attempt, outcome, jitter: 0.5, report: AttemptReport::default() }, now())
            .await
            .unwrap()
    }
}

#[derive(Debug)]
pub(in crate::api) struct Answer {
    pub(in crate::api) status: StatusCode,
    pub(in crate::api) headers: HeaderMap,
    pub(in crate::api) body: Bytes,
}

impl Answer {
    pub(in crate::api) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(in crate::api) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(in crate::api) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts a status and the body of a problem, whole; `<…>` in the expectation stands for what varies.
    #[track_caller]
    pub(in crate::api) fn is_problem(&self, status: u16, expected: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.text(), expected);
    }
}
