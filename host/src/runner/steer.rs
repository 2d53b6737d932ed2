//! One attempt whose work lives elsewhere: started once, looked at now and then, stopped or brought home.
//!
//! Between two looks there is no guest: this waits for an instant or a bell. One look at a time, by one loop, so that
//! poll and callback cannot both find the end (flaw L4). Each look is made by the generation that is live then.

mod age;
mod export;
mod stop;

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(super) use self::age::{Age, Clocks};
use self::stop::Why;
use super::ending::Ending;
use super::pace::Pace;
use crate::limiter::{AttemptPermit, Trial};
use crate::plugin::control::{Directive, News};
use crate::plugin::steer::{Ended, Look, Missed, Standing, Subject, Turn, Unstarted};
use crate::plugin::{Generation, Job, Plugins};
use crate::store::{Claimed, StoreError, WorkRecord};
use crate::task::{AttemptReport, CALLBACK_PACE_MS, Digest, Failure, Left, Outcome, Progress};
use crate::time::now;

/// Looks in a row that took the guest down, after which the attempt is a crash.
const MAX_CRASHED_LOOKS: u32 = 10;
/// How long a loop waits after the store refused a verb, before it tries again.
const STORE_RETRY: Duration = Duration::from_millis(200);

/// One attempt and what it needs.
#[derive(Debug)]
pub(super) struct Steering {
    pub(super) ending: Ending,
    pub(super) plugins: Arc<Plugins>,
    /// Starts the work: the one whose digest the claim recorded.
    pub(super) generation: Arc<Generation>,
    pub(super) claimed: Claimed,
    pub(super) reins: Reins,
    /// Places for bringing results home.
    pub(super) exports: Arc<Semaphore>,
    /// How long outside work may take to stop, each way.
    pub(super) stop_grace: Duration,
    pub(super) age: Age,
    pub(super) abort: CancellationToken,
}

/// What the runner tells a loop, besides its directive.
#[derive(Clone, Debug, Default)]
pub(super) struct Reins {
    /// Somebody outside has news.
    pub(super) bell: Arc<Notify>,
    /// The lease is another one's: what this would say is stale.
    pub(super) lost: CancellationToken,
}

/// How a loop ends.
#[derive(Debug)]
enum End {
    /// The attempt has ended.
    Ended {
        ended: Ended,
        /// Who saw it last.
        digest: Option<Digest>,
        left: Left,
    },
    /// Nobody can look after the work for now: it goes on.
    LetGo,
    /// Somebody else looks after the work, or nobody can say so any more.
    Lost,
}

impl End {
    fn of(ended: impl Into<Ended>, generation: &Generation) -> Self {
        Self::Ended { ended: ended.into(), digest: Some(generation.digest()), left: Left::Nothing }
    }

    /// The start was cut off.
    fn unanswered(outcome: Outcome) -> Self {
        Self::Ended { ended: outcome.into(), digest: None, left: Left::Unanswered }
    }
}

/// Work that has succeeded.
struct Success {
    /// With what the look that saw it has added.
    ended: Ended,
    output: String,
    generation: Arc<Generation>,
}

impl Steering {
    /// Starts the work or takes it up again, and sees to its end. Answers what that says about the kind, and the permit,
    /// unless it was given back before.
    pub(super) async fn run(self, permit: Option<AttemptPermit>) -> (Trial, Option<AttemptPermit>) {
        let mut permit = permit;
        let mut turn = Turn::default();
        let end = match self.steer(&mut turn, &mut permit).await {
            Ok(end) | Err(end) => end,
        };
        let (ended, digest, left) = match end {
            End::Ended { ended, digest, left } => (ended, digest, left),
            End::LetGo => (Outcome::Interrupted.into(), None, Left::Nothing),
            End::Lost => return (Trial::Unclear, permit),
        };
        let task = self.ending.id;
        match left {
            Left::Nothing => {}
            Left::Abandoned => tracing::warn!(%task, "outside work is given up and may go on"),
            Left::Unanswered => tracing::warn!(%task, "the start of outside work has not answered: it may go on"),
        }
        let control = &self.ending.control;
        let (progress, log) = (control.progress(), Some(turn.log));
        let report = AttemptReport { progress, log, digest, left, ..AttemptReport::default() };
        let trial = self.ending.commit(ended, report, &mut permit).await;
        (trial, permit)
    }

