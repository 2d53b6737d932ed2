//! Limits: what runs at the same time or within a time, and how far that is used.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::body::{Fields, read_json};
use super::problem::{FieldError, Problem, echo};
use super::{AppState, Shared};
use crate::limit::declaration::RateDeclaration;
use crate::limit::{Declaration, LimitRule, MAX_NAME_LEN, Wrong, is_valid_name};
use crate::schedule::Origin;
use crate::store::{LimitUse, StoreError, ValueUse};
use crate::time::now;

/// The routes of this resource.
pub fn routes() -> Router<Arc<AppState>> {
    Router::new().route("/v1/limits", get(list)).route("/v1/limits/{name}", get(read).put(put).delete(remove))
}

/// A limit's name in a path.
#[derive(Debug)]
pub struct NamePath(String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| name).unwrap_or_default();
        if is_valid_name(&name) {
            return Ok(Self(name));
        }
        let detail = format!("{:?} is not a limit's name: 1 to {MAX_NAME_LEN} of a-z, 0-9, -, _ and .", echo(&name));
        Err(Problem::bad_request("invalid-id", detail))
    }
}

#[derive(Serialize)]
struct LimitList {
    limits: Vec<LimitWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fairness: Option<FairnessWire>,
}

#[derive(Serialize)]
struct FairnessWire {
    key: String,
    weights: std::collections::BTreeMap<String, u32>,
}

#[derive(Serialize)]
struct LimitWire {
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queues: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<RateWire>,
    declared_by: &'static str,
    running: u64,
    held: u64,
    /// Of a limit without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u32>,
    /// Of one with a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    busiest: Vec<ValueWire>,
}

#[derive(Serialize)]
struct RateWire {
    tasks: u32,
    per_ms: u64,
    burst: u32,
}

#[derive(Serialize)]
struct ValueWire {
    value: String,
    running: u32,
    held: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u32>,
}

impl From<LimitUse> for LimitWire {
    fn from(usage: LimitUse) -> Self {
        let LimitUse { limit, running, held, values, busiest } = usage;
        let LimitRule { name, queues, kinds, key, concurrency, rate } = limit.rule;
        let full = rate.map(|rate| rate.burst);
        let tokens = busiest.first().map_or(full, |value| value.tokens).filter(|_| key.is_none());
        let value = |it: ValueUse| ValueWire { value: it.value, running: it.running, held: it.held, tokens: it.tokens };
        Self {
            values: key.is_some().then_some(values),
            busiest: busiest.into_iter().filter(|_| key.is_some()).map(value).collect(),
            tokens,
            name,
            queues,
            kinds,
            key: key.map(|key| key.to_string()),
            concurrency,
            rate: rate.map(|rate| RateWire { tasks: rate.tasks, per_ms: rate.per_ms, burst: rate.burst }),
            declared_by: if limit.origin == Origin::Config { "config" } else { "client" },
            running,
            held,
        }
    }
}

/// `GET /v1/limits`: every limit by name, and how far it is used.
async fn list(State(state): Shared) -> Result<Response, Problem> {
    let found = state.store.limits(now()).await?;
    let limits = found.limits.into_iter().map(LimitWire::from).collect();
    let fairness = found.fairness.map(|it| FairnessWire { key: it.key.to_string(), weights: it.weights });
    Ok(Json(LimitList { limits, fairness }).into_response())
}

/// `GET /v1/limits/{name}`.
async fn read(State(state): Shared, NamePath(name): NamePath) -> Result<Response, Problem> {
    let usage = find(&state, &name).await?.ok_or_else(|| missing(&name))?;
    Ok(shown(StatusCode::OK, usage))
}

/// `PUT /v1/limits/{name}`: the limit as a whole, which the next claim obeys. 201 when it is new.
async fn put(State(state): Shared, NamePath(name): NamePath, request: Request) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let bytes = read_json(request, state.settings.max_body_bytes).await?;
    let seen = find(&state, &name).await?;
    let revision = match &seen {
        Some(seen) => Some(changeable(seen, &headers)?),
        None if headers.contains_key(header::IF_MATCH) => return Err(stale(&name)),
        None => None,
    };
    let rule = declared(&bytes, &name)?;
    state.store.put_limit(rule, revision, now()).await.map_err(|error| of_limit(error, &name))?;
    let status = if seen.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let usage = find(&state, &name).await?.ok_or_else(|| missing(&name))?;
    Ok(shown(status, usage))
}

