//! One attempt, straight through: generation, outcome, commit.

use std::pin::pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::ending::Ending;
use crate::limiter::{AttemptPermit, Trial};
use crate::plugin::steer::Ended;
use crate::plugin::{Generation, Job};
use crate::store::Claimed;
use crate::task::{AttemptReport, Outcome};
use crate::time::now;

/// One claimed attempt and what it needs.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) ending: Ending,
    /// The one whose digest the claim recorded, pinned for the whole attempt (invariant I7).
    pub(super) generation: Arc<Generation>,
    pub(super) claimed: Claimed,
    pub(super) abort: CancellationToken,
}

impl Attempt {
    /// Runs the guest and commits what happened. Answers what that says about the kind, and the
    /// permit, unless it was given back before.
    pub(super) async fn run(self, permit: AttemptPermit) -> (Trial, Option<AttemptPermit>) {
        let ended = self.ended().await;
        let mut permit = Some(permit);
        let control = &self.ending.control;
        let report =
            AttemptReport { progress: control.progress(), log: Some(control.log()), ..AttemptReport::default() };
        let trial = self.ending.commit(ended, report, &mut permit).await;
        (trial, permit)
    }

    async fn ended(&self) -> Ended {
        let status = &self.claimed.status;
        let job = Job {
            id: self.claimed.id,
            attempt: status.attempt,
            spec: Arc::clone(&self.claimed.spec),
            started_at: now(),
            works: status.works.ended,
        };
        let guest = pin!(self.generation.attempt(job, Arc::clone(&self.ending.control)));
        self.ending.follow(guest, &self.abort).await.unwrap_or_else(|| Outcome::Interrupted.into())
    }
}
