//! When to look at outside work again.

use std::time::Duration;

/// The shortest and the longest time between two looks that a guest can ask for.
const GUEST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_hours(1));
/// The same of the host's own pace, while nothing moves.
const HOST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same after looks that failed.
const FAILED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// Counts looks in a row that came to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    idle: u32,
    failed: u32,
}

impl Pace {
    /// A look has found the work going on: how long to wait now.
    pub(super) fn found(&mut self, moved: bool, poll_after_ms: Option<u64>) -> Duration {
        self.failed = 0;
        self.idle = if moved { 0 } else { self.idle.saturating_add(1) };
        match poll_after_ms {
            Some(asked_ms) => Duration::from_millis(asked_ms).clamp(GUEST.0, GUEST.1),
            None => doubled(HOST, self.idle.saturating_sub(1)),
        }
    }

    /// A look has failed.
    pub(super) fn failed(&mut self) -> Duration {
        self.failed = self.failed.saturating_add(1);
        doubled(FAILED, self.failed - 1)
    }
}

fn doubled((first, most): (Duration, Duration), times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(waits: impl IntoIterator<Item = Duration>) -> Vec<u64> {
        waits.into_iter().map(|wait| wait.as_secs()).collect()
    }

    #[test]
    fn l14_what_a_guest_asks_for_is_within_sane_bounds() {
        let mut pace = Pace::default();
        assert_eq!(pace.found(true, Some(0)), Duration::from_millis(250));
        assert_eq!(pace.found(false, Some(700)), Duration::from_millis(700));
        assert_eq!(pace.found(false, Some(u64::MAX)), Duration::from_hours(1));
    }

    #[test]
    fn the_host_takes_its_time_while_nothing_moves() {
        let mut pace = Pace::default();
        let found = [true, false, false, false, false, false, false, true, false].map(|moved| pace.found(moved, None));
        assert_eq!(seconds(found), [1, 1, 2, 4, 8, 16, 30, 1, 1]);
    }

    #[test]
    fn looks_that_fail_are_repeated_ever_more_slowly_and_forgotten_by_one_that_does_not() {
        let mut pace = Pace::default();
        let failed = std::array::from_fn::<_, 11, _>(|_| pace.failed());
        assert_eq!(seconds(failed), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        pace.found(false, None);
        assert_eq!(pace.failed(), Duration::from_secs(1));
    }
}
