//! Whether the wall clock goes on as the monotonic one does.

use std::time::Duration;

use tokio::time::Instant;

use crate::time::Timestamp;

/// Compares two clocks from one look to the next.
#[derive(Debug)]
pub(super) struct Steady {
    tolerance: Duration,
    wall: Timestamp,
    looked: Instant,
}

impl Steady {
    /// Clocks that agree now; `tolerance` is how much a look may differ from the one before.
    pub(super) fn new(tolerance: Duration, wall: Timestamp, now: Instant) -> Self {
        Self { tolerance, wall, looked: now }
    }

    /// Whether the wall clock was not set forward since the last look, nor the machine asleep.
    pub(super) fn look(&mut self, wall: Timestamp, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.looked);
        let shown = wall.wait_from(self.wall);
        (self.wall, self.looked) = (wall, now);
        shown <= passed + self.tolerance
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Steady, Timestamp};

    #[test]
    fn a_clock_that_is_set_forward_is_noticed_once_and_one_that_is_set_back_is_no_matter() {
        let (start, at) = (Instant::now(), |seconds: u64| Timestamp::from_millis(seconds * 1_000));
        let mut clocks = Steady::new(Duration::from_secs(10), at(1_000_000), start);
        let mut look = |wall, passed| clocks.look(at(wall), start + Duration::from_secs(passed));
        assert!(look(1_000_015, 15));
        assert!(look(1_000_039, 30), "within the tolerance");
        assert!(!look(1_007_200, 45), "two hours forward");
        assert!(look(1_007_215, 60), "it goes on from there");
        assert!(look(1_000_000, 75), "two hours back");
        assert!(look(1_000_015, 90));
        assert!(!look(1_003_600, 105), "back again, or asleep");
    }
}
