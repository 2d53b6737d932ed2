//! What happened to one task, as a list.

use axum::Json;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::EventId;
use super::follow::Filter;
use super::wire::EventWire;
use crate::api::AppState;
use crate::api::problem::Problem;
use crate::api::query::Parameters;
use crate::api::tasks::wire::Text;
use crate::event::{Change, Event, TaskChange};
use crate::task::Task;

/// Events that one request looks at. There is no index of the events of a task: it would cost every commit
/// a write, for a question that is asked rarely. So one request looks at a bounded part of the history, from
/// the task's first event to its last.
const MAX_EXAMINED: usize = 65_536;
/// Events that are looked at between other calls of the store.
const SLICE: usize = 2_048;

#[derive(Serialize)]
struct EventList<'a> {
    /// Oldest first.
    events: Vec<EventWire<'a>>,
    /// Up to where the history was looked at: a list or a stream goes on from here.
    last_event_id: Text<EventId>,
    /// There may be more.
    more: bool,
    /// The oldest events of the task may be forgotten.
    truncated: bool,
}

/// The task's events after `?last_event_id=`, at most `?limit=`. 410 when that is too old or of another store.
pub(super) async fn of_task(state: &AppState, task: &Task, uri: &Uri) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(uri)?;
    let limit = parameters.limit() as usize;
    let asked: Option<EventId> =
        parameters.parse("last_event_id", "the id of an event, such as 0a1b2c3d-42: use an id as it was given");
    parameters.finish()?;
    let epoch = state.store.epoch();
    let filter = Filter { task: Some(task.id), ..Filter::default() };
    let (mut found, mut examined, mut truncated): (Vec<Event>, _, _) = (Vec::new(), 0, false);
    let mut position = asked.map_or(task.spec.first_event.saturating_sub(1), |id| id.seq);
    let mut more = loop {
        let page = state.store.events(position, SLICE).await?;
        let is_other = asked.is_some_and(|id| id.epoch != epoch || id.seq > page.last);
        if asked.is_some() && (is_other || page.gap) {
            return Err(reset(if is_other { "other-epoch" } else { "expired" }));
        }
        truncated |= page.gap;
        examined += page.events.len();
        let Some(last) = page.events.last().map(|event| event.seq) else { break false };
        for event in page.events {
            position = event.seq;
            if filter.accepts(&event.change) {
                found.push(event);
                if found.len() == limit || is_last(task, found.last()) {
                    break;
                }
            }
        }
        if is_last(task, found.last()) {
            break false;
        }
        if found.len() == limit {
            break position < page.last;
        }
        if last >= page.last {
            break false;
        }
        if examined >= MAX_EXAMINED {
            break true;
        }
    };
    more &= !state.stop.is_cancelled();
    let events = found.iter().map(Into::into).collect();
    let last_event_id = Text(EventId { epoch, seq: position });
    Ok(Json(EventList { events, last_event_id, more, truncated }).into_response())
}

/// Whether nothing of a task that has ended can follow, as far as it is known.
fn is_last(task: &Task, event: Option<&Event>) -> bool {
    let Some(event) = event.filter(|event| task.status.state.ended_at() == Some(event.at)) else { return false };
    let Change::Task { attempt, change, .. } = &event.change else { return false };
    let ends = matches!(change, TaskChange::Succeeded | TaskChange::Failed(_) | TaskChange::Cancelled { .. });
    ends && *attempt == task.status.attempt
}

fn reset(reason: &str) -> Problem {
    let detail =
        format!("the events after the last seen one are not to be had ({reason}): start without last_event_id");
    Problem::new(StatusCode::GONE, "events-reset", "The history has moved on", detail)
}
