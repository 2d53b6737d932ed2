//! Stopping tasks: one, or those that a filter selects.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::filter::Choice;
use super::wire::Text;
use super::{of_task, shown, wait};
use crate::api::Shared;
use crate::api::body::read_json;
use crate::api::problem::Problem;
use crate::api::query::TaskPath;
use crate::store::CancelledMany;
use crate::task::TaskId;
use crate::time::now;

const CHOICE: Choice = Choice { states: &["waiting", "queued", "running", "cancelling"], list: 'c', by_end: false };

/// `POST /v1/tasks/{id}/cancel`: 200 with a task that has ended (a queued one ends at once), 202 with one
/// that is being stopped. With `Prefer: wait=N` it answers when that has ended, after N seconds at the latest.
pub async fn one(State(state): Shared, TaskPath(id): TaskPath, headers: HeaderMap) -> Result<Response, Problem> {
    let mut task = state.store.request_cancel(id, now()).await.map_err(|error| of_task(error, id))?;
    let wait = wait::preferred(&headers);
    if let Some(seconds) = wait.filter(|_| !task.status.state.is_terminal()) {
        task = wait::until_ended(&state, id, seconds).await?;
    }
    let status = if task.status.state.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, Json(shown(&state, &task))).into_response();
    if let Some(seconds) = wait {
        let applied = HeaderValue::try_from(format!("wait={seconds}")).map_err(Problem::internal)?;
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

/// What became of a request.
#[derive(Debug, Serialize)]
pub struct CancelledWire {
    /// Ended at once, oldest first.
    cancelled: Vec<Text<TaskId>>,
    /// Running, and asked to stop.
    cancelling: Vec<Text<TaskId>>,
    /// There may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// `POST /v1/tasks/cancel`: stops the tasks that a filter selects, oldest first, at most 1,000 a request.
pub async fn many(State(state): Shared, request: Request) -> Result<Json<CancelledWire>, Problem> {
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    let now = now();
    let CancelledMany { ended, asked, next } = state.store.cancel_matching(CHOICE.parse(&bytes, now)?, now).await?;
    let texts = |ids: Vec<TaskId>| ids.into_iter().map(Text).collect();
    Ok(Json(CancelledWire { cancelled: texts(ended), cancelling: texts(asked), next_cursor: CHOICE.cursor(next) }))
}
