//! An event as one block of a server-sent event stream.

use std::fmt::Write as _;

use serde::Serialize;

use super::EventId;
use crate::api::tasks::wire::{FailureWire, ProgressWire, Rfc3339, Text, stopped_by};
use crate::event::{Change, Event, PauseChange, PluginChange, PluginNews, ScheduleChange, TaskChange};
use crate::task::{BatchId, Digest, TaskId};

/// What only some events have.
#[derive(Debug, Default, Serialize)]
pub(super) struct EventWire<'a> {
    seq: u64,
    at: Option<Rfc3339>,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Text<TaskId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Text<Digest>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nominal: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Text<BatchId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parents: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// Nominal times or tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
}

impl<'a> From<&'a Event> for EventWire<'a> {
    fn from(event: &'a Event) -> Self {
        let mut wire =
            Self { seq: event.seq, at: Some(Rfc3339(event.at)), r#type: event.change.name(), ..Self::default() };
        match &event.change {
            Change::Task { id, kind, queue, attempt, change } => {
                (wire.task, wire.kind, wire.queue) = (Some(Text(*id)), Some(kind.as_str()), Some(queue.as_str()));
                wire.attempt = Some(*attempt);
                wire.describe(change);
            }
            Change::Media { id, change: _ } => wire.media = Some(id),
            Change::Schedule { name, nominal, overlapped: _ } => {
                (wire.schedule, wire.nominal) = (Some(name.as_str()), Some(Rfc3339(*nominal)));
            }
            Change::Batch { id, change: _ } => wire.batch = Some(Text(*id)),
            Change::ScheduleState { name, revision, change } => {
                (wire.schedule, wire.revision) = (Some(name.as_str()), Some(*revision));
                wire.describe_schedule(change);
            }
            Change::Queue { name, change } => {
                wire.queue = Some(name);
                wire.reason = reason_of(change);
            }
            Change::Kind { name, change } => {
                wire.kind = Some(name);
                wire.reason = reason_of(change);
            }
            Change::Limit { name, revision, change: _ } => {
                (wire.limit, wire.revision) = (Some(name.as_str()), Some(*revision));
            }
            Change::Shares { key } => wire.key = key.as_deref(),
            Change::Plugin(PluginNews { name, digest, change }) => {
                (wire.plugin, wire.digest) = (Some(name.as_str()), digest.map(Text));
                wire.describe_plugin(change);
            }
        }
        wire
    }
}

fn reason_of(change: &PauseChange) -> Option<&str> {
    match change {
        PauseChange::Paused { reason } => Some(reason),
        PauseChange::Resumed => None,
    }
}

impl<'a> EventWire<'a> {
    fn describe(&mut self, change: &'a TaskChange) {
        match change {
            TaskChange::Queued { due_at } | TaskChange::Snoozed { due_at } => self.due_at = Some(Rfc3339(*due_at)),
            TaskChange::Waiting { parents } => self.parents = Some(*parents),
            TaskChange::Started { digest } | TaskChange::Attached { digest } => self.digest = Some(Text(*digest)),
            TaskChange::Progress(progress) => self.progress = Some(progress.into()),
            TaskChange::Retrying { due_at, failure } => {
                self.due_at = Some(Rfc3339(*due_at));
                self.error = failure.as_ref().map(Into::into);
            }
            TaskChange::Failed(failure) => self.error = Some(failure.into()),
            TaskChange::Cancelled { by } => self.stopped_by = Some(stopped_by(*by)),
            TaskChange::CancelRequested
            | TaskChange::CancelAcknowledged
            | TaskChange::Succeeded
            | TaskChange::Purged
            | TaskChange::WorkStarted
            | TaskChange::Detached
            | TaskChange::CalledBack
            | TaskChange::Exporting => {}
        }
    }

    fn describe_plugin(&mut self, change: &'a PluginChange) {
        match change {
            PluginChange::Live { cause } => self.cause = Some(cause.name()),
            PluginChange::Refused { reason } => self.reason = Some(reason),
            PluginChange::Drained | PluginChange::Removed => {}
        }
    }

    fn describe_schedule(&mut self, change: &'a ScheduleChange) {
        match change {
            ScheduleChange::Paused { reason } => self.reason = Some(reason),
            ScheduleChange::Resumed { skipped: count }
            | ScheduleChange::Backfilled { tasks: count }
            | ScheduleChange::Missed { times: count } => self.count = Some(*count),
            ScheduleChange::Declared
            | ScheduleChange::Changed
            | ScheduleChange::Deleted
            | ScheduleChange::Triggered => {}
        }
    }
}

/// Appends an event.
pub(super) fn write_event(out: &mut String, epoch: u32, event: &Event) {
    let data = serde_json::to_string(&EventWire::from(event)).unwrap_or_default();
    write_block(out, EventId { epoch, seq: event.seq }, event.change.name(), &data);
}

/// Appends a block of `name` at `id`. `data` is JSON text of one line.
pub(super) fn write_block(out: &mut String, id: EventId, name: &str, data: &str) {
    // Writing to a string does not fail.
    let _ = write!(out, "id: {id}\nevent: {name}\ndata: {data}\n\n");
}

/// A block that only says that the stream lives and where it is: filtered events move it, too.
pub(super) fn keep_alive(id: EventId) -> String {
    format!(": alive\nid: {id}\n\n")
}
