//! A task's log, page by page.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::wire::Verbatim;
use super::{find, follow};
use crate::api::problem::{FieldError, Problem};
use crate::api::query::{Parameters, TaskPath};
use crate::api::{LogSlice, Shared, events};

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
/// the lines themselves, with the next offset in `X-Next-Offset`; `Accept: text/event-stream` or `?follow=true` go on with what
/// is written from now on, until the task has ended.
pub async fn read(
    State(state): Shared,
    TaskPath(id): TaskPath,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let follows = parameters.parse("follow", "true or false").unwrap_or_else(|| events::wants_stream(&headers));
    let offset = parameters.number("offset", 0..=u64::MAX).unwrap_or(0);
    let max_bytes = parameters.number("max_bytes", 1..=MAX_PAGE_BYTES).unwrap_or(DEFAULT_PAGE_BYTES);
    let attempt = parameters.number("attempt", 1..=u64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok());
    parameters.finish()?;
    let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    let slice = LogSlice { offset, max_bytes, attempt, settled: follows };
    if follows {
        let offset = last_seen(&headers)?.unwrap_or(offset);
        return follow::stream(&state, id, LogSlice { offset, ..slice }).await;
    }
    find(&*state.store, id).await?;
    let page = state.logs.read(id, slice).await.map_err(Problem::internal)?;
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

/// Whether a request goes on for as long as its task lives.
pub fn is_followed(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut pairs = uri.query().unwrap_or("").split('&');
    match pairs.find_map(|pair| pair.strip_prefix("follow=")) {
        Some(follow) => follow == "true",
        None => events::wants_stream(headers),
    }
}

/// Where a browser goes on that comes back: newer than the offset in the address, which it keeps.
fn last_seen(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(events::LAST_EVENT_ID) else { return Ok(None) };
    let offset = value.to_str().ok().and_then(|text| text.parse().ok());
    offset.map(Some).ok_or_else(|| {
        let message = "is not an offset: use an id of this stream as it was given";
        Problem::invalid("invalid-header", vec![FieldError::header("Last-Event-ID", message)])
    })
}
