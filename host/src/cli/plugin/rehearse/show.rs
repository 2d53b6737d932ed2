//! What `taskhost plugin test` tells: live, as text, or in the end as one JSON document.

use std::fmt::{self, Display};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::print;
use crate::host::rehearsal::{AttemptResult, Performed, Rehearsal, Told};
use crate::plugin::Batch;
use crate::plugin::ports::{LogLine, LogSource};
use crate::task::{Failure, NewTask, Outcome, Progress, State};

/// Lines and reports that a document keeps; more are counted.
const MAX_KEPT: usize = 10_000;

/// The JSON document.
#[derive(Debug)]
pub(super) struct Sheet(Value);

impl Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Hears what goes on.
#[derive(Debug)]
pub(super) struct Teller {
    live: bool,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    attempts: Vec<Value>,
    log: Vec<Value>,
    progress: Vec<Value>,
    dropped: usize,
}

impl Heard {
    fn keep(&mut self, what: Value, of: fn(&mut Self) -> &mut Vec<Value>) {
        if of(self).len() < MAX_KEPT {
            of(self).push(what);
        } else {
            self.dropped += 1;
        }
    }
}

impl Teller {
    pub(super) fn new(live: bool) -> Self {
        Self { live, heard: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, label: &str, text: &dyn Display) {
        if self.live {
            print(&format!("{label:<9} {text}\n"));
        }
    }

    /// What is to be tried.
    pub(super) fn introduce(&self, rehearsal: &Rehearsal) {
        let info = rehearsal.info();
        let how = if info.compiled.cached { "found compiled" } else { "compiled" };
        let name = info.kinds.first().map_or("dispatcher", |kind| kind.plugin.as_str());
        self.say(
            "plugin",
            &format!("{name} {}, {how} in {} ms, sha256 {}", info.version, info.compiled.took_ms, info.digest),
        );
        let grants = if info.grants.is_empty() { "none".to_owned() } else { info.grants.join(", ") };
        self.say("grants", &grants);
        for (name, id) in rehearsal.media() {
            self.say("media", &format!("{name} is {id}"));
        }
    }

    /// What happens while a task runs.
    pub(super) fn hear(&self, told: Told) {
        match told {
            Told::Begins(attempt) => {
                self.say("attempt", &attempt);
            }
            Told::Log(line) => {
                self.say("log", &Line(&line));
                self.lock().keep(line_json(&line), |heard| &mut heard.log);
            }
            Told::Progress(progress) => {
                self.say("progress", &Step(&progress));
                self.lock().keep(progress_json(&progress), |heard| &mut heard.progress);
            }
            Told::Ended(result) => {
                self.say("ended", &End(&result));
                let mut heard = self.lock();
                let (log, progress) = (std::mem::take(&mut heard.log), std::mem::take(&mut heard.progress));
                heard.attempts.push(attempt_json(&result, &log, &progress));
            }
            Told::Skipped(ms) => self.say("wait", &format!("{} before the next attempt (skipped)", Seconds(ms))),
        }
    }

    /// How the task ended.
    pub(super) fn conclude(&self, performed: &Performed) {
        for file in &performed.files {
            let place = file.path.as_ref().map_or_else(
                || "thrown away; --out DIR keeps it".to_owned(),
                |path| format!("kept as {}", path.display()),
            );
            self.say("made", &format!("{} ({} bytes, {}): {place}", file.name, file.size, file.id));
        }
        for task in &performed.created {
            self.say("enqueues", &Wish(task));
        }
        match &performed.task.status.state {
            State::Succeeded { output, .. } => self.say("output", output),
            State::Failed { failure, .. } => self.say("failed", &Why(failure)),
            State::Cancelled { .. } => self.say("cancelled", &"the task was asked to stop"),
            State::Queued { .. } | State::Running { .. } | State::Waiting => {
                self.say("unended", &"the task would be tried again; --attempts says how often");
            }
        }
    }

    /// What a dispatcher answered.
    pub(super) fn batch(&self, batch: &Batch) {
        for task in &batch.tasks {
            self.say("enqueues", &Wish(task));
        }
        let cursor =
            batch.cursor.as_ref().map_or_else(|| "no cursor".to_owned(), |cursor| format!("cursor {}", Bytes(cursor)));
        let more = if batch.more { "there is more" } else { "that is all" };
        self.say("pass", &format!("{} tasks, {cursor}, {more}", batch.tasks.len()));
    }

    /// Everything about a task, as JSON.
    pub(super) fn sheet(&self, rehearsal: &Rehearsal, performed: &Performed) -> Sheet {
        let heard = std::mem::take(&mut *self.lock());
        let state = &performed.task.status.state;
        let (output, error) = match state {
            State::Succeeded { output, .. } => (json_of(output), Value::Null),
            State::Failed { failure, .. } => (Value::Null, failure_json(failure)),
            State::Cancelled { .. } | State::Queued { .. } | State::Running { .. } | State::Waiting => {
                (Value::Null, Value::Null)
            }
        };
        let files = performed
            .files
            .iter()
            .map(|file| json!({ "id": file.id, "name": file.name, "size": file.size, "path": file.path }));
        Sheet(json!({
            "plugin": plugin_json(rehearsal),
            "kind": performed.task.spec.new.kind,
            "state": state.name(),
            "output": output,
            "error": error,
            "attempts": heard.attempts,
            "dropped": heard.dropped,
            "enqueued": performed.created.iter().map(task_json).collect::<Vec<_>>(),
            "files": files.collect::<Vec<_>>(),
        }))
    }

    /// Everything about the calls of a dispatcher, as JSON.
    pub(super) fn passes(&self, rehearsal: &Rehearsal, batches: &[Batch]) -> Sheet {
        let log = std::mem::take(&mut *self.lock()).log;
        let batches = batches.iter().map(|batch| {
            let tasks: Vec<_> = batch.tasks.iter().map(task_json).collect();
            json!({ "tasks": tasks, "cursor": batch.cursor.as_ref().map(|cursor| Bytes(cursor).to_string()), "more": batch.more })
        });
        Sheet(json!({ "plugin": plugin_json(rehearsal), "batches": batches.collect::<Vec<_>>(), "log": log }))
    }
}

fn plugin_json(rehearsal: &Rehearsal) -> Value {
    let info = rehearsal.info();
    let media: serde_json::Map<_, _> =
        rehearsal.media().iter().map(|(name, id)| (name.clone(), Value::from(id.as_str()))).collect();
    json!({
        "digest": info.digest.to_string(),
        "version": info.version,
        "roles": info.roles,
        "grants": info.grants,
        "compiled": { "cached": info.compiled.cached, "took_ms": info.compiled.took_ms },
        "media": media,
    })
}

fn attempt_json(result: &AttemptResult, log: &[Value], progress: &[Value]) -> Value {
    let (outcome, error) = outcome(&result.outcome);
    json!({
        "attempt": result.attempt,
        "outcome": outcome,
        "error": error.map(failure_json),
        "wall_ms": millis(result.wall),
        "cpu_us": result.usage.cpu_us,
        "memory_bytes": result.usage.memory_bytes,
        "log": log,
        "progress": progress,
    })
}

fn line_json(line: &LogLine) -> Value {
    let fields: serde_json::Map<_, _> =
        line.fields.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({ "level": line.level.name(), "source": line.source.name(), "message": line.message, "fields": fields })
}

fn progress_json(progress: &Progress) -> Value {
    json!({ "done": progress.done, "total": progress.total, "unit": progress.unit, "message": progress.message })
}

fn task_json(task: &NewTask) -> Value {
    json!({ "kind": task.kind, "input": json_of(&task.input), "queue": task.queue, "priority": task.priority, "unique_key": task.unique_key })
}

fn failure_json(failure: &Failure) -> Value {
    json!({ "code": failure.code, "message": failure.message, "details": failure.details.as_deref().map(json_of) })
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// The stable name of an outcome, and why.
fn outcome(outcome: &Outcome) -> (&'static str, Option<&Failure>) {
    match outcome {
        Outcome::Succeeded { .. } => ("succeeded", None),
        Outcome::Retry { failure, .. } => ("retry", Some(failure)),
        Outcome::Fatal(failure) => ("fatal", Some(failure)),
        Outcome::Crashed(failure) => ("crashed", Some(failure)),
        Outcome::Snoozed { .. } => ("snoozed", None),
        Outcome::Cancelled => ("cancelled", None),
        Outcome::Killed => ("killed", None),
        Outcome::Yielded => ("yielded", None),
        Outcome::Interrupted => ("interrupted", None),
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

struct Line<'a>(&'a LogLine);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogLine { level: grave, source: from, message, fields, .. } = self.0;
        match from {
            LogSource::Log => write!(f, "{} {message}", grave.name())?,
            LogSource::Stdout | LogSource::Stderr | LogSource::Host => write!(f, "{} {message}", from.name())?,
        }
        fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

struct Step<'a>(&'a Progress);

impl Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { done, total, unit, message } = self.0;
        match total {
            Some(total) => write!(f, "{done} of {total} {unit}")?,
            None => write!(f, "{done} {unit}")?,
        }
        message.iter().try_for_each(|message| write!(f, ": {message}"))
    }
}

struct End<'a>(&'a AttemptResult);

impl Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AttemptResult { outcome: how, wall, usage, .. } = self.0;
        let (name, failure) = outcome(how);
        let cpu = Duration::from_micros(usage.cpu_us);
        let tenths = usage.memory_bytes * 10 / (1 << 20);
        let memory = format!("{}.{} MiB", tenths / 10, tenths % 10);
        write!(f, "{name} after {} ms (CPU {} ms, memory {memory} at most)", millis(*wall), millis(cpu))?;
        failure.iter().try_for_each(|failure| write!(f, ": {}", Why(failure)))
    }
}

struct Why<'a>(&'a Failure);

impl Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)?;
        self.0.details.iter().try_for_each(|details| write!(f, " {details}"))
    }
}

struct Wish<'a>(&'a NewTask);

impl Display for Wish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.kind, self.0.input)
    }
}

struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000, self.0 % 1_000)
    }
}

/// As text where it is text, else in hexadecimal digits.
struct Bytes<'a>(&'a [u8]);

impl Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if !text.contains(char::is_control) => f.write_str(text),
            _ => self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}
