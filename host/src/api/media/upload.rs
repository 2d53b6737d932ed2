//! `POST /v1/media`: a file as the raw body or as one part of a form, streamed to the disk.
//!
//! A file enters the library when it is complete; whatever ends an upload earlier leaves nothing.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;

use super::{MediaWire, disposition};
use crate::api::body::{content_length, linger};
use crate::api::problem::{FieldError, Problem, echo};
use crate::api::query::Parameters;
use crate::api::{AppState, Shared};
use crate::media::Upload;
use crate::store::MediaRecord;
use crate::time::now;

/// A client that sends nothing of its upload for this long is given up.
const STALL: Duration = Duration::from_secs(30);
/// The name of the form part that holds the file.
const FILE_PART: &str = "file";

/// Stores an upload and answers its record.
pub async fn create(State(state): Shared, request: Request) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(request.uri())?;
    let name = parameters.text("name");
    parameters.finish()?;
    let record = if essence(request.headers()).as_deref() == Some("multipart/form-data") {
        from_form(&state, name, request).await?
    } else {
        from_body(&state, name, request).await?
    };
    let location = HeaderValue::try_from(format!("/v1/media/{}", record.id)).map_err(Problem::internal)?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(MediaWire::from(&record))).into_response())
}

/// The content type without its parameters; what a client sends when it was told nothing is none.
fn essence(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next()?.trim().to_ascii_lowercase();
    let is_unsaid = matches!(essence.as_str(), "" | "application/octet-stream" | "application/x-www-form-urlencoded");
    if is_unsaid { None } else { Some(essence) }
}

async fn from_body(state: &AppState, name: Option<String>, request: Request) -> Result<MediaRecord, Problem> {
    let (parts, mut body) = request.into_parts();
    let expected = content_length(&parts.headers);
    if expected == Some(0) {
        return Err(empty());
    }
    let given =
        parts.headers.get(header::CONTENT_DISPOSITION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let name = name.or_else(|| given.and_then(disposition::file_name));
    let upload = match take(state, expected, &mut body).await {
        Ok(upload) => upload,
        Err(problem) => {
            linger(&parts.headers, body).await;
            return Err(problem);
        }
    };
    finish(upload, name, essence(&parts.headers)).await
}

async fn take(state: &AppState, expected: Option<u64>, body: &mut Body) -> Result<Upload, Problem> {
    let mut upload = state.media.begin_upload(expected).await?;
    while let Some(data) = next_data(body, upload.bytes_taken()).await? {
        upload.write(data).await?;
    }
    Ok(upload)
}

/// The next bytes of a body; an error names how many came before it.
async fn next_data(body: &mut Body, received: u64) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = tokio::time::timeout(STALL, body.frame()).await.map_err(|_| stalled(received))?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(incomplete(received)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn from_form(state: &AppState, name: Option<String>, request: Request) -> Result<MediaRecord, Problem> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|rejection| {
        Problem::bad_request("invalid-form", format!("the form cannot be read: {}", rejection.body_text()))
    })?;
    let Some(mut part) = next_part(&mut form, 0).await? else {
        return Err(wrong_parts("the form has no part"));
    };
    if part.name() != Some(FILE_PART) {
        return Err(wrong_parts(&format!("the form has a part {:?}", echo(part.name().unwrap_or("")))));
    }
    let name = name.or_else(|| part.file_name().map(str::to_owned));
    let content_type = essence(part.headers());
    let mut upload = state.media.begin_upload(None).await?;
    while let Some(data) = next_chunk(&mut part, upload.bytes_taken()).await? {
        upload.write(data).await?;
    }
    drop(part);
    if next_part(&mut form, upload.bytes_taken()).await?.is_some() {
        return Err(wrong_parts("the form has more than one part"));
    }
    finish(upload, name, content_type).await
}

async fn next_part(form: &mut Multipart, received: u64) -> Result<Option<Field<'_>>, Problem> {
    let part = tokio::time::timeout(STALL, form.next_field()).await.map_err(|_| stalled(received))?;
    part.map_err(|error| form_error(&error))
}

async fn next_chunk(part: &mut Field<'_>, received: u64) -> Result<Option<Bytes>, Problem> {
    let chunk = tokio::time::timeout(STALL, part.chunk()).await.map_err(|_| stalled(received))?;
    chunk.map_err(|error| form_error(&error))
}

async fn finish(upload: Upload, name: Option<String>, content_type: Option<String>) -> Result<MediaRecord, Problem> {
    if upload.bytes_taken() == 0 {
        return Err(empty());
    }
    let name = name.unwrap_or_default();
    Ok(upload.finish(&name, content_type.as_deref(), None, now()).await?)
}

fn empty() -> Problem {
    Problem::bad_request("empty-body", "the file is empty; send its bytes as the body or as the form part \"file\"")
}

fn incomplete(received: u64) -> Problem {
    Problem::bad_request("body-incomplete", format!("the upload ended after {received} bytes, before it was complete"))
}

fn stalled(received: u64) -> Problem {
    let detail = format!("nothing came for {} seconds, after {received} bytes", STALL.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body came too slowly", detail)
}

fn form_error(error: &MultipartError) -> Problem {
    Problem::bad_request("invalid-form", format!("the form cannot be read: {}", echo(&error.body_text())))
}

fn wrong_parts(what: &str) -> Problem {
    let message = format!("{what}; one part named {FILE_PART:?} is expected");
    Problem::invalid("invalid-form", vec![FieldError::pointer("", message)])
}
