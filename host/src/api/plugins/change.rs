//! Changes of plugins over HTTP: upload, delete, roll back. For the administrator only.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::upload;
use crate::api::body::linger;
use crate::api::problem::{Problem, echo};
use crate::api::query::Parameters;
use crate::api::tasks::wire::Text;
use crate::api::{AppState, Shared};
use crate::plugin::{Canary, Condition, Disobeyed, History, Obeyed, Upload};
use crate::store::TaskQuery;
use crate::task::{Digest, Task};

/// What the API has done with plugins.
#[async_trait]
pub trait PluginControl: Send + Sync + 'static {
    /// Checks an upload as a file in the folder is checked, puts it into the folder and makes it live.
    async fn put(&self, name: &str, upload: Upload, condition: Condition) -> Result<Obeyed, Disobeyed>;
    /// Removes a plugin.
    async fn remove(&self, name: &str, condition: Condition) -> Result<Obeyed, Disobeyed>;
    /// Makes the generation live that was so before.
    async fn roll_back(&self, name: &str, condition: Condition) -> Result<Obeyed, Disobeyed>;
    /// What was live of a plugin, if it is known.
    fn history(&self, name: &str) -> Option<History>;
    /// A component at most, in bytes.
    fn max_component_bytes(&self) -> u64;
}

/// A plugin's name in a path.
#[derive(Debug)]
pub(super) struct PluginName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PluginName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| name).unwrap_or_default();
        match crate::plugin::check_name(&name) {
            Ok(()) => Ok(Self(name)),
            Err(_) => Err(bad_name(&name)),
        }
    }
}

fn bad_name(name: &str) -> Problem {
    let detail =
        format!("{:?} is not a plugin's name: 1 to 64 of a-z, 0-9 and -, not starting with a dash", echo(name));
    Problem::bad_request("invalid-name", detail)
}

#[derive(Serialize)]
struct ObeyedWire<'a> {
    name: &'a str,
    /// What is live now.
    digest: Option<Text<Digest>>,
    /// What was live before.
    before: Option<Text<Digest>>,
}

/// What the body is.
#[derive(Clone, Copy, Debug)]
enum What {
    Component,
    Manifest,
}

/// `PUT /v1/plugins/{name}`: the component as the body, or a form with `component`, `manifest` and `signature`.
pub(super) async fn put(state: Shared, name: PluginName, request: Request) -> Result<Response, Problem> {
    take(state, name, request, What::Component).await
}

/// `PUT /v1/plugins/{name}/manifest`: another manifest for the same component.
pub(super) async fn put_manifest(state: Shared, name: PluginName, request: Request) -> Result<Response, Problem> {
    take(state, name, request, What::Manifest).await
}

async fn take(
    State(state): Shared,
    PluginName(name): PluginName,
    request: Request,
    what: What,
) -> Result<Response, Problem> {
    let (headers, uri) = (request.headers().clone(), request.uri().clone());
    let prepared = prepare(&state, &name, (&headers, &uri)).await;
    let (canary, condition) = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => return Err(refuse(request, problem).await),
    };
    let _turn = state.admin.turn().await?;
    let upload = match what {
        What::Component => upload::component(request, state.control.max_component_bytes()).await?,
        What::Manifest => upload::manifest(request).await?,
    };
    let obeyed = state.control.put(&name, Upload { canary, ..upload }, condition).await;
    let obeyed = obeyed.map_err(|error| of(&error, &name))?;
    let status = if obeyed.before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    Ok(done(status, &name, obeyed))
}

async fn prepare(
    state: &Arc<AppState>,
    name: &str,
    (headers, uri): (&HeaderMap, &Uri),
) -> Result<(Option<Canary>, Condition), Problem> {
    state.admin.check(headers)?;
    let mut parameters = Parameters::of(uri)?;
    let asked = parameters.text("canary");
    parameters.finish()?;
    let condition = condition(headers)?;
    Ok((canary(state, name, asked.as_deref()).await?, condition))
}

/// Says no to an upload before it is read, so that the client hears of it.
async fn refuse(request: Request<Body>, problem: Problem) -> Problem {
    let (parts, body) = request.into_parts();
    linger(&parts.headers, body).await;
    problem
}

/// `DELETE /v1/plugins/{name}`: removes its files.
pub(super) async fn remove(
    State(state): Shared,
    PluginName(name): PluginName,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    state.admin.check(&headers)?;
    let removed = state.control.remove(&name, condition(&headers)?).await;
    removed.map(|_| StatusCode::NO_CONTENT).map_err(|error| of(&error, &name))
}

