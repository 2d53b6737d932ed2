//! Stopping outside work: gracefully first, then immediately, each within the grace.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::{End, Steering, Success};
use crate::plugin::Generation;
use crate::plugin::control::News;
use crate::plugin::steer::{Ended, Standing, StopMode, Subject, Turn};
use crate::store::StoreError;
use crate::task::{Failure, Left, Outcome};

/// Calls that ask the work to stop in one way, while they fail.
const MAX_STOP_TRIES: u32 = 3;
/// The first and the longest time between two looks at work that is to stop.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why outside work is stopped.
#[derive(Debug)]
pub(super) enum Why {
    /// Somebody has asked for it.
    Cancelled,
    /// It has taken longer than this, in milliseconds.
    TimedOut(u64),
    /// Nobody can see any more how it stands.
    Crashed(Failure),
}

/// What became of work that was to stop.
enum Stopped {
    /// It has succeeded before.
    Succeeded(Box<Success>),
    /// It has ended.
    Ended(Arc<Generation>),
    /// It goes on, as far as anybody can tell.
    NotYet(Arc<Generation>),
}

impl Steering {
    /// Stops the work and says how the attempt ends, unless the work has succeeded after all.
    pub(super) async fn stop(&self, subject: &Subject, why: Why, turn: &mut Turn) -> Result<Success, End> {
        let mut mode = StopMode::Graceful;
        loop {
            let (generation, abandoned) = match self.stop_by((subject, mode), &why, turn).await? {
                Stopped::Succeeded(success) => match why {
                    // What was to be brought home is not wanted any more.
                    Why::Cancelled if success.generation.is_collector() => (success.generation, false),
                    Why::Cancelled | Why::TimedOut(_) | Why::Crashed(_) => return Ok(*success),
                },
                Stopped::Ended(generation) => (generation, false),
                Stopped::NotYet(_) if mode == StopMode::Graceful => {
                    mode = StopMode::Immediate;
                    continue;
                }
                Stopped::NotYet(generation) => (generation, true),
            };
            let by_itself = mode == StopMode::Graceful && !abandoned;
            let ended = Ended::from(outcome(&why, by_itself, abandoned));
            let left = if abandoned { Left::Abandoned } else { Left::Nothing };
            return Err(End::Ended { ended, digest: Some(generation.digest()), left });
        }
    }

    /// Asks in one way, and looks until the work has stopped or the grace is over.
    async fn stop_by(&self, (subject, mode): (&Subject, StopMode), why: &Why, turn: &mut Turn) -> Result<Stopped, End> {
        let until = Instant::now() + self.stop_grace;
        let (mut tries, mut is_asked, mut pause) = (0, false, LOOKS.0);
        loop {
            let generation = self.actuator().ok_or_else(|| self.nobody())?;
            if !is_asked && tries < MAX_STOP_TRIES {
                is_asked = self.ask_to_stop(&generation, (subject, mode), why, turn).await?;
                tries += u32::from(!is_asked);
            }
            match self.look(&generation, subject, turn).await?.map(|look| look.standing) {
                Ok(Standing::Succeeded { output, outbox, added }) => {
                    let outcome = Outcome::Succeeded { output: output.clone(), outbox };
                    let success = Success { ended: Ended { outcome, added }, output, generation };
                    return Ok(Stopped::Succeeded(Box::new(success)));
                }
                Ok(Standing::Stopped | Standing::Failed(_)) => return Ok(Stopped::Ended(generation)),
                Ok(Standing::Running) | Err(_) => {}
            }
            let refused = !is_asked && tries >= MAX_STOP_TRIES;
            if refused || Instant::now() >= until {
                return Ok(Stopped::NotYet(generation));
            }
            self.pause(until.min(Instant::now() + pause)).await?;
            pause = (pause * 2).min(LOOKS.1);
        }
    }

    /// One call; whether the work has heard it. That is the answer to a cancel, too.
    async fn ask_to_stop(
        &self,
        generation: &Arc<Generation>,
        (subject, mode): (&Subject, StopMode),
        why: &Why,
        turn: &mut Turn,
    ) -> Result<bool, End> {
        let asked = tokio::select! {
            biased;
            asked = generation.stop(subject, mode, turn) => asked,
            () = self.abort.cancelled() => return Err(End::LetGo),
        };
        if let Err(failure) = asked {
            let (code, reason) = (&failure.code, &failure.message);
            tracing::warn!(task = %self.ending.id, code, ?mode, "outside work was not asked to stop: {reason}");
            return Ok(false);
        }
        if matches!(why, Why::Cancelled) {
            let told = self.ending.beat(News { progress: None, saw_cancel: true }).await;
            if let Err(StoreError::Stale | StoreError::NotFound | StoreError::Closed) = told {
                return Err(End::Lost);
            }
        }
        Ok(true)
    }
}

fn outcome(why: &Why, by_itself: bool, abandoned: bool) -> Outcome {
    let goes_on = if abandoned { "; the outside work could not be stopped and may go on" } else { "" };
    match why {
        Why::Cancelled if by_itself => Outcome::Cancelled,
        Why::Cancelled => Outcome::Killed,
        Why::TimedOut(wall_ms) => {
            let message = format!("not done within the wall limit of {wall_ms} ms{goes_on}");
            Outcome::Retry { failure: Failure::new("timed-out", message), after_ms: None }
        }
        Why::Crashed(failure) => {
            Outcome::Crashed(Failure { message: format!("{}{goes_on}", failure.message), ..failure.clone() })
        }
    }
}
