//! What may happen to a task: pure transitions, the only place where a state becomes another.

use serde::{Deserialize, Serialize};

use super::{
    AttemptEnd, AttemptRecord, AttemptReport, BootId, Digest, Failure, HISTORY_LEN, Left, MAX_CRASHES, MAX_SNOOZES,
    MIN_SNOOZE_MS, NewTask, OnParentFailure, Outcome, PARENT_FAILED, Progress, Spec, State, StoppedBy, TaskId, Works,
};
use crate::time::Timestamp;

/// The code of a task that took its guest or the host down too often.
pub const POISON: &str = "poison";

/// A request to stop a task, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// When it was first asked for.
    pub requested_at: Timestamp,
    /// When the guest saw it, or the task ended.
    pub acknowledged_at: Option<Timestamp>,
    /// Who ended the task, once that has happened.
    pub stopped_by: Option<StoppedBy>,
}

/// The last progress that an attempt has reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Which attempt: the one that runs, or an earlier one.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What.
    pub progress: Progress,
}

/// What changes while a task lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where it stands.
    pub state: State,
    /// Number of the latest claim; 0 before the first. Raised by every claim (fencing, invariant I3).
    pub attempt: u32,
    /// Attempts that failed and were counted.
    pub failures: u32,
    /// Attempts that took the guest or the host down.
    pub crashes: u32,
    /// How often in a row the guest put it off.
    pub snoozes: u32,
    /// Somebody asked to stop it.
    pub cancel: Option<Cancel>,
    /// The last report, also of an earlier attempt: it stands until the next one reports.
    pub progress: Option<Reported>,
    /// Bytes of the checkpoint that an ended task has kept; 0 while it lives.
    pub checkpoint_bytes: u64,
    /// The latest attempts, oldest first, at most [`HISTORY_LEN`].
    pub history: Vec<AttemptRecord>,
    /// Work outside of the host, which an actuator steers.
    pub works: Works,
}

/// How a running task that was asked to stop is called.
pub(super) const CANCELLING: &str = "cancelling";

/// The lease that a claim takes.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The host start that takes it.
    pub boot: BootId,
    /// When it ends without a heartbeat.
    pub until: Timestamp,
    /// The generation that will run the attempt.
    pub digest: Digest,
}

/// A transition that does not apply: the task is elsewhere by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attempt is stale: the task has moved on")]
pub struct Stale;

impl Status {
    /// A task just created.
    pub fn queued(due_at: Timestamp) -> Self {
        Self {
            state: State::Queued { due_at },
            attempt: 0,
            failures: 0,
            crashes: 0,
            snoozes: 0,
            cancel: None,
            progress: None,
            checkpoint_bytes: 0,
            history: Vec::new(),
            works: Works::default(),
        }
    }

