//! Media files: upload, list, read, trash, restore, download.

pub mod content;
mod disposition;
pub mod upload;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::Shared;
use super::problem::Problem;
use super::query::{self, Parameters, PathId};
use super::tasks::wire::{Rfc3339, Text};
use crate::media::{MediaError, MediaId};
use crate::store::{MediaQuery, MediaRecord, MediaStatus};
use crate::task::TaskId;
use crate::time::now;

/// The longest grace of a trashed file: ten years, in seconds.
const MAX_GRACE_S: u64 = 315_360_000;

#[derive(Serialize)]
pub(super) struct MediaWire<'a> {
    id: &'a str,
    name: &'a str,
    content_type: &'a str,
    size: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Text<TaskId>>,
    created_at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    trashed_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purge_after: Option<Rfc3339>,
}

impl<'a> From<&'a MediaRecord> for MediaWire<'a> {
    fn from(record: &'a MediaRecord) -> Self {
        let (state, trashed_at, purge_after) = match record.status {
            MediaStatus::Live => ("live", None, None),
            MediaStatus::Trashed { at, purge_after } => ("trashed", Some(Rfc3339(at)), Some(Rfc3339(purge_after))),
        };
        Self {
            id: &record.id,
            name: &record.name,
            content_type: &record.content_type,
            size: record.size,
            state,
            task: record.task.map(Text),
            created_at: Rfc3339(record.created_at),
            trashed_at,
            purge_after,
        }
    }
}

#[derive(Serialize)]
struct MediaList<'a> {
    media: Vec<MediaWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
}

/// `GET /v1/media`: in order of creation; trashed files are hidden, `?trashed=true` shows them instead.
pub async fn list(State(state): Shared, uri: Uri) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let trashed = parameters.parse("trashed", "true or false");
    let limit = parameters.limit();
    let cursor = parameters.text("cursor");
    let after = cursor.as_deref().and_then(|text| query::position('m', text)).filter(|id| MediaId::parse(id).is_some());
    if cursor.is_some() && after.is_none() {
        parameters.wrong("cursor", "is not a cursor of this list: use next_cursor as it was given");
    }
    parameters.finish()?;
    let trashed = Some(trashed.unwrap_or(false));
    let page = state.media.list(MediaQuery { trashed, purgeable_at: None, after, limit }).await?;
    let last = page.items.last().filter(|_| page.next.is_some());
    let next = last.map(|record| query::cursor('m', &record.id));
    let wire = MediaList { media: page.items.iter().map(Into::into).collect(), next_cursor: next.as_deref() };
    let mut response = Json(wire).into_response();
    if let Some(link) = next.and_then(|next| query::next_link(&uri, &next)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// `GET /v1/media/{id}`: the record, also of a trashed file.
pub async fn read(State(state): Shared, PathId(id): PathId) -> Result<Response, Problem> {
    let record = state.media.record(&id).await?;
    Ok(Json(MediaWire::from(&record)).into_response())
}

/// `DELETE /v1/media/{id}`: hides the file; it can be restored for `?grace=` seconds. One that is hidden already
/// keeps its date, so that a repeated request changes nothing: to give it another one, restore it first.
pub async fn trash(State(state): Shared, PathId(id): PathId, uri: Uri) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let grace_s = parameters.number("grace", 0..=MAX_GRACE_S);
    parameters.finish()?;
    let record = state.media.trash(&id, grace_s.map(|seconds| seconds * 1_000), now()).await?;
    Ok(Json(MediaWire::from(&record)).into_response())
}

/// `POST /v1/media/{id}/restore`: brings a trashed file back.
pub async fn restore(State(state): Shared, PathId(id): PathId) -> Result<Response, Problem> {
    let record = state.media.restore(&id, now()).await?;
    Ok(Json(MediaWire::from(&record)).into_response())
}

impl From<MediaError> for Problem {
    fn from(error: MediaError) -> Self {
        let detail = error.to_string();
        match error {
            MediaError::NotFound => Self::not_found("media-not-found", "there is no such media, or it is trashed"),
            MediaError::Conflict(why) => {
                Self::new(StatusCode::CONFLICT, "media-busy", "The file is being made, purged or restored", why)
            }
            MediaError::TooLarge { limit: _ } => Self::too_large("media-too-large", detail),
            MediaError::NoSpace => Self::no_space(detail),
            MediaError::Full(why) => Self::unavailable("full", why, 5),
            MediaError::Closed => Self::unavailable("stopping", "the host is stopping", 5),
            MediaError::Undeletable(_) | MediaError::Io(_) => Self::internal(detail),
        }
    }
}
