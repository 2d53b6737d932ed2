//! How long an attempt has taken.

use tokio::time::{Duration, Instant};

use crate::task::{State, Status};
use crate::time::Timestamp;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::runner) struct Clocks {
    pub(in crate::runner) wall: Timestamp,
    pub(in crate::runner) at: Instant,
}

impl Clocks {
    /// The wall clock as if nobody had set it since.
    fn steady(self, at: Instant) -> Timestamp {
        let passed = at.saturating_duration_since(self.at).as_millis();
        self.wall.plus_millis(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// By the wall clock until its loop began, since that may be a restart ago, and by the monotonic one from then on, so
/// that nobody times out because a clock was set.
#[derive(Clone, Copy, Debug)]
pub(in crate::runner) struct Age {
    before: Duration,
    since: Instant,
}

impl Age {
    /// Of an attempt whose loop begins now. When the wall clock was set since `origin`, the shorter time counts: a full
    /// budget once more does less harm than work that is stopped for nothing.
    pub(in crate::runner) fn of(status: &Status, origin: Clocks, now: Clocks) -> Self {
        let wall = now.wall.min(origin.steady(now.at));
        let before = match status.state {
            State::Running { started_at, .. } => wall.wait_from(started_at),
            State::Waiting
            | State::Queued { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => Duration::ZERO,
        };
        Self { before, since: now.at }
    }

    /// What is left of `wall_ms`.
    pub(in crate::runner) fn left(self, wall_ms: u64, now: Instant) -> Duration {
        let age = self.before + now.saturating_duration_since(self.since);
        Duration::from_millis(wall_ms).saturating_sub(age)
    }
}

#[cfg(test)]
mod tests {
    use super::{Age, Clocks, Duration, Instant, State, Status, Timestamp};
    use crate::task::{BootId, Digest};

    const HOUR_MS: u64 = 3_600_000;

    fn started_at(started_at: Timestamp) -> Status {
        let (boot, digest) = (BootId(1), Digest([1; 32]));
        let state = State::Running { boot, lease_until: started_at, started_at, digest };
        Status { state, ..Status::queued(started_at) }
    }

    /// The clocks so many milliseconds after the epoch and after the test's start.
    fn clocks(start: Instant, wall_ms: u64, passed_ms: u64) -> Clocks {
        Clocks { wall: Timestamp::from_millis(wall_ms), at: start + Duration::from_millis(passed_ms) }
    }

    #[test]
    fn l12_an_attempt_is_timed_by_its_start_also_after_a_restart() {
        let start = Instant::now();
        // The host came up two seconds ago, long after the attempt had begun.
        let (origin, now) = (clocks(start, HOUR_MS + 18_000, 0), clocks(start, HOUR_MS + 20_000, 2_000));
        let age = Age::of(&started_at(Timestamp::from_millis(HOUR_MS)), origin, now);
        assert_eq!(age.left(60_000, now.at), Duration::from_secs(40));
        assert_eq!(age.left(60_000, now.at + Duration::from_secs(30)), Duration::from_secs(10));
        assert_eq!(age.left(60_000, now.at + Duration::from_secs(90)), Duration::ZERO);
    }

    #[test]
    fn a_wall_clock_that_is_set_while_the_loop_runs_changes_nothing() {
        // Whatever the wall clock does from here on, nobody asks it.
        let begun = clocks(Instant::now(), HOUR_MS, 0);
        let age = Age::of(&started_at(begun.wall), begun, begun);
        assert_eq!(age.left(60_000, begun.at + Duration::from_secs(59)), Duration::from_secs(1));
    }

    #[test]
    fn a_wall_clock_that_was_set_before_a_loop_took_over_is_no_early_timeout() {
        let start = Instant::now();
        let origin = clocks(start, 2 * HOUR_MS, 0);
        let begun = started_at(Timestamp::from_millis(2 * HOUR_MS + 10_000));
        // Thirty seconds later another loop takes over: an hour forward, an hour back, as it goes.
        for (wall_ms, left_s) in [(3 * HOUR_MS + 40_000, 30), (HOUR_MS + 40_000, 60), (2 * HOUR_MS + 40_000, 30)] {
            let now = clocks(start, wall_ms, 40_000);
            let age = Age::of(&begun, origin, now);
            assert_eq!(age.left(60_000, now.at), Duration::from_secs(left_s), "{wall_ms}");
        }
    }
}
