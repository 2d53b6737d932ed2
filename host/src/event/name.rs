//! What events are called.

use super::{BatchChange, Change, LimitChange, MediaChange, PauseChange, PluginChange, ScheduleChange, TaskChange};

/// Every event's name.
pub const TYPES: [&str; 47] = [
    "task.waiting",
    "task.queued",
    "task.started",
    "task.progress",
    "task.cancel-requested",
    "task.cancel-acknowledged",
    "task.snoozed",
    "task.retrying",
    "task.succeeded",
    "task.failed",
    "task.cancelled",
    "task.purged",
    "task.work-started",
    "task.attached",
    "task.detached",
    "task.called-back",
    "task.exporting",
    "media.added",
    "media.trashed",
    "media.restored",
    "media.purged",
    "schedule.fired",
    "schedule.overlapped",
    "schedule.declared",
    "schedule.changed",
    "schedule.deleted",
    "schedule.paused",
    "schedule.resumed",
    "schedule.triggered",
    "schedule.backfilled",
    "schedule.missed",
    "queue.paused",
    "queue.resumed",
    "kind.paused",
    "kind.resumed",
    "limit.declared",
    "limit.changed",
    "limit.deleted",
    "shares.changed",
    "batch.created",
    "batch.failing",
    "batch.succeeded",
    "batch.completed",
    "plugin.live",
    "plugin.refused",
    "plugin.drained",
    "plugin.removed",
];

impl Change {
    /// The event's stable name, such as `task.succeeded`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Task { change, .. } => match change {
                TaskChange::Queued { .. } => "task.queued",
                TaskChange::Started { .. } => "task.started",
                TaskChange::Progress(_) => "task.progress",
                TaskChange::CancelRequested => "task.cancel-requested",
                TaskChange::Retrying { .. } => "task.retrying",
                TaskChange::Succeeded => "task.succeeded",
                TaskChange::Failed(_) => "task.failed",
                TaskChange::CancelAcknowledged => "task.cancel-acknowledged",
                TaskChange::Snoozed { .. } => "task.snoozed",
                TaskChange::Cancelled { .. } => "task.cancelled",
                TaskChange::Purged => "task.purged",
                TaskChange::Waiting { .. } => "task.waiting",
                TaskChange::WorkStarted => "task.work-started",
                TaskChange::Attached { .. } => "task.attached",
                TaskChange::Detached => "task.detached",
                TaskChange::CalledBack => "task.called-back",
                TaskChange::Exporting => "task.exporting",
            },
            Self::Media { change, .. } => match change {
                MediaChange::Added => "media.added",
                MediaChange::Trashed => "media.trashed",
                MediaChange::Restored => "media.restored",
                MediaChange::Purged => "media.purged",
            },
            Self::Schedule { overlapped: false, .. } => "schedule.fired",
            Self::Schedule { overlapped: true, .. } => "schedule.overlapped",
            Self::Batch { change, .. } => match change {
                BatchChange::Created => "batch.created",
                BatchChange::Failing => "batch.failing",
                BatchChange::Succeeded => "batch.succeeded",
                BatchChange::Completed => "batch.completed",
            },
            Self::ScheduleState { change, .. } => match change {
                ScheduleChange::Declared => "schedule.declared",
                ScheduleChange::Changed => "schedule.changed",
                ScheduleChange::Deleted => "schedule.deleted",
                ScheduleChange::Paused { .. } => "schedule.paused",
                ScheduleChange::Resumed { .. } => "schedule.resumed",
                ScheduleChange::Triggered => "schedule.triggered",
                ScheduleChange::Backfilled { .. } => "schedule.backfilled",
                ScheduleChange::Missed { .. } => "schedule.missed",
            },
            Self::Queue { change: PauseChange::Paused { .. }, .. } => "queue.paused",
            Self::Queue { change: PauseChange::Resumed, .. } => "queue.resumed",
            Self::Kind { change: PauseChange::Paused { .. }, .. } => "kind.paused",
            Self::Kind { change: PauseChange::Resumed, .. } => "kind.resumed",
            Self::Limit { change, .. } => match change {
                LimitChange::Declared => "limit.declared",
                LimitChange::Changed => "limit.changed",
                LimitChange::Deleted => "limit.deleted",
            },
            Self::Shares { .. } => "shares.changed",
            Self::Plugin(news) => news.change.name(),
        }
    }
}

impl PluginChange {
    fn name(&self) -> &'static str {
        match self {
            Self::Live { .. } => "plugin.live",
            Self::Refused { .. } => "plugin.refused",
            Self::Drained => "plugin.drained",
            Self::Removed => "plugin.removed",
        }
    }
}
