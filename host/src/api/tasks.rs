//! Tasks: create, list, read, cancel, retry, call back.

pub mod after;
pub mod attempts;
pub mod batch;
pub mod callback;
pub mod cancel;
pub mod create;
mod filter;
mod follow;
pub mod idempotency;
pub mod logs;
pub mod purge;
pub mod redrive;
mod tree;
mod unique;
pub mod wait;
pub mod wire;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use self::after::Draft;
use self::tree::TreeWire;
use self::wire::TaskWire;
use super::body::{Fields, read_json};
use super::problem::{Problem, echo};
use super::query::{self, Parameters, TaskPath};
use super::{AppState, Shared};
use crate::store::{Related, Relations, Store, StoreError, TakenKey, TaskQuery};
use crate::task::{self, STATUS_NAMES, Spec, State as TaskState, Status, Task, TaskId};
use crate::time::now;

/// Bytes of inputs and outputs after which a page of tasks ends early.
const MAX_PAGE_BYTES: usize = 8 << 20;
/// Tasks that are read from the store at once while a page is filled.
const SLICE: u32 = 64;

/// `POST /v1/tasks`: answered after the commit. 201 with the new task, or 200 with the one that
/// answers for it: it holds the unique key, or the same request has created it before.
pub async fn create(State(state): Shared, request: Request) -> Result<Response, Problem> {
    let header = idempotency::of_headers(request.headers())?;
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    if let Some(id) = repeated(&state, &bytes, header.as_deref()).await? {
        return answer(&state, StatusCode::OK, &find(&*state.store, id).await?);
    }
    let now = now();
    let Draft { new, links } = create::parse(&bytes, header.as_deref(), state.settings.max_input_bytes, now)?;
    state.plugins.check_input(&new.kind, &new.input)?;
    let spec = Arc::new(Spec { new: new.clone(), created_at: now, first_event: 0 });
    let enqueued = state.store.enqueue(vec![new], now).await.map_err(|error| links.blame(error, ""))?;
    let Some(enqueued) = enqueued.first() else { return Err(Problem::internal("the store answered no id")) };
    if enqueued.duplicate || !spec.new.after.is_empty() {
        let status = if enqueued.duplicate { StatusCode::OK } else { StatusCode::CREATED };
        return answer(&state, status, &find(&*state.store, enqueued.id).await?);
    }
    // What was committed, without a second look: the answer is the task as it was created.
    let status = Status::queued(spec.new.first_due(now));
    answer(&state, StatusCode::CREATED, &Task { id: enqueued.id, spec, status })
}

fn answer(state: &AppState, status: StatusCode, task: &Task) -> Result<Response, Problem> {
    let location = HeaderValue::try_from(format!("/v1/tasks/{}", task.id)).map_err(Problem::internal)?;
    Ok((status, [(header::LOCATION, location)], Json(shown(state, task))).into_response())
}

/// A task as a client sees it.
fn shown<'a>(state: &AppState, task: &'a Task) -> TaskWire<'a> {
    TaskWire::new(task, &*state.plugins)
}

/// The task of the same request, made before. It is looked for before anything is checked: what was
/// right then may be wrong by now.
async fn repeated(state: &AppState, bytes: &[u8], header: Option<&str>) -> Result<Option<TaskId>, Problem> {
    let raw = Fields::value_of(bytes)?;
    let Ok(mut fields) = Fields::of_value(raw, "") else { return Ok(None) };
    let Some(key) = idempotency::of_task(&mut fields, header) else { return Ok(None) };
    let request = idempotency::request(key, raw);
    match state.store.known_request(&request.key).await? {
        Some((id, fingerprint)) if fingerprint == request.fingerprint => Ok(Some(id)),
        Some((id, _)) => Err(StoreError::Taken { at: 0, key: TakenKey::Idempotency, holder: Some(id) }.into()),
        None => Ok(None),
    }
}

#[derive(Serialize)]
struct TaskList<'a> {
    tasks: Vec<TaskWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<&'a str>,
}

