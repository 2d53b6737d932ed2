//! Queues and kinds: what waits and runs there; pausing and resuming them.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body::Body as _;
use serde::Serialize;

use super::body::{Fields, read_json};
use super::problem::{Problem, echo};
use super::tasks::wire::Rfc3339;
use super::{AppState, Shared};
use crate::store::{Backlog, Pausable};
use crate::task::{is_valid_kind, is_valid_queue};
use crate::time::{Timestamp, now};

/// Bytes of a reason.
const MAX_REASON_LEN: usize = 256;

/// The routes of these resources.
pub fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/v1/queues", get(queues))
        .route("/v1/queues/{name}/pause", post(pause_queue))
        .route("/v1/queues/{name}/resume", post(resume_queue))
        .route("/v1/kinds", get(kinds))
        .route("/v1/kinds/{name}/pause", post(pause_kind))
        .route("/v1/kinds/{name}/resume", post(resume_kind))
}

#[derive(Serialize)]
struct QueueList {
    queues: Vec<BacklogWire>,
}

#[derive(Serialize)]
struct KindList {
    kinds: Vec<BacklogWire>,
}

#[derive(Serialize)]
struct BacklogWire {
    name: String,
    queued: u64,
    running: u64,
    /// How long the oldest task waits that is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_wait_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<PauseWire>,
}

#[derive(Serialize)]
struct PauseWire {
    since: Rfc3339,
    reason: String,
}

impl BacklogWire {
    fn of(backlog: Backlog, now: Timestamp) -> Self {
        let Backlog { name, queued, running, oldest_due, paused } = backlog;
        let oldest_wait_ms = oldest_due.map(|due_at| now.millis_since(due_at));
        let paused = paused.map(|pause| PauseWire { since: Rfc3339(pause.since), reason: pause.reason });
        Self { name, queued, running, oldest_wait_ms, paused }
    }
}

/// `GET /v1/queues`: those that have live tasks or are paused, by name.
async fn queues(State(state): Shared) -> Result<Response, Problem> {
    let now = now();
    let queues = state.store.queues(now).await?.into_iter().map(|queue| BacklogWire::of(queue, now)).collect();
    Ok(Json(QueueList { queues }).into_response())
}

/// `GET /v1/kinds`: those that have live tasks or are paused, by name.
async fn kinds(State(state): Shared) -> Result<Response, Problem> {
    let now = now();
    let kinds = state.store.kinds(now).await?.into_iter().map(|kind| BacklogWire::of(kind, now)).collect();
    Ok(Json(KindList { kinds }).into_response())
}

/// `POST /v1/queues/{name}/pause`: its tasks wait; those that run go on.
async fn pause_queue(State(state): Shared, Path(name): Path<String>, request: Request) -> Result<Response, Problem> {
    pause(&state, queue(name)?, request).await
}

/// `POST /v1/queues/{name}/resume`.
async fn resume_queue(State(state): Shared, Path(name): Path<String>) -> Result<Response, Problem> {
    resume(&state, queue(name)?).await
}

/// `POST /v1/kinds/{name}/pause`: its tasks wait; those that run go on.
async fn pause_kind(State(state): Shared, Path(name): Path<String>, request: Request) -> Result<Response, Problem> {
    pause(&state, kind(name)?, request).await
}

/// `POST /v1/kinds/{name}/resume`.
async fn resume_kind(State(state): Shared, Path(name): Path<String>) -> Result<Response, Problem> {
    resume(&state, kind(name)?).await
}

async fn pause(state: &AppState, what: Pausable, request: Request) -> Result<Response, Problem> {
    let reason = if request.body().is_end_stream() {
        None
    } else {
        let bytes = read_json(request, state.settings.max_body_bytes).await?;
        reason(&bytes)?
    };
    let now = now();
    let backlog = state.store.pause(what, reason.unwrap_or_else(|| "asked for".to_owned()), now).await?;
    Ok(Json(BacklogWire::of(backlog, now)).into_response())
}

async fn resume(state: &AppState, what: Pausable) -> Result<Response, Problem> {
    let now = now();
    let backlog = state.store.resume(what, now).await?;
    Ok(Json(BacklogWire::of(backlog, now)).into_response())
}

fn reason(bytes: &[u8]) -> Result<Option<String>, Problem> {
    let mut fields = Fields::of_body(bytes)?;
    let reason: Option<String> = fields.parse("reason", "text");
    if let Some(reason) = reason.as_ref().filter(|reason| reason.len() > MAX_REASON_LEN) {
        fields.wrong("reason", format!("has {} bytes; at most {MAX_REASON_LEN} are kept", reason.len()));
    }
    let errors = fields.finish();
    if errors.is_empty() { Ok(reason) } else { Err(Problem::invalid("invalid-pause", errors)) }
}

fn queue(name: String) -> Result<Pausable, Problem> {
    if is_valid_queue(&name) {
        return Ok(Pausable::Queue(name));
    }
    let detail = format!("{:?} is not a queue: lower-case letters, digits, -, _ and .", echo(&name));
    Err(Problem::bad_request("invalid-id", detail))
}

fn kind(name: String) -> Result<Pausable, Problem> {
    if is_valid_kind(&name) {
        return Ok(Pausable::Kind(name));
    }
    let detail = format!("{:?} is not a kind: lower-case words joined by dots, such as video.cut", echo(&name));
    Err(Problem::bad_request("invalid-id", detail))
}
