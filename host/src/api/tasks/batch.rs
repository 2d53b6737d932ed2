//! `POST /v1/tasks/batch`: many tasks in one commit, all or none. They may come after each other.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::after::{Resolved, resolve};
use super::create::{Place, of_value};
use super::idempotency;
use super::wire::Text;
use crate::api::body::{Fields, read_json};
use crate::api::problem::{FieldError, Problem};
use crate::api::{AppState, Shared};
use crate::store::{Enqueued, StoreError};
use crate::task::{Idempotency, TaskId};
use crate::time::{Timestamp, now};

/// Tasks of one batch.
const MAX_TASKS: usize = 10_000;
/// Mistakes that are reported at once.
const MAX_ERRORS: usize = 100;

#[derive(Serialize)]
struct BatchWire {
    /// In the order of the request.
    tasks: Vec<CreatedWire>,
}

#[derive(Serialize)]
struct CreatedWire {
    id: Text<TaskId>,
    /// A task that was there before answers for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// 201 when something was created, 200 when everything was there already.
pub async fn create(State(state): Shared, request: Request) -> Result<Response, Problem> {
    let key = idempotency::of_headers(request.headers())?;
    let bytes = read_json(request, state.settings.max_batch_bytes).await?;
    let now = now();
    let repeated = match &key {
        Some(key) => repeated(&state, key, &bytes).await?,
        None => None,
    };
    let enqueued = if let Some(enqueued) = repeated {
        enqueued
    } else {
        // Checking thousands of inputs takes its time: not on a thread that others wait for.
        let checked = Arc::clone(&state);
        let parsed = tokio::task::spawn_blocking(move || parse(&checked, &bytes, key.as_deref(), now)).await;
        let mut resolved = parsed.map_err(Problem::internal)??;
        let tasks = std::mem::take(&mut resolved.tasks);
        let enqueued = state.store.enqueue_linked(tasks, now).await.map_err(|error| resolved.blame(error))?;
        resolved.in_order(enqueued)
    };
    let status = if enqueued.iter().all(|one| one.duplicate) { StatusCode::OK } else { StatusCode::CREATED };
    let created = |one: &Enqueued| CreatedWire { id: Text(one.id), duplicate: one.duplicate };
    Ok((status, Json(BatchWire { tasks: enqueued.iter().map(created).collect() })).into_response())
}

/// A refusal that is about one task says about which.
fn taken(error: StoreError) -> Problem {
    let at = if let StoreError::Taken { at, .. } = &error { Some(*at) } else { None };
    let message = error.to_string();
    let problem = Problem::from(error);
    match at {
        Some(at) => problem.with_errors(vec![FieldError::pointer(format!("/tasks/{at}"), message)]),
        None => problem,
    }
}

/// The elements of the batch, still text.
fn elements(bytes: &Bytes) -> Result<Vec<&RawValue>, Problem> {
    let mut fields = Fields::of_body(bytes)?;
    let is_array = fields.peek("tasks").is_some_and(|raw| raw.get().starts_with('['));
    let elements = elements_of(&mut fields)?;
    if elements.is_empty() && is_array {
        fields.wrong("tasks", "is empty");
    }
    let errors = fields.finish();
    if errors.is_empty() { Ok(elements) } else { Err(Problem::invalid("invalid-batch", errors)) }
}

/// The field `tasks`, still text.
pub(in crate::api) fn elements_of<'a>(fields: &mut Fields<'a>) -> Result<Vec<&'a RawValue>, Problem> {
    let tasks = fields.raw("tasks");
    let Some(raw) = tasks else {
        fields.wrong("tasks", "is missing; it is an array of tasks");
        return Ok(Vec::new());
    };
    let elements = serde_json::from_str::<Vec<&RawValue>>(raw.get());
    match &elements {
        Ok(elements) if elements.len() > MAX_TASKS => {
            let detail = format!("/tasks: has {} entries; a batch has at most {MAX_TASKS}", elements.len());
            return Err(Problem::too_large("too-many-tasks", detail));
        }
        Ok(_) => {}
        Err(_) => fields.wrong("tasks", "is not an array"),
    }
    Ok(elements.unwrap_or_default())
}

fn parse(state: &AppState, bytes: &Bytes, key: Option<&str>, now: Timestamp) -> Result<Resolved, Problem> {
    tasks_of(state, elements(bytes)?, key, now).map_err(|errors| Problem::invalid("invalid-batch", errors))
}

/// The tasks of a request, checked; `key` is that of the request.
pub(in crate::api) fn tasks_of(
    state: &AppState,
    elements: Vec<&RawValue>,
    key: Option<&str>,
    now: Timestamp,
) -> Result<Resolved, Vec<FieldError>> {
    let mut drafts = Vec::new();
    let mut errors = Vec::new();
    for (at, raw) in elements.into_iter().enumerate() {
        let prefix = format!("/tasks/{at}");
        let place = Place { prefix: &prefix, max_input_bytes: state.settings.max_input_bytes, now };
        match of_value(raw, &place, key.map(|key| idempotency::of_batch(key, at)).as_deref()) {
            Ok(draft) => match state.plugins.check_input(&draft.new.kind, &draft.new.input) {
                Ok(()) => drafts.push(draft),
                Err(error) => errors.extend(Problem::of_input(error, &prefix).into_errors()),
            },
            Err(found) => errors.extend(found),
        }
        if errors.len() >= MAX_ERRORS {
            break;
        }
    }
    if errors.is_empty() {
        match resolve(drafts) {
            Ok(resolved) => return Ok(resolved),
            Err(found) => errors = found,
        }
    }
    errors.truncate(MAX_ERRORS);
    Err(errors)
}

/// What an earlier request with this key has created, if this is the same and all of it is still kept.
async fn repeated(state: &AppState, key: &str, bytes: &Bytes) -> Result<Option<Vec<Enqueued>>, Problem> {
    let requests: Vec<Idempotency> = elements(bytes)?
        .into_iter()
        .enumerate()
        .map(|(at, raw)| idempotency::request(idempotency::of_batch(key, at), raw))
        .collect();
    let mut enqueued = Vec::new();
    for (at, request) in requests.iter().enumerate() {
        match state.store.known_request(&request.key).await? {
            Some((id, fingerprint)) if fingerprint == request.fingerprint => {
                enqueued.push(Enqueued { id, duplicate: true });
            }
            Some((id, _)) => {
                let key = crate::store::TakenKey::Idempotency;
                return Err(taken(StoreError::Taken { at, key, holder: Some(id) }));
            }
            None => return Ok(None),
        }
    }
    Ok(Some(enqueued))
}
