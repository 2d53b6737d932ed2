//! What may happen to a task: pure transitions, the only place where a state becomes another.

use serde::{Deserialize, Serialize};

use super::{
    AttemptEnd, AttemptRecord, BootId, Digest, Failure, HISTORY_LEN, MAX_CRASHES, NewTask, OnParentFailure, Outcome,
    PARENT_FAILED, Progress, Spec, State, TaskId,
};
use crate::time::Timestamp;

/// The code of a task that took its guest or the host down too often.
pub const POISON: &str = "poison";

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
    /// Somebody asked to stop it.
    pub cancel_requested: bool,
    /// The last report of the attempt that runs or ran last.
    pub progress: Option<Progress>,
    /// The latest attempts, oldest first, at most [`HISTORY_LEN`].
    pub history: Vec<AttemptRecord>,
}

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
            cancel_requested: false,
            progress: None,
            history: Vec::new(),
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
        self.progress = None;
        self.state =
            State::Running { boot: lease.boot, lease_until: lease.until, started_at: now, digest: lease.digest };
        Ok(self.attempt)
    }

    /// Proof of life of attempt `attempt`: moves the end of its lease and keeps its progress.
    pub fn beat(&mut self, attempt: u32, until: Timestamp, progress: Option<Progress>) -> Result<(), Stale> {
        let current = self.attempt;
        let State::Running { lease_until, .. } = &mut self.state else { return Err(Stale) };
        if current != attempt {
            return Err(Stale);
        }
        *lease_until = until;
        if progress.is_some() {
            self.progress = progress;
        }
        Ok(())
    }

    /// Somebody asks to stop the task: one that waits ends now, a running one is asked.
    ///
    /// Returns whether anything changed; a task that has ended is left alone.
    pub fn request_cancel(&mut self, now: Timestamp) -> bool {
        match self.state {
            State::Waiting | State::Queued { .. } => {
                self.cancel_requested = true;
                self.state = State::Cancelled { at: now };
                true
            }
            State::Running { .. } => !std::mem::replace(&mut self.cancel_requested, true),
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
        self.progress = None;
        true
    }

    /// A task that came back to the queue finds its unique key with another one: it has had its time.
    pub fn supersede(&mut self, holder: TaskId, now: Timestamp) {
        let failure = Failure::new("superseded", format!("task {holder} has taken the unique key meanwhile"));
        self.state = State::Failed { at: now, failure };
    }

    /// Puts a task that ended back into the queue with a fresh budget; the attempt number keeps rising.
    pub fn redrive(&mut self, now: Timestamp) -> bool {
        if !self.state.is_terminal() {
            return false;
        }
        self.state = State::Queued { due_at: now };
        self.failures = 0;
        self.crashes = 0;
        self.cancel_requested = false;
        self.progress = None;
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
        if self.attempt != attempt {
            return Err(Stale);
        }
        let end = match outcome {
            Outcome::Succeeded { .. } => AttemptEnd::Succeeded,
            Outcome::Retry { failure, .. } | Outcome::Fatal(failure) => AttemptEnd::Failed(failure.clone()),
            Outcome::Crashed(failure) => AttemptEnd::Crashed(failure.clone()),
            Outcome::Cancelled => AttemptEnd::Cancelled,
            Outcome::Yielded | Outcome::Interrupted => AttemptEnd::Returned,
        };
        if self.history.len() >= HISTORY_LEN {
            self.history.remove(0);
        }
        self.history.push(AttemptRecord { number: attempt, digest, started_at, ended_at: now, end });
        self.state = self.follow(&spec.new, outcome, digest, (now, jitter));
        Ok(())
    }

    fn follow(&mut self, new: &NewTask, outcome: &Outcome, digest: Digest, (now, jitter): (Timestamp, f64)) -> State {
        match outcome {
            // A result that arrived in spite of a cancel request is kept: the work is done.
            Outcome::Succeeded { output, .. } => State::Succeeded { at: now, output: output.clone() },
            Outcome::Cancelled => State::Cancelled { at: now },
            Outcome::Fatal(failure) => State::Failed { at: now, failure: failure.clone() },
            Outcome::Yielded | Outcome::Interrupted if self.cancel_requested => State::Cancelled { at: now },
            Outcome::Yielded | Outcome::Interrupted => State::Queued { due_at: now },
            Outcome::Retry { failure, after_ms } => {
                self.failures = self.failures.saturating_add(1);
                self.retry_or_give_up(new, failure, (now, jitter), *after_ms)
            }
            Outcome::Crashed(failure) => {
                self.crashes = self.crashes.saturating_add(1);
                if self.crashes >= MAX_CRASHES && !self.cancel_requested {
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
        if self.cancel_requested {
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
