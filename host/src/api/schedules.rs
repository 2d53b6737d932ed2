//! Schedules as JSON.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::Shared;
use super::problem::Problem;
use super::tasks::wire::{Rfc3339, Verbatim};
use crate::schedule::{Action, Schedule};

#[derive(Serialize)]
struct ScheduleList<'a> {
    schedules: Vec<ScheduleWire<'a>>,
}

#[derive(Serialize)]
struct ScheduleWire<'a> {
    name: &'a str,
    every_ms: u64,
    action: ActionWire<'a>,
    next_at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fired_at: Option<Rfc3339>,
    fired: u64,
    overlapped: u64,
    missed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ActionWire<'a> {
    Dispatch { plugin: &'a str, batch: u32, capacity: u32 },
    Enqueue { kind: &'a str, input: Verbatim<'a> },
}

impl<'a> From<&'a Schedule> for ScheduleWire<'a> {
    fn from(schedule: &'a Schedule) -> Self {
        let action = match &schedule.spec.action {
            Action::Dispatch { plugin, batch, capacity } => {
                ActionWire::Dispatch { plugin, batch: *batch, capacity: *capacity }
            }
            Action::Enqueue { kind, input } => ActionWire::Enqueue { kind, input: Verbatim(input) },
        };
        Self {
            name: &schedule.spec.name,
            every_ms: schedule.spec.every_ms,
            action,
            next_at: Rfc3339(schedule.next_at),
            last_fired_at: schedule.last_fired_at.map(Rfc3339),
            fired: schedule.fired,
            overlapped: schedule.overlapped,
            missed: schedule.missed,
            last_error: schedule.last_error.as_deref(),
        }
    }
}

/// `GET /v1/schedules`: when each fires next and how its firings went.
pub async fn list(State(state): Shared) -> Result<Response, Problem> {
    let schedules = state.store.schedules().await?;
    Ok(Json(ScheduleList { schedules: schedules.iter().map(Into::into).collect() }).into_response())
}
