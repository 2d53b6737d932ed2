//! A schedule as JSON.

use serde::Serialize;

use crate::api::tasks::wire::{Rfc3339, Verbatim};
use crate::schedule::{Action, CatchUp, Origin, Overlap, Schedule, ScheduleSpec, Timetable, Trigger};
use crate::store::Backfilled;
use crate::time::Timestamp;

/// Nominal times that are shown ahead.
const PREVIEW: usize = 10;

/// A schedule: its declaration, as it can be sent back, and how it stands.
#[derive(Debug, Serialize)]
pub struct ScheduleWire<'a> {
    name: &'a str,
    #[serde(flatten)]
    pub(super) declared: DeclaredWire<'a>,
    action: ActionWire<'a>,
    declared_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fired_at: Option<Rfc3339>,
    fired: u64,
    by_hand: u64,
    backfilled: u64,
    overlapped: u64,
    missed: u64,
    skipped: u64,
    /// Firings that wait for the one before.
    buffered: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<PauseWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct PauseWire<'a> {
    since: Rfc3339,
    reason: &'a str,
}

/// Everything that can be changed but the action.
#[derive(Debug, Default, Serialize)]
pub struct DeclaredWire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    every_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst: Option<DstWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Vec<Rfc3339>>,
    overlap: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlap_cap: Option<u32>,
    catch_up: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_up_cap: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_up_window_ms: Option<u64>,
    jitter_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_on_failure: Option<u32>,
}

#[derive(Debug, Serialize)]
struct DstWire {
    gap: &'static str,
    overlap: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ActionWire<'a> {
    Dispatch { plugin: &'a str, batch: u32, capacity: u32 },
    Enqueue { kind: &'a str, input: Verbatim<'a> },
}

impl<'a> From<&'a ScheduleSpec> for DeclaredWire<'a> {
    fn from(spec: &'a ScheduleSpec) -> Self {
        let rest = Self {
            overlap: spec.overlap.name(),
            overlap_cap: if let Overlap::QueueAll(cap) = spec.overlap { Some(cap) } else { None },
            catch_up: spec.catch_up.name(),
            catch_up_cap: if let CatchUp::All(cap) = spec.catch_up { Some(cap) } else { None },
            catch_up_window_ms: if let CatchUp::Window(window_ms) = spec.catch_up { Some(window_ms) } else { None },
            jitter_ms: spec.jitter_ms,
            start: spec.start.map(Rfc3339),
            end: spec.end.map(Rfc3339),
            max_fires: spec.max_fires,
            pause_on_failure: spec.pause_on_failure,
            ..Self::default()
        };
        match &spec.trigger {
            Trigger::Interval { every_ms, phase_ms } => {
                Self { every_ms: Some(*every_ms), phase_ms: Some(*phase_ms).filter(|phase| *phase > 0), ..rest }
            }
            Trigger::Cron { expression, zone, dst } => Self {
                cron: Some(expression),
                zone: Some(zone),
                dst: Some(DstWire { gap: dst.gap.name(), overlap: dst.overlap.name() }),
                ..rest
            },
            Trigger::Instants(instants) => Self { at: Some(instants.iter().copied().map(Rfc3339).collect()), ..rest },
        }
    }
}

impl<'a> From<&'a Schedule> for ScheduleWire<'a> {
    fn from(schedule: &'a Schedule) -> Self {
        let action = match &schedule.spec.action {
            Action::Dispatch { plugin, batch, capacity } => {
                ActionWire::Dispatch { plugin, batch: *batch, capacity: *capacity }
            }
            Action::Enqueue { kind, input } => ActionWire::Enqueue { kind, input: Verbatim(input) },
        };
        let paused = schedule.paused.as_ref();
        Self {
            name: &schedule.spec.name,
            declared: DeclaredWire::from(&schedule.spec),
            action,
            declared_by: match schedule.origin {
                Origin::Config => "config",
                Origin::Client => "client",
            },
            next_at: schedule.next_at.map(Rfc3339),
            last_fired_at: schedule.last_fired_at.map(Rfc3339),
            fired: schedule.fired,
            by_hand: schedule.by_hand,
            backfilled: schedule.backfilled,
            overlapped: schedule.overlapped,
            missed: schedule.missed,
            skipped: schedule.skipped,
            buffered: schedule.waiting.len(),
            paused: paused.map(|paused| PauseWire { since: Rfc3339(paused.since), reason: &paused.reason }),
            last_error: schedule.last_error.as_deref(),
            preview: None,
        }
    }
}

impl<'a> ScheduleWire<'a> {
    /// Also with the next nominal times, in the schedule's zone.
    pub fn with_preview(schedule: &'a Schedule, now: Timestamp) -> Self {
        Self { preview: Some(preview(schedule, now)), ..Self::from(schedule) }
    }
}

/// RFC 3339 with the offset that holds in the schedule's zone then.
fn preview(schedule: &Schedule, now: Timestamp) -> Vec<String> {
    let Some(next) = schedule.next_at else { return Vec::new() };
    let Ok(timetable) = Timetable::of(&schedule.spec) else { return Vec::new() };
    // What is due but has not fired yet comes next; what passes during a pause does not.
    let before = Timestamp::from_millis(next.as_millis().saturating_sub(1));
    let after = if schedule.paused.is_some() { before.max(now) } else { before };
    let used = schedule.fired.saturating_sub(schedule.by_hand) + schedule.waiting.len() as u64;
    let left = schedule.spec.max_fires.map_or(PREVIEW as u64, |max| max.saturating_sub(used));
    let zone = schedule.spec.trigger.zone();
    let times = timetable.preview(after, PREVIEW.min(usize::try_from(left).unwrap_or(PREVIEW)));
    let local = times.into_iter().filter_map(|at| {
        let at = jiff::Timestamp::from_millisecond(i64::try_from(at.as_millis()).ok()?).ok()?;
        Some(at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string())
    });
    local.collect()
}

/// Names the declaration; firings do not change it.
pub fn etag(schedule: &Schedule) -> String {
    format!("\"{}\"", schedule.revision)
}

/// Where the trigger is in a body.
pub fn trigger_pointer(spec: &ScheduleSpec) -> &'static str {
    match spec.trigger {
        Trigger::Interval { .. } => "/every_ms",
        Trigger::Cron { .. } => "/cron",
        Trigger::Instants(_) => "/at",
    }
}

/// What a backfill did.
#[derive(Debug, Serialize)]
pub struct BackfilledWire {
    created: u64,
    duplicates: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Rfc3339>,
}

impl From<&Backfilled> for BackfilledWire {
    fn from(done: &Backfilled) -> Self {
        Self { created: done.created, duplicates: done.duplicates, next: done.next.map(Rfc3339) }
    }
}
