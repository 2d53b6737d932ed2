//! Around every request: a panic becomes an answer, the host's own faults are logged, and answers
//! carry what keeps browsers from misusing them.

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;

use super::problem::{Problem, ProblemCause, echo};

const DEFAULTS: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Serves a request and looks at the answer.
pub async fn observe(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // What a handler shares survives a panic: the store and the library are behind channels and files.
    let served = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response =
        served.unwrap_or_else(|_| Problem::internal("the handler panicked; see the panic above").into_response());
    if let Some(ProblemCause { code, cause }) = response.extensions().get() {
        tracing::warn!(%method, path = echo(&path), status = response.status().as_u16(), code, cause, "request failed");
    }
    for (name, value) in DEFAULTS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
