//! Forgetting ended tasks with their logs and checkpoints: one, or those that a filter selects.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::filter::Choice;
use super::of_task;
use super::wire::Text;
use crate::api::body::read_json;
use crate::api::problem::Problem;
use crate::api::query::TaskPath;
use crate::api::{AppState, Shared};
use crate::store::PurgedMany;
use crate::task::TaskId;
use crate::time::now;

const CHOICE: Choice = Choice { states: &["succeeded", "failed", "cancelled"], list: 'p', by_end: true };

/// `DELETE /v1/tasks/{id}`: 204; 409 while the task lives.
pub async fn one(State(state): Shared, TaskPath(id): TaskPath) -> Result<StatusCode, Problem> {
    state.store.purge(id, now()).await.map_err(|error| of_task(error, id))?;
    remove_logs(&state, vec![id]).await;
    Ok(StatusCode::NO_CONTENT)
}

/// What became of a request.
#[derive(Debug, Serialize)]
pub struct PurgedWire {
    /// Forgotten, oldest first.
    purged: Vec<Text<TaskId>>,
    /// There may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// `POST /v1/tasks/purge`: forgets the tasks that a filter selects, oldest first, at most 1,000 a request.
pub async fn many(State(state): Shared, request: Request) -> Result<Json<PurgedWire>, Problem> {
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    let now = now();
    let PurgedMany { ids, next } = state.store.purge_matching(CHOICE.parse(&bytes, now)?, now).await?;
    remove_logs(&state, ids.clone()).await;
    Ok(Json(PurgedWire { purged: ids.into_iter().map(Text).collect(), next_cursor: CHOICE.cursor(next) }))
}

/// The tasks are gone already: a log that cannot be removed is no reason to say otherwise.
async fn remove_logs(state: &AppState, ids: Vec<TaskId>) {
    if let Err(error) = state.logs.remove(ids).await {
        tracing::warn!(%error, "the logs of purged tasks stay on the disk");
    }
}
