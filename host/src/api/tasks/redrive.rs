//! `POST /v1/tasks/redrive`: puts failed tasks back into the queue, those that a filter selects.

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;

use super::create::instant;
use super::filter::{after, limit, name};
use super::wire::Text;
use crate::api::Shared;
use crate::api::body::{Fields, read_json};
use crate::api::problem::Problem;
use crate::api::query::cursor;
use crate::store::{RedriveQuery, Redriven};
use crate::task::{TaskId, is_valid_kind, is_valid_queue};
use crate::time::now;

/// Bytes of a failure's code; longer ones name nothing.
const MAX_CODE_LEN: usize = 64;

/// What became of a request.
#[derive(Debug, Serialize)]
pub struct RedrivenWire {
    /// Put back, oldest first.
    redriven: Vec<Text<TaskId>>,
    /// Left alone: another task holds their unique key.
    held: Vec<Text<TaskId>>,
    /// There may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// 200 with what was put back, which may be nothing.
pub async fn redrive(State(state): Shared, request: Request) -> Result<Json<RedrivenWire>, Problem> {
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    let now = now();
    let Redriven { ids, held, next } = state.store.redrive_failed(parse(&bytes)?, now).await?;
    let texts = |ids: Vec<TaskId>| ids.into_iter().map(Text).collect();
    let next_cursor = next.map(|id| cursor('r', &id.to_string()));
    Ok(Json(RedrivenWire { redriven: texts(ids), held: texts(held), next_cursor }))
}

fn parse(bytes: &[u8]) -> Result<RedriveQuery, Problem> {
    let mut fields = Fields::of_body(bytes)?;
    let query = RedriveQuery {
        kind: name(&mut fields, "kind", is_valid_kind),
        queue: name(&mut fields, "queue", is_valid_queue),
        code: name(&mut fields, "code", |code| (1..=MAX_CODE_LEN).contains(&code.len())),
        since: instant(&mut fields, "since"),
        limit: limit(&mut fields),
        after: after(&mut fields, 'r'),
    };
    let errors = fields.finish();
    if errors.is_empty() { Ok(query) } else { Err(Problem::invalid("invalid-filter", errors)) }
}