/// `DELETE /v1/limits/{name}`: what it held back may begin.
async fn remove(State(state): Shared, NamePath(name): NamePath, headers: HeaderMap) -> Result<StatusCode, Problem> {
    let seen = find(&state, &name).await?.ok_or_else(|| missing(&name))?;
    let revision = changeable(&seen, &headers)?;
    state.store.delete_limit(&name, revision, now()).await.map_err(|error| of_limit(error, &name))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(state: &AppState, name: &str) -> Result<Option<LimitUse>, Problem> {
    let found = state.store.limits(now()).await?.limits;
    Ok(found.into_iter().find(|usage| usage.limit.rule.name == name))
}

/// The rule that a body declares; `name` may be repeated in it.
fn declared(bytes: &[u8], name: &str) -> Result<LimitRule, Problem> {
    let mut fields = Fields::of_body(bytes)?;
    if fields.parse::<String>("name", "text").is_some_and(|given| given != name) {
        fields.wrong("name", "is not the name in the path; a limit keeps its name");
    }
    let declaration = Declaration {
        queues: fields.parse("queues", "a list of texts"),
        kinds: fields.parse("kinds", "a list of texts"),
        key: fields.parse("key", "text"),
        concurrency: fields.number("concurrency", 0..=u64::MAX),
        rate: rate(&mut fields),
    };
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(Problem::invalid("invalid-limit", errors));
    }
    declaration.check(name).map_err(|wrong| Problem::invalid("invalid-limit", wrong.into_iter().map(placed).collect()))
}

fn rate(fields: &mut Fields<'_>) -> Option<RateDeclaration> {
    let raw = fields.raw("rate").filter(|raw| raw.get() != "null")?;
    match Fields::of_value(raw, "/rate") {
        Ok(mut inner) => {
            let any = 0..=u64::MAX;
            let (tasks, per_ms) = (inner.number("tasks", any.clone()), inner.number("per_ms", any.clone()));
            let rate = RateDeclaration { tasks, per_ms, burst: inner.number("burst", any) };
            fields.append(inner.finish());
            Some(rate)
        }
        Err(error) => {
            fields.append(vec![error]);
            None
        }
    }
}

/// A mistake at its place in the body: durations are in milliseconds there.
fn placed(wrong: Wrong) -> FieldError {
    let pointer = match wrong.field.as_str() {
        "" => String::new(),
        "rate.per" => "/rate/per_ms".to_owned(),
        field => format!("/{}", field.replace('.', "/")),
    };
    FieldError::pointer(pointer, wrong.message)
}

fn etag(usage: &LimitUse) -> String {
    format!("\"{}\"", usage.limit.revision)
}

/// The revision of a limit that this client may change, if it has seen the latest.
fn changeable(seen: &LimitUse, headers: &HeaderMap) -> Result<u64, Problem> {
    let name = &seen.limit.rule.name;
    if seen.limit.origin == Origin::Config {
        let detail = format!("{name:?} is declared in the configuration: change it there");
        return Err(Problem::new(StatusCode::CONFLICT, "declared-in-config", "Declared in the configuration", detail));
    }
    let Some(wanted) = headers.get(header::IF_MATCH) else {
        let detail = "send the ETag of the limit that you have seen as If-Match";
        let status = StatusCode::PRECONDITION_REQUIRED;
        return Err(Problem::new(status, "precondition-required", "If-Match is missing", detail));
    };
    let etag = etag(seen);
    if wanted.to_str().unwrap_or("").split(',').any(|tag| tag.trim() == "*" || tag.trim() == etag) {
        return Ok(seen.limit.revision);
    }
    Err(stale(name))
}

fn shown(status: StatusCode, usage: LimitUse) -> Response {
    let etag = HeaderValue::try_from(etag(&usage));
    let mut response = (status, Json(LimitWire::from(usage))).into_response();
    if let Ok(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

fn missing(name: &str) -> Problem {
    Problem::not_found("limit-not-found", format!("there is no limit {name:?}"))
}

fn stale(name: &str) -> Problem {
    let detail = format!("the limit {name:?} is not what you have seen: read it again");
    Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", "It has changed meanwhile", detail)
}

fn of_limit(error: StoreError, name: &str) -> Problem {
    match error {
        StoreError::NotFound => missing(name),
        StoreError::Stale => stale(name),
        StoreError::Full(why) => {
            Problem::new(StatusCode::CONFLICT, "too-many-limits", "There are too many limits", why)
        }
        StoreError::Conflict(_) | StoreError::Taken { .. } | StoreError::NoParent { .. } | StoreError::Closed => {
            error.into()
        }
    }
}
