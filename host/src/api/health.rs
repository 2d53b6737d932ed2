//! Whether the host lives, can work, and what it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::Shared;
use super::problem::{FieldError, Problem};
use super::tasks::wire::Rfc3339;
use crate::task::BootId;
use crate::time::Timestamp;

/// The part that stands for the space on the disk: while it has a problem, nothing new is taken in.
pub const DISK: &str = "disk";
/// The part that loads plugins.
pub const PLUGINS: &str = "plugins";
/// When a client may come back whose task or file was not taken in, in seconds.
const INTAKE_RETRY_AFTER_S: u32 = 10;

/// What this host is.
#[derive(Clone, Debug)]
pub struct HostInfo {
    /// Its own version.
    pub version: &'static str,
    /// The version of the WebAssembly runtime.
    pub wasmtime: &'static str,
    /// This start.
    pub boot: BootId,
    /// When it started.
    pub started_at: Timestamp,
}

/// What keeps the host from doing its work, by part. A part without a problem is ready.
#[derive(Debug, Default)]
pub struct Readiness {
    problems: Mutex<BTreeMap<&'static str, String>>,
}

impl Readiness {
    /// Says that `part` has this problem, or none.
    pub fn set(&self, part: &'static str, problem: Option<String>) {
        let mut problems = self.lock();
        match problem {
            Some(problem) => problems.insert(part, problem),
            None => problems.remove(part),
        };
    }

    /// Every part that has a problem.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        self.lock().iter().map(|(part, problem)| (*part, problem.clone())).collect()
    }

    /// Whether tasks and files are taken in.
    pub(super) fn intake(&self) -> Result<(), Problem> {
        match self.lock().get(DISK) {
            None => Ok(()),
            Some(problem) => Err(Problem::unavailable("low-disk-space", problem, INTAKE_RETRY_AFTER_S)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /healthz`: the process answers. Touches nothing else.
pub async fn live() -> Response {
    Json(Status { status: "ok" }).into_response()
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

/// `GET /readyz`: 503 while the host stops or a part has a problem.
pub async fn ready(State(state): Shared) -> Result<Response, Problem> {
    let mut problems = state.readiness.problems();
    if state.stop.is_cancelled() {
        problems.push(("host", "it is stopping".to_owned()));
    }
    if problems.is_empty() {
        return Ok(Json(Status { status: "ready" }).into_response());
    }
    let parts: Vec<_> = problems.iter().map(|(part, problem)| format!("{part}: {problem}")).collect();
    let errors = problems.into_iter().map(|(part, problem)| FieldError::part(part, problem)).collect();
    Err(Problem::unavailable("not-ready", parts.join("; "), 1).with_errors(errors))
}

#[derive(Serialize)]
struct Identity {
    name: &'static str,
    version: &'static str,
    api: &'static str,
    wasmtime: &'static str,
    boot: String,
    started_at: Rfc3339,
}

/// `GET /version`.
pub async fn version(State(state): Shared) -> Response {
    let info = &state.info;
    let identity = Identity {
        name: "taskhost",
        version: info.version,
        api: "v1",
        wasmtime: info.wasmtime,
        boot: format!("{:016x}", info.boot.0),
        started_at: Rfc3339(info.started_at),
    };
    Json(identity).into_response()
}
