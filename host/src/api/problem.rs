//! What went wrong, as RFC 9457 problem details with a stable code. Building one has no side effects:
//! the router's middleware logs those that are the host's fault.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::plugin::InputError;
use crate::store::{Conflict, Obstacle, StoreError, TakenKey};

/// Characters of a client's own text that an answer repeats at most.
pub const MAX_ECHO_CHARS: usize = 100;
/// Kinds that an answer lists at most.
const MAX_LISTED_KINDS: usize = 100;
/// Most components are loaded within it.
const LOADING_RETRY_AFTER_S: u32 = 5;

/// Where in a request something was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A JSON Pointer into the body.
    Pointer(String),
    /// A parameter of the query.
    Parameter(String),
    /// A header.
    Header(&'static str),
    /// A part of the host.
    Part(&'static str),
}

/// One thing that was wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What, and what would be right.
    pub message: String,
    /// Whether the same may be right in a while.
    #[serde(skip)]
    passes: bool,
}

impl FieldError {
    /// Something wrong in the body.
    pub fn pointer(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::at(Place::Pointer(pointer.into()), message)
    }

    /// Something wrong in the query.
    pub fn parameter(name: &str, message: impl Into<String>) -> Self {
        Self::at(Place::Parameter(echo(name)), message)
    }

    /// Something wrong with a part of the host.
    pub fn part(part: &'static str, message: impl Into<String>) -> Self {
        Self::at(Place::Part(part), message)
    }

    /// Something wrong in a header.
    pub fn header(name: &'static str, message: impl Into<String>) -> Self {
        Self::at(Place::Header(name), message)
    }

    fn at(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), passes: false }
    }
}

/// An answer that says why a request was not served.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    extra: Box<Extra>,
}

/// What only some problems have; boxed, so that a `Result` stays small.
#[derive(Clone, Debug, Default)]
struct Extra {
    errors: Vec<FieldError>,
    kinds: Option<Vec<String>>,
    retry_after_s: Option<u32>,
    content_range: Option<HeaderValue>,
    challenge: Option<HeaderValue>,
    cause: Option<String>,
}

/// For the log: what the answer does not tell the client.
#[derive(Clone, Debug)]
pub struct ProblemCause {
    /// The problem's code.
    pub code: &'static str,
    /// What was behind it.
    pub cause: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<&'a [String]>,
}

impl Problem {
    /// A problem; `code` is stable, kebab-case; `title` is the same for every problem of this code.
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), extra: Box::default() }
    }

    /// 400: the request could not be read.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, "The request cannot be read", detail)
    }

    /// 404: there is no such `what`.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, "Not found", detail)
    }

    /// 409: something is in a state that does not allow it.
    fn conflict(conflict: Conflict) -> Self {
        let (code, title) = match conflict.obstacle {
            Obstacle::TaskLives => ("task-live", "The task has not ended"),
            Obstacle::TaskNeeded => ("task-needed", "A task that comes after it has not ended"),
            Obstacle::ParentLost => ("parent-lost", "A task that it comes after has not succeeded"),
            Obstacle::KeyHeld => ("unique-held", "Another task holds the unique key"),
            Obstacle::LimitsSettling => ("limits-settling", "Earlier changes of limits are still taking effect"),
            Obstacle::Declared => ("declared-in-config", "Declared in the configuration"),
            Obstacle::Exists => ("exists", "It is there already"),
            Obstacle::NotPurgeable => ("not-purgeable", "The file is not to be purged"),
            Obstacle::Unfit => ("conflict", "This contradicts itself"),
        };
        Self::new(StatusCode::CONFLICT, code, title, conflict.state)
    }

    /// 413: more bytes than are accepted.
    pub fn too_large(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, "Too large", detail)
    }

    /// 415: a content type that is not understood here.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        let title = "Content type not supported";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", title, detail)
    }

    /// 422: readable, but not acceptable. The detail sums up `errors`, which is not empty. 503 if nothing is wrong but
    /// what passes.
    pub fn invalid(code: &'static str, errors: Vec<FieldError>) -> Self {
        let count = errors.len();
        let detail = match errors.first() {
            Some(first) if count == 1 => match &first.place {
                Place::Pointer(at) if at.is_empty() => first.message.clone(),
                Place::Pointer(at) | Place::Parameter(at) => format!("{at}: {}", first.message),
                Place::Header(at) | Place::Part(at) => format!("{at}: {}", first.message),
            },
            _ => format!("{count} things are wrong; see errors"),
        };
        let problem = if count > 0 && errors.iter().all(|error| error.passes) {
            Self::unavailable("plugins-loading", detail, LOADING_RETRY_AFTER_S)
        } else {
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The request is not acceptable", detail)
        };
        problem.with_errors(errors)
    }

    /// 503: later, perhaps.
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after_s: u32) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "Not available now", detail);
        problem.extra.retry_after_s = Some(retry_after_s);
        problem
    }

    /// 507: the disk is full.
    pub fn no_space(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "no-space", "The disk is full", detail)
    }

    /// 429: too much at the same time.
    pub fn too_many(detail: impl Into<String>, retry_after_s: u32) -> Self {
        let title = "Too many requests at the same time";
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", title, detail);
        problem.extra.retry_after_s = Some(retry_after_s);
        problem
    }

    /// 500: the host's own fault; `cause` goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let title = "The host failed";
        let detail = "the host could not do it; its log says why";
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title, detail);
        problem.extra.cause = Some(cause.to_string());
        problem
    }

    /// This problem, with what was behind it, for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::fmt::Display) -> Self {
        self.extra.cause = Some(cause.to_string());
        self
    }

    /// This problem, with everything that was wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.extra.errors = errors;
        self
    }

    /// This problem, with the `Content-Range` of a range that cannot be satisfied.
    #[must_use]
    pub fn with_content_range(mut self, value: HeaderValue) -> Self {
        self.extra.content_range = Some(value);
        self
    }

    /// This problem, with the `WWW-Authenticate` that says what would be accepted.
    #[must_use]
    pub fn with_challenge(mut self, challenge: &str) -> Self {
        self.extra.challenge = HeaderValue::try_from(challenge).ok();
        self
    }

    fn wire(&self) -> Wire<'_> {
        Wire {
            r#type: format!("urn:taskhost:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: &self.extra.errors,
            kinds: self.extra.kinds.as_deref(),
        }
    }

    /// Its text, where there is no response to put it into.
    pub fn document(&self) -> String {
        serde_json::to_string(&self.wire()).unwrap_or_default()
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.wire())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.extra.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(range) = self.extra.content_range {
            headers.insert(header::CONTENT_RANGE, range);
        }
        if let Some(challenge) = self.extra.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status.is_server_error() {
            let cause = self.extra.cause.unwrap_or(self.detail);
            response.extensions_mut().insert(ProblemCause { code: self.code, cause });
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found("not-found", "there is no such thing"),
            StoreError::Stale => {
                let detail = "it has changed meanwhile: read it again";
                Self::new(StatusCode::CONFLICT, "stale", "It has changed meanwhile", detail)
            }
            StoreError::Conflict(conflict) => Self::conflict(conflict),
            error @ StoreError::Taken { key, .. } => {
                let (code, title) = match key {
                    TakenKey::Unique => ("unique-held", "Another task holds the unique key"),
                    TakenKey::Idempotency => ("idempotency-mismatch", "The key belongs to another request"),
                };
                Self::new(StatusCode::CONFLICT, code, title, error.to_string())
            }
            error @ StoreError::NoParent { .. } => {
                let title = "There is no such task to come after";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown-parent", title, error.to_string())
            }
            StoreError::Full(why) => Self::unavailable("full", why, 5),
            StoreError::Closed => Self::unavailable("stopping", "the host is stopping", 5),
        }
    }
}

impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        Self::of_input(error, "")
    }
}

impl Problem {
    /// What is wrong with the task that is at `prefix` in the body.
    pub fn of_input(error: InputError, prefix: &str) -> Self {
        match error {
            InputError::UnknownKind { kind, mut known } => {
                let message = format!("no plugin executes the kind {:?}; known kinds are in `kinds`", echo(&kind));
                known.truncate(MAX_LISTED_KINDS);
                let error = FieldError::pointer(format!("{prefix}/kind"), message);
                let mut problem = Self::invalid("unknown-kind", vec![error]);
                problem.extra.kinds = Some(known);
                problem
            }
            InputError::NotYetKnown { kind, coming } => {
                let loading = coming.join(", ");
                let message =
                    format!("no plugin executes the kind {:?} yet; still being loaded: {loading}", echo(&kind));
                let error = FieldError { passes: true, ..FieldError::pointer(format!("{prefix}/kind"), message) };
                Self::invalid("unknown-kind", vec![error])
            }
            InputError::NotJson(why) => {
                Self::invalid("invalid-input", vec![FieldError::pointer(format!("{prefix}/input"), why)])
            }
            InputError::Repeated(at) => {
                let error = FieldError::pointer(format!("{prefix}/input{at}"), "is given more than once");
                Self::invalid("invalid-input", vec![error])
            }
            InputError::Mismatch { kind: _, violations } => {
                let errors = violations.into_iter().map(|(at, message)| {
                    FieldError::pointer(format!("{prefix}/input{at}"), clip(&message, 4 * MAX_ECHO_CHARS))
                });
                Self::invalid("invalid-input", errors.collect())
            }
        }
    }

    /// Everything that was wrong.
    pub fn into_errors(self) -> Vec<FieldError> {
        self.extra.errors
    }
}

/// A client's own text, short enough to be repeated to it, without control characters.
pub fn echo(text: &str) -> String {
    clip(text, MAX_ECHO_CHARS)
}

fn clip(text: &str, max_chars: usize) -> String {
    let mut clipped: String =
        text.chars().take(max_chars).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(max_chars).is_some() {
        clipped.pop();
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::{MAX_ECHO_CHARS, echo};

    #[test]
    fn a_clients_text_is_repeated_short_and_clean() {
        assert_eq!(echo("video.cut"), "video.cut");
        assert_eq!(echo("a\0b\n"), "a\u{fffd}b\u{fffd}");
        let long = echo(&"é".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_ECHO_CHARS);
        assert!(long.ends_with('…'));
    }
}
