//! What is remembered of a task's attempts.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::find;
use super::wire::{FailureWire, Rfc3339, Text};
use crate::api::Shared;
use crate::api::problem::Problem;
use crate::api::query::TaskPath;
use crate::task::{AttemptEnd, AttemptRecord, Digest, LogSize, State as TaskState, Task};

/// What an attempt has logged.
#[derive(Debug, Serialize)]
struct LogWire {
    lines: u64,
    bytes: u64,
    dropped_lines: u64,
    dropped_bytes: u64,
}

impl From<LogSize> for LogWire {
    fn from(log: LogSize) -> Self {
        let LogSize { lines, bytes, dropped_lines, dropped_bytes } = log;
        Self { lines, bytes, dropped_lines, dropped_bytes }
    }
}

/// One attempt. Without an end it is running.
#[derive(Debug, Serialize)]
pub struct AttemptWire<'a> {
    number: u32,
    digest: Text<Digest>,
    started_at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    outcome: &'static str,
    /// How many attempts in a row ended like this and are one entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureWire<'a>>,
    /// Absent when the host went down before it was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogWire>,
}

impl<'a> From<&'a AttemptRecord> for AttemptWire<'a> {
    fn from(record: &'a AttemptRecord) -> Self {
        let (outcome, error, times) = match &record.end {
            AttemptEnd::Succeeded => ("succeeded", None, None),
            AttemptEnd::Failed(failure) => ("failed", Some(failure.into()), None),
            AttemptEnd::Crashed(failure) => ("crashed", Some(failure.into()), None),
            AttemptEnd::Cancelled => ("cancelled", None, None),
            AttemptEnd::Killed => ("killed", None, None),
            AttemptEnd::Returned => ("returned", None, None),
            AttemptEnd::Snoozed { times } => ("snoozed", None, Some(*times)),
        };
        Self {
            number: record.number,
            digest: Text(record.digest),
            started_at: Rfc3339(record.started_at),
            ended_at: Some(Rfc3339(record.ended_at)),
            duration_ms: Some(record.ended_at.millis_since(record.started_at)),
            outcome,
            times,
            error,
            log: record.log.map(Into::into),
        }
    }
}

#[derive(Serialize)]
struct AttemptList<'a> {
    /// Oldest first.
    attempts: Vec<AttemptWire<'a>>,
    /// How many more there were: the oldest are forgotten first, and several snoozes in a row are one entry.
    forgotten: u32,
}

/// `GET /v1/tasks/{id}/attempts`: the latest attempts, oldest first; last the one that runs.
pub async fn list(State(state): Shared, TaskPath(id): TaskPath) -> Result<Response, Problem> {
    let task = find(&*state.store, id).await?;
    Ok(Json(attempts(&task)).into_response())
}

fn attempts(task: &Task) -> AttemptList<'_> {
    let status = &task.status;
    let mut attempts: Vec<AttemptWire<'_>> = status.history.iter().map(Into::into).collect();
    if let TaskState::Running { started_at, digest, .. } = &status.state {
        attempts.push(AttemptWire {
            number: status.attempt,
            digest: Text(*digest),
            started_at: Rfc3339(*started_at),
            ended_at: None,
            duration_ms: None,
            outcome: status.name(),
            times: None,
            error: None,
            log: None,
        });
    }
    let told = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
    AttemptList { forgotten: status.attempt.saturating_sub(told), attempts }
}