    /// Its state's name; a running task that was asked to stop is `cancelling`.
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Running { .. } if self.cancel.is_some() => CANCELLING,
            State::Running { .. }
            | State::Waiting
            | State::Queued { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => self.state.name(),
        }
    }

    /// A task just created that waits for its parents.
    pub fn waiting() -> Self {
        Self { state: State::Waiting, ..Self::queued(Timestamp::default()) }
    }

    /// Queued to waiting: a parent lives.
    pub fn wait(&mut self) {
        if matches!(self.state, State::Queued { .. }) {
            self.state = State::Waiting;
        }
    }

    /// Waiting to queued: every parent has ended. `false` when it does not wait.
    pub fn release(&mut self, due_at: Timestamp) -> bool {
        let waits = matches!(self.state, State::Waiting);
        if waits {
            self.state = State::Queued { due_at };
        }
        waits
    }

    /// A task that waits ends because `parent` has not succeeded. `false` when it does not wait, or
    /// when its rule says that it runs all the same.
    pub fn lose_parent(&mut self, parent: TaskId, rule: OnParentFailure, now: Timestamp) -> bool {
        if !matches!(self.state, State::Waiting) {
            return false;
        }
        self.state = match rule {
            OnParentFailure::Run => return false,
            OnParentFailure::Cancel => State::Cancelled { at: now },
            OnParentFailure::Fail => {
                let message = format!("task {parent}, which this one comes after, has not succeeded");
                let details = serde_json::json!({ "parent": parent.to_string() }).to_string();
                let failure = Failure { code: PARENT_FAILED.to_owned(), message, details: Some(details) };
                State::Failed { at: now, failure }
            }
        };
        true
    }

    /// Queued to running: raises the attempt number.
    pub fn claim(&mut self, lease: Lease, now: Timestamp) -> Result<u32, Stale> {
        let State::Queued { due_at } = self.state else { return Err(Stale) };
        if due_at > now {
            return Err(Stale);
        }
        self.attempt = self.attempt.saturating_add(1);
        self.state =
            State::Running { boot: lease.boot, lease_until: lease.until, started_at: now, digest: lease.digest };
        Ok(self.attempt)
    }

    /// Proof of life of attempt `attempt`: moves the end of its lease.
    pub fn beat(&mut self, attempt: u32, until: Timestamp) -> Result<(), Stale> {
        let is_current = self.is_current(attempt);
        let State::Running { lease_until, .. } = &mut self.state else { return Err(Stale) };
        if !is_current {
            return Err(Stale);
        }
        *lease_until = until;
        Ok(())
    }

    /// The current attempt reports. Whether that is news.
    pub fn advance(&mut self, progress: &Progress, now: Timestamp) -> bool {
        let known = self.progress.as_ref();
        if known.is_some_and(|known| known.attempt == self.attempt && known.progress == *progress) {
            return false;
        }
        self.progress = Some(Reported { attempt: self.attempt, at: now, progress: progress.clone() });
        true
    }

    /// The guest has seen that it is to stop. Whether that is news.
    pub fn acknowledge_cancel(&mut self, now: Timestamp) -> bool {
        let Some(cancel) = self.cancel.as_mut().filter(|cancel| cancel.acknowledged_at.is_none()) else { return false };
        cancel.acknowledged_at = Some(now);
        true
    }

    /// Somebody asks to stop the task: one that waits ends now, a running one is asked.
    ///
    /// Returns whether anything changed; a task that has ended is left alone.
    pub fn request_cancel(&mut self, now: Timestamp) -> bool {
        match self.state {
            State::Waiting | State::Queued { .. } => {
                let stopped_by = Some(StoppedBy::Queue);
                self.cancel = Some(Cancel { requested_at: now, acknowledged_at: Some(now), stopped_by });
                self.state = State::Cancelled { at: now };
                true
            }
            State::Running { .. } if self.cancel.is_none() => {
                self.cancel = Some(Cancel { requested_at: now, acknowledged_at: None, stopped_by: None });
                true
            }
            State::Running { .. } => self.force_cancel(now),
            State::Succeeded { .. } | State::Failed { .. } | State::Cancelled { .. } => false,
        }
    }

    /// The first attempt has not begun by `deadline`: the task fails. `false` when it has begun, or
    /// when there is time.
    pub fn expire(&mut self, deadline: Timestamp, now: Timestamp) -> bool {
        if !matches!(self.state, State::Waiting | State::Queued { .. }) || self.attempt > 0 || deadline > now {
            return false;
        }
        let failure = Failure::new("expired", format!("no attempt had begun by the deadline, {deadline}"));
        self.state = State::Failed { at: now, failure };
        true
    }

    /// A waiting task becomes another request: a fresh budget, due at `due_at`; the attempt number
    /// keeps rising.
    pub fn replace(&mut self, due_at: Timestamp) -> bool {
        if !matches!(self.state, State::Waiting | State::Queued { .. }) {
            return false;
        }
        self.state = State::Queued { due_at };
        self.failures = 0;
        self.crashes = 0;
        self.snoozes = 0;
        self.progress = None;
        true
    }

    /// A task that came back to the queue finds its unique key with another one: it has had its time.
    pub fn supersede(&mut self, holder: TaskId, now: Timestamp) {
        let failure = Failure::new("superseded", format!("task {holder} has taken the unique key meanwhile"));
        self.state = State::Failed { at: now, failure };
    }

    /// Puts a task that ended back into the queue with a fresh budget; the attempt number keeps rising,
    /// and what the attempts before have reported stands until the next one reports.
    pub fn redrive(&mut self, now: Timestamp) -> bool {
        if !self.state.is_terminal() {
            return false;
        }
        self.state = State::Queued { due_at: now };
        self.failures = 0;
        self.crashes = 0;
        self.snoozes = 0;
        self.cancel = None;
        self.checkpoint_bytes = 0;
        true
    }

    /// The end of attempt `attempt`: decides what follows. Stale attempts change nothing (invariant I3).
    ///
    /// `jitter` in `[0, 1)` spreads the retry (see [`crate::retry::Backoff::delay_ms`]).
    pub fn settle(
        &mut self,
        spec: &Spec,
        attempt: u32,
        outcome: &Outcome,
        (now, jitter): (Timestamp, f64),
    ) -> Result<(), Stale> {
        let State::Running { started_at, digest, .. } = self.state else { return Err(Stale) };
        if !self.is_current(attempt) {
            return Err(Stale);
        }
        self.works.end();
        let end = match outcome {
            Outcome::Succeeded { .. } => AttemptEnd::Succeeded,
            Outcome::Retry { failure, .. } | Outcome::Fatal(failure) => AttemptEnd::Failed(failure.clone()),
            Outcome::Crashed(failure) => AttemptEnd::Crashed(failure.clone()),
            Outcome::Snoozed { .. } => self.snooze(),
            Outcome::Cancelled => AttemptEnd::Cancelled,
            Outcome::Killed => AttemptEnd::Killed,
            Outcome::Yielded | Outcome::Interrupted => AttemptEnd::Returned,
        };
        if !matches!(end, AttemptEnd::Snoozed { .. } | AttemptEnd::Returned) {
            self.snoozes = 0;
        }
        self.remember(AttemptRecord { number: attempt, digest, started_at, ended_at: now, end, log: None });
        self.state = self.follow(&spec.new, outcome, digest, (now, jitter));
        if self.state.is_terminal()
            && let Some(cancel) = &mut self.cancel
        {
            cancel.acknowledged_at.get_or_insert(now);
            if matches!(self.state, State::Cancelled { .. }) {
                let by_host = matches!(outcome, Outcome::Killed);
                cancel.stopped_by = Some(if by_host { StoppedBy::Host } else { StoppedBy::Guest });
            }
        }
        Ok(())
    }

    /// What the attempt that was just settled leaves beside its outcome.
    pub fn note(&mut self, report: &AttemptReport, now: Timestamp) {
        if let Some(progress) = &report.progress {
            self.advance(progress, now);
        }
        match report.left {
            Left::Nothing => {}
            Left::Abandoned => self.works.abandoned = self.works.abandoned.saturating_add(1),
            Left::Unanswered => self.works.unanswered = true,
        }
        if let Some(record) = self.history.last_mut() {
            record.log = report.log;
            record.digest = report.digest.unwrap_or(record.digest);
        }
    }

    /// One more time in a row: not counted as an attempt, except beyond the bound.
    fn snooze(&mut self) -> AttemptEnd {
        if self.snoozes >= MAX_SNOOZES {
            let message = format!("the guest put the task off {MAX_SNOOZES} times in a row");
            return AttemptEnd::Failed(Failure::new("snoozed-too-often", message));
        }
        self.snoozes += 1;
        AttemptEnd::Snoozed { times: self.snoozes }
    }

    pub(super) fn remember(&mut self, record: AttemptRecord) {
        let is_snooze = |end: &AttemptEnd| matches!(end, AttemptEnd::Snoozed { .. });
        let repeats = is_snooze(&record.end) && self.history.last().is_some_and(|last| is_snooze(&last.end));
        if repeats {
            self.history.pop();
        } else if self.history.len() >= HISTORY_LEN {
            self.history.remove(0);
        }
        self.history.push(record);
    }

    fn follow(&mut self, new: &NewTask, outcome: &Outcome, digest: Digest, (now, jitter): (Timestamp, f64)) -> State {
        match outcome {
            // A result that arrived in spite of a cancel request is kept: the work is done.
            Outcome::Succeeded { output, .. } => State::Succeeded { at: now, output: output.clone() },
            Outcome::Cancelled | Outcome::Killed => State::Cancelled { at: now },
            Outcome::Fatal(failure) => State::Failed { at: now, failure: failure.clone() },
            Outcome::Yielded | Outcome::Interrupted | Outcome::Snoozed { .. } if self.cancel.is_some() => {
                State::Cancelled { at: now }
            }
            Outcome::Snoozed { after_ms } => match self.history.last().map(|last| last.end.clone()) {
                Some(AttemptEnd::Failed(failure)) => {
                    self.failures = self.failures.saturating_add(1);
                    self.retry_or_give_up(new, &failure, (now, jitter), Some(*after_ms))
                }
                _ => State::Queued { due_at: now.plus_millis((*after_ms).max(MIN_SNOOZE_MS)) },
            },
            Outcome::Yielded | Outcome::Interrupted => State::Queued { due_at: now },
            Outcome::Retry { failure, after_ms } => {
                self.failures = self.failures.saturating_add(1);
                self.retry_or_give_up(new, failure, (now, jitter), *after_ms)
            }
            Outcome::Crashed(failure) => {
                self.crashes = self.crashes.saturating_add(1);
                if self.crashes >= MAX_CRASHES && self.cancel.is_none() {
                    return State::Failed { at: now, failure: self.poison(failure, digest) };
                }
                self.retry_or_give_up(new, failure, (now, jitter), None)
            }
        }
    }

    /// Names the generation that went down last, and how.
    fn poison(&self, last: &Failure, digest: Digest) -> Failure {
        let message = format!("parked after {} crashes; the last: {}", self.crashes, last.message);
        let cause = last.details.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let cause: serde_json::Value = cause.unwrap_or_default();
        let details = serde_json::json!({
            "digest": digest.to_string(), "crashes": self.crashes, "code": last.code, "details": cause,
        });
        Failure { code: POISON.to_owned(), message, details: Some(details.to_string()) }
    }

    fn retry_or_give_up(
        &self,
        new: &NewTask,
        failure: &Failure,
        (now, jitter): (Timestamp, f64),
        after_ms: Option<u64>,
    ) -> State {
        if self.cancel.is_some() {
            return State::Cancelled { at: now };
        }
        let tried = self.failures.saturating_add(self.crashes);
        if tried >= new.max_attempts {
            return State::Failed { at: now, failure: failure.clone() };
        }
        let delay_ms = after_ms.unwrap_or_else(|| new.backoff.delay_ms(tried, jitter));
        State::Queued { due_at: now.plus_millis(delay_ms) }
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