    async fn steer(&self, turn: &mut Turn, permit: &mut Option<AttemptPermit>) -> Result<End, End> {
        let WorkRecord { handle, output } = if self.claimed.status.works.current.is_some() {
            self.known().await?
        } else {
            WorkRecord { handle: self.start(turn).await?, output: None }
        };
        let (task, attempt) = (self.ending.id, self.ending.attempt);
        let subject = Subject { task, attempt, handle };
        let output = if let Some(output) = output {
            output
        } else {
            let Success { ended, output, generation } = self.watch(&subject, turn).await?;
            if !generation.is_collector() {
                return Ok(End::of(ended, &generation));
            }
            self.begin_export(&output).await?;
            output
        };
        // What is brought home holds up nobody.
        drop(permit.take());
        self.export(&subject, &output, turn).await
    }

    /// What is kept of work that an earlier loop has started.
    async fn known(&self) -> Result<WorkRecord, End> {
        loop {
            match self.ending.store.work(self.ending.id).await {
                Ok(Some(record)) => return Ok(record),
                Ok(None) | Err(StoreError::Closed) => return Err(End::Lost),
                Err(error) => self.wait_for_store(&error).await?,
            }
        }
    }

    /// Starts the work and keeps its handle. Not cut short by a wish to cancel: nobody could stop what has no handle.
    async fn start(&self, turn: &mut Turn) -> Result<Vec<u8>, End> {
        if self.ending.control.directive() == Directive::Cancel {
            return Err(End::of(Outcome::Cancelled, &self.generation));
        }
        if self.actuator().is_none() {
            // Nobody could look after what was claimed before the plugin went.
            return Err(End::LetGo);
        }
        let started = tokio::select! {
            biased;
            started = self.generation.start(self.job(), turn) => started,
            () = self.abort.cancelled() => return Err(End::unanswered(Outcome::Interrupted)),
        };
        let handle = started.map_err(|Unstarted { outcome, unanswered }| {
            if unanswered { End::unanswered(may_have_begun(outcome)) } else { End::of(outcome, &self.generation) }
        })?;
        loop {
            let (id, attempt) = (self.ending.id, self.ending.attempt);
            match self.ending.store.keep_work(id, attempt, handle.clone(), now()).await {
                Ok(()) => return Ok(handle),
                Err(StoreError::Closed | StoreError::Stale | StoreError::NotFound) => return Err(End::Lost),
                Err(error) => self.wait_for_store(&error).await.map_err(|end| match end {
                    End::LetGo => End::unanswered(Outcome::Interrupted),
                    end @ (End::Ended { .. } | End::Lost) => end,
                })?,
            }
        }
    }

