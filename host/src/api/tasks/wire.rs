//! A task as JSON.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::after::rule_name;
use super::attempts::AttemptWire;
use super::create::backoff_names;
use super::tree::RelationsWire;
use super::unique::mode_name;
use crate::api::PluginDirectory;
use crate::retry::Backoff;
use crate::store::Relations;
use crate::task::{Cancel, Failure, Progress, Reported, Source, State, StoppedBy, Task, UniqueRule, WorkPhase, Works};
use crate::time::Timestamp;

/// An instant as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Anything that writes itself, as a JSON string.
#[derive(Clone, Copy, Debug)]
pub struct Text<T>(pub T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// JSON text that passes unchanged.
#[derive(Clone, Copy, Debug)]
pub struct Verbatim<'a>(pub &'a str);

impl Serialize for Verbatim<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Text that is not JSON was written by an older host or a damaged disk: it is shown as text.
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(raw) => raw.serialize(serializer),
            Err(_) => serializer.serialize_str(self.0),
        }
    }
}

/// Why an attempt or a task did not succeed.
#[derive(Debug, Serialize)]
pub struct FailureWire<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Verbatim<'a>>,
}

impl<'a> From<&'a Failure> for FailureWire<'a> {
    fn from(failure: &'a Failure) -> Self {
        let details = failure.details.as_deref().map(Verbatim);
        Self { code: &failure.code, message: &failure.message, details }
    }
}

/// How far an attempt has come.
#[derive(Debug, Serialize)]
pub struct ProgressWire<'a> {
    done: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// 0 to 100, when the total is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u8>,
    /// Which attempt reported it, and when; not in events, which say so themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Rfc3339>,
}

impl<'a> From<&'a Progress> for ProgressWire<'a> {
    fn from(progress: &'a Progress) -> Self {
        Self {
            done: progress.done,
            total: progress.total,
            unit: &progress.unit,
            message: progress.message.as_deref(),
            percent: percent(progress.done, progress.total),
            attempt: None,
            at: None,
        }
    }
}

impl<'a> From<&'a Reported> for ProgressWire<'a> {
    fn from(reported: &'a Reported) -> Self {
        let of_attempt = Self::from(&reported.progress);
        Self { attempt: Some(reported.attempt), at: Some(Rfc3339(reported.at)), ..of_attempt }
    }
}

fn percent(done: u64, total: Option<u64>) -> Option<u8> {
    let total = total.filter(|total| *total > 0)?;
    let percent = u128::from(done.min(total)) * 100 / u128::from(total);
    u8::try_from(percent).ok()
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum SourceWire<'a> {
    Client,
    Schedule { schedule: &'a str },
    Task { task: Text<crate::task::TaskId> },
    Batch { batch: Text<crate::task::BatchId> },
}

impl<'a> From<&'a Source> for SourceWire<'a> {
    fn from(source: &'a Source) -> Self {
        match source {
            Source::Client => Self::Client,
            Source::Schedule(name) => Self::Schedule { schedule: name },
            Source::Task(id) => Self::Task { task: Text(*id) },
            Source::Batch(id) => Self::Batch { batch: Text(*id) },
        }
    }
}

#[derive(Debug, Serialize)]
struct BackoffWire {
    kind: &'static str,
    jitter: &'static str,
    base_ms: u64,
    cap_ms: u64,
}

impl From<Backoff> for BackoffWire {
    fn from(backoff: Backoff) -> Self {
        let (kind, jitter) = backoff_names(backoff);
        Self { kind, jitter, base_ms: backoff.base_ms, cap_ms: backoff.cap_ms }
    }
}

/// How a unique key is held.
#[derive(Debug, Serialize)]
struct UniqueWire {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_ms: Option<u64>,
    states: Vec<&'static str>,
}

impl From<UniqueRule> for UniqueWire {
    fn from(rule: UniqueRule) -> Self {
        let (mode, window_ms) = mode_name(rule.mode);
        Self { mode, window_ms, states: rule.states.names().collect() }
    }
}

/// A request to stop a task, and what came of it.
#[derive(Debug, Serialize)]
struct CancelWire {
    requested_at: Rfc3339,
    /// When the guest saw it, or the task ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_by: Option<&'static str>,
}

impl From<&Cancel> for CancelWire {
    fn from(cancel: &Cancel) -> Self {
        Self {
            requested_at: Rfc3339(cancel.requested_at),
            acknowledged_at: cancel.acknowledged_at.map(Rfc3339),
            stopped_by: cancel.stopped_by.map(stopped_by),
        }
    }
}

