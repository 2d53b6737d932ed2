//! A task's log, page by page.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::find;
use super::wire::Verbatim;
use crate::api::problem::Problem;
use crate::api::query::{Parameters, TaskPath};
use crate::api::{LogSlice, Shared};

/// Bytes of a page when the client does not say.
const DEFAULT_PAGE_BYTES: u64 = 64 << 10;
/// Bytes of a page at most.
const MAX_PAGE_BYTES: u64 = 1 << 20;
/// The content type of one JSON object a line.
const NDJSON: &str = "application/x-ndjson";

#[derive(Serialize)]
struct LogWire<'a> {
    lines: Vec<Verbatim<'a>>,
    next_offset: u64,
    /// There is no more yet.
    eof: bool,
}

/// `GET /v1/tasks/{id}/logs`: whole lines from `?offset=` on, all or those of `?attempt=`. `Accept: application/x-ndjson` answers
/// the lines themselves, with the next offset in `X-Next-Offset`.
pub async fn read(
    State(state): Shared,
    TaskPath(id): TaskPath,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let offset = parameters.number("offset", 0..=u64::MAX).unwrap_or(0);
    let max_bytes = parameters.number("max_bytes", 1..=MAX_PAGE_BYTES).unwrap_or(DEFAULT_PAGE_BYTES);
    let attempt = parameters.number("attempt", 1..=u64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok());
    parameters.finish()?;
    find(&*state.store, id).await?;
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let page = state.logs.read(id, LogSlice { offset, max_bytes, attempt }).await.map_err(Problem::internal)?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !accept.contains(NDJSON) {
        let lines = page.lines.iter().map(|line| Verbatim(line)).collect();
        return Ok(Json(LogWire { lines, next_offset: page.next_offset, eof: page.eof }).into_response());
    }
    let mut text = page.lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))], text).into_response();
    response.headers_mut().insert("x-next-offset", HeaderValue::from(page.next_offset));
    Ok(response)
}
