//! Schedules: declare, list, read, change, pause, fire by hand, make up for.

pub mod body;
pub mod wire;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use self::wire::ScheduleWire;
use super::body::read_json;
use super::problem::{FieldError, Problem, echo};
use super::query::{self, Parameters};
use super::{AppState, Shared};
use crate::plugin::InputError;
use crate::schedule::{Action, Origin, Schedule, ScheduleSpec, is_valid_name};
use crate::store::StoreError;
use crate::time::{Timestamp, now};

/// The routes of this resource.
pub fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/v1/schedules", get(list).post(create))
        .route("/v1/schedules/{name}", get(read).put(replace).patch(change).delete(remove))
        .route("/v1/schedules/{name}/pause", post(pause))
        .route("/v1/schedules/{name}/resume", post(resume))
        .route("/v1/schedules/{name}/trigger", post(trigger))
        .route("/v1/schedules/{name}/backfill", post(backfill))
}

/// A schedule's name in a path.
#[derive(Debug)]
pub struct NamePath(String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| name).unwrap_or_default();
        if is_valid_name(&name) {
            return Ok(Self(name));
        }
        let detail = format!("{:?} is not a schedule's name: 1 to 64 of a-z, 0-9, -, _ and .", echo(&name));
        Err(Problem::bad_request("invalid-id", detail))
    }
}

#[derive(Serialize)]
struct ScheduleList<'a> {
    schedules: Vec<ScheduleWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
}