/// `POST /v1/plugins/{name}/rollback`: back to the generation before.
pub(super) async fn roll_back(
    State(state): Shared,
    PluginName(name): PluginName,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    state.admin.check(&headers)?;
    let obeyed = state.control.roll_back(&name, condition(&headers)?).await.map_err(|error| of(&error, &name))?;
    Ok(done(StatusCode::OK, &name, obeyed))
}

fn done(status: StatusCode, name: &str, obeyed: Obeyed) -> Response {
    let Obeyed { live, before } = obeyed;
    let mut response =
        (status, Json(ObeyedWire { name, digest: live.map(Text), before: before.map(Text) })).into_response();
    let etag = live.and_then(|live| HeaderValue::try_from(format!("\"{live}\"")).ok());
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// What has to be live for the request to be obeyed: the digest is the `ETag`.
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let text = |name: header::HeaderName| {
        let values: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("")).collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::None),
        (Some(tags), None) if tags.trim() == "*" => Ok(Condition::Any),
        (Some(tags), None) => {
            let digest = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok();
            // A tag that is no digest is of something that was never live.
            Ok(Condition::OneOf(tags.split(',').filter_map(digest).collect()))
        }
        (None, Some(tags)) if tags.trim() == "*" => Ok(Condition::Nothing),
        (_, Some(_)) => {
            let detail = "of If-None-Match only * is understood here, and not together with If-Match";
            Err(Problem::bad_request("invalid-condition", detail))
        }
    }
}

/// The task that a generation has to do first: the input of one that has succeeded.
async fn canary(state: &Arc<AppState>, name: &str, asked: Option<&str>) -> Result<Option<Canary>, Problem> {
    let task = match asked {
        None | Some("0" | "false") => return Ok(None),
        Some("1" | "true") => latest(state, name).await?,
        Some(id) => {
            let expected = |_| Problem::bad_request("invalid-id", "canary is 1, 0 or the id of a task");
            let id = id.parse().map_err(expected)?;
            let found = state.store.task(id).await?;
            found.ok_or_else(|| Problem::not_found("task-not-found", format!("there is no task {id}")))?
        }
    };
    let new = &task.spec.new;
    Ok(Some(Canary::new(new.kind.clone(), new.input.clone())))
}

/// The latest task of the plugin that has succeeded.
async fn latest(state: &Arc<AppState>, name: &str) -> Result<Task, Problem> {
    let known = state.plugins.list().await.into_iter().find(|plugin| plugin.name == name);
    let kinds = known.and_then(|plugin| plugin.live).map(|live| live.kinds).unwrap_or_default();
    let mut found: Option<Task> = None;
    for kind in kinds {
        let states = vec!["succeeded".to_owned()];
        let query = TaskQuery { states, kind: Some(kind.name), queue: None, related: None, before: None, limit: 1 };
        let newest = state.store.tasks(query).await?.items.into_iter().next();
        // Ids are in the order of their creation.
        found = found.into_iter().chain(newest).max_by_key(|task| task.id);
    }
    found.ok_or_else(|| {
        let detail = format!("no task of plugin {name:?} is kept that has succeeded: name another one as canary=TASK");
        Problem::new(StatusCode::CONFLICT, "no-canary", "There is no task to try it with", detail)
    })
}

fn of(error: &Disobeyed, name: &str) -> Problem {
    let detail = error.to_string();
    match error {
        Disobeyed::BadName(_) => bad_name(name),
        Disobeyed::NotFound(_) => Problem::not_found("plugin-not-found", detail),
        Disobeyed::Unexpected(_) => {
            let title = "It has changed meanwhile";
            Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", title, detail)
        }
        Disobeyed::Unsound(_) => {
            let title = "The plugin is not sound";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "plugin-refused", title, detail)
        }
        Disobeyed::NothingKept(_) => {
            let title = "There is nothing to go back to";
            Problem::new(StatusCode::CONFLICT, "nothing-kept", title, detail)
        }
        Disobeyed::Overtaken(_) => {
            Problem::new(StatusCode::CONFLICT, "overtaken", "The files have changed meanwhile", detail)
        }
        Disobeyed::Folder(_) => {
            let title = "The plugins folder cannot be changed";
            Problem::new(StatusCode::CONFLICT, "plugins-folder", title, detail)
        }
        Disobeyed::NoSpace(_) => Problem::no_space(detail),
        Disobeyed::Busy(_) => Problem::unavailable("busy", detail, 2),
    }
}
