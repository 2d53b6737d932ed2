//! The HTTP interface: a router over the store, the media library and the list of plugins.
//!
//! It knows nothing of who runs tasks: what it asks for is written into the store, and what happens
//! is read from there.

pub mod admin;
pub mod batches;
pub mod body;
pub mod events;
pub mod gate;
pub mod guard;
pub mod health;
pub mod limits;
pub mod media;
pub mod observe;
mod once;
pub mod plugins;
pub mod problem;
pub mod query;
pub mod queues;
pub mod schedules;
pub mod serve;
pub mod tasks;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::admin::Admin;
pub use self::health::{DISK, HostInfo, PLUGINS, Readiness};
pub use self::plugins::PluginControl;
use self::problem::Problem;
use crate::limiter::{BreakerInfo, ConnectionLimiter, Limits};
use crate::media::Library;
use crate::plugin::{InputError, PluginInfo};
use crate::store::Store;
use crate::task::TaskId;

/// Bounds and names of the HTTP interface.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A JSON body at most, in bytes.
    pub max_body_bytes: usize,
    /// The body of a batch of tasks at most, in bytes.
    pub max_batch_bytes: usize,
    /// A task's input at most, in bytes.
    pub max_input_bytes: usize,
    /// Requests at the same time, by class.
    pub limits: Limits,
    /// Whether only this machine can connect. Then the `Host` of a request must name this machine
    /// or be one of `host_names`, so that a web page cannot reach the host under a name of its own.
    pub loopback: bool,
    /// Names by which clients reach the host, without a port, besides `localhost` and loopback addresses.
    /// When the host listens beyond loopback and there are none, every name is accepted.
    pub host_names: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            max_batch_bytes: 16 << 20,
            max_input_bytes: 256 << 10,
            limits: Limits::default(),
            loopback: true,
            host_names: Vec::new(),
        }
    }
}

/// What the API asks of the plugins.
#[async_trait]
pub trait PluginDirectory: Send + Sync + 'static {
    /// Whether some live plugin executes `kind` and accepts `input` (JSON text).
    fn check_input(&self, kind: &str, input: &str) -> Result<(), InputError>;
    /// Why no task of `kind` can begin now, if none can.
    fn parked(&self, kind: &str) -> Option<String>;
    /// The circuit breaker of a kind that is executed, unless it is closed.
    fn breaker(&self, kind: &str) -> Option<BreakerInfo>;
    /// Every plugin file and what it became, by name. Whatever is created after the answer begins on what is live in it
    /// or on something later.
    async fn list(&self) -> Vec<PluginInfo>;
}

/// A slice of a task's log.
#[derive(Clone, Debug, Default)]
pub struct LogPage {
    /// One JSON object a line, oldest first, without the line ends.
    pub lines: Vec<String>,
    /// Where each of them ends, in bytes.
    pub ends: Vec<u64>,
    /// Lines that were dropped because the log is full.
    pub dropped: u64,
    /// Where the next slice starts, in bytes.
    pub next_offset: u64,
    /// There is no whole line behind this slice yet.
    pub eof: bool,
}

/// What is asked of a task's log.
#[derive(Clone, Copy, Debug)]
pub struct LogSlice {
    /// From here on, in bytes since the log began.
    pub offset: u64,
    /// About so many bytes.
    pub max_bytes: usize,
    /// Only lines of this attempt.
    pub attempt: Option<u32>,
    /// Without the line that counts what was dropped, which still changes.
    pub settled: bool,
}

/// Reads task logs.
#[async_trait]
pub trait LogReader: Send + Sync + 'static {
    /// Whole lines, oldest first; none at the end.
    async fn read(&self, task: TaskId, slice: LogSlice) -> std::io::Result<LogPage>;
    /// Changes whenever a task's log does. Who asks first and reads then misses nothing.
    fn follow(&self, task: TaskId) -> watch::Receiver<()>;
    /// Forgets the logs of these tasks.
    async fn remove(&self, tasks: Vec<TaskId>) -> std::io::Result<()>;
}

/// Knows the tokens of callbacks.
pub trait CallbackTokens: Send + Sync + 'static {
    /// The attempt of `task` that a token was made for; `None` when it was made for none. Takes the same time however much
    /// of a token is right.
    fn attempt(&self, task: TaskId, token: &str) -> Option<u32>;
}

/// What requests are served from.
#[derive(Clone)]
pub struct AppState {
    /// Tasks, schedules and events.
    pub store: Arc<dyn Store>,
    /// Plugins.
    pub plugins: Arc<dyn PluginDirectory>,
    /// Changes of plugins.
    pub control: Arc<dyn PluginControl>,
    /// Who may make them.
    pub admin: Arc<Admin>,
    /// Media files.
    pub media: Library,
    /// Task logs.
    pub logs: Arc<dyn LogReader>,
    /// Tokens of callbacks.
    pub callbacks: Arc<dyn CallbackTokens>,
    /// Bounds and names.
    pub settings: Settings,
    /// Requests at the same time.
    pub limiter: ConnectionLimiter,
    /// What this host is.
    pub info: HostInfo,
    /// Whether it can do its work.
    pub readiness: Arc<Readiness>,
    /// Cancelled when the host begins to stop: streams end, waits answer at once.
    pub stop: CancellationToken,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").field("settings", &self.settings).field("info", &self.info).finish_non_exhaustive()
    }
}

/// Handlers share one state.
type Shared = axum::extract::State<Arc<AppState>>;

/// All routes.
pub fn router(state: AppState) -> Router {
    let state = Arc::new(state);
    Router::new()
        .route("/v1/tasks", get(tasks::list).post(tasks::create))
        .route("/v1/tasks/batch", post(tasks::batch::create))
        .route("/v1/tasks/redrive", post(tasks::redrive::redrive))
        .route("/v1/tasks/cancel", post(tasks::cancel::many))
        .route("/v1/tasks/purge", post(tasks::purge::many))
        .route("/v1/tasks/{id}", get(tasks::read).delete(tasks::purge::one))
        .route("/v1/tasks/{id}/cancel", post(tasks::cancel::one))
        .route("/v1/tasks/{id}/callback", post(tasks::callback::call_back))
        .route("/v1/tasks/{id}/events", get(events::of_task))
        .route("/v1/tasks/{id}/retry", post(tasks::retry))
        .route("/v1/tasks/{id}/attempts", get(tasks::attempts::list))
        .route("/v1/tasks/{id}/tree", get(tasks::tree))
        .route("/v1/tasks/{id}/logs", get(tasks::logs::read))
        .route("/v1/events", get(events::follow))
        .merge(plugins::routes())
        .merge(batches::routes())
        .merge(schedules::routes())
        .merge(limits::routes())
        .merge(queues::routes())
        .route("/v1/media", get(media::list).post(media::upload::create))
        .route("/v1/media/{id}", delete(media::trash).get(media::read))
        .route("/v1/media/{id}/restore", post(media::restore))
        .route("/v1/media/{id}/content", get(media::content::read))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/version", get(health::version))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&state), gate::admit))
        .layer(from_fn_with_state(Arc::clone(&state), guard::check))
        .layer(from_fn(observe::observe))
        // Each handler that reads a body has a bound of its own.
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
}

async fn unknown_route(uri: axum::http::Uri) -> Problem {
    Problem::not_found("unknown-route", format!("there is nothing at {:?}", problem::echo(uri.path())))
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    let detail = format!(
        "{} cannot be used on {:?}; Allow names what can",
        problem::echo(method.as_str()),
        problem::echo(uri.path())
    );
    Problem::new(status, "method-not-allowed", "Method not allowed", detail)
}
