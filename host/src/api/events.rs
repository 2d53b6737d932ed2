//! `GET /v1/events`: every change in commit order, as server-sent events that can be resumed.

mod follow;
mod wire;

use std::str::FromStr;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;

use self::follow::{Filter, Follower, Start};
use super::Shared;
use super::problem::{FieldError, Problem, echo};
use super::query::Parameters;
use crate::task;

/// The header that a browser sends when it reconnects.
const LAST_EVENT_ID: &str = "last-event-id";
/// Kinds that one filter names at most.
const MAX_KINDS: usize = 32;

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

/// Follows events: replayed from the last seen one, then live, without a gap or a duplicate.
pub async fn follow(State(state): Shared, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let (start, filter) = parse(&headers, &uri)?;
    let follower = Follower::start(&state, start, filter).await?;
    let mut response = Response::new(Body::from_stream(follower.into_stream()));
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn parse(headers: &HeaderMap, uri: &Uri) -> Result<(Start, Filter), Problem> {
    let mut parameters = Parameters::of(uri)?;
    let task = parameters.parse("task", "a task id");
    let kinds = parameters.text("kind").map(|kinds| kinds.split(',').map(str::to_owned).collect::<Vec<_>>());
    let wrong = kinds.iter().flatten().find(|kind| !task::is_valid_kind(kind));
    if let Some(wrong) = wrong {
        parameters.wrong("kind", format!("{:?} is not a kind: lower-case words joined by dots", echo(wrong)));
    } else if kinds.as_ref().is_some_and(|kinds| kinds.len() > MAX_KINDS) {
        parameters.wrong("kind", format!("names more than {MAX_KINDS} kinds"));
    }
    let asked: Option<EventId> =
        parameters.parse("last_event_id", "the id of an event, such as 0a1b2c3d-42: use an id as it was given");
    parameters.finish()?;
    // The header is newer than the address: a browser keeps the address when it reconnects.
    let resume = match headers.get(LAST_EVENT_ID) {
        None => asked,
        Some(value) => Some(value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            let message = "is not the id of an event: use an id as it was given";
            Problem::invalid("invalid-header", vec![FieldError::header("Last-Event-ID", message)])
        })?),
    };
    Ok((resume.map_or(Start::Now, Start::After), Filter { task, kinds }))
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
