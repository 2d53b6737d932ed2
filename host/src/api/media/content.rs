//! `GET` and `HEAD /v1/media/{id}/content`: the bytes of a live file, whole or in part.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures_util::Stream;

use super::disposition;
use crate::api::Shared;
use crate::api::problem::Problem;
use crate::api::query::PathId;
use crate::media::Content;
use crate::media::range::{Conditions, Precondition, Selection, Validators, conditional, decide};
use crate::store::MediaRecord;

/// Bytes that are read and sent at once.
const CHUNK_BYTES: u64 = 64 << 10;

/// Serves a file, or a part of it, or says that the client has it.
pub async fn read(
    State(state): Shared,
    PathId(id): PathId,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Content { record, file } = state.media.content(&id).await?;
    let validators = Validators::of_media(&record.id, record.created_at);
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let conditions = Conditions {
        if_match: text(header::IF_MATCH),
        if_unmodified_since: text(header::IF_UNMODIFIED_SINCE),
        if_none_match: text(header::IF_NONE_MATCH),
        if_modified_since: text(header::IF_MODIFIED_SINCE),
    };
    match conditional(conditions, &validators) {
        Precondition::Proceed => {}
        Precondition::NotModified => return answer(StatusCode::NOT_MODIFIED, &record, &validators, Body::empty()),
        Precondition::PreconditionFailed => {
            let detail = "the file is not the one that If-Match or If-Unmodified-Since names";
            let (status, title) = (StatusCode::PRECONDITION_FAILED, "Precondition failed");
            return Err(Problem::new(status, "precondition-failed", title, detail));
        }
    }
    // A range means something for GET only (RFC 9110, section 14.2).
    let range = text(header::RANGE).filter(|_| method == Method::GET);
    let (status, start, end) = match decide(range, text(header::IF_RANGE), &validators, record.size) {
        Selection::Full => (StatusCode::OK, 0, record.size),
        Selection::Partial { start, end_inclusive } => (StatusCode::PARTIAL_CONTENT, start, end_inclusive + 1),
        Selection::Unsatisfiable => return Err(unsatisfiable(record.size)?),
    };
    let body = Body::from_stream(chunks(file, start, end));
    let mut response = answer(status, &record, &validators, body)?;
    let answered = response.headers_mut();
    answered.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{}", end - 1, record.size);
        answered.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).map_err(Problem::internal)?);
    }
    Ok(response)
}

fn unsatisfiable(size: u64) -> Result<Problem, Problem> {
    let range = HeaderValue::try_from(format!("bytes */{size}")).map_err(Problem::internal)?;
    let detail = format!("the range starts beyond the end; the file has {size} bytes");
    let (status, title) = (StatusCode::RANGE_NOT_SATISFIABLE, "Range not satisfiable");
    Ok(Problem::new(status, "range-not-satisfiable", title, detail).with_content_range(range))
}

/// What every answer about a file has in common.
fn answer(status: StatusCode, record: &MediaRecord, validators: &Validators, body: Body) -> Result<Response, Problem> {
    let value = |text: &str| HeaderValue::try_from(text).map_err(Problem::internal);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value(&validators.etag)?);
    headers.insert(header::LAST_MODIFIED, value(&validators.last_modified_date())?);
    // The bytes never change, but the file may be trashed: caches ask before they use it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_TYPE, value(&record.content_type)?);
        headers.insert(header::CONTENT_DISPOSITION, disposition::of_file(&record.name, &record.content_type));
        // Whatever it is: it runs no script and is nobody's page here.
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    Ok(response)
}

/// The bytes from `start` up to `end`, read as they are asked for. A file that is shorter than its
/// record ends the response with an error, so that the client does not take it for whole.
fn chunks(file: File, start: u64, end: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures_util::stream::unfold((Arc::new(file), start), move |(file, at)| async move {
        let length = usize::try_from(CHUNK_BYTES.min(end.checked_sub(at)?)).ok().filter(|length| *length > 0)?;
        let reader = Arc::clone(&file);
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; length];
            reader.read_exact_at(&mut chunk, at).map(|()| Bytes::from(chunk))
        });
        match read.await.map_err(io::Error::other).flatten() {
            Ok(chunk) => Some((Ok(chunk), (file, at + length as u64))),
            Err(error) => {
                tracing::error!(%error, at, "a file of the library cannot be read");
                Some((Err(error), (file, end)))
            }
        }
    })
}
