//! How long an attempt has taken.

use tokio::time::{Duration, Instant};

use crate::task::{State, Status};
use crate::time::Timestamp;

/// By the wall clock until its loop began, since that may be a restart ago, and by the monotonic one from then on, so
/// that nobody times out because a clock was set.
#[derive(Clone, Copy, Debug)]
pub(in crate::runner) struct Age {
    before: Duration,
    since: Instant,
}

impl Age {
    /// Of an attempt whose loop begins now.
    pub(in crate::runner) fn of(status: &Status, (wall, now): (Timestamp, Instant)) -> Self {
        let before = match status.state {
            State::Running { started_at, .. } => wall.wait_from(started_at),
            State::Waiting
            | State::Queued { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => Duration::ZERO,
        };
        Self { before, since: now }
    }

    /// What is left of `wall_ms`.
    pub(in crate::runner) fn left(self, wall_ms: u64, now: Instant) -> Duration {
        let age = self.before + now.saturating_duration_since(self.since);
        Duration::from_millis(wall_ms).saturating_sub(age)
    }
}

#[cfg(test)]
mod tests {
    use super::{Age, Duration, Instant, State, Status, Timestamp};
    use crate::task::{BootId, Digest};

    const HOUR_MS: u64 = 3_600_000;

    fn started_at(started_at: Timestamp) -> Status {
        let (boot, digest) = (BootId(1), Digest([1; 32]));
        let state = State::Running { boot, lease_until: started_at, started_at, digest };
        Status { state, ..Status::queued(started_at) }
    }

    #[test]
    fn l12_an_attempt_is_timed_by_its_start_also_after_a_restart() {
        let (at, now) = (Timestamp::from_millis, Instant::now());
        let age = Age::of(&started_at(at(HOUR_MS)), (at(HOUR_MS + 20_000), now));
        assert_eq!(age.left(60_000, now), Duration::from_secs(40));
        assert_eq!(age.left(60_000, now + Duration::from_secs(30)), Duration::from_secs(10));
        assert_eq!(age.left(60_000, now + Duration::from_secs(90)), Duration::ZERO);
    }

    #[test]
    fn a_wall_clock_that_is_set_while_the_loop_runs_changes_nothing() {
        // Whatever the wall clock does from here on, nobody asks it.
        let now = Instant::now();
        let begun = Timestamp::from_millis(HOUR_MS);
        let age = Age::of(&started_at(begun), (begun, now));
        assert_eq!(age.left(60_000, now + Duration::from_secs(59)), Duration::from_secs(1));
    }

    #[test]
    fn a_wall_clock_that_was_set_back_before_the_loop_began_is_no_early_timeout() {
        let now = Instant::now();
        let (begun, seen) = (Timestamp::from_millis(2 * HOUR_MS), Timestamp::from_millis(HOUR_MS));
        let age = Age::of(&started_at(begun), (seen, now));
        assert_eq!(age.left(60_000, now), Duration::from_mins(1));
    }
}