/// `GET /v1/schedules`: when each fires next and how its firings went, by name.
async fn list(State(state): Shared, uri: Uri) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let limit = parameters.limit();
    let cursor = parameters.text("cursor");
    let after = cursor.as_deref().and_then(|text| query::position('s', text));
    if cursor.is_some() && after.is_none() {
        parameters.wrong("cursor", "is not a cursor of this list: use next_cursor as it was given");
    }
    parameters.finish()?;
    let page = state.store.schedules(after.as_deref(), limit).await?;
    let next = page.next.map(|name| query::cursor('s', &name));
    let schedules = page.items.iter().map(ScheduleWire::from).collect();
    let mut response = Json(ScheduleList { schedules, next_cursor: next.as_deref() }).into_response();
    if let Some(link) = next.and_then(|next| query::next_link(&uri, &next)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// `POST /v1/schedules`: 201, or 409 when the name is taken.
async fn create(State(state): Shared, request: Request) -> Result<Response, Problem> {
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    let now = now();
    let spec = body::declare(&bytes, None, state.settings.max_input_bytes)?;
    check(&state, &spec, now)?;
    let name = spec.name.clone();
    let schedule = state.store.create_schedule(spec, now).await.map_err(|error| match error {
        StoreError::Conflict(conflict) => taken(conflict.state),
        StoreError::NotFound
        | StoreError::Stale
        | StoreError::Taken { .. }
        | StoreError::NoParent { .. }
        | StoreError::Full(_)
        | StoreError::Closed => error.into(),
    })?;
    let location = HeaderValue::try_from(format!("/v1/schedules/{name}")).map_err(Problem::internal)?;
    let mut response = shown(StatusCode::CREATED, &schedule, now);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// `GET /v1/schedules/{name}`, with the next ten nominal times in its zone.
async fn read(State(state): Shared, NamePath(name): NamePath) -> Result<Response, Problem> {
    let schedule = find(&state, &name).await?;
    Ok(shown(StatusCode::OK, &schedule, now()))
}

/// `PUT /v1/schedules/{name}`: the declaration as a whole.
async fn replace(State(state): Shared, NamePath(name): NamePath, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    let schedule = changeable(&state, &name, &headers).await?;
    let spec = body::declare(&bytes, Some(&name), state.settings.max_input_bytes)?;
    put(&state, &schedule, spec).await
}

/// `PATCH /v1/schedules/{name}`: some fields, as a JSON merge patch (RFC 7396).
async fn change(State(state): Shared, NamePath(name): NamePath, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    let schedule = changeable(&state, &name, &headers).await?;
    let spec = body::change(&bytes, &schedule.spec, state.settings.max_input_bytes)?;
    put(&state, &schedule, spec).await
}

async fn put(state: &AppState, seen: &Schedule, spec: ScheduleSpec) -> Result<Response, Problem> {
    let now = now();
    check(state, &spec, now)?;
    let name = spec.name.clone();
    let replaced = state.store.replace_schedule(spec, seen.revision, now).await;
    Ok(shown(StatusCode::OK, &replaced.map_err(|error| of_schedule(error, &name))?, now))
}

/// `DELETE /v1/schedules/{name}`; its tasks stay.
async fn remove(State(state): Shared, NamePath(name): NamePath, headers: HeaderMap) -> Result<StatusCode, Problem> {
    let schedule = changeable(&state, &name, &headers).await?;
    let removed = state.store.delete_schedule(&name, schedule.revision, now()).await;
    removed.map_err(|error| of_schedule(error, &name))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/schedules/{name}/pause`: it does not fire until it is resumed.
async fn pause(State(state): Shared, NamePath(name): NamePath) -> Result<Response, Problem> {
    let now = now();
    let paused = state.store.pause_schedule(&name, "asked for".to_owned(), now).await;
    Ok(shown(StatusCode::OK, &paused.map_err(|error| of_schedule(error, &name))?, now))
}

/// `POST /v1/schedules/{name}/resume`: it fires again from its next nominal time on.
async fn resume(State(state): Shared, NamePath(name): NamePath) -> Result<Response, Problem> {
    let now = now();
    let resumed = state.store.resume_schedule(&name, now).await;
    Ok(shown(StatusCode::OK, &resumed.map_err(|error| of_schedule(error, &name))?, now))
}

/// `POST /v1/schedules/{name}/trigger`: it fires once more, soon; also a paused one.
async fn trigger(State(state): Shared, NamePath(name): NamePath) -> Result<Response, Problem> {
    let now = now();
    let triggered = state.store.trigger_schedule(&name, now).await;
    Ok(shown(StatusCode::ACCEPTED, &triggered.map_err(|error| of_schedule(error, &name))?, now))
}

/// `POST /v1/schedules/{name}/backfill`: the tasks of nominal times that have passed.
async fn backfill(State(state): Shared, NamePath(name): NamePath, request: Request) -> Result<Response, Problem> {
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    let now = now();
    let request = body::backfill(&bytes, &name, now)?;
    let schedule = find(&state, &name).await?;
    if matches!(schedule.spec.action, Action::Dispatch { .. }) {
        let (title, detail) = ("There is nothing to make up for", "a dispatcher goes on from its cursor");
        return Err(Problem::new(StatusCode::CONFLICT, "not-backfillable", title, detail));
    }
    let done = state.store.backfill(request, now).await.map_err(|error| of_schedule(error, &name))?;
    Ok(Json(wire::BackfilledWire::from(&done)).into_response())
}

/// Whether this host can do what the schedule asks for, and whether it fires ever again.
fn check(state: &AppState, spec: &ScheduleSpec, now: Timestamp) -> Result<(), Problem> {
    if let Err(message) = spec.check_fires_after(now) {
        return Err(Problem::invalid("never-fires", vec![FieldError::pointer(wire::trigger_pointer(spec), message)]));
    }
    let Action::Enqueue { kind, input } = &spec.action else { return Ok(()) };
    state.plugins.check_input(kind, input).map_err(|error| match error {
        InputError::Mismatch { kind, violations } => {
            // Where they are in this body.
            let violations = violations.into_iter().map(|(at, why)| (format!("/action/input{at}"), why));
            let errors = violations.map(|(at, why)| FieldError::pointer(at, why)).collect();
            Problem::invalid("invalid-input", errors).caused_by(kind)
        }
        InputError::UnknownKind { .. } => {
            let message = format!("no plugin executes the kind {:?}", echo(kind));
            Problem::invalid("unknown-kind", vec![FieldError::pointer("/action/kind", message)])
        }
        error @ (InputError::NotYetKnown { .. } | InputError::NotJson(_) | InputError::Repeated(_)) => {
            Problem::of_input(error, "/action")
        }
    })
}

/// The schedule, if this client may change it and has seen its latest declaration.
async fn changeable(state: &AppState, name: &str, headers: &HeaderMap) -> Result<Schedule, Problem> {
    let schedule = find(state, name).await?;
    if schedule.origin == Origin::Config {
        let detail = format!("{name:?} is declared in the configuration: change it there");
        return Err(Problem::new(StatusCode::CONFLICT, "declared-in-config", "Declared in the configuration", detail));
    }
    let Some(wanted) = headers.get(header::IF_MATCH) else {
        let detail = "send the ETag of the schedule that you have seen as If-Match";
        let status = StatusCode::PRECONDITION_REQUIRED;
        return Err(Problem::new(status, "precondition-required", "If-Match is missing", detail));
    };
    let etag = wire::etag(&schedule);
    let is_seen = |tag: &str| tag == "*" || tag == etag;
    if wanted.to_str().unwrap_or("").split(',').any(|tag| is_seen(tag.trim())) {
        return Ok(schedule);
    }
    Err(stale(name))
}

async fn find(state: &AppState, name: &str) -> Result<Schedule, Problem> {
    state.store.schedule(name).await?.ok_or_else(|| of_schedule(StoreError::NotFound, name))
}

fn shown(status: StatusCode, schedule: &Schedule, now: Timestamp) -> Response {
    let wire = ScheduleWire::with_preview(schedule, now);
    let mut response = (status, Json(wire)).into_response();
    if let Ok(etag) = HeaderValue::try_from(wire::etag(schedule)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

fn taken(why: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "schedule-exists", "The name is taken", why)
}

fn stale(name: &str) -> Problem {
    let detail = format!("the schedule {name:?} is not what you have seen: read it again");
    Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", "It has changed meanwhile", detail)
}

fn of_schedule(error: StoreError, name: &str) -> Problem {
    match error {
        StoreError::NotFound => Problem::not_found("schedule-not-found", format!("there is no schedule {name:?}")),
        StoreError::Stale => stale(name),
        StoreError::Conflict(_)
        | StoreError::Taken { .. }
        | StoreError::NoParent { .. }
        | StoreError::Full(_)
        | StoreError::Closed => error.into(),
    }
}
