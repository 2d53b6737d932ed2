//! A permit for each request, held until its response body ends or the client goes away; and no
//! intake while the disk is almost full.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};

use super::problem::Problem;
use super::{AppState, events, tasks};
use crate::limiter::{Class, Permit};

/// When a client that was turned away may come back, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// Admits a request to its class, or turns it away at once.
pub async fn admit(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Result<Response, Problem> {
    if takes_in(&request) {
        state.readiness.intake()?;
    }
    let Some(class) = class_of(&request) else { return Ok(next.run(request).await) };
    let Some(permit) = state.limiter.try_acquire(class) else {
        let limit = state.limiter.gauge(class).limit;
        let detail = format!("all {limit} places for {} requests are taken", class.name());
        return Err(Problem::too_many(detail, RETRY_AFTER_S));
    };
    let response = next.run(request).await;
    Ok(response.map(|body| Body::new(PermitBody { body, permit: Some(permit) })))
}

/// Whether a request brings something that will take space on the disk.
fn takes_in(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    request.method() == Method::POST && matches!(path, "/v1/tasks" | "/v1/tasks/batch" | "/v1/batches" | "/v1/media")
}

/// What a request occupies; health checks are always answered.
fn class_of(request: &Request) -> Option<Class> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match path {
        "/healthz" | "/readyz" | "/version" => None,
        "/v1/events" => Some(Class::Watch),
        "/v1/tasks/{id}" | "/v1/tasks/{id}/cancel" if tasks::wait::preferred(request.headers()).is_some() => {
            Some(Class::Watch)
        }
        "/v1/tasks/{id}/logs" if tasks::logs::is_followed(request.headers(), request.uri()) => Some(Class::Watch),
        "/v1/tasks/{id}/events" if events::wants_stream(request.headers()) => Some(Class::Watch),
        "/v1/media/{id}/content" => Some(Class::Stream),
        "/v1/media" if request.method() == Method::POST => Some(Class::Upload),
        "/v1/plugins/{name}" | "/v1/plugins/{name}/manifest" if request.method() == Method::PUT => Some(Class::Upload),
        _ => Some(Class::Api),
    }
}

/// A body that gives a permit back when it ends, fails or is dropped.
#[derive(Debug)]
struct PermitBody {
    body: Body,
    permit: Option<Permit>,
}

impl http_body::Body for PermitBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
