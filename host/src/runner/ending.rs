//! How the end of an attempt becomes durable, and what is told of it on the way there.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::limiter::{AttemptPermit, Trial};
use crate::plugin::control::{Control, Directive, News};
use crate::plugin::ports::Pending;
use crate::plugin::steer::Ended;
use crate::store::{Finish, Heartbeat, Store, StoreError};
use crate::task::{AttemptReport, Failure, Outcome, POISON, State, Task, TaskId};
use crate::time::now;

/// Progress of one attempt is committed at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// How long to wait before a finish that the store was too busy for is tried again.
const FINISH_RETRY: Duration = Duration::from_millis(50);
/// Tries to commit a result with its outbox.
const FINISH_TRIES: u32 = 40;

/// An attempt and the way to its record.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) store: Arc<dyn Store>,
    pub(super) id: TaskId,
    pub(super) attempt: u32,
    pub(super) control: Arc<Control>,
    pub(super) lease_ms: u64,
}

/// Files of an attempt whose commit is under way. Nobody may remove them as long as they may have their records:
/// when this is dropped they stay, and the next start decides.
struct Uncertain(Vec<Box<dyn Pending>>);

impl Drop for Uncertain {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Pending::keep);
    }
}

impl Ending {
    /// Commits what happened; answers what that says about the kind. The permit may be given back before.
    pub(super) async fn commit(
        &self,
        ended: Ended,
        mut report: AttemptReport,
        permit: &mut Option<AttemptPermit>,
    ) -> Trial {
        let Ended { mut outcome, added } = ended;
        let (files, pending) = added.into_iter().map(|added| (added.file, added.pending)).unzip();
        report.files = files;
        let mut pending = Uncertain(pending);
        let mut tries = 0;
        loop {
            let (outcome_now, report) = (outcome.clone(), report.clone());
            let (id, attempt) = (self.id, self.attempt);
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
                Ok(task) => {
                    if !matches!(task.status.state, State::Succeeded { .. }) {
                        pending.0.clear();
                    }
                    return trial(&outcome, &task);
                }
                Err(StoreError::Closed) => return Trial::Unclear,
                Err(StoreError::Stale | StoreError::NotFound) => {
                    tracing::info!(task = %id, attempt, "the result of a stale attempt was refused");
                    pending.0.clear();
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

    /// Runs a guest's call and commits what it reports meanwhile. `None` when it was aborted: dropping the guest kills
    /// what it had started in the host.
    pub(super) async fn follow(
        &self,
        mut guest: Pin<&mut (impl Future<Output = Ended> + Send)>,
        abort: &CancellationToken,
    ) -> Option<Ended> {
        let mut seen = 0;
        loop {
            tokio::select! {
                biased;
                ended = &mut guest => return Some(self.settle_cancel(ended)),
                () = abort.cancelled() => return None,
                (latest, count) = self.control.reported(seen) => {
                    seen = count;
                    tokio::select! {
                        biased;
                        ended = &mut guest => return Some(self.settle_cancel(ended)),
                        () = self.report(latest) => {}
                    }
                }
            }
        }
    }

    /// A guest that failed while it was being stopped was stopped.
    fn settle_cancel(&self, ended: Ended) -> Ended {
        match (&ended.outcome, self.control.directive()) {
            (Outcome::Retry { .. }, Directive::Cancel) => Outcome::Cancelled.into(),
            _ => ended,
        }
    }

    /// Commits a progress report, then leaves a pause: the reports of that time coalesce.
    async fn report(&self, news: News) {
        match self.beat(news).await {
            Ok(false) => {}
            // Asked to stop, or no longer ours.
            Ok(true) | Err(StoreError::Stale | StoreError::NotFound) => self.control.direct(Directive::Cancel),
            Err(error) => tracing::debug!(%error, "a progress report was not kept"),
        }
        tokio::time::sleep(PROGRESS_EVERY).await;
    }

    /// Commits a report; answers whether somebody has asked to stop the task.
    pub(super) async fn beat(&self, news: News) -> Result<bool, StoreError> {
        let now = now();
        let beat = Heartbeat {
            id: self.id,
            attempt: self.attempt,
            lease_until: now.plus_millis(self.lease_ms),
            progress: news.progress,
            saw_cancel: news.saw_cancel,
        };
        self.store.heartbeat(beat, now).await
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