/// Who ended a cancelled task, as a word.
pub fn stopped_by(by: StoppedBy) -> &'static str {
    match by {
        StoppedBy::Queue => "queue",
        StoppedBy::Guest => "guest",
        StoppedBy::Host => "host",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Work outside of the host, which an actuator steers.
#[derive(Debug, Serialize)]
struct WorkWire {
    /// `running` or `exporting`; absent when there is none now.
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Rfc3339>,
    /// Whether somebody looks after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<bool>,
    /// Earlier work of this task that has ended.
    #[serde(skip_serializing_if = "is_zero")]
    ended: u32,
    /// What may go on although nobody looks after it: earlier work that could not be stopped or reached any more, and
    /// work whose start has not answered, until the next one does.
    #[serde(skip_serializing_if = "is_zero")]
    abandoned: u32,
}

impl WorkWire {
    fn of(works: Works) -> Option<Self> {
        let Works { current, ended, abandoned, unanswered } = works;
        let phase = |phase| match phase {
            WorkPhase::Running => "running",
            WorkPhase::Exporting => "exporting",
        };
        (works != Works::default()).then(|| Self {
            phase: current.map(|work| phase(work.phase)),
            since: current.map(|work| Rfc3339(work.since)),
            attached: current.map(|work| work.attached),
            ended,
            abandoned: abandoned.saturating_add(u32::from(unanswered)),
        })
    }
}

/// Why a task cannot begin, or its outside work cannot be looked after, however many permits are free.
#[derive(Debug, Serialize)]
struct ParkedWire {
    reason: String,
}

/// What only some states have.
#[derive(Debug, Default, Serialize)]
struct StateWire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Verbatim<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureWire<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_until: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Text<crate::task::Digest>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Rfc3339>,
}

impl<'a> From<&'a State> for StateWire<'a> {
    fn from(state: &'a State) -> Self {
        match state {
            State::Waiting => Self::default(),
            State::Queued { due_at } => Self { due_at: Some(Rfc3339(*due_at)), ..Self::default() },
            State::Running { boot: _, lease_until: _, started_at, digest } => {
                Self { started_at: Some(Rfc3339(*started_at)), digest: Some(Text(*digest)), ..Self::default() }
            }
            State::Succeeded { at, output } => {
                Self { ended_at: Some(Rfc3339(*at)), output: Some(Verbatim(output)), ..Self::default() }
            }
            State::Failed { at, failure } => {
                Self { ended_at: Some(Rfc3339(*at)), error: Some(failure.into()), ..Self::default() }
            }
            State::Cancelled { at } => Self { ended_at: Some(Rfc3339(*at)), ..Self::default() },
        }
    }
}

/// A task as JSON.
#[derive(Debug, Serialize)]
pub struct TaskWire<'a> {
    id: Text<crate::task::TaskId>,
    kind: &'a str,
    state: &'static str,
    input: Verbatim<'a>,
    #[serde(flatten)]
    standing: StateWire<'a>,
    attempt: u32,
    failures: u32,
    crashes: u32,
    #[serde(skip_serializing_if = "is_zero")]
    snoozes: u32,
    max_attempts: u32,
    queue: &'a str,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    work: Option<WorkWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<ParkedWire>,
    cancel_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel: Option<CancelWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressWire<'a>>,
    created_at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    backoff: BackoffWire,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<UniqueWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    attributes: BTreeMap<&'a str, &'a str>,
    source: SourceWire<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<Text<crate::task::TaskId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_parent_failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Text<crate::task::BatchId>>,
    attempts: Vec<AttemptWire<'a>>,
    #[serde(flatten)]
    around: Option<RelationsWire>,
}

impl<'a> TaskWire<'a> {
    /// A task as it stands, with what `plugins` say about its kind.
    pub fn new(task: &'a Task, plugins: &dyn PluginDirectory) -> Self {
        let (new, status) = (&task.spec.new, &task.status);
        let waits = matches!(status.state, State::Queued { .. }) || status.is_detached();
        let parked = if waits { plugins.parked(&new.kind).map(|reason| ParkedWire { reason }) } else { None };
        Self {
            id: Text(task.id),
            kind: &new.kind,
            state: status.name(),
            input: Verbatim(&new.input),
            standing: StateWire { lease_until: status.lease_until().map(Rfc3339), ..(&status.state).into() },
            attempt: status.attempt,
            failures: status.failures,
            crashes: status.crashes,
            snoozes: status.snoozes,
            max_attempts: new.max_attempts,
            queue: &new.queue,
            priority: new.priority,
            work: WorkWire::of(status.works),
            parked,
            cancel_requested: status.cancel.is_some(),
            cancel: status.cancel.as_ref().map(Into::into),
            progress: status.progress.as_ref().map(Into::into),
            created_at: Rfc3339(task.spec.created_at),
            deadline: new.deadline.map(Rfc3339),
            timeout_ms: new.timeout_ms,
            backoff: new.backoff.into(),
            unique_key: new.unique_key.as_deref(),
            unique: new.unique_key.is_some().then(|| new.unique.into()),
            idempotency_key: new.idempotency.last().and_then(|request| request.key.lines().next()),
            attributes: new.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            source: (&new.source).into(),
            after: new.after.iter().copied().map(Text).collect(),
            on_parent_failure: (!new.after.is_empty()).then(|| rule_name(new.on_parent_failure)),
            batch: new.batch.map(Text),
            around: None,
            attempts: status.history.iter().map(Into::into).collect(),
        }
    }
    /// The same, with who is around it.
    #[must_use]
    pub fn around(self, relations: &Relations) -> Self {
        Self { around: Some(relations.into()), ..self }
    }
}
