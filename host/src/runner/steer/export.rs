//! Bringing the results of outside work home: without the permit of the work, and again until it succeeds.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep_until};

use super::{End, Steering};
use crate::plugin::Generation;
use crate::plugin::control::Directive;
use crate::plugin::steer::{Ended, StopMode, Subject, Turn};
use crate::task::{Failure, Left, MAX_SNOOZES, MIN_SNOOZE_MS, Outcome};

/// What follows a call.
enum Next {
    /// The attempt ends.
    End(Ended),
    /// Another call after this time, in milliseconds.
    After(u64),
    /// Somebody else goes on.
    LetGo,
}

impl Steering {
    /// Calls the collector until it succeeds or fails for good.
    pub(super) async fn export(&self, subject: &Subject, output: &str, turn: &mut Turn) -> Result<End, End> {
        let (mut tries, mut snoozes) = (0, 0);
        loop {
            let place = tokio::select! {
                biased;
                end = self.wish() => return Err(self.unwanted(end, subject, turn).await),
                place = Arc::clone(&self.exports).acquire_owned() => place.map_err(|_| End::LetGo)?,
            };
            let generation = self.actuator().ok_or_else(|| self.nobody())?;
            if !generation.is_collector() {
                // This version has nothing to bring home.
                let outcome = Outcome::Succeeded { output: output.to_owned(), outbox: Vec::new() };
                return Ok(End::of(outcome, &generation));
            }
            let Some(ended) = self.collect(&generation, (subject, output.to_owned()), turn).await else {
                return Err(End::LetGo);
            };
            drop(place);
            let after_ms = match self.next(ended, &mut tries, &mut snoozes) {
                Next::After(after_ms) => after_ms,
                Next::LetGo => return Err(End::LetGo),
                Next::End(ended) => {
                    if !matches!(ended.outcome, Outcome::Succeeded { .. }) {
                        self.clean_up(&generation, subject, turn).await;
                    }
                    return Ok(End::of(ended, &generation));
                }
            };
            tokio::select! {
                biased;
                end = self.wish() => return Err(self.unwanted(end, subject, turn).await),
                paused = self.pause(Instant::now() + Duration::from_millis(after_ms)) => paused?,
            }
        }
    }

    async fn collect(
        &self,
        generation: &Arc<Generation>,
        (subject, output): (&Subject, String),
        turn: &mut Turn,
    ) -> Option<Ended> {
        let control = Arc::clone(&self.ending.control);
        let guest = pin!(generation.collect(self.job(), (subject, output), control, turn));
        tokio::select! {
            biased;
            ended = self.ending.follow(guest, &self.abort) => ended,
            () = self.overstayed(generation) => None,
        }
    }

    /// A generation was replaced, and its guest has had its time: it is asked to yield, and when that is over this ends.
    /// Whoever is live then brings the results home.
    async fn overstayed(&self, generation: &Generation) {
        let retirement = generation.retired().await;
        sleep_until(retirement.yield_at()).await;
        self.ending.control.direct(Directive::Yield);
        sleep_until(retirement.interrupt_at()).await;
    }

    fn next(&self, ended: Ended, tries: &mut u32, snoozes: &mut u32) -> Next {
        let new = &self.claimed.spec.new;
        let (failure, after_ms) = match ended.outcome {
            Outcome::Succeeded { .. } | Outcome::Fatal(_) | Outcome::Cancelled | Outcome::Killed => {
                return Next::End(ended);
            }
            Outcome::Yielded | Outcome::Interrupted => return Next::LetGo,
            Outcome::Snoozed { after_ms } => {
                *snoozes += 1;
                if *snoozes <= MAX_SNOOZES {
                    return Next::After(after_ms.max(MIN_SNOOZE_MS));
                }
                (Failure::new("snoozed-too-often", format!("the export was put off {MAX_SNOOZES} times")), None)
            }
            Outcome::Retry { failure, after_ms } => (failure, after_ms),
            Outcome::Crashed(failure) => (failure, None),
        };
        *tries += 1;
        if *tries >= new.max_attempts {
            return Next::End(Outcome::Fatal(failure).into());
        }
        let (code, reason) = (&failure.code, &failure.message);
        tracing::info!(task = %self.ending.id, code, "an export failed and is tried again: {reason}");
        Next::After(after_ms.unwrap_or_else(|| new.backoff.delay_ms(*tries, fastrand::f64())))
    }

    /// Ends when the host wants that nothing is begun any more.
    async fn wish(&self) -> End {
        tokio::select! {
            biased;
            () = self.reins.lost.cancelled() => End::Lost,
            () = self.abort.cancelled() => End::LetGo,
            end = self.orphaned() => end,
            directive = self.ending.control.directed(|directive| directive != Directive::Proceed) => match directive {
                Directive::Cancel => {
                    End::Ended { ended: Outcome::Cancelled.into(), digest: None, left: Left::Nothing }
                }
                Directive::Yield | Directive::Proceed => End::LetGo,
            }
        }
    }

    async fn unwanted(&self, end: End, subject: &Subject, turn: &mut Turn) -> End {
        if let (End::Ended { .. }, Some(generation)) = (&end, self.actuator()) {
            self.clean_up(&generation, subject, turn).await;
        }
        end
    }

    /// Nobody wants the results any more: the outside may forget them. It has ended, so a failure changes nothing.
    async fn clean_up(&self, generation: &Arc<Generation>, subject: &Subject, turn: &mut Turn) {
        tokio::select! {
            biased;
            () = self.abort.cancelled() => {}
            asked = generation.stop(subject, StopMode::Immediate, turn) => if let Err(failure) = asked {
                tracing::debug!(task = %self.ending.id, "outside work was not cleaned up: {}", failure.message);
            }
        }
    }
}
