//! The calls of an actuator. Each is short, in a fresh instance, and none of them is cut short by a wish to cancel the
//! task: what a call has started or stopped outside must be known.

use std::sync::Arc;

use crate::plugin::Job;
use crate::plugin::contract::{self, actuator, progress, wire};
use crate::plugin::control::{Control, Directive};
use crate::plugin::link::Linked;
use crate::plugin::steer::{Ended, Look, Missed, Standing, StopMode, Subject, Turn, Unstarted};
use crate::task::{Failure, LogSize, MAX_HANDLE_BYTES, Outcome, TaskId};
use crate::time::now;

use super::call::{Collect, Start, Status, StopWork};
use super::stop::{self, Stop};
use super::supervise::supervise;
use super::{Call, Purpose, asked, refused};

/// Wall time of one call other than `collect`, in milliseconds, if the manifest allows as much.
const CALL_WALL_MS: u64 = 60_000;

impl Linked {
    /// Starts outside work; answers its handle, or how the attempt ends.
    pub async fn start(&self, job: Job, wall_ms: u64, turn: &mut Turn) -> Result<Vec<u8>, Unstarted> {
        let call = self.steering((job.id, job.attempt), CALL_WALL_MS, Arc::default(), turn);
        let control = Arc::clone(&call.control);
        let task = contract::task(&job, job.started_at.plus_millis(wall_ms));
        let end = supervise(&self.code, call, Start(task)).await;
        turn.add(control.log());
        let done = end.map_err(|stop| Unstarted { unanswered: stop.may_have_begun(), outcome: ended(stop) })?;
        match done.answer {
            Ok(handle) if handle.len() > MAX_HANDLE_BYTES => {
                let message = format!("the handle has {} bytes, the limit is {MAX_HANDLE_BYTES}", handle.len());
                let outcome = Outcome::Crashed(Failure::new(stop::CONTRACT_VIOLATION, message));
                Err(Unstarted { outcome, unanswered: true })
            }
            Ok(handle) => Ok(handle),
            Err(error) => {
                let outcome = refused(error, Directive::Proceed, &self.code.censor);
                Err(Unstarted { outcome, unanswered: false })
            }
        }
    }

    /// Looks at outside work.
    pub async fn look(&self, work: &Subject, turn: &mut Turn) -> Result<Look, Missed> {
        let call = self.steering((work.task, work.attempt), CALL_WALL_MS, Arc::default(), turn);
        let control = Arc::clone(&call.control);
        let end = supervise(&self.code, call, Status(work.handle.clone())).await;
        turn.add(control.log());
        let done = end.map_err(|stop| Missed { is_crash: stop.is_guest_down(), failure: stop.into_failure() })?;
        let failed = |failure| Missed { is_crash: false, failure: contract::failure(failure, &self.code.censor) };
        let report = done.answer.map_err(failed)?;
        let standing = match report.phase {
            actuator::Phase::Running | actuator::Phase::Other(_) => Standing::Running,
            actuator::Phase::Succeeded(output) => match stop::bad_output(&output, self.code.limits.output_bytes) {
                Some(failure) => Standing::Failed(Outcome::Crashed(failure)),
                None => Standing::Succeeded { output, outbox: done.outbox, added: done.added },
            },
            actuator::Phase::Failed(wire::TaskError::Cancelled | wire::TaskError::Yielded) => Standing::Stopped,
            actuator::Phase::Failed(error) => Standing::Failed(refused(error, Directive::Proceed, &self.code.censor)),
        };
        let progress = report.progress.map(|it| progress(it, &self.code.censor)).or_else(|| control.progress());
        Ok(Look { standing, progress, poll_after_ms: report.poll_after })
    }

    /// Asks outside work to stop.
    pub async fn stop(&self, work: &Subject, mode: StopMode, turn: &mut Turn) -> Result<(), Failure> {
        let call = self.steering((work.task, work.attempt), CALL_WALL_MS, Arc::default(), turn);
        let control = Arc::clone(&call.control);
        let mode = match mode {
            StopMode::Graceful => actuator::StopMode::Graceful,
            StopMode::Immediate => actuator::StopMode::Immediate,
        };
        let end = supervise(&self.code, call, StopWork(work.handle.clone(), mode)).await;
        turn.add(control.log());
        end.map_err(Stop::into_failure)?.answer.map_err(|failure| contract::failure(failure, &self.code.censor))
    }

    /// Brings the results of outside work home: like an executor's attempt, with all the wall time of the manifest.
    pub async fn collect(
        &self,
        job: Job,
        (work, output): (&Subject, String),
        control: Arc<Control>,
        turn: &mut Turn,
    ) -> Ended {
        let wall_ms = self.code.limits.wall_ms;
        let call = self.steering((job.id, job.attempt), wall_ms, Arc::clone(&control), turn);
        let task = contract::task(&job, now().plus_millis(wall_ms));
        let end = supervise(&self.code, call, Collect(task, work.handle.clone(), output)).await;
        turn.add(control.log());
        let done = match end {
            Ok(done) => done,
            Err(stop) => return ended(stop).into(),
        };
        match done.answer {
            Ok(output) => match stop::bad_output(&output, self.code.limits.output_bytes) {
                Some(failure) => Outcome::Crashed(failure).into(),
                None => Ended { outcome: Outcome::Succeeded { output, outbox: done.outbox }, added: done.added },
            },
            Err(error) => refused(error, asked(done.told, &control), &self.code.censor).into(),
        }
    }

    /// One of several calls of an attempt: they share its log.
    fn steering(&self, (task, attempt): (TaskId, u32), wall_ms: u64, control: Arc<Control>, turn: &Turn) -> Call {
        let mut limits = self.code.limits.clone();
        limits.wall_ms = limits.wall_ms.min(wall_ms);
        limits.log_bytes = limits.log_bytes.saturating_sub(turn.log.bytes);
        self.code.call_within(Purpose::Steer { task, attempt }, control, limits)
    }
}

impl Turn {
    fn add(&mut self, log: LogSize) {
        self.log.lines += log.lines;
        self.log.bytes += log.bytes;
        self.log.dropped_lines += log.dropped_lines;
        self.log.dropped_bytes += log.dropped_bytes;
    }
}

/// What the end of a call means for its attempt.
pub(super) fn ended(stop: Stop) -> Outcome {
    match stop {
        Stop::Crashed(failure) => Outcome::Crashed(failure),
        Stop::Retry(failure) => Outcome::Retry { failure, after_ms: None },
        Stop::Cancelled => Outcome::Cancelled,
        Stop::Killed => Outcome::Killed,
        Stop::Interrupted => Outcome::Interrupted,
    }
}
