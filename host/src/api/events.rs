//! Every change in commit order, as server-sent events that can be resumed; and those of one task as a list.

mod follow;
mod list;
mod wire;

use std::str::FromStr;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;

use self::follow::{Filter, Follower, Start};
pub use self::follow::{KEEP_ALIVE, RETRY_MS};
use super::problem::{FieldError, Problem, echo};
use super::query::{Parameters, TaskPath};
use super::{AppState, Shared, tasks};
use crate::event::TYPES;
use crate::media::MediaId;
use crate::task;

/// The header that a browser sends when it reconnects.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// Names that one filter has at most.
const MAX_NAMES: usize = 32;

/// Where a stream goes on: which store's sequence, and the last number that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The store's epoch.
    pub epoch: u32,
    /// The event's number.
    pub seq: u64,
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.seq)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, seq) = text.split_once('-').ok_or(())?;
        let id = Self { epoch: u32::from_str_radix(epoch, 16).map_err(|_| ())?, seq: seq.parse().map_err(|_| ())? };
        // Only the form that was given out.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// `GET /v1/events`: replayed from the last seen one, then live, without a gap or a duplicate.
pub async fn follow(State(state): Shared, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let (start, filter) = parse(&headers, &uri)?;
    stream(&state, start, filter).await
}

/// `GET /v1/tasks/{id}/events`: what happened to one task, as a list or, when the client accepts
/// `text/event-stream`, as a stream.
pub async fn of_task(
    State(state): Shared,
    TaskPath(id): TaskPath,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let task = tasks::find(&*state.store, id).await?;
    if !wants_stream(&headers) {
        return list::of_task(&state, &task, &uri).await;
    }
    let mut parameters = Parameters::of(&uri)?;
    let start = start(&headers, &mut parameters)?;
    parameters.finish()?;
    stream(&state, start, Filter { task: Some(id), ..Filter::default() }).await
}

/// Whether a client asks for a stream where a list is usual.
pub fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
    })
}

async fn stream(state: &AppState, start: Start, filter: Filter) -> Result<Response, Problem> {
    let follower = Follower::start(state, start, filter).await?;
    Ok(streamed(Body::from_stream(follower.into_stream())))
}

/// The answer whose body is a stream of server-sent events.
pub fn streamed(body: Body) -> Response {
    let mut response = Response::new(body);
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn parse(headers: &HeaderMap, uri: &Uri) -> Result<(Start, Filter), Problem> {
    let mut parameters = Parameters::of(uri)?;
    let is_media = |id: &str| MediaId::parse(id).is_some();
    let filter = Filter {
        task: parameters.parse("task", "a task id"),
        kinds: names(&mut parameters, "kind", task::is_valid_kind),
        queues: names(&mut parameters, "queue", task::is_valid_queue),
        schedules: names(&mut parameters, "schedule", |name| !name.is_empty()),
        media: names(&mut parameters, "media", is_media),
        plugins: names(&mut parameters, "plugin", |name| crate::plugin::check_name(name).is_ok()),
        types: names(&mut parameters, "type", |name| TYPES.contains(&name)),
    };
    let start = start(headers, &mut parameters)?;
    parameters.finish()?;
    Ok((start, filter))
}

/// Names joined by commas.
fn names(parameters: &mut Parameters, name: &'static str, is_valid: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let text = parameters.text(name)?;
    let names: Vec<_> = text.split(',').map(str::to_owned).collect();
    if let Some(wrong) = names.iter().find(|name| !is_valid(name)) {
        let known = if name == "type" { format!("; known: {}", TYPES.join(", ")) } else { String::new() };
        parameters.wrong(name, format!("{:?} names no {name}{known}", echo(wrong)));
    } else if names.len() > MAX_NAMES {
        parameters.wrong(name, format!("has {} names; at most {MAX_NAMES}", names.len()));
    }
    Some(names)
}

/// Where a client goes on. The header is newer than the address: a browser keeps the address when it reconnects.
fn start(headers: &HeaderMap, parameters: &mut Parameters) -> Result<Start, Problem> {
    let asked: Option<EventId> =
        parameters.parse("last_event_id", "the id of an event, such as 0a1b2c3d-42: use an id as it was given");
    let resume = match headers.get(LAST_EVENT_ID) {
        None => asked,
        Some(value) => Some(value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            let message = "is not the id of an event: use an id as it was given";
            Problem::invalid("invalid-header", vec![FieldError::header("Last-Event-ID", message)])
        })?),
    };
    Ok(resume.map_or(Start::Now, Start::After))
}

#[cfg(test)]
mod tests {
    use super::EventId;

    #[test]
    fn an_id_is_read_back_in_its_own_form_only() {
        let id = EventId { epoch: 0x0a1b_2c3d, seq: 42 };
        assert_eq!(id.to_string(), "0a1b2c3d-42");
        assert_eq!("0a1b2c3d-42".parse(), Ok(id));
        for wrong in ["", "42", "a1b2c3d-42", "0A1B2C3D-42", "0a1b2c3d-042", "0a1b2c3d-+42", "0a1b2c3d--1"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }
}
