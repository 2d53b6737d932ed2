//! Batches: create with their members, list, read, cancel.

mod wire;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Serialize;

use self::wire::BatchWire;
use super::body::{Fields, read_json};
use super::problem::{FieldError, Problem, echo};
use super::query::{self, Parameters, PathId};
use super::tasks::after::{Draft, Resolved};
use super::tasks::create::{Place, of_value};
use super::tasks::wire::Text;
use super::tasks::{batch, idempotency};
use super::{AppState, Shared};
use crate::store::{Batch, Conflict, CreatedBatch, NewBatch, Obstacle, StoreError};
use crate::task::{BatchId, Callbacks, Idempotency, MAX_BATCH_NAME_LEN, NewTask, TaskId};
use crate::time::{Timestamp, now};

/// Labels of a callback; the host adds two.
const MAX_CALLBACK_ATTRIBUTES: usize = 30;

/// The routes of this resource.
pub fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/v1/batches", get(list).post(create))
        .route("/v1/batches/{id}", get(read))
        .route("/v1/batches/{id}/cancel", post(cancel))
}

/// The id of a batch in a path.
#[derive(Debug)]
pub struct BatchPath(BatchId);

impl<S: Send + Sync> FromRequestParts<S> for BatchPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathId(id) = PathId::from_request_parts(parts, state).await?;
        match id.parse() {
            Ok(id) => Ok(Self(id)),
            Err(expected) => Err(Problem::bad_request("invalid-id", format!("{:?}: {expected}", echo(&id)))),
        }
    }
}

#[derive(Serialize)]
struct CreatedWire<'a> {
    #[serde(flatten)]
    batch: BatchWire<'a>,
    /// In the order of the request; absent when the same request has created the batch before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tasks: Vec<Text<TaskId>>,
}

/// `POST /v1/batches`: 201, or 200 when the same request has created it before.
async fn create(State(state): Shared, request: Request) -> Result<Response, Problem> {
    let key = idempotency::of_headers(request.headers())?;
    let bytes = read_json(request, state.settings.max_batch_bytes).await?;
    let now = now();
    // Checking thousands of inputs takes its time: not on a thread that others wait for.
    let checked = Arc::clone(&state);
    let parsed = tokio::task::spawn_blocking(move || parse(&checked, &bytes, key, now)).await;
    let (mut new, mut resolved) = parsed.map_err(Problem::internal)??;
    new.tasks = std::mem::take(&mut resolved.tasks);
    let CreatedBatch { id, tasks, duplicate } =
        state.store.create_batch(new, now).await.map_err(|error| refused(error, &resolved))?;
    let batch = find(&state, id).await?;
    let status = if duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let location = HeaderValue::try_from(format!("/v1/batches/{id}")).map_err(Problem::internal)?;
    let tasks = resolved.in_order(tasks).into_iter().map(Text).collect();
    let wire = CreatedWire { batch: BatchWire::from(&batch), tasks };
    Ok((status, [(header::LOCATION, location)], Json(wire)).into_response())
}

fn refused(error: StoreError, resolved: &Resolved) -> Problem {
    match error {
        StoreError::Conflict(Conflict { obstacle: Obstacle::Exists, state }) => {
            Problem::new(StatusCode::CONFLICT, "idempotency-mismatch", "The key belongs to another request", state)
        }
        error @ (StoreError::NotFound
        | StoreError::Conflict(_)
        | StoreError::Stale
        | StoreError::Taken { .. }
        | StoreError::NoParent { .. }
        | StoreError::Full(_)
        | StoreError::Closed) => resolved.blame(error),
    }
}

fn parse(
    state: &AppState,
    bytes: &Bytes,
    key: Option<String>,
    now: Timestamp,
) -> Result<(NewBatch, Resolved), Problem> {
    let raw = Fields::value_of(bytes)?;
    let mut fields = Fields::of_value(raw, "").map_err(|error| Problem::invalid("invalid-body", vec![error]))?;
    let name: Option<String> = fields.parse("name", "text");
    if let Some(len) = name.as_ref().map(String::len).filter(|len| !(1..=MAX_BATCH_NAME_LEN).contains(len)) {
        fields.wrong("name", format!("has {len} bytes; a name has 1 to {MAX_BATCH_NAME_LEN}"));
    }
    let callbacks = Callbacks {
        on_success: callback(state, &mut fields, "on_success", now),
        on_failure: callback(state, &mut fields, "on_failure", now),
        on_complete: callback(state, &mut fields, "on_complete", now),
    };
    let elements = batch::elements_of(&mut fields)?;
    let tasks = batch::tasks_of(state, elements, None, now);
    let mut errors = fields.finish();
    match tasks {
        Ok(resolved) if errors.is_empty() => {
            let idempotency: Option<Idempotency> = key.map(|key| idempotency::request(key, raw));
            Ok((NewBatch { name, tasks: Vec::new(), callbacks, idempotency }, resolved))
        }
        Ok(_) => Err(Problem::invalid("invalid-batch", errors)),
        Err(found) => {
            errors.extend(found);
            Err(Problem::invalid("invalid-batch", errors))
        }
    }
}