/// `GET /v1/tasks`: newest first. A page may hold fewer than asked for when its tasks are large.
pub async fn list(State(state): Shared, uri: Uri) -> Result<Response, Problem> {
    let query = parse_list(&uri)?;
    let (tasks, next) = read_page(&*state.store, query).await?;
    let next = next.map(|id| query::cursor('t', &id.to_string()));
    let wire = TaskList { tasks: tasks.iter().map(|task| shown(&state, task)).collect(), next_cursor: next.as_deref() };
    let mut response = Json(wire).into_response();
    if let Some(link) = next.and_then(|next| query::next_link(&uri, &next)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn parse_list(uri: &Uri) -> Result<TaskQuery, Problem> {
    let mut parameters = Parameters::of(uri)?;
    let states = parameters.text("state").unwrap_or_default();
    let states: Vec<String> = states.split(',').filter(|state| !state.is_empty()).map(str::to_owned).collect();
    if let Some(wrong) = states.iter().find(|state| !STATUS_NAMES.contains(&state.as_str())) {
        parameters.wrong("state", format!("{:?} is not one of {}", echo(wrong), STATUS_NAMES.join(", ")));
    }
    let kind = parameters.text("kind");
    if let Some(wrong) = kind.as_deref().filter(|kind| !task::is_valid_kind(kind)) {
        parameters.wrong("kind", format!("{:?} is not a kind: lower-case words joined by dots", echo(wrong)));
    }
    let queue = parameters.text("queue");
    if let Some(wrong) = queue.as_deref().filter(|queue| !task::is_valid_queue(queue)) {
        parameters.wrong("queue", format!("{:?} is not a queue: lower-case letters, digits, -, _ and .", echo(wrong)));
    }
    let related = related(&mut parameters);
    let limit = parameters.limit();
    let cursor = parameters.text("cursor");
    let before = cursor.as_deref().and_then(|text| query::position('t', text)).and_then(|id| id.parse().ok());
    if cursor.is_some() && before.is_none() {
        parameters.wrong("cursor", "is not a cursor of this list: use next_cursor as it was given");
    }
    parameters.finish()?;
    Ok(TaskQuery { states, kind, queue, related, before, limit })
}

/// At most one of `parent`, `after` and `batch`.
fn related(parameters: &mut Parameters) -> Option<Related> {
    let parent = parameters.parse("parent", "the id of a task").map(Related::CreatedBy);
    let after = parameters.parse("after", "the id of a task").map(Related::After);
    let batch = parameters.parse("batch", "the id of a batch").map(Related::MemberOf);
    let mut given = [parent, after, batch].into_iter().flatten();
    let related = given.next();
    if given.next().is_some() {
        parameters.wrong("parent", "cannot be joined with after or batch: give one of them");
    }
    related
}

/// Tasks up to the query's limit or the byte bound, and the last one's id when there are more.
async fn read_page(store: &dyn Store, mut query: TaskQuery) -> Result<(Vec<Task>, Option<TaskId>), StoreError> {
    let (wanted, mut bytes) = (query.limit as usize, 0);
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        query.limit = SLICE.min(u32::try_from(wanted - tasks.len()).unwrap_or(SLICE));
        let page = store.tasks(query.clone()).await?;
        let more = page.next.is_some();
        for task in page.items {
            if bytes >= MAX_PAGE_BYTES {
                let last = tasks.last().map(|task| task.id);
                return Ok((tasks, last));
            }
            bytes += weight(&task);
            tasks.push(task);
        }
        query.before = tasks.last().map(|task| task.id).or(query.before);
        if !more || query.before.is_none() {
            return Ok((tasks, None));
        }
        if tasks.len() >= wanted {
            return Ok((tasks, query.before));
        }
    }
}

fn weight(task: &Task) -> usize {
    let output = match &task.status.state {
        TaskState::Succeeded { output, .. } => output.len(),
        TaskState::Waiting
        | TaskState::Queued { .. }
        | TaskState::Running { .. }
        | TaskState::Failed { .. }
        | TaskState::Cancelled { .. } => 0,
    };
    task.spec.new.input.len() + output
}

/// `GET /v1/tasks/{id}`; with `Prefer: wait=N` it answers when the task has ended, after N seconds
/// at the latest.
pub async fn read(State(state): Shared, TaskPath(id): TaskPath, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(seconds) = wait::preferred(&headers) else {
        let task = find(&*state.store, id).await?;
        return Ok(Json(shown(&state, &task).around(&relations(&state, id).await?)).into_response());
    };
    let task = wait::until_ended(&state, id, seconds).await?;
    let mut response = Json(shown(&state, &task).around(&relations(&state, id).await?)).into_response();
    let applied = HeaderValue::try_from(format!("wait={seconds}")).map_err(Problem::internal)?;
    response.headers_mut().insert("preference-applied", applied);
    Ok(response)
}

async fn relations(state: &AppState, id: TaskId) -> Result<Relations, Problem> {
    state.store.relations(id).await.map_err(|error| of_task(error, id))
}

/// `GET /v1/tasks/{id}/tree`: what the task has created, and what that has created.
pub async fn tree(State(state): Shared, TaskPath(id): TaskPath) -> Result<Response, Problem> {
    let root = state.store.tree(id).await.map_err(|error| of_task(error, id))?;
    Ok(Json(TreeWire::from(&root)).into_response())
}

/// `POST /v1/tasks/{id}/retry`: puts an ended task back into the queue; 409 while it lives.
pub async fn retry(State(state): Shared, TaskPath(id): TaskPath) -> Result<Response, Problem> {
    let task = state.store.redrive(id, now()).await.map_err(|error| of_task(error, id))?;
    Ok(Json(shown(&state, &task)).into_response())
}

/// The task, or 404.
pub(super) async fn find(store: &dyn Store, id: TaskId) -> Result<Task, Problem> {
    store.task(id).await?.ok_or_else(|| of_task(StoreError::NotFound, id))
}

fn of_task(error: StoreError, id: TaskId) -> Problem {
    match error {
        StoreError::NotFound => {
            Problem::not_found("task-not-found", format!("there is no task {id}; ended tasks are forgotten in time"))
        }
        StoreError::Stale
        | StoreError::Conflict(_)
        | StoreError::Taken { .. }
        | StoreError::NoParent { .. }
        | StoreError::Full(_)
        | StoreError::Closed => error.into(),
    }
}
