//! Work that lives outside of the host: one call of an actuator starts it, others look at it and stop it.
//! Its attempt lasts as long as it does, whatever becomes of the host meanwhile.

use serde::{Deserialize, Serialize};

use super::{AttemptEnd, AttemptRecord, Cancel, Lease, Stale, State, Status, StoppedBy};
use crate::time::Timestamp;

/// Bytes of a handle.
pub const MAX_HANDLE_BYTES: usize = 16 * 1024;
/// Callbacks within so many milliseconds are told once: whoever heard of the first one looks again after that time.
pub const CALLBACK_PACE_MS: u64 = 1_000;
/// When nobody can stop a task's outside work, the task ends with a second request to cancel it that comes so many
/// milliseconds after the first one.
const FORCE_CANCEL_AFTER_MS: u64 = 60_000;

/// How far outside work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkPhase {
    /// It goes on, as far as is known.
    Running,
    /// It has succeeded, and its results are being brought home. It counts against no limit any more.
    Exporting,
}

/// Outside work of the attempt that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// How far it has come.
    pub phase: WorkPhase,
    /// The attempt that started it. When its lease is lost the attempt gets another number, but the outside still
    /// calls back with the one that it was told.
    pub started_by: u32,
    /// Since when.
    pub since: Timestamp,
    /// Somebody looks after it, under a lease. Otherwise it waits to be taken up again.
    pub attached: bool,
    /// The latest callback that was told.
    pub called_at: Option<Timestamp>,
}

/// The outside work of all attempts of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Works {
    /// Of the attempt that runs.
    pub current: Option<Work>,
    /// How much has ended, one way or another: the next one has another idempotency key.
    pub ended: u32,
    /// How much of that nobody could stop or reach any more: it may go on.
    pub abandoned: u32,
    /// A start of the next one has not answered, so there may be work of which nobody has a handle. The next start is asked
    /// with the same idempotency key, and its handle is that of the same work.
    pub unanswered: bool,
}

impl Works {
    /// The attempt ends, and its outside work with it.
    pub(super) fn end(&mut self) {
        self.ended = self.ended.saturating_add(u32::from(self.current.take().is_some()));
    }
}

impl Status {
    /// The attempt's outside work has come so far, if it has any.
    pub fn work_phase(&self) -> Option<WorkPhase> {
        self.works.current.map(|work| work.phase)
    }

    /// Outside work that nobody looks after.
    pub fn is_detached(&self) -> bool {
        self.works.current.is_some_and(|work| !work.attached)
    }

    /// The end of the lease, as long as somebody holds one.
    pub fn lease_until(&self) -> Option<Timestamp> {
        match self.state {
            State::Running { lease_until, .. } if !self.is_detached() => Some(lease_until),
            State::Running { .. }
            | State::Waiting
            | State::Queued { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => None,
        }
    }

    /// Whether attempt `attempt` runs and is looked after.
    pub fn is_current(&self, attempt: u32) -> bool {
        self.attempt == attempt && self.lease_until().is_some()
    }

    /// Attempt `attempt` has started outside work: it can be let go of and taken up again. An attempt has one.
    pub fn keep_work(&mut self, attempt: u32, now: Timestamp) -> Result<(), Stale> {
        if !self.is_current(attempt) || self.works.current.is_some() {
            return Err(Stale);
        }
        self.works.current =
            Some(Work { phase: WorkPhase::Running, started_by: attempt, since: now, attached: true, called_at: None });
        self.works.unanswered = false;
        Ok(())
    }

    /// The outside work of attempt `attempt` has succeeded; what is left is to bring its results home.
    pub fn begin_export(&mut self, attempt: u32, now: Timestamp) -> Result<(), Stale> {
        let is_current = self.is_current(attempt);
        let Some(work) = self.works.current.as_mut().filter(|work| is_current && work.phase == WorkPhase::Running)
        else {
            return Err(Stale);
        };
        (work.phase, work.since) = (WorkPhase::Exporting, now);
        Ok(())
    }

    /// Nobody looks after the outside work any more; it goes on. When whoever did is `lost` and may not know it, the
    /// attempt gets another number, so that what still comes from there is stale (invariant I3).
    pub fn let_go(&mut self, lost: bool) {
        if let Some(work) = &mut self.works.current {
            work.attached = false;
            self.attempt = self.attempt.saturating_add(u32::from(lost));
        }
    }

    /// Takes up outside work that nobody looks after: the attempt goes on under a new lease.
    pub fn attach(&mut self, lease: Lease) -> Result<u32, Stale> {
        let (State::Running { boot, lease_until, digest, .. }, Some(work)) = (&mut self.state, &mut self.works.current)
        else {
            return Err(Stale);
        };
        if std::mem::replace(&mut work.attached, true) {
            return Err(Stale);
        }
        (*boot, *lease_until, *digest) = (lease.boot, lease.until, lease.digest);
        Ok(self.attempt)
    }

    /// Somebody outside says that there is news about the work of attempt `attempt`. Whether that has to be told.
    pub fn call_back(&mut self, attempt: u32, now: Timestamp) -> Result<bool, Stale> {
        let current = self.attempt;
        let Some(work) = &mut self.works.current else {
            // The outside was faster than the answer of `start`; the first look, which follows it, sees the news.
            return if self.is_current(attempt) { Ok(false) } else { Err(Stale) };
        };
        if attempt != work.started_by && attempt != current {
            return Err(Stale);
        }
        let is_told = |at: Timestamp| at <= now && now.millis_since(at) < CALLBACK_PACE_MS;
        if work.phase == WorkPhase::Exporting || work.called_at.is_some_and(is_told) {
            return Ok(false);
        }
        work.called_at = Some(now);
        Ok(true)
    }

    /// A running task is asked once more to stop. One whose outside work nobody can stop ends; whether it did.
    pub(super) fn force_cancel(&mut self, now: Timestamp) -> bool {
        let State::Running { started_at, digest, .. } = self.state else { return false };
        let asked = self.cancel.filter(|_| self.is_detached());
        let Some(cancel) = asked.filter(|it| now.millis_since(it.requested_at) >= FORCE_CANCEL_AFTER_MS) else {
            return false;
        };
        let number = self.attempt;
        let end = AttemptEnd::Killed;
        self.remember(AttemptRecord { number, digest, started_at, ended_at: now, end, log: None });
        self.works.end();
        self.works.abandoned = self.works.abandoned.saturating_add(1);
        let acknowledged_at = cancel.acknowledged_at.or(Some(now));
        self.cancel = Some(Cancel { acknowledged_at, stopped_by: Some(StoppedBy::Host), ..cancel });
        self.state = State::Cancelled { at: now };
        true
    }
}