/// A task that follows. It is created in any case, so nothing may speak against it later.
fn callback(state: &AppState, fields: &mut Fields<'_>, name: &'static str, now: Timestamp) -> Option<NewTask> {
    let raw = fields.raw(name).filter(|raw| raw.get() != "null")?;
    let prefix = format!("/{name}");
    let place = Place { prefix: &prefix, max_input_bytes: state.settings.max_input_bytes, now };
    let Draft { new, links } = match of_value(raw, &place, None) {
        Ok(draft) => draft,
        Err(errors) => {
            fields.append(errors);
            return None;
        }
    };
    let mut errors = Vec::new();
    let mut wrong = |field: &str, is_wrong: bool, message: &str| {
        if is_wrong {
            errors.push(FieldError::pointer(format!("{prefix}{field}"), message));
        }
    };
    wrong("/unique_key", new.unique_key.is_some(), "means nothing here: a callback is created once");
    wrong("/idempotency_key", !new.idempotency.is_empty(), "means nothing here: a callback is created once");
    wrong("/after", !links.is_empty(), "means nothing here: a callback comes after its batch");
    let attributes = format!("has {} entries; at most {MAX_CALLBACK_ATTRIBUTES} here", new.attributes.len());
    wrong("/attributes", new.attributes.len() > MAX_CALLBACK_ATTRIBUTES, &attributes);
    if let Err(error) = state.plugins.check_input(&new.kind, &new.input) {
        errors.extend(Problem::of_input(error, &prefix).into_errors());
    }
    let is_right = errors.is_empty();
    fields.append(errors);
    is_right.then_some(new)
}

#[derive(Serialize)]
struct BatchList<'a> {
    batches: Vec<BatchWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
}

/// `GET /v1/batches`: newest first.
async fn list(State(state): Shared, uri: Uri) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(&uri)?;
    let limit = parameters.limit();
    let cursor = parameters.text("cursor");
    let before = cursor.as_deref().and_then(|text| query::position('b', text)).and_then(|id| id.parse().ok());
    if cursor.is_some() && before.is_none() {
        parameters.wrong("cursor", "is not a cursor of this list: use next_cursor as it was given");
    }
    parameters.finish()?;
    let page = state.store.batches(before, limit).await?;
    let next = page.next.map(|id| query::cursor('b', &id));
    let wire = BatchList { batches: page.items.iter().map(BatchWire::from).collect(), next_cursor: next.as_deref() };
    let mut response = Json(wire).into_response();
    if let Some(link) = next.and_then(|next| query::next_link(&uri, &next)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// `GET /v1/batches/{id}`.
async fn read(State(state): Shared, BatchPath(id): BatchPath) -> Result<Response, Problem> {
    Ok(Json(BatchWire::from(&find(&state, id).await?)).into_response())
}

/// `POST /v1/batches/{id}/cancel`: members that wait end at once, running ones are asked.
async fn cancel(State(state): Shared, BatchPath(id): BatchPath) -> Result<Response, Problem> {
    let batch = state.store.cancel_batch(id, now()).await.map_err(|error| match error {
        StoreError::NotFound => missing(id),
        error @ (StoreError::Stale
        | StoreError::Conflict(_)
        | StoreError::Taken { .. }
        | StoreError::NoParent { .. }
        | StoreError::Full(_)
        | StoreError::Closed) => error.into(),
    })?;
    Ok(Json(BatchWire::from(&batch)).into_response())
}

async fn find(state: &AppState, id: BatchId) -> Result<Batch, Problem> {
    state.store.batch(id).await?.ok_or_else(|| missing(id))
}

fn missing(id: BatchId) -> Problem {
    Problem::not_found("batch-not-found", format!("there is no batch {id}; it is forgotten with its last member"))
}
