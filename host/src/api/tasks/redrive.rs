//! `POST /v1/tasks/redrive`: puts failed tasks back into the queue, those that a filter selects.

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;

use super::create::instant;
use super::wire::Text;
use crate::api::Shared;
use crate::api::body::{Fields, read_json};
use crate::api::problem::{Problem, echo};
use crate::api::query::{cursor, position};
use crate::store::{RedriveQuery, Redriven};
use crate::task::{TaskId, is_valid_kind, is_valid_queue};
use crate::time::now;

/// Tasks that one request puts back at most, and when it does not say.
const MAX_TASKS: u64 = 1_000;
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
    let kind = name(&mut fields, "kind", is_valid_kind);
    let queue = name(&mut fields, "queue", is_valid_queue);
    let code = name(&mut fields, "code", |code| (1..=MAX_CODE_LEN).contains(&code.len()));
    let since = instant(&mut fields, "since");
    let limit = fields.number("limit", 1..=MAX_TASKS).unwrap_or(MAX_TASKS);
    let given: Option<String> = fields.parse("cursor", "text");
    let after = given.as_deref().and_then(|text| position('r', text)).and_then(|id| id.parse().ok());
    if given.is_some() && after.is_none() {
        fields.wrong("cursor", "is not a cursor of this list: use next_cursor as it was given");
    }
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(Problem::invalid("invalid-filter", errors));
    }
    Ok(RedriveQuery { kind, queue, code, since, after, limit: u32::try_from(limit).unwrap_or(u32::MAX) })
}

fn name(fields: &mut Fields<'_>, field: &'static str, is_valid: impl Fn(&str) -> bool) -> Option<String> {
    let text: Option<String> = fields.parse(field, "text");
    if let Some(wrong) = text.as_deref().filter(|text| !is_valid(text)) {
        fields.wrong(field, format!("{:?} names no {field}", echo(wrong)));
    }
    text
}
