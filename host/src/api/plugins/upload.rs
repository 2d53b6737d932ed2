//! The body of an upload: a component, a manifest, or them and a signature as the parts of a form.

use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::Multipart;
use axum::extract::{FromRequest as _, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;

use crate::api::body::{content_length, linger, linger_form};
use crate::api::problem::{FieldError, Problem, echo};
use crate::plugin::{MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, Upload};

/// A client that sends nothing of its upload for this long is given up.
const STALL: Duration = Duration::from_secs(30);

/// A component as the body, or a form with `component`, `manifest` or both.
pub(super) async fn component(request: Request, max_bytes: u64) -> Result<Upload, Problem> {
    if is_form(request.headers()) {
        return form(request, max_bytes).await;
    }
    let component = whole(request, max_bytes, "component").await?;
    Ok(Upload { component: Some(component), ..Upload::default() })
}

/// A manifest as the body; it may be empty.
pub(super) async fn manifest(request: Request) -> Result<Upload, Problem> {
    let manifest = read(request, MAX_MANIFEST_BYTES, "manifest").await?;
    Ok(Upload { manifest: Some(manifest), ..Upload::default() })
}

fn is_form(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    text.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("multipart/form-data"))
}

async fn whole(request: Request, max_bytes: u64, what: &str) -> Result<Vec<u8>, Problem> {
    let bytes = read(request, max_bytes, what).await?;
    if bytes.is_empty() {
        return Err(Problem::bad_request("empty-body", format!("the body is empty; the {what} is expected")));
    }
    Ok(bytes)
}

async fn read(request: Request, max_bytes: u64, what: &str) -> Result<Vec<u8>, Problem> {
    let (parts, mut body) = request.into_parts();
    let announced = content_length(&parts.headers);
    let collected = match announced {
        Some(length) if length > max_bytes => Err(too_large(max_bytes, what)),
        Some(_) | None => collect(&mut body, announced, max_bytes, what).await,
    };
    if collected.is_err() {
        linger(&parts.headers, body).await;
    }
    collected
}

async fn collect(body: &mut Body, announced: Option<u64>, max_bytes: u64, what: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(0));
    loop {
        let frame = tokio::time::timeout(STALL, body.frame()).await.map_err(|_| stalled(bytes.len()))?;
        let Some(frame) = frame else { return Ok(bytes) };
        let incomplete = |_| Problem::bad_request("body-incomplete", "the body ended before it was complete");
        let Ok(data) = frame.map_err(incomplete)?.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > max_bytes {
            return Err(too_large(max_bytes, what));
        }
        bytes.extend_from_slice(&data);
    }
}

async fn form(request: Request, max_bytes: u64) -> Result<Upload, Problem> {
    let expects = request.headers().contains_key(header::EXPECT);
    let mut form =
        Multipart::from_request(request, &()).await.map_err(|rejection| unreadable(&rejection.body_text()))?;
    let read = parts(&mut form, max_bytes).await;
    if read.is_err() {
        linger_form(expects, &mut form).await;
    }
    read
}

async fn parts(form: &mut Multipart, max_bytes: u64) -> Result<Upload, Problem> {
    let mut upload = Upload::default();
    loop {
        let part = tokio::time::timeout(STALL, form.next_field()).await.map_err(|_| stalled(0))?;
        let Some(mut part) = part.map_err(|error| unreadable(&error.body_text()))? else { break };
        let name = part.name().unwrap_or("").to_owned();
        let (place, what, max_bytes) = match name.as_str() {
            "component" => (&mut upload.component, "component", max_bytes),
            "manifest" => (&mut upload.manifest, "manifest", MAX_MANIFEST_BYTES),
            "signature" => (&mut upload.signature, "signature", MAX_SIGNATURE_BYTES),
            other => return Err(wrong_parts(&format!("the form has a part {:?}", echo(other)))),
        };
        if place.is_some() {
            return Err(wrong_parts(&format!("the form has two parts {name:?}")));
        }
        let bytes = place.insert(Vec::new());
        loop {
            let chunk = tokio::time::timeout(STALL, part.chunk()).await.map_err(|_| stalled(bytes.len()))?;
            let Some(chunk) = chunk.map_err(|error| unreadable(&error.body_text()))? else { break };
            if (bytes.len() + chunk.len()) as u64 > max_bytes {
                return Err(too_large(max_bytes, what));
            }
            bytes.extend_from_slice(&chunk);
        }
    }
    if upload.component.is_none() && upload.manifest.is_none() && upload.signature.is_none() {
        return Err(wrong_parts("the form has no part"));
    }
    Ok(upload)
}

fn unreadable(text: &str) -> Problem {
    Problem::bad_request("invalid-form", format!("the form cannot be read: {}", echo(text)))
}

fn too_large(max_bytes: u64, what: &str) -> Problem {
    let code = match what {
        "manifest" => "manifest-too-large",
        "signature" => "signature-too-large",
        _ => "component-too-large",
    };
    Problem::too_large(code, format!("the {what} is larger than {max_bytes} bytes"))
}

fn stalled(received: usize) -> Problem {
    let detail = format!("nothing came for {} seconds, after {received} bytes", STALL.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body came too slowly", detail)
}

fn wrong_parts(what: &str) -> Problem {
    let message = format!("{what}; parts named \"component\", \"manifest\" and \"signature\" are expected");
    Problem::invalid("invalid-form", vec![FieldError::pointer("", message)])
}