    async fn begin_export(&self, output: &str) -> Result<(), End> {
        loop {
            let (id, attempt) = (self.ending.id, self.ending.attempt);
            match self.ending.store.begin_export(id, attempt, output.to_owned(), now()).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Closed | StoreError::Stale | StoreError::NotFound) => return Err(End::Lost),
                Err(error) => self.wait_for_store(&error).await?,
            }
        }
    }

    async fn wait_for_store(&self, error: &StoreError) -> Result<(), End> {
        tracing::debug!(task = %self.ending.id, %error, "the store does not take what became of outside work");
        self.pause(Instant::now() + STORE_RETRY).await
    }

    /// Looks until the work has ended.
    async fn watch(&self, subject: &Subject, turn: &mut Turn) -> Result<Success, End> {
        let mut pace = Pace::default();
        let (mut crashed, mut known, mut called) = (0, None, false);
        loop {
            let generation = self.actuator().ok_or_else(|| self.nobody())?;
            match self.ending.control.directive() {
                Directive::Proceed => {}
                Directive::Cancel => return self.stop(subject, Why::Cancelled, turn).await,
                Directive::Yield => return Err(End::LetGo),
            }
            let wall_ms = generation.wall_ms(&self.claimed.spec.new);
            let left = self.age.left(wall_ms, Instant::now());
            if left.is_zero() {
                return self.stop(subject, Why::TimedOut(wall_ms), turn).await;
            }
            let wait = match self.look(&generation, subject, turn).await? {
                Ok(Look { standing, progress, poll_after_ms }) => {
                    crashed = 0;
                    match standing {
                        Standing::Running => {}
                        Standing::Succeeded { output, outbox, added } => {
                            self.tell(progress, &mut known).await?;
                            let outcome = Outcome::Succeeded { output: output.clone(), outbox };
                            return Ok(Success { ended: Ended { outcome, added }, output, generation });
                        }
                        Standing::Stopped => return Err(End::of(stopped_outside(), &generation)),
                        Standing::Failed(outcome) => return Err(End::of(outcome, &generation)),
                    }
                    pace.found(self.tell(progress, &mut known).await?, poll_after_ms)
                }
                Err(missed) => {
                    crashed = if missed.is_crash { crashed + 1 } else { 0 };
                    if crashed == MAX_CRASHED_LOOKS {
                        return self.stop(subject, Why::Crashed(missed.failure), turn).await;
                    }
                    pace.failed()
                }
            };
            // Callbacks that come soon after the one that was just heard are not told: they are looked after here.
            let wait = if called { wait.min(Duration::from_millis(CALLBACK_PACE_MS)) } else { wait };
            called = self.wait(wait.min(left)).await?;
        }
    }

    /// One look, which only the end of the host cuts short.
    async fn look(
        &self,
        generation: &Arc<Generation>,
        subject: &Subject,
        turn: &mut Turn,
    ) -> Result<Result<Look, Missed>, End> {
        tokio::select! {
            biased;
            look = generation.look(subject, turn) => {
                if let Err(missed) = &look {
                    let reason = &missed.failure;
                    tracing::debug!(task = %self.ending.id, code = reason.code, "a look failed: {}", reason.message);
                }
                Ok(look)
            }
            () = self.abort.cancelled() => Err(End::LetGo),
        }
    }

    /// Commits progress, if it is news.
    async fn tell(&self, progress: Option<Progress>, known: &mut Option<Progress>) -> Result<bool, End> {
        if progress.is_none() || progress == *known {
            return Ok(false);
        }
        known.clone_from(&progress);
        match self.ending.beat(News { progress, saw_cancel: false }).await {
            Ok(true) => self.ending.control.direct(Directive::Cancel),
            Ok(false) => {}
            Err(StoreError::Stale | StoreError::NotFound | StoreError::Closed) => return Err(End::Lost),
            Err(error) => tracing::debug!(%error, "progress of outside work was not kept"),
        }
        Ok(true)
    }

    /// Waits for the next look: its time, a callback or a wish of the host, whichever is first. Answers whether it was a
    /// callback.
    async fn wait(&self, wait: Duration) -> Result<bool, End> {
        let until = Instant::now() + wait;
        let Reins { bell, lost } = &self.reins;
        tokio::select! {
            biased;
            () = lost.cancelled() => Err(End::Lost),
            () = self.abort.cancelled() => Err(End::LetGo),
            _ = self.ending.control.directed(|directive| directive != Directive::Proceed) => Ok(false),
            end = self.orphaned() => Err(end),
            () = bell.notified() => Ok(true),
            () = sleep_until(until) => Ok(false),
        }
    }

    /// Waits until then, unless the host or the lease ends first.
    async fn pause(&self, until: Instant) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.reins.lost.cancelled() => Err(End::Lost),
            () = self.abort.cancelled() => Err(End::LetGo),
            () = sleep_until(until) => Ok(()),
        }
    }

    /// Who looks after the kind's work now.
    fn actuator(&self) -> Option<Arc<Generation>> {
        let live = self.plugins.executor(&self.claimed.spec.new.kind);
        live.filter(|generation| generation.is_actuator())
    }

    /// What follows when there is no actuator. The work waits for one, unless an executor does the kind's tasks by now:
    /// then it is given up, and the task is the executor's.
    fn nobody(&self) -> End {
        let live = self.plugins.executor(&self.claimed.spec.new.kind);
        if live.is_none_or(|generation| generation.is_actuator()) {
            return End::LetGo;
        }
        let is_unwanted = self.ending.control.directive() == Directive::Cancel;
        let outcome = if is_unwanted { Outcome::Killed } else { Outcome::Interrupted };
        End::Ended { ended: outcome.into(), digest: None, left: Left::Abandoned }
    }

    /// Ends when nobody looks after the kind's work any more.
    async fn orphaned(&self) -> End {
        let mut changed = self.plugins.changed();
        loop {
            if self.actuator().is_none() {
                return self.nobody();
            }
            if changed.changed().await.is_err() {
                return End::LetGo;
            }
        }
    }

    fn job(&self) -> Job {
        Job {
            id: self.ending.id,
            attempt: self.ending.attempt,
            spec: Arc::clone(&self.claimed.spec),
            started_at: now(),
            works: self.claimed.status.works.ended,
        }
    }
}

/// Says so with the failure.
fn may_have_begun(outcome: Outcome) -> Outcome {
    let told = |failure: Failure| Failure {
        message: format!("{}; the outside work may have begun and may go on", failure.message),
        ..failure
    };
    match outcome {
        Outcome::Crashed(failure) => Outcome::Crashed(told(failure)),
        Outcome::Retry { failure, after_ms } => Outcome::Retry { failure: told(failure), after_ms },
        outcome @ (Outcome::Succeeded { .. }
        | Outcome::Fatal(_)
        | Outcome::Snoozed { .. }
        | Outcome::Cancelled
        | Outcome::Killed
        | Outcome::Yielded
        | Outcome::Interrupted) => outcome,
    }
}

fn stopped_outside() -> Outcome {
    let failure = Failure::new("stopped-outside", "the outside work was stopped, and nobody here had asked for that");
    Outcome::Retry { failure, after_ms: None }
}
