//! One attempt, straight through: generation, outcome, commit.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::limiter::{AttemptPermit, Trial};
use crate::plugin::control::{Control, Directive, News};
use crate::plugin::{Generation, Job};
use crate::store::{Claimed, Finish, Heartbeat, Store, StoreError};
use crate::task::{AttemptReport, Failure, Outcome, POISON, State, Task};
use crate::time::now;

/// Progress of one attempt is committed at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// How long to wait before a finish that the store was too busy for is tried again.
const FINISH_RETRY: Duration = Duration::from_millis(50);
/// Tries to commit a result with its outbox.
const FINISH_TRIES: u32 = 40;

/// One claimed attempt and what it needs.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) store: Arc<dyn Store>,
    /// The one whose digest the claim recorded, pinned for the whole attempt (invariant I7).
    pub(super) generation: Arc<Generation>,
    pub(super) claimed: Claimed,
    pub(super) control: Arc<Control>,
    pub(super) lease_ms: u64,
    pub(super) abort: CancellationToken,
}

impl Attempt {
    /// Runs the guest and commits what happened. Answers what that says about the kind, and the
    /// permit, unless it was given back before.
    pub(super) async fn run(self, permit: AttemptPermit) -> (Trial, Option<AttemptPermit>) {
        let outcome = self.outcome().await;
        let mut permit = Some(permit);
        let trial = self.commit(outcome, &mut permit).await;
        (trial, permit)
    }

    async fn commit(&self, mut outcome: Outcome, permit: &mut Option<AttemptPermit>) -> Trial {
        let (id, attempt) = (self.claimed.id, self.claimed.status.attempt);
        let report = AttemptReport { progress: self.control.progress(), log: Some(self.control.log()) };
        let mut tries = 0;
        loop {
            let (outcome_now, report) = (outcome.clone(), report.clone());
            let finish = Finish { id, attempt, outcome: outcome_now, jitter: fastrand::f64(), report };
            let mut finishing = pin!(self.store.finish(finish, now()));
            let ended = match futures_util::poll!(finishing.as_mut()) {
                Poll::Ready(ended) => ended,
                Poll::Pending => {
                    // The end is handed over, and verbs are applied in order: what is claimed from now on
                    // starts after it. So both can be one commit, and the permit is free. An end that may
                    // yet be refused, or that others must know of first, keeps it.
                    if is_certain(&outcome) {
                        drop(permit.take());
                    }
                    finishing.await
                }
            };
            match ended {
                Ok(task) => return trial(&outcome, &task),
                Err(StoreError::Closed) => return Trial::Unclear,
                Err(StoreError::Stale | StoreError::NotFound) => {
                    tracing::info!(task = %id, attempt, "the result of a stale attempt was refused");
                    return Trial::Unclear;
                }
                Err(error @ StoreError::Taken { .. }) => {
                    outcome =
                        Outcome::Retry { failure: Failure::new("unique-held", error.to_string()), after_ms: None };
                }
                Err(error @ (StoreError::Full(_) | StoreError::Conflict(_) | StoreError::NoParent { .. })) => {
                    tries += 1;
                    if tries == FINISH_TRIES {
                        tracing::warn!(task = %id, attempt, %error, "a result does not fit; its task is tried again");
                        // Without its outbox it fits, and the permit is needed by those that make room.
                        let failure = Failure::new("queue-full", error.to_string());
                        outcome = Outcome::Retry { failure, after_ms: None };
                    }
                    tokio::time::sleep(FINISH_RETRY).await;
                }
            }
        }
    }

    async fn outcome(&self) -> Outcome {
        let status = &self.claimed.status;
        let job = Job {
            id: self.claimed.id,
            attempt: status.attempt,
            spec: Arc::clone(&self.claimed.spec),
            started_at: now(),
        };
        let mut seen = 0;
        let guest = self.generation.execute(job, Arc::clone(&self.control));
        tokio::pin!(guest);
        loop {
            tokio::select! {
                biased;
                outcome = &mut guest => return self.settle_cancel(outcome),
                // Dropping the guest kills what it started; its task returns to the queue.
                () = self.abort.cancelled() => return Outcome::Interrupted,
                (latest, count) = self.control.reported(seen) => {
                    seen = count;
                    tokio::select! {
                        biased;
                        outcome = &mut guest => return self.settle_cancel(outcome),
                        () = self.report(latest) => {}
                    }
                }
            }
        }
    }

    /// A guest that failed while it was being stopped was stopped.
    fn settle_cancel(&self, outcome: Outcome) -> Outcome {
        match (&outcome, self.control.directive()) {
            (Outcome::Retry { .. }, Directive::Cancel) => Outcome::Cancelled,
            _ => outcome,
        }
    }

    /// Commits a progress report, then leaves a pause: the reports of that time coalesce.
    async fn report(&self, news: News) {
        let now = now();
        let beat = Heartbeat {
            id: self.claimed.id,
            attempt: self.claimed.status.attempt,
            lease_until: now.plus_millis(self.lease_ms),
            progress: news.progress,
            saw_cancel: news.saw_cancel,
        };
        match self.store.heartbeat(beat, now).await {
            Ok(false) => {}
            // Asked to stop, or no longer ours.
            Ok(true) | Err(StoreError::Stale | StoreError::NotFound) => self.control.direct(Directive::Cancel),
            Err(error) => tracing::debug!(%error, "a progress report was not kept"),
        }
        tokio::time::sleep(PROGRESS_EVERY).await;
    }
}

fn is_certain(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Succeeded { outbox, .. } if outbox.is_empty())
}

fn trial(outcome: &Outcome, task: &Task) -> Trial {
    match (outcome, &task.status.state) {
        (Outcome::Succeeded { .. }, _) => Trial::Succeeded,
        (Outcome::Crashed(_), State::Failed { failure, .. }) if failure.code == POISON => Trial::Poisoned,
        (Outcome::Crashed(_), _) => Trial::Crashed,
        _ => Trial::Unclear,
    }
}
