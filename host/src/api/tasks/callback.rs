//! Callbacks: somebody outside has news about an attempt's work.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::{find, of_task};
use crate::api::Shared;
use crate::api::body::discard;
use crate::api::problem::Problem;
use crate::api::query::TaskPath;
use crate::store::StoreError;
use crate::time::now;

/// A body at most, in bytes. It counts for nothing: what is true is asked of the work itself.
const MAX_BODY_BYTES: usize = 64 << 10;

/// `POST /v1/tasks/{id}/callback` with the token that the host gave to the attempt: 202, and the host looks at once. It
/// may be repeated. 409 when that attempt has ended.
pub async fn call_back(State(state): Shared, TaskPath(id): TaskPath, request: Request) -> Result<Response, Problem> {
    let token = bearer(request.headers()).map(str::to_owned);
    discard(request, MAX_BODY_BYTES).await?;
    find(&*state.store, id).await?;
    let Some(attempt) = token.and_then(|token| state.callbacks.attempt(id, &token)) else {
        return Ok(unauthorized());
    };
    match state.store.call_back(id, attempt, now()).await {
        Ok(()) => Ok(StatusCode::ACCEPTED.into_response()),
        Err(StoreError::Stale) => {
            let detail = format!("attempt {attempt} of task {id} has ended: nothing is left to call back about");
            Err(Problem::new(StatusCode::CONFLICT, "stale-attempt", "The attempt has ended", detail))
        }
        Err(error) => Err(of_task(error, id)),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized() -> Response {
    let detail = "send the token that the host gave to this task's attempt, as `Authorization: Bearer TOKEN`";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "wrong-token", "The token is missing or wrong", detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
